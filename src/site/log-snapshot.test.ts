import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { segmentName } from "#store/log-format.ts";
import { snapshotOf } from "./log-snapshot.ts";

function opened(folder: Folder, name: string): File {
  const file = folder.open(name);
  return isFailure(file) ? assert.fail(file.message) : file;
}

function bytesOf(file: File, offset: number, length: number): number[] {
  const into = new Uint8Array(length);
  assert.equal(file.read(offset, into), undefined);
  return [...into];
}

test("B13: what is written to a snapshot is read back, and nothing of it is in the folder", async () => {
  const under = createMemoryFolder(new Map([["a", new Uint8Array([1, 2, 3, 4])]]));
  const snapshot = snapshotOf(under, createManualClock(), undefined);
  const file = opened(snapshot, "a");
  assert.equal(file.write(2, [new Uint8Array([7]), new Uint8Array([8, 9])]), undefined);
  assert.deepEqual(bytesOf(file, 0, 6), [1, 2, 7, 8, 9, 0]);
  assert.equal(file.bytes(), 5);
  const later = new Uint8Array(3);
  const failure = await new Promise((done) => file.readLater(1, later, done));
  assert.deepEqual([[...later], failure], [[2, 7, 8], undefined]);
  const made = opened(snapshot, "b");
  assert.equal(made.write(0, [new Uint8Array([5])]), undefined);
  assert.deepEqual(bytesOf(made, 0, 2), [5, 0]);
  assert.equal(snapshot.remove("a"), undefined);
  assert.deepEqual(snapshot.list(), ["b"]);
  assert.ok(!snapshot.exists("a") && snapshot.exists("b"));
  assert.deepEqual([...under.bytesOf("a")], [1, 2, 3, 4]);
  assert.deepEqual(under.list(), ["a"]);
  assert.ok(!under.ops.some((op) => /^(write|remove|rename|sync)/.test(op)), under.ops.join("; "));
});

test("B13, B16: a log ends where it ended when it was taken, whatever was written behind that since", () => {
  const name = "bunker-00000001";
  const names = [1, 2, 3].map((segment) => segmentName(name, segment));
  const [first = "", last = "", late = ""] = names;
  const content = new Uint8Array([1, 2, 3, 4, 5]);
  const under = createMemoryFolder(new Map(names.map((one) => [one, content])));
  const end = { name, place: { number: 9, segment: 2, byte: 3 } };
  const snapshot = snapshotOf(under, createManualClock(), end);
  assert.deepEqual(snapshot.list(), [first, last]);
  assert.ok(!snapshot.exists(late));
  assert.equal(opened(snapshot, first).bytes(), 5);
  const file = opened(snapshot, last);
  assert.equal(file.bytes(), 3);
  assert.deepEqual(bytesOf(file, 1, 4), [2, 3, 0, 0]);
  // The end of a set is put there, in memory.
  assert.equal(file.write(3, [new Uint8Array([6])]), undefined);
  assert.deepEqual(bytesOf(file, 1, 4), [2, 3, 6, 0]);
});
