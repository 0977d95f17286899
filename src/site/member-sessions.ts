import { must } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import { joined } from "#base/bytes.ts";
import { compareHistories, generationCounter } from "#core/history.ts";
import type { PrimaryEffect, PrimaryEvent } from "#core/primary-events.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import { isFed, takesSets } from "#core/member-state.ts";
import { mayConnect } from "#core/slow.ts";
import { decodeJson } from "#wire/peer/decode.ts";
import { parseOpened, parseRefusal } from "#wire/peer/documents.ts";
import type { LaneOpen, SessionOpen } from "#wire/peer/documents.ts";
import { parseProgress } from "./progress.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import type { GroupContext } from "./group-context.ts";
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
} from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import {
  addLane,
  endSender,
  offerBatch,
  senderApplied,
  senderProbed,
  startSender,
} from "./sender-run.ts";
import type { Sender } from "./sender-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { traceBatch, traceIn, traceOut } from "./trace-session.ts";

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
      | "closeSession"
      | "offerRole";
  }
>;

type Slot = {
  readonly member: Member;
  wire: SessionWire | undefined;
  /** What the copy of this session understands of packed batches. */
  unpacks: readonly string[];
  isDialing: boolean;
  attempts: number;
  dialAtMs: number;
  /** With a journal: what feeds the member from it, while it is fed. */
  sender: Sender | undefined;
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

type Sessions = Owner & {
  readonly submit: (event: PrimaryEvent) => void;
  readonly slots: Slot[];
  epoch: number;
};

export function createMemberSessions(
  owner: Owner,
  submit: (event: PrimaryEvent) => void,
): MemberSessions {
  const { primary } = owner;
  const sessions: Sessions = {
    ...owner,
    submit,
    epoch: 0,
    slots: primary.members.map(newSlot),
  };
  return {
    dialDue() {
      for (const slot of sessions.slots) {
        nudgeIfSilent(sessions, slot);
        dialIfDue(sessions, slot);
      }
    },
    siteDown(site, why) {
      for (const slot of sessions.slots) {
        if (slot.member.site !== site) continue;
        submit({ kind: "memberDown", member: slot.member.index, why });
        slot.wire?.peer.connection.close(why);
      }
    },
    siteAnswered(site, roundTripMs) {
      for (const slot of sessions.slots) {
        if (slot.member.site !== site) continue;
        if (slot.wire === undefined) slot.attempts = 0;
        if (slot.sender !== undefined) senderProbed(slot.sender, roundTripMs);
      }
    },
    perform: (effect) => perform(sessions, effect),
    journalGrew(batch) {
      for (const { sender } of sessions.slots) if (sender !== undefined) offerBatch(sender, batch);
    },
    membersChanged(journal) {
      sessions.journal = journal;
      const added = primary.members.filter(({ index }) => slotOf(sessions, index) === undefined);
      sessions.slots.push(...added.map(newSlot));
      const gone = sessions.slots.findIndex(({ member }) => !primary.members.includes(member));
      if (gone !== -1) sessions.slots.splice(gone, 1);
    },
    closeAll(why) {
      for (const slot of sessions.slots) slot.wire?.peer.connection.close(why);
    },
  };
}

function newSlot(member: Member): Slot {
  return {
    member,
    wire: undefined,
    unpacks: [],
    isDialing: false,
    attempts: 0,
    dialAtMs: 0,
    sender: undefined,
    aliveMs: 0,
  };
}

function slotOf(sessions: Sessions, index: number): Slot | undefined {
  return sessions.slots.find(({ member }) => member.index === index);
}

// ---------------------------------------------------------------------------------------- dialling

function dialIfDue(sessions: Sessions, slot: Slot): void {
  const { context, primary } = sessions;
  const nowMs = context.ports.clock.nowMs();
  if (slot.isDialing || slot.wire !== undefined || nowMs < slot.dialAtMs) return;
  // Before the start is on record, this incarnation does not exist yet.
  if (primary.lsnReserved === 0 || !mayConnect(primary, slot.member)) return;
  slot.isDialing = true;
  slot.attempts += 1;
  slot.dialAtMs = nowMs + backoffMs(context, slot.attempts);
  sessions.epoch += 1;
  const epoch = sessions.epoch;
  const document = openDocument(sessions, slot, epoch);
  const { site } = slot.member;
  const target = { site, address: context.addressOf(site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    slot.isDialing = false;
    switch (outcome.kind) {
      case "opened":
        return opened(sessions, slot, { peer: outcome.peer, epoch, document: outcome.document });
      case "refused":
        return refused(sessions, slot, outcome.document);
      case "failed":
        return noSession(sessions, slot, outcome.why, outcome.isAbsent);
    }
  });
}

// Doubles up to the limit; the random part keeps two sites from dialling in step.
function backoffMs(context: GroupContext, attempts: number): number {
  const doubled = limits.peerRedialMsMin * 2 ** Math.min(attempts - 1, 10);
  const jitter = (context.ports.crypto.randomBytes(1)[0] ?? 0) / 512;
  return Math.min(limits.peerRedialMsMax, doubled) * (0.75 + jitter);
}

function openDocument(sessions: Sessions, slot: Slot, epoch: number): SessionOpen {
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
    unit: slot.member.policy.mode.unit,
  };
}

