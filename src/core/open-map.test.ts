import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { ask, createServingBench, settle, submit } from "../../test/support/primary-bench.ts";
import type { Bench } from "../../test/support/primary-bench.ts";
import { benchRegionBytes } from "../../test/support/bench-content.ts";
import { closableLsn, stableLsn } from "./flush.ts";

// What is written often stays open, here and at the copies (docs/decisions/0018).

const regionsPerGranule = limits.openGranuleBytes / benchRegionBytes;

function write(bench: Bench, granule: number): void {
  ask(bench, "write", { region: granule * regionsPerGranule });
  submit(bench, { kind: "turnEnd" });
  settle(bench);
}

/** Time goes by in ticks, while `busy` is written to each time. */
function pass(bench: Bench, durationMs: number, busy?: number): void {
  const { primary } = bench;
  for (const endMs = primary.nowMs + durationMs; primary.nowMs < endMs;) {
    if (busy !== undefined) write(bench, busy);
    const nowMs = primary.nowMs + limits.openIdleMs / 2;
    submit(bench, { kind: "tick", nowMs, wallMs: nowMs });
    settle(bench);
  }
}

function openOf({ primary }: Bench): number[] {
  return [...(primary.volumes[0]?.open.keys() ?? [])].toSorted((a, b) => a - b);
}

test("decision 3: while a volume is written to, a granule closes only when it has been cold for long", () => {
  const bench = createServingBench();
  write(bench, 0);
  write(bench, 1);
  const { primary } = bench;
  const written = primary.nextLsn - 1;
  pass(bench, limits.openHotMs / 2, 1);
  assert.deepEqual(openOf(bench), [0, 1]);
  assert.ok(stableLsn(primary) > written, "rounds have shown that all of it is synced");
  assert.ok(closableLsn(primary) < written, "copies keep open what is open here");
  pass(bench, limits.openHotMs, 1);
  assert.deepEqual(openOf(bench), [1]);
  assert.ok(closableLsn(primary) >= written);
});

test("decision 3: a volume that nobody writes to closes everything, and so do its copies", () => {
  const bench = createServingBench();
  write(bench, 0);
  write(bench, 1);
  // A host's own flush shows that all is synced, and closes nothing that is hot.
  ask(bench, "flush");
  settle(bench);
  assert.deepEqual(openOf(bench), [0, 1]);
  pass(bench, 3 * limits.openIdleMs);
  assert.deepEqual(openOf(bench), []);
  assert.equal(closableLsn(bench.primary), bench.primary.nextLsn - 1);
});
