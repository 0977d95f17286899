import { getU64, totalBytes, viewOf } from "#base/bytes.ts";
import { crc32cChunks } from "#base/checksum.ts";
import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { batchLineBytes, lineFlags, lineKind } from "./messages.ts";

const kindOf: ReadonlyMap<number, Entry["kind"]> = new Map([
  [lineKind.write, "write"],
  [lineKind.zero, "zero"],
  [lineKind.seal, "seal"],
]);

/** The entries of a table, or which rule it breaks. `payloadBytes` is how much follows the table. */
export function decodeTable(table: Uint8Array, payloadBytes: number): Result<readonly Entry[]> {
  if (table.length === 0 || table.length % batchLineBytes !== 0)
    return wrong(`a table of ${table.length} bytes has no whole lines`);
  const count = table.length / batchLineBytes;
  if (count > limits.batchEntriesMax) return wrong(`a batch claims ${count} entries`);
  const view = viewOf(table);
  const entries: Entry[] = [];
  let claimedBytes = 0;
  for (let at = 0; at < table.length; at += batchLineBytes) {
    const entry = decodeLine(view, at);
    if (typeof entry === "string") return wrong(entry);
    if (entry.kind === "write") claimedBytes += entry.length;
    entries.push(entry);
  }
  if (claimedBytes !== payloadBytes)
    return wrong(`a batch's lines speak of ${claimedBytes} bytes, and ${payloadBytes} follow`);
  return { ok: true, value: entries };
}

function decodeLine(view: DataView, at: number): Entry | string {
  const kind = kindOf.get(view.getUint8(at));
  const lsn = getU64(view, at + 8);
  const set = getU64(view, at + 16);
  const offset = getU64(view, at + 24);
  const stampMs = getU64(view, at + 48);
  if (kind === undefined) return `line kind ${view.getUint8(at)} is unknown in this version`;
  if (lsn === undefined || set === undefined || offset === undefined || stampMs === undefined)
    return "a line's lsn, set, offset or stamp is above 2^53";
  const length = view.getUint32(at + 32, true);
  if (kind === "seal" ? length !== 0 : length === 0) return `a ${kind} of ${length} bytes`;
  if (!Number.isSafeInteger(offset + length)) return "a line's range ends above 2^53";
  return {
    kind,
    mayPunch: (view.getUint8(at + 1) & lineFlags.mayPunch) !== 0,
    source: view.getUint16(at + 40, true),
    incarnation: view.getUint32(at + 44, true),
    lsn,
    set,
    index: view.getUint32(at + 4, true),
    volume: view.getUint16(at + 2, true),
    offset,
    length,
    payloadCrc: view.getUint32(at + 36, true),
    stampMs,
  };
}

/**
 * The payload of each entry as views of the chunks that followed the table; empty for what has none. Undefined when one does
 * not match its line's checksum (I34).
 */
export function splitPayload(
  entries: readonly Entry[],
  chunks: readonly Uint8Array[],
): (readonly Uint8Array[])[] | undefined {
  const payloads: (readonly Uint8Array[])[] = [];
  const cursor = { chunk: 0, at: 0 };
  for (const entry of entries) {
    const payload = entry.kind === "write" ? take(chunks, cursor, entry.length) : none;
    if (entry.kind === "write" && crc32cChunks(payload) !== entry.payloadCrc) return undefined;
    payloads.push(payload);
  }
  return payloads;
}

const none: readonly Uint8Array[] = [];

/** Whether the payload behind a table is what its lines say: for logs, which store both unseen. */
export function payloadIsSound(table: Uint8Array, payload: readonly Uint8Array[]): boolean {
  const entries = decodeTable(table, totalBytes(payload));
  return entries.ok && splitPayload(entries.value, payload) !== undefined;
}

// Pieces are cut where chunks end; what was received whole stays one view.
function take(
  chunks: readonly Uint8Array[],
  cursor: { chunk: number; at: number },
  length: number,
): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let missing = length;
  while (missing > 0) {
    const chunk = chunks[cursor.chunk];
    if (chunk === undefined) return pieces;
    const piece = chunk.subarray(cursor.at, cursor.at + missing);
    if (piece.length > 0) pieces.push(piece);
    missing -= piece.length;
    cursor.at += piece.length;
    if (cursor.at === chunk.length) {
      cursor.chunk += 1;
      cursor.at = 0;
    }
  }
  return pieces;
}
