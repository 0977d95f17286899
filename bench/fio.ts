import { AppError } from "#base/errors.ts";
import type { Load } from "./plan.ts";
import { runProgram } from "./processes.ts";

/** What one run of fio saw. */
export type FioRun = {
  readonly seconds: number;
  readonly writesPerSecond: number;
  readonly bytesWritten: number;
  /** Completion latency in microseconds. */
  readonly latencyMicros: { readonly p50: number; readonly p99: number };
};

export type FioJob = {
  readonly uri: string;
  readonly load: Load;
  readonly areaBytes: number;
  readonly extent: Extent;
  /** Writes are offered no faster than this; left out: as fast as they are answered. */
  readonly bytesPerSecondMax?: number;
  /** The last request is a FLUSH, and the run ends with its answer. */
  readonly flushesAtEnd?: boolean;
};

/** When a run ends. */
export type Extent = { readonly seconds: number } | { readonly bytes: number };

/** Puts random writes on an NBD export. The host is the same for every contender: one fio, one socket. */
export async function runFio(
  { uri, load, areaBytes, extent, bytesPerSecondMax, flushesAtEnd }: FioJob,
  signal: AbortSignal,
): Promise<FioRun> {
  const argv = [
    "--name=bench",
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--rw=randwrite",
    `--bs=${load.blockBytes}`,
    `--iodepth=${load.depth}`,
    `--size=${areaBytes}`,
    ...("seconds" in extent
      ? ["--time_based", `--runtime=${extent.seconds}`]
      : [`--io_size=${extent.bytes}`]),
    ...(bytesPerSecondMax === undefined ? [] : [`--rate=${bytesPerSecondMax}`]),
    ...(flushesAtEnd === true ? ["--end_fsync=1"] : []),
    // Places are drawn anew in every run and independently of each other: no run repeats another, no map slows fio down.
    "--randrepeat=0",
    "--norandommap",
    "--thread",
    "--output-format=json",
  ];
  const printed = await runProgram("fio", argv, signal);
  // libnbd may print a warning before the document.
  const document = JSON.parse(printed.slice(printed.indexOf("{"))) as FioDocument;
  const [job] = document.jobs;
  if (job === undefined || job.error !== 0) {
    throw new AppError("failed", `fio saw errors (code ${job?.error ?? "none"})`);
  }
  const percentile = (name: string): number =>
    (job.write.clat_ns.percentile?.[name] ?? Number.NaN) / 1000;
  return {
    seconds: job.write.runtime / 1000,
    writesPerSecond: job.write.iops,
    bytesWritten: job.write.io_bytes,
    latencyMicros: { p50: percentile("50.000000"), p99: percentile("99.000000") },
  };
}

type FioDocument = {
  readonly jobs: readonly {
    readonly error: number;
    readonly write: {
      readonly iops: number;
      readonly io_bytes: number;
      /** Milliseconds. */
      readonly runtime: number;
      readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
    };
  }[];
};
