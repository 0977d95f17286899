import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import type { Cluster } from "../contenders/cluster.ts";
import { runFio } from "../fio.ts";
import type { BunkerTrial } from "../plan.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

const pollMs = 50;
const probes = 20;

type Run = { readonly p50: number; readonly p99: number };

/**
 * One cluster whose bunker takes part in one run and is paused in the next; who goes first alternates. An ack that waits for
 * both logs should take as long as the slower one takes: here the bunker's, which is the way there and back, by the sites' own
 * probes. A second trip, or a wait for a far sync on top, would show. Whether one log is written behind the other would not:
 * the primary's own takes too little of that time.
 */
export async function measureBunker(
  cluster: Cluster,
  trial: BunkerTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const { load, areaBytes, pairs, ratioMax } = trial;
  const runs: { bunker: Run[]; alone: Run[] } = { bunker: [], alone: [] };
  const slower: number[] = [];
  const measure = async (side: "bunker" | "alone"): Promise<Run> => {
    if (side === "alone") await cluster.cli("pause", "bench", "--copy", "vault");
    else await cluster.cli("resume", "bench", "--copy", "vault", "--wait");
    const extent = { seconds: timing.seconds };
    const { latencyMicros } = await runFio({ uri: cluster.uri, load, areaBytes, extent }, signal);
    await cluster.caughtUp();
    return latencyMicros;
  };
  // Not counted: compilers and caches.
  for (const side of ["alone", "bunker"] as const) await measure(side);
  for (let pair = 0; pair < pairs; pair += 1) {
    const sides = pair % 2 === 0 ? (["alone", "bunker"] as const) : (["bunker", "alone"] as const);
    for (const side of sides) runs[side].push(await measure(side));
    slower.push(Math.max(runs.alone.at(-1)?.p50 ?? Number.NaN, await roundTripMicros(cluster)));
  }
  await cluster.cli("resume", "bench", "--copy", "vault", "--wait");
  const acks = runs.bunker.map(({ p50 }) => p50);
  return [
    figure(
      "p50 of an ack over the slower log write, pair by pair",
      "x",
      acks.map((p50, index) => p50 / (slower[index] ?? Number.NaN)),
      { atMost: ratioMax },
    ),
    figure("p50 of an ack with the bunker", "us", acks),
    figure(
      "p99 of an ack with the bunker",
      "us",
      runs.bunker.map(({ p99 }) => p99),
    ),
    figure(
      "p50 of an ack without it: the log here",
      "us",
      runs.alone.map(({ p50 }) => p50),
    ),
    figure("the way to the bunker and back", "us", slower),
  ];
}

/** The middle of several probes: one may have met something else on its way. */
async function roundTripMicros(cluster: Cluster): Promise<number> {
  const seen: number[] = [];
  while (seen.length < probes) {
    const { copies } = await cluster.status();
    const vault = copies.find(({ site }) => site === "vault");
    if (vault?.roundTripMs === undefined)
      throw new AppError("failed", `the bunker does not answer: ${vault?.why ?? "there is none"}`);
    seen.push(vault.roundTripMs * 1000);
    await sleep(pollMs);
  }
  return seen.toSorted((a, b) => a - b)[probes >> 1] ?? Number.NaN;
}
