import { must } from "#base/assert.ts";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { CopyEvent, CopyWork, KeptAs, PreserveTerms } from "#core/copy-state.ts";
import type { PreservedPoint } from "#core/group-record.ts";
import { describePoint, inMiB } from "#core/point.ts";
import { savedMaps } from "#core/preserve.ts";
import type { SaveRange } from "#core/preserve.ts";
import type { RegionMap } from "#core/region-map.ts";
import { saveRecord } from "#store/group-store.ts";
import { closeLog } from "#store/log.ts";
import { removeOtherLogs } from "#store/log-files.ts";
import type { Log } from "#store/log.ts";
import {
  bytesWith,
  encodeStep,
  makePreserveLog,
  openPreserveLog,
  saveStep,
} from "#store/preserve-log.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { markUndone, readRanges, writeBackAll } from "./saved-content.ts";
import { syncImages } from "./sync-images.ts";

// Keeps a copy's preserved point: reads what is about to be overwritten, appends it to the preserve log, syncs; and writes it
// back when the operator goes back to the point. Which point is kept and what must be saved, core/preserve*.ts decides.

export type PreserveRun = {
  readonly context: GroupContext;
  /** Room for old content; 0: no point is kept. */
  bytesMax: number;
  /** Open while there is a point. */
  log: Log | undefined;
  /** What a restart found saved; the copy's machine goes on with these maps. */
  readonly found: readonly RegionMap[] | undefined;
  /** Open while a branch is kept; and what a restart found saved of it (site/branch-run.ts). */
  branchLog: Log | undefined;
  branchFound: readonly RegionMap[] | undefined;
  /** A step is being read, appended or synced. */
  isSaving: boolean;
  readonly idleWaiters: (() => void)[];
};

type Done = (failure: string | undefined) => void;

const kindOf = { point: "preserve", branch: "branch" } as const;

/** What keeping a point may take of this site's disk. */
export function preserveBytesMax({ config, site }: GroupContext): number {
  const volumeBytes = config.volumes.reduce((sum, { bytes }) => sum + bytes, 0);
  const byDefault = Math.max(limits.preserveBytesDefaultMin, Math.floor(volumeBytes / 5));
  const terms = config.copies.get(site);
  // The first primary has no terms of its own. As a copy it gets the widest of the others': that does not change with whoever
  // feeds it, so that no point is given up because another site was promoted.
  const bounds = (terms === undefined ? [...config.copies.values()] : [terms]).map(
    (copy) => copy.preserveBytesMax ?? byDefault,
  );
  return Math.min(Math.max(0, ...bounds), limits.preserveBytesMax);
}

/**
 * Takes up the point on record, before anything else of the copy begins: finishes going back to it where that was begun, drops
 * it where none is to be kept any more, and else finds what is saved of it.
 */
export function openPreserve(
  context: GroupContext,
  done: (result: Result<PreserveRun>) => void,
): void {
  const { record, folder } = context.store;
  const point = record.preservedPoint;
  const bytesMax = preserveBytesMax(context);
  removeOtherLogs(folder, "preserve", point?.id);
  const end = (log: Log | undefined, found: readonly RegionMap[] | undefined): void =>
    done({
      ok: true,
      value: {
        context,
        bytesMax,
        log,
        found,
        branchLog: undefined,
        branchFound: undefined,
        isSaving: false,
        idleWaiters: [],
      },
    });
  const endWithout: Done = (failure) => {
    if (failure === undefined) end(undefined, undefined);
    else done({ ok: false, error: failure });
  };
  if (point === undefined) return end(undefined, undefined);
  if (point.phase === "kept" && bytesMax === 0)
    return forget(context, "preserve.bytesMax is 0", endWithout);
  const found = savedMaps(record.volumes);
  openPreserveLog({ ...logOptions(context, "point", bytesMax), id: point.id }, found, (opened) => {
    if (!opened.ok) return forget(context, `its log cannot be used: ${opened.error}`, endWithout);
    const log = opened.value;
    for (const why of log.damage) emit(context, { kind: "damage", why });
    if (point.phase === "kept") return end(log, found);
    undo(context, log, {
      done: endWithout,
      logLost: (why) => {
        closeLog(log);
        forget(context, why, endWithout);
      },
    });
  });
}

