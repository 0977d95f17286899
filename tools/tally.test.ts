import assert from "node:assert/strict";
import { test } from "node:test";
import { addTallies, emptyTally, formatTally, namesFailure, parseTally } from "./tally.ts";

test("what is formatted is read back, whatever was printed before it", () => {
  const tally = { passed: 12, failed: 3, skipped: 1 };
  assert.deepEqual(parseTally(`chatter: 1 passed\n${formatTally(tally)}\n`), tally);
  assert.deepEqual(parseTally("2 passed, 0 failed"), { passed: 2, failed: 0, skipped: 0 });
});

test("a last line that is not a tally is no tally", () => {
  assert.equal(parseTally(""), null);
  assert.equal(parseTally("2 passed, 0 failed\nbye\n"), null);
  assert.equal(parseTally("seed 2 passed, 0 failed"), null);
});

test("tallies add up part by part", () => {
  const one = { passed: 1, failed: 2, skipped: 3, failures: ["a"] };
  const two = { passed: 1, failed: 2, skipped: 3, failures: ["b"] };
  assert.deepEqual(addTallies(emptyTally, one), one);
  const sum = { passed: 2, failed: 4, skipped: 6, failures: ["a", "b"] };
  assert.deepEqual(addTallies(one, two), sum);
});

test("a line that begins with the word names a failure, one that only counts them does not", () => {
  assert.ok(namesFailure("FAILED seed 7: I4: a block is lost"));
  assert.ok(namesFailure("FAILED: lint"));
  assert.ok(namesFailure("MISSED ack-before-sync: no seed shows it"));
  assert.ok(!namesFailure("8000 seeds, 0 FAILED"));
  assert.ok(!namesFailure("FAILEDNESS"));
});
