import { must, unreachable } from "#base/assert.ts";
import { getU64, putU64, textOf, totalBytes, utf8, viewOf } from "#base/bytes.ts";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { stepStaging } from "#core/staging.ts";
import { createStaging } from "#core/staging-state.ts";
import type {
  Batch,
  Flag,
  FoundRecord,
  Point,
  Staging,
  StagingEffect,
  StagingEvent,
} from "#core/staging-state.ts";
import { placeOf } from "#store/log-places.ts";
import { append, closeLog, figuresOf, reclaim, sync } from "#store/log.ts";
import type { Log } from "#store/log.ts";
import { logName, removeOtherLogs } from "#store/log-files.ts";
import { openLog } from "#store/log-open.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogRecord } from "#store/log-read.ts";
import { saveRecord } from "#store/group-store.ts";
import { decodeTable, payloadIsSound, splitPayload } from "#wire/batch/decode.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createDriver, drive } from "./driver.ts";
import type { Driver } from "./driver.ts";
import type { GroupContext } from "./group-context.ts";

// Drives the staging of a copy that takes sets: batches go to its log, flags behind them, complete sets to the machine of the
// copy. It decides nothing.

/** Where a write's bytes are: the chunks that were received, or read back after a restart. */
export type Payload = readonly Uint8Array[];

/**
 * Kinds of the staging log's records: a batch as it came; flags of sets that are whole before them, as JSON; a purge, whose
 * table is a u64, little-endian: of all that lies before it, sets above this one were given up.
 */
export const recordKind = { batch: 1, flags: 2, purge: 3 } as const;

/** A batch as it came: what the log stores without looking into it. */
export type RawBatch = { readonly table: Uint8Array; readonly payload: Payload };

/** What the run asks of the copy that it belongs to. */
export type StagingOwner = {
  apply(set: number, entries: readonly Entry[], held: readonly (Payload | undefined)[]): void;
  syncImages(): void;
  ackLane(lane: number, sequence: number): void;
  progress(complete: Point, applied: Point, synced: Point): void;
  purged(complete: Point, entries: number): void;
  ready(epoch: number): void;
  consistent(point: Point): void;
  started(): void;
  release(held: readonly Payload[]): void;
  drained(): void;
  failSession(why: string): void;
  stagingFailed(failure: StagingFailure): void;
  /** What was appended in this life of the log is durable. */
  stagingSynced(): void;
};

/** Why nothing can be staged. */
export type StagingFailure = {
  readonly why: string;
  /** What could not be written. */
  readonly neededBytes: number;
  /** The log must not be trusted any more (PROOF §2.5). */
  readonly hasLostSync: boolean;
};

export type StagingRun = {
  readonly context: GroupContext;
  readonly log: Log;
  readonly staging: Staging<Payload>;
  /** The last record that was there when the log was opened. */
  readonly foundThrough: number;
  /** Of the record that could not be appended. */
  neededBytes: number;
  /** Set by whom it belongs to, before the first event. */
  owner: StagingOwner | undefined;
  readonly driver: Driver<StagingEvent<Payload>, StagingEffect<Payload>>;
  /** Nothing is decided any more: what is under way ends by itself. */
  isClosed: boolean;
  readonly settleWaiters: ((why: string | undefined) => void)[];
  /** What is complete is not applied, for this reason, or "". */
  heldUpWhy: string;
};

/** The run, or why it cannot be had; with `failure` the disk is to blame, and a later try may do better. */
export type OpenedStaging =
  | { readonly ok: true; readonly value: StagingRun }
  | { readonly ok: false; readonly error: string; readonly failure?: StagingFailure };

