import type { Copy, CopyBegin, CopyEffect, CopyEvent, CopyWork } from "./copy-state.ts";
import { createPreserve, gatherUnsaved } from "./preserve.ts";
import type { Preserve } from "./preserve.ts";

// How a copy comes by its preserved point, keeps it and lets it go (SPEC-preserve.md). The point is put on record with the
// image's becoming `synchronizing`, and leaves the record with its becoming whole: in between, it is always there.

/**
 * A resync is about to begin and the image is a state of the host's: that state becomes the point. A point that is there
 * already stays as it is; and an image that a failed sync has put in doubt is no state that could be claimed.
 */
export function isPointDue({ record, pointsAreKept }: Copy): boolean {
  const isWhole = record.image === "synchronized" || record.image === "consistent";
  return (
    pointsAreKept &&
    record.preservedPoint === undefined &&
    isWhole &&
    record.syncedAt !== undefined &&
    record.failedVolumes.length === 0
  );
}

/** No image write is under way: sync what was written, and have a preserve log, before BEGIN is begun again. */
export function askPoint(copy: Copy, work: CopyWork, out: CopyEffect[]): void {
  copy.blocked = { on: "point", work };
  out.push({ kind: "makePoint", work });
}

export function pointAnswered(
  copy: Copy,
  answer: Extract<CopyEvent, { kind: "pointMade" | "pointNotMade" }>,
  out: CopyEffect[],
): void {
  if (copy.blocked?.on !== "point" || copy.blocked.work !== answer.work) return;
  copy.blocked = undefined;
  const isCurrent = copy.session?.number === answer.work.session;
  if (answer.kind === "pointMade") {
    // Until another BEGIN comes the image may move on: that one has a point of its own made.
    if (isCurrent) copy.madePoint = answer.made;
    else out.push({ kind: "dropPoint" });
  } else if (answer.isFinal) failPreserve(copy, answer.why, out);
  else if (isCurrent) out.push({ kind: "failSession", why: answer.why });
}

/** BEGIN of a resync changes the record: with it goes the point, in the generation whose state it is. */
export function keepPoint(copy: Copy, begin: CopyBegin): void {
  const { record, madePoint, appliedLsn } = copy;
  if (madePoint === undefined) return;
  copy.madePoint = undefined;
  const { applied } = record;
  const position =
    begin.firstSet > 0 && applied !== undefined
      ? { set: applied.set, lsn: applied.lsn, stampMs: applied.stampMs }
      : { set: 0, lsn: appliedLsn, stampMs: 0 };
  const generation = record.history.at(-1)?.counter ?? 0;
  record.preservedPoint = { ...madePoint, ...position, generation, phase: "kept" };
  copy.preserve = createPreserve(record.volumes, copy.preserveStepBytes);
}

/** It is on record that the image is whole: what it was before is of no use any more. */
export function dropPoint(copy: Copy, out: CopyEffect[]): void {
  if (copy.preserve === undefined || copy.record.preservedPoint !== undefined) return;
  copy.preserve = undefined;
  out.push({ kind: "dropPoint" });
}

/** What waits behind the first write into a unit is saved with it, as far as one step goes: one sync serves them all. */
export function saveForQueue(copy: Copy, preserve: Preserve, out: CopyEffect[]): void {
  copy.ticket += 1;
  copy.blocked = { on: "save", ticket: copy.ticket };
  const ranges = gatherUnsaved(preserve, copy.queue);
  out.push({ kind: "save", ticket: copy.ticket, ranges });
}

export function saved(
  copy: Copy,
  { ticket, why }: Extract<CopyEvent, { kind: "saved" }>,
  out: CopyEffect[],
): void {
  if (copy.blocked?.on !== "save" || copy.blocked.ticket !== ticket) return;
  copy.blocked = undefined;
  if (why !== "") failPreserve(copy, why, out);
}

// While the point is claimed nothing is overwritten that is not saved: whatever waits, waits until this process has ended.
function failPreserve(copy: Copy, why: string, out: CopyEffect[]): void {
  copy.blocked = { on: "end" };
  copy.preserveFailure = why;
  out.push({ kind: "event", event: { kind: "preserve", why } });
  out.push({ kind: "failSession", why });
}
