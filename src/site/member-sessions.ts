import { limits } from "#base/limits.ts";
import { joined } from "#base/bytes.ts";
import { compareHistories, generationCounter } from "#core/history.ts";
import type { PrimaryEffect, PrimaryEvent } from "#core/primary-events.ts";
import type { Member } from "#core/primary-state.ts";
import { noPosition } from "#core/log-position.ts";
import type { LogPosition } from "#core/log-position.ts";
import { mayConnect } from "#core/slow.ts";
import { decodeJson, reasonIn } from "#wire/peer/decode.ts";
import { parseOpened, parseRefusal } from "#wire/peer/documents.ts";
import type { SessionOpen } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame, FrameHeader } from "#wire/peer/messages.ts";
import type { GroupContext } from "./group-context.ts";
import {
  closeSession,
  endSets,
  feedLost,
  flushedLsn,
  locateLog,
  nudgeIfSilent,
  progressed,
  sessionOf,
  startLog,
  startSets,
} from "./member-feed.ts";
import type { Owner, Sessions, MemberSession } from "./member-feed.ts";
import { offerRole } from "./offer-role.ts";
import { outrankedBy } from "./outranked.ts";
import { dialPeer } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import {
  createSessionWire,
  feedBegin,
  feedCompare,
  feedFlush,
  feedFractured,
  feedMark,
  feedMemberMap,
  feedRegion,
  feedSynchronized,
  feedWrite,
  sendBare,
} from "./session-wire.ts";
import { offerBatch, senderProbed } from "./sender-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { offerRecord } from "./log-sender.ts";
import { traceIn, traceOut } from "./trace-session.ts";

// The primary's sessions with its members: dials them when they may be fed, turns frames into events and effects into
// frames.

export type MemberSessions = {
  /** Dials every member that may be dialled now. */
  dialDue(): void;
  siteDown(site: string, why: string): void;
  /** The site lives: whoever waits to be dialled again need not wait longer. */
  siteAnswered(site: string, roundTripMs: number): void;
  perform(effect: SessionEffect): void;
  /** This has been appended to the journal. */
  journalGrew(batch: AppendedBatch): void;
  /** The machine has another journal, or other members: at most one of them has left. */
  membersChanged(journal: JournalRun | undefined): void;
  closeAll(why: string): void;
};

export type SessionEffect = Extract<
  PrimaryEffect,
  {
    kind:
      | "sendWrite"
      | "sendCompare"
      | "sendRegion"
      | "sendBegin"
      | "sendFlush"
      | "sendMemberMap"
      | "sendSynchronized"
      | "sendFractured"
      | "sendSets"
      | "sendMark"
      | "locateLog"
      | "sendLog"
      | "sendReleased"
      | "closeSession"
      | "offerRole";
  }
>;

export function createMemberSessions(
  owner: Owner,
  submit: (event: PrimaryEvent) => void,
): MemberSessions {
  const { primary } = owner;
  const sessions: Sessions = {
    ...owner,
    submit,
    epoch: 0,
    all: primary.members.map(newSession),
  };
  return {
    dialDue() {
      for (const session of sessions.all) {
        nudgeIfSilent(sessions, session);
        dialIfDue(sessions, session);
      }
    },
    siteDown(site, why) {
      for (const session of sessions.all) {
        if (session.member.site !== site) continue;
        submit({ kind: "memberDown", member: session.member.index, why });
        session.wire?.peer.connection.close(why);
      }
    },
    siteAnswered(site, roundTripMs) {
      for (const session of sessions.all) {
        if (session.member.site !== site) continue;
        if (session.wire === undefined && !isRelayed(session)) session.attempts = 0;
        if (session.sender !== undefined) senderProbed(session.sender, roundTripMs);
      }
    },
    perform: (effect) => perform(sessions, effect),
    journalGrew(batch) {
      for (const { sender, logSender } of sessions.all) {
        if (logSender !== undefined) offerRecord(logSender, batch);
        if (sender !== undefined) offerBatch(sender, batch);
      }
    },
    membersChanged(journal) {
      sessions.journal = journal;
      const added = primary.members.filter(({ index }) => sessionOf(sessions, index) === undefined);
      sessions.all.push(...added.map(newSession));
      const gone = sessions.all.findIndex(({ member }) => !primary.members.includes(member));
      if (gone !== -1) sessions.all.splice(gone, 1);
    },
    closeAll(why) {
      for (const session of sessions.all) session.wire?.peer.connection.close(why);
    },
  };
}

