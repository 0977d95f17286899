import { performance } from "node:perf_hooks";
import type { Clock, Timer } from "#ports/clock.ts";

/** Longer delays overflow in Node and would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 2;

/**
 * The machine's clocks and Node's timers.
 *
 * `after` never runs before its time by `nowMs`; `every` may be one millisecond off. Pending timers keep the process
 * alive, as they should: a site that only waits to dial again must not vanish. Whoever stops cancels its own.
 */
export function createClock(): Clock {
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    // Microtasks run when the current callback of Node has returned, so before the next one is let in.
    soon: (run) => queueMicrotask(run),
    after(delayMs, run): Timer {
      const timer = setTimeout(run, wholeMs(delayMs));
      return { cancel: () => clearTimeout(timer) };
    },
    every(intervalMs, run): Timer {
      const timer = setInterval(run, Math.max(wholeMs(intervalMs) - 1, 1));
      return { cancel: () => clearInterval(timer) };
    },
  };
}

/** Node cuts both the delay and its own clock down to whole milliseconds, so that it may fire one too early. */
function wholeMs(delayMs: number): number {
  return Math.min(Math.ceil(Math.max(delayMs, 0)) + 1, DELAY_MS_MAX);
}
