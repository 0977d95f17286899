import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createPoller, type Poller } from "./poll.ts";

const short = { openMicrosMax: 1, restMicrosMax: 1 };
/** Far longer than the turns that a test looks at. */
const long = { openMicrosMax: 60_000_000, restMicrosMax: 60_000_000 };

test("poller: while a request is open the loop does not sleep, and the turns are counted", async () => {
  const poller = createPoller({ ...long, restMicrosMax: 0 });
  poller.start();
  poller.settle();
  await someTurns();
  const { turns, open } = poller.counters();
  assert.ok(turns >= 3);
  assert.equal(open, 1);
  poller.end();
  poller.settle();
  await someTurns();
  const rested = poller.counters();
  await someTurns();
  assert.deepEqual(poller.counters(), rested);
});

test("poller: a request that stays open too long is no longer waited for", async () => {
  const poller = createPoller(short);
  poller.start();
  poller.settle();
  await delay(2);
  await someTurns();
  const before = poller.counters();
  assert.equal(before.gaveUp, 1);
  await someTurns();
  assert.deepEqual(poller.counters(), before);
});

test("poller: behind a reply it waits for the next request only if the last one came soon", async () => {
  const seldom = createPoller(short);
  await delay(2);
  request(seldom);
  await delay(2);
  request(seldom);
  await someTurns();
  assert.equal(seldom.counters().turns, 0);

  const often = createPoller({ ...long, openMicrosMax: 1 });
  request(often);
  request(often);
  await someTurns();
  assert.ok(often.counters().turns >= 3);
  // A request that nobody waits for lets the loop sleep: this process is to end.
  often.start();
  often.settle();
});

function request(poller: Poller): void {
  poller.start();
  poller.end();
  poller.settle();
}

async function someTurns(): Promise<void> {
  for (let index = 0; index < 10; index++) await new Promise(setImmediate);
}
