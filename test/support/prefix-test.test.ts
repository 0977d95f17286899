import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isAtEnd, judgePrefix, type PlacedWrite } from "./prefix-test.ts";

const places = ["data:0", "data:1", "log:0", "log:1"];

/** Writes 1, 2, 3, ... to these places. */
function orderOf(...chosen: readonly string[]): PlacedWrite[] {
  return chosen.map((place, i) => ({ number: i + 1, place }));
}

/** What an honest copy holds when it has come up to this write. */
function imageAt(writes: readonly PlacedWrite[], last: number): Map<string, number> {
  const held = new Map<string, number>();
  for (const { number, place } of writes) if (number <= last) held.set(place, number);
  return held;
}

/** The dumb twin: an image is a prefix when it is the image at some place of the order. */
function standsAt(writes: readonly PlacedWrite[], held: ReadonlyMap<string, number>): number[] {
  const found: number[] = [];
  for (let last = 0; last <= writes.length; last += 1) {
    const honest = imageAt(writes, last);
    if (places.every((place) => (honest.get(place) ?? 0) === (held.get(place) ?? 0)))
      found.push(last);
  }
  return found;
}

test("an image at any place of the order is a prefix, and where it may stand is said", () => {
  const writes = orderOf("data:0", "log:0", "data:0", "log:1");
  const cases = [
    [0, { isPrefix: true, from: 0, below: 1 }],
    [2, { isPrefix: true, from: 2, below: 3 }],
    [4, { isPrefix: true, from: 4, below: Number.POSITIVE_INFINITY }],
  ] as const;
  for (const [last, verdict] of cases)
    assert.deepEqual(judgePrefix(writes, imageAt(writes, last)), verdict);
});

test("a violated prefix is caught, with both places named: a lost write, an older version, one volume ahead", () => {
  const writes = orderOf("data:0", "log:0", "data:0", "log:1", "data:1");
  const violate = (change: (held: Map<string, number>) => void): string => {
    const held = imageAt(writes, 5);
    change(held);
    const verdict = judgePrefix(writes, held);
    return verdict.isPrefix ? "taken for a prefix" : verdict.why;
  };
  assert.equal(
    violate((held) => held.delete("log:1")),
    "data:1 holds write 5, and log:1 lacks write 4",
  );
  assert.equal(
    violate((held) => held.set("data:0", 1)),
    "data:1 holds write 5, and data:0 lacks write 3",
  );
  assert.equal(
    violate((held) => held.set("log:0", 0)),
    "data:1 holds write 5, and log:0 lacks write 2",
  );
  assert.equal(
    violate((held) => held.set("log:0", 3)),
    "log:0 holds 3, which nobody wrote there",
  );
});

test("the set test: a prefix that ends within a set is no state that a copy may show", () => {
  const writes = orderOf("data:0", "log:0", "data:0", "log:1");
  const stands = (last: number): boolean =>
    isAtEnd(judgePrefix(writes, imageAt(writes, last)), [2, 4]);
  assert.deepEqual([0, 1, 2, 3, 4].map(stands), [true, false, true, false, true]);
  assert.equal(isAtEnd({ isPrefix: false, why: "" }, [0, 1, 2]), false);
});

test("the linear test and its dumb twin agree about any order and any image", () => {
  const somePlace = fc.constantFrom(...places);
  fc.assert(
    fc.property(
      fc.array(somePlace, { maxLength: 12 }),
      fc.array(fc.nat(12), { minLength: places.length, maxLength: places.length }),
      fc.option(fc.nat(12), { nil: undefined }),
      (chosen, numbers, last) => {
        const writes = orderOf(...chosen);
        const honest = imageAt(writes, last ?? 0);
        const held = new Map(
          places.map((place, i) => [
            place,
            last === undefined ? (numbers[i] ?? 0) : (honest.get(place) ?? 0),
          ]),
        );
        const verdict = judgePrefix(writes, held);
        const found = standsAt(writes, held);
        assert.equal(verdict.isPrefix, found.length > 0);
        if (!verdict.isPrefix) return;
        assert.equal(verdict.from, found[0]);
        assert.equal(Math.min(verdict.below, writes.length + 1) - 1, found.at(-1));
      },
    ),
    { numRuns: 2000 },
  );
});
