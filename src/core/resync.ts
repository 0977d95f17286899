import { allZero, hasBit } from "#base/bytes.ts";
import { at } from "#base/fifo.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { askFlush, failVolume } from "./flush.ts";
import { join } from "./joining.ts";
import { isFed, mustHave, queue, takesSets } from "./member-state.ts";
import { firstGranule } from "./open-map.ts";
import { allVolumesIndex, createResyncItem, memberOf } from "./primary-state.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary, ResyncItem, Volume } from "./primary-state.ts";
import { isBeingWritten, overlaps } from "./ranges.ts";
import type { ByteRange } from "./ranges.ts";
import { awaitsRedone } from "./refused.ts";
import {
  anyMarked,
  copyOf,
  isMarked,
  nextMarked,
  runLength,
  unitOf,
  unmark,
} from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";
import { verifyAnswered, verifyRead } from "./verify.ts";

// The copier (decision 10, sync): one pass over the dirty regions of a member while hosts write on. A region is read
// while writes to it wait; what was read goes out on the same ordered connection as all later writes, so the member
// ends with the newest. A region counts as clean once the member has synced it, never before (trap 2).
//
// A first sync copies. Every other resync sends hashes first, since most of what is marked only might differ.

/** Begins a resync, goes on with it, or, when nothing is dirty any more, lets the member join. */
export function startResync(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (!mayBringOver(primary, member)) return;
  const { dirty, resync } = member;
  if (dirty === undefined || dirty.every((map) => map.count === 0))
    return join(primary, member, out);
  if (resync.pending !== undefined && isDone(member) && resync.done.length > 0) {
    if (!resync.flushing) askSync(primary, member, out);
    return;
  }
  if (resync.pending === undefined || isDone(member)) {
    resync.pending = dirty.map(copyOf);
    resync.compare = member.record.phase !== "blank" && !member.mustRewrite;
    resync.cursorVolume = 0;
    resync.cursorRegion = 0;
  }
  pump(primary, member, out);
}

/**
 * A copy that takes sets applies what is complete before it has BEGIN on record, and keeps a point then: a region that came
 * before that would be written under it, and be claimed as a state that the host had seen (I30).
 */
function mayBringOver(primary: Primary, member: Member): boolean {
  if (member.stage !== "resync" || awaitsRedone(primary, member)) return false;
  return !takesSets(member) || member.sets.begunEpoch === member.epoch;
}

/** Reads ahead as far as window and ceiling allow; asks the member to sync when there is enough to forget. */
export function pump(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { resync } = member;
  if (resync.pending === undefined || !mayBringOver(primary, member)) return;
  while (resync.inFlightBytes < resync.windowBytes && resync.allowanceBytes > 0) {
    const next = nextItem(primary, member);
    if (next === undefined) break;
    resync.inFlightBytes += next.length;
    resync.allowanceBytes -= next.length;
    primary.locks.add(next);
    out.push({ kind: "readRegion", item: next });
  }
  if (resync.flushing) return;
  if (isDone(member) || resync.doneBytes >= limits.resyncUnsyncedBytesMax)
    askSync(primary, member, out);
}

function isDone(member: Member): boolean {
  const { pending, inFlightBytes, differing } = member.resync;
  return (
    inFlightBytes === 0 && differing.length === 0 && (pending ?? []).every((map) => map.count === 0)
  );
}

function askSync(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { resync } = member;
  resync.flushing = true;
  const flush = { kind: "resync", done: resync.done, atMs: primary.nowMs } as const;
  resync.done = [];
  resync.doneBytes = 0;
  askFlush(member, allVolumesIndex, flush, out);
}

// Different regions first, since they are half done; then what hosts wait for; then the rest in order.
function nextItem(primary: Primary, member: Member): ResyncItem | undefined {
  const { resync } = member;
  const differing = resync.differing[0];
  if (differing !== undefined) {
    if (isBeingWritten(primary, differing)) return undefined;
    resync.differing.shift();
    return createResyncItem(primary, member, "region", differing);
  }
  const range = nextWanted(primary, member) ?? nextInOrder(primary, member);
  if (range === undefined || isBeingWritten(primary, range)) return undefined;
  takeFrom(resync.pending?.[range.volume], range);
  return createResyncItem(primary, member, resync.compare ? "compare" : "region", range);
}

