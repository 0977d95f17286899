import { limits } from "#base/limits.ts";
import type { IoFailure } from "#base/errors.ts";
import { fracture, leaveJournal } from "./dirty-maps.ts";
import { appendGathered, seal } from "./journal.ts";
import { mapOf } from "./member-maps.ts";
import { queue, takesSets } from "./member-state.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import { createResyncItem, memberOf } from "./primary-state.ts";
import type { Member, Primary, ResyncItem } from "./primary-state.ts";
import { isBeingWritten, overlaps } from "./ranges.ts";
import type { ByteRange } from "./ranges.ts";
import { createRegionMap, markBytes, markedBytes, orInto } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";

// A walk over all regions, by an operator's word, while hosts write: what the image has here is compared by hash with what a
// member has, each chunk at one LSN, so that nothing is said to differ but what does (PEERS C8).
//
// A mirror: the compare rides in the order of the writes, as in a resync. A copy that takes sets is asked once it has applied
// everything up to the read; a chunk that was written meanwhile proves nothing and is read again, and after some times writes
// to it wait for the answer.

export type Verify = {
  readonly isRepairing: boolean;
  readonly epoch: number;
  isRunning: boolean;
  /** Why it ended before it had seen everything, or "". */
  why: string;
  totalBytes: number;
  comparedBytes: number;
  /** By volume. */
  readonly differing: readonly RegionMap[];
  cursorVolume: number;
  cursorOffset: number;
  readonly underWay: Set<ResyncItem>;
  readonly again: { readonly range: ByteRange; readonly tries: number }[];
};

/** What makes a compare part of a verify. */
export type Check = {
  /** Times that the chunk was read before. */
  readonly tries: number;
  phase: "locking" | "reading" | "waiting" | "sent";
  /** What was read is the image's content as of this LSN. */
  atLsn: number;
  /** Written to since: whatever the answer is, it says nothing. */
  isStale: boolean;
  /** Writes to it wait until it is answered. */
  readonly isHeld: boolean;
  bytes: Uint8Array | undefined;
};

/** Begins a walk; one that runs goes on. */
export function beginVerify(
  primary: Primary,
  member: Member,
  isRepairing: boolean,
  out: PrimaryEffect[],
): void {
  if (member.verify?.isRunning === true) return;
  const { regionBytes } = primary.record;
  member.verify = {
    isRepairing,
    epoch: member.epoch,
    isRunning: true,
    why: "",
    totalBytes: primary.volumes.reduce((sum, volume) => sum + volume.bytes, 0),
    comparedBytes: 0,
    differing: primary.volumes.map((volume) => createRegionMap(volume.bytes, regionBytes)),
    cursorVolume: 0,
    cursorOffset: 0,
    underWay: new Set(),
    again: [],
  };
  pumpVerify(primary, member, out);
}

/** The session is gone, or nobody wants it any more. */
export function endVerify(
  primary: Primary,
  member: Member,
  why: string,
  out: PrimaryEffect[],
): void {
  const { verify } = member;
  if (verify?.isRunning !== true) return;
  verify.isRunning = false;
  verify.why = why;
  for (const item of verify.underWay) {
    primary.checks.delete(item);
    primary.locks.delete(item);
  }
  verify.underWay.clear();
  primary.recheckHeld = true;
  const found = verify.differing.reduce((sum, map) => sum + markedBytes(map), 0);
  const ended = why === "" ? "" : `; it ended early: ${why}`;
  const text = `${verify.comparedBytes} of ${verify.totalBytes} bytes compared, ${found} in regions that differ${ended}`;
  out.push({ kind: "event", event: { kind: "verify", copy: member.site, why: text } });
}

/** Goes on with whatever may go on: reads, compares that a copy has come far enough for, the next chunks, the end. */
export function pumpVerify(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { verify } = member;
  if (verify?.isRunning !== true) return;
  if (member.stage !== "synchronized" || member.epoch !== verify.epoch)
    return endVerify(primary, member, "the copy is not fed as it was", out);
  if (primary.stage === "serving" && primary.handover === undefined) fill(primary, member, verify);
  for (const item of verify.underWay) goOn(primary, member, item, out);
  if (verify.underWay.size > 0 || verify.again.length > 0) return;
  if (verify.cursorVolume < primary.volumes.length) return;
  if (verify.isRepairing) repair(primary, member, verify, out);
  endVerify(primary, member, "", out);
}

