import assert from "node:assert/strict";
import { test } from "node:test";
import { limits, MiB } from "#base/limits.ts";
import {
  answer,
  createFedRig,
  createRig,
  effects,
  failure,
  give,
  makeEntry,
  makeSet,
  open,
  rest,
  settle,
  step,
} from "../../test/support/staging-rig.ts";
import { digestStep } from "./entry.ts";
import type { Entry } from "./entry.ts";

// The machine of staging alone: how complete sets come into the images, and when the log forgets them.

// ----------------------------------------------------------------------- application, forgetting

test("I10, I13: sets under way are bounded, and one alone goes whatever its size", () => {
  const rig = createFedRig();
  const large = (set: number): Entry[] => {
    const entry = { ...makeEntry(set, 1), length: 20 * MiB };
    const [, seal] = makeSet(set, 1, { payloadCrc: digestStep(0, entry) });
    return [entry, seal ?? assert.fail()];
  };
  for (const set of [1, 2, 3]) give(rig, large(set));
  for (let set = 4; set <= 4 + limits.applyingSetsMax; set += 1) give(rig, makeSet(set, 0));
  const count = rig.staging.sets.size;
  settle(rig, /^(stage|flag|sync)/);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11"]);
  answer(rig, "apply 1");
  answer(rig, "apply 2");
  assert.equal(effects(rig, /^apply/).length, 1 + limits.applyingSetsMax);
  settle(rig);
  assert.equal(rig.staging.applied.set, count);
});

test("one rule of forgetting: the log keeps a set until it is applied, synced in the images and on record, in this order", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  give(rig, [makeEntry(3, 1), ...makeSet(2, 1)]);
  settle(rig);
  effects(rig);
  rest(rig, limits.applyIdleMs - 1);
  assert.deepEqual(effects(rig), []);
  rest(rig, 1);
  assert.deepEqual(effects(rig), ["syncImages"]);
  answer(rig, "syncImages");
  assert.deepEqual(effects(rig), ["record 2"]);
  answer(rig, "record");
  assert.deepEqual(effects(rig), ["forget 2", "complete 2 applied 2 synced 2"]);
  give(rig, makeSet(3, 1));
  settle(rig);
  rest(rig);
  settle(rig);
  assert.deepEqual(effects(rig, /^forget/), ["forget 6"]);
  assert.equal(rig.staging.records.count, 0);
  const { waitingBytes, appliedBytes, applyingBytes } = rig.staging;
  assert.deepEqual([waitingBytes, appliedBytes, applyingBytes], [0, 0, 0]);
});

test("images are synced when much was applied, and at the latest after a while, though there is no rest", () => {
  const rig = createFedRig();
  for (let set = 1; set <= limits.applySyncMsMax / 500; set += 1) {
    give(rig, makeSet(set, 0));
    settle(rig);
    rest(rig, 500);
  }
  assert.equal(effects(rig, /^syncImages/).length, 1);
  const busy = createFedRig();
  for (let set = 1; set <= limits.applyUnsyncedSetsMax; set += 1) give(busy, makeSet(set, 0));
  settle(busy);
  assert.equal(effects(busy, /^syncImages/).length, 1);
  assert.ok(limits.applyingBytesMax <= limits.applyUnsyncedBytesMax);
  assert.ok(limits.applyUnsyncedBytesMax < limits.stagingBytesMax);
  assert.ok(limits.applyUnsyncedSetsMax + limits.applyingSetsMax < limits.setsAtCopyMax);
});

test("row 39: an image that cannot be written or synced ends the session; nothing behind it counts as applied", () => {
  const rig = createFedRig();
  for (const set of [1, 2]) give(rig, makeSet(set, 1));
  settle(rig, /^(stage|flag|sync)/);
  rig.pending.shift();
  effects(rig);
  step(rig, { kind: "applied", set: 1, failure });
  // Every write of a set that fails tells of it, and so do those of the sets behind.
  step(rig, { kind: "applied", set: 1, failure });
  step(rig, { kind: "applied", set: 2, failure: undefined });
  settle(rig);
  open(rig);
  const why = "fail: the image here cannot be written: EIO";
  assert.deepEqual(effects(rig), [why, why]);
  assert.equal(rig.staging.applied.set, 0);

  const unsynced = createFedRig();
  give(unsynced, makeSet(1, 1));
  settle(unsynced);
  rest(unsynced);
  unsynced.pending.length = 0;
  effects(unsynced);
  step(unsynced, { kind: "imagesSynced", failure });
  assert.deepEqual(effects(unsynced), ["fail: fdatasync of the image here failed: EIO"]);
});

// ------------------------------------------------------------------------------------- promotion

test("S14, I13: settling applies all that is contiguous and whole, and drops what is behind a gap, complete or not (U50)", () => {
  const rig = createFedRig();
  give(rig, [...makeSet(1, 1), ...makeSet(4, 1)]);
  settle(rig, /^(stage|flag|sync)/);
  give(rig, [...makeSet(2, 1), makeEntry(3, 1)]);
  effects(rig);
  step(rig, { kind: "settle" });
  settle(rig);
  assert.deepEqual(effects(rig), [
    "apply 2: 21",
    "syncImages",
    "record 2",
    "release 4.1 3.1",
    "forget 4",
    "settled at 2, LSN 21: all",
  ]);
  open(rig);
  give(rig, makeSet(3, 1));
  rest(rig);
  assert.deepEqual(effects(rig), ["fail: this copy is being promoted"]);
});

test("row 39: settling with an image that failed says so, and up to where the image is sure", () => {
  const rig = createFedRig();
  for (const set of [1, 2]) give(rig, makeSet(set, 1));
  settle(rig, /^(stage|flag|sync)/);
  answer(rig, "apply 1");
  step(rig, { kind: "settle" });
  rig.pending.length = 0;
  effects(rig);
  step(rig, { kind: "applied", set: 2, failure });
  const settled = "settled at 0, LSN 0: the image here cannot be written: EIO";
  assert.equal(effects(rig).at(-1), settled);
  step(rig, { kind: "settle" });
  assert.deepEqual(effects(rig), [settled], "and so whenever it is asked again");
  const idle = createRig();
  step(idle, { kind: "settle" });
  assert.deepEqual(effects(idle), ["started", "settled at 0, LSN 0: all"]);
});
