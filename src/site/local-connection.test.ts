import assert from "node:assert/strict";
import { test } from "node:test";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { connectLocally } from "./local-connection.ts";
import type { LocalEnd } from "./local-connection.ts";

/** What an end has been told, in order. */
function listen(end: LocalEnd): string[] {
  const told: string[] = [];
  end.attach({
    onData: (chunk) => void told.push([...chunk].join(",")),
    onClose: (why) => void told.push(`closed: ${why}`),
    onDrain: () => void told.push("drained"),
  });
  return told;
}

function rig() {
  const clock = createManualClock();
  const [near, far] = connectLocally(clock, "log:bank:/path");
  return { clock, near, far };
}

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);

test("what one end sends the other gets as it is, in order, and never before it has attached", () => {
  const { clock, near, far } = rig();
  near.connection.send([bytes(1, 2), bytes(3)]);
  clock.advance(1);
  assert.equal(near.connection.queuedBytes(), 3);
  const [toFar, toNear] = [listen(far), listen(near)];
  near.connection.send([bytes(4)]);
  assert.deepEqual(toFar, [], "not within the call");
  clock.advance(1);
  assert.deepEqual(toFar, ["1,2", "3", "4"]);
  assert.deepEqual(toNear, ["drained"]);
  assert.equal(near.connection.queuedBytes(), 0);
});

test("an end that has paused keeps the rest with the sender, in the midst of what came, too", () => {
  const { clock, near, far } = rig();
  const told: string[] = [];
  far.attach({
    onData(chunk) {
      told.push([...chunk].join(","));
      far.connection.pause();
    },
    onClose: () => undefined,
    onDrain: () => undefined,
  });
  near.connection.send([bytes(1), bytes(2, 3)]);
  clock.advance(1);
  assert.deepEqual([told, near.connection.queuedBytes()], [["1"], 2]);
  far.connection.resume();
  clock.advance(1);
  assert.deepEqual([told, near.connection.queuedBytes()], [["1", "2,3"], 0]);
});

test("what was sent before the end arrives, and both ends hear of it once", () => {
  const { clock, near, far } = rig();
  const [toFar, toNear] = [listen(far), listen(near)];
  near.connection.send([bytes(1)]);
  near.connection.end("that was all");
  near.connection.send([bytes(2)]);
  clock.advance(1);
  near.connection.close("again");
  clock.advance(1);
  assert.deepEqual(toFar, ["1", "closed: that was all"]);
  assert.deepEqual(toNear, ["drained", "closed: that was all"]);
});

test("a close drops what is under way", () => {
  const { clock, near, far } = rig();
  const [toFar, toNear] = [listen(far), listen(near)];
  near.connection.send([bytes(1)]);
  far.connection.close("not wanted");
  clock.advance(1);
  assert.deepEqual([toFar, toNear], [["closed: not wanted"], ["closed: not wanted"]]);
});
