import { frameType } from "#wire/peer/messages.ts";
import { parseProbe } from "#wire/peer/probe.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { decodeJson } from "#wire/peer/decode.ts";
import type { Transport } from "#ports/transport.ts";
import { dialPeer, sendDocument } from "./peer-connection.ts";
import type { Peer, PeerIdentity } from "./peer-connection.ts";

// Direct inquiry (U15): each site keeps one connection to each other site for questions alone, so that an answer never
// waits behind data. It tells who is alive, carries every group's view both ways, and is what a promotion asks first.

export type Inquiries = {
  /** Begins to probe. */
  start(): void;
  stop(): void;
  /** Handles the frames of an inquiry that another site has opened. */
  answer(peer: Peer): void;
  /** From now on these sites are probed, as often and as patiently as this says. */
  retarget(sites: readonly InquirySite[]): void;
  /** What was heard from a site. */
  of(site: string): InquiryStatus;
  /** It has answered us over a connection of its own: silent it is since now at the earliest. */
  noteLife(site: string): void;
  /**
   * Asks now. `done` gets true when the site answers within its timeout, false when it does not or is known to be down.
   */
  ask(site: string, done: (answers: boolean) => void): void;
};

export type InquiryStatus = {
  readonly isUp: boolean;
  /** By our monotonic clock; undefined when the site never answered. */
  readonly lastAnswerMs: number | undefined;
  readonly roundTripMs: number;
  /** Since when it counts as down without a break, and this process has not stood still; undefined while it does not. */
  readonly downSinceMs?: number | undefined;
  /** It counts as down for it refuses our inquiry: somebody is there. */
  readonly refuses?: boolean;
  readonly why: string;
};

/**
 * What a link is that does not answer: a machine that answers for its process says that this is down, and so does the file of a
 * unix socket that is not there.
 */
export function linkDownFor(why: string): "peer-down" | "wan-down" {
  return /refused|nobody listens|connect ENOENT/i.test(why) ? "peer-down" : "wan-down";
}

export type InquiryOptions = {
  readonly identity: PeerIdentity;
  readonly transport: Transport;
  readonly sites: readonly InquirySite[];
  /** What this site says of the groups that it shares with another. */
  readonly viewsFor: (site: string) => readonly GroupView[];
  readonly onViews: (site: string, views: readonly GroupView[]) => void;
  /** Our own probe was answered. */
  readonly onAnswer: (site: string, roundTripMs: number) => void;
  readonly onDown: (site: string, why: string) => void;
  /** It is still down, as of each tick; nobody who was heard after this instant is silent for longer than a timeout. */
  readonly onStillDown: (site: string, why: string, silentBeforeMs: number) => void;
};

export type InquirySite = {
  readonly site: string;
  readonly address: string;
  readonly probeMs: number;
  readonly timeoutMs: number;
};

type Link = {
  target: InquirySite;
  /** Its probes, once they have begun. */
  timer: { cancel(): void } | undefined;
  peer: Peer | undefined;
  isDialing: boolean;
  isStopped: boolean;
  isUp: boolean;
  isToldDown: boolean;
  downSinceMs: number | undefined;
  refuses: boolean;
  lastAnswerMs: number | undefined;
  /** Since when silence counts: the start, the last answer, a session's begin, or the end of a standstill of our own. */
  silentSinceMs: number;
  /** Since when this process has not stood still. */
  awakeSinceMs: number;
  lastTickMs: number;
  sentAtMs: number;
  sentId: number;
  answeredId: number;
  roundTripMs: number;
  why: string;
  readonly askers: { readonly afterId: number; readonly done: (answers: boolean) => void }[];
};

