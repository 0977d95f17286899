import { formatTable } from "#cli/table.ts";
import { unreachable } from "#base/assert.ts";
import type { Bound, Figure, TrialResult } from "./trial.ts";

/** The trials' table for people, as lines. */
export function formatTrials(trials: readonly TrialResult[]): readonly string[] {
  if (trials.length === 0) return [];
  const header = ["trial", "figure", "median", "lowest..highest", "runs", "held against"];
  const lines = trials.flatMap(({ id, figures }) =>
    figures.map((figure, index) => [index === 0 ? id : "", ...cellsOf(figure)]),
  );
  return formatTable([header, ...lines]);
}

function cellsOf({ name, unit, runs, spread, bound, isMet }: Figure): string[] {
  const text = (value: number): string => value.toFixed(digitsOf(unit));
  return [
    name,
    `${text(spread.median)} ${unit}`,
    `${text(spread.low)}..${text(spread.high)}`,
    String(runs.length),
    bound === undefined ? "" : `${boundText(bound)} ${isMet === true ? "met" : "MISSED"}`,
  ];
}

function boundText(bound: Bound): string {
  if ("atLeast" in bound) return `at least ${bound.atLeast}`;
  return "atMost" in bound ? `at most ${bound.atMost}` : `never above ${bound.neverAbove}`;
}

function digitsOf(unit: Figure["unit"]): number {
  switch (unit) {
    case "x":
    case "s":
    case "s/GiB":
      return 2;
    case "MB/s":
    case "MiB":
    case "us":
      return 1;
    default:
      return unreachable(unit);
  }
}
