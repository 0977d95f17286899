// The preserve log of a copy, version 1: what units of its images held before a resync overwrote them (decision 11). It lies
// in a log of records, `preserve-<id, 8 hex digits>-<segment>.log` (store/log-format.ts draws those), which the group's record
// names by the id of its preserved point. The log of a branch (core/SPEC-branch.md) is the same under the name `branch-...`.
//
// Record 1, kind 1: the table is JSON {"version":1,"units":<bytes of a unit>,"volumes":[<bytes>, ...]}; no payload. It is
// synced before the group's record names the log: a log that lacks it is not the one that was promised. A volume may have grown
// since, and what is new of it may be in the log, too.
//
// Every other record, kind 2: one step of saving. The table is a line of 32 bytes for each range of units, little-endian:
//
//    0  u8  kind: 1 data, 2 zeros   1  u8 zero   2  u16 volume   4  u32 CRC32C of the data (zeros: 0)
//    8  u64 offset                 16  u64 length               24  zeros
//
// The payload is the data of the ranges that have any, in the order of the table. A range begins at a unit and is whole units
// long, but for the last unit of a volume. No unit is in the log twice: what was saved first is what the point is made of.
// Zeros and holes have no payload.
//
// A record is durable before any of its units is overwritten. So whatever a crash leaves, a unit that is not in the log still
// holds what it held at the point; and a torn end, which is cut off at opening, is of units that nobody has written to.
//
// Version history:
//   1  the first.

import { crc32c } from "#base/checksum.ts";
import { allZero, getU64, putU64, textOf, utf8, viewOf } from "#base/bytes.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { markBytes } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { Folder } from "#ports/file.ts";
import { placeOf } from "./log-places.ts";
import { append, closeLog, figuresOf, sync } from "./log.ts";
import type { Log, LogPlace } from "./log.ts";
import { logName } from "./log-files.ts";
import type { LogKind } from "./log-files.ts";
import { recordHeadBytes, segmentHeaderBytes } from "./log-format.ts";
import { openLog } from "./log-open.ts";
import { readRecords } from "./log-read.ts";

export const preserveLogVersion = 1;
const recordKind = { start: 1, units: 2 } as const;
const lineKind = { data: 1, zeros: 2 } as const;
const lineBytes = 32;

/** A range of an image and what it held; undefined for zeros. */
export type SavedRange = {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  readonly bytes: Uint8Array | undefined;
};

export type PreserveLogOptions = {
  readonly folder: Folder;
  readonly kind: Extract<LogKind, "preserve" | "branch">;
  readonly id: number;
  readonly bytesMax: number;
  readonly volumes: readonly { readonly bytes: number }[];
};

/** Makes the log of a new point; `done` gets it when it is durable. */
export function makePreserveLog(
  options: PreserveLogOptions,
  done: (result: Result<Log>) => void,
): void {
  openLog({ ...logOptions(options), knownThrough: 0, visit: () => undefined }, (opened) => {
    if (!opened.ok) return done(opened);
    const log = opened.value;
    const end = (failure: IoFailure | undefined): void => {
      if (failure === undefined) return done(opened);
      closeLog(log);
      done({ ok: false, error: failure.message });
    };
    const place = append(log, recordKind.start, encodeStart(options), []);
    if (place === "full") end({ code: "ENOSPC", message: "there is no room for a preserve log" });
    else if ("code" in place) end(place);
    else sync(log, end);
  });
}

/** Opens the log that the record names. What it has is marked in `saved`, by volume. */
export function openPreserveLog(
  options: PreserveLogOptions,
  saved: readonly RegionMap[],
  done: (result: Result<Log>) => void,
): void {
  let broken = "";
  const visit = (record: { number: number; kind: number; table: Uint8Array }): void => {
    if (broken !== "") return;
    if (record.number === 1) broken = wrongStart(record.kind, record.table, options);
    else broken = markSaved(record.kind, record.table, saved);
    if (broken !== "") broken = `record ${record.number} of the preserve log: ${broken}`;
  };
  // The first record was synced before anything named this log.
  openLog({ ...logOptions(options), knownThrough: 1, visit }, (opened) => {
    if (!opened.ok || broken === "") return done(opened);
    closeLog(opened.value);
    done({ ok: false, error: broken });
  });
}

