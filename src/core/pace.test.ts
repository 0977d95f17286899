import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { createPace, isPaced, notePaced, tickPace } from "./pace.ts";
import type { Pace } from "./pace.ts";

const MiB = 1 << 20;
const journal = { bytes: 1024 * MiB - limits.journalMarginBytes, segmentBytes: 64 * MiB };
const writeBytes = 64 * 1024;

/** Hosts that write what they may, up to so much a tick, and a copy that takes so much of it a tick; what the copy lacks. */
function run(
  pace: Pace,
  { ticks, wants, takes }: { ticks: number; wants: number; takes: (tick: number) => number },
  isSlowing = true,
): { lackedMax: number; wroteLast: number; stalls: number } {
  let [lsn, tailLsn] = [0, 0];
  let [lackedMax, wroteLast, stalls] = [0, 0, 0];
  for (let tick = 0; tick < ticks; tick += 1) {
    wroteLast = 0;
    while (wroteLast < wants && !isPaced(pace)) {
      notePaced(pace, writeBytes);
      lsn += 1;
      wroteLast += writeBytes;
    }
    if (wroteLast === 0) stalls += 1;
    lackedMax = Math.max(lackedMax, (lsn - tailLsn) * writeBytes);
    tailLsn = Math.min(lsn, tailLsn + Math.floor(takes(tick) / writeBytes));
    tickPace(pace, { isSlowing, lsn, tailLsn, lackedLsn: undefined }, limits.tickMs);
  }
  return { lackedMax, wroteLast, stalls };
}

test("U10, I25: on a link that carries a tenth hosts are slowed down to that, and the journal is never full", () => {
  const pace = createPace({ lsn: 0, bytes: 0 }, journal);
  const [wants, takes] = [40 * MiB, 4 * MiB];
  // Ten minutes.
  const { lackedMax, wroteLast, stalls } = run(pace, { ticks: 6000, wants, takes: () => takes });
  assert.ok(lackedMax < pace.limitBytes, `${lackedMax} of ${pace.limitBytes}`);
  assert.ok(Math.abs(wroteLast - takes) < takes / 4, `${wroteLast} a tick, drained ${takes}`);
  assert.equal(stalls, 0, "in every tick somebody writes");
});

test("U10: a link that was fast and is slow all at once is made up for, and nobody is slowed before half of the bound", () => {
  const pace = createPace({ lsn: 0, bytes: 0 }, journal);
  const { stalls, wroteLast } = run(pace, { ticks: 10, wants: 40 * MiB, takes: () => 0 });
  assert.deepEqual([stalls, wroteLast], [0, 40 * MiB]);
  const takes = (tick: number): number => (tick < 300 ? 30 : 2) * MiB;
  const { lackedMax } = run(pace, { ticks: 3000, wants: 40 * MiB, takes });
  const { marks, orderedBytes, drainedBytes, limitBytes } = pace;
  assert.ok(orderedBytes - drainedBytes <= limitBytes, "at last");
  assert.ok(lackedMax < limitBytes + limits.journalMarginBytes, "and never more than there is");
  assert.ok(marks.length <= limits.paceMarksMax + 1);
});

test("where a full journal trips the copy, hosts are never slowed down", () => {
  const pace = createPace({ lsn: 0, bytes: 0 }, journal);
  const { stalls } = run(pace, { ticks: 300, wants: 40 * MiB, takes: () => 0 }, false);
  assert.equal(stalls, 0);
  assert.ok(!isPaced(pace));
});

test("U10: with the link cut the whole journal may be filled, at full speed", () => {
  const pace = createPace({ lsn: 0, bytes: 0 }, journal);
  const { stalls, lackedMax } = run(pace, { ticks: 30, wants: 40 * MiB, takes: () => 0 });
  assert.deepEqual([stalls, lackedMax], [0, 1200 * MiB]);
});

test("A16: what must be kept is what the copy lacks, or what a device does, if that is more", () => {
  const pace = createPace({ lsn: 0, bytes: 0 }, journal);
  const cost = writeBytes + limits.entryCostBytes;
  const keptBehind = (tailLsn: number | undefined, lackedLsn: number | undefined): number => {
    for (let i = 0; i < 10; i += 1) notePaced(pace, writeBytes);
    lsn += 10;
    tickPace(pace, { isSlowing: true, lsn, tailLsn, lackedLsn }, limits.tickMs);
    return pace.keptBytes / cost;
  };
  let lsn = 0;
  assert.equal(keptBehind(undefined, undefined), 0);
  assert.equal(keptBehind(20, undefined), 0);
  assert.equal(keptBehind(30, 20), 10);
  assert.equal(keptBehind(40, 20), 20);
  assert.equal(keptBehind(25, 20), 30);
  assert.equal(keptBehind(25, 60), 35);
});
