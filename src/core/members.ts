import { hasBit } from "#base/bytes.ts";
import { at, drain, shift } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { fracture, goOnOnceRecorded } from "./dirty-maps.ts";
import { closeLegDone, roundLegDone } from "./flush.ts";
import { isFavoured, overtakersIn } from "./branch.ts";
import { compareHistories } from "./history.ts";
import { failWaiting, legDone } from "./legs.ts";
import { isBehind } from "./log-position.ts";
import { dirtyOf, mapOf, markAll, unmarkRange } from "./member-maps.ts";
import {
  isFed,
  isInJournal,
  keepsLog,
  mayFeed,
  mustHave,
  noteState,
  tellState,
  queue,
  takesSets,
  waitsFor,
} from "./member-state.ts";
import { orOpenInto } from "./open-map.ts";
import { idleResync } from "./primary-state.ts";
import type { MemberHello, PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { tellWhole } from "./joining.ts";
import type { ByteRange } from "./ranges.ts";
import { askRecord } from "./records.ts";
import { markBytes } from "./region-map.ts";
import { endFedBy, lacksRelay } from "./relay.ts";
import { compareAnswered, regionAnswered, startResync } from "./resync.ts";
import { beginSets, judgePosition } from "./set-members.ts";
import { holdTerms } from "./terms.ts";
import { endVerify } from "./verify.ts";

// The primary's view of its members: opening a session, feeding it, losing it, and the way back to `synchronized`.

// ----------------------------------------------------------------------------------------- opening

/** A session is open and the member has said who it is. Decides whether it may be fed, and what it lacks. */
export function sessionOpened(
  primary: Primary,
  member: Member,
  session: { readonly epoch: number; readonly hello: MemberHello },
  out: PrimaryEffect[],
): void {
  const { epoch, hello } = session;
  const refusal = refusalOf(primary, member, hello);
  if (refusal !== undefined) return stopMember(primary, member, refusal, out);
  member.contact = "reached";
  member.stage = "opening";
  member.epoch = epoch;
  member.sequence = 0;
  member.ackedSequence = 0;
  member.flushTicket = 0;
  member.stageAtMs = primary.nowMs;
  member.sendMarks.length = 0;
  const known = member.record.replicaId;
  const wasBlank = member.record.phase === "blank";
  member.record.replicaId = hello.replicaId;
  if (known !== undefined && known !== hello.replicaId) {
    // A disk we do not know, which may be filled: nothing on it counts. (A new primary knows no disk yet; there the
    // dirty map that it made at its promotion counts.)
    member.record.phase = "blank";
    member.record.syncedLsn = 0;
  }
  // The operator's word was about this disk, and not about any that comes after it.
  member.record.fullConfirmed = false;
  member.record.splitBrain = false;
  member.record.stoppedWhy = "";
  member.mustRewrite = hello.mustRewrite;
  if (hello.isBlank) member.record.phase = "blank";
  // A first sync that was interrupted goes on: what its dirty map no longer marks, this very disk has synced. So does one that
  // was over for us, while the member had not recorded it yet.
  const isGoingOn =
    (wasBlank || hello.isBlank) && known === hello.replicaId && member.dirty !== undefined;
  if (member.record.phase === "blank" && !isGoingOn && !keepsLog(member))
    markAll(primary, member, out);
  judgePosition(primary, member, hello, out);
  // The member's own open map counts only after `memberOpenMapEnd`; where the tenures are the same it sends none.
}

/** What is said of a member that is stopped for that. */
export const foreignDisk = "answers with a disk that is not the one we fed (blank or foreign)";

/** Whose disk is another one than it was, has nothing that anybody knows of. */
export function hasForeignDisk({ record }: Member): boolean {
  return record.stoppedWhy.endsWith(foreignDisk);
}

type Refusal = {
  readonly why: string;
  readonly splitBrain: boolean;
  /** Its history is no more the one with which this tenure fed it, if it did, nor goes on from there. */
  readonly isOffOurs?: boolean;
};

function refusalOf(primary: Primary, member: Member, hello: MemberHello): Refusal | undefined {
  const { record } = member;
  if (record.paused) return { why: "paused by an operator", splitBrain: false };
  const relation = compareHistories(primary.record.history, hello.history);
  const isGivenUp = relation === "diverged" && isFavoured(hello.discards, primary.record.history);
  if (!isGivenUp && (relation === "diverged" || relation === "behind")) {
    return {
      why: `${member.site} has been primary in a generation that does not continue into ours`,
      splitBrain: true,
      isOffOurs: relation === "diverged",
    };
  }
  const overtaker = overtakersIn(hello.history, primary.record.history).find(({ site }) =>
    hello.aloneTowards.includes(site),
  );
  if (overtaker !== undefined) {
    return {
      why: `${member.site} acked writes without ${overtaker.site} before ${overtaker.site} was promoted`,
      splitBrain: true,
      isOffOurs: true,
    };
  }
  const isForeign = record.replicaId !== undefined && record.replicaId !== hello.replicaId;
  if ((isForeign || hasLostItsDisk(member, hello)) && !record.fullConfirmed) {
    return {
      why: `${member.site} ${foreignDisk}`,
      splitBrain: false,
    };
  }
  return undefined;
}

/**
 * A primary that has just taken over knows no disk yet. But that a member had the group before it does know, and this one has
 * nothing, and has never been fed by anybody (row 53). A log begins anew in each tenure, and needs nobody's word for that.
 */
function hasLostItsDisk(member: Member, { isBlank, history }: MemberHello): boolean {
  const { replicaId, phase } = member.record;
  return (
    replicaId === undefined &&
    phase !== "blank" &&
    isBlank &&
    history.length === 0 &&
    !keepsLog(member)
  );
}

/** What the member's site wrote by itself is given up, or lost: it may be fed again, and is asked what it has. */
export function memberGivenUp(member: Member, why: string, out: PrimaryEffect[]): void {
  const { record } = member;
  if (!record.splitBrain && member.heardSplit === "") return;
  member.heardSplit = "";
  // On disk it stands until the member's session has begun; until then a restart hears of the operator's word again.
  record.splitBrain = false;
  record.stoppedWhy = "";
  // What it had of ours was before it wrote by itself, and is told by no LSN of before (I33).
  record.syncedLsn = 0;
  member.resumed = true;
  noteState(member, why, out);
}

/** Does not feed the member, and says why, until an operator acts. */
export function stopMember(
  primary: Primary,
  member: Member,
  refusal: Refusal,
  out: PrimaryEffect[],
): void {
  const changed =
    member.record.stoppedWhy !== refusal.why || member.record.splitBrain !== refusal.splitBrain;
  member.record.stoppedWhy = refusal.why;
  member.record.splitBrain = refusal.splitBrain;
  const told = member.toldState;
  // Whatever still waited for the member is settled as at any loss.
  if (member.stage !== "none") loseMember(primary, member, refusal.why, out);
  if (changed && refusal.isOffOurs === true) doubtTakenBack(primary, member, out);
  member.contact = "down";
  out.push({ kind: "closeSession", member: member.index, why: refusal.why });
  if (!changed) return;
  askRecord(primary, { kind: "none" }, out);
  if (member.toldState === told) tellState(member, refusal.why, out);
}

/**
 * Whom this tenure has fed and who does not know it any more was taken back to what it was before (an operator's `discard
 * --undo`): no map here tells what it lacks now, though what it had synced of ours was struck off.
 */
function doubtTakenBack(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { record } = member;
  if (record.replicaId === undefined || keepsLog(member)) return;
  markAll(primary, member, out);
  record.syncedLsn = 0;
  if (record.phase === "synchronized") record.phase = "dirty";
}

/**
 * One page of what the member itself holds as open: it lacks certainty there, so it is dirty towards it (decision 4).
 */
export function memberOpenMap(
  primary: Primary,
  member: Member,
  page: { readonly volume: number; readonly firstGranule: number; readonly bits: Uint8Array },
  out: PrimaryEffect[],
): void {
  if (member.stage !== "opening") return;
  const volume = primary.volumes[page.volume];
  if (volume === undefined) return;
  const dirty = dirtyOf(primary, member, out)[page.volume];
  if (dirty === undefined) return;
  for (let bit = 0; bit < page.bits.length * 8; bit += 1) {
    if (!hasBit(page.bits, bit)) continue;
    const offset = (page.firstGranule + bit) * limits.openGranuleBytes;
    if (offset < volume.bytes) markBytes(dirty, offset, limits.openGranuleBytes);
  }
}

/** The member has told all. What it lacks must be on record before it adopts our generation. */
export function memberOpenMapEnd(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (member.stage !== "opening") return;
  for (const volume of primary.volumes) {
    // Nothing is dirty towards a member that goes on behind what it has.
    if (isInJournal(member) || keepsLog(member)) continue;
    // Writes in flight when the last session ended, and whatever this primary has not resolved since it started.
    if (volume.open.size > 0) orOpenInto(mapOf(primary, member, volume.index, out), volume);
  }
  if (member.dirty !== undefined && member.record.phase === "synchronized") {
    member.record.phase = "dirty";
  }
  if (!mayFeed(primary, member)) {
    const why = "it lacks what only a failed volume has";
    return void out.push({ kind: "closeSession", member: member.index, why });
  }
  // It was dialled for its word alone, before hosts are served.
  if (lacksRelay(primary, member)) {
    const why = `its relay ${member.policy.through} cannot feed it now`;
    return void out.push({ kind: "closeSession", member: member.index, why });
  }
  askRecord(primary, { kind: "begin", member, epoch: member.epoch }, out);
}

/** The record is durable: the member is fed from here on. */
export function begin(primary: Primary, member: Member, epoch: number, out: PrimaryEffect[]): void {
  if (member.stage !== "opening" || member.epoch !== epoch) return;
  if (takesSets(member)) return beginSets(primary, member, out);
  if (keepsLog(member)) return void out.push({ kind: "locateLog", member: member.index });
  member.stage = "resync";
  member.why = "";
  holdTerms(primary, member);
  const resync = member.dirty !== undefined;
  out.push({
    kind: "sendBegin",
    member: member.index,
    lsn: primary.nextLsn - 1,
    resync,
    firstSet: 0,
  });
  resendStalled(primary, member, out);
  startResync(primary, member, out);
  noteState(member, resync ? "regions to bring over" : "nothing was missed", out);
  primary.recheckHeld = true;
}

function resendStalled(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const again = member.resend;
  member.resend = [];
  for (const request of again) {
    sendWrite(member, request, out);
    // Its leg was counted when it was first sent.
    if (!waitsFor(member)) legDone(primary, request, out);
  }
}

/** Sends a write to a fed member. The caller counts the leg where the member is waited for. */
export function sendWrite(member: Member, request: HostRequest, out: PrimaryEffect[]): void {
  const unawaited = { kind: "unawaited", lsn: request.lsn, length: request.length } as const;
  queue(member, waitsFor(member) ? request : unawaited);
  member.sentLsn = request.lsn;
  out.push({ kind: "sendWrite", member: member.index, request, sequence: member.sequence });
}

// ----------------------------------------------------------------------------------------- answers

/** ACK: everything sent up to `sequence` is in the member's image. */
export function acked(
  primary: Primary,
  member: Member,
  sequence: number,
  out: PrimaryEffect[],
): void {
  if (!isFed(member)) return;
  if (sequence > member.sequence) {
    const why = "it acked a frame that was never sent";
    out.push({ kind: "closeSession", member: member.index, why });
    return;
  }
  // Requests that this member's backlog held up are looked at again once it is short enough.
  if (member.outstandingBytes > limits.sessionOutstandingBytesMax) primary.recheckHeld = true;
  while (member.ackedSequence < sequence) {
    const item = shift(member.outstanding);
    if (item === undefined) return;
    member.progressMs = primary.nowMs;
    member.ackedSequence += 1;
    member.outstandingBytes -= item.length;
    switch (item.kind) {
      case "compare":
      case "region":
        regionAnswered(primary, member, item, out);
        break;
      case "unawaited":
        member.ackedLsn = item.lsn;
        break;
      default:
        member.ackedLsn = item.lsn;
        legDone(primary, item, out);
    }
  }
}

/** DIFFERS comes before the ACK of its compare, so the compare is still outstanding. */
export function markDiffering(member: Member, sequence: number, bits: Uint8Array): void {
  const item = at(member.outstanding, sequence - member.ackedSequence - 1);
  if (item?.kind === "compare") compareAnswered(item, bits);
}

export function flushed(
  primary: Primary,
  member: Member,
  ticket: number,
  out: PrimaryEffect[],
): void {
  const flush = member.flushes.get(ticket);
  if (flush === undefined) return;
  member.flushes.delete(ticket);
  if (isBehind(member.log.synced, flush.told)) member.log.synced = flush.told;
  switch (flush.kind) {
    case "round":
      closeLegDone(primary, flush.round, out);
      if (flush.participates) roundLegDone(primary, flush.round, out);
      return;
    case "resync":
      return resyncSynced(primary, member, flush.done, out);
    case "joining":
      member.stageAtMs = primary.nowMs;
      return tellWhole(primary, member, flush.coverLsn, out);
    case "log":
      return;
  }
}

// Regions that the member has synced are no longer dirty. A page that loses marks needs no sync (store/map-file.ts).
function resyncSynced(
  primary: Primary,
  member: Member,
  done: readonly ByteRange[],
  out: PrimaryEffect[],
): void {
  const { resync } = member;
  resync.flushing = false;
  for (const range of done) {
    const map = member.dirty?.[range.volume];
    if (map !== undefined) unmarkRange(map, range.offset, range.length);
  }
  out.push({ kind: "writeDirtyMaps", member: member.index });
  startResync(primary, member, out);
}

// -------------------------------------------------------------------------------------------- loss

/**
 * The session is gone. What was in flight is dirty towards the member, durably, before anything is acked without it
 * (decision 3: the whole open map, since acked is not yet synced there).
 */
export function loseMember(
  primary: Primary,
  member: Member,
  why: string,
  out: PrimaryEffect[],
): void {
  const { stage } = member;
  // After a standstill a closed session tells nothing: the member may have closed it to be promoted.
  if (!primary.suspended) member.contact = "down";
  primary.recheckHeld = true;
  primary.recheckResolved = true;
  if (stage === "none") return;
  endFedBy(primary, member, why, out);
  member.stage = "none";
  member.why = why;
  member.lostAtMs = primary.nowMs;
  abandonResync(primary, member);
  endVerify(primary, member, why, out);
  const requests: HostRequest[] = [];
  for (const item of drain(member.outstanding)) {
    if (item.kind === "write" || item.kind === "zero") requests.push(item);
  }
  // It may have some of that: an upper bound until it tells.
  member.unfedBytes += member.outstandingBytes;
  member.outstandingBytes = 0;
  const rounds = [];
  for (const flush of member.flushes.values()) {
    if (flush.kind === "round" && flush.participates) rounds.push(flush.round);
  }
  member.flushes.clear();
  // The last syncs of a drain do without a strict member too: what it lacks goes on record, as for any other.
  if (mustHave(member) && primary.drain?.phase !== "sync") {
    return loseStrict(primary, member, { requests, rounds, why }, out);
  }
  if (stage !== "opening" && primary.suspended) {
    // Whether anything will be acked without the member is open: it may have been promoted while we stood still.
    fracture(primary, member, member.record.alone, out);
    member.lostWhileSuspended.push(...requests);
    member.roundsWhileSuspended.push(...rounds);
  } else if (stage !== "opening") {
    // What a mirror has not synced is open, and so on record. Of one that keeps the log only this record tells.
    const isMissed = requests.length > 0 || (keepsLog(member) && rounds.length > 0);
    fracture(primary, member, isMissed, out);
    // Where nothing was open, everything the rounds cover is synced there already.
    goOnOnceRecorded(primary, member, { requests, rounds }, out);
  }
  noteState(member, why, out);
}

// No ack without the member, in any state (I4): its writes wait, or fail, and what it may lack is sorted out on its
// return.
function loseStrict(
  primary: Primary,
  member: Member,
  lost: {
    readonly requests: readonly HostRequest[];
    readonly rounds: Member["flushWaits"];
    readonly why: string;
  },
  out: PrimaryEffect[],
): void {
  member.flushWaits.push(...lost.rounds);
  const failing = lost.requests.filter((request) => request.failure !== "ok");
  const sound = lost.requests.filter((request) => request.failure === "ok");
  for (const request of failing) legDone(primary, request, out);
  const outcome = primary.drain === undefined ? "io" : "gone";
  if (member.policy.loss.waits && primary.drain === undefined) {
    member.resend.push(...sound);
  } else {
    const rounds = member.flushWaits.splice(0);
    failWaiting(primary, { requests: sound, rounds }, outcome, out);
  }
  noteState(member, lost.why, out);
}

function abandonResync(primary: Primary, member: Member): void {
  for (const item of primary.locks) if (item.member === member.index) primary.locks.delete(item);
  Object.assign(member.resync, idleResync());
}