function nextWanted(primary: Primary, member: Member): ByteRange | undefined {
  const { wanted, pending } = member.resync;
  for (let want = wanted.shift(); want !== undefined; want = wanted.shift()) {
    const map = pending?.[want.volume];
    const volume = primary.volumes[want.volume];
    if (map === undefined || volume === undefined || !isMarked(map, want.region)) continue;
    return rangeOf(volume, map, want.region);
  }
  return undefined;
}

function nextInOrder(primary: Primary, member: Member): ByteRange | undefined {
  const { resync } = member;
  for (; resync.cursorVolume < primary.volumes.length; resync.cursorVolume += 1) {
    const volume = primary.volumes[resync.cursorVolume];
    const map = resync.pending?.[resync.cursorVolume];
    if (volume !== undefined && map !== undefined) {
      const region = nextMarked(map, resync.cursorRegion);
      if (region !== -1) {
        resync.cursorRegion = region;
        return rangeOf(volume, map, region);
      }
    }
    resync.cursorRegion = 0;
  }
  return undefined;
}

function rangeOf(volume: Volume, map: RegionMap, region: number): ByteRange {
  const regions = runLength(map, region, Math.max(1, limits.resyncChunkBytes / map.unitBytes));
  const offset = region * map.unitBytes;
  const length = Math.min(regions * map.unitBytes, volume.bytes - offset);
  return { volume: volume.index, offset, length };
}

function takeFrom(map: RegionMap | undefined, range: ByteRange): void {
  if (map === undefined) return;
  unmark(map, unitOf(map, range.offset), unitOf(map, range.offset + range.length - 1));
}

/** The copier's read has answered: its writes may go on, and the content goes out at this place in the order. */
export function regionRead(
  primary: Primary,
  read: {
    readonly item: ResyncItem;
    readonly bytes: Uint8Array;
    readonly failure: IoFailure | undefined;
  },
  out: PrimaryEffect[],
): void {
  const { item, bytes, failure } = read;
  const member = memberOf(primary, item.member);
  const current = primary.locks.delete(item);
  primary.recheckHeld = true;
  if (item.check !== undefined)
    return verifyRead(primary, { item, check: item.check, bytes, failure }, out);
  if (member === undefined || !current || !isFed(member) || member.epoch !== item.epoch) {
    return;
  }
  if (failure !== undefined) {
    const volume = primary.volumes[item.volume];
    // A device that is away comes back, and the resync begins anew then.
    if (volume !== undefined && volume.device === undefined)
      failVolume(primary, volume, `read failed: ${failure.message}`, out);
    out.push({ kind: "closeSession", member: member.index, why: "a region cannot be read here" });
    return;
  }
  queue(member, item);
  if (item.kind === "compare") {
    member.comparedBytes += item.length;
    out.push({ kind: "sendCompare", item, bytes, sequence: member.sequence });
  } else {
    member.sentBytes += allZero(bytes) ? 0 : item.length;
    out.push({ kind: "sendRegion", item, bytes, sequence: member.sequence });
  }
}

/** The member has said which regions of a compare differ. */
export function compareAnswered(item: ResyncItem, bits: Uint8Array): void {
  const regions = Math.ceil(item.length / item.regionBytes);
  item.differs = Array.from({ length: regions }, (_, i) => hasBit(bits, i));
}

/** The member has acked a compare or a region. */
export function regionAnswered(
  primary: Primary,
  member: Member,
  item: ResyncItem,
  out: PrimaryEffect[],
): void {
  if (item.check !== undefined) return verifyAnswered(primary, member, item, out);
  const { resync } = member;
  resync.inFlightBytes -= item.length;
  fitWindow(primary, member, item);
  if (item.differs === undefined) noteDone(member, item);
  else splitCompare(member, item, item.differs);
  primary.recheckResolved = true;
  pump(primary, member, out);
}

