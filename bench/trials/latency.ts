import type { Cluster } from "../contenders/cluster.ts";
import { type Measured, measureRun } from "../measure.ts";
import type { LatencyTrial } from "../plan.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

/**
 * One cluster whose link is near in one run and far in the next; who goes first alternates. So the two differ in nothing but
 * the link: the same processes, warm to the same degree, on the same machine at nearly the same time.
 */
export async function measureLatency(
  cluster: Cluster,
  trial: LatencyTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const { load, areaBytes, pairs, p50RatioMax } = trial;
  const runs: { near: Measured[]; far: Measured[] } = { near: [], far: [] };
  const measure = async (side: "near" | "far"): Promise<Measured> => {
    await cluster.link().shape(trial[side]);
    return measureRun(cluster, { load, areaBytes, seconds: timing.seconds, signal });
  };
  // Not counted: compilers and caches.
  for (const side of ["near", "far"] as const) await measure(side);
  for (let pair = 0; pair < pairs; pair += 1) {
    const sides = pair % 2 === 0 ? (["near", "far"] as const) : (["far", "near"] as const);
    for (const side of sides) runs[side].push(await measure(side));
  }
  const p50 = (side: "near" | "far"): number[] =>
    runs[side].map(({ latencyMicros }) => latencyMicros.p50);
  const p99 = (side: "near" | "far"): number[] =>
    runs[side].map(({ latencyMicros }) => latencyMicros.p99);
  const near = p50("near");
  return [
    figure(
      `p50 at ${trial.far.name} over p50 at ${trial.near.name}, pair by pair`,
      "x",
      p50("far").map((far, index) => far / (near[index] ?? Number.NaN)),
      { atMost: p50RatioMax },
    ),
    figure(`p50 at ${trial.near.name}`, "us", near),
    figure(`p50 at ${trial.far.name}`, "us", p50("far")),
    figure(`p99 at ${trial.near.name}`, "us", p99("near")),
    figure(`p99 at ${trial.far.name}`, "us", p99("far")),
  ];
}
