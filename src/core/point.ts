import { MiB } from "#base/limits.ts";
import type { RevertedPoint } from "./group-record.ts";

/** The point in words: "set 12 (LSN 345 of generation 1)", or without the set for a mirror. */
export function describePoint({ set, lsn, generation }: RevertedPoint): string {
  const position = `LSN ${lsn} of generation ${generation}`;
  return set === 0 ? position : `set ${set} (${position})`;
}

export function inMiB(bytes: number): string {
  return `${(bytes / MiB).toFixed(1)} MiB`;
}
