// Opens a log: finds what is there, tells a torn end from damage, and makes what it found durable (decision 18).
//
// A power cut may leave any part of what was not synced, in any order: a record without the one before it, a segment
// without its header, a later segment without an earlier one. All of that is a torn end, and is cut off: nobody was told
// that it was durable. The same sight among records that were synced is damage, and the log is refused (row 46). Every
// header and head says how far the log was synced when it was written, and those in the newest segment say the most;
// they are found there wherever they lie, also behind a hole.
//
// Nothing is changed before it is certain that the log is not to be refused. Records of which nothing says that they were
// synced are written again as they are, before everything is synced: a sync that failed before this process began may
// have left them in the page cache alone, marked as if they were on the disk, where no sync would touch them (PROOF §2.5).

import { allZero, sharedZeros } from "#base/bytes.ts";
import { assert } from "#base/assert.ts";
import { crc32c } from "#base/checksum.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isFailure } from "#ports/file.ts";
import type { File } from "#ports/file.ts";
import { closeLog, makeSegment, newLog, newSegment, passRecord, sync } from "./log.ts";
import type { Log, LogOptions, LogPlace, Segment } from "./log.ts";
import {
  decodeRecordHead,
  decodeSegmentHeader,
  encodeSegmentHeader,
  highestSyncedIn,
  isSpareOf,
  logVersionsRead,
  recordHeadBytes,
  segmentHeaderBytes,
  segmentName,
  segmentOfName,
} from "./log-format.ts";
import type { ReadHead, SegmentHeader } from "./log-format.ts";

export type OpenOptions = LogOptions & {
  /**
   * A record that the caller, by a record of its own, knows to have been synced; 0 when it knows of none. A log that ends
   * before it has lost something and is refused, even when the whole folder is empty.
   */
  readonly knownThrough: number;
  /** Called for every record in order. Worth nothing if the log is refused in the end. */
  readonly visit: (record: FoundRecord) => void;
};

export type FoundRecord = {
  readonly number: number;
  readonly kind: number;
  /** Only until `visit` returns. */
  readonly table: Uint8Array;
  readonly payloadBytes: number;
  readonly place: LogPlace;
};

/**
 * The log, or why it cannot be had: with `trouble`, a call to the disk has failed, and a later try may do better; with `sync`,
 * that was a sync. Without it, the log is damaged, or none of ours.
 */
export type OpenedLog =
  | { readonly ok: true; readonly value: Log }
  | { readonly ok: false; readonly error: string; readonly trouble?: "io" | "sync" };

type Opened = (result: OpenedLog) => void;

/** A segment as it lies there. */
type Found = {
  readonly number: number;
  readonly file: File;
  /** Or in words what is wrong with it. */
  header: SegmentHeader | string;
};

type Scan = {
  readonly options: OpenOptions;
  readonly found: readonly Found[];
  /** Those of them that were walked through or are being so. */
  readonly segments: Segment[];
  /** Records up to this number were synced. */
  known: number;
  /** Number of the next record; 0 before the first number is known, so that whatever is wrong before counts as synced. */
  next: number;
  /** Checksum of the last head. */
  chain: number;
  readonly damage: string[];
  /** What was read last. */
  window: { readonly file: File; readonly byte: number; readonly bytes: Uint8Array } | undefined;
  buffer: Uint8Array;
};

/** Bytes that a scan wants to have before it goes on. */
type Fetch = { readonly file: File; readonly byte: number; readonly into: Uint8Array };

/** A scan reads asynchronously and is written as if it did not: it stops at each `yield` until the bytes are there. */
type Steps<T> = Generator<Fetch, T, undefined>;

/**
 * Opens the log of this name in the folder, or makes it when nothing is there. Everything found is durable when `done`
 * gets the log; what was cut off is in its `damage`. Or `done` is told why the log cannot be had.
 *
 * A log begins with the oldest segment that is there: reclaimed ones leave no trace. Whether that is early enough is for the
 * caller to say, who compares `firstRecord` with what it needs.
 */
export function openLog(options: OpenOptions, done: Opened): void {
  const { segmentBytes, bytesMax } = options;
  assert(
    segmentBytes < 2 ** 32 &&
      2 * segmentBytes <= bytesMax &&
      bytesMax <= limits.logSegmentsMax * segmentBytes,
    `the ${options.name} cannot have segments of ${segmentBytes} bytes and ${bytesMax} altogether`,
  );
  const found = findSegments(options);
  if (!found.ok) return done(found);
  if (found.value.length === 0) return makeLog(options, done);
  const scan: Scan = {
    options,
    found: found.value,
    segments: [],
    known: options.knownThrough,
    next: found.value[0]?.number === 1 ? 1 : 0,
    chain: 0,
    damage: [],
    window: undefined,
    buffer: new Uint8Array(limits.logScanBytes),
  };
  perform(scanLog(scan), (result) => {
    if (result.ok) return finishOpening(scan, done);
    for (const { file } of scan.found) file.close();
    done(result);
  });
}

