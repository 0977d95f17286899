import assert from "node:assert/strict";
import { test } from "node:test";
import { samplePrimary } from "../../test/support/sample-primary.ts";
import { lagWritesOf, ownLagWrites } from "./lag.ts";
import type { LagWrites } from "./lag.ts";

test("I33, trap 5: writes of this start are counted, and numbers that were reserved and never used are no writes", () => {
  const { primary } = samplePrimary();
  const lag = (heldLsn: number, bytes: number, ofThisStart: number): LagWrites => {
    const own = { ...primary, firstLsn: 1_048_577, nextLsn: 1_048_577 + ofThisStart };
    return lagWritesOf(own, heldLsn, () => bytes);
  };
  assert.deepEqual(lag(1_048_576, 1 << 30, 5), { lagWrites: 5 });
  assert.deepEqual(lag(1_048_580, 1 << 30, 5), { lagWrites: 1 });
  assert.deepEqual(lag(1_048_581, 1 << 30, 5), { lagWrites: 0 });
  // It has all that is known of: the rest of the reserve is nothing that it lacks.
  assert.deepEqual(lag(2, 0, 0), { lagWrites: 0, isLagCounted: false });
  assert.deepEqual(lag(2, 65_536, 3), { lagWrites: 131, isLagCounted: false });
  assert.deepEqual(lag(2, 1, 0), { lagWrites: 1, isLagCounted: false });
  // LSNs bound it, too.
  assert.deepEqual(lag(1_048_570, 1 << 30, 0), { lagWrites: 6, isLagCounted: false });
});

test("I33, trap 5: a bunker whose primary does not count it among its members has not counted what it lacks", () => {
  assert.deepEqual(ownLagWrites(undefined, 7), { lagWrites: 0 });
  assert.deepEqual(ownLagWrites({ lsn: 7, lackedWrites: 0 }, 7), { lagWrites: 0 });
  assert.deepEqual(ownLagWrites({ lsn: 9, lackedWrites: 5 }, 7), { lagWrites: 2 });
  assert.deepEqual(ownLagWrites({ lsn: 1_048_580, lackedWrites: 5 }, 7), { lagWrites: 5 });
  assert.deepEqual(ownLagWrites({ lsn: 1_048_576 }, 2), {
    lagWrites: 1_048_574,
    isLagCounted: false,
  });
});
