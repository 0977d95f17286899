import { putU64, viewOf } from "#base/bytes.ts";
import type { Entry } from "#core/entry.ts";
import { batchLineBytes, lineFlags, lineKind } from "./messages.ts";

/** The table of a batch with these entries. The payloads follow it as they are. */
export function encodeTable(entries: readonly Entry[]): Uint8Array {
  const table = new Uint8Array(entries.length * batchLineBytes);
  const view = viewOf(table);
  let at = 0;
  for (const entry of entries) {
    view.setUint8(at, lineKind[entry.kind]);
    view.setUint8(at + 1, entry.mayPunch ? lineFlags.mayPunch : 0);
    view.setUint16(at + 2, entry.volume, true);
    view.setUint32(at + 4, entry.index, true);
    putU64(view, at + 8, entry.lsn);
    putU64(view, at + 16, entry.set);
    putU64(view, at + 24, entry.offset);
    view.setUint32(at + 32, entry.length, true);
    view.setUint32(at + 36, entry.payloadCrc, true);
    view.setUint16(at + 40, entry.source, true);
    view.setUint32(at + 44, entry.incarnation, true);
    putU64(view, at + 48, entry.stampMs);
    at += batchLineBytes;
  }
  return table;
}
