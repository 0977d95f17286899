import { askFlush, roundLegDone } from "./flush.ts";
import { appendGathered, seal } from "./journal.ts";
import { keepsLog, noteState, takesSets } from "./member-state.ts";
import { allVolumesIndex } from "./primary-state.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { askRecord } from "./records.ts";

// Becoming `synchronized`, in decision 8's order: new writes wait, the member records it, then the primary erases.

/**
 * The member lacks nothing any more (decision 8): from now on new writes wait for it. It is first given what the other
 * members lack, so that it could be their source (decision 4), then it syncs everything.
 */
export function join(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  member.stage = "joining";
  member.resync.pending = undefined;
  for (const other of keepsLog(member) ? [] : primary.members) {
    if (other === member || other.dirty === undefined) continue;
    other.dirty.forEach((map, volume) => {
      if (map.count > 0) {
        out.push({ kind: "sendMemberMap", member: member.index, volume, map });
      }
    });
  }
  const coverLsn = primary.nextLsn - 1;
  member.stageAtMs = primary.nowMs;
  askFlush(member, allVolumesIndex, { kind: "joining", coverLsn, atMs: primary.nowMs }, out);
}

/**
 * Everything is synced at the member: it may record that it is whole. From then on it could be promoted, so a first sync is
 * over in our record before it is told: what we ack without it from here on must count as acked alone (decision 9).
 */
export function tellWhole(
  primary: Primary,
  member: Member,
  lsn: number,
  out: PrimaryEffect[],
): void {
  if (member.record.phase !== "blank")
    return sendSynchronized(primary, member, { epoch: member.epoch, lsn }, out);
  member.record.phase = "dirty";
  askRecord(primary, { kind: "whole", member, epoch: member.epoch, lsn }, out);
}

export function sendSynchronized(
  primary: Primary,
  member: Member,
  told: { readonly epoch: number; readonly lsn: number },
  out: PrimaryEffect[],
): void {
  if (member.stage !== "joining" || member.epoch !== told.epoch) return;
  member.stageAtMs = primary.nowMs;
  noteWhole(member, told.lsn);
  const { journal } = primary;
  if (journal === undefined || !takesSets(member))
    return void out.push({ kind: "sendSynchronized", member: member.index, lsn: told.lsn, set: 0 });
  // The image is a state of the host's once the set is applied that holds the last write before now (decision 10).
  const { set } = journal;
  seal(primary, journal, out);
  appendGathered(primary, out);
  out.push({ kind: "sendSynchronized", member: member.index, lsn: journal.lastLsn, set });
}

// What a resync brought, and what was written before this start, was never sent to a mirror as writes that it could ack: the
// flush that it has answered says that it has them, synced.
function noteWhole(member: Member, lsn: number): void {
  if (takesSets(member) || keepsLog(member)) return;
  member.ackedLsn = Math.max(member.ackedLsn, lsn);
  member.record.syncedLsn = Math.max(member.record.syncedLsn, lsn);
}

/** The member has recorded that it is synchronized; now we do, and erase what marked it dirty in the same commit. */
export function synchronizedRecorded(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (member.stage !== "joining") return;
  member.record.phase = "synchronized";
  // A copy that takes sets has yet to catch up with what was acked meanwhile.
  if (takesSets(member)) member.sets.catchUpLsn = primary.nextLsn - 1;
  else member.record.alone = false;
  delete member.record.mayLackEarlier;
  member.record.dirtyMapIds = [];
  member.dirty = undefined;
  askRecord(primary, { kind: "synchronized", member, epoch: member.epoch }, out);
}

export function synchronized(
  primary: Primary,
  member: Member,
  epoch: number,
  out: PrimaryEffect[],
): void {
  if (member.stage !== "joining" || member.epoch !== epoch) return;
  member.stage = "synchronized";
  member.overflows = 0;
  const syncedLsn = takesSets(member) ? member.sets.completeLsn : primary.syncedLsn;
  member.record.syncedLsn = Math.max(member.record.syncedLsn, syncedLsn);
  member.resync.done = [];
  out.push({ kind: "eraseDirtyMaps", member: member.index });
  noteState(member, "has everything", out);
  for (const round of member.flushWaits.splice(0)) roundLegDone(primary, round, out);
  primary.recheckResolved = true;
  primary.recheckHeld = true;
}
