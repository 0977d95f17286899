import assert from "node:assert/strict";
import { test } from "node:test";
import { allIds, citedIds, expandIds } from "./claim-ids.ts";

test("there are 179 claims", () => {
  assert.equal(new Set(allIds).size, 15 + 18 + 24 + 20 + 36 + 8 + 58);
});

test("a name cites ids before a colon, in brackets, and rows anywhere", () => {
  const names: readonly (readonly [string, readonly string[]])[] = [
    ["F4: a failed write leaves its regions dirty", ["F4"]],
    ["I1, I16: nothing acked is forgotten", ["I1", "I16"]],
    ["a restart finds the open granules [F7, I18]", ["F7", "I18"]],
    ["row 8: only dirty regions are copied", ["row 8"]],
    ["a cut in mid-frame (rows 22, 31 and 32)", ["row 22", "row 31", "row 32"]],
    ["row 38, F15: a failed sync is final", ["row 38", "F15"]],
    ["a test of F4 that does not say so", []],
    ["3: two and [1, 2] are no ids", []],
    ["the S3 client: connects", []],
  ];
  for (const [name, ids] of names) assert.deepEqual(citedIds(name), ids, name);
});

test("ranges are written out, and a slip in one is refused", () => {
  assert.deepEqual(expandIds(["F14-F15", "I8", "row 2-row 3"]), [
    "F14",
    "F15",
    "I8",
    "row 2",
    "row 3",
  ]);
  for (const slip of ["F14-F16", "F3-I4", "I9-I8", "X1", ""]) {
    assert.throws(() => expandIds([slip]), slip);
  }
});
