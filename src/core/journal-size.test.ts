import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GiB, limits, MiB, TiB } from "#base/limits.ts";
import { journalSizeOf } from "./journal-size.ts";

const smallSizes = fc.integer({ min: limits.journalBytesMin, max: limits.journalBytesWhole - 1 });

test("I25: a small journal has all that follows from its size in proportion, with room for what is on its way", () => {
  fc.assert(
    fc.property(smallSizes, (bytesMax) => {
      const size = journalSizeOf(bytesMax);
      const { segmentBytes, writeBytesMax, batchBytesMax, marginBytes, ahead } = size;
      assert.equal(Math.floor(bytesMax / segmentBytes), 16);
      assert.equal(writeBytesMax % limits.fileBlockBytes, 0, "no block is cut");
      assert.ok(batchBytesMax <= writeBytesMax);
      // A line of a batch's table is less than it counts.
      const recordBytes = writeBytesMax + size.batchEntriesMax * limits.entryCostBytes;
      assert.ok(5 * recordBytes < 2 * segmentBytes, "little of a segment is left over");
      assert.ok(size.batchEntriesMax >= 256, "many small writes are one record");
      const letIn = bytesMax - marginBytes + writeBytesMax;
      const taken = letIn / (1 - recordBytes / segmentBytes) + segmentBytes;
      assert.ok(letIn > bytesMax / 2 && taken < 16 * segmentBytes + marginBytes, "there is room");
      assert.ok(recordBytes < ahead.marginBytes && ahead.marginBytes < ahead.bytes);
      assert.ok(ahead.bytes < segmentBytes && ahead.stepBytes > 0);
      assert.ok(2 * size.setBytesMax < letIn && 2 * size.bracketBytesMax < letIn);
      assert.ok(2 * size.unsyncedBytesMax < letIn && 2 * size.deviceFlushBytes < letIn);
      // What the log counts as its size, whole segments, is sized as the configured one.
      const whole = journalSizeOf(16 * segmentBytes);
      assert.deepEqual([whole.segmentBytes, whole.writeBytesMax], [segmentBytes, writeBytesMax]);
      assert.equal(whole.marginBytes, marginBytes);
    }),
  );
});

test("the least journal takes writes of 128 KiB whole; it is the least since shorter ones would be cut in many", () => {
  const size = journalSizeOf(limits.journalBytesMin);
  assert.equal(size.segmentBytes, 1 * MiB);
  assert.equal(size.writeBytesMax, limits.hostPollRequestBytesMax);
});

test("from 256 MiB on a journal takes the longest write whole, and is as it has ever been", () => {
  for (const [bytesMax, segmentBytes] of [
    [256 * MiB, 64 * MiB],
    [1 * GiB, 64 * MiB],
    [64 * GiB, 64 * MiB],
    [16 * TiB, 16 * GiB],
  ] as const)
    assert.deepEqual(journalSizeOf(bytesMax), {
      segmentBytes: Math.min(segmentBytes, 16 * GiB),
      writeBytesMax: 32 * MiB,
      batchBytesMax: 1 * MiB,
      batchEntriesMax: 4096,
      entryBytes: 0,
      marginBytes: 96 * MiB,
      setBytesMax: Number.POSITIVE_INFINITY,
      bracketBytesMax: 256 * MiB,
      unsyncedBytesMax: 64 * MiB,
      deviceFlushBytes: 64 * MiB,
      ahead: { bytes: 40 * MiB, stepBytes: 8 * MiB, marginBytes: 34 * MiB },
    });
});
