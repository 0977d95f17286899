import type { Clock, Timer } from "#ports/clock.ts";
import { eventKind } from "./scheduler.ts";
import type { Owner, Scheduled, Scheduler } from "./scheduler.ts";

/** How a machine's clocks differ from virtual time. */
export type ClockSkew = {
  /** Added to wall time; jumps when somebody sets the clock (row 34). */
  wallOffsetMs: number;
  /** How fast the monotonic clock runs, 1 being true. */
  readonly rate: number;
};

const WALL_START_MS = 1_760_000_000_000;

/** The clock of one process. Its timers die with the process, and are counted on it (N7). */
export function createSimClock(scheduler: Scheduler, owner: Owner, skew: ClockSkew): Clock {
  const startUs = scheduler.nowUs;
  function arm(delayMs: number, run: () => void): Timer {
    owner.timers += 1;
    const event: Scheduled = scheduler.after(
      (delayMs * 1000) / skew.rate,
      owner,
      eventKind.timer,
      () => {
        owner.timers -= 1;
        run();
      },
    );
    return {
      cancel: () => {
        if (event.run === undefined) return;
        event.run = undefined;
        owner.timers -= 1;
      },
    };
  }
  return {
    // Not zero at the start: a program that takes 0 for "never" must be seen to do so.
    nowMs: () => 1_000 + ((scheduler.nowUs - startUs) / 1000) * skew.rate,
    wallMs: () => Math.floor(WALL_START_MS + scheduler.nowUs / 1000 + skew.wallOffsetMs),
    soon: (run) => scheduler.soon(owner, run),
    after: arm,
    every(intervalMs, run) {
      let current: Timer;
      let cancelled = false;
      const again = (): void => {
        current = arm(intervalMs, () => {
          // Armed again before it runs, so that a body that cancels stops it for good.
          again();
          run();
        });
        if (cancelled) current.cancel();
      };
      again();
      return {
        cancel: () => {
          cancelled = true;
          current.cancel();
        },
      };
    },
  };
}
