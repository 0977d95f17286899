import { limits } from "#base/limits.ts";

// Where hosts wait or fail once the journal is full (`overflow: stall | fail`), they are slowed down before: beyond half of
// what it holds they are let in as fast as the copies drain it, and a part of the room that is left. So the use of the journal
// comes to rest below its limit, instead of going from full to not quite full and back, segment by segment. Where a full
// journal trips a copy, hosts are never slowed down.

export type Pace = {
  /** What the copies may lack of what was ordered, before the journal's room for it ends. */
  limitBytes: number;
  /** Of the journal. */
  readonly segmentBytes: number;
  /** How many bytes the order had at an LSN: what a copy that is complete up to there has drained. Ascending. */
  marks: { readonly lsn: number; readonly bytes: number }[];
  /** All bytes that were ordered; and how many of them the copy that holds the tail has. */
  orderedBytes: number;
  drainedBytes: number;
  /** All of them but those that everybody has whom the journal is kept for: copies, devices, volumes that have failed. */
  keptBytes: number;
  /** Of lately: bytes a millisecond. */
  drainsPerMs: number;
  drainsNowPerMs: number;
  /** What hosts may still write before the next tick; below 0 what they have taken in advance. */
  allowanceBytes: number;
};

/**
 * `found`: what an earlier incarnation left in the journal, and the last LSN of it. `room`: what the journal may hold when
 * hosts wait, and in which pieces it goes. The oldest is kept whole for the last entry that is needed of it, and goes once its
 * successor is synced. Bytes.
 */
export function createPace(
  found: { readonly lsn: number; readonly bytes: number },
  room: { readonly bytes: number; readonly segmentBytes: number },
): Pace {
  return {
    limitBytes: limitOf(room.bytes, room.segmentBytes),
    segmentBytes: room.segmentBytes,
    marks: [{ lsn: 0, bytes: 0 }, found],
    orderedBytes: found.bytes,
    drainedBytes: 0,
    keptBytes: found.bytes,
    drainsPerMs: 0,
    drainsNowPerMs: 0,
    allowanceBytes: Number.POSITIVE_INFINITY,
  };
}

/** Hosts are slowed down when less than the first of the bound is free, until more than the second is. */
const slowShare = 0.5;
const easeShare = 0.6;

/** What of the bound is left free when hosts write as fast as the copies drain. */
const restShare = 0.1;

function limitOf(roomBytes: number, segmentBytes: number): number {
  return Math.max(segmentBytes, roomBytes - 2 * segmentBytes);
}

/** The journal has another room for hosts than before. Bytes. */
export function setPaceRoom(pace: Pace, roomBytes: number): void {
  pace.limitBytes = limitOf(roomBytes, pace.segmentBytes);
}

/** A write has its place in the order. */
export function notePaced(pace: Pace, bytes: number): void {
  const cost = bytes + limits.entryCostBytes;
  pace.orderedBytes += cost;
  pace.allowanceBytes -= cost;
}

/** Whether a host's write waits for the next tick. */
export function isPaced(pace: Pace): boolean {
  return pace.allowanceBytes <= 0;
}

export type PaceTick = {
  /** The policy of the journal is one that hosts would feel when it is full. */
  readonly isSlowing: boolean;
  /** The last LSN in the order; and up to where the copy has it for which the journal is kept. */
  readonly lsn: number;
  readonly tailLsn: number | undefined;
  /** Up to where devices that lack something have it, and volumes that have failed; undefined where there are none. */
  readonly lackedLsn: number | undefined;
};

/** What hosts may write until the next tick. True when those that wait may go on. */
export function tickPace(pace: Pace, now: PaceTick, elapsedMs: number): boolean {
  if (elapsedMs <= 0) return false;
  measure(pace, now, elapsedMs);
  const wasPaced = isPaced(pace);
  const room = roomOf(pace);
  // Where nothing is drained there is no pace to go at: what room there is, hosts may have.
  const isMoving = pace.drainsPerMs >= 1;
  // Once hosts are slowed down, they are until there is clearly more room: nothing goes to and fro at the edge.
  const isPacing = Number.isFinite(pace.allowanceBytes);
  const enough = pace.limitBytes * (isPacing ? easeShare : slowShare);
  if (!now.isSlowing || !isMoving || room > enough) {
    pace.allowanceBytes = Number.POSITIVE_INFINITY;
  } else {
    // A link that has become slow is believed at once, one that has become fast in a while. Behind where the use is to come to
    // rest, hosts get less than is drained.
    const drainsPerMs = Math.min(pace.drainsPerMs, pace.drainsNowPerMs);
    const spare = room - pace.limitBytes * restShare;
    const perMs = Math.max(drainsPerMs / 2, drainsPerMs + spare / limits.paceHorizonMs);
    // A process that stood still owes nobody what it did not let in.
    const carried = Math.max(Math.min(0, pace.allowanceBytes), -limits.hostRequestBytesMax);
    pace.allowanceBytes = carried + perMs * Math.min(elapsedMs, limits.paceElapsedMsMax);
  }
  return wasPaced && !isPaced(pace);
}

function measure(pace: Pace, { lsn, tailLsn, lackedLsn }: PaceTick, elapsedMs: number): void {
  const share = Math.min(1, elapsedMs / limits.paceMemoryMs);
  mark(pace, lsn);
  // Nobody asks for what lies before: it is let go.
  forgetMarks(pace, Math.min(tailLsn ?? lsn, lackedLsn ?? lsn));
  const drained = tailLsn === undefined ? pace.orderedBytes : bytesAt(pace, tailLsn);
  const brought = lackedLsn === undefined ? pace.orderedBytes : bytesAt(pace, lackedLsn);
  pace.keptBytes = pace.orderedBytes - Math.min(drained, brought);
  // Another copy may hold the tail now, or none: what is behind it was not drained in this tick.
  const fresh = Math.min(Math.max(0, drained - pace.drainedBytes), pace.orderedBytes);
  pace.drainsPerMs += (fresh / elapsedMs - pace.drainsPerMs) * share;
  const shareNow = Math.min(1, elapsedMs / limits.paceMemoryNowMs);
  pace.drainsNowPerMs += (fresh / elapsedMs - pace.drainsNowPerMs) * shareNow;
  pace.drainedBytes = drained;
}

function mark(pace: Pace, lsn: number): void {
  const last = pace.marks.at(-1);
  if (last === undefined || lsn > last.lsn) pace.marks.push({ lsn, bytes: pace.orderedBytes });
  // A copy that is far behind is measured less finely.
  if (pace.marks.length > limits.paceMarksMax)
    pace.marks = pace.marks.filter((_, i) => i % 2 === 0 || i === pace.marks.length - 1);
}

function forgetMarks({ marks }: Pace, lsn: number): void {
  const next = marks.findIndex((one) => one.lsn > lsn);
  marks.splice(0, Math.max(0, (next === -1 ? marks.length : next) - 1));
}

function bytesAt({ marks }: Pace, lsn: number): number {
  const found = marks.findIndex((one) => one.lsn > lsn);
  const next = Math.max(1, found === -1 ? marks.length : found);
  const [before, after] = [marks[next - 1], marks[next]];
  if (before === undefined || after === undefined || lsn <= before.lsn) return before?.bytes ?? 0;
  return (
    before.bytes + ((after.bytes - before.bytes) * (lsn - before.lsn)) / (after.lsn - before.lsn)
  );
}

function roomOf({ limitBytes, orderedBytes, drainedBytes }: Pace): number {
  return limitBytes - (orderedBytes - drainedBytes);
}
