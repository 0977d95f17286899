import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";

test("sizes are read in bytes and binary units", () => {
  const expected = new Map<unknown, number>([
    [512, 512],
    ["512", 512],
    ["4KiB", 4096],
    ["4 KiB", 4096],
    ["1.5GiB", 1_610_612_736],
    ["2TiB", 2 ** 41],
    [0, 0],
  ]);
  for (const [text, value] of expected) assert.deepEqual(parseSize(text), { ok: true, value });
});

test("times are read in ms, s, min and h, and only 0 goes without a unit", () => {
  const expected = new Map<unknown, number>([
    ["500ms", 500],
    ["3s", 3_000],
    ["0.5s", 500],
    ["2 min", 120_000],
    ["1h", 3_600_000],
    [0, 0],
  ]);
  for (const [text, value] of expected) assert.deepEqual(parseDuration(text), { ok: true, value });
  assert.equal(parseDuration(3).ok, false);
  assert.equal(parseDuration("3").ok, false);
});

test("whatever is written, it is understood as a whole number or refused with a hint", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.double(), fc.integer()), (written) => {
      for (const parsed of [parseSize(written), parseDuration(written)]) {
        if (parsed.ok) assert.ok(Number.isSafeInteger(parsed.value) && parsed.value >= 0);
        else assert.notEqual(parsed.hint, "");
      }
    }),
  );
});

test("times are written as they are read", () => {
  fc.assert(
    fc.property(fc.nat({ max: 86_400_000 }), (ms) => {
      assert.deepEqual(parseDuration(formatDuration(ms)), { ok: true, value: ms });
    }),
  );
});

test("sizes are written in the largest unit, whole where it divides them", () => {
  assert.equal(formatSize(0), "0B");
  assert.equal(formatSize(1023), "1023B");
  assert.equal(formatSize(65_536), "64KiB");
  assert.equal(formatSize(1_610_612_736), "1.50GiB");
  assert.equal(formatSize(2 ** 44), "16TiB");
});
