import assert from "node:assert/strict";
import { test } from "node:test";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import type { Entry } from "./entry.ts";
import { gapBefore, isBehind, isSamePosition, noPosition, positionOf } from "./log-position.ts";

// An entry's place in the order of a log, and what may follow it.

function entry(set: number, index: number, lsn: number, incarnation = 1): Entry {
  return sampleEntry({ incarnation, set, index, lsn });
}

const last = positionOf(entry(5, 3, 40, 2));

test("I26: a set's indexes leave none out, and another set begins with its first", () => {
  assert.equal(gapBefore(last, entry(5, 4, 41, 2)), undefined);
  assert.equal(gapBefore(last, entry(6, 1, 41, 2)), undefined);
  // Numbers of sets may be left out: a start of a primary does that.
  assert.equal(gapBefore(last, entry(900, 1, 4000, 3)), undefined);
  for (const wrong of [
    entry(5, 3, 41, 2),
    entry(5, 5, 41, 2),
    entry(6, 2, 41, 2),
    entry(4, 1, 41, 2),
    entry(4, 4, 41, 2),
  ])
    assert.match(gapBefore(last, wrong) ?? "", /does not follow 5\/3 \(LSN 40, incarnation 2\)/);
});

test("I26, I28: LSNs and incarnations never go back; a SEAL has the LSN of what stands before it", () => {
  assert.equal(gapBefore(last, { ...entry(5, 4, 40, 2), kind: "seal" }), undefined);
  assert.notEqual(gapBefore(last, entry(5, 4, 39, 2)), undefined);
  assert.notEqual(gapBefore(last, entry(6, 1, 41, 1)), undefined);
});

test("B1: positions are the same when all four numbers are, and one is behind another by set and index", () => {
  assert.ok(isSamePosition(last, { ...last }));
  for (const field of ["incarnation", "lsn", "set", "index"] as const)
    assert.ok(!isSamePosition(last, { ...last, [field]: last[field] + 1 }), field);
  assert.ok(isBehind(last, { ...last, index: 4 }));
  assert.ok(isBehind(last, { ...last, set: 6, index: 1 }));
  assert.ok(!isBehind(last, last));
  assert.ok(!isBehind(last, { ...last, set: 4, index: 9 }));
  assert.ok(isBehind(noPosition, positionOf(entry(1, 1, 1))));
});
