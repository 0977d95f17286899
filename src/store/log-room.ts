// Room on the disk for a log, taken before it is needed: what `append` is given has its place, and meets no full disk (row 40).
// The last segment is allocated some way ahead of its end, and beside it there is always a file for the next one: with two, a
// log whose records are let go goes round on a full disk for as long as it takes; with one it would stand still, since the last
// segment is never reclaimed. What cannot be had is told by `diskRoom`; whoever appends to the log keeps within that.

import type { IoFailure } from "#base/errors.ts";
import { isFailure, isNoRoom } from "#ports/file.ts";
import type { File } from "#ports/file.ts";
import { must } from "#base/assert.ts";
import { bytesOfFull, fail, isRoomForSegment, lastSegment, removeUnneeded } from "./log.ts";
import type { Log, LogAhead, Spare } from "./log.ts";
import { segmentHeaderBytes, spareName } from "./log-format.ts";

/** A disk that has no room for more of a log. */
export type DiskRoom = {
  /** What can be appended all the same, in records of any length. */
  readonly aheadBytes: number;
  readonly why: string;
};

/**
 * Takes room ahead of the end, unless there is enough. Where there was none the last time, the disk is asked again with `again`
 * alone: that may take it long. A failure of another kind ends the log.
 */
export function keepRoom(log: Log, again = false): void {
  if (!log.isAllocating || log.failure !== undefined) return;
  if (log.noRoom !== undefined) removeUnneeded(log);
  if (log.noRoom !== undefined && !again) return;
  log.noRoom = undefined;
  // The file that waits comes first: a last segment that has taken all there is can never be left again.
  if (isRoomForSegment(log)) readySpare(log);
  growLast(log);
}

function growLast(log: Log): void {
  const last = lastSegment(log);
  const { segmentBytes } = log.options;
  const goal = aheadOf(log);
  if (last.allocatedBytes >= Math.min(segmentBytes, last.endByte + goal)) return;
  const step = aheadIn(log).stepBytes;
  const upTo = Math.ceil((last.endByte + goal) / step) * step;
  take(log, last.file, last, Math.min(segmentBytes, upTo));
}

/** What the disk still has for this log; undefined while that is enough. */
export function diskRoom(log: Log): DiskRoom | undefined {
  if (log.noRoom === undefined) return undefined;
  const aheadBytes = certainBytes(log);
  return aheadBytes >= aheadOf(log) ? undefined : { aheadBytes, why: log.noRoom.message };
}

/** Gives the room of a file that waits to be used back to the disk. False where there is none. */
export function giveSpare(log: Log): boolean {
  const spare = log.spares.pop();
  if (spare === undefined) return false;
  const failure = log.options.folder.remove(spare.name);
  if (failure !== undefined) fail(log, failure);
  return failure === undefined;
}

function leastOf(log: Log): number {
  return Math.ceil((aheadOf(log) + aheadIn(log).marginBytes) / 2);
}

/** How much is wanted ahead: a segment has no more. */
function aheadOf(log: Log): number {
  return Math.min(aheadIn(log).bytes, log.options.segmentBytes - segmentHeaderBytes);
}

function aheadIn({ options: { ahead } }: Log): LogAhead {
  return must(ahead, "only a log that takes room ahead is asked for it");
}

// Records do not lie in two segments: each but one may be left with less than a record's length.
function certainBytes(log: Log): number {
  const { segmentBytes, bytesMax } = log.options;
  const segmentsLeft = Math.max(0, Math.floor((bytesMax - bytesOfFull(log)) / segmentBytes));
  const last = lastSegment(log);
  let largest = Math.max(0, Math.min(last.allocatedBytes, segmentBytes) - last.endByte);
  let others = 0;
  for (const { allocatedBytes } of log.spares.slice(0, segmentsLeft)) {
    const bytes = Math.max(0, Math.min(allocatedBytes, segmentBytes) - segmentHeaderBytes);
    others += Math.max(0, Math.min(bytes, largest) - aheadIn(log).marginBytes);
    largest = Math.max(bytes, largest);
  }
  return largest + others;
}

// The oldest of them is used next. One is made only where there is none: its name is that of the very next segment, so that no
// segment that is reclaimed later can want it.
function readySpare(log: Log): void {
  const { folder, name, segmentBytes } = log.options;
  const wanted = Math.min(segmentBytes, segmentHeaderBytes + aheadOf(log));
  const [first] = log.spares;
  const spare: Spare = first ?? {
    name: spareName(name, lastSegment(log).number + 1),
    isFresh: true,
    allocatedBytes: 0,
  };
  if (spare.allocatedBytes >= wanted) return;
  const file = folder.open(spare.name);
  if (isFailure(file)) return refuse(log, file);
  take(log, file, spare, wanted);
  // Where somebody else was quicker by a block or two, less will do: hosts are let in as long as there is the margin.
  const least = Math.min(wanted, segmentHeaderBytes + leastOf(log));
  if (log.noRoom !== undefined && spare.allocatedBytes < least) take(log, file, spare, least);
  file.close();
  if (first !== undefined) return;
  if (spare.allocatedBytes >= least) return void log.spares.push(spare);
  const notRemoved = folder.remove(spare.name);
  if (notRemoved !== undefined) fail(log, notRemoved);
}

function take(log: Log, file: File, had: { allocatedBytes: number }, upTo: number): void {
  const failure = file.allocate(had.allocatedBytes, upTo - had.allocatedBytes);
  if (failure === undefined) had.allocatedBytes = upTo;
  else if (failure === "unsupported") log.isAllocating = false;
  else refuse(log, failure);
}

function refuse(log: Log, failure: IoFailure): void {
  if (isNoRoom(failure)) log.noRoom = failure;
  else fail(log, failure);
}