/** What the copy's machine is told. */
export function preserveTerms(run: PreserveRun): PreserveTerms {
  const { preserveUnitBytes, preserveStepBytesMax } = limits;
  // A step that does not fit fills the log: with little room, steps are small.
  const stepBytes = Math.min(preserveStepBytesMax, Math.floor(run.bytesMax / 16));
  return {
    isKept: run.bytesMax > 0,
    stepBytes: Math.max(preserveUnitBytes, stepBytes),
    saved: run.found,
    branchSaved: run.branchFound,
  };
}

/** Of the log of a point, or of a branch. */
export function logOptions(context: GroupContext, as: KeptAs, bytesMax: number) {
  const { folder, record } = context.store;
  return { folder, kind: kindOf[as], bytesMax, volumes: record.volumes };
}

// The point cannot be kept, or is not to be: from here on the image is what it is, until the resync has ended.
function forget(context: GroupContext, why: string, done: Done): void {
  const { store } = context;
  const point = must(store.record.preservedPoint, "there is a point to forget");
  // In the midst of going back, part of the image is older than any primary knows.
  if (point.phase === "undoing") markReverted(context, point);
  store.record.preservedPoint = undefined;
  saveRecord(store, (failure) => {
    if (failure !== undefined) return done(failure.message);
    removeOtherLogs(store.folder, "preserve", undefined);
    emit(context, { kind: "preserve", why: `${describePoint(point)} is given up: ${why}` });
    done(undefined);
  });
}

// ------------------------------------------------------------------------------------------ keeping

/** For a BEGIN: syncs the images, makes a log; answers by an event of the copy's machine. */
export function makePoint(
  run: PreserveRun,
  { work, as }: { readonly work: CopyWork; readonly as: KeptAs },
  submit: (event: CopyEvent) => void,
): void {
  const { context } = run;
  const { clock } = context.ports;
  syncImages(context.images, (failure) => {
    if (failure !== undefined) {
      submit({ kind: "syncLost" });
      const why = `fdatasync of the image here failed: ${failure.message}`;
      return submit({ kind: "pointNotMade", work, why, isFinal: false });
    }
    const id = context.store.randomId();
    makePreserveLog({ ...logOptions(context, as, run.bytesMax), id }, (made) => {
      if (!made.ok) {
        const name = as === "point" ? "the preserved point" : "the branch";
        const why = `${name} cannot be kept, so no resync begins: ${made.error}`;
        return submit({ kind: "pointNotMade", work, why, isFinal: true });
      }
      if (as === "point") run.log = made.value;
      else run.branchLog = made.value;
      submit({ kind: "pointMade", work, made: { id, keptSinceMs: clock.wallMs(), as } });
    });
  });
}

/** Calls back once nothing is being read, appended or synced for the point. */
export function whenIdle(run: PreserveRun, done: () => void): void {
  if (run.isSaving) run.idleWaiters.push(done);
  else done();
}

/** Nobody needs the log any more. */
export function dropPoint(run: PreserveRun, as: KeptAs): void {
  if (as === "point") closePoint(run);
  else closeBranch(run);
  removeOtherLogs(run.context.store.folder, kindOf[as], undefined);
}

export function closePreserve(run: PreserveRun): void {
  closePoint(run);
  closeBranch(run);
}

function closePoint(run: PreserveRun): void {
  if (run.log !== undefined) closeLog(run.log);
  run.log = undefined;
}

function closeBranch(run: PreserveRun): void {
  if (run.branchLog !== undefined) closeLog(run.branchLog);
  run.branchLog = undefined;
}

/** Ranges of which the point, or the branch, has nothing yet. */
export type Unsaved = {
  readonly ranges: readonly SaveRange[];
  readonly branchRanges: readonly SaveRange[];
};

/** Makes durable what these ranges hold; `done` gets why that cannot be had any more, or "". */
export function saveRanges(
  run: PreserveRun,
  { ranges, branchRanges }: Unsaved,
  done: (why: string) => void,
): void {
  run.isSaving = true;
  const end = (why: string): void => {
    run.isSaving = false;
    for (const waiter of run.idleWaiters.splice(0)) waiter();
    done(why);
  };
  saveTo(run, "branch", branchRanges, (why) => {
    if (why === "") saveTo(run, "point", ranges, end);
    else end(why);
  });
}

