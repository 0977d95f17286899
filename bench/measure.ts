import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { GiB, KiB } from "#base/limits.ts";
import type { Contender, Running } from "./contenders/contender.ts";
import { type FioRun, runFio } from "./fio.ts";
import type { Load, Row } from "./plan.ts";

/** One run: what the host saw, and what all processes of the contender took together. */
export type Measured = FioRun & {
  readonly cpuSecondsPerGiB: number;
  readonly peakBytes: number;
};

/** A row's runs, in the order in which they were made; run i of one followed or preceded run i of the other. */
export type RowRuns = { readonly ours: readonly Measured[]; readonly peer: readonly Measured[] };

export type Timing = { readonly runs: number; readonly seconds: number };

/** What the two have in common. */
export type RowOptions = {
  readonly row: Row;
  readonly timing: Timing;
  readonly signal: AbortSignal;
};

/** What a single run needs to know. */
export type RunOptions = {
  readonly load: Load;
  readonly areaBytes: number;
  readonly seconds: number;
  readonly signal: AbortSignal;
};

/** A contender that is up. */
export type Entrant = { readonly contender: Contender; readonly running: Running };

/** Kernel ticks in /proc are hundredths of a second on every Linux that Node runs on (USER_HZ). */
const ticksPerSecond = 100;
const warmUpSecondsMax = 2;
const endingMs = 500;

/**
 * Measures the two in turn, and who goes first alternates, so that both meet the same machine. A warm-up that is not
 * counted precedes: compilers, caches and connections get the same chance.
 */
export async function measureRow(
  options: RowOptions,
  { ours, peer }: { readonly ours: Entrant; readonly peer: Entrant },
): Promise<RowRuns> {
  const { row, timing, signal } = options;
  const { load, areaBytes } = row;
  const runs: { ours: Measured[]; peer: Measured[] } = { ours: [], peer: [] };
  const warmUpSeconds = Math.min(warmUpSecondsMax, timing.seconds);
  for (const { running } of [ours, peer])
    await measureRun(running, { load, areaBytes, seconds: warmUpSeconds, signal });
  for (let run = 0; run < timing.runs; run++) {
    const sides = run % 2 === 0 ? (["ours", "peer"] as const) : (["peer", "ours"] as const);
    for (const side of sides) {
      const { running, contender } = side === "ours" ? ours : peer;
      try {
        const { seconds } = timing;
        runs[side].push(await measureRun(running, { load, areaBytes, seconds, signal }));
      } catch (cause: unknown) {
        throw await failureOf(`${contender.title}, ${row.id}`, running, cause);
      }
    }
  }
  return runs;
}

/** A failure while a contender was measured, with what its processes say: an error that a host sees has its reason there. */
export async function failureOf(
  what: string,
  { servers }: Running,
  cause: unknown,
): Promise<AppError> {
  // Of a process that ends, its sockets are heard first.
  await sleep(endingMs);
  const why = cause instanceof Error ? cause.message : String(cause);
  const said = servers.map((server) => server.report());
  return new AppError("failed", [`${what}: ${why}`, ...said].join("\n"), { cause });
}

/** Puts the load on a contender that is up, and waits until its mirror has it all. */
export async function measureRun(
  running: Running,
  { load, areaBytes, seconds, signal }: RunOptions,
): Promise<Measured> {
  const pids = running.servers.map(({ pid }) => pid);
  for (const pid of pids) resetPeak(pid);
  const cpuBefore = sum(pids.map(cpuSeconds));
  const fio = await runFio({ uri: running.uri, load, areaBytes, extent: { seconds } }, signal);
  const cpu = sum(pids.map(cpuSeconds)) - cpuBefore;
  const peakBytes = sum(pids.map(peakOf));
  await running.checkMirror();
  // What a run leaves to the kernel's write-back must not burden the next one, whose contender is another.
  syncImages(running);
  return { ...fio, cpuSecondsPerGiB: cpu / (fio.bytesWritten / GiB), peakBytes };
}

/** User and system time of a process and its threads (proc(5), fields 14 and 15 of `stat`). */
export function cpuSeconds(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is the program's name, which may hold anything; the third comes after the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** The most memory that a process held at a time since `resetPeak`, in bytes. */
export function peakOf(pid: number): number {
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * KiB;
}

/** From now on `peakOf` tells of what is held from now on. */
export function resetPeak(pid: number): void {
  fs.writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

export function syncImages({ images }: Running): void {
  for (const image of images) syncFile(image);
}

function syncFile(path: string): void {
  const file = fs.openSync(path, "r+");
  try {
    fs.fdatasyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
