import { askRecord } from "./records.ts";
import { fracture, leaveJournal } from "./dirty-maps.ts";
import { appendGathered, seal } from "./journal.ts";
import type { Journal } from "./journal.ts";
import { releaseJournal } from "./journal-room.ts";
import { markAll } from "./member-maps.ts";
import { isFed, isInJournal, noteState, takesSets } from "./member-state.ts";
import { releaseRetained } from "./open-map.ts";
import type { MemberHello, PrimaryEffect, SetProgress } from "./primary-events.ts";
import type { Member, Primary, Volume } from "./primary-state.ts";
import { firstSetFor, lacksRelay } from "./relay.ts";
import { reserve } from "./reserves.ts";
import { startResync } from "./resync.ts";
import { pumpVerify } from "./verify.ts";

// Members that take sets: where they go on, what they report, and how they are tripped. What they lack is in the journal or
// dirty, never neither (I16).

/**
 * Where the member's sets end, as it says itself. It goes on from there when the journal has everything behind that;
 * otherwise what is open here is dirty towards it, and a member that has gone back behind its own word is compared throughout.
 */
export function judgePosition(
  primary: Primary,
  member: Member,
  hello: MemberHello,
  out: PrimaryEffect[],
): void {
  const { journal } = primary;
  if (journal === undefined || !takesSets(member)) return;
  const isAhead = hello.completeLsn >= primary.nextLsn;
  passNumbers(primary, journal, hello, out);
  if (!isInJournal(member)) return;
  const { sets, record } = member;
  if (hello.completeLsn < record.syncedLsn) {
    markAll(primary, member, out);
    record.phase = "dirty";
    return;
  }
  sets.isTold = true;
  sets.completeSet = hello.completeSet;
  sets.completeLsn = hello.completeLsn;
  // It has more of what came before this start than the journal: whatever took that may have taken what it lacks, too.
  const isCutShort = hello.completeSet < journal.ownSet && hello.completeLsn > journal.replayedLsn;
  // A set that a bunker has ended may go on here: what the member lacks of it is in no set that it would get.
  const isOther = isAhead || isCutShort || hello.wasReplayed === true;
  // Who is to feed it says what it has once it can.
  const isUnknown = !isOther && lacksRelay(primary, member);
  if (isUnknown || (!isOther && hello.completeSet + 1 >= firstSetFor(primary, journal, member)))
    return;
  leaveJournal(primary, member, out);
}

/**
 * Under another primary the member has had numbers that ours have not come to: whoever is promoted knows no others' reserves.
 * Ours go on above them, so that what is new is newer to the member too (trap 5).
 */
function passNumbers(
  primary: Primary,
  journal: Journal,
  hello: MemberHello,
  out: PrimaryEffect[],
): void {
  if (hello.completeLsn < primary.nextLsn && hello.completeSet < journal.nextSet) return;
  primary.nextLsn = Math.max(primary.nextLsn, hello.completeLsn + 1);
  journal.nextSet = Math.max(journal.nextSet, hello.completeSet + 1);
  reserve(primary, out);
}

/** The record is durable: the member is fed with sets, and with regions where it lacks more than the journal has. */
export function beginSets(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined) return;
  const { sets } = member;
  const resync = member.dirty !== undefined;
  // A copy that was started again writes once more what it has not synced; until it tells how far it is, that is its image.
  sets.appliedLsn = Math.min(sets.appliedLsn, sets.syncedLsn);
  if (resync) {
    // The sets begin anew here: what came before is in the image, and the regions bring it.
    seal(primary, journal, out);
    appendGathered(primary, out);
    sets.isTold = true;
    sets.completeSet = journal.set - 1;
    sets.completeLsn = primary.nextLsn - 1;
    sets.appliedLsn = sets.completeLsn;
    sets.syncedLsn = Math.min(sets.syncedLsn, sets.completeLsn);
  }
  const firstSet = sets.completeSet + 1;
  member.stage = resync ? "resync" : "synchronized";
  member.why = "";
  sets.catchUpLsn = primary.nextLsn - 1;
  sets.firstSet = firstSet;
  out.push({ kind: "sendBegin", member: member.index, lsn: sets.completeLsn, resync, firstSet });
  noteState(member, resync ? "regions to bring over" : "the journal has all it lacks", out);
  primary.recheckHeld = true;
  primary.recheckResolved = true;
}

