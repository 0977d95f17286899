import { Worker } from "node:worker_threads";
import { addCounters } from "./counters.ts";
import type { Counters } from "./counters.ts";
import type { ScriptReport } from "./scripts.ts";

/** What one thread is asked to do: some seeds, one after the other, or one script with all its crashes. */
export type WorkerTask =
  | {
      readonly kind: "seeds";
      readonly seeds: readonly number[];
      /** Stop at the first seed that fails. */
      readonly untilFailure: boolean;
    }
  | { readonly kind: "script"; readonly index: number };

/** One seed, as a thread reports it. */
export type SeedReport = {
  readonly seed: number;
  readonly hash: number;
  readonly events: number;
  readonly findings: readonly { readonly id: string; readonly message: string }[];
};

export type WorkerAnswer = {
  readonly reports: readonly SeedReport[];
  readonly script: ScriptReport | undefined;
  readonly counters: readonly (readonly [string, number])[];
};

export type PoolOptions = {
  readonly jobs: number;
  /** Bug planted in every thread's engine. */
  readonly mutant: string | undefined;
};

const seedsPerTask = 25;

/** Scripts of one and of two of five steps. (The scripts themselves import the engine, and so only the threads do.) */
export const scriptCount = 5 + 5 * 5;

/**
 * Runs seeds on several threads, each with an engine of its own. Seeds come from `next`, which says `undefined` when there are
 * no more; every report goes to `onReport`, whose `false` ends the run.
 */
export async function runPool(
  options: PoolOptions,
  next: () => number | undefined,
  onReport: (report: SeedReport) => boolean,
): Promise<Counters> {
  const counters: Counters = new Map();
  const state = { isOver: false };
  const threads = Array.from({ length: options.jobs }, () =>
    runThread(options, { next, onReport, counters, state }),
  );
  await Promise.all(threads);
  return counters;
}

/** Runs every script (`scripts.ts`), each whole on one thread. */
export async function runScripts(
  jobs: number,
  onReport: (report: ScriptReport) => void,
): Promise<void> {
  let nextScript = 0;
  const thread = async (): Promise<void> => {
    const worker = startWorker(undefined);
    try {
      while (nextScript < scriptCount) {
        nextScript += 1;
        const { script } = await ask(worker, { kind: "script", index: nextScript - 1 });
        if (script !== undefined) onReport(script);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: jobs }, thread));
}

function startWorker(mutant: string | undefined): Worker {
  return new Worker(new URL("./worker.ts", import.meta.url), { workerData: { mutant } });
}

async function runThread(
  options: PoolOptions,
  shared: {
    readonly next: () => number | undefined;
    readonly onReport: (report: SeedReport) => boolean;
    readonly counters: Counters;
    readonly state: { isOver: boolean };
  },
): Promise<void> {
  const worker = startWorker(options.mutant);
  try {
    for (;;) {
      const seeds = takeSeeds(shared);
      if (seeds.length === 0) return;
      const answer = await ask(worker, {
        kind: "seeds",
        seeds,
        untilFailure: options.mutant !== undefined,
      });
      addCounters(shared.counters, answer.counters);
      for (const report of answer.reports) if (!shared.onReport(report)) shared.state.isOver = true;
    }
  } finally {
    await worker.terminate();
  }
}

function takeSeeds(shared: {
  next: () => number | undefined;
  state: { isOver: boolean };
}): number[] {
  const seeds: number[] = [];
  while (seeds.length < seedsPerTask && !shared.state.isOver) {
    const seed = shared.next();
    if (seed === undefined) break;
    seeds.push(seed);
  }
  return seeds;
}

/** One task's answer. A thread that dies over it fails with what it had been asked, which the error alone may not tell. */
function ask(worker: Worker, task: WorkerTask): Promise<WorkerAnswer> {
  return new Promise((resolve, reject) => {
    const asked = task.kind === "script" ? `script ${task.index}` : `seeds ${task.seeds.join(" ")}`;
    const die = (cause: unknown): void =>
      reject(new Error(`a thread died over ${asked}`, { cause }));
    const exit = (code: number): void => die(`it ended with code ${code}`);
    worker.once("error", die);
    worker.once("exit", exit);
    worker.once("message", (answer: WorkerAnswer) => {
      worker.off("error", die);
      worker.off("exit", exit);
      resolve(answer);
    });
    worker.postMessage(task);
  });
}
