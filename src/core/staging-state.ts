import type { IoFailure } from "#base/errors.ts";
import { createFifo, push } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { countOf, coversFrom } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { costOfSet, createSetTracker, isAsFlagged, takeFound } from "./set-tracker.ts";
import type { SetTracker } from "./set-tracker.ts";

// The state of an asynchronous copy's staging, the events that move it, the effects it asks for, and what a restart makes of
// the staging log; `staging.ts` is the machine. `Held` is the driver's: where the payload of a write is held.

/** A place in the order of sets: everything up to this set, whose last LSN and wall clock these are. */
export type Point = { readonly set: number; readonly lsn: number; readonly stampMs: number };

/** Whether entries are staged as they come, or a set at a time when it is whole in memory (S12, decision 14). */
export type StagingMode = "durable" | "memory";

export type Staging<Held> = {
  readonly mode: StagingMode;
  nowMs: number;
  session: StagingSession | undefined;
  /** Sets above the contiguous complete ones of which something came, by number (S15). */
  readonly sets: Map<number, StagedSet<Held>>;
  /** Those of them whose SEAL covers more than themselves. */
  covering: StagedSet<Held>[];
  /** Whole, and without a flag in the log. */
  whole: StagedSet<Held>[];
  /** With a flag in the log that no sync covers. */
  flagged: StagedSet<Held>[];
  syncing: Syncing<Held> | undefined;
  /** Contiguous and complete, in the order in which they are applied: not begun, and under way. */
  readonly ready: Fifo<StagedSet<Held>>;
  readonly applying: Fifo<StagedSet<Held>>;
  /** Applied, and not yet synced in the images and on record. */
  readonly unsynced: Fifo<AppliedSet>;
  /** The sync of the images under way, and the record behind it. */
  imageSync: Point | undefined;
  /** The set of WHOLE: once it is applied the image is a state of the host's. */
  wholeSet: number | undefined;
  /** Contiguous: complete; applied; applied, synced in the images and on record. They never go back. */
  complete: Point;
  applied: Point;
  synced: Point;
  /** What was last told, so that nothing is told twice. */
  told: { complete: Point; applied: Point; synced: Point } | undefined;
  /** As far as looked at: contiguous sets that are whole here, and the highest LSN staged without a gap (`watermarksOf`). */
  received: Point;
  stagedLsn: number;
  /** Records of the log that are not forgotten, oldest first; their tickets have no gaps. */
  readonly records: Fifo<LogRecord>;
  /** The log may still have something of sets that were forgotten, and whoever inspects it would find that (A3). */
  hasRemains: boolean;
  /** Last ticket given, last answered, last known synced. */
  ticket: number;
  stagedTicket: number;
  syncedTicket: number;
  /** Bytes appended since the last sync began; and whether one has been asked for by time. */
  unsyncedBytes: number;
  isSyncDue: boolean;
  /** Batches not acked, by lane. */
  readonly lanes: Map<number, Fifo<{ sequence: number; readonly ticket: number }>>;
  /** Cost of what is not applied; of what is being applied, which is a part of that; of what is applied and not synced. */
  waitingBytes: number;
  applyingBytes: number;
  appliedBytes: number;
  appliedMs: number;
  unsyncedSinceMs: number;
  /** Why nothing is staged any more, and why nothing is applied any more: both final until the copy begins anew. */
  stagingFailure: string | undefined;
  imageFailure: string | undefined;
  /** `starting`: what the log had is not known synced. `settled`: this is no copy any more. */
  stage: "starting" | "running" | "settling" | "settled";
  /** Somebody waits until everything that is complete is applied, synced and on record. */
  isDraining: boolean;
};

export type StagingSession = {
  readonly epoch: number;
  readonly incarnation: number;
  /** Regions come beside the sets: a set waits for its MARK (SPEC-async.md, Resync). */
  isResyncing: boolean;
  markedSet: number;
  /** Where the sets begin anew; until that is on record the session is not ready. */
  rebase: Point | undefined;
  /** What is not complete is to be given up first; until that is durable the session is not ready. */
  purge: Purge | undefined;
  isReady: boolean;
};