/** Opens the staging log, or makes it, and finds what a restart keeps. */
export function openStaging(context: GroupContext, done: (result: OpenedStaging) => void): void {
  const { record, folder, randomId } = context.store;
  record.stagingId ??= randomId();
  removeOtherLogs(folder, "staging", record.stagingId);
  openLog(
    {
      folder,
      name: logName("staging", record.stagingId),
      logId: record.stagingId,
      segmentBytes: limits.stagingSegmentBytes,
      bytesMax: limits.stagingBytesMax,
      knownThrough: 0,
      verifyPayload: (table, payload) => payload.length === 0 || payloadIsSound(table, [payload]),
      visit: () => undefined,
    },
    (opened) => {
      if (!opened.ok) return done(notOpened(opened.error, opened.trouble));
      const log = opened.value;
      const applied = record.applied ?? { set: 0, lsn: 0, stampMs: 0 };
      readFound(log, applied, (found) => {
        if (!found.ok) return done(found);
        const mode = context.config.copies.get(context.site)?.staging ?? "durable";
        const run: StagingRun = {
          context,
          log,
          staging: createStaging(mode, applied, found.value),
          foundThrough: log.lastRecord,
          neededBytes: 0,
          owner: undefined,
          driver: createDriver(
            (event, out) => stepStaging(run.staging, event, out),
            (effect) => perform(run, effect),
          ),
          isClosed: false,
          settleWaiters: [],
          heldUpWhy: "",
        };
        done({ ok: true, value: run });
      });
    },
  );
}

function notOpened(error: string, trouble: "io" | "sync" | undefined): OpenedStaging {
  if (trouble === undefined) return { ok: false, error };
  const why = `the staging log here cannot be opened: ${error}`;
  const hasLostSync = trouble === "sync";
  return { ok: false, error, failure: { why, neededBytes: 0, hasLostSync } };
}

function readFound(
  log: Log,
  applied: Point,
  done: (result: Result<FoundRecord<Payload>[]>) => void,
): void {
  const found: FoundRecord<Payload>[] = [];
  const next = (from: ReturnType<typeof placeOf>): void => {
    if (from === undefined) return done({ ok: true, value: found });
    readRecords(log, from, limits.journalReadBytes, (read) => {
      if ("code" in read) return done({ ok: false, error: read.message });
      if (read.records.length === 0) return done({ ok: true, value: found });
      for (const record of read.records) {
        const one = foundOf(record, applied);
        if (one === undefined)
          return done({
            ok: false,
            error: `staging record ${record.number} is none that this version knows`,
          });
        found.push(one);
      }
      next(read.next);
    });
  };
  next(placeOf(log, figuresOf(log).firstRecord));
}

function foundOf(record: LogRecord, applied: Point): FoundRecord<Payload> | undefined {
  const { number: place, kind, table, payload } = record;
  if (kind === recordKind.flags) {
    const flags = parseFlags(table);
    return flags === undefined ? undefined : { place, kind: "flags", flags };
  }
  if (kind === recordKind.purge) return { place, kind: "purge", completeSet: parsePurge(table) };
  const entries = decodeTable(table, payload.length);
  const payloads = entries.ok ? splitPayload(entries.value, [payload]) : undefined;
  if (!entries.ok || payloads === undefined) return undefined;
  // What is applied is not held again: only its place in the log counts.
  const held = payloads.map((chunks, i) => {
    const entry = entries.value[i];
    return entry?.kind === "write" && entry.set > applied.set ? chunks : undefined;
  });
  return { place, kind: "batch", entries: entries.value, held };
}

/** The flags of a record; undefined where it has none. */
export function parseFlags(table: Uint8Array): readonly Flag[] | undefined {
  const text = textOf(table);
  // The log's checksums say that these are our own bytes.
  return text === undefined ? undefined : (JSON.parse(text) as readonly Flag[]);
}

/** The set up to which everything was complete when the rest was given up. */
export function parsePurge(table: Uint8Array): number {
  return must(getU64(viewOf(table), 0), "a purge of ours names a set");
}

function encodePurge(completeSet: number): Uint8Array {
  const table = new Uint8Array(8);
  putU64(viewOf(table), 0, completeSet);
  return table;
}

export function submitStaging(run: StagingRun, event: StagingEvent<Payload>): void {
  if (run.isClosed) return;
  drive(run.driver, event);
}

/** Applies what is complete and gives up the rest. `done` gets why that did not work, or why it does not come to it for now. */
export function settleStaging(
  run: StagingRun | undefined,
  done: (why: string | undefined) => void,
): void {
  if (run === undefined) return done(undefined);
  run.settleWaiters.push(done);
  submitStaging(run, { kind: "settle" });
  tellHeldUp(run);
}

