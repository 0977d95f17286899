import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { before, test } from "node:test";
import { loadEngine } from "./engine.ts";
import type { Engine } from "./engine.ts";

const loaded = new Set<string>();
let engine: Engine;

before(async () => {
  const root = new URL("../", import.meta.url).href;
  registerHooks({
    load(url, context, nextLoad) {
      if (url.startsWith(root)) loaded.add(url.slice(root.length));
      return nextLoad(url, context);
    },
  });
  engine = await loadEngine(undefined);
});

test("the simulator runs the production engine: its own site, core, store and wire, and no io", () => {
  const { events } = engine.seed(1, { told: false, counters: new Map() });
  assert.ok(events > 100);
  const production = [
    "src/site/site.ts",
    "src/site/group.ts",
    "src/site/primary-run.ts",
    "src/site/copy-run.ts",
    "src/core/primary.ts",
    "src/core/copy.ts",
    "src/core/order.ts",
    "src/store/group-store.ts",
    "src/store/record-file.ts",
    "src/store/map-file.ts",
    "src/wire/peer/decode.ts",
    "src/wire/peer/encode.ts",
  ];
  assert.deepEqual(
    production.filter((file) => !loaded.has(file)),
    [],
  );
  assert.deepEqual(
    [...loaded].filter((file) => /^src\/(?:io|cli|control)\//.test(file)),
    [],
  );
});

test("the same seed takes the same path: 20 seeds, twice", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const [first, second] = [1, 2].map(() =>
      engine.seed(seed, { told: false, counters: new Map() }),
    );
    assert.equal(first?.hash, second?.hash, `seed ${seed}`);
    assert.equal(first?.events, second?.events, `seed ${seed}`);
  }
});