/**
 * `waiting`: what is whole here is called complete first, where a sync bears it out. Then everything else goes, which the
 * record of this ticket says (SPEC-cycle.md).
 */
export type Purge = { ticket: number | "waiting"; entries: number };

/**
 * `receiving` until SEAL and all indexes are there; `whole` until its flag is handed to the log; `flagged` until a sync
 * answers; then `complete`. `gone`: forgotten.
 */
export type SetPhase = "receiving" | "whole" | "flagged" | "complete" | "gone";

export type StagedSet<Held> = {
  readonly set: number;
  readonly tracker: SetTracker<Held>;
  phase: SetPhase;
  /** Records of the log that hold something of it. */
  readonly records: LogRecord[];
};

export type AppliedSet = {
  readonly set: number;
  readonly bytes: number;
  readonly records: readonly LogRecord[];
};

export type Syncing<Held> = {
  readonly ticket: number;
  readonly sets: readonly StagedSet<Held>[];
  readonly receivedLsn: number;
};

/** One record of the staging log; `users` counts the sets that need it. */
export type LogRecord = { readonly ticket: number; place: number | undefined; users: number };

/**
 * A batch as it came by a lane. `held` has one item for each entry; only a write has a payload to hold. `raw` is the driver's,
 * and comes back with the effect `stage` when the batch is to be stored as it came.
 */
export type Batch<Held> = {
  readonly entries: readonly Entry[];
  readonly held: readonly (Held | undefined)[];
  readonly raw: unknown;
};

/** What a flag says: this set lies whole in the records before it. A flag that finds it otherwise says nothing (I20). */
export type Flag = { readonly set: number; readonly count: number; readonly digest: number };

export type StagingEvent<Held> =
  /** Once, before all others. */
  | { readonly kind: "start" }
  | { readonly kind: "tick"; readonly nowMs: number }
  /** BEGIN has come and is on record. The first set that follows it, and the last LSN before that. */
  | {
      readonly kind: "opened";
      readonly epoch: number;
      readonly incarnation: number;
      readonly firstSet: number;
      readonly lsn: number;
      readonly resync: boolean;
      /** By a bunker, in the place of its primary. */
      readonly isReplay?: boolean;
      /** What is not complete here is to be given up, durably, before the session goes on. */
      readonly purge?: boolean;
    }
  | { readonly kind: "lost" }
  | {
      readonly kind: "batch";
      readonly epoch: number;
      readonly lane: number;
      readonly sequence: number;
      readonly batch: Batch<Held>;
    }
  /** MARK: the set and those before it may be applied. */
  | { readonly kind: "mark"; readonly set: number }
  /** Regions come no more: once this set is applied the image is consistent. */
  | { readonly kind: "whole"; readonly set: number }
  /** The record of this ticket is in the log, at this place. In the order of tickets. */
  | { readonly kind: "staged"; readonly ticket: number; readonly place: number }
  | { readonly kind: "stageFailed"; readonly failure: IoFailure }
  | { readonly kind: "synced"; readonly ticket: number; readonly failure: IoFailure | undefined }
  /** All entries of the set are in the images. In the order of the effects `apply`. */
  | { readonly kind: "applied"; readonly set: number; readonly failure: IoFailure | undefined }
  | { readonly kind: "imagesSynced"; readonly failure: IoFailure | undefined }
  | { readonly kind: "appliedRecorded"; readonly failure: IoFailure | undefined }
  /** A resync is about to begin: apply what is complete, sync it, put it on record; then `drained`. */
  | { readonly kind: "drain" }
  /** This copy is to be promoted, and hears no primary any more (U50). */
  | { readonly kind: "settle" };