/** The copy's machine applies nothing any more, for this reason; or does again. Whoever waits for it must not wait for ever. */
export function holdUp(run: StagingRun | undefined, why: string): void {
  if (run === undefined) return;
  run.heldUpWhy = why;
  tellHeldUp(run);
}

function tellHeldUp(run: StagingRun): void {
  if (run.heldUpWhy === "") return;
  for (const waiter of run.settleWaiters.splice(0)) waiter(run.heldUpWhy);
}

export function closeStaging(run: StagingRun): void {
  if (run.isClosed) return;
  run.isClosed = true;
  closeLog(run.log);
}

function perform(run: StagingRun, effect: StagingEffect<Payload>): void {
  const { owner, log } = run;
  if (owner === undefined) return;
  switch (effect.kind) {
    case "stage":
      return stage(run, effect.ticket, effect.batch);
    case "flag":
      return put(run, effect.ticket, {
        kind: recordKind.flags,
        table: utf8(JSON.stringify(effect.flags)),
        payload: [],
      });
    case "purge": {
      const table = encodePurge(effect.completeSet);
      return put(run, effect.ticket, { kind: recordKind.purge, table, payload: [] });
    }
    case "sync":
      return sync(log, (failure) => {
        submitStaging(run, { kind: "synced", ticket: effect.ticket, failure });
        if (run.isClosed || failure !== undefined) return;
        if (log.syncedThrough > run.foundThrough) owner.stagingSynced();
      });
    case "ackLane":
      return owner.ackLane(effect.lane, effect.sequence);
    case "progress":
      return owner.progress(effect.complete, effect.applied, effect.synced);
    case "apply":
      return owner.apply(effect.set, effect.entries, effect.held);
    case "syncImages":
      return owner.syncImages();
    case "recordApplied":
      return recordApplied(run, effect.point);
    case "forget": {
      const failure = reclaim(log, effect.through + 1);
      if (failure !== undefined) submitStaging(run, { kind: "stageFailed", failure });
      return;
    }
    case "release":
      return owner.release(effect.held);
    case "purged":
      return owner.purged(effect.complete, effect.entries);
    case "ready":
      return owner.ready(effect.epoch);
    case "started":
      return owner.started();
    case "drained":
      return owner.drained();
    case "consistent":
      return owner.consistent(effect.point);
    case "settled":
      for (const waiter of run.settleWaiters.splice(0)) waiter(effect.why);
      return;
    case "failSession":
      return owner.failSession(effect.why);
    case "stagingFailed": {
      const { neededBytes } = run;
      return owner.stagingFailed({ why: effect.why, neededBytes, hasLostSync: log.hasLostSync });
    }
    default:
      return unreachable(effect);
  }
}

function stage(run: StagingRun, ticket: number, batch: Batch<Payload>): void {
  const raw = batch.raw as RawBatch | undefined;
  if (raw !== undefined) return put(run, ticket, { kind: recordKind.batch, ...raw });
  // A set that was gathered in memory: one record, made here.
  const table = encodeTable(batch.entries);
  const payload = batch.held.flatMap((chunks) => [...(chunks ?? [])]);
  put(run, ticket, { kind: recordKind.batch, table, payload });
}

function put(run: StagingRun, ticket: number, record: RawBatch & { readonly kind: number }): void {
  const place = append(run.log, record.kind, record.table, record.payload);
  if (place === "full" || "code" in place)
    run.neededBytes = Math.max(run.neededBytes, record.table.length + totalBytes(record.payload));
  if (place === "full") {
    const message = `the staging log is full (${totalBytes(record.payload)} bytes more)`;
    submitStaging(run, { kind: "stageFailed", failure: { code: "ENOSPC", message } });
  } else if ("code" in place) submitStaging(run, { kind: "stageFailed", failure: place });
  else submitStaging(run, { kind: "staged", ticket, place: place.number });
}

function recordApplied(run: StagingRun, point: Point): void {
  const { store } = run.context;
  const { record } = store;
  record.applied = point;
  // A sync that failed fails for as long as the image is open. Since it was opened anew, all that may have been lost was
  // applied again from this log; regions of a resync are not in it.
  if (record.image === "consistent") record.failedVolumes = [];
  saveRecord(store, (failure) => submitStaging(run, { kind: "appliedRecorded", failure }));
}
