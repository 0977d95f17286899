import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createFifo, peek, push, shift } from "#base/fifo.ts";
import { limits, MiB } from "#base/limits.ts";
import { createSendWindow, noteDelivered, noteRoundTrip } from "./send-window.ts";

const { sessionWindowBytesMin: least, sessionWindowBytesMax: most } = limits;

type Link = { readonly bytesPerMs: number; readonly roundTripMs: number };

/**
 * A link of a steady rate, with a sender that always has something: how many bytes a millisecond it carried in the last
 * seconds, and the highest window that there was.
 */
function carry({ bytesPerMs, roundTripMs }: Link, seconds: number) {
  const window = createSendWindow(0);
  const answers = createFifo<{ readonly atMs: number; readonly bytes: number }>();
  const batch = MiB / 8;
  let underWay = 0;
  let linkFreeMs = 0;
  let highest = 0;
  let carried = 0;
  for (let nowMs = 0; nowMs < seconds * 1_000; nowMs += 1) {
    if (nowMs % 500 === 0) noteRoundTrip(window, roundTripMs, nowMs);
    for (let next = peek(answers); next !== undefined && next.atMs <= nowMs; next = peek(answers)) {
      shift(answers);
      underWay -= next.bytes;
      if (nowMs >= (seconds - 4) * 1_000) carried += next.bytes;
      noteDelivered(window, next.bytes, nowMs);
    }
    while (underWay < window.bytes) {
      linkFreeMs = Math.max(linkFreeMs, nowMs) + batch / bytesPerMs;
      underWay += batch;
      push(answers, { atMs: linkFreeMs + roundTripMs, bytes: batch });
    }
    highest = Math.max(highest, window.bytes);
  }
  return { bytesPerMs: carried / 4_000, highest };
}

const someLink = fc.record({
  bytesPerMs: fc.integer({ min: 1_000, max: 500_000 }),
  roundTripMs: fc.integer({ min: 1, max: 500 }),
});

test("a window follows round trip and rate: every link is filled as far as memory allows, and not beyond it", () => {
  fc.assert(
    fc.property(someLink, (link) => {
      const { bytesPerMs, highest } = carry(link, 20);
      const possible = Math.min(link.bytesPerMs, most / (link.roundTripMs + 2));
      assert.ok(bytesPerMs > 0.9 * possible, `${bytesPerMs} of ${possible} bytes a millisecond`);
      assert.ok(highest <= most);
      const bound = least + 2.6 * link.bytesPerMs * link.roundTripMs + 3 * MiB;
      assert.ok(highest <= bound, `a window of ${highest}, where ${bound} is plenty`);
    }),
    { numRuns: 60 },
  );
});

test("what a link was is forgotten when it is another: the window shrinks with the round trip, and with the rate", () => {
  const window = createSendWindow(0);
  const live = (fromMs: number, toMs: number, { bytesPerMs, roundTripMs }: Link): void => {
    for (let nowMs = fromMs + 100; nowMs <= toMs; nowMs += 100) {
      noteRoundTrip(window, roundTripMs, nowMs);
      noteDelivered(window, 100 * bytesPerMs, nowMs);
    }
  };
  live(0, 5_000, { bytesPerMs: 100_000, roundTripMs: 100 });
  assert.equal(Math.round(window.bytes / MiB), Math.round((least + 20e6) / MiB));
  live(5_000, 6_000, { bytesPerMs: 100_000, roundTripMs: 20 });
  assert.ok(window.bytes < least + 5e6, "a shorter way counts at once");
  live(6_000, 20_000, { bytesPerMs: 100_000, roundTripMs: 100 });
  assert.ok(window.bytes > least + 19e6, "and a longer one when the shorter is of the past");
  live(20_000, 40_000, { bytesPerMs: 1_000, roundTripMs: 100 });
  assert.ok(window.bytes < least + 1e6);
});

test("without a probe or an answer the window is the least one", () => {
  const window = createSendWindow(7);
  assert.equal(window.bytes, least);
  noteDelivered(window, 1e9, 1_007);
  assert.equal(window.bytes, least);
  noteRoundTrip(window, 1e6, 1_008);
  assert.equal(window.bytes, most);
});