export type StagingEffect<Held> =
  /** Append the batch to the staging log, as `raw` where there is one; then `staged` or `stageFailed`. */
  | { readonly kind: "stage"; readonly ticket: number; readonly batch: Batch<Held> }
  /** Append a record of flags, behind all that was staged before; then `staged` or `stageFailed`. */
  | { readonly kind: "flag"; readonly ticket: number; readonly flags: readonly Flag[] }
  /** Append a word that nothing before it counts but what is complete up to this set; then `staged` or `stageFailed`. */
  | { readonly kind: "purge"; readonly ticket: number; readonly completeSet: number }
  /** Sync the log up to this ticket, once all of it is appended; then `synced`. */
  | { readonly kind: "sync"; readonly ticket: number }
  /** STAGED: everything that came by this lane up to the sequence is durable; with memory staging, is here. */
  | { readonly kind: "ackLane"; readonly lane: number; readonly sequence: number }
  /** Where we are. `complete` is what the primary may forget up to. */
  | {
      readonly kind: "progress";
      readonly complete: Point;
      readonly applied: Point;
      readonly synced: Point;
    }
  /** Write these to the images, in this order; then `applied`. Several are under way at a time. */
  | {
      readonly kind: "apply";
      readonly set: number;
      readonly entries: readonly Entry[];
      readonly held: readonly (Held | undefined)[];
    }
  /** Sync all images; then `imagesSynced`. */
  | { readonly kind: "syncImages" }
  /** Make durable that everything up to this point is in the images, synced; then `appliedRecorded`. */
  | { readonly kind: "recordApplied"; readonly point: Point }
  /** Nobody needs the log up to and with the record at this place. */
  | { readonly kind: "forget"; readonly through: number }
  /** These payloads are not needed here: duplicates, and what was forgotten. */
  | { readonly kind: "release"; readonly held: readonly Held[] }
  /** What the log had counts: from here on a primary may be told where we are, and opens sessions. */
  | { readonly kind: "started" }
  /** What was complete is in the images, synced and on record; or it cannot be. */
  | { readonly kind: "drained" }
  /** Nothing that is not complete is here any more, durably: so many entries were given up. */
  | { readonly kind: "purged"; readonly complete: Point; readonly entries: number }
  /** The session may go on: answer BEGIN. */
  | { readonly kind: "ready"; readonly epoch: number }
  /** The image is what the host could have seen, from this point on; to be put on record. */
  | { readonly kind: "consistent"; readonly point: Point }
  /** What could be applied is: in the images, synced and on record, unless `why` says what hindered it. The log is void. */
  | { readonly kind: "settled"; readonly point: Point; readonly why: string | undefined }
  /** Once: nothing is staged any more. What is complete is still applied. */
  | { readonly kind: "stagingFailed"; readonly why: string }
  /** The session cannot go on: tell the primary why and close. */
  | { readonly kind: "failSession"; readonly why: string };

/** One record of the staging log, as a restart finds it. */
export type FoundRecord<Held> = { readonly place: number } & (
  | {
      readonly kind: "batch";
      readonly entries: readonly Entry[];
      readonly held: readonly (Held | undefined)[];
    }
  | { readonly kind: "flags"; readonly flags: readonly Flag[] }
  /** Of what lies before it, sets above this one were given up. */
  | { readonly kind: "purge"; readonly completeSet: number }
);

/**
 * A copy that starts: `applied` is the point on record, `found` the log from its first record that was not forgotten, in order.
 * Sets with a sound flag are kept, to be applied without the primary (S21); every other set is forgotten wholly (S22). Step
 * `start` next.
 */
export function createStaging<Held>(
  mode: StagingMode,
  applied: Point = { set: 0, lsn: 0, stampMs: 0 },
  found: readonly FoundRecord<Held>[] = [],
): Staging<Held> {
  const staging = blankStaging<Held>(mode, applied);
  for (const record of found) recover(staging, record);
  for (const set of staging.sets.values()) keepOrForget(staging, set);
  // A kill leaves them in the page cache alone: they count when a sync has answered.
  staging.stagedTicket = staging.ticket;
  return staging;
}

