import { unreachable } from "#base/assert.ts";
import { type Cluster, type ClusterOptions, startCluster } from "../contenders/cluster.ts";
import type { Place } from "../place.ts";
import type { Trial } from "../plan.ts";
import { measureDrain, measureMemory } from "./backlog.ts";
import { measureBunker } from "./bunker.ts";
import { measureSwitch, measureWire } from "./cycle.ts";
import { measureLatency } from "./latency.ts";
import { measureLag, measureThroughput } from "./link-load.ts";
import { measureRestart } from "./restart.ts";
import { measureTakeover } from "./takeover.ts";
import type { Figure, TrialOptions } from "./trial.ts";

/** A trial's cluster, up and in step. */
export function startTrial(place: Place, trial: Trial): Promise<Cluster> {
  const link = "link" in trial ? trial.link : trial.kind === "latency" ? trial.near : undefined;
  return startCluster(place, {
    name: "antipode-trial",
    ...copyOf(trial),
    journalBytes: trial.journalBytes,
    ...(link === undefined ? {} : { link }),
    hasBunker: trial.kind === "bunker",
  });
}

function copyOf(trial: Trial): Pick<ClusterOptions, "mode" | "copyOptions"> {
  switch (trial.kind) {
    case "switch":
      return { mode: "cycle", copyOptions: `every: ${trial.everyMs}ms` };
    case "takeover":
      return {
        mode: "async",
        ...(trial.isOneSet ? { copyOptions: "seal: { onFlush: only }" } : {}),
      };
    case "wire":
      return trial.mode === "cycle"
        ? { mode: "cycle", copyOptions: "ackAt: journal" }
        : { mode: "async" };
    default:
      return { mode: "async" };
  }
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
    case "bunker":
      return measureBunker(cluster, trial, options);
    case "takeover":
      return measureTakeover(cluster, trial, options);
    case "switch":
      return measureSwitch(cluster, trial, options);
    case "wire":
      return measureWire(cluster, trial, options);
    default:
      return unreachable(trial);
  }
}
