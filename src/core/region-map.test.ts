import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  anyMarked,
  copyOf,
  createRegionMap,
  isMarked,
  mark,
  nextMarked,
  orInto,
  runLength,
  unmark,
} from "./region-map.ts";

// The map against its dumb twin: a set of numbers.

const units = 9_000; // Three pages, the last one in part.
const unitBytes = 4096;

const change = fc.record({
  isMark: fc.boolean(),
  first: fc.nat(units - 1),
  length: fc.integer({ min: 1, max: 200 }),
});

test("a region map marks, finds and forgets exactly what a set of numbers does", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const map = createRegionMap(units * unitBytes, unitBytes);
      const twin = new Set<number>();
      for (const { isMark, first, length } of changes) {
        const last = Math.min(units - 1, first + length - 1);
        if (isMark) mark(map, first, last);
        else unmark(map, first, last);
        for (let unit = first; unit <= last; unit += 1) {
          if (isMark) twin.add(unit);
          else twin.delete(unit);
        }
      }
      assert.equal(map.count, twin.size);
      const found: number[] = [];
      for (let unit = nextMarked(map, 0); unit !== -1; unit = nextMarked(map, unit + 1)) {
        found.push(unit);
      }
      assert.deepEqual(
        found,
        [...twin].toSorted((a, b) => a - b),
      );
      for (const unit of twin) assert.ok(isMarked(map, unit) && runLength(map, unit, 1) === 1);
    }),
    { numRuns: 200 },
  );
});

test("I16: OR from granules into regions over-marks and never under-marks", () => {
  const volumeBytes = 10 * 1024 * 1024 + 512;
  fc.assert(
    fc.property(fc.array(fc.nat(10), { maxLength: 8 }), (granules) => {
      const open = createRegionMap(volumeBytes, 1024 * 1024);
      for (const granule of granules) mark(open, granule, granule);
      const dirty = createRegionMap(volumeBytes, 64 * 1024);
      orInto(dirty, open);
      for (let region = 0; region < dirty.units; region += 1) {
        const granule = Math.floor((region * 64) / 1024);
        assert.equal(isMarked(dirty, region), isMarked(open, granule));
      }
      const back = createRegionMap(volumeBytes, 1024 * 1024);
      orInto(back, dirty);
      assert.equal(back.count, open.count);
    }),
  );
});

test("a copy of a map is consumed without touching the map", () => {
  const map = createRegionMap(units * unitBytes, unitBytes);
  mark(map, 10, 4_100);
  const copy = copyOf(map);
  unmark(copy, 0, units - 1);
  assert.equal(copy.count, 0);
  assert.ok(anyMarked(map, 4_100, 4_100));
});
