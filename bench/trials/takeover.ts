import { MiB } from "#base/limits.ts";
import type { Cluster } from "../contenders/cluster.ts";
import { runFio } from "../fio.ts";
import type { TakeoverTrial } from "../plan.ts";
import { runProgram } from "../processes.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

type Run = { promoted: number; served: number; unappliedBytes: number };

/**
 * The primary is killed right behind the last write and nobody listens where it was, or it stands still from then on. The
 * operator's `promote` counts with the start of its process, as the first write does with that of the client. Then the roles
 * are put back.
 */
export async function measureTakeover(
  cluster: Cluster,
  trial: TakeoverTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const runs: Run[] = [];
  for (let run = 0; run < timing.runs; run += 1) {
    const { load, areaBytes, writtenBytes, isOneSet, isSilent } = trial;
    const extent = { bytes: writtenBytes };
    const job = { uri: cluster.uri, load, areaBytes, extent, flushesAtEnd: isOneSet };
    await runFio(job, signal);
    let last = await cluster.copy();
    while (isOneSet && last.lagWrites > 0) last = await cluster.copy();
    const { applyLagBytes, lagBytes } = last;
    if (isSilent) cluster.silencePrimary();
    else await cluster.killPrimary();
    const startMs = performance.now();
    // It lacks what was on its way, and says so.
    await cluster.cli("promote", "bench", "--site", "west", "--force");
    const promoted = (performance.now() - startMs) / 1000;
    await runProgram(
      "qemu-io",
      ["--format", "raw", cluster.uriAtCopy, "-c", "write -P 7 0 4k"],
      signal,
    );
    const served = (performance.now() - startMs) / 1000;
    runs.push({ promoted, served, unappliedBytes: applyLagBytes + lagBytes });
    if (isSilent) await cluster.killPrimary();
    await cluster.startSite("east");
    await cluster.cli("failback", "bench", "--to", "east", "--timeout", "300s");
    await cluster.caughtUp();
  }
  return [
    figure(
      "until the first write is answered",
      "s",
      runs.map(({ served }) => served),
      { atMost: trial.servedSecondsMax },
    ),
    figure(
      "until `promote` has ended",
      "s",
      runs.map(({ promoted }) => promoted),
    ),
    figure(
      "not applied at the copy before",
      "MiB",
      runs.map(({ unappliedBytes }) => unappliedBytes / MiB),
    ),
  ];
}
