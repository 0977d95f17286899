import { unreachable } from "#base/assert.ts";
import { type Cluster, startCluster } from "../contenders/cluster.ts";
import type { Place } from "../place.ts";
import type { Trial } from "../plan.ts";
import { measureDrain, measureMemory } from "./backlog.ts";
import { measureLatency } from "./latency.ts";
import { measureLag, measureThroughput } from "./link-load.ts";
import { measureRestart } from "./restart.ts";
import type { Figure, TrialOptions } from "./trial.ts";

/** A trial's cluster, up and in step. */
export function startTrial(place: Place, trial: Trial): Promise<Cluster> {
  const link = "link" in trial ? trial.link : trial.kind === "latency" ? trial.near : undefined;
  return startCluster(place, {
    name: "antipode-trial",
    mode: "async",
    journalBytes: trial.journalBytes,
    ...(link === undefined ? {} : { link }),
  });
}

export function measureTrial(
  cluster: Cluster,
  trial: Trial,
  options: TrialOptions,
): Promise<readonly Figure[]> {
  switch (trial.kind) {
    case "throughput":
      return measureThroughput(cluster, trial, options);
    case "lag":
      return measureLag(cluster, trial, options);
    case "latency":
      return measureLatency(cluster, trial, options);
    case "drain":
      return measureDrain(cluster, trial, options);
    case "memory":
      return measureMemory(cluster, trial, options);
    case "restart":
      return measureRestart(cluster, trial, options);
    default:
      return unreachable(trial);
  }
}
