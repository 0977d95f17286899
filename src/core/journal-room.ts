import { limits } from "#base/limits.ts";
import { isCovered } from "./device-volume.ts";
import { wantRound } from "./flush.ts";
import { isCrowded, isDiskCrowded, roomBytesMax } from "./journal.ts";
import type { HeldUpByDisk, HeldUpByJournal } from "./held-up.ts";
import type { Journal } from "./journal.ts";
import { needsSets, isFed, keepsLog } from "./member-state.ts";
import { isPaced } from "./pace.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary, Volume } from "./primary-state.ts";
import { awaitsRelay, furthestBehind, hadBy, heldFor, isBehindOf, isRelayAlone } from "./relay.ts";
import type { Held } from "./relay.ts";

// The room in the journal: who it is kept for, what it may forget, and what happens when it is full (decision 13).

/** Whether a write may be taken now: the margin is for what is on its way already. */
export function journalRoom(primary: Primary): "go" | "wait" | "fail" {
  const { journal } = primary;
  if (journal === undefined) return "go";
  if (isCrowded(journal)) return refusesWhenFull(primary, journal) ? "fail" : "wait";
  return isPaced(journal.pace) ? "wait" : "go";
}

// The policy is about copies, and about a volume that has failed: neither may ever be there again. What is kept for a sync
// here, or for a device, or has been let go and is being removed, is waited for (decision 13).
function refusesWhenFull(primary: Primary, journal: Journal): boolean {
  if (journal.overflow !== "fail") return false;
  // A full disk may stay so: nothing that happens here makes room on it.
  if (isDiskCrowded(journal)) return true;
  return heldByCopy(primary, journal) !== undefined || failedLacking(primary) !== undefined;
}

/** The copy that lacks the oldest of what is kept; undefined where the images here lack that, or nobody does. */
function heldByCopy(primary: Primary, journal: Journal): Member | undefined {
  const holder = tailHolder(primary);
  const isBehind =
    holder !== undefined && heldFor(primary, journal, holder).lsn < imagesLsn(primary, journal);
  return isBehind ? holder : undefined;
}

/** Why a copy has to go. */
export function whyFull(journal: Journal | undefined): string {
  const why = journal?.disk?.why;
  return why === undefined ? "the journal is full" : `the disk under the journal is full (${why})`;
}

/** Up to where devices that lack something have it, and volumes that have failed; undefined where there are none. */
export function lackedLsn({ volumes }: Primary): number | undefined {
  const lsns = volumes
    .filter((one) => (one.device !== undefined || one.state === "failed") && !isCovered(one))
    .map(({ flush }) => flush.coveredLsn);
  return lsns.length === 0 ? undefined : Math.min(...lsns);
}

function failedLacking({ volumes }: Primary): Volume | undefined {
  return volumes.find((volume) => volume.state === "failed" && !isCovered(volume));
}

/**
 * Why writes find no room; undefined while there is some. A volume that has failed holds the journal for as long as its image
 * lacks what was acked: nothing of that is ever let go (decision 13).
 */
export function noRoom(primary: Primary): HeldUpByJournal | HeldUpByDisk | undefined {
  const { journal } = primary;
  if (journal === undefined || !isCrowded(journal)) return undefined;
  const { disk } = journal;
  const verdict = refusesWhenFull(primary, journal) ? "fail" : "wait";
  const holder = heldByCopy(primary, journal);
  // Where a full disk has no room for the bits of who would be tripped, it is the disk that hosts wait for.
  const keepsHolder = holder !== undefined && journal.overflow === "trip" && !disk?.mayTrip;
  if (disk !== undefined && (isDiskCrowded(journal) || keepsHolder))
    return { by: "disk", said: disk.why, verdict };
  if (holder !== undefined) return { by: "journal", keptFor: "copy", copy: holder.site, verdict };
  const failed = failedLacking(primary);
  if (failed !== undefined)
    return { by: "journal", keptFor: "failed-volume", volume: failed.name, verdict };
  const lacking = primary.volumes.find((one) => one.device !== undefined && !isCovered(one));
  return lacking === undefined
    ? { by: "journal", keptFor: "images", verdict }
    : { by: "journal", keptFor: "device", volume: lacking.name, verdict };
}

/** Lets the journal forget what everybody has: synced in the images here, and complete at every copy that is not dirty. */
export function releaseJournal(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined) return;
  const last = furthestBehind(primary);
  const needed = upTo(primary, journal, last && hadBy(last));
  const hasMoved = needed.lsn > journal.releasedLsn || needed.set > journal.releasedSet;
  journal.releasedLsn = needed.lsn;
  journal.releasedSet = needed.set;
  const tail = tailHolder(primary);
  const kept = upTo(primary, journal, tail && heldFor(primary, journal, tail));
  if (hasMoved || kept.lsn > journal.keptLsn || kept.set > journal.keptSet) {
    journal.keptLsn = kept.lsn;
    journal.keptSet = kept.set;
    out.push({ kind: "reclaim", ...kept, neededSet: needed.set });
  }
  if (!hasMoved) return;
  for (const member of primary.members) {
    if (keepsLog(member) && isFed(member))
      out.push({ kind: "sendReleased", member: member.index, ...needed });
  }
}