// That it answers us says nothing of the way from its relay: the first PROGRESS does.
function isRelayed({ member }: MemberSession): boolean {
  return member.policy.through !== undefined;
}

function newSession(member: Member): MemberSession {
  return {
    member,
    wire: undefined,
    unpacks: [],
    isDialing: false,
    attempts: 0,
    dialAtMs: 0,
    sender: undefined,
    sentSet: 0,
    logEnd: noPosition,
    logStart: undefined,
    logFirstSet: Number.POSITIVE_INFINITY,
    relay: undefined,
    logSender: undefined,
    aliveMs: 0,
  };
}

function dialIfDue(sessions: Sessions, session: MemberSession): void {
  const { context, primary } = sessions;
  const nowMs = context.ports.clock.nowMs();
  if (session.isDialing || session.wire !== undefined || nowMs < session.dialAtMs) return;
  // Before the start is on record, this incarnation does not exist yet.
  if (primary.lsnReserved === 0 || !mayConnect(primary, session.member)) return;
  session.isDialing = true;
  session.attempts += 1;
  session.dialAtMs = nowMs + backoffMs(context, session.attempts);
  sessions.epoch += 1;
  const epoch = sessions.epoch;
  const document = openDocument(sessions, session, epoch);
  const { site } = session.member;
  const target = { site, address: context.addressOf(site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    session.isDialing = false;
    switch (outcome.kind) {
      case "opened":
        return opened(sessions, session, {
          peer: outcome.peer,
          asked: document,
          answer: outcome.document,
        });
      case "refused":
        return refused(sessions, session, outcome.document);
      case "failed":
        return noSession(sessions, session, outcome.why, outcome.isAbsent);
    }
  });
}

// Doubles up to the limit; the random part keeps two sites from dialling in step.
function backoffMs(context: GroupContext, attempts: number): number {
  const doubled = limits.peerRedialMsMin * 2 ** Math.min(attempts - 1, 10);
  const jitter = (context.ports.crypto.randomBytes(1)[0] ?? 0) / 512;
  return Math.min(limits.peerRedialMsMax, doubled) * (0.75 + jitter);
}

function openDocument(sessions: Sessions, session: MemberSession, epoch: number): SessionOpen {
  const { record } = sessions.primary;
  return {
    purpose: "session",
    group: record.group,
    volumes: record.volumes,
    regionBytes: record.regionBytes,
    history: record.history,
    incarnation: record.incarnation,
    epoch,
    lsn: sessions.primary.nextLsn - 1,
    unit: session.member.policy.mode.unit,
  };
}

function refused(sessions: Sessions, session: MemberSession, document: unknown): void {
  const refusal = parseRefusal(document);
  const why = refusal.ok ? refusal.value.why : refusal.error;
  if (refusal.ok && refusal.value.code === "higher-generation") {
    const ours = sessions.primary.record.history;
    if (compareHistories(refusal.value.history, ours) === "ahead")
      return sessions.submit(outrankedBy(session.member.site, refusal.value.history, ours));
  }
  if (refusal.ok && (refusal.value.code === "stale" || refusal.value.code === "activated")) {
    return sessions.submit({ kind: "outranked", by: refusal.value.why });
  }
  if (refusal.ok && refusal.value.code === "diverged") {
    return sessions.submit({ kind: "splitBrain", member: session.member.index, why });
  }
  // A refusal proves that the site lives; it may be about to be promoted.
  noSession(sessions, session, why, false);
}