function fill(primary: Primary, member: Member, verify: Verify): void {
  const { resync } = member;
  while (verify.underWay.size < limits.verifyChunksMax && resync.allowanceBytes > 0) {
    const next = verify.again.shift() ?? nextChunk(primary, verify);
    if (next === undefined) return;
    const { range, tries } = next;
    const isHeld = tries >= limits.verifyTriesMax && primary.journal?.policy.onFlush !== "only";
    const item: ResyncItem = {
      ...createResyncItem(primary, member, "compare", range),
      check: { tries, phase: "locking", atLsn: 0, isStale: false, isHeld, bytes: undefined },
    };
    resync.allowanceBytes -= item.length;
    verify.underWay.add(item);
    // Writes to it wait from here on until it is read: those under way end, and no new ones begin.
    primary.locks.add(item);
  }
}

function nextChunk(
  primary: Primary,
  verify: Verify,
): { readonly range: ByteRange; readonly tries: number } | undefined {
  const volume = primary.volumes[verify.cursorVolume];
  if (volume === undefined) return undefined;
  const offset = verify.cursorOffset;
  const length = Math.min(limits.resyncChunkBytes, volume.bytes - offset);
  verify.cursorOffset += length;
  if (verify.cursorOffset >= volume.bytes) {
    verify.cursorVolume += 1;
    verify.cursorOffset = 0;
  }
  return { range: { volume: volume.index, offset, length }, tries: 0 };
}

function goOn(primary: Primary, member: Member, item: ResyncItem, out: PrimaryEffect[]): void {
  const { check } = item;
  if (check?.phase === "locking" && !isBeingWritten(primary, item)) {
    check.phase = "reading";
    check.atLsn = primary.nextLsn - 1;
    out.push({ kind: "readRegion", item });
  }
  if (check?.phase !== "waiting" || check.bytes === undefined) return;
  if (takesSets(member) && member.sets.appliedLsn < check.atLsn) return;
  const { bytes } = check;
  check.phase = "sent";
  check.bytes = undefined;
  queue(member, item);
  out.push({ kind: "sendCompare", item, bytes, sequence: member.sequence });
}

/** A chunk's read has answered. */
export function verifyRead(
  primary: Primary,
  read: {
    readonly item: ResyncItem;
    readonly check: Check;
    readonly bytes: Uint8Array;
    readonly failure: IoFailure | undefined;
  },
  out: PrimaryEffect[],
): void {
  const { item, check, bytes, failure } = read;
  const member = memberOf(primary, item.member);
  if (member?.verify?.underWay.has(item) !== true) return;
  if (failure !== undefined)
    return endVerify(primary, member, `it cannot be read here: ${failure.message}`, out);
  check.phase = "waiting";
  check.bytes = bytes;
  if (check.isHeld && takesSets(member)) {
    primary.locks.add(item);
    // The copy applies whole sets alone: writes that are held must not wait until it is time to seal this one.
    if (primary.journal !== undefined && primary.journal.count > 0)
      seal(primary, primary.journal, out);
    appendGathered(primary, out);
  }
  // Sets that the copy applies from now on may hold writes to it; a mirror gets them behind the compare.
  if (takesSets(member)) primary.checks.add(item);
  goOn(primary, member, item, out);
}

/** A write is about to be issued: chunks that it touches are of the past. */
export function noteStale(primary: Primary, range: ByteRange): void {
  for (const item of primary.checks)
    if (item.check !== undefined && overlaps(item, range)) item.check.isStale = true;
}

/** The member has compared the chunk. */
export function verifyAnswered(
  primary: Primary,
  member: Member,
  item: ResyncItem,
  out: PrimaryEffect[],
): void {
  const { verify } = member;
  if (verify === undefined || item.check === undefined || !verify.underWay.delete(item)) return;
  primary.checks.delete(item);
  if (primary.locks.delete(item)) primary.recheckHeld = true;
  const { volume, offset, length } = item;
  if (item.check.isStale) {
    verify.again.push({ range: { volume, offset, length }, tries: item.check.tries + 1 });
  } else {
    verify.comparedBytes += length;
    noteDiffering(verify, item);
  }
  pumpVerify(primary, member, out);
}

// Nothing said of it: the copy found nothing that differs.
function noteDiffering(verify: Verify, item: ResyncItem): void {
  const map = verify.differing[item.volume];
  if (map === undefined) return;
  for (const [region, differs] of (item.differs ?? []).entries()) {
    const at = region * item.regionBytes;
    if (differs) markBytes(map, item.offset + at, Math.min(item.regionBytes, item.length - at));
  }
}

// What differs is dirty towards the member, and its next session brings that over, as after any loss.
function repair(primary: Primary, member: Member, verify: Verify, out: PrimaryEffect[]): void {
  if (verify.differing.every((map) => map.count === 0)) return;
  if (takesSets(member)) leaveJournal(primary, member, out);
  for (const [volume, map] of verify.differing.entries())
    orInto(mapOf(primary, member, volume, out), map);
  member.record.phase = "dirty";
  member.resumed = true;
  fracture(primary, member, member.record.alone, out);
  const why = "regions that differ are brought over";
  out.push({ kind: "closeSession", member: member.index, why });
}
