import type { Clock, Timer } from "#ports/clock.ts";

/** A clock that stands still until a test moves it. */
export type ManualClock = Clock & {
  /** Lets time pass and runs what becomes due, in order. */
  advance(ms: number): void;
  timers(): number;
};

export function createManualClock(): ManualClock {
  let nowMs = 1_000;
  const due = new Set<{ atMs: number; run: () => void }>();
  const after = (delayMs: number, run: () => void): Timer => {
    const entry = { atMs: nowMs + delayMs, run };
    due.add(entry);
    return { cancel: () => void due.delete(entry) };
  };
  return {
    nowMs: () => nowMs,
    wallMs: () => nowMs,
    soon: (run) => void after(0, run),
    after,
    every(intervalMs, run) {
      let timer: Timer;
      const again = (): void => {
        timer = after(intervalMs, () => {
          again();
          run();
        });
      };
      again();
      return { cancel: () => timer.cancel() };
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const next = [...due].toSorted((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined || next.atMs > untilMs) break;
        due.delete(next);
        nowMs = next.atMs;
        next.run();
      }
      nowMs = untilMs;
    },
    timers: () => due.size,
  };
}
