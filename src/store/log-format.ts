// A log of records on disk, version 2: the group's journal at the primary, the staging log at a copy.
//
// It lies in files `<name>-<segment, 8 hex digits>.log`, numbered without gaps. Each begins with a header:
//
//    0  u32 magic "APLS"   4  u16 version   6  u16 zero   8  u32 logId   12  u32 segment
//   16  u64 firstRecord   24  u64 syncedThrough   32  u32 chain   36  u8 flags: 1 reused   37  zeros
//   60  u32 CRC32C of bytes 0..59
//
// Behind it lie its records, one close behind the other. Each begins with a head, and no record lies in two segments:
//
//    0  u32 magic "APLR"   4  u32 logId   8  u32 segment   12  u32 byte of the segment at which this head lies
//   16  u64 number   24  u64 syncedThrough   32  u32 tableBytes   36  u32 payloadBytes   40  u32 CRC32C of the table
//   44  u32 chain   48  u8 kind   49  zeros   60  u32 CRC32C of bytes 0..59   64  the table, then the payload
//
// `number` counts the records from 1 on over the whole life of the log. `syncedThrough` is the highest number that was
// known to be synced when this was written. `chain` is the checksum at byte 60 of the head of the record before (0 for
// record 1). It is that field and not a checksum of all 64 bytes: the CRC of anything that ends in its own CRC is always
// the same number, and would prove nothing.
//
// A header or head is valid when its checksum agrees, and log, segment and byte are those of the place at which it lies.
// So one that a disk wrote elsewhere is not taken for one that belongs there (row 47), nor is one that is part of a
// payload, as when a volume holds a copy of this very log. A record is valid when its head is, `number` is one more than
// that of the record before, `chain` is that record's checksum (row 48), and table and payload match their checksums;
// those of the payload are in the table, which is the caller's. Zeros at the place of a head end the segment. A segment may
// be written over one that was reclaimed: it says so, each append writes the zeros behind its record too, and what is left
// behind them says nothing. Names that end in `.spare` are reclaimed segments that wait for that, and are never read.
//
// Damage is a torn end or it is not, and `syncedThrough` tells (decision 18): see store/log-open.ts.
//
// In every version, bytes 0 to 15 of the header and its checksum are as they are here. So a later version is refused, and
// not cut off as damaged.
//
// Version history:
//   1  the first: no flags, no segment was written over another.
//   2  segments that were reclaimed are used again.

