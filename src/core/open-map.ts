import { limits } from "#base/limits.ts";
import { isKeptInJournal, takesSets } from "./member-state.ts";
import type { HostRequest } from "#ports/host-request.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { OpenGranule, Primary, Volume } from "./primary-state.ts";
import { isMarked, mark, markBytes, unmark } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";

// The open map at the primary (decision 3): the granules with a write not yet known synced at every member that takes
// part. A granule's bit is durable before the first image write into it starts (I18), and is taken away only after
// every leg has answered a sync that began after the granule's last write.

const granuleBytes = limits.openGranuleBytes;

export function firstGranule(offset: number): number {
  return Math.floor(offset / granuleBytes);
}

export function lastGranule(offset: number, lengthBytes: number): number {
  return Math.floor((offset + lengthBytes - 1) / granuleBytes);
}

/**
 * Whether all granules of a write are durably open. Where one is not, its bit is set, the request joins the batch that
 * gathers, and is admitted again when the batch is durable.
 */
export function openFor(primary: Primary, request: HostRequest, out: PrimaryEffect[]): boolean {
  const volume = primary.volumes[request.volume];
  if (volume === undefined) return false;
  const last = lastGranule(request.offset, request.length);
  let cold = false;
  for (let granule = firstGranule(request.offset); granule <= last; granule += 1) {
    const known = volume.open.get(granule);
    if (known === undefined) {
      gather(primary, volume, granule, out);
      cold = true;
    } else if (!known.durable) {
      cold = true;
    }
  }
  if (!cold) return true;
  // A granule of the batch under way is waited for in the gathering one too: it comes later, so it is durable by then.
  gatheringBatch(primary, out).requests.push(request);
  return false;
}

/** Whether a write may open new granules now; at the limit it waits for a round to close some. */
export function roomToOpen(primary: Primary, request: HostRequest): boolean {
  if (primary.openGranules < limits.openGranulesMax) return true;
  const open = primary.volumes[request.volume]?.open;
  const last = lastGranule(request.offset, request.length);
  for (let granule = firstGranule(request.offset); granule <= last; granule += 1) {
    // One that is retained counts again once it is written to.
    if (open?.get(granule)?.isRetained !== false) return false;
  }
  return true;
}

/** Notes that a write with this LSN goes into its granules, which are open. */
export function touch(primary: Primary, request: HostRequest): void {
  const { lsn, offset } = request;
  const volume = primary.volumes[request.volume];
  const last = lastGranule(offset, request.length);
  for (let granule = firstGranule(offset); granule <= last; granule += 1) {
    const open = volume?.open.get(granule);
    if (open === undefined) continue;
    open.lastLsn = lsn;
    if (open.isRetained) retain(primary, open, false);
  }
}

function retain(primary: Primary, open: OpenGranule, isRetained: boolean): void {
  open.isRetained = isRetained;
  primary.openGranules += isRetained ? -1 : 1;
  primary.retainedGranules += isRetained ? 1 : -1;
}

function gather(primary: Primary, volume: Volume, granule: number, out: PrimaryEffect[]): void {
  // Not closed before it is durable; and if it closes before its write was issued, the write opens it again.
  const open: OpenGranule = { lastLsn: primary.nextLsn - 1, durable: false, isRetained: false };
  volume.open.set(granule, open);
  primary.openGranules += 1;
  mark(volume.openMap, granule, granule);
  gatheringBatch(primary, out).granules.push(open);
}

function gatheringBatch(primary: Primary, out: PrimaryEffect[]) {
  if (primary.gathering === undefined) {
    primary.ticket += 1;
    primary.gathering = { ticket: primary.ticket, granules: [], requests: [] };
    if (primary.opening === undefined) out.push({ kind: "awaitTurnEnd" });
  }
  return primary.gathering;
}

/** The turn's requests are all in: make the gathered bits durable, unless a batch is under way already. */
export function openGathered(primary: Primary, out: PrimaryEffect[]): void {
  if (primary.opening !== undefined || primary.gathering === undefined) return;
  primary.opening = primary.gathering;
  primary.gathering = undefined;
  out.push({ kind: "syncOpenMaps", ticket: primary.opening.ticket });
}

