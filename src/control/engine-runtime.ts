import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import type { EngineRuntime } from "./bridge.ts";

const nanosecondsPerSecond = 1e9;
const resolutionMs = 20;

export type RuntimeProbe = { read(): EngineRuntime; close(): void };

/** Watches the thread it is called in. Each `read` tells of the time since the one before. */
export function watchRuntime(): RuntimeProbe {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  let utilization = performance.eventLoopUtilization();
  // The histogram counts whole turns of its own timer; what is above its resolution is the delay.
  const seconds = (nanoseconds: number): number => {
    const late = nanoseconds / nanosecondsPerSecond - resolutionMs / 1000;
    return Number.isFinite(late) ? Math.max(0, late) : 0;
  };
  return {
    read() {
      const now = performance.eventLoopUtilization();
      const { utilization: busy } = performance.eventLoopUtilization(now, utilization);
      utilization = now;
      const { user, system } = process.cpuUsage();
      const { rss, heapUsed } = process.memoryUsage();
      const loopDelay = {
        p50: seconds(delay.percentile(50)),
        p99: seconds(delay.percentile(99)),
        max: seconds(delay.max),
      };
      delay.reset();
      return {
        loopDelay,
        loopUtilization: busy,
        residentBytes: rss,
        heapBytes: heapUsed,
        cpuSeconds: (user + system) / 1e6,
      };
    },
    close: () => delay.disable(),
  };
}
