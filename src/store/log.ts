// An append-only log of records in segments: the group's journal at the primary, the staging log at a copy. Its bytes are
// drawn in store/log-format.ts; store/log-open.ts opens what is there, store/log-read.ts reads.
//
// What is appended is in the page cache when `append` returns, and durable when a later `sync` says so. A sync covers the
// segments and, for new ones, their names: a record in a file that nobody can find is not durable (row 50).
//
// A write or sync that fails is final for the log (PROOF §2.5): what lies behind it could not be trusted to follow.

import { assert, must } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import {
  encodeRecordHead,
  encodeSegmentHeader,
  recordHeadBytes,
  segmentHeaderBytes,
  segmentName,
  spareName,
} from "./log-format.ts";

/** Where a record begins. The place behind the last record is that of the next one. */
export type LogPlace = {
  /** Of the record. */
  readonly number: number;
  readonly segment: number;
  /** In that segment. */
  readonly byte: number;
};

export type LogOptions = {
  readonly folder: Folder;
  readonly name: string;
  /** Drawn at random when the log was made, and named by the group's record: tells stale files of the same name. */
  readonly logId: number;
  /** A new segment begins where the next record would make one longer than this; a longer record has one of its own. */
  readonly segmentBytes: number;
  /** All segments together, each counted as full. */
  readonly bytesMax: number;
  /** Room is taken on the disk before it is needed (store/log-room.ts); left out, a segment grows as it is written. */
  readonly ahead?: LogAhead;
  /** Says whether a payload matches the checksums that the caller keeps in its table. */
  readonly verifyPayload: (table: Uint8Array, payload: Uint8Array) => boolean;
};

/** Room ahead of the end: how much, by which steps it is taken, and what of it is kept for what is on its way. Bytes. */
export type LogAhead = {
  readonly bytes: number;
  readonly stepBytes: number;
  readonly marginBytes: number;
};

type Done = (failure: IoFailure | undefined) => void;

export type Log = {
  readonly options: LogOptions;
  /** Oldest first; never empty. */
  readonly segments: Segment[];
  /** Of all segments, as far as they are written. */
  bytesUsed: number;
  /** Number of the oldest record that is there; one more than `lastRecord` when none is. */
  firstRecord: number;
  /** Number of the newest record; 0 before the first. */
  lastRecord: number;
  /** Checksum of its head: what the next one names. */
  chain: number;
  /** Records up to this number are durable. */
  syncedThrough: number;
  /** Why nothing is appended and nothing synced any more. */
  failure: IoFailure | undefined;
  /** A sync has failed: the kernel may call clean what it could not write, and none of it proves anything any more. */
  hasLostSync: boolean;
  isClosed: boolean;
  /** What was cut off at opening, in words. */
  readonly damage: readonly string[];
  /** The caller needs no record below this number any more. */
  unneededBelow: number;
  isRemoving: boolean;
  /** Files that wait to become segments, the next one first. */
  readonly spares: Spare[];
  /** The disk can take room ahead, and does. */
  isAllocating: boolean;
  /** Why there was none the last time. */
  noRoom: IoFailure | undefined;
  isSyncing: boolean;
  readonly syncWaiters: Done[];
  /** Each head in turn: the file takes it before `append` returns. */
  readonly head: Uint8Array;
};

/** A reclaimed segment, or one that was made before it is needed: then it has nothing in it. */
export type Spare = { readonly name: string; readonly isFresh: boolean; allocatedBytes: number };

export type Segment = {
  readonly number: number;
  readonly file: File;
  readonly firstRecord: number;
  /** Behind its last record. */
  endByte: number;
  /** Places of some records, in order, about `limits.logIndexBytes` apart. */
  readonly marks: LogPlace[];
  /** Times that something was written to the file, and how many of them a finished sync covers. */
  writes: number;
  syncedWrites: number;
  /** Header and name are known to be synced: the log could begin with it. */
  isDurable: boolean;
  /** Written over a reclaimed one: what lies behind its end is to be told from records. */
  readonly isReused: boolean;
  /** Reads under way. */
  reads: number;
  /** Of the file, from its beginning on, so much is known to have room on the disk. */
  allocatedBytes: number;
};

export type LogFigures = Readonly<
  Pick<Log, "bytesUsed" | "firstRecord" | "lastRecord" | "syncedThrough">
> & { readonly bytesMax: number };

