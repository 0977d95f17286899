import { saveRecord } from "#store/group-store.ts";
import { reopen } from "./copy-unit.ts";
import type { CopyRun } from "./copy-run.ts";
import { endTrouble, fail } from "./group.ts";
import type { Group, StagingTrouble } from "./group.ts";
import { emit } from "./group-context.ts";
import { whenIdle } from "./preserve-run.ts";
import { hasRoom, retryMs } from "./room.ts";
import type { StagingFailure } from "./staging-run.ts";

// A copy whose staging log failed begins anew by itself, less and less often, for as long as that takes. A log that could not
// be appended to is sound as far as it goes: it is opened again once there is room. One whose sync failed is not trusted
// again: what was complete before is applied from memory, the record lets go of the log, and the copy gets another.

/** The staging log has failed, or something in it was synced. People hear of the first failure and of the end of it. */
export function noteStaging(group: Group, failure: StagingFailure | undefined): void {
  const before = group.stagingTrouble;
  if (failure === undefined) {
    if (before !== undefined && !isHindered(group)) endWell(group);
    return;
  }
  if (before === undefined) tell(group, { from: "ok", to: "failed", why: failure.why });
  before?.timer?.cancel();
  const trouble: StagingTrouble = { ...failure, tries: before?.tries ?? 0, timer: undefined };
  group.stagingTrouble = trouble;
  tryLater(group, trouble);
}

/** Why nothing can be staged here for now, and that it will be tried again; "" when something can. */
export function troubleOf(group: Group): string {
  const { stagingTrouble: trouble } = group;
  if (trouble === undefined || !isHindered(group)) return "";
  const how = trouble.hasLostSync
    ? "it begins anew by itself, with another log"
    : "it is tried again by itself, and goes on once there is room";
  return `${trouble.why}; ${how}`;
}

// Until the copy has begun anew; from then on it is fed, and what it can sync shows whether it is well.
function isHindered({ copy }: Group): boolean {
  return copy === undefined || copy.staging?.staging.stagingFailure !== undefined;
}

function endWell(group: Group): void {
  endTrouble(group);
  tell(group, { from: "failed", to: "ok", why: "sets are staged again" });
}

function tell(
  { context }: Group,
  event: { readonly from: string; readonly to: string; readonly why: string },
): void {
  emit(context, { kind: "staging", copy: context.site, ...event });
}

function tryLater(group: Group, trouble: StagingTrouble): void {
  const { clock } = group.context.ports;
  const waitMs = retryMs(trouble.tries);
  trouble.tries += 1;
  trouble.timer = clock.after(waitMs, () => {
    if (group.isStopping || group.stagingTrouble !== trouble) return;
    trouble.timer = undefined;
    tryAnew(group, trouble);
  });
}

function tryAnew(group: Group, trouble: StagingTrouble): void {
  const { copy } = group;
  if (group.isChangingRole || group.failedWhy !== "") return tryLater(group, trouble);
  if (copy === undefined) return openAgain(group, trouble);
  const run = copy.staging;
  // It has begun anew for another reason meanwhile, or takes no sets any more.
  if (run?.staging.stagingFailure === undefined) {
    if (run === undefined) endWell(group);
    return;
  }
  // Whether a sync that is under way fails is to be known first.
  if (run.log.isSyncing || run.log.isRemoving) return tryLater(group, trouble);
  // A new start would find that image no better.
  if (run.staging.imageFailure !== undefined) return endTrouble(group);
  if (run.log.hasLostSync) return dropLog(group, copy, trouble);
  if (!hasRoom(group.context.store.folder, "staging", trouble.neededBytes))
    return tryLater(group, trouble);
  group.isChangingRole = true;
  copy.close("what is staged here begins anew");
  copy.abandon(() => whenIdle(copy.preserve, () => beginAnew(group, copy)));
}

function beginAnew(group: Group, copy: CopyRun): void {
  if (group.isStopping) return;
  copy.dispose();
  reopen(group, "set");
}

/**
 * What is complete was known synced before, and is in memory: it is applied first, so that the copy does not go back behind its
 * own word. Whatever else came is given up; the primary has it still.
 */
function dropLog(group: Group, copy: CopyRun, trouble: StagingTrouble): void {
  // A copy that cannot save what it would overwrite applies nothing.
  if (copy.copy.preserveFailure !== "") return tryLater(group, trouble);
  copy.close("the staging log here begins anew");
  copy.settle((why) => {
    if (group.copy !== copy || group.isChangingRole || group.isStopping) return;
    if (copy.copy.preserveFailure !== "") return tryLater(group, trouble);
    // The image has failed too, and that is what people hear of.
    if (why !== undefined) return endTrouble(group);
    group.isChangingRole = true;
    copy.whenQuiet(() =>
      whenIdle(copy.preserve, () => forgetLog(group, () => beginAnew(group, copy))),
    );
  });
}

/** The log could not even be opened, or made. */
function openAgain(group: Group, trouble: StagingTrouble): void {
  if (!trouble.hasLostSync && !hasRoom(group.context.store.folder, "staging", trouble.neededBytes))
    return tryLater(group, trouble);
  group.isChangingRole = true;
  if (trouble.hasLostSync) forgetLog(group, () => reopen(group, "set"));
  else reopen(group, "set");
}

// Durably, before anything else: a log that was not synced must not be read again as if it had been.
function forgetLog(group: Group, done: () => void): void {
  const { store } = group.context;
  delete store.record.stagingId;
  saveRecord(store, (failure) => {
    if (group.isStopping) return;
    if (failure === undefined) return done();
    group.isChangingRole = false;
    fail(group, `the group's record cannot be written: ${failure.message}`);
  });
}
