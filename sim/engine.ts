import { loadTimeLimits, setLimits } from "./knobs.ts";
import { mutants } from "./mutants/list.ts";
import { plant } from "./mutants/load.ts";
import type { GrowthReport } from "./growths.ts";
import type { RunResult } from "./run.ts";
import type { ScriptReport } from "./scripts.ts";
import type { Counters } from "./counters.ts";
import type { Swarm } from "./swarm.ts";

/** Runs seeds, and scripts with all their crashes, on the engine that was loaded. */
export type Engine = {
  seed(seed: number, options: { told: boolean; counters: Counters; swarm?: Swarm }): RunResult;
  script(index: number, counters: Counters): ScriptReport;
  growths(mode: "sync" | "async"): GrowthReport;
};

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
  const { runScript } = await import("./scripts.ts");
  const { runGrowths } = await import("./growths.ts");
  return {
    seed: (seed, options) => runSeed({ seed, createSite, ...options }),
    growths: (mode) => runGrowths(mode, createSite),
    script: (index, counters) => runScript(index, createSite, counters),
  };
}
