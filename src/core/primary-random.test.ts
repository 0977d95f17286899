import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ask,
  connect,
  createBench,
  failImage,
  lose,
  run,
  settle,
  submit,
  take,
} from "../../test/support/primary-bench.ts";
import type { Bench } from "../../test/support/primary-bench.ts";
import type { MemberPhase } from "./group-record.ts";
import { lossTable } from "./policy.ts";
import type { OnLoss } from "./policy.ts";

// Everything that a primary waits for, in any order, with members that come and go. The judge of the bench looks at
// every effect (I4, I16, I18, F1, F4, N1, orders); here the ends are judged: everybody answered, everybody equal.

/** One move: which of the things that may happen now, and details if it is a request. */
const move = fc.record({
  pick: fc.nat(1_000),
  region: fc.nat(31),
  regions: fc.integer({ min: 1, max: 6 }),
  isLong: fc.boolean(),
});
type Move = { pick: number; region: number; regions: number; isLong: boolean };

function moves(bench: Bench, { region, regions, isLong }: Move): (() => void)[] {
  const volume = isLong ? 0 : 1;
  const first = isLong ? Math.min(region, 32 - regions) : region % (8 - regions + 1);
  const where = { volume, region: first, regions };
  const possible = [
    () => ask(bench, "write", where),
    () => ask(bench, "write", where),
    () => ask(bench, "write", { ...where, fua: true }),
    () => ask(bench, "zero", where),
    () => ask(bench, "read", where),
    () => ask(bench, "flush", { volume }),
    () => submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 100 * regions, wallMs: 0 }),
  ];
  for (const request of bench.primary.writing) {
    possible.push(() => failImage(bench, request, "ENOSPC"));
    break;
  }
  // What is under way was admitted on the terms before: the judge would ask the stricter ones of it.
  const mayBeStrict = isLong && bench.primary.inFlight === 0;
  if (bench.primary.stage === "serving" && !bench.primary.suspended)
    possible.push(() => reload(bench, region, mayBeStrict));
  const waiting = [...bench.pending.keys()].map((name) => () => run(bench, name));
  possible.push(...waiting, ...waiting);
  for (const { index } of bench.primary.members)
    possible.push(() => submit(bench, { kind: "verify", member: index, isRepairing: isLong }));
  for (const member of bench.members) {
    if (member.epoch === undefined) {
      possible.push(() => connect(bench, member));
    } else {
      const step = (): boolean => take(bench, member);
      possible.push(step, step, step, step);
      possible.push(() => {
        take(bench, member, false);
        lose(bench, member, isLong);
      });
    }
  }
  return possible;
}

// One member is fed on other terms from now on: hosts wait for it in another way when it is lost.
function reload(bench: Bench, choice: number, isStrict: boolean): void {
  const { members } = bench.primary;
  const onLoss = isStrict ? (["stall", "fail"] as const)[choice % 2] : "continue";
  const policies = members.map(({ policy }, i) =>
    i === choice % members.length ? { ...policy, loss: lossTable[onLoss ?? "stall"] } : policy,
  );
  const { durability } = bench.primary;
  submit(bench, { kind: "reconfigure", policies, durability, journal: undefined, sets: undefined });
}

function play(bench: Bench, script: readonly Move[]): void {
  for (const next of script) {
    const possible = moves(bench, next);
    possible[next.pick % possible.length]?.();
  }
}

function heal(bench: Bench): void {
  for (let round = 0; round < 4; round += 1) {
    settle(bench, true);
    submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 60_000, wallMs: 0 });
  }
  settle(bench, true);
}

/** A mirror that is at its best holds what the image does, at every instant (PEERS C8). */
function nothingDiffers(bench: Bench): void {
  for (const { site, verify } of bench.primary.members) {
    assert.notEqual(verify?.isRunning, true, `${site}: the verify has not ended`);
    const found = verify?.differing.map((map) => map.count) ?? [];
    assert.ok(
      found.every((count) => count === 0),
      `${site}: ${found.join(", ")} regions differ\n${bench.log.slice(-40).join("\n")}`,
    );
  }
}

const starts = fc.record({
  isServing: fc.boolean(),
  phase: fc.constantFrom<MemberPhase>("synchronized", "synchronized", "blank"),
  openGranules: fc.constantFrom<readonly number[]>([], [0, 1, 7]),
});

const RUNS = 100;

const policies: readonly (readonly OnLoss[])[] = [
  ["continue"],
  ["continue", "continue"],
  ["stall"],
  ["stall", "continue"],
  ["fail", "continue", "continue"],
];

for (const onLoss of policies) {
  for (const durability of ["flush", "write"] as const) {
    const who = `${onLoss.join("+")} members at level ${durability}`;
    test(`I4, I16, I18, I31, F1, F4, F5, F14, N1: ${who}, whatever comes in whatever order (PEERS C8)`, () => {
      fc.assert(
        fc.property(starts, fc.array(move, { maxLength: 200, size: "max" }), (start, script) => {
          const bench = createBench({ onLoss, durability, ...start });
          submit(bench, { kind: "start" });
          if (start.isServing) settle(bench, true);
          play(bench, script);
          heal(bench);
          bench.judge.allAnswered(bench);
          bench.judge.converged(bench);
          nothingDiffers(bench);
        }),
        { numRuns: RUNS, interruptAfterTimeLimit: 20_000 },
      );
    });
  }
}