/** A log that is opened by nobody but store/log-open.ts: `segments` are those found or made. */
export function newLog(
  options: LogOptions,
  segments: Segment[],
  found: Pick<Log, "lastRecord" | "chain" | "damage">,
): Log {
  let bytesUsed = 0;
  for (const segment of segments) bytesUsed += segment.endByte;
  return {
    ...found,
    options,
    segments,
    bytesUsed,
    firstRecord: must(segments[0], "a log has a segment").firstRecord,
    syncedThrough: 0,
    failure: undefined,
    hasLostSync: false,
    isClosed: false,
    unneededBelow: 0,
    isRemoving: false,
    spares: [],
    isAllocating: options.ahead !== undefined,
    noRoom: undefined,
    isSyncing: false,
    syncWaiters: [],
    head: new Uint8Array(recordHeadBytes),
  };
}

// ------------------------------------------------------------------------------------------ append

/**
 * Puts a record behind the last one, in the page cache, with one write. Answers its place; "full" when it would need a
 * segment more than `bytesMax` allows, and then nothing has changed; or the failure that ended the log.
 */
export function append(
  log: Log,
  kind: number,
  table: Uint8Array,
  payload: readonly Uint8Array[],
): LogPlace | "full" | IoFailure {
  if (log.failure !== undefined) return log.failure;
  const payloadBytes = totalBytes(payload);
  const bytes = recordHeadBytes + table.length + payloadBytes;
  assert(
    table.length <= limits.logTableBytesMax && payloadBytes <= limits.logPayloadBytesMax,
    `a record of ${table.length} + ${payloadBytes} bytes does not fit the log ${log.options.name}`,
  );
  const segment = roomFor(log, bytes);
  if (segment === "full" || "code" in segment) return segment;
  const place = { number: log.lastRecord + 1, segment: segment.number, byte: segment.endByte };
  const crc = encodeRecordHead(
    log.head,
    { logId: log.options.logId, segment: segment.number, byte: segment.endByte },
    {
      number: place.number,
      syncedThrough: log.syncedThrough,
      kind,
      tableBytes: table.length,
      payloadBytes,
      tableCrc: crc32c(table),
      chain: log.chain,
    },
  );
  segment.writes += 1;
  const chunks = [log.head, table, ...payload, ...endBehind(segment, segment.endByte + bytes)];
  const failure = segment.file.write(segment.endByte, chunks);
  if (failure !== undefined) return fail(log, failure);
  log.lastRecord = place.number;
  log.bytesUsed += bytes;
  log.chain = crc;
  passRecord(segment, place, bytes);
  return place;
}

const noRecord = new Uint8Array(recordHeadBytes);

// Zeros at the place of the next head end a segment. A new file has them anyway.
function endBehind({ file, isReused }: Segment, endByte: number): readonly Uint8Array[] {
  const room = isReused ? file.bytes() - endByte : 0;
  return room > 0 ? [noRecord.subarray(0, room)] : [];
}

/** A record lies at this place of the segment; the next one follows it. */
export function passRecord(segment: Segment, place: LogPlace, bytes: number): void {
  const marked = segment.marks.at(-1)?.byte ?? segmentHeaderBytes;
  if (place.byte - marked >= limits.logIndexBytes) {
    segment.marks.push(place);
  }
  segment.endByte = place.byte + bytes;
}

function roomFor(log: Log, bytes: number): Segment | "full" | IoFailure {
  const { segmentBytes } = log.options;
  const last = lastSegment(log);
  const isLastOpen = last.endByte + bytes <= segmentBytes;
  // It may take more of the disk than was taken ahead: no primary makes such records once its journal is small.
  const isLong = segmentHeaderBytes + bytes > segmentBytes;
  if (isLastOpen && (!log.isAllocating || last.endByte + bytes <= last.allocatedBytes)) return last;
  const spare = log.spares.find(({ allocatedBytes }) => {
    return !log.isAllocating || isLong || segmentHeaderBytes + bytes <= allocatedBytes;
  });
  // Who asks nevertheless asks the disk: it may have room by now, or in the block that is begun.
  if (log.isAllocating && spare === undefined) return isLastOpen ? last : "full";
  if (!isRoomForSegment(log, isLong)) return isLastOpen ? last : "full";
  const made = makeSegment(
    log.options,
    {
      number: last.number + 1,
      firstRecord: log.lastRecord + 1,
      syncedThrough: log.syncedThrough,
      chain: log.chain,
    },
    spare,
  );
  if ("code" in made) return fail(log, made);
  if (spare !== undefined) log.spares.splice(log.spares.indexOf(spare), 1);
  log.segments.push(made);
  log.bytesUsed += made.endByte;
  return made;
}

/**
 * All segments, each counted as full. One that is longer, by a long record or by the settings of before, counts like any other:
 * the last one never goes, and a log that it alone had filled could never go on.
 */
export function bytesOfFull({ segments, options: { segmentBytes } }: Log): number {
  return segments.length * segmentBytes;
}

