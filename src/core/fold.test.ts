import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import type { Entry } from "./entry.ts";
import { fold } from "./fold.ts";

const ranges = fc.array(
  fc.record({
    volume: fc.integer({ min: 0, max: 1 }),
    offset: fc.integer({ min: 0, max: 60 }),
    length: fc.integer({ min: 1, max: 40 }),
  }),
  { maxLength: 40 },
);

test("A5, U6: what is left overlaps nowhere, and every byte is that of its newest write", () => {
  fc.assert(
    fc.property(ranges, (written) => {
      const entries = written.map((range, i) =>
        sampleEntry({ ...range, set: 1, index: i + 1, lsn: i + 1 }),
      );
      assert.deepEqual(bytesLeft(entries), newestOf(entries));
    }),
    { numRuns: 2000 },
  );
});

test("a write that nothing covers stays as it is, one that all is covered of goes", () => {
  const entries = [
    sampleEntry({ set: 1, index: 1, lsn: 1, offset: 0, length: 10 }),
    sampleEntry({ set: 1, index: 2, lsn: 2, offset: 10, length: 10 }),
    sampleEntry({ set: 1, index: 3, lsn: 3, offset: 12, length: 4 }),
    sampleEntry({ set: 1, index: 4, lsn: 4, offset: 0, length: 10 }),
  ];
  const middle = [
    { offset: 10, length: 2 },
    { offset: 16, length: 4 },
  ];
  assert.deepEqual(fold(entries), [[], middle, undefined, undefined]);
});

test("a block that is written over and over costs no more than once", () => {
  const entries = Array.from({ length: 30_000 }, (_, i) =>
    sampleEntry({ set: 1, index: i + 1, lsn: i + 1, offset: 4096 }),
  );
  const folded = fold(entries);
  assert.equal(
    folded.findLastIndex((pieces) => pieces !== undefined),
    entries.length - 2,
  );
  assert.ok(folded.slice(0, -1).every((pieces) => pieces?.length === 0));
});

/** Who holds each byte, and that nobody else does. */
function bytesLeft(entries: readonly Entry[]): Map<string, number> {
  const left = new Map<string, number>();
  fold(entries).forEach((pieces, i) => {
    const entry = entries[i];
    assert.ok(entry !== undefined);
    for (const { offset, length } of pieces ?? [entry]) {
      assert.ok(offset >= entry.offset && offset + length <= entry.offset + entry.length);
      for (let byte = offset; byte < offset + length; byte += 1) {
        const key = `${entry.volume}:${byte}`;
        assert.ok(!left.has(key), `${key} is left twice`);
        left.set(key, entry.lsn);
      }
    }
  });
  return left;
}

function newestOf(entries: readonly Entry[]): Map<string, number> {
  const newest = new Map<string, number>();
  for (const { volume, offset, length, lsn } of entries)
    for (let byte = offset; byte < offset + length; byte += 1) newest.set(`${volume}:${byte}`, lsn);
  return newest;
}