function saveTo(
  run: PreserveRun,
  as: KeptAs,
  ranges: readonly SaveRange[],
  done: (why: string) => void,
): void {
  if (ranges.length === 0) return done("");
  readRanges(run.context, ranges, (read) => {
    if ("code" in read) return done(notKept(`the image here cannot be read: ${read.message}`));
    const log = as === "point" ? run.log : run.branchLog;
    // Closed while the image was read: the site is stopping, or the group has failed here.
    if (log === undefined) return done(notKept(`the ${kindOf[as]} log was closed`));
    const step = encodeStep(read);
    if (bytesWith(log, step) > run.bytesMax) return done(fullWords(run, as));
    saveStep(log, step, (failure) => done(failure === undefined ? "" : notKept(failure.message)));
  });
}

function notKept(why: string): string {
  return `the resync stands still here, since what it overwrites cannot be kept: ${why}; restart this site to try again`;
}

function fullWords({ context, bytesMax }: PreserveRun, as: KeptAs): string {
  const { site, store } = context;
  const full = `${inMiB(bytesMax)} of preserve.bytesMax at ${site}`;
  const { group } = store.record;
  if (as === "branch")
    return (
      `this copy stands still, since the old content that keeps its branch fills the ${full}: raise it and antipode reload ` +
      `${group}, or let the branch go: antipode discard ${group} --site ${site} --drop-branch`
    );
  const point = store.record.preservedPoint;
  const name = point === undefined ? "the preserved point" : describePoint(point);
  return (
    `the resync stands still, since the old content that keeps ${name} promotable fills the ${full}: ` +
    `raise it, or set it to 0 to give the point up, and antipode reload ${group}`
  );
}

// -------------------------------------------------------------------------------------- going back

/**
 * Takes the image back to the point: the copy here is promoted. Nothing else writes to it any more. `done` is called when that
 * is on record, or with why it is not: then a restart goes on with it.
 */
export function revert(run: PreserveRun, done: Done): void {
  const { context } = run;
  const point = must(context.store.record.preservedPoint, "there is a point to go back to");
  const begin = (): void => {
    const { log } = run;
    if (log === undefined) return done("the preserve log is not open");
    run.log = undefined;
    markUndone(context, log, (marked) => {
      if (marked !== undefined) return done(marked);
      context.store.record.preservedPoint = { ...point, phase: "undoing" };
      // With the record go the open maps, before it.
      saveRecord(context.store, (failure) => {
        if (failure === undefined) undo(context, log, { done, logLost: done });
        else done(failure.message);
      });
    });
  };
  whenIdle(run, begin);
}

function undo(
  context: GroupContext,
  log: Log,
  { done, logLost }: { readonly done: Done; readonly logLost: (why: string) => void },
): void {
  const written: Done = (failure) => {
    if (failure === undefined) endUndo(context, log, done);
    else done(`going back to the preserved point: ${failure}`);
  };
  writeBackAll(context, log, { done: written, logLost });
}

function endUndo(context: GroupContext, log: Log, done: Done): void {
  const { store } = context;
  syncImages(context.images, (notSynced) => {
    if (notSynced !== undefined)
      return done(`going back to the preserved point: ${notSynced.message}`);
    const point = must(store.record.preservedPoint, "the point stays until the image is there");
    markReverted(context, point);
    store.record.preservedPoint = undefined;
    store.record.image = "consistent";
    saveRecord(store, (failure) => {
      if (failure !== undefined) return done(failure.message);
      closeLog(log);
      removeOtherLogs(store.folder, "preserve", undefined);
      const why = `back at the preserved point, ${describePoint(point)}`;
      emit(context, { kind: "image", from: "synchronizing", to: "consistent", why });
      done(undefined);
    });
  });
}

/** Where the image is by its record, and that no primary knows it. What was staged behind the point is void. */
export function markReverted({ store }: GroupContext, point: PreservedPoint): void {
  const { record } = store;
  const { lsn, set, generation, stampMs, keptSinceMs } = point;
  record.reverted = { lsn, set, generation, stampMs, keptSinceMs };
  record.syncedAt = { lsn, generation };
  if (set > 0) record.applied = { set, lsn, stampMs };
  else delete record.applied;
  delete record.stagingId;
}
