import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { isFailure } from "#ports/file.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import type { MemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { writeRecord } from "../../test/support/write-record.ts";
import { openRecordFile } from "./record-file.ts";
import type { RecordFile } from "./record-file.ts";

const name = "group.record";
const slotBytes = limits.recordSlotBytes;
const { sectorBytes } = limits;

function open(folder: MemoryFolder): { store: RecordFile; record: GroupRecord | undefined } {
  const file = folder.open(name);
  if (isFailure(file)) assert.fail(file.message);
  const opened = openRecordFile(file);
  if (!opened.ok) assert.fail(opened.error);
  return opened.value;
}

function refusalOf(folder: MemoryFolder): string {
  const file = folder.open(name);
  if (isFailure(file)) assert.fail(file.message);
  const opened = openRecordFile(file);
  return opened.ok ? assert.fail("a damaged record was believed") : opened.error;
}

/** The incarnation tells the records of these tests apart. */
function recordOf(incarnation: number): GroupRecord {
  // Long enough for a slot of several sectors, all of them different from one record to the next.
  const why = `${incarnation}`.repeat(1_200);
  return sampleRecord({ incarnation, toldOfFracture: { lsn: incarnation, why } });
}

function write(store: RecordFile, incarnation: number): void {
  let answers = 0;
  writeRecord(store, recordOf(incarnation), (failure) => {
    assert.equal(failure, undefined);
    answers += 1;
  });
  assert.equal(answers, 1);
}

function written(...incarnations: number[]): MemoryFolder {
  const folder = createMemoryFolder();
  const { store } = open(folder);
  for (const incarnation of incarnations) write(store, incarnation);
  return folder;
}

/** The file with the bytes given, as another process would find it. */
function found(bytes: Uint8Array): MemoryFolder {
  return createMemoryFolder(new Map([[name, bytes]]));
}

test("F12: a record is read back as it was when it was written, newest revision first", () => {
  const folder = createMemoryFolder();
  const { store, record } = open(folder);
  assert.equal(record, undefined, "a new file holds none");
  const first = recordOf(1);
  let isDone = false;
  folder.holdsSyncs = true;
  writeRecord(store, first, () => {
    isDone = true;
  });
  first.incarnation = 99; // What changes after the call is of the next record.
  while (!isDone) folder.heldSyncs.shift()?.();
  assert.deepEqual(open(folder).record, withoutUndefined(recordOf(1)));
  folder.holdsSyncs = false;
  folder.heldSyncs.shift()?.();
  write(store, 2);
  const again = open(folder);
  assert.deepEqual(again.record, withoutUndefined(recordOf(2)));
  assert.equal(again.store.revision, 2);
});

function withoutUndefined(record: GroupRecord): unknown {
  return JSON.parse(JSON.stringify(record));
}

test("row 18, I34: whatever bit flips in either slot, the same revision is read", () => {
  const folder = createMemoryFolder();
  const { store } = open(folder);
  const record = sampleRecord({ incarnation: 5 });
  writeRecord(store, sampleRecord(), () => undefined);
  writeRecord(store, record, () => undefined);
  const bytes = folder.bytesOf(name);
  const slotLength = 28 + new TextEncoder().encode(JSON.stringify(record)).length;
  for (const slot of [0, 1]) {
    for (let bit = 0; bit < slotLength * 8; bit += 1) {
      const at = slot * slotBytes + (bit >>> 3);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
      const opened = open(folder);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
      assert.equal(opened.record?.incarnation, 5, `slot ${slot}, bit ${bit}`);
      assert.equal(opened.store.revision, 2);
    }
  }
});

test("row 46: two damaged slots are refused in words; nothing is served from a guess", () => {
  const bytes = written(1, 2).bytesOf(name);
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  bytes[slotBytes + 9] = (bytes[slotBytes + 9] ?? 0) ^ 1;
  assert.match(refusalOf(found(bytes)), /^memory\/group\.record: both copies .* are damaged/);
  // A body longer than its slot is never read, whatever the checksums say.
  const claimed = found(new Uint8Array(2 * slotBytes).fill(0xff));
  assert.match(refusalOf(claimed), /both copies .* are damaged/);
});

test("row 18, N5: a power cut with any sectors of a write in flight leaves the old record or the new", () => {
  let states = 0;
  for (const count of [1, 2, 3]) {
    const folder = found(new Uint8Array(0));
    const { store } = open(folder);
    for (let i = 1; i < count; i += 1) write(store, i);
    let awaited = count - 1;
    folder.holdsSyncs = true;
    writeRecord(store, recordOf(count), () => {
      awaited = count;
    });
    // The write of the newest slot, then the lazy one of the other.
    for (const _ of [1, 2]) {
      const durable = folder.powerCut().bytesOf(name);
      for (const torn of tornStates(durable, folder.bytesOf(name))) {
        const { record } = open(found(torn));
        const incarnation = record?.incarnation ?? 0;
        assert.ok(incarnation >= awaited && incarnation <= count, `${incarnation} of ${count}`);
        states += 1;
      }
      folder.heldSyncs.shift()?.();
    }
    assert.equal(awaited, count);
  }
  assert.ok(states > 50);
});