// Reads what the scan wants and lets it go on. A read that fails ends it.
function perform(steps: Steps<Scanned>, done: (result: Scanned) => void): void {
  const step = steps.next();
  if (step.done === true) return done(step.value);
  const { file, byte, into } = step.value;
  file.readLater(byte, into, (failure) => {
    if (failure === undefined) perform(steps, done);
    else done(troubled(failure));
  });
}

type Refused = Extract<OpenedLog, { ok: false }>;
type Scanned = { readonly ok: true } | Refused;

function refused(error: string): Refused {
  return { ok: false, error };
}

function troubled({ message }: IoFailure, trouble: "io" | "sync" = "io"): Refused {
  return { ok: false, error: message, trouble };
}

// What a spare holds is of the past, and after a power cut perhaps what a segment would have held that has lost its name.
function removeSpares({ folder, name }: LogOptions): IoFailure | undefined {
  for (const fileName of folder.list()) {
    if (!isSpareOf(name, fileName)) continue;
    const failure = folder.remove(fileName);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

function findSegments(
  options: OpenOptions,
): { readonly ok: true; readonly value: Found[] } | Refused {
  const { folder, name } = options;
  const numbers = folder
    .list()
    .map((fileName) => segmentOfName(name, fileName))
    .filter((number) => number !== undefined)
    .toSorted((a, b) => a - b);
  if (numbers.length > limits.logSegmentsMax) {
    return refused(`${folder.path}: the ${name} has ${numbers.length} segments, too many to open`);
  }
  const found: Found[] = [];
  for (const number of numbers) {
    const file = folder.open(segmentName(name, number));
    if (isFailure(file)) {
      for (const one of found) one.file.close();
      return troubled(file);
    }
    found.push({ number, file, header: "" });
  }
  return { ok: true, value: found };
}

function makeLog(options: OpenOptions, done: Opened): void {
  const { folder, name, knownThrough } = options;
  if (knownThrough > 0) {
    const why = `the ${name} is gone, with all records up to ${knownThrough} that were synced`;
    return done(refused(`${folder.path}: ${why}`));
  }
  const made = makeSegment(options, { number: 1, firstRecord: 1, syncedThrough: 0, chain: 0 });
  if ("code" in made) return done(troubled(made));
  syncFound(newLog(options, [made], { lastRecord: 0, chain: 0, damage: [] }), done);
}

function finishOpening(scan: Scan, done: Opened): void {
  const { options, segments, next, chain, damage } = scan;
  syncFound(newLog(options, segments, { lastRecord: next - 1, chain, damage }), done);
}

function syncFound(log: Log, done: Opened): void {
  sync(log, (failure) => {
    // Not before, so that others have no time to take the room of those before the log takes it anew (store/log-room.ts).
    const notRemoved = failure === undefined ? removeSpares(log.options) : undefined;
    if (failure === undefined && notRemoved === undefined) return done({ ok: true, value: log });
    closeLog(log);
    if (failure !== undefined) done(troubled(failure, "sync"));
    else if (notRemoved !== undefined) done(troubled(notRemoved));
  });
}

// ------------------------------------------------------------------------------------------- steps

function* scanLog(scan: Scan): Steps<Scanned> {
  const stranger = yield* readHeaders(scan);
  if (stranger !== undefined) return refused(stranger);
  scan.known = Math.max(scan.known, yield* highestSynced(scan));
  const walked = yield* walk(scan);
  if (typeof walked === "object") return troubled(walked);
  const broken = walked ?? (yield* remainder(scan));
  const { known, next } = scan;
  if (broken !== undefined && next <= known) {
    const why = `all records up to ${known} were synced, so this is no torn end`;
    return refused(`${broken}; ${why}, and nothing is cut`);
  }
  if (next <= known) {
    const end = `the log ends with record ${next - 1}`;
    const missing = `the records ${next} to ${known}, which were synced, are missing`;
    return refused(`${scan.found.at(-1)?.file.path}: ${end}, and ${missing}`);
  }
  const failure = broken === undefined ? scrub(scan) : cut(scan, broken);
  return failure === undefined ? { ok: true } : troubled(failure);
}

/** Reads all headers. Answers why the log is not ours to touch, if it is not. */
function* readHeaders(scan: Scan): Steps<string | undefined> {
  const bytes = new Uint8Array(segmentHeaderBytes);
  for (const found of scan.found) {
    yield { file: found.file, byte: 0, into: bytes };
    found.header = decodeSegmentHeader(bytes);
    if (typeof found.header === "string") continue;
    if (!logVersionsRead.includes(found.header.version)) {
      return `${found.file.path}: its version ${found.header.version} is unknown to this build`;
    }
    if (found.header.logId !== scan.options.logId) {
      return `${found.file.path}: it is not of the log that the group's record names`;
    }
  }
  return undefined;
}

/** How far the log was synced, by what the newest segment says that says anything. Earlier ones cannot know more. */
function* highestSynced(scan: Scan): Steps<number> {
  for (const { number, file, header } of scan.found.toReversed()) {
    let highest = -1;
    if (typeof header !== "string" && header.segment === number) highest = header.syncedThrough;
    // The pieces overlap, so that each head lies wholly in one.
    const stepBytes = limits.logScanBytes - recordHeadBytes + 1;
    for (let byte = 0; byte < file.bytes(); byte += stepBytes) {
      const into = scan.buffer.subarray(0, Math.min(limits.logScanBytes, file.bytes() - byte));
      yield { file, byte, into };
      const place = { logId: scan.options.logId, segment: number, byte };
      highest = Math.max(highest, highestSyncedIn(into, place));
    }
    if (highest !== -1) return highest;
  }
  return 0;
}

/** Walks through all records from the oldest on. Answers what is wrong where it stopped; nothing when it saw the end. */
function* walk(scan: Scan): Steps<string | IoFailure | undefined> {
  for (const [index, found] of scan.found.entries()) {
    const broken = enter(scan, found, scan.found[index - 1]);
    if (broken !== undefined) return broken;
    const isReused = typeof found.header !== "string" && found.header.isReused;
    const start = { firstRecord: scan.next, isReused };
    const segment = newSegment(found.number, found.file, start);
    scan.segments.push(segment);
    while (segment.endByte < found.file.bytes()) {
      const head = yield* bytesAt(scan, found.file, segment.endByte, recordHeadBytes);
      if (allZero(head)) break;
      const brokenRecord = yield* takeRecord(scan, segment, head);
      if (brokenRecord !== undefined) return brokenRecord;
    }
  }
  return undefined;
}

function enter(
  scan: Scan,
  found: Found,
  before: Found | undefined,
): string | IoFailure | undefined {
  const { header, file, number } = found;
  if (before !== undefined && number !== before.number + 1) {
    const range = typeof header === "string" ? "on" : `to ${header.firstRecord - 1}`;
    return `${missingSegments(scan, before.number + 1, number - 1)}, with the records ${scan.next} ${range}`;
  }
  if (typeof header === "string") {
    return `${file.path}: ${header}${scan.next > 0 ? `, before record ${scan.next}` : ""}`;
  }
  if (header.segment !== number)
    return `${file.path}: it says that it is segment ${header.segment}`;
  if (scan.next === 0) {
    scan.next = header.firstRecord;
    scan.chain = header.chain;
  }
  if (header.firstRecord !== scan.next) {
    const last = scan.segments.at(-1);
    const end = `${last?.file.path}: record ${scan.next} at byte ${last?.endByte}`;
    return `${end}: it is not there, and the next segment begins with record ${header.firstRecord}`;
  }
  if (header.chain !== scan.chain) {
    return `${file.path}: it does not follow the record ${scan.next - 1} of the segment before it`;
  }
  return scan.next > scan.known ? file.write(0, [encodeSegmentHeader(header)]) : undefined;
}

function missingSegments(scan: Scan, first: number, last: number): string {
  const { folder, name } = scan.options;
  const path = (number: number): string => `${folder.path}/${segmentName(name, number)}`;
  return first === last
    ? `${path(first)} is missing`
    : `${path(first)} to ${path(last)} are missing`;
}

/** Takes the record with this head, or says what is wrong with it. */
function* takeRecord(
  scan: Scan,
  segment: Segment,
  headBytes: Uint8Array,
): Steps<string | IoFailure | undefined> {
  const { options, next } = scan;
  const { file, number, endByte: byte } = segment;
  const broken = (why: string): string => `${file.path}: record ${next} at byte ${byte}: ${why}`;
  const head = decodeRecordHead(headBytes, { logId: options.logId, segment: number, byte });
  if (typeof head === "string") return broken(head);
  if (head.number !== next) return broken(`it is record ${head.number}`);
  if (head.chain !== scan.chain) return broken(`it does not follow the record ${next - 1} there`);
  const bytes = recordHeadBytes + head.tableBytes + head.payloadBytes;
  if (byte + bytes > file.bytes()) return broken("the file ends before it does");
  // Payloads of what was synced are not read: whoever reads them later verifies them then.
  const isKnown = next <= scan.known;
  const wanted = isKnown ? recordHeadBytes + head.tableBytes : bytes;
  const record = yield* bytesAt(scan, file, byte, wanted);
  const table = record.subarray(recordHeadBytes, recordHeadBytes + head.tableBytes);
  if (crc32c(table) !== head.tableCrc) return broken("its table does not match its checksum");
  if (!isKnown) {
    const payload = record.subarray(recordHeadBytes + head.tableBytes);
    if (!options.verifyPayload(table, payload))
      return broken("its payload does not match its table");
    const failure = file.write(byte, [record]);
    if (failure !== undefined) return failure;
  }
  pass(scan, segment, head, table);
  return undefined;
}

function pass(scan: Scan, segment: Segment, head: ReadHead, table: Uint8Array): void {
  const { number, kind, payloadBytes } = head;
  const place = { number, segment: segment.number, byte: segment.endByte };
  scan.options.visit({ number, kind, table, payloadBytes, place });
  scan.next = number + 1;
  scan.chain = head.crc;
  passRecord(segment, place, recordHeadBytes + table.length + payloadBytes);
}

/** These bytes of the file, zeros beyond its end; good until the next call. */
function* bytesAt(scan: Scan, file: File, byte: number, length: number): Steps<Uint8Array> {
  const { window } = scan;
  const at = byte - (window?.byte ?? 0);
  if (window?.file === file && at >= 0 && at + length <= window.bytes.length) {
    return window.bytes.subarray(at, at + length);
  }
  const wanted = Math.max(length, Math.min(limits.logScanBytes, file.bytes() - byte));
  if (scan.buffer.length < wanted) scan.buffer = new Uint8Array(wanted);
  const bytes = scan.buffer.subarray(0, wanted);
  yield { file, byte, into: bytes };
  scan.window = { file, byte, bytes };
  return bytes.subarray(0, length);
}

/**
 * The newest segment must hold nothing behind its last record: the next one would be followed by it. In one that was written
 * over another something is there, and is no sign of damage.
 */
function* remainder(scan: Scan): Steps<string | undefined> {
  const last = scan.segments.at(-1);
  if (last === undefined || last.isReused) return undefined;
  const { file } = last;
  for (let byte = last.endByte; byte < file.bytes(); byte += limits.logScanBytes) {
    const wanted = Math.min(limits.logScanBytes, file.bytes() - byte);
    if (allZero(yield* bytesAt(scan, file, byte, wanted))) continue;
    return `${file.path}: record ${scan.next} at byte ${last.endByte}: it is not there, and something is behind it`;
  }
  return undefined;
}

// --------------------------------------------------------------------------------------------- cut

/** Cuts a torn end off: zeros behind the last good record, and away with later segments, the newest first. */
function cut(scan: Scan, broken: string): IoFailure | undefined {
  const cutWhole = scan.found.slice(scan.segments.length);
  const areEmpty = cutWhole.every(({ file }) => file.bytes() === 0);
  const last = scan.segments.at(-1) ?? beginAnew(scan);
  if ("code" in last) return last;
  const { file, endByte } = last;
  // A process that was killed as it made a segment leaves an empty file: nothing worth a word.
  if (!areEmpty || endByte < file.bytes()) {
    scan.damage.push(`${broken}; what came from there on was never synced, and is cut off`);
  }
  const { folder, name } = scan.options;
  for (const found of scan.found.slice(scan.segments.length).toReversed()) {
    found.file.close();
    const failure = folder.remove(segmentName(name, found.number));
    if (failure !== undefined) return failure;
  }
  return zeroBehind(file, endByte);
}

/** What a reclaimed segment has left behind the last record goes too. */
function scrub(scan: Scan): IoFailure | undefined {
  const last = scan.segments.at(-1);
  return last?.isReused === true ? zeroBehind(last.file, last.endByte) : undefined;
}

function zeroBehind(file: File, endByte: number): IoFailure | undefined {
  for (let byte = endByte; byte < file.bytes(); byte += limits.zeroChunkBytes) {
    const length = Math.min(limits.zeroChunkBytes, file.bytes() - byte);
    const failure = file.write(byte, [sharedZeros(length)]);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

// The making of the very first segment was cut short, and nothing was ever appended.
function beginAnew(scan: Scan): Segment | IoFailure {
  const first = scan.found[0];
  assert(first?.number === 1, "only segment 1 may have no header and be none the worse for it");
  const { logId } = scan.options;
  const header = {
    logId,
    segment: 1,
    firstRecord: 1,
    syncedThrough: 0,
    chain: 0,
    isReused: false,
  };
  const failure = first.file.write(0, [encodeSegmentHeader(header)]);
  if (failure !== undefined) return failure;
  const segment = newSegment(1, first.file, header);
  scan.segments.push(segment);
  return segment;
}
