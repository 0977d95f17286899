import { limits } from "#base/limits.ts";
import { parseRefusal } from "#wire/peer/documents.ts";
import type { LaneOpen } from "#wire/peer/documents.ts";
import { decodeJson } from "#wire/peer/decode.ts";
import { parseFeed } from "#wire/peer/feed.ts";
import type { Feed } from "#wire/peer/feed.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { firstSetThere, journalFigures } from "./journal-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { dialPeer } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import {
  addLane,
  endSender,
  offerBatch,
  senderApplied,
  senderProbed,
  startSender,
} from "./sender-run.ts";
import type { Sender } from "./sender-state.ts";
import { createSessionWire, feedFeedLost, sendBare } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import { traceIn, traceOut, traceSent } from "./trace-session.ts";

// A relay feeds copies from its log in the primary's place (SPEC-relay.md): the primary has the session with the copy, and the
// connections that bring batches beside it are dialled from here. So a copy knows of no relay, and what would come from one
// that nobody wants any more is refused as any late connection is.

/** The copies that a relay feeds. */
export type Relay = {
  /** FEED, FEEDEND or APPLIED of the session with the primary. */
  receive(frame: Frame): void;
  /** This has been appended to the log. */
  grew(batch: AppendedBatch): void;
  /** The log has no room at all for what comes next. */
  lacksRoom(): void;
  siteAnswered(site: string, roundTripMs: number): void;
  siteDown(site: string, why: string): void;
  /** The session with the primary is over, or the log is another one. */
  endAll(why: string): void;
};

export type RelayOwner = {
  readonly context: GroupContext;
  readonly log: () => JournalRun | undefined;
  /** The session with the primary. */
  readonly wire: () => SessionWire | undefined;
};

type Run = {
  readonly owner: RelayOwner;
  /** By the epoch of the session that the primary has with the copy. */
  readonly feedings: Map<number, Feeding>;
  /** The last set of which this process has sent a copy anything, by its site. */
  readonly sentSets: Map<string, number>;
  /** When the primary may be told again that the log is full. */
  fullTellMs: number;
};

type Feeding = {
  readonly feed: Feed;
  readonly generation: number;
  /** There is one once the first connection is. */
  sender: Sender | undefined;
  readonly peers: Peer[];
  isEnded: boolean;
};

export function createRelay(owner: RelayOwner): Relay {
  const run: Run = { owner, feedings: new Map(), sentSets: new Map(), fullTellMs: 0 };
  const { feedings } = run;
  return {
    receive: (frame) => receive(run, frame),
    grew(batch) {
      for (const { sender } of feedings.values())
        if (sender !== undefined) offerBatch(sender, batch);
      tellFull(run);
    },
    lacksRoom: () => tellFull(run),
    siteAnswered(site, roundTripMs) {
      for (const { feed, sender } of feedings.values())
        if (feed.site === site && sender !== undefined) senderProbed(sender, roundTripMs);
    },
    siteDown(site, why) {
      for (const feeding of feedings.values())
        if (feeding.feed.site === site)
          lose(run, feeding, `${site} does not answer its relay: ${why}`);
    },
    endAll(why) {
      for (const feeding of feedings.values()) endFeeding(run, feeding, why);
    },
  };
}

function receive(run: Run, frame: Frame): void {
  const { type, index: epoch, set } = frame.header;
  const wire = run.owner.wire();
  const known = run.feedings.get(epoch);
  if (wire === undefined) return;
  if (type === frameType.feedEnd) {
    if (known !== undefined) endFeeding(run, known, "the primary feeds that copy no more");
    return;
  }
  if (type === frameType.applied) {
    if (known?.sender !== undefined) senderApplied(known.sender, set);
    return;
  }
  const document = decodeJson(frame);
  const parsed = document.ok ? parseFeed(document.value) : document;
  if (!parsed.ok) return wire.peer.connection.close(parsed.error);
  const feed = parsed.value;
  // A copy has one session: whatever fed an earlier one is of the past, and so there are never more than copies.
  for (const before of run.feedings.values())
    if (before.feed.site === feed.site || before.feed.epoch === feed.epoch)
      endFeeding(run, before, "the primary has asked anew");
  const { generation } = wire;
  const feeding: Feeding = { feed, generation, sender: undefined, peers: [], isEnded: false };
  run.feedings.set(feed.epoch, feeding);
  beginFeeding(run, feeding);
}

// Before it has no room at all: what is on its way while a copy is tripped has its place still. By the size with which this log
// was opened, half as large again as a journal: a reload's counts when it is next opened.
function tellFull(run: Run): void {
  const { context, log: logOf, wire: wireOf } = run.owner;
  const [log, wire] = [logOf(), wireOf()];
  if (log === undefined || wire === undefined || !isRelay(context)) return;
  if (journalFigures(log).bytesUsed < Math.floor((log.log.options.bytesMax * 2) / 3)) return;
  const nowMs = context.ports.clock.nowMs();
  if (nowMs < run.fullTellMs) return;
  run.fullTellMs = nowMs + limits.relayFullTellMs;
  sendBare(wire, frameType.invalidate, { lsn: log.end.lsn, set: log.end.set });
  traceOut(context, context.site, wire.scratch);
}