/** Each subset of the sectors in which the two differ, written over the durable bytes. */
function tornStates(durable: Uint8Array, written: Uint8Array): Uint8Array[] {
  const different: number[] = [];
  for (let at = 0; at < written.length; at += sectorBytes) {
    const now = written.subarray(at, at + sectorBytes);
    const old = durable.subarray(at, at + sectorBytes);
    if (now.some((byte, i) => byte !== (old[i] ?? 0))) different.push(at);
  }
  assert.ok(different.length > 0 && different.length <= 8);
  return Array.from({ length: 1 << different.length }, (_, subset) => {
    const bytes = new Uint8Array(written.length);
    bytes.set(durable);
    different.forEach((at, i) => {
      if ((subset & (1 << i)) !== 0) bytes.set(written.subarray(at, at + sectorBytes), at);
    });
    return bytes;
  });
}

test("row 18: a first write that never became durable leaves a new file", () => {
  const bytes = written(1)
    .bytesOf(name)
    .slice(0, 2 * slotBytes);
  bytes.fill(0, 0, slotBytes);
  bytes[slotBytes + 600] = 0;
  assert.equal(open(found(bytes)).record, undefined);
});

test("row 19, N5: records asked for meanwhile share the next write, and one is under way at a time", () => {
  const folder = createMemoryFolder();
  const { store } = open(folder);
  folder.holdsSyncs = true;
  folder.ops.length = 0;
  const answered: number[] = [];
  for (const incarnation of [1, 2, 3]) {
    writeRecord(store, recordOf(incarnation), () => answered.push(incarnation));
  }
  folder.heldSyncs.shift()?.();
  assert.deepEqual(answered, [1]);
  folder.heldSyncs.shift()?.();
  assert.deepEqual(answered, [1, 2, 3]);
  assert.equal(store.revision, 2);
  // Every write is synced before the next begins, and nobody waited for a second copy of revision 1.
  const kinds = folder.ops.map((op) => op.split(" ", 1)[0]);
  assert.deepEqual(kinds, ["write", "sync", "synced", "write", "sync", "synced", "write", "sync"]);
  assert.equal(open(folder).record?.incarnation, 3);
});

test("N5: no power cut, whenever it comes, brings back a record older than one that was awaited", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("ask", "answer", "cut"), { maxLength: 40 }), (acts) => {
      const folder = createMemoryFolder(new Map([[name, new Uint8Array(0)]]));
      const { store } = open(folder);
      folder.holdsSyncs = true;
      let asked = 0;
      let awaited = 0;
      for (const act of acts) {
        if (act === "ask") {
          asked += 1;
          const incarnation = asked;
          writeRecord(store, sampleRecord({ incarnation }), () => {
            assert.ok(incarnation > awaited, "answers come in the order of the asking");
            awaited = incarnation;
          });
        } else if (act === "answer") {
          folder.heldSyncs.shift()?.();
        } else {
          const survivor = open(folder.powerCut()).record?.incarnation ?? 0;
          assert.ok(survivor >= awaited, `${survivor} survived, ${awaited} was awaited`);
        }
      }
      for (let run = folder.heldSyncs.shift(); run; run = folder.heldSyncs.shift()) run();
      assert.equal(awaited, asked, "everybody was answered");
    }),
    { numRuns: 300 },
  );
});

test("row 38: a failed sync is final: everyone is told, and nothing is written again", () => {
  const folder = written(1);
  const { store } = open(folder);
  folder.failSyncs(name);
  const told: (string | undefined)[] = [];
  writeRecord(store, recordOf(2), (failure) => told.push(failure?.code));
  folder.ops.length = 0;
  writeRecord(store, recordOf(3), (failure) => told.push(failure?.code));
  assert.deepEqual(told, ["EIO", "EIO"]);
  assert.deepEqual(folder.ops, []);
});

test("row 38: a second copy that cannot be synced fails the next record, not the one it copied", () => {
  const folder = createMemoryFolder();
  const { store } = open(folder);
  folder.holdsSyncs = true;
  const told: (string | undefined)[] = [];
  writeRecord(store, recordOf(1), (failure) => told.push(failure?.code));
  folder.heldSyncs.shift()?.();
  folder.failSyncs(name);
  writeRecord(store, recordOf(2), (failure) => told.push(failure?.code));
  folder.heldSyncs.shift()?.();
  assert.deepEqual(told, [undefined, "EIO"]);
});
