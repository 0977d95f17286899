import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { createOverlay, forgetThrough, look, put } from "./overlay.ts";

const granule = limits.openGranuleBytes;
/** Around the border of two granules, where pieces are cut. */
const base = granule - 40;

const op = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constant("put" as const), fc.nat(60), fc.nat(30)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("forget" as const), fc.nat(4), fc.constant(0)) },
);

test("I32: of each byte the overlay knows its newest write, and where it lies, like a list of bytes does", () => {
  fc.assert(
    fc.property(fc.array(op, { maxLength: 40 }), fc.nat(60), fc.nat(60), (ops, from, length) => {
      const overlay = createOverlay();
      // Of each byte: the LSN of its newest write and which byte of that write it is.
      const twin = new Map<number, { readonly lsn: number; readonly at: number | undefined }>();
      let lsn = 0;
      for (const [kind, a, b] of ops) {
        if (kind === "put") {
          lsn += 1;
          const at = lsn % 3 === 0 ? undefined : lsn * 1000;
          const place = { number: lsn, segment: 1, byte: 0 };
          put(overlay, { offset: base + a, end: base + a + b + 1, lsn, place, at });
          for (let i = 0; i <= b; i += 1)
            twin.set(base + a + i, { lsn, at: at === undefined ? undefined : at + i });
        } else {
          forgetThrough(overlay, lsn - a);
          for (const [byte, known] of twin) if (known.lsn <= lsn - a) twin.delete(byte);
        }
      }
      const seen: unknown[] = [];
      for (const part of look(overlay, { offset: base + from, length }, 0)) {
        for (let i = 0; i < part.length; i += 1) {
          const { piece } = part;
          assert.ok(piece === undefined || piece.place.number === piece.lsn);
          const at = piece?.at === undefined ? undefined : piece.at + i;
          seen.push(piece === undefined ? undefined : { lsn: piece.lsn, at });
        }
      }
      const expected = Array.from({ length }, (_, i) => twin.get(base + from + i));
      assert.deepEqual(seen, expected);
      const kept = [...overlay.granules.values()].reduce(
        (sum, { pieces }) => sum + pieces.length,
        0,
      );
      assert.equal(overlay.pieces, kept);
    }),
    { numRuns: 500 },
  );
});

test("what the device has answered is its own: only what is newer is found", () => {
  const overlay = createOverlay();
  const place = { number: 1, segment: 1, byte: 0 };
  put(overlay, { offset: 0, end: 8, lsn: 1, place, at: 0 });
  put(overlay, { offset: 4, end: 6, lsn: 2, place, at: 8 });
  const found = look(overlay, { offset: 0, length: 8 }, 1).map(({ offset, piece }) => [
    offset,
    piece?.lsn,
  ]);
  assert.deepEqual(found, [
    [0, undefined],
    [4, 2],
    [6, undefined],
  ]);
});
