import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { costOf, digestStep } from "./entry.ts";
import type { Entry } from "./entry.ts";
import {
  costOfSet,
  createSetTracker,
  faultOf,
  growthBy,
  has,
  inOrder,
  isAsFlagged,
  isWhole,
  take,
  takeFound,
} from "./set-tracker.ts";
import type { SetTracker } from "./set-tracker.ts";

// What a copy has of one set, against its dumb twin: a set of numbers.

function write(index: number, fields: Partial<Entry> = {}): Entry {
  const place = { lsn: 100 + index, set: 7, index };
  return sampleEntry({ ...place, offset: 4096 * index, payloadCrc: 1000 + index, ...fields });
}

function writes(count: number): Entry[] {
  return Array.from({ length: count }, (_, i) => write(i + 1));
}

function sealOf(entries: readonly Entry[], fields: Partial<Entry> = {}): Entry {
  return write(entries.length + 1, {
    kind: "seal",
    offset: 7,
    length: 0,
    lsn: Math.max(100, ...entries.map(({ lsn }) => lsn)),
    payloadCrc: entries.reduce(digestStep, 0),
    stampMs: 1,
    ...fields,
  });
}

function tracked(entries: readonly Entry[]): SetTracker<string> {
  const tracker = createSetTracker<string>(7);
  for (const entry of entries) take(tracker, entry, `held ${entry.index}`);
  return tracker;
}

const setAndOrder = fc.integer({ min: 0, max: 130 }).chain((count) => {
  const all = Array.from({ length: count + 1 }, (_, i) => i);
  const order = fc.shuffledSubarray(all, { minLength: 0 });
  return fc.tuple(fc.constant(count), order, order);
});

test("S8, S15, I15: whatever the order and however often it comes, bits are what came; whole when none is missing", () => {
  fc.assert(
    fc.property(setAndOrder, ([count, first, second]) => {
      const plain = writes(count);
      const all = [...plain, sealOf(plain)];
      const tracker = createSetTracker<string>(7);
      const twin = new Set<number>();
      for (const place of [...first, ...second]) {
        const entry = all[place] ?? assert.fail();
        assert.equal(take(tracker, entry, ""), twin.has(place) ? "duplicate" : "new");
        twin.add(place);
      }
      const isSealed = twin.has(count);
      for (let index = 1; index <= count; index += 1)
        assert.equal(has(tracker, index), twin.has(index - 1));
      assert.equal(tracker.count, twin.size - (isSealed ? 1 : 0));
      assert.equal(isWhole(tracker), twin.size === count + 1);
      if (isWhole(tracker)) assert.equal(faultOf(tracker), undefined);
    }),
    { numRuns: 300 },
  );
});

test("S8: with any one bit missing a sealed set is not whole", () => {
  const plain = writes(70);
  for (const absent of plain) {
    const tracker = tracked([sealOf(plain), ...plain.filter((entry) => entry !== absent)]);
    assert.ok(!isWhole(tracker));
    assert.ok(!has(tracker, absent.index));
    take(tracker, absent, "");
    assert.ok(isWhole(tracker) && faultOf(tracker) === undefined);
  }
});

test("S4, S6: an empty set is whole with its SEAL, and before it nothing is known of a set's count", () => {
  const empty = tracked([sealOf([])]);
  assert.ok(isWhole(empty) && faultOf(empty) === undefined);
  assert.deepEqual(inOrder(empty), { entries: [], held: [] });
  assert.ok(!isWhole(tracked([])) && !isWhole(tracked(writes(3))));
});

test("I20: a set with another content than its SEAL says is whole, and at fault", () => {
  const plain = writes(5);
  const changes: Partial<Entry>[] = [
    { kind: "zero" },
    { mayPunch: true },
    { lsn: 99 },
    { volume: 1 },
    { offset: 512 },
    { length: 512 },
    { payloadCrc: 1 },
  ];
  for (const change of changes) {
    const other = plain.map((entry) => (entry.index === 3 ? { ...entry, ...change } : entry));
    const tracker = tracked([...other, sealOf(plain)]);
    assert.ok(isWhole(tracker));
    assert.match(faultOf(tracker)?.why ?? "", /^set 7 has another content than its SEAL says/);
  }
  const swapped = [write(1, { payloadCrc: 1002 }), write(2, { payloadCrc: 1001 })];
  assert.notEqual(swapped.reduce(digestStep, 0), writes(2).reduce(digestStep, 0));
  const late = tracked([...plain, sealOf(plain, { lsn: 200 })]);
  assert.match(faultOf(late)?.why ?? "", /^set 7 has LSNs up to 105, and a SEAL that says 200$/);
});

