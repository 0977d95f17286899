import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { mutants } from "./list.ts";
import { patched } from "./load.ts";

const root = new URL("../../", import.meta.url);

for (const mutant of mutants) {
  test(`the bug ${mutant.name} can be planted, in one place`, () => {
    const text = readFileSync(new URL(mutant.file, root), "utf8");
    assert.notEqual(patched(mutant, text), text);
  });
}

test("a bug that fits nowhere, or in two places, is refused", () => {
  const mutant = {
    ...mutants[0],
    name: "x",
    file: "y",
    find: "a",
    replace: "b",
    ids: [],
    note: "",
  };
  assert.throws(() => patched(mutant, "xyz"), /occurs 0 times/);
  assert.throws(() => patched(mutant, "aa"), /occurs 2 times/);
});

test("every invariant that the simulator checks is tripped by a planted bug", () => {
  const wanted = [
    1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 28, 29, 30, 31, 32,
    33, 34, 35, 36,
  ]
    .map((number) => `I${number}`)
    .concat([1, 2, 3, 4, 5, 6, 7, 8].map((number) => `N${number}`));
  const tripped = new Set(mutants.flatMap(({ ids }) => ids));
  assert.deepEqual(
    wanted.filter((id) => !tripped.has(id)),
    [],
  );
});
