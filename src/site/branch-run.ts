import { must } from "#base/assert.ts";
import type { Result } from "#base/errors.ts";
import { blankMember } from "#core/group-record.ts";
import type { Branch } from "#core/group-record.ts";
import { describePoint } from "#core/point.ts";
import { savedMaps } from "#core/preserve.ts";
import { saveRecord } from "#store/group-store.ts";
import { closeLog } from "#store/log.ts";
import type { Log } from "#store/log.ts";
import { removeOtherLogs } from "#store/log-files.ts";
import { openPreserveLog } from "#store/preserve-log.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { logOptions, markReverted, openPreserve } from "./preserve-run.ts";
import type { PreserveRun } from "./preserve-run.ts";
import { markUndone, writeBackAll } from "./saved-content.ts";
import { syncImages } from "./sync-images.ts";

// The branch of a site whose own writes were given up (SPEC-branch.md): found again at a start, brought back, let go.

type Done = (failure: string | undefined) => void;

/** Takes up what is kept of older images here, before anything else of the copy begins: the preserved point, and the branch. */
export function openKept(context: GroupContext, done: (result: Result<PreserveRun>) => void): void {
  openPreserve(context, (opened) => {
    if (opened.ok) openBranch(opened.value, done);
    else done(opened);
  });
}

// Finishes bringing the branch back where that was begun.
function openBranch(run: PreserveRun, done: (result: Result<PreserveRun>) => void): void {
  const { context } = run;
  const { record, folder } = context.store;
  const { branch } = record;
  removeOtherLogs(folder, "branch", branch?.id);
  const end: Done = (failure) => {
    if (failure === undefined) done({ ok: true, value: run });
    else done({ ok: false, error: failure });
  };
  if (branch === undefined) return end(undefined);
  const found = savedMaps(record.volumes);
  const options = { ...logOptions(context, "branch", run.bytesMax), id: branch.id };
  openPreserveLog(options, found, (opened) => {
    if (!opened.ok) return loseBranch(context, `its log cannot be used: ${opened.error}`, end);
    const log = opened.value;
    for (const why of log.damage) emit(context, { kind: "damage", why });
    if (branch.phase === "kept") {
      run.branchLog = log;
      run.branchFound = found;
      return end(undefined);
    }
    bringBack(context, log, {
      done: end,
      logLost: (why) => {
        closeLog(log);
        loseBranch(context, why, end);
      },
    });
  });
}

// In the midst of being brought back, part of the image is older than any primary knows.
function loseBranch(context: GroupContext, why: string, done: Done): void {
  const { record } = context.store;
  const branch = must(record.branch, "there is a branch to lose");
  if (branch.phase === "undoing") markReverted(context, branch);
  dropBranch(context, `lost: ${why}`, done);
}

/** Forgets the branch, durably; nothing of it is open any more. */
export function dropBranch(context: GroupContext, how: string, done: Done): void {
  const { store } = context;
  const { branch } = store.record;
  if (branch === undefined) return done(undefined);
  delete store.record.branch;
  saveRecord(store, (failure) => {
    if (failure !== undefined) return done(failure.message);
    removeOtherLogs(store.folder, "branch", undefined);
    emit(context, { kind: "branch", why: `the branch at ${describePoint(branch)} is ${how}` });
    done(undefined);
  });
}

/**
 * Takes the image back to the branch. Nobody else writes to it any more. A crash before its record leaves the copy as it was;
 * after it, the next start goes on.
 */
export function undoDiscard(run: PreserveRun, done: Done): void {
  const { context, branchLog: log } = run;
  const { store } = context;
  const { record } = store;
  const branch = must(record.branch, "there is a branch to bring back");
  if (log === undefined) return done("the log of the branch is not open");
  run.branchLog = undefined;
  markUndone(context, log, (marked) => {
    if (marked !== undefined) return done(marked);
    record.branch = { ...branch, phase: "undoing" };
    // Until all of it is there, the image is of different ages; and no younger state of it can be had any more.
    record.image = "synchronizing";
    record.preservedPoint = undefined;
    // With the record go the open maps, before it.
    saveRecord(store, (failure) => {
      if (failure !== undefined) return done(failure.message);
      bringBack(context, log, { done, logLost: done });
    });
  });
}

function bringBack(
  context: GroupContext,
  log: Log,
  { done, logLost }: { readonly done: Done; readonly logLost: (why: string) => void },
): void {
  const end: Done = (failure) => done(`bringing the branch back: ${failure}`);
  const written: Done = (failure) => {
    if (failure !== undefined) return end(failure);
    syncImages(context.images, (notSynced) => {
      if (notSynced !== undefined) return end(notSynced.message);
      recordBroughtBack(context, log, (notSaved) =>
        notSaved === undefined ? done(undefined) : end(notSaved),
      );
    });
  };
  writeBackAll(context, log, { done: written, logLost });
}

// The image is the branch again: its own history, and without whom it had acked, say to everybody that it is one.
function recordBroughtBack(context: GroupContext, log: Log, done: Done): void {
  const { store } = context;
  const { record } = store;
  const branch = must(record.branch, "the branch stays on record until the image is there");
  markReverted(context, branch);
  record.role = "secondary";
  record.history = branch.history;
  record.incarnation = branch.incarnation;
  record.image = "consistent";
  record.toldOfFracture = undefined;
  record.members = membersOf(branch);
  delete record.branch;
  saveRecord(store, (failure) => {
    if (failure !== undefined) return done(failure.message);
    closeLog(log);
    removeOtherLogs(store.folder, "branch", undefined);
    const why = `the branch is back, ${describePoint(branch)}`;
    emit(context, { kind: "image", from: "synchronizing", to: "consistent", why });
    done(undefined);
  });
}

// What they lack is not known any more, but that they lack something is: nobody may feed this site as if it had lost nothing.
function membersOf({ aloneTowards, wrote }: Branch) {
  const since = wrote.sinceMs === undefined ? {} : { aloneSinceMs: wrote.sinceMs };
  const member = { ...blankMember(), phase: "dirty" as const, alone: true, ...since };
  return Object.fromEntries(aloneTowards.map((site) => [site, { ...member, dirtyMapIds: [] }]));
}
