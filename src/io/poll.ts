import { performance } from "node:perf_hooks";

/**
 * Keeps the event loop from going to sleep where waking it again would cost more than the work it waits for: while a
 * host's request is under way, and between two requests of a host that sends the next as soon as it has the answer to
 * the last (DESIGN §3, item 10; measured at depth 1, such a host gets twice as much).
 *
 * It is bounded both ways, and what it burns is counted. Whether to wait for a next request is decided by how long the
 * last one took to come, so that a host which asks now and then costs nothing.
 */
export type Poller = {
  /** A host request goes to the engine. */
  start(): void;
  /** Its reply is here. */
  end(): void;
  /** A turn of the loop that may have called the other two is over. */
  settle(): void;
  counters(): PollerCounters;
};

export type PollerCounters = {
  /** Requests under way. */
  readonly open: number;
  /** Turns of the loop made only to stay awake, since the start. */
  readonly turns: number;
  /** Times that the loop was let go to sleep though a request was under way. */
  readonly gaveUp: number;
};

/** How long the loop stays awake, in microseconds: behind the last event of an open request, and behind a reply. */
export type PollerLimits = { readonly openMicrosMax: number; readonly restMicrosMax: number };

export function createPoller(limits: PollerLimits): Poller {
  const openMsMax = limits.openMicrosMax / 1000;
  const restMsMax = limits.restMicrosMax / 1000;
  let open = 0;
  let turns = 0;
  let gaveUp = 0;
  /** An immediate is planned. */
  let awake = false;
  let untilMs = 0;
  /** No request is under way since `restSinceMs`. */
  let resting = true;
  let restSinceMs = 0;
  let lastRestWasShort = false;

  function turn(): void {
    awake = false;
    if (performance.now() < untilMs) {
      turns++;
      stayAwake();
    } else if (open > 0) {
      gaveUp++;
    }
  }

  function stayAwake(): void {
    awake = true;
    setImmediate(turn);
  }

  return {
    start() {
      open++;
      if (!resting) return;
      resting = false;
      lastRestWasShort = performance.now() - restSinceMs < restMsMax;
    },
    end() {
      open--;
    },
    settle() {
      // The clock is read once in a turn, not once in a request.
      const nowMs = performance.now();
      if (open > 0) {
        untilMs = nowMs + openMsMax;
      } else if (!resting) {
        resting = true;
        restSinceMs = nowMs;
        untilMs = lastRestWasShort ? nowMs + restMsMax : nowMs;
      }
      if (!awake && nowMs < untilMs) stayAwake();
    },
    counters: () => ({ open, turns, gaveUp }),
  };
}