/** It may have one segment more. Behind a longer one it always may: a start of the primary appends a SEAL. */
export function isRoomForSegment(log: Log, isLong = false): boolean {
  const { segmentBytes, bytesMax } = log.options;
  if (!isLong && lastSegment(log).endByte > segmentBytes) return true;
  return bytesOfFull(log) + segmentBytes <= bytesMax;
}

export function makeSegment(
  options: LogOptions,
  told: {
    readonly number: number;
    readonly firstRecord: number;
    readonly syncedThrough: number;
    readonly chain: number;
  },
  spare?: Spare,
): Segment | IoFailure {
  const { folder, logId } = options;
  const { number, ...start } = told;
  const header = { ...start, logId, segment: number, isReused: spare?.isFresh === false };
  const name = segmentName(options.name, number);
  if (folder.exists(name)) {
    return { code: "EEXIST", message: `${folder.path}/${name} is there and nobody made it` };
  }
  const bytes = encodeSegmentHeader(header);
  const failure = spare === undefined ? undefined : prepareSpare(options, spare, bytes);
  if (failure !== undefined) return failure;
  const notNamed = spare === undefined ? undefined : folder.rename(spare.name, name);
  if (notNamed !== undefined) return notNamed;
  const file = folder.open(name);
  if (isFailure(file)) return file;
  const notWritten = spare === undefined ? file.write(0, [bytes]) : undefined;
  if (notWritten !== undefined) return notWritten;
  const segment = newSegment(number, file, header);
  segment.allocatedBytes = spare?.allocatedBytes ?? 0;
  return segment;
}

// Before it gets its name: a process that is killed in between leaves no segment that says to be another.
function prepareSpare(
  { folder }: LogOptions,
  { name, isFresh }: Spare,
  header: Uint8Array,
): IoFailure | undefined {
  const file = folder.open(name);
  if (isFailure(file)) return file;
  const failure = file.write(0, isFresh ? [header] : [header, noRecord]);
  file.close();
  return failure;
}

/** A segment of which nothing is known to be synced. */
export function newSegment(
  number: number,
  file: File,
  { firstRecord, isReused }: { readonly firstRecord: number; readonly isReused: boolean },
): Segment {
  return {
    number,
    file,
    firstRecord,
    endByte: segmentHeaderBytes,
    marks: [],
    writes: 1,
    syncedWrites: 0,
    isDurable: false,
    isReused,
    reads: 0,
    allocatedBytes: 0,
  };
}

// -------------------------------------------------------------------------------------------- sync

/**
 * Calls back when everything appended before the call is durable, or will never be known to be. Who asks while a sync is
 * under way shares the next one. When nothing is left to sync, it calls back before it returns.
 */
export function sync(log: Log, done: Done): void {
  if (log.failure !== undefined) return done(log.failure);
  log.syncWaiters.push(done);
  if (!log.isSyncing) beginRound(log);
}

// One round covers what was appended when it began. The next begins before the waiters of this one are called: they may
// take their time, and the disk need not wait for it.
function beginRound(log: Log): void {
  const waiters = log.syncWaiters.splice(0);
  if (waiters.length === 0) return;
  if (log.failure !== undefined) return answer(waiters, log.failure);
  const through = log.lastRecord;
  const covered = log.segments
    .filter((segment) => segment.syncedWrites < segment.writes)
    .map((segment) => ({ segment, writes: segment.writes }));
  if (covered.length === 0) return answer(waiters, undefined);
  const hasNewNames = covered.some(({ segment }) => !segment.isDurable);
  let missing = covered.length + (hasNewNames ? 1 : 0);
  let failure: IoFailure | undefined;
  const end = (failed: IoFailure | undefined): void => {
    failure ??= failed;
    missing -= 1;
    if (missing > 0) return;
    log.isSyncing = false;
    if (failure === undefined) {
      log.syncedThrough = through;
      for (const { segment, writes } of covered) {
        segment.syncedWrites = writes;
        segment.isDurable = true;
      }
    }
    const told = failure === undefined ? undefined : failSync(log, failure);
    beginRound(log);
    answer(waiters, told);
    removeUnneeded(log);
  };
  log.isSyncing = true;
  for (const { segment } of covered) segment.file.sync(end);
  if (hasNewNames) log.options.folder.sync(end);
}

function answer(waiters: readonly Done[], failure: IoFailure | undefined): void {
  for (const waiter of waiters) waiter(failure);
}

/** Nothing is appended or synced any more; answers why. */
export function fail(log: Log, failure: IoFailure): IoFailure {
  const { name } = log.options;
  log.failure ??= {
    code: failure.code,
    message: `${failure.message}; nothing more is appended to the ${name}`,
  };
  return log.failure;
}