function noSession(
  sessions: Sessions,
  session: MemberSession,
  why: string,
  isAbsent: boolean,
): void {
  const member = session.member.index;
  sessions.submit({ kind: "memberDown", member, why, ...(isAbsent ? {} : { mayLive: true }) });
}

function opened(
  sessions: Sessions,
  session: MemberSession,
  {
    peer,
    asked,
    answer,
  }: { readonly peer: Peer; readonly asked: SessionOpen; readonly answer: unknown },
): void {
  const { epoch } = asked;
  const hello = parseOpened(answer);
  const member = session.member.index;
  // A copy has made itself ready for what it was asked to take: staged sets would undo what it is sent as a mirror.
  const isOfOldMode = asked.unit !== session.member.policy.mode.unit;
  if (!hello.ok || isOfOldMode || !mayConnect(sessions.primary, session.member)) {
    peer.connection.close(hello.ok ? "not wanted any more" : hello.error);
    if (!hello.ok) noSession(sessions, session, hello.error, false);
    return;
  }
  const generation = generationCounter(sessions.primary.record.history);
  // Or a silence that is over would end, at its next tick, the session that has ended it.
  sessions.context.inquiries.noteLife(session.member.site);
  session.wire = createSessionWire(peer, generation, epoch, sessions.context.ports.crypto);
  if (!isRelayed(session)) session.attempts = 0;
  peer.onFrame = (frame) => receive(sessions, session, frame);
  peer.onLost = (why) => {
    session.wire = undefined;
    endSets(sessions, session, epoch, why);
    sessions.submit({ kind: "sessionLost", member, epoch, why });
  };
  const { replicaId, history, isBlank, mustRewrite, aloneTowards } = hello.value;
  const { completeSet, completeLsn, wasReplayed = false, unpacks, discards = [] } = hello.value;
  session.unpacks = unpacks ?? [];
  // Another tenure's log does not lead to ours, wherever it ends.
  const isSame = compareHistories(history, sessions.primary.record.history) === "same";
  session.logFirstSet = hello.value.logFirstSet ?? Number.POSITIVE_INFINITY;
  session.logEnd = isSame ? (hello.value.logEnd ?? noPosition) : noPosition;
  sessions.submit({
    kind: "sessionOpened",
    member,
    epoch,
    hello: {
      replicaId,
      history,
      isBlank,
      mustRewrite,
      aloneTowards,
      completeSet,
      completeLsn,
      wasReplayed,
      discards,
    },
  });
}

// ------------------------------------------------------------------------------------------ frames

function receive(sessions: Sessions, session: MemberSession, frame: Frame): void {
  const { wire } = session;
  const { header } = frame;
  if (wire === undefined) return;
  if (header.generation !== wire.generation || header.epoch !== wire.epoch) return;
  traceIn(sessions.context, session.member.site, header);
  session.aliveMs = sessions.context.ports.clock.nowMs();
  const member = session.member.index;
  switch (header.type) {
    case frameType.ack:
      return sessions.submit({ kind: "acked", member, sequence: unwrap(session, header.sequence) });
    case frameType.flushed:
      return sessions.submit({ kind: "flushed", member, ticket: header.index });
    case frameType.differs: {
      const sequence = unwrap(session, header.sequence);
      return sessions.submit({ kind: "differs", member, sequence, bits: joined(frame.body) });
    }
    case frameType.openMap:
      return sessions.submit({
        kind: "memberOpenMap",
        member,
        volume: header.volume,
        firstGranule: header.offset,
        bits: joined(frame.body),
      });
    case frameType.openMapEnd:
      return sessions.submit({ kind: "memberOpenMapEnd", member });
    case frameType.progress:
      return progressed(sessions, session, frame);
    // What is staged there is on its way to be complete, which is what we wait for; the trace has it.
    case frameType.staged:
      return;
    case frameType.logged:
      return sessions.submit({ kind: "logged", member, through: toldIn(header) });
    case frameType.feedLost:
      return feedLost(sessions, wire, frame);
    case frameType.invalidate:
      return sessions.submit({ kind: "logOverflowed", member });
    case frameType.purged: {
      const { set: completeSet, lsn: completeLsn, index: entries } = header;
      return sessions.submit({ kind: "purged", member, completeSet, completeLsn, entries });
    }
    case frameType.begun:
      return sessions.submit({ kind: "begun", member });
    case frameType.synchronizedRecorded:
      return sessions.submit({ kind: "synchronizedRecorded", member });
    case frameType.failed: {
      const { why, isActivated } = failureIn(frame);
      // A refusal is no loss: nothing may be acked any more, whatever `onLoss` says (decision 6).
      if (isActivated) return sessions.submit({ kind: "outranked", by: why });
      return wire.peer.connection.close(why);
    }
    default:
      return wire.peer.connection.close(`a copy has no business to send frame type ${header.type}`);
  }
}

