import type { GroupRecord } from "#core/group-record.ts";
import { saveRecord } from "#store/group-store.ts";
import type { FeedUnit } from "#wire/peer/documents.ts";
import type { CopyRun } from "./copy-run.ts";
import { becomeCopy, fail } from "./group.ts";
import type { Group } from "./group.ts";
import { preserveBytesMax, whenIdle } from "./preserve-run.ts";

// A copy that was fed with sets is to be fed with writes, or the other way round: its primary says which when it opens a
// session. Sets that are complete here are in the images before the first write of a mirror, or they would undo it later.

/** Whether this copy must be made ready before it can be fed so. */
export function mustChangeUnit(copy: CopyRun, unit: FeedUnit | undefined): unit is FeedUnit {
  if (unit === undefined) return false;
  if (unit === "set") return copy.staging === undefined;
  const { staging } = copy.staging ?? {};
  return staging !== undefined && (staging.complete.set > 0 || staging.ticket > 0);
}

/** Makes it ready; until then no session is let in, and the primary asks again. */
export function changeUnit(group: Group, copy: CopyRun, unit: FeedUnit): void {
  group.isChangingRole = true;
  copy.close(`this copy is about to take ${unit}s`);
  copy.settle((why) => {
    if (why !== undefined) return unsettled(group, copy, why);
    copy.whenQuiet(() => {
      if (unit === "write") endSets(group.context.store.record, unit);
      saveRecord(group.context.store, (failure) => {
        if (failure !== undefined)
          return failed(group, `the group's record cannot be written: ${failure.message}`);
        if (group.isStopping) return;
        copy.dispose();
        reopen(group, unit);
      });
    });
  });
}

/** Opens the copy again, by what is on record. The run of before is disposed of. */
export function reopen(group: Group, unit: FeedUnit): void {
  group.copy = undefined;
  becomeCopy(
    group,
    () => {
      group.isChangingRole = false;
      followTerms(group);
    },
    unit,
  );
}

/** The group goes by another revision: what concerns how this site is a copy is taken up. */
export function followTerms(group: Group): void {
  const { copy, context } = group;
  if (copy === undefined || group.isChangingRole) return;
  const bytesMax = preserveBytesMax(context);
  const { preserve } = copy;
  const isKeeping = preserve.log !== undefined || preserve.branchLog !== undefined;
  if (preserve.bytesMax !== bytesMax && isKeeping) return followPreserve(group, copy);
  copy.changePreserve(bytesMax);
  followStaging(group, copy);
}

// A resync that stands still for want of room goes on, or the point is given up: the copy begins anew with what is on record.
function followPreserve(group: Group, copy: CopyRun): void {
  putAside(group, copy, "what the preserved point may take has changed", () => {
    copy.dispose();
    reopen(group, unitOf(copy));
  });
}

/** Nothing more comes into this copy, not even what is complete: calls back once it is quiet, to change what is on record. */
export function putAside(group: Group, copy: CopyRun, why: string, done: () => void): void {
  group.isChangingRole = true;
  copy.close(why);
  copy.abandon(() => {
    whenIdle(copy.preserve, () => {
      if (!group.isStopping) done();
    });
  });
}

/** What it was fed with. */
export function unitOf(copy: CopyRun): FeedUnit {
  return copy.staging === undefined ? "write" : "set";
}

/** Sets are staged in another way from now on: the copy begins anew behind the sets that are complete here. */
function followStaging(group: Group, copy: CopyRun): void {
  const { context } = group;
  const wanted = context.config.copies.get(context.site)?.staging ?? "durable";
  if (copy.staging === undefined || copy.staging.staging.mode === wanted) return;
  settleAside(group, copy, `sets are staged in another way from now on: ${wanted}`, () => {
    copy.dispose();
    reopen(group, "set");
  });
}

/** Nothing more comes into this copy, and what is complete is applied: calls back once it is quiet, to open it again. */
export function settleAside(group: Group, copy: CopyRun, why: string, done: () => void): void {
  group.isChangingRole = true;
  copy.close(why);
  copy.settle((failure) => {
    if (failure !== undefined) return unsettled(group, copy, failure);
    copy.whenQuiet(() => {
      if (!group.isStopping) done();
    });
  });
}

// The image is a state of the past, and nobody could tell from the staging any more which: that stands here from now on.
function endSets(record: GroupRecord, unit: FeedUnit): void {
  const { applied, syncedAt } = record;
  const lsn = applied?.lsn ?? syncedAt?.lsn ?? 0;
  if (syncedAt !== undefined) record.syncedAt = { ...syncedAt, lsn };
  if (record.image === "consistent")
    record.toldOfFracture ??= { lsn, why: `it was about to take ${unit}s instead of sets` };
  delete record.stagingId;
  delete record.applied;
}

// Where old content cannot be saved, more room or another word of the operator's helps, and the copy is asked again then.
function unsettled(group: Group, { copy }: CopyRun, why: string): void {
  if (copy.preserveFailure === "") return failed(group, `the sets that are complete here: ${why}`);
  group.isChangingRole = false;
}

function failed(group: Group, why: string): void {
  group.isChangingRole = false;
  fail(group, why);
}
