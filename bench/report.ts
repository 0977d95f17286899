// The results: a table for people and a document for machines, from the same rows. Nothing in them names the machine's
// folders or people.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { GiB, MiB } from "#base/limits.ts";
import { formatTable } from "#cli/table.ts";
import type { Measured, RowRuns, Timing } from "./measure.ts";
import type { Row, Scale } from "./plan.ts";
import { type Spread, spreadOf } from "./spread.ts";
import { formatTrials } from "./trials/format.ts";
import type { TrialResult } from "./trials/trial.ts";

/** What the machine was, and which versions met. */
export type Surroundings = {
  readonly cpuModel: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly fileSystem: string;
  /** Processes that wanted to run before the bench began, over a minute: above zero, others were at work too. */
  readonly loadBefore: number;
  readonly versions: Readonly<Record<string, string>>;
};

/** One contender in one row. Runs are kept, so that whoever doubts a median can look. */
export type Summary = {
  readonly title: string;
  readonly writesPerSecond: Spread;
  readonly bytesPerSecond: Spread;
  readonly latencyMicrosP50: number;
  readonly latencyMicrosP99: number;
  readonly cpuSecondsPerGiB: Spread;
  readonly peakBytes: number;
  readonly runs: readonly Measured[];
};

export type RowResult = {
  readonly id: string;
  readonly blockBytes: number;
  readonly depth: number;
  readonly ours: Summary;
  readonly peer: Summary;
  /** Ours over the peer's; low and high are those of the pairs of runs that were made next to each other. */
  readonly ratio: Spread;
  readonly floor: number | undefined;
  readonly isMet: boolean | undefined;
};

export type Report = {
  readonly format: 1;
  readonly startedAt: string;
  readonly timing: Timing;
  readonly scale: Scale;
  readonly surroundings: Surroundings;
  readonly rows: readonly RowResult[];
  readonly trials: readonly TrialResult[];
};

export function summarizeRow(
  row: Row,
  titles: { readonly ours: string; readonly peer: string },
  runs: RowRuns,
): RowResult {
  const ours = summarize(titles.ours, runs.ours, row.load.blockBytes);
  const peer = summarize(titles.peer, runs.peer, row.load.blockBytes);
  const pairs = runs.ours.map(
    (run, index) => run.writesPerSecond / (runs.peer[index]?.writesPerSecond ?? Number.NaN),
  );
  const ratio = {
    ...spreadOf(pairs),
    median: ours.writesPerSecond.median / peer.writesPerSecond.median,
  };
  const { floor } = row;
  return {
    id: row.id,
    blockBytes: row.load.blockBytes,
    depth: row.load.depth,
    ours,
    peer,
    ratio,
    floor,
    isMet: floor === undefined ? undefined : ratio.median >= floor,
  };
}

function summarize(title: string, runs: readonly Measured[], blockBytes: number): Summary {
  const rates = runs.map(({ writesPerSecond }) => writesPerSecond);
  return {
    title,
    writesPerSecond: spreadOf(rates),
    bytesPerSecond: spreadOf(rates.map((rate) => rate * blockBytes)),
    latencyMicrosP50: spreadOf(runs.map(({ latencyMicros }) => latencyMicros.p50)).median,
    latencyMicrosP99: spreadOf(runs.map(({ latencyMicros }) => latencyMicros.p99)).median,
    cpuSecondsPerGiB: spreadOf(runs.map(({ cpuSecondsPerGiB }) => cpuSecondsPerGiB)),
    peakBytes: Math.max(...runs.map(({ peakBytes }) => peakBytes)),
    runs,
  };
}

/** The tables for people, as lines. */
export function formatReport(report: Report): readonly string[] {
  const { startedAt, surroundings, rows, trials, timing } = report;
  const { cpuCount, cpuModel, memoryBytes, kernel, fileSystem, loadBefore } = surroundings;
  const versions = Object.entries(surroundings.versions).map(([name, text]) => `${name} ${text}`);
  return [
    `Antipode beside its peers, ${startedAt}`,
    `${cpuCount} x ${cpuModel}, ${Math.round(memoryBytes / GiB)} GiB, Linux ${kernel}, ${fileSystem}, load ${loadBefore.toFixed(1)} before`,
    versions.join(", "),
    ...formatRows(rows, timing),
    ...(trials.length === 0 ? [] : ["", "An asynchronous copy that is far away, or was away:", ""]),
    ...formatTrials(trials),
  ];
}

function formatRows(rows: readonly RowResult[], { runs, seconds }: Timing): readonly string[] {
  if (rows.length === 0) return [];
  const header = [
    "random writes",
    "Antipode",
    "peer",
    "",
    "ratio",
    "floor",
    "p99 us",
    "CPU s/GiB",
    "peak MiB",
  ];
  return [
    `Medians of ${runs} interleaved runs of ${seconds} s, lowest to highest in parentheses; where two values`,
    "stand side by side, Antipode's is the first. CPU and memory are those of all server processes together.",
    "",
    ...formatTable([header, ...rows.map(cellsOf)]),
  ];
}

function cellsOf({ id, blockBytes, ours, peer, ratio, floor, isMet }: RowResult): string[] {
  const rate = blockBytes >= MiB ? megabytes : writes;
  return [
    id,
    rate(ours),
    rate(peer),
    peer.title,
    `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}..${ratio.high.toFixed(2)})`,
    floor === undefined ? "" : `${floor.toFixed(1)} ${isMet === true ? "met" : "MISSED"}`,
    beside(ours.latencyMicrosP99, peer.latencyMicrosP99, 0),
    beside(ours.cpuSecondsPerGiB.median, peer.cpuSecondsPerGiB.median, 2),
    beside(ours.peakBytes / MiB, peer.peakBytes / MiB, 0),
  ];
}

function writes({ writesPerSecond: { median, low, high } }: Summary): string {
  return `${Math.round(median)}/s (${Math.round(low)}..${Math.round(high)})`;
}

function megabytes({ bytesPerSecond: { median, low, high } }: Summary): string {
  const [mid, min, max] = [median, low, high].map((bytes) => Math.round(bytes / 1e6));
  return `${mid} MB/s (${min}..${max})`;
}

function beside(ours: number, peer: number, digits: number): string {
  return `${ours.toFixed(digits)} / ${peer.toFixed(digits)}`;
}

/** Writes both forms into the folder as `NAME.json` and `NAME.txt`. */
export function writeReport(folder: string, name: string, report: Report): void {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(`${folder}/${name}.json`, `${JSON.stringify(report, null, 2)}\n`);
  fs.writeFileSync(`${folder}/${name}.txt`, `${formatReport(report).join("\n")}\n`);
}

/** Looks at the machine and asks the peers for their versions; one that is not there is told by its Debian package. */
export function lookAround(root: string, antipodeVersion: string): Surroundings {
  const [cpu] = cpus();
  return {
    cpuModel: cpu?.model ?? "unknown",
    cpuCount: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    fileSystem: printedBy("stat", ["--file-system", "--format=%T", root]),
    loadBefore: loadavg()[0] ?? 0,
    versions: {
      antipode: antipodeVersion,
      node: process.version.slice(1),
      fio: versionIn(printedBy("fio", ["--version"])),
      nbdkit: versionIn(printedBy("nbdkit", ["--version"])),
      qemu: versionIn(printedBy("qemu-storage-daemon", ["--version"])),
    },
  };
}

function printedBy(program: string, argv: readonly string[]): string {
  return execFileSync(program, argv, { encoding: "utf8" }).trim();
}

function versionIn(text: string): string {
  return /\d+(?:\.\d+)+/.exec(text)?.[0] ?? "unknown";
}