function refused(sessions: Sessions, slot: Slot, document: unknown): void {
  const refusal = parseRefusal(document);
  const why = refusal.ok ? refusal.value.why : refusal.error;
  if (refusal.ok && refusal.value.code === "higher-generation") {
    const ours = sessions.primary.record.history;
    if (compareHistories(refusal.value.history, ours) === "ahead")
      return sessions.submit(outrankedBy(slot.member.site, refusal.value.history, ours));
  }
  if (refusal.ok && refusal.value.code === "stale") {
    return sessions.submit({ kind: "outranked", by: refusal.value.why });
  }
  if (refusal.ok && refusal.value.code === "diverged") {
    return sessions.submit({ kind: "splitBrain", member: slot.member.index, why });
  }
  // A refusal proves that the site lives; it may be about to be promoted.
  noSession(sessions, slot, why, false);
}

function noSession(sessions: Sessions, slot: Slot, why: string, isAbsent: boolean): void {
  const member = slot.member.index;
  sessions.submit({ kind: "memberDown", member, why, ...(isAbsent ? {} : { mayLive: true }) });
}

function opened(
  sessions: Sessions,
  slot: Slot,
  session: { readonly peer: Peer; readonly epoch: number; readonly document: unknown },
): void {
  const { peer, epoch } = session;
  const hello = parseOpened(session.document);
  const member = slot.member.index;
  if (!hello.ok || !mayConnect(sessions.primary, slot.member)) {
    peer.connection.close(hello.ok ? "not wanted any more" : hello.error);
    if (!hello.ok) noSession(sessions, slot, hello.error, false);
    return;
  }
  const generation = generationCounter(sessions.primary.record.history);
  slot.wire = createSessionWire(peer, generation, epoch, sessions.context.ports.crypto);
  slot.attempts = 0;
  peer.onFrame = (frame) => receive(sessions, slot, frame);
  peer.onLost = (why) => {
    slot.wire = undefined;
    endSets(slot, why);
    sessions.submit({ kind: "sessionLost", member, epoch, why });
  };
  const { replicaId, history, isBlank, mustRewrite, aloneTowards } = hello.value;
  const { completeSet, completeLsn, unpacks, discards = [] } = hello.value;
  slot.unpacks = unpacks ?? [];
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
      discards,
    },
  });
}

// ------------------------------------------------------------------------------------------ frames

function receive(sessions: Sessions, slot: Slot, frame: Frame): void {
  const { wire } = slot;
  const { header } = frame;
  if (wire === undefined) return;
  if (header.generation !== wire.generation || header.epoch !== wire.epoch) return;
  traceIn(sessions.context, slot.member.site, header);
  slot.aliveMs = sessions.context.ports.clock.nowMs();
  const member = slot.member.index;
  switch (header.type) {
    case frameType.ack:
      return sessions.submit({ kind: "acked", member, sequence: unwrap(slot, header.sequence) });
    case frameType.flushed:
      return sessions.submit({ kind: "flushed", member, ticket: header.index });
    case frameType.differs: {
      const sequence = unwrap(slot, header.sequence);
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
      return progressed(sessions, slot, frame);
    // What is staged there is on its way to be complete, which is what we wait for; the trace has it.
    case frameType.staged:
      return;
    case frameType.begun:
      return sessions.submit({ kind: "begun", member });
    case frameType.synchronizedRecorded:
      return sessions.submit({ kind: "synchronizedRecorded", member });
    case frameType.failed:
      return wire.peer.connection.close(failureIn(frame));
    default:
      return wire.peer.connection.close(`a copy has no business to send frame type ${header.type}`);
  }
}

function failureIn(frame: Frame): string {
  const document = decodeJson(frame);
  const why = document.ok ? (document.value as { why?: unknown } | null)?.why : undefined;
  return typeof why === "string" ? why.slice(0, 500) : "the copy failed and did not say why";
}

// The wire has 32 bits of a sequence; the rest follows from what was acked last.
function unwrap(slot: Slot, low: number): number {
  const base = slot.member.ackedSequence;
  return base + ((low - (base % 0x1_0000_0000) + 0x1_0000_0000) % 0x1_0000_0000);
}

// ----------------------------------------------------------------------------------------- effects

function perform(sessions: Sessions, effect: SessionEffect): void {
  const index = "item" in effect ? effect.item.member : effect.member;
  const slot = slotOf(sessions, index);
  const wire = slot?.wire;
  // The connection is gone already; the machine learns of it by the event that is on its way.
  if (slot === undefined || wire === undefined) return;
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
      const { resync, firstSet } = effect;
      feedBegin(wire, { history, incarnation, lsn: effect.lsn, lsnReserved, resync, firstSet });
      break;
    }
    case "sendFlush":
      feedFlush(wire, effect.volume, effect.ticket);
      break;
    case "sendMemberMap":
      feedMemberMap(wire, effect.volume, effect.map, primary.volumes[effect.volume]?.bytes ?? 0);
      return;
    case "sendSynchronized":
      feedSynchronized(wire, effect.lsn, effect.set);
      break;
    case "sendSets":
      return startSets(sessions, index, effect.fromSet);
    case "sendMark":
      feedMark(wire, effect.set);
      break;
    case "sendFractured":
      feedFractured(wire, effect.lsn, effect.why);
      break;
    case "closeSession":
      return closeSession(sessions, index, effect.why);
    case "offerRole":
      return offerRole(sessions, { wire, site: slot.member.site, ...effect });
  }
  traceOut(sessions.context, slot.member.site, wire.scratch);
}

