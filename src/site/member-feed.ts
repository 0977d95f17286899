import { must } from "#base/assert.ts";
import type { LogPosition } from "#core/log-position.ts";
import { isFed, keepsLog, takesSets } from "#core/member-state.ts";
import type { PrimaryEvent } from "#core/primary-events.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import { decodeJson } from "#wire/peer/decode.ts";
import type { LaneOpen } from "#wire/peer/documents.ts";
import { parseFeedLost } from "#wire/peer/feed.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame, FrameHeader, FrameType } from "#wire/peer/messages.ts";
import type { GroupContext } from "./group-context.ts";
import { firstSetThere } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { endLogSender, firstRecord, locateRecord, startLogSender } from "./log-sender.ts";
import type { LogSender, LogStart } from "./log-sender.ts";
import { dialPeer } from "./peer-connection.ts";
import { parseProgress } from "./progress.ts";
import { addLane, endSender, senderApplied, startSender } from "./sender-run.ts";
import type { Sender } from "./sender-state.ts";
import { createSessionWire, feedFeed, feedMark, sendBare } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import { traceIn, traceOut, traceSent } from "./trace-session.ts";

// A primary's sessions, one for each member, and what feeds a member from the journal over its session: whole sets,
// striped over several connections, or the records as they are.

export type MemberSession = {
  readonly member: Member;
  wire: SessionWire | undefined;
  /** What the copy of this session understands of packed batches. */
  unpacks: readonly string[];
  isDialing: boolean;
  attempts: number;
  dialAtMs: number;
  /** With a journal: what feeds the member from it, while it is fed. */
  sender: Sender | undefined;
  /** The last set of which this primary has sent it anything, in whatever session. */
  sentSet: number;
  /** Of a member that keeps the log: where it ends, as it said, and where that is in the journal. */
  logEnd: LogPosition;
  logStart: LogStart | undefined;
  /** It has everything from this set on. */
  logFirstSet: number;
  logSender: LogSender | undefined;
  /** The relay that feeds it in this session. */
  relay: SessionWire | undefined;
  /** When the session last showed a sign of life, or was asked for one. */
  aliveMs: number;
};

/** The primary whose members these are. */
export type Owner = {
  readonly context: GroupContext;
  readonly primary: Primary;
  /** Comes and goes with the first and the last member that takes sets. */
  journal: JournalRun | undefined;
};

export type Sessions = Owner & {
  readonly submit: (event: PrimaryEvent) => void;
  readonly all: MemberSession[];
  epoch: number;
};

export function sessionOf(sessions: Sessions, index: number): MemberSession | undefined {
  return sessions.all.find(({ member }) => member.index === index);
}

// What is queued still goes out, so that the copy can read why; but for us the session ends now.
export function closeSession(sessions: Sessions, index: number, why: string): void {
  const session = sessionOf(sessions, index);
  const wire = session?.wire;
  if (session === undefined || wire === undefined) return;
  session.wire = undefined;
  endSets(sessions, session, wire.epoch, why);
  wire.peer.onFrame = () => undefined;
  wire.peer.onLost = () => undefined;
  wire.peer.connection.end(why);
  sessions.submit({ kind: "sessionLost", member: index, epoch: wire.epoch, why });
}

// --------------------------------------------------------------------------------------------- log

/** What a log must have before it syncs: every entry that has its place in the order by now. */
export function flushedLsn({ journal }: Primary, member: Member): number {
  return keepsLog(member) ? (journal?.lastLsn ?? 0) : 0;
}

export function locateLog(sessions: Sessions, session: MemberSession, epoch: number): void {
  const journal = must(sessions.journal, "only a group with a journal has one that keeps it");
  const member = session.member.index;
  locateRecord(journal, session.logEnd, (found) => {
    if (found !== undefined && "code" in found) {
      const why = `the journal cannot be read for it: ${found.message}`;
      return closeSession(sessions, member, why);
    }
    session.logStart = found;
    sessions.submit({ kind: "logLocated", member, epoch, isFound: found !== undefined });
  });
}

/** The member has BEGIN on record: it gets the journal from where its log ends, or from the first record on. */
export function startLog(sessions: Sessions, session: MemberSession, wire: SessionWire): void {
  const journal = must(sessions.journal, "only a group with a journal has one that keeps it");
  const { index, site } = session.member;
  const { generation, epoch } = wire;
  if (session.logStart === undefined) session.logFirstSet = firstSetThere(journal);
  const firstSet = session.logFirstSet;
  session.logSender = startLogSender(journal, wire, session.logStart ?? firstRecord(journal), {
    onUnreadable: (why) =>
      closeSession(sessions, index, `what it lacks is not in the journal: ${why}`),
    onCaughtUp: () => sessions.submit({ kind: "logCaughtUp", member: index, firstSet }),
    onSent: (entries) => traceSent(sessions.context, { copy: site, generation, epoch }, entries),
  });
}

// -------------------------------------------------------------------------------------------- sets

/** The member is fed from the journal, at first over the session's own connection; more are dialled beside it. */
export function startSets(sessions: Sessions, index: number, fromSet: number): void {
  const session = must(sessionOf(sessions, index), "an effect names an unknown member");
  const { through } = session.member.policy;
  if (through !== undefined) return startRelayed(sessions, session, fromSet, through);
  const journal = must(sessions.journal, "only a group with a journal sends sets");
  const { wire, member } = session;
  const { packing } = sessions.context.ports;
  if (wire === undefined) return;
  session.sender = startSender(journal, wire, fromSet, {
    packing,
    compress: session.unpacks.includes(packing.name) ? member.policy.compress : undefined,
    onUnreadable(why) {
      const lost = `what it lacks cannot be read from the journal: ${why}`;
      sessions.submit({ kind: "journalUnreadable", member: index, why: lost });
    },
    nowMs: () => sessions.context.ports.clock.nowMs(),
    onSent: ({ generation, epoch }, entries) =>
      traceSent(sessions.context, { copy: member.site, generation, epoch }, entries),
    ...(member.policy.mode.folds ? { foldsFrom: session.sentSet } : {}),
  });
  for (let lane = 1; lane < member.policy.connections; lane += 1) dialLane(sessions, session, lane);
}

