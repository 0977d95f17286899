// A small document in two slots of one file: the group's record (record-file.ts), the owner of a log (owner-file.ts).
//
//    0  u32 magic   4  u16 version   6  u16 zero   8  u64 revision   16  u32 bodyBytes   20  u32 CRC32C of the body
//   24  u32 CRC32C of bytes 0..23          28  the document as JSON, UTF-8
//
// A slot is valid when magic and version are those of its file and both checksums agree; what counts is the valid slot with
// the highest revision. One that is all zeros up to byte 27 is empty: nothing was ever written there.
//
// In every version, bytes 0 to 27 are as they are here, so that a later version can be told from damage. Magic, version and
// its history, and which revision goes to which slot, are at the head of the file that has the document.

import { allZero, getU64, putU64, textOf, viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import type { IoFailure } from "#base/errors.ts";
import type { File } from "#ports/file.ts";

/** Bytes of a slot before its document. */
export const slotHeaderBytes = 28;

/** What tells the slots of one kind of file from those of another. */
export type SlotFormat = {
  readonly magic: number;
  readonly version: number;
  /** Of one slot, header and all; the second one begins behind so many bytes. */
  readonly slotBytes: number;
};

export type ValidSlot = {
  readonly kind: "valid";
  readonly revision: number;
  readonly text: string;
};

/** `foreign` is sound, and of a version that this build does not know. */
export type Slot =
  | ValidSlot
  | { readonly kind: "empty" | "damaged" }
  | { readonly kind: "foreign"; readonly version: number }
  | { readonly kind: "unreadable"; readonly failure: IoFailure };

/** The bytes of a slot; the document must fit into it. */
export function sealSlot(format: SlotFormat, revision: number, body: Uint8Array): Uint8Array {
  const slot = new Uint8Array(slotHeaderBytes + body.length);
  const view = viewOf(slot);
  view.setUint32(0, format.magic, true);
  view.setUint16(4, format.version, true);
  putU64(view, 8, revision);
  view.setUint32(16, body.length, true);
  view.setUint32(20, crc32c(body), true);
  view.setUint32(24, crc32c(slot.subarray(0, 24)), true);
  slot.set(body, slotHeaderBytes);
  return slot;
}

/** Both slots of a file, as they are found. */
export function readSlots(file: File, format: SlotFormat): readonly Slot[] {
  return [readSlot(file, format, 0), readSlot(file, format, 1)];
}

/** The slot that counts; undefined when none is valid. */
export function newestOf(slots: readonly Slot[]): ValidSlot | undefined {
  const [first, second] = slots.filter((slot) => slot.kind === "valid");
  if (first === undefined || second === undefined) return first;
  return second.revision > first.revision ? second : first;
}

function readSlot(file: File, { magic, version, slotBytes }: SlotFormat, index: number): Slot {
  const header = new Uint8Array(slotHeaderBytes);
  const failure = file.read(index * slotBytes, header);
  if (failure !== undefined) return { kind: "unreadable", failure };
  if (allZero(header)) return { kind: "empty" };
  const view = viewOf(header);
  const bodyBytes = view.getUint32(16, true);
  const revision = getU64(view, 8);
  const isSound =
    view.getUint32(24, true) === crc32c(header.subarray(0, 24)) &&
    view.getUint32(0, true) === magic &&
    revision !== undefined &&
    bodyBytes <= slotBytes - slotHeaderBytes;
  if (!isSound) return { kind: "damaged" };
  const found = view.getUint16(4, true);
  if (found !== version) return { kind: "foreign", version: found };
  const body = new Uint8Array(bodyBytes);
  const notRead = file.read(index * slotBytes + slotHeaderBytes, body);
  if (notRead !== undefined) return { kind: "unreadable", failure: notRead };
  const text = textOf(body);
  if (crc32c(body) !== view.getUint32(20, true) || text === undefined) return { kind: "damaged" };
  return { kind: "valid", revision, text };
}
