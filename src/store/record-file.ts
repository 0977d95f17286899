// The group record on disk, version 1: two slots of 256 KiB in one file, as slot.ts draws them, with the magic "APGR" and the
// record.
//
// Revision r goes to slot r mod 2, and is durable when that slot is synced; the other slot still holds r - 1. One write
// is under way at a time, so that two revisions can never finish out of order (row 19, N5).
//
// Once a revision is durable it is written to the other slot too, lazily. So both slots hold the same revision but for
// a moment, and a bit that rots in one of them brings no older record back: the other has the same. Two slots that are
// both damaged are refused; nothing of the group is served from a guess. One that cannot be read, or is of another version, is
// as good as damaged.
//
// Version history:
//   1  the first.

import { utf8 } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { assert } from "#base/assert.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import type { GroupRecord } from "#core/group-record.ts";
import type { File } from "#ports/file.ts";
import { newestOf, readSlots, sealSlot, slotHeaderBytes } from "./slot.ts";
import type { SlotFormat } from "./slot.ts";

export const recordFileVersion = 1;
export const recordMagic = 0x52475041; // "APGR"
const slotBytes = limits.recordSlotBytes;
const format: SlotFormat = { magic: recordMagic, version: recordFileVersion, slotBytes };

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
  const found = readRecordText(file);
  if (!found.ok) return found;
  const { revision, text } = found.value;
  // Later revisions are longer, and must find room on a disk that is full by then. One that has none now says so when it is
  // written.
  void file.allocate(0, 2 * slotBytes);
  // The checksums say that these are our own bytes: a record that does not parse is a bug of ours and may throw.
  const record = text === undefined ? undefined : (JSON.parse(text) as GroupRecord);
  return { ok: true, value: { store: newStore(file, revision), record } };
}

/** The record that a file holds, not parsed yet; without a text when the file is new. */
export function readRecordText(
  file: File,
): Result<{ readonly revision: number; readonly text: string | undefined }> {
  const slots = readSlots(file, format);
  const newest = newestOf(slots);
  if (newest !== undefined) return { ok: true, value: newest };
  // One empty slot and a torn one: the very first write never became durable.
  if (slots.some(({ kind }) => kind === "empty"))
    return { ok: true, value: { revision: 0, text: undefined } };
  return {
    ok: false,
    error: `${file.path}: both copies of the group's record are damaged; nothing can be served from a guess`,
  };
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
  assert(body.length <= slotBytes - slotHeaderBytes, "the group's record has outgrown its slot");
  store.next = { body, waiters: [...(store.next?.waiters ?? []), done] };
  if (!store.writing) writeNext(store);
}

function writeNext(store: RecordFile): void {
  const job = store.next;
  store.next = undefined;
  if (job === undefined) return;
  if (store.failure !== undefined) return answer(job.waiters, store.failure);
  store.writing = true;
  store.revision += 1;
  const revision = store.revision;
  const slot = sealSlot(format, revision, job.body);
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
