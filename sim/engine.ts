import { loadTimeLimits, setLimits } from "./knobs.ts";
import { mutants } from "./mutants/list.ts";
import { plant } from "./mutants/load.ts";
import type { RunResult } from "./run.ts";
import type { Counters } from "./counters.ts";
import type { Swarm } from "./swarm.ts";

/** Runs seeds on the engine that was loaded. */
export type Engine = (seed: number, options: { told: boolean; counters: Counters; swarm?: Swarm }) => RunResult;

/**
 * Loads the production engine into this thread, with a bug planted when one is named. Only once per thread: modules are
 * loaded but once.
 */
export async function loadEngine(mutantName: string | undefined): Promise<Engine> {
  setLimits(loadTimeLimits);
  if (mutantName !== undefined) {
    const mutant = mutants.find(({ name }) => name === mutantName);
    if (mutant === undefined) throw new RangeError(`there is no mutant called ${mutantName}`);
    plant(mutant);
  }
  // Not before the limits are set and the bug is planted.
  const { createSite } = await import("#site/site.ts");
  const { runSeed } = await import("./run.ts");
  return (seed, options) => runSeed({ seed, createSite, ...options });
}