function upTo(primary: Primary, journal: Journal, had: Held | undefined): Held {
  const lsn = imagesLsn(primary, journal);
  if (had === undefined) return { lsn, set: journal.set - 1 };
  return { lsn: Math.min(lsn, had.lsn), set: had.set };
}

/** The log removes segments one by one, each once its folder is synced: who waits for room hears of the last one, too. */
export function awaitRoom({ journal }: Primary, out: PrimaryEffect[]): void {
  if (journal !== undefined && isCrowded(journal)) out.push({ kind: "weighJournal" });
}

/** The images here have everything up to this LSN, synced; 0 without a journal. */
export function releasableLsn(primary: Primary): number {
  return primary.journal === undefined ? 0 : imagesLsn(primary, primary.journal);
}

/** The images here have everything up to this LSN, synced. */
function imagesLsn(primary: Primary, journal: Journal): number {
  return Math.max(primary.syncedLsn, journal.replayedLsn);
}

/** The copy that the journal's oldest entries are kept for. What its relay has need not be kept for it. */
export function tailHolder(primary: Primary): Member | undefined {
  const { journal } = primary;
  let holder: Member | undefined;
  let held: Held | undefined;
  for (const member of primary.members) {
    if (journal === undefined || !needsSets(member)) continue;
    const had = heldFor(primary, journal, member);
    if (held !== undefined && !isBehindOf(held, had)) continue;
    holder = member;
    held = had;
  }
  return holder;
}

/** Up to which LSN the copies let the journal go; undefined where it is kept for none. */
export function tailLsn(primary: Primary): number | undefined {
  const { journal } = primary;
  const holder = tailHolder(primary);
  if (journal === undefined || holder === undefined) return undefined;
  return heldFor(primary, journal, holder).lsn;
}

// A journal that its images let go of goes round in a few segments, whose pages stay in memory; one that grows until half of it
// is used takes new pages for all of that, and a start after a crash has as much to write into the images again.
function areImagesDue(journal: Journal): boolean {
  const { orderedBytes } = journal.pace;
  // The rest of a small one is for what comes while they are being synced.
  const bytesMax = Math.min(limits.journalForImagesBytes, journal.bytesMax / 4);
  if (orderedBytes - journal.imagesAskedBytes < bytesMax) return false;
  journal.imagesAskedBytes = orderedBytes;
  return true;
}

/**
 * Makes room before there is none: a sync of the images every so often, and from half on; at the end, where the policy says so,
 * the copy that holds the tail is to be tripped, and the next until use is under three quarters (decision 13).
 */
export function overflowing(primary: Primary, out: PrimaryEffect[]): Member | undefined {
  const { journal } = primary;
  if (journal === undefined) return undefined;
  const bytesMax = roomBytesMax(journal);
  if (areImagesDue(journal) || journal.bytesUsed > bytesMax / 2) {
    for (const volume of primary.volumes) {
      // A device flushes by itself, as soon as it can.
      if (volume.state === "ok" && volume.device === undefined && !isCovered(volume))
        wantRound(primary, volume, out);
    }
  }
  const holder = tailHolder(primary);
  const isTrip = journal.overflow === "trip";
  const mayTrip = isTrip || (holder !== undefined && isRelayAlone(journal, holder));
  if (!mayTrip || journal.bytesUsed < (bytesMax * 3) / 4) journal.isTripping = false;
  if (mayTrip && isCrowded(journal)) journal.isTripping = true;
  if (journal.isTripping && holder !== undefined && awaitsRelay(primary, holder)) {
    // Where the journal keeps everything nevertheless, no sync lets go of it: hosts wait, or the relay's log fills.
    if (isTrip) wantSync(primary, out);
    return undefined;
  }
  // Bits first, durably, and then the cut: where a full disk has no room for them, hosts wait.
  if (journal.disk?.mayTrip === false) return undefined;
  // What the images have not synced is never converted (decision 13): that is waited for.
  const late = journal.isTripping ? heldByCopy(primary, journal) : undefined;
  return late?.fracturing === undefined ? late : undefined;
}

// What holds the journal its relay has, and has not synced: that is asked for, and is not the copy's fault.
function wantSync(primary: Primary, out: PrimaryEffect[]): void {
  const volume = primary.volumes.find(({ state }) => state === "ok");
  if (volume !== undefined) wantRound(primary, volume, out);
}
