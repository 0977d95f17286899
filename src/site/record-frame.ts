import { firstBytes, joined, restOf } from "#base/bytes.ts";
import type { Result } from "#base/errors.ts";
import { decodeTable, splitPayload } from "#wire/batch/decode.ts";
import type { Frame } from "#wire/peer/messages.ts";
import type { AppendedBatch } from "./journal-run.ts";

/** A record of a log as a frame brought it; it has no number here yet. */
export type ReceivedRecord = Omit<AppendedBatch, "number">;

/**
 * The door for records (`feedRecord` sends them): what is no whole one, or does not match its checksums, is answered with the
 * violated rule, and nothing of it is stored (I34). Whether it follows what is here is for the caller to say.
 */
export function receivedRecord({ header, body }: Frame): Result<ReceivedRecord> {
  const { lsn, set, offset, length, index, bodyBytes } = header;
  const table = joined(firstBytes(body, index));
  const payload = restOf(body, index);
  const entries = decodeTable(table, bodyBytes - table.length);
  if (!entries.ok) return entries;
  if (splitPayload(entries.value, payload) === undefined)
    return { ok: false, error: "the checksum of a write's bytes does not match" };
  const follows = { incarnation: length, lsn, set, index: offset };
  return { ok: true, value: { follows, entries: entries.value, table, payload } };
}
