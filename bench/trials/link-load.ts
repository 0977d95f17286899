// A load on the host while the copy is far away: how much of the link is used, and how far the copy is behind.

import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { MiB } from "#base/limits.ts";
import type { CopyStatus } from "#site/api.ts";
import type { Cluster } from "../contenders/cluster.ts";
import { type FioRun, runFio } from "../fio.ts";
import { shortLink } from "../link.ts";
import type { LagTrial, ThroughputTrial } from "../plan.ts";
import { spreadOf } from "../spread.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

/** Until distance, queues and windows are in their steady state. */
const leadSeconds = 3;
const lagSampleMs = 100;

/** The host offers more than the link takes. What is complete at the copy per second is held against the link's width. */
export async function measureThroughput(
  cluster: Cluster,
  trial: ThroughputTrial,
  options: TrialOptions,
): Promise<readonly Figure[]> {
  const { bytesPerSecond } = trial.link;
  const runs: { offered: number; complete: number; wire: number; p50: number }[] = [];
  for (let run = 0; run < options.timing.runs; run += 1) {
    await withLoad(cluster, trial, options, async (fio) => {
      const before = await look(cluster);
      await sleep(options.timing.seconds * 1000);
      const after = await look(cluster);
      const { writesPerSecond, latencyMicros } = await fio;
      const seconds = (after.atMs - before.atMs) / 1000;
      const completeBytes = (after.complete - before.complete) * trial.load.blockBytes;
      runs.push({
        offered: writesPerSecond * trial.load.blockBytes,
        complete: completeBytes / seconds,
        wire: (after.forthBytes - before.forthBytes) / seconds,
        p50: latencyMicros.p50,
      });
    });
  }
  const perSecond = (pick: (run: (typeof runs)[number]) => number): number[] =>
    runs.map((run) => pick(run) / 1e6);
  return [
    figure(
      "complete at the copy, of the bandwidth",
      "x",
      runs.map(({ complete }) => complete / bytesPerSecond),
      trial.shareMin === undefined ? undefined : { atLeast: trial.shareMin },
    ),
    figure(
      "complete at the copy",
      "MB/s",
      perSecond(({ complete }) => complete),
    ),
    figure(
      "arrived over the link, with headers",
      "MB/s",
      perSecond(({ wire }) => wire),
    ),
    figure(
      "written by the host",
      "MB/s",
      perSecond(({ offered }) => offered),
    ),
    figure(
      "host latency, p50",
      "us",
      runs.map(({ p50 }) => p50),
    ),
  ];
}

/** The host offers less than the link takes: the copy stays behind by a distance, and not by more and more. */
export async function measureLag(
  cluster: Cluster,
  trial: LagTrial,
  options: TrialOptions,
): Promise<readonly Figure[]> {
  const runs: { bytes: number[]; seconds: number[]; offered: number }[] = [];
  for (let run = 0; run < options.timing.runs; run += 1) {
    await withLoad(cluster, trial, options, async (fio) => {
      const bytes: number[] = [];
      const seconds: number[] = [];
      const untilMs = performance.now() + options.timing.seconds * 1000;
      while (performance.now() < untilMs) {
        const { lagBytes, lagSeconds } = await cluster.copy();
        bytes.push(lagBytes);
        seconds.push(lagSeconds);
        await sleep(lagSampleMs);
      }
      const { writesPerSecond } = await fio;
      runs.push({ bytes, seconds, offered: writesPerSecond * trial.load.blockBytes });
    });
  }
  const each = (pick: (run: (typeof runs)[number]) => number): number[] => runs.map(pick);
  return [
    figure(
      "written by the host",
      "MB/s",
      each(({ offered }) => offered / 1e6),
    ),
    figure(
      "lag, median of a run",
      "MiB",
      each(({ bytes }) => spreadOf(bytes).median / MiB),
    ),
    figure(
      "lag, highest of a run",
      "MiB",
      each(({ bytes }) => spreadOf(bytes).high / MiB),
    ),
    figure(
      "lag, median of a run",
      "s",
      each(({ seconds }) => spreadOf(seconds).median),
    ),
    figure(
      "lag, highest of a run",
      "s",
      each(({ seconds }) => spreadOf(seconds).high),
    ),
    figure(
      "lag of a run's last third over its first",
      "x",
      each(({ bytes }) => growthOf(bytes)),
    ),
  ];
}

/** Runs `measure` while the load is on and in its steady state; then lets the copy catch up. */
async function withLoad(
  cluster: Cluster,
  trial: ThroughputTrial | LagTrial,
  { timing, signal }: TrialOptions,
  measure: (fio: Promise<FioRun>) => Promise<void>,
): Promise<void> {
  await cluster.link().shape(trial.link);
  // A little longer than it is looked at, so that the last look still sees it.
  const seconds = leadSeconds + timing.seconds + 1;
  const { load, areaBytes, offeredShare } = trial;
  const bytesPerSecondMax = Math.round(trial.link.bytesPerSecond * offeredShare);
  const job = { uri: cluster.uri, load, areaBytes, extent: { seconds }, bytesPerSecondMax };
  const fio = runFio(job, signal);
  // Whatever fails first is told; the other must not go unheard meanwhile.
  fio.catch(() => undefined);
  await sleep(leadSeconds * 1000);
  await measure(fio);
  const { state, resyncComparedBytes } = await cluster.copy();
  if (state !== "streaming" || resyncComparedBytes > 0)
    throw new AppError("failed", `the copy did not follow by its sets all the time (${state})`);
  await cluster.link().shape(shortLink);
  await cluster.caughtUp();
}

type Look = Pick<CopyStatus, "complete"> & { readonly atMs: number; readonly forthBytes: number };

async function look(cluster: Cluster): Promise<Look> {
  const { complete } = await cluster.copy();
  const atMs = performance.now();
  return { complete, atMs, forthBytes: await cluster.link().forthBytes() };
}

function growthOf(values: readonly number[]): number {
  const third = Math.floor(values.length / 3);
  return spreadOf(values.slice(-third)).median / spreadOf(values.slice(0, third)).median;
}