function blankStaging<Held>(mode: StagingMode, point: Point): Staging<Held> {
  return {
    mode,
    nowMs: 0,
    session: undefined,
    sets: new Map(),
    covering: [],
    whole: [],
    flagged: [],
    syncing: undefined,
    ready: createFifo(),
    applying: createFifo(),
    unsynced: createFifo(),
    imageSync: undefined,
    wholeSet: undefined,
    complete: point,
    applied: point,
    synced: point,
    told: undefined,
    received: point,
    stagedLsn: point.lsn,
    records: createFifo(),
    hasRemains: false,
    ticket: 0,
    stagedTicket: 0,
    syncedTicket: 0,
    unsyncedBytes: 0,
    isSyncDue: false,
    lanes: new Map(),
    waitingBytes: 0,
    applyingBytes: 0,
    appliedBytes: 0,
    appliedMs: 0,
    unsyncedSinceMs: 0,
    stagingFailure: undefined,
    imageFailure: undefined,
    stage: "starting",
    isDraining: false,
  };
}

function recover<Held>(staging: Staging<Held>, found: FoundRecord<Held>): void {
  const record = addRecord(staging, found.place);
  if (found.kind === "batch") {
    found.entries.forEach((entry, i) => {
      const set = entry.set > staging.applied.set ? setOf(staging, entry.set) : undefined;
      // What lies behind a sound flag is of no attempt that counts.
      if (set === undefined || set.phase !== "receiving") return;
      takeFound(set.tracker, entry, found.held[i]);
      pin(set, record);
    });
    return;
  }
  if (found.kind === "purge") {
    for (const set of staging.sets.values()) if (set.set > found.completeSet) giveUp(staging, set);
    return;
  }
  for (const flag of found.flags) {
    const set = staging.sets.get(flag.set);
    if (set === undefined || set.phase !== "receiving" || !isAsFlagged(set.tracker, flag)) continue;
    set.phase = "flagged";
    pin(set, record);
  }
}

function giveUp<Held>(staging: Staging<Held>, set: StagedSet<Held>): void {
  unpin(set.records);
  staging.sets.delete(set.set);
}

function keepOrForget<Held>(staging: Staging<Held>, set: StagedSet<Held>): void {
  if (set.phase !== "flagged") {
    staging.hasRemains = true;
    return giveUp(staging, set);
  }
  staging.flagged.push(set);
  staging.waitingBytes += costOfSet(set.tracker);
  if (isCovering(set)) staging.covering.push(set);
}

// ---------------------------------------------------------------------------------------- shared

/** The set with this number, begun where there is none. */
export function setOf<Held>(staging: Staging<Held>, number: number): StagedSet<Held> {
  const known = staging.sets.get(number);
  if (known !== undefined) return known;
  const set: StagedSet<Held> = {
    set: number,
    tracker: createSetTracker(number),
    phase: "receiving",
    records: [],
  };
  staging.sets.set(number, set);
  return set;
}

/** Its SEAL speaks for more sets than this one: those before it that are not complete never will be. */
export function isCovering(set: StagedSet<unknown>): boolean {
  const { seal } = set.tracker;
  return seal !== undefined && coversFrom(seal) < set.set;
}

export function addRecord(staging: Staging<unknown>, place?: number): LogRecord {
  staging.ticket += 1;
  const record: LogRecord = { ticket: staging.ticket, place, users: 0 };
  push(staging.records, record);
  return record;
}

/** The log keeps this record until the set needs it no more. */
export function pin(set: StagedSet<unknown>, record: LogRecord): void {
  if (set.records[set.records.length - 1] === record) return;
  set.records.push(record);
  record.users += 1;
}

export function unpin(records: readonly LogRecord[]): void {
  for (const record of records) record.users -= 1;
}