test("S7, I34: a broken rule is a value in words, and what was there before stays as it was", () => {
  const plain = writes(4);
  const max = limits.setEntriesMax;
  const cases: [before: readonly Entry[], entry: Entry, why: RegExp][] = [
    [[], write(0), /^set 7 has index 0, outside 1\.\.65536$/],
    [[], write(-1), /outside/],
    [[], write(max + 1), /^set 7 has index 65537, outside/],
    [[sealOf(plain)], write(5), /^set 7 has index 5, above its count of 4$/],
    [[write(5)], sealOf(plain), /^set 7 has index 5, above its count of 4$/],
    [[sealOf(plain)], sealOf(writes(3)), /two SEALs, which differ: counts 4 and 3$/],
    [[sealOf(plain)], sealOf(plain, { payloadCrc: 1 }), /two SEALs/],
    [[sealOf(plain)], sealOf(plain, { offset: 6 }), /two SEALs/],
    [[], sealOf([], { index: 0 }), /a count of -1, outside 0\.\.65536$/],
    [[], sealOf([], { index: max + 2 }), /a count of 65537/],
    [[], sealOf(plain, { offset: 0 }), /a SEAL that covers from 0$/],
    [[], sealOf(plain, { offset: 8 }), /a SEAL that covers from 8$/],
    [[write(2)], write(2, { payloadCrc: 5 }), /index 2 twice, with different content$/],
  ];
  for (const [before, entry, why] of cases) {
    const tracker = tracked(before);
    const untouched = structuredClone(tracker);
    const taken = take(tracker, entry, "other");
    assert.match(typeof taken === "object" ? taken.why : taken, why);
    assert.deepEqual(tracker, untouched);
  }
  assert.equal(take(tracked([]), write(max), ""), "new");
  assert.equal(take(tracked([sealOf(plain)]), sealOf(plain, { stampMs: 9 }), ""), "duplicate");
});

test("I13: entries are applied by LSN whatever their indexes, each with what is held for it (U49)", () => {
  const lsns = [105, 101, 104, 102, 103];
  const plain = lsns.map((lsn, i) => write(i + 1, { lsn }));
  const { entries, held } = inOrder(tracked([...plain, sealOf(plain)]));
  assert.deepEqual(
    entries.map(({ lsn }) => lsn),
    [101, 102, 103, 104, 105],
  );
  assert.deepEqual(held, ["held 2", "held 4", "held 5", "held 3", "held 1"]);
});

test("I36: what a set counts grows by what is foretold, and with places for indexes that are skipped", () => {
  const entry = fc.record({ index: fc.integer({ min: 0, max: 90 }), isZero: fc.boolean() });
  fc.assert(
    fc.property(fc.array(entry), (entries) => {
      const tracker = createSetTracker<string>(7);
      for (const { index, isZero } of entries) {
        const next = write(index, { kind: isZero ? "zero" : "write" });
        const before = costOfSet(tracker);
        const growth = growthBy(tracker, next);
        const isNew = take(tracker, next, "") === "new";
        assert.equal(costOfSet(tracker) - before, isNew ? growth : 0);
      }
      const highest = Math.max(0, ...entries.map(({ index }) => index));
      assert.equal(tracker.entries.length, highest);
      assert.ok(tracker.bits.length * 32 <= Math.max(64, 2 * (highest + 32)));
    }),
  );
  const plain = writes(3);
  const expected = [...plain, sealOf(plain)].reduce((sum, each) => sum + costOf(each), 0);
  assert.equal(costOfSet(tracked([...plain, sealOf(plain)])), expected);
});

test("I20, S22: a flag counts where the log has its set whole, the later attempt before the earlier", () => {
  const plain = writes(4);
  const seal = sealOf(plain);
  const flag = { count: 4, digest: seal.payloadCrc };
  const found = (entries: readonly Entry[]): SetTracker<string> => {
    const tracker = createSetTracker<string>(7);
    for (const entry of entries) takeFound(tracker, entry, "");
    return tracker;
  };
  assert.ok(isAsFlagged(found([...plain, seal]), flag));
  assert.ok(!isAsFlagged(found(plain), flag), "no SEAL");
  for (const absent of plain)
    assert.ok(!isAsFlagged(found([...plain.filter((entry) => entry !== absent), seal]), flag));
  assert.ok(!isAsFlagged(found([...plain, sealOf(writes(3))]), flag), "another SEAL");
  assert.ok(!isAsFlagged(found([...plain, seal]), { ...flag, digest: 1 }));
  assert.ok(!isAsFlagged(found([...plain.slice(1), write(1, { payloadCrc: 1 }), seal]), flag));

  const earlier = [write(2, { payloadCrc: 1 }), write(9), sealOf(writes(1)), write(0), write(1e9)];
  const tracker = found([...earlier, seal, ...plain]);
  assert.ok(isAsFlagged(tracker, flag));
  assert.deepEqual(inOrder(tracker).entries, plain);
  assert.equal(costOfSet(tracker), costOfSet(tracked([...plain, seal])));
});