// The start of the primary that gave it is our own, or one that the log's end was found for.
function toldIn({ lsn, set, index }: FrameHeader): LogPosition {
  return { incarnation: 0, lsn, set, index };
}

function failureIn(frame: Frame): { readonly why: string; readonly isActivated: boolean } {
  const document = decodeJson(frame);
  const code = document.ok ? (document.value as { code?: unknown } | null)?.code : undefined;
  const why = reasonIn(frame) ?? "the copy failed and did not say why";
  return { why, isActivated: code === "activated" };
}

// The wire has 32 bits of a sequence; the rest follows from what was acked last.
function unwrap(session: MemberSession, low: number): number {
  const base = session.member.ackedSequence;
  return base + ((low - (base % 0x1_0000_0000) + 0x1_0000_0000) % 0x1_0000_0000);
}

// ----------------------------------------------------------------------------------------- effects

function perform(sessions: Sessions, effect: SessionEffect): void {
  const index = "item" in effect ? effect.item.member : effect.member;
  const session = sessionOf(sessions, index);
  const wire = session?.wire;
  // The connection is gone already; the machine learns of it by the event that is on its way.
  if (session === undefined || wire === undefined) return;
  const { primary } = sessions;
  const lsn = primary.nextLsn - 1;
  switch (effect.kind) {
    case "sendWrite":
      feedWrite(wire, effect.request, effect.sequence);
      break;
    case "sendCompare":
      feedCompare(wire, effect.item, effect.bytes, { sequence: effect.sequence, lsn });
      break;
    case "sendRegion":
      feedRegion(wire, effect.item, effect.bytes, { sequence: effect.sequence, lsn });
      break;
    case "sendBegin": {
      const { history, incarnation, lsnReserved } = primary.record;
      const { resync, firstSet, lsn: begunLsn, log } = effect;
      const begin = { history, incarnation, lsn: begunLsn, lsnReserved, resync, firstSet };
      const purge = session.member.policy.mode.folds ? ({ purge: true } as const) : {};
      feedBegin(wire, { ...begin, ...purge, ...(log === undefined ? {} : { log }) });
      break;
    }
    case "sendFlush":
      feedFlush(wire, effect.volume, effect.ticket, flushedLsn(primary, session.member));
      break;
    case "sendMemberMap":
      feedMemberMap(wire, effect.volume, effect.map, primary.volumes[effect.volume]?.bytes ?? 0);
      return;
    case "sendSynchronized":
      feedSynchronized(wire, effect.lsn, effect.set);
      break;
    case "sendSets":
      return startSets(sessions, index, effect.fromSet);
    case "locateLog":
      return locateLog(sessions, session, wire.epoch);
    case "sendLog":
      return startLog(sessions, session, wire);
    case "sendReleased":
      sendBare(wire, frameType.released, { lsn: effect.lsn, set: effect.set });
      break;
    case "sendMark":
      feedMark(wire, effect.set);
      break;
    case "sendFractured":
      feedFractured(wire, effect.lsn, effect.why);
      break;
    case "closeSession":
      return closeSession(sessions, index, effect.why);
    case "offerRole":
      return offerRole(sessions, { wire, site: session.member.site, ...effect });
  }
  traceOut(sessions.context, session.member.site, wire.scratch);
}
