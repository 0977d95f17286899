/** A timer that can be taken back. */
export type Timer = { cancel(): void };

/**
 * Time. Deadlines and intervals are counted by `nowMs`, which never jumps; `wallMs` is only shown to people (U58: time
 * is for reporting and timers, never for ordering).
 */
export type Clock = {
  /** Milliseconds since some fixed instant of this process, monotonic. */
  nowMs(): number;
  /** Milliseconds since 1970 by the machine's clock; may jump. */
  wallMs(): number;
  /** Runs after the current turn of the loop has done all its work, before anything else happens. */
  soon(run: () => void): void;
  after(delayMs: number, run: () => void): Timer;
  every(intervalMs: number, run: () => void): Timer;
};
