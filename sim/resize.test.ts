import assert from "node:assert/strict";
import { before, test } from "node:test";
import { loadEngine } from "./engine.ts";
import type { Engine } from "./engine.ts";

let engine: Engine;

before(async () => {
  engine = await loadEngine(undefined);
});

for (const mode of ["sync", "async"] as const) {
  test(`F4, I16: a volume grows, and a site dies at any step of it: a copy that is ${mode}`, () => {
    const { ran, ends, failures } = engine.growths(mode);
    assert.deepEqual(failures, []);
    assert.ok(ran > 50, `${ran} runs`);
    // It was cut short, it was given up, and it was over: all of them were judged.
    assert.deepEqual([...ends.keys()].toSorted(), ["cut short", "done", "refused"]);
  });
}
