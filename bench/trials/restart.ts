import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { limits, MiB } from "#base/limits.ts";
import type { Cluster } from "../contenders/cluster.ts";
import { runFio } from "../fio.ts";
import { cpuSeconds } from "../measure.ts";
import type { RestartTrial } from "../plan.ts";
import { type Figure, figure, type TrialOptions } from "./trial.ts";

const lookMs = 20;
const servingMsMax = 120_000;
/** A journal counts as full when less of it than this part is left. */
const restDivisor = 32;
/** Of what a journal takes, so much at least is payload, also of writes that came one by one. */
const payloadShare = 0.75;

/**
 * The copy is away, its journal is filled as far as it goes before it would overflow, the primary is killed and started again.
 * The page cache stays, as it does when a process dies.
 */
export async function measureRestart(
  cluster: Cluster,
  trial: RestartTrial,
  { timing, signal }: TrialOptions,
): Promise<readonly Figure[]> {
  const runs: { ready: number; cpu: number; serving: number; usedBytes: number }[] = [];
  for (let run = 0; run < timing.runs; run += 1) {
    await cluster.stopCopy();
    const usedBytes = await fillJournal(cluster, trial, signal);
    await cluster.killPrimary();
    const startMs = performance.now();
    await cluster.startSite("east");
    const ready = (performance.now() - startMs) / 1000;
    const cpu = cpuSeconds(cluster.site("east").pid);
    await serving(cluster);
    const servingSeconds = (performance.now() - startMs) / 1000;
    runs.push({ ready, cpu, serving: servingSeconds, usedBytes });
    await cluster.startSite("west");
    await cluster.caughtUp();
  }
  return [
    figure(
      "until the `ready` line",
      "s",
      runs.map(({ ready }) => ready),
      { atMost: trial.readySecondsMax },
    ),
    figure(
      "processor time until then",
      "s",
      runs.map(({ cpu }) => cpu),
    ),
    figure(
      "until hosts are served",
      "s",
      runs.map(({ serving: seconds }) => seconds),
    ),
    figure(
      "in the journal",
      "MiB",
      runs.map(({ usedBytes }) => usedBytes / MiB),
    ),
  ];
}

/** Writes until the journal would overflow with little more; resolves with what it then holds. */
async function fillJournal(
  cluster: Cluster,
  { load, areaBytes, journalBytes }: RestartTrial,
  signal: AbortSignal,
): Promise<number> {
  for (;;) {
    const { journal, copies } = await cluster.status();
    if (copies.some(({ state }) => state !== "buffering"))
      throw new AppError("failed", "the journal has overflowed");
    const restBytes = journalBytes - limits.journalMarginBytes - journal.bytesUsed;
    if (restBytes < journalBytes / restDivisor) return journal.bytesUsed;
    const blocks = Math.floor((restBytes * payloadShare) / load.blockBytes);
    const extent = { bytes: blocks * load.blockBytes };
    await runFio({ uri: cluster.uri, load, areaBytes, extent }, signal);
  }
}

async function serving(cluster: Cluster): Promise<void> {
  const deadlineMs = performance.now() + servingMsMax;
  for (;;) {
    const status = await cluster.status();
    if (status.serving) return;
    if (performance.now() > deadlineMs)
      throw new AppError("timeout", `the primary does not serve: ${status.why}`);
    await sleep(lookMs);
  }
}
