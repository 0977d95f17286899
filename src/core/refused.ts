import { takesSets } from "./member-state.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary, Volume } from "./primary-state.ts";
import { askRecord } from "./records.ts";

// A write that a full disk refused (row 41) is in the journal all the same, and a start writes what the journal has into the
// image. Copies that had been brought up from the image meanwhile would never hear of that. So a start leaves out what the
// record says is in the image, synced; and until that is on record for all that was refused, no copy is brought up.

/** The image has refused the write at this LSN, and the journal has it; the caller asks for a round. */
export function noteRefused(volume: Volume, lsn: number): void {
  volume.refusedLsn = Math.max(volume.refusedLsn, lsn);
}

/** A round has covered more: asks for it to be put on record where anything waits for that. */
export function recordRedone(primary: Primary, out: PrimaryEffect[]): void {
  const { record, volumes } = primary;
  const { journalId, redone } = record;
  if (journalId === undefined) return;
  const had = redone?.journalId === journalId ? redone.lsns : [];
  const isDue = volumes.some(({ index, refusedLsn, flush }) => {
    return refusedLsn > (had[index] ?? 0) && flush.coveredLsn >= refusedLsn;
  });
  if (!isDue) return;
  const lsns = volumes.map(({ flush }) => flush.coveredLsn);
  record.redone = { journalId, lsns };
  askRecord(primary, { kind: "redone", lsns }, out);
}

/** It is on record that a start leaves these out. */
export function noteRedone({ volumes }: Primary, lsns: readonly number[]): void {
  for (const volume of volumes)
    volume.redoneLsn = Math.max(volume.redoneLsn, lsns[volume.index] ?? 0);
}

/** What an image refused may still come into it by a start, which this member would not hear of. */
export function awaitsRedone({ volumes }: Primary, member: Member): boolean {
  return takesSets(member) && volumes.some(({ refusedLsn, redoneLsn }) => refusedLsn > redoneLsn);
}