// Over a narrow link a full window would hold up the host's writes behind it, and keep the member silent for longer than
// `ackTimeout`: it grows while answers come soon, and halves when one was late.
function fitWindow(primary: Primary, member: Member, item: ResyncItem): void {
  const { resync, policy } = member;
  const tookMs = primary.nowMs - item.askedMs;
  if (tookMs <= policy.ackTimeoutMs / 8)
    resync.windowBytes = Math.min(limits.resyncWindowBytes, resync.windowBytes + item.length);
  else if (tookMs > policy.ackTimeoutMs / 4)
    resync.windowBytes = Math.max(1, Math.floor(resync.windowBytes / 2));
}

function noteDone(member: Member, range: ByteRange): void {
  member.resync.done.push({ volume: range.volume, offset: range.offset, length: range.length });
  member.resync.doneBytes += range.length;
}

// Runs of regions that agree are done; runs that differ are read again and sent as they are then.
function splitCompare(member: Member, item: ResyncItem, differs: readonly boolean[]): void {
  let start = 0;
  while (start < differs.length) {
    let end = start + 1;
    while (end < differs.length && differs[end] === differs[start]) end += 1;
    const offset = item.offset + start * item.regionBytes;
    const length = Math.min(end * item.regionBytes, item.length) - start * item.regionBytes;
    const range = { volume: item.volume, offset, length };
    if (differs[start] === true) member.resync.differing.push(range);
    else noteDone(member, range);
    start = end;
  }
}

// ----------------------------------------------------------------------------- unresolved granules

/**
 * U24: a granule that was open when this primary started is served once every member that could be promoted has the
 * same there, or is on record as lacking it. Lets go what no member stands in the way of any more.
 */
export function releaseResolved(primary: Primary): void {
  primary.recheckResolved = false;
  let released = false;
  for (const volume of primary.volumes) {
    const map = volume.unresolved;
    if (map === undefined) continue;
    for (let granule = nextMarked(map, 0); granule !== -1; granule = nextMarked(map, granule + 1)) {
      if (primary.members.every((member) => isSettled(primary, member, volume, granule))) {
        unmark(map, granule, granule);
        released = true;
      }
    }
    if (map.count === 0) volume.unresolved = undefined;
  }
  if (released) primary.recheckHeld = true;
}

function isSettled(primary: Primary, member: Member, volume: Volume, granule: number): boolean {
  const { record, stage, resync } = member;
  if (stage === "joining" || stage === "synchronized" || record.phase === "blank") return true;
  // Whoever is not there is on record as dirty, which settles it for all but a strict member.
  if (stage === "none" && member.contact !== "unknown") return !mustHave(member);
  if (stage !== "resync" || resync.pending === undefined) return false;
  const offset = granule * limits.openGranuleBytes;
  const map = resync.pending[volume.index];
  if (map === undefined) return false;
  const last = Math.min(offset + limits.openGranuleBytes, volume.bytes) - 1;
  if (anyMarked(map, unitOf(map, offset), unitOf(map, last))) return false;
  return !isUnderWay(primary, member, { volume: volume.index, offset, length: last + 1 - offset });
}

// Being read, on its way, or found different and not sent again yet.
function isUnderWay(primary: Primary, member: Member, where: ByteRange): boolean {
  for (const lock of primary.locks) {
    if (lock.member === member.index && overlaps(lock, where)) return true;
  }
  if (member.resync.differing.some((range) => overlaps(range, where))) return true;
  for (let i = 0; i < member.outstanding.count; i += 1) {
    const item = at(member.outstanding, i);
    if ((item?.kind === "compare" || item?.kind === "region") && overlaps(item, where)) return true;
  }
  return false;
}

/** A host waits for these regions: every copier takes them first. */
export function wantRegions(primary: Primary, volume: Volume, request: HostRequest): void {
  for (const member of primary.members) {
    const map = member.resync.pending?.[volume.index];
    if (map === undefined) continue;
    const first = unitOf(map, firstGranule(request.offset) * limits.openGranuleBytes);
    const end = unitOf(map, request.offset + request.length - 1);
    for (let region = first; region <= end; region += 1) {
      if (isMarked(map, region)) {
        member.resync.wanted.push({ volume: volume.index, region });
        break;
      }
    }
  }
}