import { getU64, putU64, viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";

export const logVersion = 2;
/** Versions that are read: the older ones as they were. */
export const logVersionsRead: readonly number[] = [1, logVersion];
export const segmentHeaderBytes = 64;
export const recordHeadBytes = 64;
const SEGMENT_MAGIC = 0x534c5041; // "APLS"
const RECORD_MAGIC = 0x524c5041; // "APLR"
const FIRST_BYTE = 0x41; // "A", with which both begin.
const CRC_AT = 60;
const REUSED = 1;
const spareSuffix = ".spare";

export type SegmentHeader = {
  readonly version: number;
  readonly logId: number;
  readonly segment: number;
  readonly firstRecord: number;
  readonly syncedThrough: number;
  readonly chain: number;
  /** It was written over a segment that was reclaimed: behind its end may lie anything. */
  readonly isReused: boolean;
};

/** Where a head must say that it lies. */
export type HeadPlace = {
  readonly logId: number;
  readonly segment: number;
  readonly byte: number;
};

export type RecordHead = {
  readonly number: number;
  readonly syncedThrough: number;
  readonly kind: number;
  readonly tableBytes: number;
  readonly payloadBytes: number;
  readonly tableCrc: number;
  readonly chain: number;
};

/** A head as it was read, with its own checksum: the `chain` of the next. */
export type ReadHead = RecordHead & { readonly crc: number };

export function segmentName(name: string, segment: number): string {
  return `${name}-${segment.toString(16).padStart(8, "0")}.log`;
}

/** What a segment is called once it was reclaimed and waits to be used again. */
export function spareName(name: string, segment: number): string {
  return `${segmentName(name, segment)}${spareSuffix}`;
}

/** Whether a file is a spare segment of the log of this name. */
export function isSpareOf(name: string, fileName: string): boolean {
  const isSpare = fileName.endsWith(spareSuffix);
  return isSpare && segmentOfName(name, fileName.slice(0, -spareSuffix.length)) !== undefined;
}

/** The number of a segment of the log of this name; undefined for any other file. */
export function segmentOfName(name: string, fileName: string): number | undefined {
  const digits = fileName.slice(name.length + 1, -".log".length);
  const segment = /^[0-9a-f]{8}$/.test(digits) ? Number.parseInt(digits, 16) : 0;
  return segment > 0 && fileName === segmentName(name, segment) ? segment : undefined;
}

export function encodeSegmentHeader(header: Omit<SegmentHeader, "version">): Uint8Array {
  const bytes = new Uint8Array(segmentHeaderBytes);
  const view = viewOf(bytes);
  view.setUint32(0, SEGMENT_MAGIC, true);
  view.setUint16(4, logVersion, true);
  view.setUint32(8, header.logId, true);
  view.setUint32(12, header.segment, true);
  putU64(view, 16, header.firstRecord);
  putU64(view, 24, header.syncedThrough);
  view.setUint32(32, header.chain, true);
  view.setUint8(36, header.isReused ? REUSED : 0);
  view.setUint32(CRC_AT, crc32c(bytes.subarray(0, CRC_AT)), true);
  return bytes;
}

/** The header, or in words why there is none. That its log, version and number are the expected ones is for the caller. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | string {
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== SEGMENT_MAGIC) return "it does not begin like a segment";
  if (view.getUint32(CRC_AT, true) !== crc32c(bytes.subarray(0, CRC_AT))) {
    return "the checksum of its header does not match";
  }
  return {
    version: view.getUint16(4, true),
    logId: view.getUint32(8, true),
    segment: view.getUint32(12, true),
    // Zero stands for a number that we never wrote; it fits nowhere.
    firstRecord: getU64(view, 16) ?? 0,
    syncedThrough: getU64(view, 24) ?? 0,
    chain: view.getUint32(32, true),
    isReused: (view.getUint8(36) & REUSED) !== 0,
  };
}

/** Writes a head into `bytes`, which have its length; answers its checksum, the `chain` of the next. */
export function encodeRecordHead(bytes: Uint8Array, place: HeadPlace, head: RecordHead): number {
  const view = viewOf(bytes);
  bytes.fill(0);
  view.setUint32(0, RECORD_MAGIC, true);
  view.setUint32(4, place.logId, true);
  view.setUint32(8, place.segment, true);
  view.setUint32(12, place.byte, true);
  putU64(view, 16, head.number);
  putU64(view, 24, head.syncedThrough);
  view.setUint32(32, head.tableBytes, true);
  view.setUint32(36, head.payloadBytes, true);
  view.setUint32(40, head.tableCrc, true);
  view.setUint32(44, head.chain, true);
  view.setUint8(48, head.kind);
  const crc = crc32c(bytes.subarray(0, CRC_AT));
  view.setUint32(CRC_AT, crc, true);
  return crc;
}

/** The head that lies at this place, or in words why there is none. Its lengths are within the limits. */
export function decodeRecordHead(bytes: Uint8Array, place: HeadPlace): ReadHead | string {
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== RECORD_MAGIC) return "no record begins there";
  const crc = view.getUint32(CRC_AT, true);
  if (crc !== crc32c(bytes.subarray(0, CRC_AT))) return "the checksum of its head does not match";
  const isHere =
    view.getUint32(4, true) === place.logId &&
    view.getUint32(8, true) === place.segment &&
    view.getUint32(12, true) === place.byte;
  if (!isHere) return "its head belongs to another place";
  const number = getU64(view, 16);
  const syncedThrough = getU64(view, 24);
  const tableBytes = view.getUint32(32, true);
  const payloadBytes = view.getUint32(36, true);
  if (number === undefined || syncedThrough === undefined || syncedThrough >= number) {
    return "its numbers are none that a log has";
  }
  if (tableBytes > limits.logTableBytesMax || payloadBytes > limits.logPayloadBytesMax) {
    return "it claims to be longer than a record can be";
  }
  return {
    number,
    syncedThrough,
    kind: view.getUint8(48),
    tableBytes,
    payloadBytes,
    tableCrc: view.getUint32(40, true),
    chain: view.getUint32(44, true),
    crc,
  };
}

/** The highest `syncedThrough` of all valid heads that lie wholly in these bytes, wherever they begin; -1 without any. */
export function highestSyncedIn(bytes: Uint8Array, place: HeadPlace): number {
  const view = viewOf(bytes);
  const last = bytes.length - recordHeadBytes;
  let highest = -1;
  for (
    let at = bytes.indexOf(FIRST_BYTE);
    at >= 0 && at <= last;
    at = bytes.indexOf(FIRST_BYTE, at + 1)
  ) {
    if (view.getUint32(at, true) !== RECORD_MAGIC) continue;
    const head = decodeRecordHead(bytes.subarray(at, at + recordHeadBytes), {
      ...place,
      byte: place.byte + at,
    });
    if (typeof head !== "string") highest = Math.max(highest, head.syncedThrough);
  }
  return highest;
}