export function createInquiries(options: InquiryOptions): Inquiries {
  const { clock } = options.identity;
  const links = new Map<string, Link>();
  const timers: { cancel(): void }[] = [];
  const answering = new Set<Peer>();
  for (const target of options.sites) links.set(target.site, createLink(target, clock.nowMs()));
  let isStarted = false;
  return {
    start() {
      isStarted = true;
      for (const link of links.values()) begin(options, link);
    },
    retarget(sites) {
      for (const [site, link] of links) {
        if (sites.some((target) => target.site === site)) continue;
        links.delete(site);
        end(link, "nothing is shared with this site any more");
      }
      for (const target of sites) {
        const link = links.get(target.site);
        if (link === undefined) {
          const added = createLink(target, clock.nowMs());
          links.set(target.site, added);
          if (isStarted) begin(options, added);
        } else {
          aim(options, link, target);
        }
      }
    },
    stop() {
      isStarted = false;
      for (const timer of timers.splice(0)) timer.cancel();
      for (const link of links.values()) end(link, "this site is stopping");
      for (const peer of answering) peer.connection.close("this site is stopping");
    },
    answer(peer) {
      answering.add(peer);
      peer.onLost = () => answering.delete(peer);
      answerProbes(options, peer);
    },
    of(site) {
      const link = links.get(site);
      if (link === undefined) {
        return { isUp: false, lastAnswerMs: undefined, roundTripMs: 0, why: "not a neighbour" };
      }
      return link;
    },
    noteLife(site) {
      const link = links.get(site);
      if (link !== undefined) link.silentSinceMs = clock.nowMs();
    },
    ask(site, done) {
      const link = links.get(site);
      if (link === undefined) return done(false);
      const asker = { afterId: link.sentId, done };
      link.askers.push(asker);
      // Only this asker has waited that long.
      const giveUp = (): void => {
        const at = link.askers.indexOf(asker);
        if (at === -1) return;
        link.askers.splice(at, 1);
        done(false);
      };
      timers.push(clock.after(link.target.timeoutMs, giveUp));
      probe(options, link);
    },
  };
}

function begin(options: InquiryOptions, link: Link): void {
  const { clock } = options.identity;
  link.silentSinceMs = clock.nowMs();
  link.awakeSinceMs = clock.nowMs();
  link.lastTickMs = clock.nowMs();
  link.timer = clock.every(link.target.probeMs, () => tick(options, link));
  probe(options, link);
}

function end(link: Link, why: string): void {
  link.timer?.cancel();
  // Whoever is told of new settings from now on begins nothing.
  link.timer = undefined;
  link.isStopped = true;
  link.peer?.connection.close(why);
  answerAskers(link, link.answeredId, true);
}

// Another address is dialled at once; a connection that is there and answers is as good as before otherwise.
function aim(options: InquiryOptions, link: Link, target: InquirySite): void {
  const was = link.target;
  link.target = target;
  if (was.address !== target.address) link.peer?.connection.close("it has another address now");
  if (was.probeMs === target.probeMs || link.timer === undefined) return;
  link.timer.cancel();
  const { clock } = options.identity;
  link.lastTickMs = clock.nowMs();
  link.timer = clock.every(target.probeMs, () => tick(options, link));
}

function createLink(target: InquirySite, nowMs: number): Link {
  return {
    target,
    timer: undefined,
    peer: undefined,
    isDialing: false,
    isStopped: false,
    isUp: false,
    isToldDown: false,
    downSinceMs: undefined,
    refuses: false,
    lastAnswerMs: undefined,
    silentSinceMs: nowMs,
    awakeSinceMs: nowMs,
    lastTickMs: nowMs,
    sentAtMs: nowMs,
    sentId: 0,
    answeredId: 0,
    roundTripMs: 0,
    why: "not reached yet",
    askers: [],
  };
}

function tick(options: InquiryOptions, link: Link): void {
  const nowMs = options.identity.clock.nowMs();
  const { site, probeMs, timeoutMs } = link.target;
  // Whoever stood still himself asks again before he declares anybody lost.
  if (nowMs - link.lastTickMs > 2 * probeMs) {
    link.silentSinceMs = nowMs;
    link.awakeSinceMs = nowMs;
    if (link.downSinceMs !== undefined) link.downSinceMs = nowMs;
  }
  link.lastTickMs = nowMs;
  if (nowMs - link.silentSinceMs >= timeoutMs) {
    down(options, link, `no answer for ${timeoutMs} ms`);
    link.peer?.connection.close("probes are not answered");
    link.silentSinceMs = nowMs;
  }
  const silentBeforeMs = nowMs - timeoutMs;
  if (link.isToldDown && link.awakeSinceMs <= silentBeforeMs)
    options.onStillDown(site, link.why, silentBeforeMs);
  probe(options, link);
}

