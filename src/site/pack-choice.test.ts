import assert from "node:assert/strict";
import { test } from "node:test";
import { limits, MiB } from "#base/limits.ts";
import { choosePacking, createPackChoice, notePacked, type PackChoice } from "./pack-choice.ts";

const batch = MiB / 4;
const slow = 8 * MiB;
const fast = 1_024 * MiB;

type Link = {
  readonly bytesPerSecond: number;
  /** What packing leaves of a batch. */
  readonly ratio: number;
  readonly isBehind?: boolean;
};

/** Batches to a copy over a link of this rate, which delivers what it can; how many were packed. */
function carry(choice: PackChoice, batches: number, link: Link): number {
  let bytesPerMs: number | undefined;
  let packed = 0;
  for (let i = 0; i < batches; i += 1) {
    const isPacked = choosePacking(choice, batch, { isBehind: link.isBehind ?? true, bytesPerMs });
    if (isPacked) notePacked(choice, batch, batch * link.ratio);
    if (isPacked) packed += 1;
    bytesPerMs = link.bytesPerSecond / 1_000 / (isPacked ? link.ratio : 1);
  }
  return packed;
}

test("off packs nothing, on whatever is not tiny", () => {
  for (const bytesPerSecond of [slow, fast]) {
    assert.equal(carry(createPackChoice(undefined), 100, { bytesPerSecond, ratio: 0.3 }), 0);
    assert.equal(carry(createPackChoice("on"), 100, { bytesPerSecond, ratio: 0.3 }), 100);
  }
  const way = { isBehind: true, bytesPerMs: undefined };
  assert.equal(choosePacking(createPackChoice("on"), limits.packBytesMin - 1, way), false);
});

test("auto packs from the first batch on for a copy that is behind a slow link", () => {
  assert.equal(carry(createPackChoice("auto"), 1_000, { bytesPerSecond: slow, ratio: 0.3 }), 1_000);
});

test("auto leaves a fast link alone once it has seen what that delivers", () => {
  const choice = createPackChoice("auto");
  assert.equal(carry(choice, 100, { bytesPerSecond: fast, ratio: 0.3 }), 1);
  const held = { isBehind: true, bytesPerMs: (2 * limits.packLinkBytesPerSecondMax) / 1_000 };
  assert.equal(choosePacking(choice, batch, held), false);
});

test("auto leaves a copy alone that keeps up, over whatever link", () => {
  const keepsUp = { bytesPerSecond: slow, ratio: 0.3, isBehind: false };
  assert.equal(carry(createPackChoice("auto"), 100, keepsUp), 0);
});

test("auto goes on packing though packed the link delivers more than one that needs none", () => {
  const link = { bytesPerSecond: limits.packLinkBytesPerSecondMax / 2, ratio: 0.1 };
  assert.equal(carry(createPackChoice("auto"), 1_000, link), 1_000);
});

test("auto gives up on what does not shrink, and tries again now and then", () => {
  const choice = createPackChoice("auto");
  const retries = limits.packRetryBytes / batch;
  const tried = carry(choice, 4 * retries, { bytesPerSecond: slow, ratio: 1 });
  assert.ok(tried >= 3 && tried <= 8, `${tried} of ${4 * retries} were tried`);
  const packed = carry(choice, 2 * retries, { bytesPerSecond: slow, ratio: 0.3 });
  assert.ok(packed > retries / 2, `${packed} of ${2 * retries} once it shrinks`);
});
