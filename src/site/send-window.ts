import { limits } from "#base/limits.ts";

// How many bytes may be on their way to a copy and not yet in its images. Enough that the link never waits for the sender: what
// it carries in a round trip, twice, since one window's answers ask for the next. No more than that, since the copy holds it in
// memory. The round trip is that of probes, which do not wait behind what is sent: measured at the data itself it would grow
// with the window, and the window with it.

export type SendWindow = {
  /** Bytes that may be on their way. */
  bytes: number;
  readonly roundTripMs: Lately;
  readonly bytesPerMs: Lately;
  /** What was delivered since the last sample of the rate began. */
  sampleBytes: number;
  sampleSinceMs: number;
};

/** The best of two spans of time, this one and the one before: old values leave within two spans. */
type Lately = { sinceMs: number; best: number | undefined; before: number | undefined };

export function createSendWindow(nowMs: number): SendWindow {
  return {
    bytes: limits.sessionWindowBytesMin,
    roundTripMs: { sinceMs: nowMs, best: undefined, before: undefined },
    bytesPerMs: { sinceMs: nowMs, best: undefined, before: undefined },
    sampleBytes: 0,
    sampleSinceMs: nowMs,
  };
}

/** A probe was answered; the shortest answer of lately counts. */
export function noteRoundTrip(window: SendWindow, roundTripMs: number, nowMs: number): void {
  note(window.roundTripMs, roundTripMs, { nowMs, isBetter: (a, b) => a < b });
  measure(window);
}

/** So many bytes are in the copy's images that were not; the fastest of lately counts, since a sender may have had nothing. */
export function noteDelivered(window: SendWindow, bytes: number, nowMs: number): void {
  window.sampleBytes += bytes;
  const tookMs = nowMs - window.sampleSinceMs;
  // Answers come in bursts: over less than a round trip they say nothing of a rate.
  if (tookMs < Math.max(limits.sendSampleMs, bestOf(window.roundTripMs) ?? 0)) return;
  note(window.bytesPerMs, window.sampleBytes / tookMs, { nowMs, isBetter: (a, b) => a > b });
  window.sampleBytes = 0;
  window.sampleSinceMs = nowMs;
  measure(window);
}

/** Bytes a millisecond that have reached the copy's images lately; undefined before the first sample. */
export function deliveredPerMs(window: SendWindow): number | undefined {
  return bestOf(window.bytesPerMs);
}

function measure(window: SendWindow): void {
  const carried = (bestOf(window.roundTripMs) ?? 0) * (deliveredPerMs(window) ?? 0);
  const wanted = limits.sessionWindowBytesMin + 2 * carried;
  window.bytes = Math.min(wanted, limits.sessionWindowBytesMax);
}

type Judge = { readonly nowMs: number; readonly isBetter: (a: number, b: number) => boolean };

function note(lately: Lately, value: number, { nowMs, isBetter }: Judge): void {
  if (nowMs - lately.sinceMs >= limits.sendMemoryMs) {
    lately.before = lately.best;
    lately.best = undefined;
    lately.sinceMs = nowMs;
  }
  if (lately.best === undefined || isBetter(value, lately.best)) lately.best = value;
  if (lately.before !== undefined && isBetter(lately.best, lately.before))
    lately.before = lately.best;
}

// `before` is never worse than `best`: whatever is better takes its place.
function bestOf(lately: Lately): number | undefined {
  return lately.before ?? lately.best;
}
