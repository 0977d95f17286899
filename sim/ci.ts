import { runBatch } from "./batch.ts";
import { logClaims } from "./claims-log.ts";
import { addCounters } from "./counters.ts";
import type { Counters } from "./counters.ts";
import { runExhaustive } from "./exhaustive.ts";
import { runMutants } from "./mutation.ts";
import { runPool } from "./pool.ts";
import storedSeeds from "./seeds.json" with { type: "json" };

const fixedSeeds = 4000;
const freshSeeds = 4000;

/**
 * What a submission must pass: 4,000 seeds that are always the same and 4,000 fresh ones, the seeds that once found something,
 * every short script with every crash, every planted bug caught. The last line on stdout is the tally.
 */
export async function runCi(jobs: number): Promise<number> {
  const counters: Counters = new Map();
  let passed = 0;
  let failed = 0;
  const freshFrom = Math.floor(Date.now() / 1000) * 1000;
  for (const from of [1, freshFrom]) {
    const to = from + (from === 1 ? fixedSeeds : freshSeeds) - 1;
    console.log(`seeds ${from}..${to}${from === 1 ? "" : " (fresh)"}`);
    const { ran, failures, counters: seen } = await runBatch({ kind: "range", from, to }, jobs);
    addCounters(counters, seen);
    passed += ran - failures.length;
    failed += failures.length;
  }
  const regressions = await runRegressions(jobs);
  const scripts = await runExhaustive(jobs);
  const { caught, missed } = await runMutants([], jobs);
  passed += regressions.passed + scripts.ran - scripts.failures + caught;
  failed += regressions.failed + scripts.failures + missed;
  logClaims(counters);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

async function runRegressions(jobs: number): Promise<{ passed: number; failed: number }> {
  const seeds: number[] = storedSeeds.regressions.map(({ seed }: { seed: number }) => seed);
  let failed = 0;
  let at = 0;
  await runPool(
    { jobs, mutant: undefined },
    () => seeds[at++],
    ({ seed, findings }) => {
      if (findings.length > 0) {
        failed += 1;
        console.log(
          `FAILED seed ${seed}, which had found a bug before: ${findings[0]?.id}: ${findings[0]?.message}`,
        );
      }
      return true;
    },
  );
  console.log(`${seeds.length} seeds that once found something: ${failed} failed`);
  return { passed: seeds.length - failed, failed };
}
