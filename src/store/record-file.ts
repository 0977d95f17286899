// The group record on disk, version 1: two slots of 256 KiB in one file.
//
//    0  u32 magic "APGR"   4  u16 version   6  u16 zero   8  u64 revision   16  u32 bodyBytes   20  u32 CRC32C of the body
//   24  u32 CRC32C of bytes 0..23          28  the record as JSON, UTF-8
//
// Revision r goes to slot r mod 2, and is durable when that slot is synced; the other slot still holds r - 1. One write
// is under way at a time, so that two revisions can never finish out of order (row 19, N5). A slot is valid when both
// checksums agree; the record is the valid slot with the highest revision.
//
// Once a revision is durable it is written to the other slot too, lazily. So both slots hold the same revision but for
// a moment, and a bit that rots in one of them brings no older record back: the other has the same. Two slots that are
// both damaged are refused; nothing of the group is served from a guess.
//
// Version history:
//   1  the first.

import { crc32c } from "#base/checksum.ts";
import { getU64, putU64, textOf, utf8, viewOf } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { assert } from "#base/assert.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import type { GroupRecord } from "#core/group-record.ts";
import type { File } from "#ports/file.ts";

export const recordFileVersion = 1;
const MAGIC = 0x52475041; // "APGR"
const HEADER_BYTES = 28;
const slotBytes = limits.recordSlotBytes;

export type RecordFile = {
  readonly file: File;
  revision: number;
  writing: boolean;
  /** The document to write next, and who waits for it. */
  next: { readonly body: Uint8Array; readonly waiters: RecordWaiter[] } | undefined;
  failure: IoFailure | undefined;
};

export type RecordWaiter = (failure: IoFailure | undefined) => void;

/** Opens a record file. `record` is undefined when the file is new. */
export function openRecordFile(
  file: File,
): Result<{ store: RecordFile; record: GroupRecord | undefined }> {
  const slots = [readSlot(file, 0), readSlot(file, 1)];
  const best = slots
    .filter((slot) => slot.kind === "valid")
    .reduce<ValidSlot | undefined>(
      (a, b) => (a === undefined || b.revision > a.revision ? b : a),
      undefined,
    );
  if (best === undefined) {
    // One empty slot and a torn one: the very first write never became durable.
    if (slots.some((slot) => slot.kind === "empty")) {
      return { ok: true, value: { store: newStore(file, 0), record: undefined } };
    }
    return {
      ok: false,
      error: `${file.path}: both copies of the group's record are damaged; nothing can be served from a guess`,
    };
  }
  return { ok: true, value: { store: newStore(file, best.revision), record: best.record } };
}

function newStore(file: File, revision: number): RecordFile {
  return { file, revision, writing: false, next: undefined, failure: undefined };
}

/** The record as it is now, for `writeEncoded`: later changes of it do not count. */
export function encodeRecord(record: GroupRecord): Uint8Array {
  return utf8(JSON.stringify(record));
}

/**
 * Makes an encoded record durable; then calls `done`. Calls that come while one is under way share the next
 * write. After a failure nothing is ever written again, and everyone is told so (PROOF §2.5).
 */
export function writeEncoded(store: RecordFile, body: Uint8Array, done: RecordWaiter): void {
  assert(body.length <= slotBytes - HEADER_BYTES, "the group's record has outgrown its slot");
  store.next = { body, waiters: [...(store.next?.waiters ?? []), done] };
  if (!store.writing) writeNext(store);
}

/** Makes the record, as it is now, durable; then calls `done`. */
export function writeRecord(store: RecordFile, record: GroupRecord, done: RecordWaiter): void {
  writeEncoded(store, encodeRecord(record), done);
}

function writeNext(store: RecordFile): void {
  const job = store.next;
  store.next = undefined;
  if (job === undefined) return;
  if (store.failure !== undefined) return answer(job.waiters, store.failure);
  store.writing = true;
  store.revision += 1;
  const revision = store.revision;
  const slot = sealSlot(revision, job.body);
  commit(store, revision % 2, slot, (failure) => {
    answer(job.waiters, failure);
    // A record that waits makes the lazy second copy pointless: it goes to that slot itself.
    if (failure !== undefined || store.next !== undefined) return endWrite(store, failure);
    commit(store, (revision + 1) % 2, slot, (second) => endWrite(store, second));
  });
}

function commit(store: RecordFile, slot: number, bytes: Uint8Array, done: RecordWaiter): void {
  const failure = store.file.write(slot * slotBytes, [bytes]);
  if (failure !== undefined) return done(failure);
  store.file.sync(done);
}

function endWrite(store: RecordFile, failure: IoFailure | undefined): void {
  store.writing = false;
  if (failure !== undefined) store.failure = failure;
  writeNext(store);
}

function answer(waiters: readonly RecordWaiter[], failure: IoFailure | undefined): void {
  for (const waiter of waiters) waiter(failure);
}

function sealSlot(revision: number, body: Uint8Array): Uint8Array {
  const slot = new Uint8Array(HEADER_BYTES + body.length);
  const view = viewOf(slot);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, recordFileVersion, true);
  putU64(view, 8, revision);
  view.setUint32(16, body.length, true);
  view.setUint32(20, crc32c(body), true);
  view.setUint32(24, crc32c(slot.subarray(0, 24)), true);
  slot.set(body, HEADER_BYTES);
  return slot;
}

type ValidSlot = {
  readonly kind: "valid";
  readonly revision: number;
  readonly record: GroupRecord;
};
type Slot = ValidSlot | { readonly kind: "empty" } | { readonly kind: "damaged" };

function readSlot(file: File, slot: number): Slot {
  const header = new Uint8Array(HEADER_BYTES);
  if (file.read(slot * slotBytes, header) !== undefined) return { kind: "damaged" };
  if (header.every((byte) => byte === 0)) return { kind: "empty" };
  const view = viewOf(header);
  const bodyBytes = view.getUint32(16, true);
  const revision = getU64(view, 8);
  const sound =
    view.getUint32(24, true) === crc32c(header.subarray(0, 24)) &&
    view.getUint32(0, true) === MAGIC &&
    view.getUint16(4, true) === recordFileVersion &&
    revision !== undefined &&
    bodyBytes <= slotBytes - HEADER_BYTES;
  if (!sound) return { kind: "damaged" };
  const body = new Uint8Array(bodyBytes);
  if (file.read(slot * slotBytes + HEADER_BYTES, body) !== undefined) return { kind: "damaged" };
  if (crc32c(body) !== view.getUint32(20, true)) return { kind: "damaged" };
  const text = textOf(body);
  if (text === undefined) return { kind: "damaged" };
  // The checksums say that these are our own bytes: a record that does not parse is a bug of ours and may throw.
  return { kind: "valid", revision, record: JSON.parse(text) as GroupRecord };
}
