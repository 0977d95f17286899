import { limits } from "#base/limits.ts";

// When a journal will be full if all goes on as of late (PEERS N12). What it must keep goes up and down: a copy takes a
// cycle at a time, a device is flushed now and then. So what counts is the least of each while, which rises only where less
// is let go than comes, whoever it is kept for: a copy, a device that is away, a volume that has failed.

export type Forecast = {
  /** Of the while that runs: how long that is so far, and the least that had to be kept. Bytes. */
  sinceMs: number;
  leastBytes: number;
  /** The least of each of the last whiles, the oldest first; and how long the last of them was. */
  leasts: readonly number[];
  whileMs: number;
  /** All that hosts had written when the while began; and how much that was in the last one. */
  orderedBytes: number;
  writtenBytes: number;
};

/** `orderedBytes`: what hosts have written by now. */
export function createForecast(orderedBytes: number): Forecast {
  const leastBytes = Number.POSITIVE_INFINITY;
  return { sinceMs: 0, leastBytes, leasts: [], whileMs: 0, orderedBytes, writtenBytes: 0 };
}

/** It rises through so many whiles in a row: what comes and goes is no trend. */
const whilesMin = 3;

export type ForecastTick = {
  /** All that hosts have written; and what of that must be kept. */
  readonly orderedBytes: number;
  readonly keptBytes: number;
  /** Sets come to a copy so far apart. */
  readonly cycleMs: number;
};

export function tickForecast(
  forecast: Forecast,
  { orderedBytes, keptBytes, cycleMs }: ForecastTick,
  elapsedMs: number,
): void {
  forecast.sinceMs += elapsedMs;
  forecast.leastBytes = Math.min(forecast.leastBytes, keptBytes);
  if (forecast.sinceMs < Math.max(limits.forecastWhileMs, 2 * cycleMs)) return;
  forecast.leasts = [...forecast.leasts, forecast.leastBytes].slice(-whilesMin);
  forecast.whileMs = forecast.sinceMs;
  forecast.writtenBytes = orderedBytes - forecast.orderedBytes;
  forecast.orderedBytes = orderedBytes;
  forecast.sinceMs = 0;
  forecast.leastBytes = Number.POSITIVE_INFINITY;
}

/**
 * When the journal will be full; undefined where it does not come to that, or not for long. `fullBytes`: where it counts
 * as full; `usedBytes`: what it takes now, with what is still to be removed of it. Milliseconds.
 */
export function overflowsInMs(
  { leasts, whileMs, writtenBytes }: Forecast,
  { fullBytes, usedBytes }: { readonly fullBytes: number; readonly usedBytes: number },
): number | undefined {
  const [first = 0, last = 0] = [leasts[0], leasts.at(-1)];
  const rises = leasts.every((least, i) => i === 0 || least > (leasts[i - 1] ?? 0));
  // Whoever is done with all of it within a while keeps up, whatever a while has more or less of it.
  if (leasts.length < whilesMin || !rises || last <= writtenBytes) return undefined;
  const inMs = (Math.max(0, fullBytes - usedBytes) * whileMs * (whilesMin - 1)) / (last - first);
  return inMs > limits.forecastMsMax ? undefined : inMs;
}
