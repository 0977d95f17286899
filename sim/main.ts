// `npm run sim`: the simulator of Antipode.
//
//   npm run sim -- --seed N                  one seed, with its story
//   npm run sim -- --seeds FROM..TO          a range of seeds
//   npm run sim -- --soak 10m                fresh seeds for a while
//   npm run sim -- --seeds FROM..TO --mode cycle   those alone in whose world a copy has that mode
//   npm run sim -- --exhaustive              every short script, every crash point, every kind of crash
//   npm run sim -- --mutants                 every planted bug must be caught
//   npm run sim -- --mutant NAME             one of them
//   npm run sim -- --ci                      what `npm test` runs of all this
//
// `--jobs N` threads (default 2), `--verbose` prints more of a single seed.

import { inspect, parseArgs } from "node:util";
import type { CopyMode } from "#config/types.ts";
import { replay, runBatch } from "./batch.ts";
import type { Seeds } from "./batch.ts";
import { runCi } from "./ci.ts";
import { logClaims } from "./claims-log.ts";
import { runExhaustive } from "./exhaustive.ts";
import { runMutants } from "./mutation.ts";

const copyModes: readonly string[] = ["sync", "async", "cycle", "bunker"] satisfies CopyMode[];

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  // On stdout and before the tally, where a run's failures are looked for.
  console.log(inspect(error));
  console.log(`FAILED: the simulator itself broke: ${causesOf(error).join(": ")}`);
  return finish(0, 1);
});

async function main(argv: string[]): Promise<number> {
  const options = readOptions(argv);
  if (typeof options === "string") {
    console.error(`error: ${options}`);
    console.error(
      "hint: npm run sim -- --seed N | --seeds FROM..TO | --soak 10m | --exhaustive | --mutants | --ci",
    );
    return 2;
  }
  const { values, jobs } = options;
  if (values.ci === true) return await runCi(jobs);
  if (values.mutants === true || values.mutant !== undefined) {
    const { caught, missed } = await runMutants(values.mutant ?? [], jobs);
    return finish(caught, missed);
  }
  if (values.exhaustive === true) {
    const { ran, failures } = await runExhaustive(jobs);
    return finish(ran - failures, failures);
  }
  if (values.seed !== undefined) {
    const passed = await replay(Number(values.seed), values.verbose === true);
    return finish(passed ? 1 : 0, passed ? 0 : 1);
  }
  const { ran, failures, counters } = await runBatch(options.seeds, jobs);
  logClaims(counters);
  return finish(ran - failures.length, failures.length);
}

/** What an error says, and what the one that caused it says, and so on. */
function causesOf(error: unknown): string[] {
  return error instanceof Error ? [error.message, ...causesOf(error.cause)] : [];
}

function finish(passed: number, failed: number): number {
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** The options, or what is wrong with them. */
function readOptions(argv: string[]) {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        seed: { type: "string" },
        seeds: { type: "string" },
        soak: { type: "string" },
        mode: { type: "string" },
        mutant: { type: "string", multiple: true },
        mutants: { type: "boolean" },
        exhaustive: { type: "boolean" },
        ci: { type: "boolean" },
        jobs: { type: "string" },
        verbose: { type: "boolean" },
      },
    });
    const jobs = Number(values.jobs ?? 2);
    if (!Number.isInteger(jobs) || jobs < 1) return `--jobs ${values.jobs} is no number of threads`;
    if (values.seed !== undefined && !/^\d+$/.test(values.seed))
      return `--seed ${values.seed} is no seed`;
    const { mode } = values;
    if (mode !== undefined && !isMode(mode))
      return `--mode ${mode} is none: ${copyModes.join(", ")}`;
    const seeds = seedsOf(values.seeds, values.soak);
    return typeof seeds === "string" ? seeds : { values, jobs, seeds: { ...seeds, mode } };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function isMode(text: string): text is CopyMode {
  return copyModes.includes(text);
}

function seedsOf(range: string | undefined, soak: string | undefined): Seeds | string {
  if (soak !== undefined) {
    const [, count, unit] = /^(\d+)(s|m|min|h)$/.exec(soak) ?? [];
    if (count === undefined) return `--soak ${soak} is no time such as 30s, 10m or 2h`;
    const unitMs = unit === "s" ? 1000 : unit === "h" ? 3_600_000 : 60_000;
    return { kind: "time", from: freshSeed(), durationMs: Number(count) * unitMs };
  }
  if (range === undefined) return { kind: "range", from: 1, to: 200 };
  const [, from, to] = /^(\d+)\.\.(\d+)$/.exec(range) ?? [];
  if (from === undefined || to === undefined) return `--seeds ${range} is no range such as 1..500`;
  return { kind: "range", from: Number(from), to: Number(to) };
}

/** Where nobody has been: seeds begin at the second of their run. */
function freshSeed(): number {
  return Math.floor(Date.now() / 1000) * 1000;
}
