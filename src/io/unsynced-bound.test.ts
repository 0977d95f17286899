import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, limits, MiB } from "#base/limits.ts";
import { createUnsyncedBudget, UnsyncedBound } from "./unsynced-bound.ts";

const plentyBytes = 1024 * GiB;

test("what may be unsynced follows how fast the disk syncs", () => {
  const bound = new UnsyncedBound(createUnsyncedBudget(plentyBytes));
  assert.equal(bound.softBytes, limits.unsyncedBytesFirst);
  for (let i = 0; i < 20; i += 1) bound.learn(200 * MiB, 1000);
  assert.equal(Math.round(bound.softBytes / MiB), 100, "half a second of 200 MiB/s");
  for (let i = 0; i < 20; i += 1) bound.learn(64 * MiB, 100_000);
  assert.equal(bound.softBytes, limits.unsyncedBytesMin, "a disk that crawls");
  for (let i = 0; i < 40; i += 1) bound.learn(GiB, 10);
  assert.equal(bound.softBytes, limits.unsyncedBytesMax);
  assert.equal(bound.hardBytes, 2 * limits.unsyncedBytesMax);
});

test("a small sync tells nothing of the disk", () => {
  const bound = new UnsyncedBound(createUnsyncedBudget(plentyBytes));
  for (let i = 0; i < 20; i += 1) bound.learn(4096, 20);
  assert.equal(bound.softBytes, limits.unsyncedBytesFirst);
});

test("all images together keep to their part of the memory", () => {
  const budget = createUnsyncedBudget(limits.unsyncedMemoryDivisor * 120 * MiB);
  const bounds = Array.from({ length: 3 }, () => new UnsyncedBound(budget));
  const hard = (): number => bounds.reduce((sum, bound) => sum + bound.hardBytes, 0);
  assert.equal(hard(), 120 * MiB);
  bounds.pop()?.leave();
  assert.equal(hard(), 120 * MiB, "who leaves, leaves its share to the others");
});
