// Reads records back from a log, for a copy that is behind or a set that is to be applied. Whatever is handed on has been
// verified: damage stops the reading there and is never skipped (row 45).

import { crc32c } from "#base/checksum.ts";
import type { IoFailure } from "#base/errors.ts";
import { closedFailure } from "./log.ts";
import type { Log, LogPlace, Segment } from "./log.ts";
import { decodeRecordHead, recordHeadBytes, segmentHeaderBytes } from "./log-format.ts";

export type LogRecord = {
  readonly number: number;
  readonly kind: number;
  readonly table: Uint8Array;
  readonly payload: Uint8Array;
  readonly place: LogPlace;
};

export type LogRead = {
  /** In order and without gaps; none only at the end of the log. */
  readonly records: readonly LogRecord[];
  /** What they are views of; the caller's. */
  readonly memory: Uint8Array;
  /** Behind the last of them: where to read on, also when more has been appended. */
  readonly next: LogPlace;
};

export type ReadDone = (read: LogRead | IoFailure) => void;

/** Where the next record begins, when it lies in the same segment: else the next segment is looked for. */
export function afterRecord({ number, place, table, payload }: LogRecord): LogPlace {
  const bytes = recordHeadBytes + table.length + payload.length;
  return { number: number + 1, segment: place.segment, byte: place.byte + bytes };
}

/**
 * Reads whole records from a place on: as many as lie in `bytesMax` bytes of one segment, but at least one. The place is one
 * that the log gave. At the end of the log, and for a place that is no longer there, `done` is called before this returns.
 */
export function readRecords(log: Log, from: LogPlace, bytesMax: number, done: ReadDone): void {
  if (log.isClosed) return done(closedFailure(log));
  const at = log.segments.findIndex(({ number }) => number === from.segment);
  const segment = log.segments[at];
  if (segment === undefined) {
    // The end of a segment that is gone is where the oldest one begins, and nothing is missing.
    const [oldest] = log.segments;
    if (oldest?.firstRecord === from.number && from.segment < oldest.number)
      return readRecords(log, startOf(oldest), bytesMax, done);
    const { folder, name } = log.options;
    const message = `${folder.path}: record ${from.number} of the ${name} was given up and is gone`;
    return done({ code: "ENOENT", message });
  }
  const following = log.segments[at + 1];
  if (from.byte < segment.endByte) readFrom({ log, segment, from, bytesMax, done });
  else if (following === undefined) done({ records: [], memory: new Uint8Array(0), next: from });
  else readRecords(log, startOf(following), bytesMax, done);
}

function startOf({ firstRecord, number }: Segment): LogPlace {
  return { number: firstRecord, segment: number, byte: segmentHeaderBytes };
}

type Reading = {
  readonly log: Log;
  readonly segment: Segment;
  readonly from: LogPlace;
  readonly bytesMax: number;
  readonly done: ReadDone;
};

function readFrom(reading: Reading): void {
  const { segment, from, bytesMax, done } = reading;
  const bytes = new Uint8Array(endOfRead(segment, from, bytesMax) - from.byte);
  segment.reads += 1;
  segment.file.readLater(from.byte, bytes, (failure) => {
    segment.reads -= 1;
    if (failure === undefined) take(reading, bytes);
    else done(failure);
  });
}

// Where a record is known to begin, if there is such a place: what lies behind it would be read for nothing, and again.
function endOfRead(segment: Segment, from: LogPlace, bytesMax: number): number {
  const end = from.byte + Math.max(bytesMax, recordHeadBytes);
  if (segment.endByte <= end) return segment.endByte;
  const mark = segment.marks.findLast(({ byte }) => byte <= end);
  return mark !== undefined && mark.byte > from.byte ? mark.byte : end;
}

// What is good before something that is not is handed on: the damage is met again by the next read, which begins with it.
function take(reading: Reading, bytes: Uint8Array): void {
  const { segment, from, done } = reading;
  const records: LogRecord[] = [];
  let next = from;
  let offset = 0;
  while (offset < bytes.length) {
    const record = recordAt(reading, next, bytes.subarray(offset));
    if ("code" in record) {
      return done(records.length > 0 ? { records, memory: bytes, next } : record);
    }
    if ("bytesWanted" in record) {
      if (records.length > 0) break;
      return readFrom({ ...reading, bytesMax: record.bytesWanted });
    }
    records.push(record);
    const length = recordHeadBytes + record.table.length + record.payload.length;
    offset += length;
    next = { number: next.number + 1, segment: segment.number, byte: next.byte + length };
  }
  done({ records, memory: bytes, next });
}

function recordAt(
  reading: Reading,
  place: LogPlace,
  bytes: Uint8Array,
): LogRecord | { readonly bytesWanted: number } | IoFailure {
  const { segment, log } = reading;
  const { logId, verifyPayload } = log.options;
  const damaged = (why: string): IoFailure => {
    const where = `${segment.file.path}: record ${place.number} at byte ${place.byte}`;
    return { code: "EBADMSG", message: `${where}: ${why}` };
  };
  const { byte } = place;
  if (byte + recordHeadBytes > segment.endByte) return damaged("no record begins there");
  if (bytes.length < recordHeadBytes) return { bytesWanted: recordHeadBytes };
  const headBytes = bytes.subarray(0, recordHeadBytes);
  const head = decodeRecordHead(headBytes, { logId, segment: segment.number, byte });
  if (typeof head === "string") return damaged(head);
  if (head.number !== place.number) return damaged(`it is record ${head.number}`);
  const tableEnd = recordHeadBytes + head.tableBytes;
  const end = tableEnd + head.payloadBytes;
  if (byte + end > segment.endByte) return damaged("it claims to end behind the last record");
  if (end > bytes.length) return { bytesWanted: end };
  const table = bytes.subarray(recordHeadBytes, tableEnd);
  if (crc32c(table) !== head.tableCrc) return damaged("its table does not match its checksum");
  const payload = bytes.subarray(tableEnd, end);
  if (!verifyPayload(table, payload)) return damaged("its payload does not match its table");
  return { number: head.number, kind: head.kind, table, payload, place };
}