function failSync(log: Log, failure: IoFailure): IoFailure {
  log.hasLostSync = true;
  return fail(log, failure);
}

// ----------------------------------------------------------------------------------------- reclaim

/**
 * Nobody needs the records below this number any more: segments that hold no others go, the oldest first, now or a little
 * later. The last one stays, and so does one whose successor is not durable yet: the log must begin somewhere. What made the
 * successor durable covered this one too, so that it is whole if a power cut brings it back.
 *
 * Names go one by one, each only when that of the one before is durably gone. A power cut may bring names back in any
 * order, and a log with a gap in its middle could not be told from one that lost records (row 51). So at most the oldest
 * segment comes back; it is in order, is scanned like any other, and goes when the caller says so again.
 *
 * Some are kept to be written over: their blocks are there and their pages are in memory, so that a log which goes round costs
 * a quarter of one that grows. Not before the old name is durably gone, since it would come back with another content.
 */
export function reclaim(log: Log, beforeRecord: number): IoFailure | undefined {
  log.unneededBelow = Math.max(log.unneededBelow, beforeRecord);
  removeUnneeded(log);
  return log.failure;
}

/** Something could go, if only what follows it were synced. */
export function isSyncAwaited({
  segments: [oldest, next],
  unneededBelow,
  isSyncing,
}: Log): boolean {
  if (oldest === undefined || next === undefined || isSyncing) return false;
  return !next.isDurable && next.firstRecord <= unneededBelow;
}

/** Lets go what may go by now: the oldest segment, and the next once its name is gone. */
export function removeUnneeded(log: Log): void {
  const [oldest, next] = log.segments;
  if (log.isRemoving || log.failure !== undefined) return;
  if (oldest === undefined || next === undefined) return;
  if (!next.isDurable || next.firstRecord > log.unneededBelow) return;
  // What is removed gives its room to whoever comes first: on a full disk it waits for its readers, to be written over.
  if (log.noRoom !== undefined && log.spares.length === 0 && oldest.reads > 0) return;
  const isSpare = isWorthKeeping(log, oldest);
  // A read of it may be under way; it is answered all the same.
  oldest.file.close();
  log.segments.shift();
  log.bytesUsed -= oldest.endByte;
  log.firstRecord = next.firstRecord;
  const { folder, name } = log.options;
  const segment = segmentName(name, oldest.number);
  const spare = spareName(name, oldest.number);
  const allocatedBytes = Math.max(oldest.allocatedBytes, oldest.endByte);
  const failure = isSpare ? folder.rename(segment, spare) : folder.remove(segment);
  if (failure !== undefined) return void fail(log, failure);
  log.isRemoving = true;
  folder.sync((notSynced) => {
    log.isRemoving = false;
    if (notSynced !== undefined) return void failSync(log, notSynced);
    if (isSpare) keepSpare(log, { name: spare, isFresh: false, allocatedBytes });
    removeUnneeded(log);
  });
}

// All segments and spares together stay within the bounds of the log. One that is being read must not be written over.
function isWorthKeeping(log: Log, { file, reads }: Segment): boolean {
  const { segmentBytes, bytesMax } = log.options;
  const files = log.segments.length + log.spares.length;
  if (reads > 0 || log.spares.length >= limits.logSparesMax) return false;
  // And one more, since a new segment may be made before this one is to be had.
  return file.bytes() <= segmentBytes && (files + 1) * segmentBytes <= bytesMax;
}

// More than one may have been made meanwhile.
function keepSpare(log: Log, spare: Spare): void {
  const { folder, segmentBytes, bytesMax } = log.options;
  const files = log.segments.length + log.spares.length + 1;
  if (files * segmentBytes <= bytesMax) return void log.spares.push(spare);
  const failure = folder.remove(spare.name);
  if (failure !== undefined) fail(log, failure);
}

// ------------------------------------------------------------------------------------------- places

/** The segment that is written to. */
export function lastSegment(log: Log): Segment {
  return must(log.segments.at(-1), "a log has a segment");
}

/** What status, policy and the caller's own bookkeeping ask of a log. */
export function figuresOf(log: Log): LogFigures {
  const { bytesUsed, firstRecord, lastRecord, syncedThrough } = log;
  return { bytesUsed, bytesMax: log.options.bytesMax, firstRecord, lastRecord, syncedThrough };
}

/** Closes the files. What was not synced stays unsynced, and who waits for it is told that the log is closed. */
export function closeLog(log: Log): void {
  log.isClosed = true;
  log.failure ??= closedFailure(log);
  for (const segment of log.segments) segment.file.close();
}

/** What is answered when something is asked of a closed log. */
export function closedFailure(log: Log): IoFailure {
  return { code: "EBADF", message: `the ${log.options.name} was closed` };
}
