import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { createForecast, overflowsInMs, tickForecast } from "./forecast.ts";

const MiB = 1 << 20;
const fullBytes = 1000 * MiB;

type Spell = {
  readonly seconds: number;
  /** MiB a second that hosts write. */
  readonly writes: number;
  readonly cycleMs?: number;
  /** MiB that must be kept, so many seconds behind the spell's beginning. */
  readonly kept: (s: number) => number;
};

/** What is foretold behind these spells. */
function foretold(...spells: readonly Spell[]): number | undefined {
  const forecast = createForecast(0);
  let [orderedBytes, usedBytes] = [0, 0];
  for (const { seconds, writes, cycleMs = 50, kept } of spells)
    for (let ms = 0; ms < seconds * 1000; ms += limits.tickMs) {
      orderedBytes += (writes * MiB * limits.tickMs) / 1000;
      const keptBytes = kept(ms / 1000) * MiB;
      // A journal shrinks by whole segments.
      usedBytes = keptBytes + 64 * MiB;
      tickForecast(forecast, { orderedBytes, keptBytes, cycleMs }, limits.tickMs);
    }
  return overflowsInMs(forecast, { fullBytes, usedBytes });
}

test("A17: the time to overflow is what room is left, by what hosts write and nobody lets go of", () => {
  // The copy takes half of it, a cycle each second: 1000 - 364 MiB are left.
  const kept = (s: number): number => 10 * s + 20 * (s % 1);
  const inMs = foretold({ seconds: 30, writes: 20, kept });
  assert.ok(inMs !== undefined && Math.abs(inMs - 63_600) < 3_000, `${inMs} ms`);
});

test("A17: it is foretold within seconds after a copy or a device is away, however little hosts write", () => {
  for (const writes of [0.01, 1, 100]) {
    const well = { seconds: 20, writes, kept: (s: number) => writes * (s % 1) };
    assert.equal(foretold(well), undefined);
    const inMs = foretold(well, { seconds: 7, writes, kept: (s) => writes * s });
    assert.ok(inMs !== undefined, `${writes} MiB a second`);
    const leftMs = (1000 * (1000 - 64 - writes * 7)) / writes;
    assert.ok(Math.abs(inMs - Math.max(0, leftMs)) < leftMs / 20, `${inMs} of ${leftMs} ms`);
  }
});

test("A17: nothing is foretold of a copy that keeps up, however long its cycles are, and whatever it lags within a while", () => {
  for (const every of [0.1, 1, 10])
    for (let seconds = 7; seconds < 90; seconds += 1) {
      const kept = (s: number): number => 50 * (s % every) + 0.01 * s;
      assert.equal(foretold({ seconds, writes: 50, cycleMs: every * 1000, kept }), undefined);
    }
});

test("A17: nothing is foretold once hosts write no more, however full the journal is, nor while it empties", () => {
  const fills = { seconds: 20, writes: 40, kept: (s: number) => 40 * s };
  assert.ok(foretold(fills) !== undefined);
  assert.equal(foretold(fills, { seconds: 6, writes: 0, kept: () => 800 }), undefined);
  const empties = { seconds: 10, writes: 1, kept: (s: number) => 800 - 20 * s };
  assert.equal(foretold(fills, empties), undefined);
});

test("A17: a journal that is full will be so in no time, and one that fills in years is no news", () => {
  assert.equal(foretold({ seconds: 10, writes: 10, kept: (s) => 1000 + 10 * s }), 0);
  assert.equal(foretold({ seconds: 10, writes: 1e-6, kept: (s) => 500 + s / 1e6 }), undefined);
});
