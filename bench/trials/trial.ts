import type { Timing } from "../measure.ts";
import { type Spread, spreadOf } from "../spread.ts";

/** What a trial found out: one line of the table. */
export type Figure = {
  readonly name: string;
  readonly unit: "MB/s" | "MiB" | "s" | "s/GiB" | "us" | "x";
  /** In their order. Objects, since the formatter sets a list of bare numbers otherwise than `JSON.stringify` does. */
  readonly runs: readonly { readonly value: number }[];
  readonly spread: Spread;
  /** What the median (for a peak: the highest) is held against; undefined where nothing is promised. */
  readonly bound: Bound | undefined;
  readonly isMet: boolean | undefined;
};

export type Bound =
  | { readonly atLeast: number }
  | { readonly atMost: number }
  /** For peaks: every single run is held against it. */
  | { readonly neverAbove: number };

export type TrialResult = { readonly id: string; readonly figures: readonly Figure[] };

/** What every trial is given beside its plan. */
export type TrialOptions = { readonly timing: Timing; readonly signal: AbortSignal };

export function figure(
  name: string,
  unit: Figure["unit"],
  values: readonly number[],
  bound?: Bound,
): Figure {
  const spread = spreadOf(values);
  return {
    name,
    unit,
    runs: values.map((value) => ({ value })),
    spread,
    bound,
    isMet: bound === undefined ? undefined : isMet(spread, bound),
  };
}

function isMet({ median, high }: Spread, bound: Bound): boolean {
  if ("atLeast" in bound) return median >= bound.atLeast;
  return "atMost" in bound ? median <= bound.atMost : high <= bound.neverAbove;
}
