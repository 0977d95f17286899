// `npm run bench`: Antipode beside its peers, on this machine, under the same load.
//
//   npm run bench                               everything, about two hours
//   npm run bench -- --quick                    2 runs of 2 s each, small backlogs: is all well? Not for conclusions
//   npm run bench -- --rows "mirrored.*depth 1" rows and trials whose name matches
//   npm run bench -- --runs 3 --seconds 5
//
// Results are printed and kept under bench/results; bench/README.md says how to read each figure. Work files lie in
// .antipode/bench and are removed.

import { join } from "node:path";
import { AppError } from "#base/errors.ts";
import { readVersion } from "#control/version.ts";
import { provideDebianPackages } from "../tools/debian.ts";
import { type Arguments, readArguments } from "./arguments.ts";
import { antipode, antipodeAsync, antipodeCycle, antipodeMirror } from "./contenders/antipode.ts";
import type { Contender, Running } from "./contenders/contender.ts";
import { nbdkit } from "./contenders/nbdkit.ts";
import { qemuBackground, qemuMirror } from "./contenders/qemu-mirror.ts";
import { type Entrant, failureOf, measureRow, type Timing } from "./measure.ts";
import { createPlace } from "./place.ts";
import {
  type ContenderName,
  planStages,
  planTrials,
  type Stage,
  type Trial,
  trialVolume,
} from "./plan.ts";
import { runProgram } from "./processes.ts";
import { formatReport, lookAround, type RowResult, summarizeRow, writeReport } from "./report.ts";
import { measureTrial, startTrial } from "./trials/run.ts";
import type { TrialResult } from "./trials/trial.ts";

const root = join(import.meta.dirname, "..");
const results = join(import.meta.dirname, "results");

const contenders: Readonly<Record<ContenderName, Contender>> = {
  antipode,
  "antipode-mirror": antipodeMirror,
  "antipode-async": antipodeAsync,
  "antipode-cycle": antipodeCycle,
  nbdkit,
  "qemu-mirror": qemuMirror,
  "qemu-background": qemuBackground,
};

const startedAt = new Date();
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
  process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
}
try {
  const told = readArguments(process.argv.slice(2));
  provideTools();
  await bench(told);
} catch (error: unknown) {
  const cause: unknown = stop.signal.aborted ? stop.signal.reason : error;
  console.error(`error: ${cause instanceof Error ? cause.message : String(cause)}`);
  if (cause instanceof AppError && cause.hint !== undefined) console.error(`hint: ${cause.hint}`);
  process.exitCode = cause instanceof AppError && cause.code === "usage" ? 2 : 1;
} finally {
  // Whatever an error left running.
  stop.abort();
}

/** The peers, and who puts the load on all. */
function provideTools(): void {
  const missing = provideDebianPackages(root);
  if (missing.length === 0) return;
  const hint = `install them, or run as root: apt-get install ${missing.join(" ")}`;
  throw new AppError("failed", `not on this machine: ${missing.join(", ")}`, { hint });
}

async function bench({ timing, pattern, scale }: Arguments): Promise<void> {
  const stages = planStages(pattern);
  const planned = planTrials(pattern, scale);
  if (stages.length + planned.length === 0)
    throw new AppError("usage", `no row matches ${String(pattern)}`);
  const surroundings = lookAround(root, readVersion());
  const rows: RowResult[] = [];
  const trials: TrialResult[] = [];
  let failure: unknown;
  try {
    for (const stage of stages) await runStage(stage, timing, rows);
    for (const trial of planned) trials.push(await runTrial(trial, timing));
  } catch (error: unknown) {
    // What was measured before is worth as much as ever.
    if (rows.length + trials.length === 0) throw error;
    failure = error;
  }
  const report = {
    format: 1,
    startedAt: startedAt.toISOString(),
    timing,
    scale,
    surroundings,
    rows,
    trials,
  } as const;
  const name = startedAt.toISOString().slice(0, 16).replace(":", "");
  writeReport(results, name, report);
  console.log(formatReport(report).join("\n"));
  console.log(`\nkept as bench/results/${name}.txt and .json`);
  if (failure !== undefined) throw failure;
}

/** Starts all contenders of a stage, measures its rows into `rows`, and stops them again. */
async function runStage(stage: Stage, timing: Timing, rows: RowResult[]): Promise<void> {
  const place = createPlace(root, stage, stop.signal);
  const entrants = new Map<ContenderName, Entrant>();
  try {
    for (const name of new Set(stage.rows.flatMap(({ ours, peer }) => [ours, peer]))) {
      const contender = contenders[name];
      progress(`${stage.socket}: starting ${contender.title}`);
      entrants.set(name, { contender, running: await contender.start(place) });
    }
    for (const row of stage.rows) {
      progress(row.id);
      const [ours, peer] = [entrants.get(row.ours), entrants.get(row.peer)];
      if (ours === undefined || peer === undefined) throw new Error(`${row.id} lacks a contender`);
      const runs = await measureRow({ row, timing, signal: stop.signal }, { ours, peer });
      const titles = { ours: ours.contender.title, peer: peer.contender.title };
      const result = summarizeRow(row, titles, runs);
      progress(`  ratio ${result.ratio.median.toFixed(2)}`);
      rows.push(result);
    }
    for (const { contender, running } of entrants.values()) {
      await running.stop();
      if (stage.volume.isFilled) await compareImages(contender, running);
    }
  } finally {
    for (const { running } of entrants.values()) await running.stop();
    place.remove();
  }
}

/** Every trial has sites of its own, so that what one leaves behind is not found by the next. */
async function runTrial(trial: Trial, timing: Timing): Promise<TrialResult> {
  const place = createPlace(root, { socket: "unix", volume: trialVolume }, stop.signal);
  try {
    progress(trial.id);
    const cluster = await startTrial(place, trial);
    try {
      const options = { timing, signal: stop.signal };
      const figures = await measureTrial(cluster, trial, options);
      await cluster.caughtUp();
      await cluster.stop();
      await compareImages(contenders["antipode-async"], cluster);
      return { id: trial.id, figures };
    } catch (cause: unknown) {
      throw await failureOf(trial.id, cluster, cause);
    } finally {
      await cluster.stop();
    }
  } finally {
    place.remove();
  }
}

/** A mirror whose legs differ has not done the work that was measured. */
async function compareImages(contender: Contender, { images }: Running): Promise<void> {
  const [source, copy] = images;
  if (source === undefined || copy === undefined) return;
  try {
    await runProgram("cmp", ["--silent", source, copy], stop.signal);
  } catch (cause: unknown) {
    throw new AppError("failed", `${contender.title}: the mirror's images differ`, { cause });
  }
}

function progress(text: string): void {
  console.error(text);
}
