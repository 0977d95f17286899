import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import { fixture } from "../../test/support/fixture.ts";
import { formatHash } from "../../test/support/format-hash.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import type { MemoryFolder } from "../../test/support/memory-folder.ts";
import { ownerFileVersion, ownerMagic, ownerName, readOwner, writeOwner } from "./owner-file.ts";
import type { LogOwner } from "./owner-file.ts";

/** The fingerprint of each version, for ever. */
const hashOfVersion: Readonly<Record<number, string>> = {
  1: "3df42d7855c50d9b94c0283caf96cd86af3f38e21d18fce0d425b341052c9773",
};

const owner: LogOwner = {
  cluster: "example",
  group: "bank",
  history: [{ counter: 1, id: "0123456789abcdef", site: "east", atMs: 1_700_000_000_000 }],
};
const taken: LogOwner = {
  ...owner,
  activatedFor: "west",
  end: { number: 12, segment: 1, byte: 4711, logId: 0xdecade },
};

function write(folder: MemoryFolder, next: LogOwner): void {
  let answers = 0;
  writeOwner(folder, next, (failure) => {
    assert.equal(failure, undefined);
    answers += 1;
  });
  assert.equal(answers, 1);
}

test("the owner file does not change without a new version", () => {
  const values = {
    magic: ownerMagic,
    slotBytes: limits.ownerSlotBytes,
    fields: Object.keys(taken).toSorted(),
    endFields: Object.keys(taken.end ?? {}).toSorted(),
  };
  const hash = formatHash(new URL("slot.ts", import.meta.url), values);
  const advice =
    "the format has changed: raise ownerFileVersion, and keep reading what old builds wrote";
  assert.equal(hash, hashOfVersion[ownerFileVersion], advice);
});

function fileBytes(): Uint8Array {
  const folder = createMemoryFolder();
  write(folder, owner);
  write(folder, taken);
  return folder.bytesOf(ownerName);
}

test("F12: an owner file that version 1 wrote is read, and written the same today", () => {
  const bytes = fixture("v1/log.owner", fileBytes);
  assert.deepEqual(readOwner(createMemoryFolder(new Map([[ownerName, bytes]]))), taken);
  if (ownerFileVersion === 1) assert.deepEqual(fileBytes(), bytes);
});

test("F12: an owner file of a later version is refused, and not taken for damage", () => {
  const bytes = fileBytes();
  const found = readOwner(createMemoryFolder(new Map([[ownerName, laterVersion(bytes)]])));
  assert.ok(found !== undefined && "code" in found);
  assert.match(found.message, /version 2 is unknown to this build/);
});

function laterVersion(bytes: Uint8Array): Uint8Array {
  const later = bytes.slice();
  const view = new DataView(later.buffer);
  for (const slot of [0, limits.ownerSlotBytes]) {
    view.setUint16(slot + 4, 2, true);
    view.setUint32(slot + 24, crc32c(later.subarray(slot, slot + 24)), true);
  }
  return later;
}

test("B13: the last owner counts whatever a power cut leaves of the next one", () => {
  const folder = createMemoryFolder();
  assert.equal(readOwner(folder), undefined, "nobody has said yet");
  write(folder, owner);
  assert.deepEqual(readOwner(folder.powerCut()), owner);
  const before = folder.bytesOf(ownerName).slice();
  write(folder, taken);
  const after = folder.bytesOf(ownerName).slice();
  const end = after.findLastIndex((byte, i) => byte !== before[i]) + 1;
  assert.ok(end > 28 && end < limits.ownerSlotBytes, "it went to the other slot");
  for (let bytes = 0; bytes <= end; bytes += 1) {
    const torn = createMemoryFolder(new Map([[ownerName, mixed(before, after, bytes)]]));
    assert.deepEqual(readOwner(torn), bytes < end ? owner : taken);
  }
});

// So many bytes of the new file; what is behind them as before.
function mixed(before: Uint8Array, after: Uint8Array, bytes: number): Uint8Array {
  const whole = new Uint8Array(Math.max(before.length, after.length));
  whole.set(before);
  whole.set(after.subarray(0, bytes));
  return whole;
}

test("B13: an owner that rots in both copies is told, and nobody is taken for it", () => {
  const bytes = fileBytes().slice();
  for (const slot of [0, limits.ownerSlotBytes]) bytes[slot + 40] = (bytes[slot + 40] ?? 0) ^ 1;
  const found = readOwner(createMemoryFolder(new Map([[ownerName, bytes]])));
  assert.ok(found !== undefined && "code" in found);
  assert.match(found.message, /damaged/);
});
