import { limits } from "#base/limits.ts";
import { wantRound } from "./flush.ts";
import type { Journal } from "./journal.ts";
import { isFed, isKeptInJournal, takesSets } from "./member-state.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";

// The room in the journal: who it is kept for, what it may forget, and what happens when it is full (decision 13).

/** Whether a write may be taken now: the margin is for what is on its way already. */
export function journalRoom(primary: Primary): "go" | "wait" | "fail" {
  const { journal } = primary;
  if (journal === undefined || !isCrowded(journal)) return "go";
  return journal.overflow === "fail" ? "fail" : "wait";
}

function isCrowded(journal: Journal): boolean {
  const { bytesUsed, gatheredBytes, appendingBytes, bytesMax } = journal;
  return bytesUsed + gatheredBytes + appendingBytes + limits.journalMarginBytes > bytesMax;
}

/** Lets the journal forget what everybody has: synced in the images here, and complete at every copy that is not dirty. */
export function releaseJournal(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined) return;
  const tail = tailHolder(primary);
  const lsn = Math.min(
    imagesLsn(primary, journal),
    tail?.sets.completeLsn ?? Number.POSITIVE_INFINITY,
  );
  const set = tail?.sets.completeSet ?? journal.set - 1;
  if (lsn <= journal.releasedLsn && set <= journal.releasedSet) return;
  journal.releasedLsn = lsn;
  journal.releasedSet = set;
  out.push({ kind: "reclaim", lsn, set });
}

/** The images here have everything up to this LSN, synced. */
function imagesLsn(primary: Primary, journal: Journal): number {
  return Math.max(primary.syncedLsn, journal.replayedLsn);
}

/** The copy that the journal's oldest entries are kept for. */
export function tailHolder(primary: Primary): Member | undefined {
  let holder: Member | undefined;
  for (const member of primary.members) {
    if (!isKeptInJournal(member) && !(takesSets(member) && isFed(member))) continue;
    if (holder === undefined || member.sets.completeLsn < holder.sets.completeLsn) holder = member;
  }
  return holder;
}

/**
 * Makes room before there is none: a sync of the images when half is used; at the end, where the policy says so, the copy
 * that holds the tail is to be tripped, and the next until use is under three quarters (decision 13).
 */
export function overflowing(primary: Primary, out: PrimaryEffect[]): Member | undefined {
  const { journal } = primary;
  if (journal === undefined) return undefined;
  if (journal.bytesUsed > journal.bytesMax / 2) {
    for (const volume of primary.volumes) {
      if (volume.state === "ok" && volume.flush.coveredLsn < volume.lastLsn)
        wantRound(primary, volume, out);
    }
  }
  if (journal.bytesUsed < (journal.bytesMax * 3) / 4) journal.isTripping = false;
  if (journal.overflow === "trip" && isCrowded(journal)) journal.isTripping = true;
  const holder = tailHolder(primary);
  // What the images have not synced is never converted (decision 13): that is waited for.
  const isHeldByCopy =
    holder !== undefined && holder.sets.completeLsn < imagesLsn(primary, journal);
  return journal.isTripping && isHeldByCopy && holder.fracturing === undefined ? holder : undefined;
}