function logOptions({ folder, kind, id, bytesMax }: PreserveLogOptions) {
  // Half of a segment may stay empty, since a step lies in one; the bound that counts is that of `bytesWith`.
  const half = limits.logSegmentsMax / 2;
  const segmentBytes = Math.max(limits.preserveSegmentBytesMin, Math.ceil(bytesMax / half));
  return {
    folder,
    name: logName(kind, id),
    logId: id,
    segmentBytes,
    bytesMax: segmentBytes * limits.logSegmentsMax,
    verifyPayload,
  };
}

function encodeStart({ volumes }: PreserveLogOptions): Uint8Array {
  const document = {
    version: preserveLogVersion,
    units: limits.preserveUnitBytes,
    volumes: volumes.map(({ bytes }) => bytes),
  };
  return utf8(JSON.stringify(document));
}

function wrongStart(kind: number, table: Uint8Array, options: PreserveLogOptions): string {
  if (kind !== recordKind.start) return "it is not the first record of a preserve log";
  // The log's checksums say that these are our own bytes; another version, or other volumes, make another text.
  const text = textOf(table) ?? "no text";
  const then = /"volumes":\[([\d,]*)\]/.exec(text)?.[1]?.split(",").map(Number) ?? [];
  const volumes = then.map((bytes) => ({ bytes }));
  const areOurs =
    then.length === options.volumes.length &&
    options.volumes.every(({ bytes }, index) => (then[index] ?? 0) <= bytes) &&
    text === textOf(encodeStart({ ...options, volumes }));
  return areOurs ? "" : `it is of another version or of other volumes: ${text}`;
}

function markSaved(kind: number, table: Uint8Array, saved: readonly RegionMap[]): string {
  const ranges = kind === recordKind.units ? decodeTable(table) : undefined;
  if (ranges === undefined) return "it is none that a preserve log has";
  for (const { volume, offset, length } of ranges) {
    const map = saved[volume];
    if (map === undefined) return `there is no volume ${volume}`;
    const before = map.count;
    markBytes(map, offset, length);
    if (map.count - before !== Math.ceil(length / map.unitBytes)) return "it has a unit again";
  }
  return "";
}

// ---------------------------------------------------------------------------------------- writing

/** One step as a record: table and payload. Ranges of zeros, in whole units, are taken apart from what has bytes. */
export type SavedStep = { readonly table: Uint8Array; readonly payload: readonly Uint8Array[] };

export function encodeStep(ranges: readonly SavedRange[]): SavedStep {
  const lines = ranges.flatMap(apartByZeros);
  const table = new Uint8Array(lines.length * lineBytes);
  const view = viewOf(table);
  const payload: Uint8Array[] = [];
  lines.forEach(({ volume, offset, length, bytes }, i) => {
    const at = i * lineBytes;
    view.setUint8(at, bytes === undefined ? lineKind.zeros : lineKind.data);
    view.setUint16(at + 2, volume, true);
    if (bytes !== undefined) view.setUint32(at + 4, crc32c(bytes), true);
    putU64(view, at + 8, offset);
    putU64(view, at + 16, length);
    if (bytes !== undefined) payload.push(bytes);
  });
  return { table, payload };
}