// What the relay has on its way to us about an earlier session names that one's epoch.
function startRelayed(
  sessions: Sessions,
  session: MemberSession,
  fromSet: number,
  through: string,
): void {
  const { member, wire } = session;
  const { packing } = sessions.context.ports;
  const relay = sessions.all.find((one) => one.member.site === through)?.wire;
  if (wire === undefined) return;
  if (relay === undefined)
    return closeSession(sessions, member.index, `its relay ${through} is not there`);
  session.relay = relay;
  const { compress, connections } = member.policy;
  const { site } = member;
  const packs =
    session.unpacks.includes(packing.name) && compress !== undefined ? { compress } : {};
  const { incarnation } = sessions.primary.record;
  feedFeed(relay, { site, incarnation, epoch: wire.epoch, fromSet, connections, ...packs });
  traceOut(sessions.context, relay.peer.site, relay.scratch);
}

/** The relay at the other end of this session feeds a copy no more. Of a copy that it does not feed it has nothing to say. */
export function feedLost(sessions: Sessions, from: SessionWire, frame: Frame): void {
  const document = decodeJson(frame);
  const lost = document.ok ? parseFeedLost(document.value) : document;
  if (!lost.ok) return from.peer.connection.close(lost.error);
  const { epoch, why, isUnreadable } = lost.value;
  const session = sessions.all.find(({ wire, relay }) => relay === from && wire?.epoch === epoch);
  if (session === undefined) return;
  const { index } = session.member;
  if (isUnreadable) sessions.submit({ kind: "journalUnreadable", member: index, why });
  else closeSession(sessions, index, why);
}

// A connection that does not come about costs speed, and nothing else.
function dialLane(sessions: Sessions, session: MemberSession, lane: number): void {
  const { context } = sessions;
  const { wire, sender, member } = session;
  if (wire === undefined || sender === undefined) return;
  const { generation, epoch } = wire;
  const document: LaneOpen = {
    purpose: "lane",
    group: context.config.name,
    generation,
    incarnation: sessions.primary.record.incarnation,
    epoch,
    lane,
  };
  const target = { site: member.site, address: context.addressOf(member.site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    if (outcome.kind !== "opened") return;
    const { peer } = outcome;
    if (session.sender !== sender) return peer.connection.close("the session has ended");
    // The batches on it would be missing for ever: the session begins anew.
    peer.onLost = (why) => {
      if (session.sender === sender) closeSession(sessions, member.index, `a connection: ${why}`);
    };
    peer.onFrame = ({ header }) => {
      traceIn(context, member.site, header);
      session.aliveMs = context.ports.clock.nowMs();
      if (header.type !== frameType.staged)
        peer.connection.close(`frame type ${header.type} does not belong on this connection`);
    };
    addLane(sender, createSessionWire(peer, generation, epoch, context.ports.crypto));
  });
}

/**
 * A window of sets is full, and nothing is sent any more: were the copy's machine started anew meanwhile, neither side would
 * ever learn that its connection is gone. A frame that asks for nothing finds out; a copy that is merely slow takes no harm.
 */
export function nudgeIfSilent(sessions: Sessions, session: MemberSession): void {
  const { sender, member, wire } = session;
  if (wire === undefined || !takesSets(member)) return;
  const nowMs = sessions.context.ports.clock.nowMs();
  // BEGUN, or what became of the sets that are whole there.
  const isAsked = sender === undefined ? isFed(member) : sender.sentSealed > sender.appliedSet;
  if (isAsked && nowMs - session.aliveMs < member.policy.ackTimeoutMs) return;
  session.aliveMs = nowMs;
  if (isAsked) feedMark(wire, 0);
}

export function endSets(
  sessions: Sessions,
  session: MemberSession,
  epoch: number,
  why: string,
): void {
  const { sender, logSender, relay } = session;
  session.relay = undefined;
  if (relay !== undefined) tellRelay(sessions, relay, frameType.feedEnd, { index: epoch });
  session.sender = undefined;
  session.logSender = undefined;
  if (logSender !== undefined) endLogSender(logSender);
  if (sender === undefined) return;
  session.sentSet = Math.max(session.sentSet, sender.sentSet);
  endSender(sender);
  for (const { wire } of sender.lanes.slice(1)) wire.peer.connection.close(why);
}

function tellRelay(
  sessions: Sessions,
  relay: SessionWire,
  type: FrameType,
  fields: Partial<FrameHeader>,
): void {
  sendBare(relay, type, fields);
  traceOut(sessions.context, relay.peer.site, relay.scratch);
}

export function progressed(sessions: Sessions, session: MemberSession, frame: Frame): void {
  const sets = parseProgress(frame);
  if (sets === undefined) return session.wire?.peer.connection.close("a PROGRESS is incomplete");
  const { sender, relay, wire } = session;
  session.attempts = 0;
  if (sender !== undefined) senderApplied(sender, sets.appliedSet);
  if (relay !== undefined && wire !== undefined)
    tellRelay(sessions, relay, frameType.applied, { index: wire.epoch, set: sets.appliedSet });
  sessions.submit({ kind: "progress", member: session.member.index, sets });
}
