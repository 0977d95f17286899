import { enableCompileCache, flushCompileCache } from "node:module";
import { fileURLToPath } from "node:url";
import { parentPort, workerData } from "node:worker_threads";
import { loadEngine } from "./engine.ts";
import type { Engine } from "./engine.ts";
import type { SeedReport, WorkerAnswer, WorkerTask } from "./pool.ts";

// A thread of `pool.ts`: loads the engine once, with the bug that it was told to plant, and runs the seeds it is given.

const { mutant } = workerData as { readonly mutant: string | undefined };
// A planted bug has a thread of its own, and to compile the engine takes longer than a seed. What is kept is good for the very
// same text alone, so that a patched module is compiled as what it is.
enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/sim", import.meta.url)));
const engine = loadEngine(mutant).then((run) => {
  flushCompileCache();
  return run;
});

parentPort?.on("message", (task: WorkerTask) => {
  engine
    .then((run) => parentPort?.postMessage(perform(run, task)))
    .catch((error: unknown) => {
      // Thrown where nobody catches it, it ends the thread, and the pool says why.
      queueMicrotask(() => {
        throw error;
      });
    });
});

function perform(run: Engine, task: WorkerTask): WorkerAnswer {
  const counters = new Map<string, number>();
  if (task.kind === "script") {
    const script = run.script(task.index, counters);
    return { reports: [], script, counters: [...counters] };
  }
  const reports: SeedReport[] = [];
  for (const seed of task.seeds) {
    const { hash, events, findings } = runSeed(run, seed, counters);
    reports.push({ seed, hash, events, findings });
    if (task.untilFailure && findings.length > 0) break;
  }
  return { reports, script: undefined, counters: [...counters] };
}

/** What a world throws is a defect of the simulator's own, and no finding; it says at least in which seed. */
function runSeed(run: Engine, seed: number, counters: Map<string, number>) {
  try {
    return run.seed(seed, { told: false, counters });
  } catch (error) {
    throw new Error(`seed ${seed} threw`, { cause: error });
  }
}