/**
 * The member has BEGIN on record: before that it could not tell our batches from those of another session. With a resync, what
 * was complete there is in its images by now: applied later, it would undo regions of ours.
 */
export function begun(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (!takesSets(member) || !isFed(member)) return;
  member.sets.begunEpoch = member.epoch;
  out.push({ kind: "sendSets", member: member.index, fromSet: member.sets.firstSet });
  startResync(primary, member, out);
}

/**
 * What was not complete there is gone. It goes on behind what is: that may be more than it had when the session was opened,
 * since what was whole there has gone forward first (A3, SPEC-cycle.md).
 */
export function purged(
  member: Member,
  told: { readonly completeSet: number; readonly completeLsn: number; readonly entries: number },
  out: PrimaryEffect[],
): void {
  const { sets } = member;
  const { completeSet, completeLsn, entries } = told;
  if (!takesSets(member) || !isFed(member) || completeSet < sets.completeSet) return;
  Object.assign(sets, { completeSet, completeLsn });
  sets.firstSet = completeSet + 1;
  if (entries === 0) return;
  const why = `${entries} entries that were not complete there were given up, and are sent anew`;
  out.push({ kind: "event", event: { kind: "purge", copy: member.site, to: "purged", why } });
}

/** The member has told how far its sets have come. Never backwards: messages of one session come in order. */
export function progress(
  primary: Primary,
  member: Member,
  told: SetProgress,
  out: PrimaryEffect[],
): void {
  if (member.stage === "none" || member.stage === "opening") return;
  const { sets, record } = member;
  Object.assign(sets, told);
  member.progressMs = primary.nowMs;
  member.ackedLsn = told.completeLsn;
  if (isInJournal(member)) record.syncedLsn = Math.max(record.syncedLsn, told.completeLsn);
  if (record.alone && member.stage === "synchronized" && told.completeLsn >= sets.catchUpLsn) {
    // Everything that was acked without it is there (decision 9).
    record.alone = false;
    askRecord(primary, { kind: "none" }, out);
    noteState(member, "has caught up", out);
  }
  releaseRetained(primary, out);
  releaseJournal(primary, out);
  if (member.verify !== undefined) pumpVerify(primary, member, out);
}

/**
 * The journal cannot bring this copy up any more: it is full and the copy holds its tail, or it cannot be read. Everything that
 * the copy has not confirmed is dirty towards it, durably, before an entry goes (traps 1 and 14).
 */
export function trip(primary: Primary, member: Member, why: string, out: PrimaryEffect[]): void {
  leaveJournal(primary, member, out);
  fracture(primary, member, true, out);
  askRecord(primary, { kind: "tripped" }, out);
  if (member.stage !== "none") out.push({ kind: "closeSession", member: member.index, why });
  member.why = why;
  noteState(member, why, out);
}

/**
 * The volume's file or device is open again. What its image refused, a copy that is fed from the journal may have all the same:
 * wherever anything is open, the image's content is brought over.
 */
export function repaired(primary: Primary, volume: Volume, out: PrimaryEffect[]): void {
  volume.state = "ok";
  const why = `${volume.name} was repaired at the primary`;
  for (const member of primary.members) {
    if (!isInJournal(member)) continue;
    leaveJournal(primary, member, out);
    fracture(primary, member, member.record.alone, out);
    if (member.stage !== "none") out.push({ kind: "closeSession", member: member.index, why });
    noteState(member, why, out);
  }
}
