import assert from "node:assert/strict";
import { before, test } from "node:test";
import { loadEngine } from "./engine.ts";
import type { Engine } from "./engine.ts";
import { createPrng } from "./prng.ts";
import { drawSwarm } from "./swarm.ts";
import type { FaultKind, Swarm } from "./swarm.ts";

// Worlds with copies that take sets, and with errors of the disk alone: what the copies' staging makes of them.

const seedsMax = 80;
let engine: Engine;

before(async () => {
  engine = await loadEngine(undefined);
});

// That a copy says that it is well again means that the same process has gone on: a new one knows of no trouble.

/** A seed's world with these faults and no operator; undefined where no copy is of this mode. */
function drawn(seed: number, faults: readonly FaultKind[], wanted: Mode): Swarm | undefined {
  const swarm = drawSwarm(createPrng(seed).fork("swarm"));
  const isOf = [...swarm.config.groups.values()].some(({ copies }) =>
    [...copies.values()].some(({ mode }) => mode === wanted),
  );
  return isOf ? { ...swarm, faults, operator: [], clones: 0 } : undefined;
}

type Mode = "async" | "bunker";

function runAll(
  faults: readonly FaultKind[],
  mode: Mode = "async",
  seeds = seedsMax,
): ReadonlyMap<string, number> {
  const counters = new Map<string, number>();
  const failed: string[] = [];
  for (let seed = 1; seed <= seeds; seed += 1) {
    const swarm = drawn(seed, faults, mode);
    if (swarm === undefined) continue;
    const { findings } = engine.seed(seed, { counters, told: false, swarm });
    for (const { id, message } of findings) failed.push(`seed ${seed}: ${id} ${message}`);
  }
  assert.deepEqual(failed, []);
  return counters;
}

test("row 41, I31: copies whose staging had no room begin anew by themselves once there is some", () => {
  const counters = runAll(["noSpace"]);
  const failed = counters.get("events:staging failed") ?? 0;
  const well = counters.get("events:staging ok") ?? 0;
  assert.ok(failed >= 5 && well >= 5, `${failed} had no room, ${well} went on`);
});

test("row 38, I16, I20: copies whose staging could not be synced go on with another log, and lack nothing that they called complete", () => {
  // A sync has to fail between two that the copy rests on.
  const counters = runAll(["syncError", "syncError", "noSpace"], "async", 300);
  const replaced = counters.get("situations:staging log replaced") ?? 0;
  assert.ok(replaced >= 1, "none was replaced");
});

test("row 41, B15: bunkers whose log had no room go on by themselves once there is some", () => {
  const counters = runAll(["noSpace"], "bunker", 240);
  const failed = counters.get("events:log failed") ?? 0;
  const well = counters.get("events:log ok") ?? 0;
  assert.ok(failed >= 2 && well >= failed, `${failed} had no room, ${well} went on`);
});

test("row 40, I25: primaries under whose journal the disk is full do not fail for it, and go on by themselves once there is room", () => {
  const counters = runAll(["noSpace"], "async", 120);
  const full = counters.get("events:journal-disk full") ?? 0;
  const well = counters.get("events:journal-disk ok") ?? 0;
  assert.ok(full >= 5 && well >= 5, `${full} were full, ${well} went on`);
});
