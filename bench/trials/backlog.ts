// The copy is away while the host writes; then it comes back. How fast it catches up, and what memory that takes.

import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { GiB, MiB } from "#base/limits.ts";
import type { Cluster } from "../contenders/cluster.ts";
import { runFio } from "../fio.ts";
import { cpuSeconds, peakOf, resetPeak, syncImages } from "../measure.ts";
import type { DrainTrial, MemoryTrial } from "../plan.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

const lookMs = 50;
const drainMsMax = 1_800_000;

type Backlog = {
  readonly bytes: number;
  readonly writeSeconds: number;
  /** The LSN of its last write. */
  readonly lsn: number;
};

type Measured = "east" | "west";

type Drained = {
  /** From the copy's `ready` line until it first had something more complete. */
  readonly firstSeconds: number;
  /** From there on, until all was complete, and until all was applied. */
  readonly completeSeconds: number;
  readonly appliedSeconds: number;
  /** Processor time of each site meanwhile. */
  readonly cpuSeconds: Readonly<Record<Measured, number>>;
};

/** Rates count from the copy's `ready` line on, so that dialling again and taking up the session count as well. */
export async function measureDrain(
  cluster: Cluster,
  trial: DrainTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const runs: (Backlog & Drained)[] = [];
  for (let run = 0; run < timing.runs; run += 1) {
    await cluster.stopCopy();
    const backlog = await writeBacklog(cluster, trial, signal);
    await cluster.startSite("west");
    runs.push({ ...backlog, ...(await drain(cluster, backlog)) });
  }
  const rate = (pick: (run: Backlog & Drained) => number): number[] =>
    runs.map((run) => run.bytes / pick(run) / 1e6);
  const cpu = (site: Measured): number[] =>
    runs.map(({ bytes, cpuSeconds: seconds }) => seconds[site] / (bytes / GiB));
  return [
    figure(
      "applied over written",
      "x",
      runs.map(({ writeSeconds, appliedSeconds }) => writeSeconds / appliedSeconds),
      { atLeast: trial.ratioMin },
    ),
    figure(
      "written by the host",
      "MB/s",
      rate(({ writeSeconds }) => writeSeconds),
    ),
    figure(
      "complete at the copy",
      "MB/s",
      rate(({ completeSeconds }) => completeSeconds),
    ),
    figure(
      "applied at the copy",
      "MB/s",
      rate(({ appliedSeconds }) => appliedSeconds),
    ),
    figure("processor time of the primary", "s/GiB", cpu("east")),
    figure("processor time of the copy", "s/GiB", cpu("west")),
    figure(
      "backlog",
      "MiB",
      runs.map(({ bytes }) => bytes / MiB),
    ),
    figure(
      "until the first set was complete",
      "s",
      runs.map(({ firstSeconds }) => firstSeconds),
    ),
  ];
}

/** The most that each site held at a time (VmHWM): the primary from before the backlog is written, the copy from its start. */
export async function measureMemory(
  cluster: Cluster,
  trial: MemoryTrial,
  { signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const peak = (site: Measured): number[] => [peakOf(cluster.site(site).pid) / MiB];
  const bound = { neverAbove: trial.peakBytesMax / MiB };
  await cluster.stopCopy();
  resetPeak(cluster.site("east").pid);
  const backlog = await writeBacklog(cluster, trial, signal);
  const writing = peak("east");
  resetPeak(cluster.site("east").pid);
  await cluster.startSite("west");
  await drain(cluster, backlog);
  return [
    figure("primary, while the backlog is written", "MiB", writing, bound),
    figure("primary, while the copy drains it", "MiB", peak("east"), bound),
    figure("copy, while it drains it", "MiB", peak("west"), bound),
    figure("backlog", "MiB", [backlog.bytes / MiB]),
  ];
}

async function writeBacklog(
  cluster: Cluster,
  { load, areaBytes, backlogBytes }: DrainTrial | MemoryTrial,
  signal: AbortSignal,
): Promise<Backlog> {
  const job = { uri: cluster.uri, load, areaBytes, extent: { bytes: backlogBytes } };
  const { bytesWritten, seconds } = await runFio(job, signal);
  const { lsn, journal } = await cluster.status();
  if (journal.bytesUsed < bytesWritten)
    throw new AppError("failed", "the journal does not hold the backlog");
  // The primary is to be idle while the copy drains; the kernel's write-back of its image is a load, too.
  syncImages(cluster);
  return { bytes: bytesWritten, writeSeconds: seconds, lsn };
}

async function drain(cluster: Cluster, { lsn }: Backlog): Promise<Drained> {
  const startMs = performance.now();
  const cpuOf = (site: Measured): number => cpuSeconds(cluster.site(site).pid);
  const cpuBefore = { east: cpuOf("east"), west: cpuOf("west") };
  const before = await cluster.copy();
  let firstMs: number | undefined;
  let completeMs: number | undefined;
  for (;;) {
    const { complete, applied, state, resyncComparedBytes } = await cluster.copy();
    const nowMs = performance.now();
    if (complete > before.complete) firstMs ??= nowMs;
    if (complete >= lsn) completeMs ??= nowMs;
    if (resyncComparedBytes > before.resyncComparedBytes)
      throw new AppError("failed", "the copy was brought up by a resync, not from the journal");
    if (firstMs !== undefined && completeMs !== undefined && applied >= lsn) {
      return {
        firstSeconds: (firstMs - startMs) / 1000,
        completeSeconds: (completeMs - startMs) / 1000,
        appliedSeconds: (nowMs - startMs) / 1000,
        cpuSeconds: { east: cpuOf("east") - cpuBefore.east, west: cpuOf("west") - cpuBefore.west },
      };
    }
    if (nowMs - startMs > drainMsMax)
      throw new AppError("timeout", `the copy (${state}) is at ${complete} of ${lsn}`);
    await sleep(lookMs);
  }
}
