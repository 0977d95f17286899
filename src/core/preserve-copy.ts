import { assert } from "#base/assert.ts";
import { aloneTowards } from "./branch.ts";
import type { Copy, CopyBegin, CopyEffect, CopyEvent, CopyWork, KeptAs } from "./copy-state.ts";
import { generationCounter } from "./history.ts";
import { createPreserve, gatherUnsaved, isSaved } from "./preserve.ts";
import type { ByteRange } from "./ranges.ts";

// How a copy comes by its preserved point, keeps it and lets it go (SPEC-preserve.md). The point is put on record with the
// image's becoming `synchronizing`, and leaves the record with its becoming whole: in between, it is always there.

/**
 * What must be kept of the image before a resync begins to write to it. Where it is a state of the host's, that state
 * becomes the point; where the operator has given up what was written here by itself, it becomes a branch. A point that
 * is there already stays as it is; and an image that a failed sync has put in doubt is no state that could be claimed.
 */
export function dueBefore({ record, pointsAreKept }: Copy): KeptAs | undefined {
  const isWhole = record.image === "synchronized" || record.image === "consistent";
  const isState = isWhole && record.syncedAt !== undefined && record.failedVolumes.length === 0;
  if (!pointsAreKept || !isState || record.preservedPoint !== undefined) return undefined;
  // The branch is the same state, and is there as long.
  return record.discarding !== undefined && record.branch === undefined ? "branch" : "point";
}

/** No image write is under way: sync what was written, and have a log, before BEGIN is begun again. */
export function askPoint(
  copy: Copy,
  work: CopyWork,
  { as, out }: { readonly as: KeptAs; readonly out: CopyEffect[] },
): void {
  copy.blocked = { on: "point", work };
  out.push({ kind: "makePoint", work, as });
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
    else out.push({ kind: "dropPoint", as: answer.made.as });
  } else if (answer.isFinal) failPreserve(copy, answer.why, out);
  else if (isCurrent) out.push({ kind: "failSession", why: answer.why });
}

/** BEGIN of a resync changes the record: with it goes the point, in the generation whose state it is. */
export function keepPoint(copy: Copy, begin: CopyBegin): void {
  const { record, madePoint, appliedLsn } = copy;
  if (madePoint === undefined) return;
  copy.madePoint = undefined;
  const { applied, discarding } = record;
  const position =
    begin.firstSet > 0 && applied !== undefined
      ? { set: applied.set, lsn: applied.lsn, stampMs: applied.stampMs }
      : { set: 0, lsn: appliedLsn, stampMs: 0 };
  // Gone back, and not moved on since: the generation whose resync was undone is still on record, and its state is not here.
  const wentBackTo = record.reverted?.lsn === position.lsn ? record.reverted : undefined;
  const generation = wentBackTo?.generation ?? generationCounter(record.history);
  const { as, ...made } = madePoint;
  const point = { ...made, ...position, generation, phase: "kept" } as const;
  const nothingSaved = createPreserve(record.volumes, copy.preserveStepBytes);
  if (as === "branch" && discarding !== undefined) {
    const { history, incarnation } = record;
    const tenure = { history, incarnation, aloneTowards: aloneTowards(record) };
    record.branch = { ...point, ...tenure, wrote: discarding.wrote };
    copy.branch = nothingSaved;
    return;
  }
  // A state of then is not newer than the resync that was undone.
  const keptSinceMs = wentBackTo?.keptSinceMs ?? made.keptSinceMs;
  record.preservedPoint = { ...point, keptSinceMs };
  copy.preserve = nothingSaved;
}

/** It is on record that the image is whole: what it was before is of no use any more. */
export function dropPoint(copy: Copy, out: CopyEffect[]): void {
  if (copy.preserve === undefined || copy.record.preservedPoint !== undefined) return;
  copy.preserve = undefined;
  out.push({ kind: "dropPoint", as: "point" });
}

/** Nothing of what this work overwrites is lost to the point, or to the branch. */
export function isAllSaved({ preserve, branch }: Copy, work: ByteRange): boolean {
  if (preserve !== undefined && !isSaved(preserve, work)) return false;
  return branch === undefined || isSaved(branch, work);
}

/** What waits behind the first write into a unit is saved with it, as far as one step goes: one sync serves them all. */
export function saveForQueue(copy: Copy, out: CopyEffect[]): void {
  const { preserve, branch, queue } = copy;
  copy.ticket += 1;
  copy.blocked = { on: "save", ticket: copy.ticket };
  const ranges = preserve === undefined ? [] : gatherUnsaved(preserve, queue);
  const branchRanges = branch === undefined ? [] : gatherUnsaved(branch, queue);
  out.push({ kind: "save", ticket: copy.ticket, ranges, branchRanges });
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

/** Whoever had what was here kept has given it up, on record: what is complete goes on. */
export function keepNothing(copy: Copy, out: CopyEffect[]): void {
  const { record } = copy;
  assert(record.branch === undefined && record.preservedPoint === undefined, "nothing is claimed");
  copy.branch = undefined;
  if (copy.preserveFailure === "") return;
  copy.preserveFailure = "";
  copy.blocked = undefined;
  out.push({ kind: "heldUp", why: "" });
}

// While a point or a branch is claimed nothing is overwritten that is not saved: whatever waits, waits until this
// process has ended.
function failPreserve(copy: Copy, why: string, out: CopyEffect[]): void {
  copy.blocked = { on: "end" };
  copy.preserveFailure = why;
  out.push({ kind: "event", event: { kind: "preserve", why } });
  out.push({ kind: "heldUp", why });
  out.push({ kind: "failSession", why });
}