/** The batch is durable. Gives back the requests that waited for it, to be admitted again. */
export function opened(primary: Primary, ticket: number, out: PrimaryEffect[]): HostRequest[] {
  const batch = primary.opening;
  if (batch === undefined || batch.ticket !== ticket) return [];
  for (const granule of batch.granules) granule.durable = true;
  primary.opening = undefined;
  openGathered(primary, out);
  return batch.requests;
}

/**
 * Closes the granules whose last write is not after `clearLsn`. Where a copy that takes sets may still lack that write, the
 * bit stays, so that the loss of the journal or of this site finds it (I16); but no host has to wait for it any more.
 */
export function closeGranules(
  primary: Primary,
  volume: Volume,
  clearLsn: number,
  out: PrimaryEffect[],
): void {
  const retainLsn = retainedAfter(primary);
  const before = primary.openGranules;
  let closed = 0;
  for (const [granule, open] of volume.open) {
    if (!open.durable || open.lastLsn > clearLsn) continue;
    if (open.lastLsn > retainLsn) {
      if (!open.isRetained) retain(primary, open, true);
      continue;
    }
    if (open.isRetained) retain(primary, open, false);
    volume.open.delete(granule);
    unmark(volume.openMap, granule, granule);
    closed += 1;
  }
  primary.openGranules -= closed;
  // There is room again for those who waited to open granules.
  if (primary.openGranules < before) primary.recheckHeld = true;
  if (closed === 0) return;
  out.push({ kind: "writeOpenMaps" });
}

/** Copies that have come on let go of what was retained for them. What is retained is synced wherever else it must be. */
export function releaseRetained(primary: Primary, out: PrimaryEffect[]): void {
  if (primary.retainedGranules === 0) return;
  const retainLsn = retainedAfter(primary);
  let released = 0;
  for (const volume of primary.volumes) {
    for (const [granule, open] of volume.open) {
      if (!open.isRetained || open.lastLsn > retainLsn) continue;
      volume.open.delete(granule);
      unmark(volume.openMap, granule, granule);
      released += 1;
    }
  }
  primary.retainedGranules -= released;
  if (released > 0) out.push({ kind: "writeOpenMaps" });
}

/** Every copy that takes sets, and is not on record as dirty, has all writes up to this LSN durably. */
export function retainedAfter(primary: Primary): number {
  let lsn = Number.POSITIVE_INFINITY;
  for (const member of primary.members) {
    if (!takesSets(member)) continue;
    const { sets, stage } = member;
    if (isKeptInJournal(member)) lsn = Math.min(lsn, sets.completeLsn);
    // Until it is on record that it goes on from the journal again, its next session begins with what the maps mark.
    const isDirtyOnDisk = member.phaseOnDisk !== "synchronized";
    if (isDirtyOnDisk && stage !== "none") lsn = Math.min(lsn, sets.syncedLsn);
  }
  return lsn;
}

/** Whether a granule of this range is open since before this start and not resolved yet (U24). */
export function isUnresolved(volume: Volume, offset: number, lengthBytes: number): boolean {
  const map = volume.unresolved;
  if (map === undefined) return false;
  const last = lastGranule(offset, lengthBytes);
  for (let granule = firstGranule(offset); granule <= last; granule += 1) {
    if (isMarked(map, granule)) return true;
  }
  return false;
}

/** Marks in a dirty map every region of every open granule: "whatever might differ" towards a member (decision 3). */
export function orOpenInto(dirty: RegionMap, volume: Volume): void {
  for (const granule of volume.open.keys()) {
    markBytes(dirty, granule * granuleBytes, granuleBytes);
  }
}

/** A granule with no write after this LSN has not been written to for `openHotMs`: it need not be kept open. */
export function coldLsn(primary: Primary): number {
  const before = primary.nowMs - limits.openHotMs;
  let lsn = 0;
  for (const noted of primary.marks) if (noted.atMs <= before) lsn = noted.lsn;
  return lsn;
}