/** Forgets a set wholly: nothing of it is kept, and the log need not have it. */
export function forgetSet<Held>(
  staging: Staging<Held>,
  set: StagedSet<Held>,
  dropped: Held[],
): void {
  set.phase = "gone";
  staging.hasRemains = true;
  staging.sets.delete(set.set);
  if (isCovering(set)) staging.covering = staging.covering.filter((other) => other !== set);
  staging.waitingBytes -= costOfSet(set.tracker);
  unpin(set.records);
  for (const held of set.tracker.held) if (held !== undefined) dropped.push(held);
}

export function release<Held>(held: readonly Held[], out: StagingEffect<Held>[]): void {
  if (held.length > 0) out.push({ kind: "release", held });
}

/** The point that a sealed set leads to from the one before. */
export function pointOf(set: StagedSet<unknown>, before: Point): Point {
  const { seal } = set.tracker;
  return {
    set: set.set,
    lsn: Math.max(before.lsn, seal?.lsn ?? 0),
    // Another primary's clock may have been ahead: what it said last is no bound for what this one says.
    stampMs: seal?.stampMs ?? before.stampMs,
  };
}

// ---------------------------------------------------------------------------------------- status

/** Highest LSNs of which that is true here, contiguous; `synced`: applied, synced and on record. */
export type Watermarks = {
  readonly received: number;
  readonly staged: number;
  readonly complete: number;
  readonly applied: number;
  readonly synced: number;
};

export function watermarksOf(staging: Staging<unknown>): Watermarks {
  return {
    received: receivedLsn(staging),
    staged: staging.stagedLsn,
    complete: staging.complete.lsn,
    applied: staging.applied.lsn,
    synced: staging.synced.lsn,
  };
}

/** One set that is not applied, for people (S6): entries received, and expected once its SEAL is here. */
export type SetView = {
  readonly set: number;
  readonly received: number;
  readonly expected: number | undefined;
  readonly phase: SetPhase;
};

/** Sets above the contiguous complete ones, at most so many, in the order in which their first entries came. */
export function viewSets(staging: Staging<unknown>, most: number): SetView[] {
  const views: SetView[] = [];
  for (const { set, tracker, phase } of staging.sets.values()) {
    if (views.length === most) break;
    const expected = tracker.seal === undefined ? undefined : countOf(tracker.seal);
    views.push({ set, received: tracker.count, expected, phase });
  }
  return views;
}

/** Highest LSN up to which everything has come, contiguous. */
export function receivedLsn(staging: Staging<unknown>): number {
  if (staging.received.set < staging.complete.set) staging.received = staging.complete;
  let next = nextAfter(staging, staging.received.set, isClosed);
  while (next !== undefined) {
    staging.received = pointOf(next, staging.received);
    next = nextAfter(staging, next.set, isClosed);
  }
  // Within a set LSNs rise with the indexes while a group has one source.
  const partial = nextAfter(staging, staging.received.set, isBegun);
  return Math.max(staging.received.lsn, partial?.tracker.highestLsn ?? 0);
}

/** Nothing is added to it any more: it is whole, or further on. */
function isClosed(set: StagedSet<unknown>): boolean {
  return set.phase !== "receiving";
}

function isBegun(set: StagedSet<unknown>): boolean {
  return set.tracker.prefix > 0;
}

/**
 * The set that is consecutive to everything up to `after`, if it is as far as asked: the one with the next number, or else the
 * lowest that covers it.
 */
export function nextAfter<Held>(
  staging: Staging<Held>,
  after: number,
  isAsFar: (set: StagedSet<unknown>) => boolean,
): StagedSet<Held> | undefined {
  const exact = staging.sets.get(after + 1);
  if (exact !== undefined && isAsFar(exact)) return exact;
  let lowest: StagedSet<Held> | undefined;
  for (const set of staging.covering) {
    const { seal } = set.tracker;
    const covers = seal !== undefined && coversFrom(seal) <= after + 1 && after < set.set;
    if (!covers || !isAsFar(set)) continue;
    if (lowest === undefined || set.set < lowest.set) lowest = set;
  }
  return lowest;
}
