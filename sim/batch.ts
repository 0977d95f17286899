import type { CopyMode } from "#config/types.ts";
import { formatCounters } from "./counters.ts";
import type { Counters } from "./counters.ts";
import { loadEngine } from "./engine.ts";
import { runPool } from "./pool.ts";
import type { SeedReport } from "./pool.ts";
import { createPrng } from "./prng.ts";

/** Seeds to run: a range, or as many as fit into a time; with a mode, those alone in whose world a copy has it. */
export type Seeds = { readonly mode?: CopyMode | undefined } & (
  | { readonly kind: "range"; readonly from: number; readonly to: number }
  | { readonly kind: "time"; readonly from: number; readonly durationMs: number }
);

export type BatchResult = {
  readonly ran: number;
  readonly failures: readonly SeedReport[];
  readonly counters: Counters;
};

/** A batch that finds this many failures has shown enough. */
const failuresMax = 40;
const storiesShown = 1;
const storyLinesShown = 60;

/** Runs many seeds, prints each failure as a line that replays it, and what the worlds went through. */
export async function runBatch(seeds: Seeds, jobs: number): Promise<BatchResult> {
  const began = performance.now();
  const failures: SeedReport[] = [];
  let ran = 0;
  let nextSeed = seeds.from;
  let nextNoteMs = 30_000;
  const isWanted = await worldsWith(seeds.mode);
  const next = (): number | undefined => {
    const isOver = (): boolean =>
      seeds.kind === "range" ? nextSeed > seeds.to : performance.now() - began >= seeds.durationMs;
    while (!isOver() && !isWanted(nextSeed)) nextSeed += 1;
    if (isOver()) return undefined;
    nextSeed += 1;
    return nextSeed - 1;
  };
  const counters = await runPool({ jobs, mutant: undefined }, next, (report) => {
    ran += 1;
    if (report.findings.length > 0) {
      failures.push(report);
      console.log(describeFailure(report));
    }
    const elapsedMs = performance.now() - began;
    if (elapsedMs >= nextNoteMs) {
      nextNoteMs = elapsedMs + 30_000;
      console.log(`${ran} seeds, ${failures.length} failed, ${speed(ran, elapsedMs)}`);
    }
    return failures.length < failuresMax;
  });
  const elapsedMs = performance.now() - began;
  const which = seeds.mode === undefined ? "" : `, worlds with a copy of mode ${seeds.mode}`;
  console.log(
    `${ran} seeds from ${seeds.from} to ${nextSeed - 1}${which}, ${failures.length} failed, ${speed(ran, elapsedMs)}`,
  );
  for (const line of formatCounters(counters)) console.log(`  ${line}`);
  for (const failure of failures.slice(0, storiesShown))
    await tellStory(failure.seed, storyLinesShown);
  return { ran, failures, counters };
}

/** Whether the world of a seed has a copy of that mode. */
async function worldsWith(mode: CopyMode | undefined): Promise<(seed: number) => boolean> {
  if (mode === undefined) return () => true;
  // What a world is drawn with loads parts of the engine, which come behind its limits.
  await loadEngine(undefined);
  const { drawSwarm } = await import("./swarm.ts");
  return (seed) => {
    const { config } = drawSwarm(createPrng(seed).fork("swarm"));
    return [...config.groups.values()].some(({ copies }) =>
      [...copies.values()].some((copy) => copy.mode === mode),
    );
  };
}

/** Runs one seed and tells what happened. True when it passed. */
export async function replay(seed: number, isVerbose: boolean): Promise<boolean> {
  const counters: Counters = new Map();
  const engine = await loadEngine(undefined);
  const result = engine.seed(seed, { told: true, counters });
  for (const line of result.story) console.log(line);
  if (isVerbose) for (const line of formatCounters(counters)) console.log(line);
  console.log(`seed ${seed}: ${result.events} events, hash ${result.hash.toString(16)}`);
  for (const { id, message } of result.findings) console.log(`${id}: ${message}`);
  return result.findings.length === 0;
}

export function describeFailure({ seed, findings }: SeedReport): string {
  const [first] = findings;
  return `FAILED seed ${seed}: ${first?.id}: ${first?.message}\n  replay: npm run sim -- --seed ${seed}`;
}

async function tellStory(seed: number, lines: number): Promise<void> {
  const engine = await loadEngine(undefined);
  const { story } = engine.seed(seed, { told: true, counters: new Map() });
  console.log(`the end of seed ${seed}'s story:`);
  for (const line of story.slice(-lines)) console.log(`  ${line}`);
}

function speed(seeds: number, elapsedMs: number): string {
  return `${Math.round((seeds * 3_600_000) / elapsedMs)} seeds an hour`;
}
