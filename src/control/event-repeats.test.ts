import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { TestContext } from "node:test";
import { limits } from "#base/limits.ts";
import type { EventRecord } from "#ports/events.ts";
import { boundRepeats } from "./event-repeats.ts";

function createRig(t: TestContext) {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => mock.timers.reset());
  const told: EventRecord[] = [];
  const bound = boundRepeats((record) => void told.push(record));
  const change = (from: string, to: string, why = "EIO"): void =>
    bound.emit({ kind: "copy", group: "bank", copy: "west", from, to, why });
  return {
    bound,
    change,
    flap(times: number) {
      for (let i = 0; i < times; i += 1) {
        change("fractured", "resync", "regions to bring over");
        change("resync", "fractured");
      }
    },
    told: () => told.splice(0).map(({ from, to, why }) => `${from} > ${to}: ${why}`),
  };
}

test("U58: a copy that goes to and fro all the time does not push everything else out of the event log", (t) => {
  const { bound, flap, change, told } = createRig(t);
  flap(1_000);
  assert.equal(told().length, 2 * limits.eventsRepeatsMax);
  // What it came to is told, and from now on once in a while.
  mock.timers.tick(limits.eventsRepeatMs);
  assert.deepEqual(told(), [
    "resync > fractured: EIO; 1899 changes to and fro before this were left out",
  ]);
  flap(1_000);
  assert.deepEqual(told(), [
    "fractured > resync: regions to bring over",
    "resync > fractured: EIO",
  ]);
  // Another change of it is told at once.
  change("resync", "synchronized", "");
  assert.deepEqual(told(), [
    "resync > synchronized: 1998 changes to and fro before this were left out",
  ]);
  mock.timers.tick(limits.eventsRepeatMs);
  assert.deepEqual(told(), []);
  // It has stopped for so long: what comes now is news.
  flap(2);
  assert.equal(told().length, 4);
  bound.close();
  assert.deepEqual(told(), []);
});

test("U58: what was left out last is told at the end of the process", (t) => {
  const { bound, flap, told } = createRig(t);
  flap(limits.eventsRepeatsMax + 1);
  told();
  bound.close();
  assert.deepEqual(told(), [
    "resync > fractured: EIO; 1 change to and fro before this was left out",
  ]);
});

test("U58: events that are no change of a state, and those of other copies, are all told", (t) => {
  const { bound, flap, told } = createRig(t);
  flap(1_000);
  told();
  for (let i = 0; i < 200; i += 1) {
    bound.emit({ kind: "reload", group: "bank", why: `revision ${i}` });
  }
  bound.emit({
    kind: "copy",
    group: "bank",
    copy: "north",
    from: "resync",
    to: "fractured",
    why: "",
  });
  assert.equal(told().length, 201);
  bound.close();
});