function apartByZeros(range: SavedRange): SavedRange[] {
  const { volume, offset, length, bytes } = range;
  if (bytes === undefined) return [range];
  const parts: SavedRange[] = [];
  const unitBytes = limits.preserveUnitBytes;
  let start = 0;
  let isZero = allZero(bytes.subarray(0, unitBytes));
  for (let at = unitBytes; at < length + unitBytes; at += unitBytes) {
    const isNextZero = at < length && allZero(bytes.subarray(at, at + unitBytes));
    if (at < length && isNextZero === isZero) continue;
    const end = Math.min(at, length);
    const content = isZero ? undefined : bytes.subarray(start, end);
    parts.push({ volume, offset: offset + start, length: end - start, bytes: content });
    start = end;
    isZero = isNextZero;
  }
  return parts;
}

/** What the log would take with this step. */
export function bytesWith(log: Log, { table, payload }: SavedStep): number {
  const bytes = payload.reduce((sum, chunk) => sum + chunk.length, 0);
  return figuresOf(log).bytesUsed + recordHeadBytes + table.length + bytes + segmentHeaderBytes;
}

/** Appends a step and syncs it; calls back when it is durable, or never will be known to be. */
export function saveStep(
  log: Log,
  { table, payload }: SavedStep,
  done: (failure: IoFailure | undefined) => void,
): void {
  const place = append(log, recordKind.units, table, payload);
  if (place === "full") done({ code: "ENOSPC", message: "the preserve log has no segment left" });
  else if ("code" in place) done(place);
  else sync(log, done);
}

// ---------------------------------------------------------------------------------------- reading

/** Everything saved, in pieces, each record once; the next piece is read when `next` is called. Ends with no ranges. */
export function readSaved(
  log: Log,
  piece: (ranges: readonly SavedRange[], next: () => void) => void,
  failed: (failure: IoFailure) => void,
): void {
  const read = (from: LogPlace | undefined): void => {
    if (from === undefined) return piece([], () => undefined);
    readRecords(log, from, limits.preserveUndoBytesMax, (found) => {
      if ("code" in found) return failed(found);
      if (found.records.length === 0) return piece([], () => undefined);
      const ranges: SavedRange[] = [];
      for (const { kind, table, payload } of found.records)
        ranges.push(...decodeStep(kind, table, payload));
      if (ranges.length === 0) read(found.next);
      else piece(ranges, () => read(found.next));
    });
  };
  read(placeOf(log, figuresOf(log).firstRecord));
}

/** The ranges of a record; none where it is of another kind. */
export function decodeStep(kind: number, table: Uint8Array, payload: Uint8Array): SavedRange[] {
  if (kind !== recordKind.units) return [];
  let at = 0;
  return (decodeTable(table) ?? []).map(({ kind: held, volume, offset, length }) => {
    const bytes = held === lineKind.data ? payload.subarray(at, at + length) : undefined;
    at += bytes?.length ?? 0;
    return { volume, offset, length, bytes };
  });
}

type Line = {
  readonly kind: number;
  readonly volume: number;
  readonly crc: number;
  readonly offset: number;
  readonly length: number;
};

// Undefined when this is no table of ranges.
function decodeTable(table: Uint8Array): Line[] | undefined {
  const view = viewOf(table);
  const lines: Line[] = [];
  if (table.length % lineBytes !== 0) return undefined;
  for (let at = 0; at < table.length; at += lineBytes) {
    const kind = view.getUint8(at);
    const offset = getU64(view, at + 8);
    const length = getU64(view, at + 16);
    const isKnown = kind === lineKind.data || kind === lineKind.zeros;
    if (!isKnown || offset === undefined || length === undefined) return undefined;
    const volume = view.getUint16(at + 2, true);
    lines.push({ kind, volume, crc: view.getUint32(at + 4, true), offset, length });
  }
  return lines;
}

// The log does not say which kind of record it asks for: without a payload there is nothing to verify.
function verifyPayload(table: Uint8Array, payload: Uint8Array): boolean {
  if (payload.length === 0) return true;
  let at = 0;
  for (const { kind, length, crc } of decodeTable(table) ?? []) {
    if (kind !== lineKind.data) continue;
    if (crc32c(payload.subarray(at, at + length)) !== crc) return false;
    at += length;
  }
  return at === payload.length;
}