function probe(options: InquiryOptions, link: Link): void {
  if (link.peer === undefined) return dial(options, link);
  // One question at a time: a slow link is not given a queue of them.
  if (link.sentId !== link.answeredId) return;
  link.sentId += 1;
  link.sentAtMs = options.identity.clock.nowMs();
  const views = options.viewsFor(link.target.site);
  sendDocument(link.peer, frameType.probe, { id: link.sentId, views });
}

function dial(options: InquiryOptions, link: Link): void {
  if (link.isDialing || link.isStopped) return;
  link.isDialing = true;
  // A dial that hangs longer than a silence may last would hide the silence of a session that is there (I35).
  const { site, address, timeoutMs } = link.target;
  const target = { site, address, document: { purpose: "inquiry" }, timeoutMs };
  dialPeer(options.identity, options.transport, target, (outcome) => {
    link.isDialing = false;
    switch (outcome.kind) {
      case "opened":
        return take(options, link, outcome.peer);
      case "refused":
        link.refuses = true;
        return down(options, link, "it refuses our inquiry");
      case "failed":
        // Nobody listens: the process is down for certain. Anything else may pass, and is given its time.
        if (outcome.isAbsent) down(options, link, outcome.why);
        else link.why = outcome.why;
    }
  });
}

function take(options: InquiryOptions, link: Link, peer: Peer): void {
  // A dial that was under way when the site stopped.
  if (link.isStopped) return peer.connection.close("this site has stopped");
  link.peer = peer;
  link.answeredId = link.sentId;
  peer.onLost = (why) => {
    link.peer = undefined;
    link.answeredId = link.sentId;
    link.why = why;
  };
  peer.onFrame = (frame) => {
    const document = decodeJson(frame);
    const reply = document.ok ? parseProbe(document.value) : document;
    if (frame.header.type !== frameType.probeReply || !reply.ok) {
      return peer.connection.close("it answered a probe with something else");
    }
    answered(options, link, reply.value.id);
    options.onViews(link.target.site, reply.value.views);
    options.onAnswer(link.target.site, link.roundTripMs);
    answerAskers(link, reply.value.id, false);
  };
  probe(options, link);
}

function answered(options: InquiryOptions, link: Link, id: number): void {
  const nowMs = options.identity.clock.nowMs();
  link.answeredId = id;
  link.lastAnswerMs = nowMs;
  link.silentSinceMs = nowMs;
  link.roundTripMs = nowMs - link.sentAtMs;
  link.isUp = true;
  link.isToldDown = false;
  link.downSinceMs = undefined;
  link.refuses = false;
  link.why = "";
}

function down(options: InquiryOptions, link: Link, why: string): void {
  link.isUp = false;
  link.why = why;
  answerAskers(link, link.answeredId, true);
  if (link.isToldDown) return;
  link.isToldDown = true;
  link.downSinceMs = options.identity.clock.nowMs();
  options.onDown(link.target.site, why);
}

// An answer counts only for those who asked before its question went out.
function answerAskers(link: Link, answeredId: number, isGivenUp: boolean): void {
  for (const asker of link.askers.splice(0)) {
    if (answeredId > asker.afterId) asker.done(true);
    else if (isGivenUp) asker.done(false);
    else link.askers.push(asker);
  }
}

function answerProbes(options: InquiryOptions, peer: Peer): void {
  sendDocument(peer, frameType.opened, {});
  peer.onFrame = (frame) => {
    const document = decodeJson(frame);
    const asked = document.ok ? parseProbe(document.value) : document;
    if (frame.header.type !== frameType.probe || !asked.ok) {
      return peer.connection.close("it asked something else than a probe");
    }
    options.onViews(peer.site, asked.value.views);
    const views = options.viewsFor(peer.site);
    sendDocument(peer, frameType.probeReply, { id: asked.value.id, views });
  };
}