// What is queued still goes out, so that the copy can read why; but for us the session ends now.
function closeSession(sessions: Sessions, index: number, why: string): void {
  const slot = slotOf(sessions, index);
  const wire = slot?.wire;
  if (slot === undefined || wire === undefined) return;
  slot.wire = undefined;
  endSets(slot, why);
  wire.peer.onFrame = () => undefined;
  wire.peer.onLost = () => undefined;
  wire.peer.connection.end(why);
  sessions.submit({ kind: "sessionLost", member: index, epoch: wire.epoch, why });
}

// -------------------------------------------------------------------------------------------- sets

/** The member is fed from the journal, at first over the session's own connection; more are dialled beside it. */
function startSets(sessions: Sessions, index: number, fromSet: number): void {
  const slot = must(slotOf(sessions, index), "an effect names an unknown member");
  const journal = must(sessions.journal, "only a group with a journal sends sets");
  const { wire, member } = slot;
  const { packing } = sessions.context.ports;
  if (wire === undefined) return;
  slot.sender = startSender(journal, wire, fromSet, {
    packing,
    compress: slot.unpacks.includes(packing.name) ? member.policy.compress : undefined,
    onUnreadable(why) {
      const lost = `what it lacks cannot be read from the journal: ${why}`;
      sessions.submit({ kind: "journalUnreadable", member: index, why: lost });
    },
    nowMs: () => sessions.context.ports.clock.nowMs(),
    onSent: ({ generation, epoch }, entries) => {
      const { clock, trace } = sessions.context.ports;
      const session = { copy: member.site, generation, epoch };
      // A connection sends at the end of a turn what the turn has handed to it: behind the replies, of which hosts hear first.
      if (trace !== undefined)
        clock.soon(() => traceBatch(sessions.context, "out", session, entries));
    },
  });
  for (let lane = 1; lane < member.policy.connections; lane += 1) dialLane(sessions, slot, lane);
}

// A connection that does not come about costs speed, and nothing else.
function dialLane(sessions: Sessions, slot: Slot, lane: number): void {
  const { context } = sessions;
  const { wire, sender, member } = slot;
  if (wire === undefined || sender === undefined) return;
  const { generation, epoch } = wire;
  const document: LaneOpen = {
    purpose: "lane",
    group: context.config.name,
    generation,
    epoch,
    lane,
  };
  const target = { site: member.site, address: context.addressOf(member.site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    if (outcome.kind !== "opened") return;
    const { peer } = outcome;
    if (slot.sender !== sender) return peer.connection.close("the session has ended");
    // The batches on it would be missing for ever: the session begins anew.
    peer.onLost = (why) => {
      if (slot.sender === sender) closeSession(sessions, member.index, `a connection: ${why}`);
    };
    peer.onFrame = ({ header }) => {
      traceIn(context, member.site, header);
      slot.aliveMs = context.ports.clock.nowMs();
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
function nudgeIfSilent(sessions: Sessions, slot: Slot): void {
  const { sender, member, wire } = slot;
  if (wire === undefined || !takesSets(member)) return;
  const nowMs = sessions.context.ports.clock.nowMs();
  // BEGUN, or what became of the sets that are whole there.
  const isAsked = sender === undefined ? isFed(member) : sender.sentSealed > sender.appliedSet;
  if (isAsked && nowMs - slot.aliveMs < member.policy.ackTimeoutMs) return;
  slot.aliveMs = nowMs;
  if (isAsked) feedMark(wire, 0);
}

function endSets(slot: Slot, why: string): void {
  const { sender } = slot;
  slot.sender = undefined;
  if (sender === undefined) return;
  endSender(sender);
  for (const { wire } of sender.lanes.slice(1)) wire.peer.connection.close(why);
}

function progressed(sessions: Sessions, slot: Slot, frame: Frame): void {
  const sets = parseProgress(frame);
  if (sets === undefined) return slot.wire?.peer.connection.close("a PROGRESS is incomplete");
  if (slot.sender !== undefined) senderApplied(slot.sender, sets.appliedSet);
  sessions.submit({ kind: "progress", member: slot.member.index, sets });
}