function isRelay({ config, site }: GroupContext): boolean {
  return [...config.copies.values()].some(({ through }) => through === site);
}

function lose(run: Run, feeding: Feeding, why: string, isUnreadable = false): void {
  if (feeding.isEnded) return;
  endFeeding(run, feeding, why);
  const wire = run.owner.wire();
  if (wire === undefined) return;
  const { context } = run.owner;
  feedFeedLost(wire, { epoch: feeding.feed.epoch, why, isUnreadable });
  traceOut(context, context.site, wire.scratch);
}

function endFeeding({ feedings, sentSets }: Run, feeding: Feeding, why: string): void {
  const { sender, peers, feed } = feeding;
  feeding.isEnded = true;
  feedings.delete(feed.epoch);
  if (sender !== undefined) {
    sentSets.set(feed.site, Math.max(sentSets.get(feed.site) ?? 0, sender.sentSet));
    endSender(sender);
  }
  for (const peer of peers) {
    peer.onLost = () => undefined;
    peer.connection.close(why);
  }
}

function beginFeeding(run: Run, feeding: Feeding): void {
  const { context, log: logOf } = run.owner;
  const { site, fromSet, connections } = feeding.feed;
  const log = logOf();
  if (log === undefined) return lose(run, feeding, `the log of ${context.site} is being made`);
  const copy = context.config.copies.get(site);
  if (copy === undefined || copy.mode === "bunker")
    return lose(run, feeding, `${context.site} knows no copy at ${site}; reload its file`);
  const firstSet = firstSetThere(log);
  if (firstSet > fromSet) {
    const why = `the log of ${context.site} begins with set ${firstSet}, and ${site} lacks set ${fromSet}`;
    return lose(run, feeding, why, true);
  }
  const why = `${site} is fed from the log here, from set ${fromSet} on`;
  emit(context, { kind: "relay", copy: site, why });
  for (let lane = 1; lane <= Math.min(connections, limits.sessionLanesMax); lane += 1)
    dialLane({ run, feeding, log }, lane);
}

type Dialling = { readonly run: Run; readonly feeding: Feeding; readonly log: JournalRun };

// The first connection that comes about is enough to begin with; a later one that does not costs speed, and nothing else.
function dialLane(dialling: Dialling, lane: number): void {
  const { run, feeding } = dialling;
  const { context } = run.owner;
  const { generation } = feeding;
  const { site, incarnation, epoch } = feeding.feed;
  const group = context.config.name;
  const document: LaneOpen = { purpose: "lane", group, generation, incarnation, epoch, lane };
  const target = { site, address: context.addressOf(site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    switch (outcome.kind) {
      case "opened":
        return takeLane(dialling, outcome.peer);
      case "refused":
        if (lane === 1) lose(run, feeding, whyRefused(dialling, outcome.document));
        return;
      case "failed":
        if (lane === 1) lose(run, feeding, `${context.site} cannot reach ${site}: ${outcome.why}`);
    }
  });
}

function whyRefused({ run, feeding }: Dialling, document: unknown): string {
  const refusal = parseRefusal(document);
  const why = refusal.ok ? refusal.value.why : refusal.error;
  return `${feeding.feed.site} takes no connection from ${run.owner.context.site}: ${why}`;
}

function takeLane(dialling: Dialling, peer: Peer): void {
  const { run, feeding, log } = dialling;
  const { context } = run.owner;
  const { generation } = feeding;
  const { site, epoch, fromSet, compress } = feeding.feed;
  if (feeding.isEnded) return peer.connection.close("the session has ended");
  feeding.peers.push(peer);
  // The batches on it would be missing for ever: the session begins anew.
  peer.onLost = (why) => lose(run, feeding, `a connection from ${context.site} to ${site}: ${why}`);
  peer.onFrame = ({ header }) => {
    traceIn(context, site, header);
    if (header.type !== frameType.staged)
      peer.connection.close(`frame type ${header.type} does not belong on this connection`);
  };
  const wire = createSessionWire(peer, generation, epoch, context.ports.crypto);
  if (feeding.sender !== undefined) return addLane(feeding.sender, wire);
  feeding.sender = startSender(log, wire, fromSet, {
    packing: context.ports.packing,
    compress,
    onUnreadable: (why) =>
      lose(run, feeding, `the log of ${context.site} cannot be read: ${why}`, true),
    nowMs: () => context.ports.clock.nowMs(),
    onSent: (sent, entries) =>
      traceSent(context, { copy: site, generation: sent.generation, epoch: sent.epoch }, entries),
    foldsFrom: run.sentSets.get(site) ?? 0,
  });
}
