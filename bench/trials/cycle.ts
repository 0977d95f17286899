import type { Cluster } from "../contenders/cluster.ts";
import { runFio } from "../fio.ts";
import type { SwitchTrial, WireTrial } from "../plan.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

/** At depth 1 a write opens its cycle, and is answered at its end: as late as the cycle is long, and a little. */
export async function measureSwitch(
  cluster: Cluster,
  { load, areaBytes, everyMs }: SwitchTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const runs: { readonly p50: number; readonly p99: number }[] = [];
  for (let run = 0; run < timing.runs; run += 1) {
    const extent = { seconds: timing.seconds };
    const { latencyMicros } = await runFio({ uri: cluster.uri, load, areaBytes, extent }, signal);
    runs.push(latencyMicros);
  }
  await cluster.caughtUp();
  return [
    figure(
      "p50 of an ack over the cycle's length",
      "x",
      runs.map(({ p50 }) => p50 / (everyMs * 1000)),
    ),
    figure(
      "p99 of an ack",
      "us",
      runs.map(({ p99 }) => p99),
    ),
  ];
}

/** What arrives at the copy, with all headers, of what the host wrote. */
export async function measureWire(
  cluster: Cluster,
  { load, areaBytes }: WireTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const runs: { readonly share: number; readonly written: number }[] = [];
  for (let run = 0; run < timing.runs; run += 1) {
    const before = await cluster.link().forthBytes();
    const extent = { seconds: timing.seconds };
    const fio = await runFio({ uri: cluster.uri, load, areaBytes, extent }, signal);
    await cluster.caughtUp();
    const arrived = (await cluster.link().forthBytes()) - before;
    runs.push({
      share: arrived / fio.bytesWritten,
      written: fio.bytesWritten / fio.seconds / 1e6,
    });
  }
  return [
    figure(
      "arrived over the link, of what was written",
      "x",
      runs.map(({ share }) => share),
    ),
    figure(
      "written by the host",
      "MB/s",
      runs.map(({ written }) => written),
    ),
  ];
}
