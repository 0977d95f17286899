import assert from "node:assert/strict";
import { test } from "node:test";
import { KiB, limits, MiB } from "#base/limits.ts";
import { choosePacking, createLaneMeter, createPackChoice, noteLane } from "./pack-choice.ts";
import { notePacked, type PackChoice } from "./pack-choice.ts";

const batch = MiB / 4;

/** One connection that is given a batch whenever it has sent all, over a link of this rate; how many batches were packed. */
function carry(
  choice: PackChoice,
  batches: number,
  link: { readonly bytesPerSecond: number; readonly ratio: number },
): number {
  const meter = createLaneMeter();
  let nowMs = 0;
  let sent = 0;
  let packed = 0;
  for (let i = 0; i < batches; i += 1) {
    const isPacked = choosePacking(choice, batch, 1);
    if (isPacked) notePacked(choice, batch, batch * link.ratio);
    if (isPacked) packed += 1;
    const bytes = isPacked ? batch * link.ratio : batch;
    sent += bytes;
    noteLane(choice, meter, nowMs, { sent, queued: bytes });
    nowMs += (bytes / link.bytesPerSecond) * 1_000;
    noteLane(choice, meter, nowMs, { sent, queued: 0 });
  }
  return packed;
}

const slow = 8 * MiB;
const fast = 1_024 * MiB;

test("off packs nothing, on whatever is not tiny", () => {
  for (const link of [slow, fast]) {
    const what = { bytesPerSecond: link, ratio: 0.3 };
    assert.equal(carry(createPackChoice(undefined), 100, what), 0);
    assert.equal(carry(createPackChoice("on"), 100, what), 100);
  }
  assert.equal(choosePacking(createPackChoice("on"), limits.packBytesMin - 1, 1), false);
});

test("auto packs for a slow link what shrinks, and leaves a fast one alone", () => {
  const shrinks = { bytesPerSecond: slow, ratio: 0.3 };
  assert.ok(carry(createPackChoice("auto"), 1_000, shrinks) > 900);
  assert.equal(carry(createPackChoice("auto"), 1_000, { ...shrinks, bytesPerSecond: fast }), 0);
});

test("auto gives up on what does not shrink, and tries again now and then", () => {
  const choice = createPackChoice("auto");
  const retries = limits.packRetryBytes / batch;
  const tried = carry(choice, 4 * retries, { bytesPerSecond: slow, ratio: 1 });
  assert.ok(tried >= 3 && tried <= 8, `${tried} of ${4 * retries} were tried`);
  const packed = carry(choice, 2 * retries, { bytesPerSecond: slow, ratio: 0.3 });
  assert.ok(packed > retries / 2, `${packed} of ${2 * retries} once it shrinks`);
});

test("auto finds out that a link has become fast, though packed it has little to send", () => {
  const choice = createPackChoice("auto");
  carry(choice, 100, { bytesPerSecond: slow, ratio: 0.01 });
  const retries = limits.packRetryBytes / batch;
  carry(choice, retries, { bytesPerSecond: fast, ratio: 0.01 });
  assert.equal(carry(choice, retries, { bytesPerSecond: fast, ratio: 0.01 }), 0);
});

test("auto sees a slow link soon behind what the sockets' memory has swallowed at once", () => {
  const choice = createPackChoice("auto");
  assert.equal(carry(choice, 40, { bytesPerSecond: fast, ratio: 0.3 }), 0);
  assert.ok(carry(choice, 10, { bytesPerSecond: slow, ratio: 0.3 }) >= 8);
});

test("little bursts, which a socket's memory swallows, say nothing of a link", () => {
  const choice = createPackChoice("auto");
  const meter = createLaneMeter();
  for (let i = 1; i < 1_000; i += 1) {
    noteLane(choice, meter, i * 10, { sent: i * 4 * KiB, queued: 4 * KiB });
    noteLane(choice, meter, i * 10 + 1, { sent: i * 4 * KiB, queued: 0 });
  }
  assert.equal(choosePacking(choice, batch, 1), false);
});
