import assert from "node:assert/strict";
import { test } from "node:test";
import { createHeldBytes } from "./held-bytes.ts";

test("held bytes: who waits goes on when there is room, and not before", async () => {
  const held = createHeldBytes(100);
  const resumed: string[] = [];
  held.change(150);
  assert.ok(held.isFull() && !held.isExceeded());
  const first = (): void => {
    resumed.push("first");
    held.change(60);
  };
  const second = (): void => void resumed.push("second");
  const gone = (): void => void resumed.push("gone");
  for (const resume of [first, second, gone]) held.wait(resume);
  held.forget(gone);
  held.change(-40);
  await new Promise(setImmediate);
  assert.deepEqual(resumed, []);
  held.change(-60);
  await new Promise(setImmediate);
  assert.deepEqual(resumed, ["first"], "the first took the room");
  held.change(-110);
  await new Promise(setImmediate);
  assert.deepEqual(resumed, ["first", "second"]);
  assert.equal(held.total(), 0);
});

test("held bytes: twice the budget is the end of patience", () => {
  const held = createHeldBytes(100);
  held.change(199);
  assert.ok(!held.isExceeded());
  held.change(1);
  assert.ok(held.isExceeded());
});
