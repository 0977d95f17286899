import assert from "node:assert/strict";
import { test } from "node:test";
import type { IoFailure } from "#base/errors.ts";
import { limits, MiB, TiB } from "#base/limits.ts";
import type { BlockDevice, Extent } from "#ports/block-device.ts";
import { zeroStored } from "./zero-stored.ts";

/** An image of which only `stored` is no hole; what is asked of it is noted, as what is marked is. */
function zeroingOf(bytes: number, stored: readonly { offset: number; length: number }[]) {
  const no = (): never => assert.fail("nobody asks for that");
  const notes: string[] = [];
  const image: BlockDevice = {
    bytes,
    extents(offset, length, done) {
      const end = offset + length;
      const extents: Extent[] = [];
      let at = offset;
      for (const piece of stored) {
        const [from, to] = [Math.max(piece.offset, at), Math.min(piece.offset + piece.length, end)];
        if (to <= from) continue;
        if (from > at) extents.push({ offset: at, length: from - at, hole: true });
        extents.push({ offset: from, length: to - from, hole: false });
        at = to;
      }
      if (at < end) extents.push({ offset: at, length: end - at, hole: true });
      done(extents);
    },
    // oxlint-disable-next-line max-params -- The port says so.
    zero(offset, length, mayPunch, context, done) {
      notes.push(`zero ${offset / MiB}+${length / MiB}${mayPunch ? "" : ", stored"}`);
      done(context, undefined);
    },
    sync(done) {
      notes.push("sync");
      done(undefined);
    },
    read: no,
    write: no,
    failure: no,
    unsyncedBytes: no,
    isPressed: no,
    whyNotGrow: no,
    grow: no,
    close: no,
  };
  const mark = (offset: number, length: number, done: (failure?: IoFailure) => void): void => {
    notes.push(`mark ${offset / MiB}+${length / MiB}`);
    done();
  };
  return { zeroing: { image, mark }, notes };
}

test("I16: beyond a primary's volume a copy marks, zeroes and syncs what is stored, and takes holes for zeros", () => {
  const pieceMiB = limits.growZeroBytesMax / MiB;
  // Half of the first piece is within the primary's volume.
  const stored = [
    { offset: 99 * MiB, length: 2 * MiB },
    { offset: 5 * TiB, length: (pieceMiB + 1) * MiB },
  ];
  const { zeroing, notes } = zeroingOf(16 * TiB, stored);
  let failure: IoFailure | undefined | "none" = "none";
  zeroStored(zeroing, 100 * MiB, (why) => (failure = why));
  assert.equal(failure, undefined);
  const [far, next] = [(5 * TiB) / MiB, (5 * TiB) / MiB + pieceMiB];
  const zeroed = (at: number, length: number) => [`mark ${at}+${length}`, `zero ${at}+${length}`];
  const pieces = [zeroed(100, 1), zeroed(far, pieceMiB), zeroed(next, 1)];
  assert.deepEqual(notes, [...pieces.flatMap((piece) => [...piece, "sync"]), "sync"]);
});

test("a copy that cannot mark what it would zero leaves it as it is, and says why", () => {
  const { zeroing, notes } = zeroingOf(2 * MiB, [{ offset: 0, length: 2 * MiB }]);
  const why = { code: "EIO", message: "the map is gone" } as const;
  let failure: IoFailure | undefined;
  zeroStored({ ...zeroing, mark: (_, _length, done) => done(why) }, MiB, (failed) => {
    failure = failed;
  });
  assert.equal(failure, why);
  assert.deepEqual(notes, []);
});
