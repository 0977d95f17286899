import assert from "node:assert/strict";
import { test } from "node:test";
import { KiB } from "#base/limits.ts";
import { LinkWay } from "./link-way.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";

const chunkBytes = 10_000;

type Rig = {
  readonly clock: ManualClock;
  readonly way: LinkWay;
  /** Sends a chunk; it is noted by its name when it arrives. */
  send(name: string): void;
  /** What has arrived: names, each with the milliseconds since the start. */
  readonly arrived: string[];
};

function startRig(delayMs: number, bytesPerSecond: number | undefined): Rig {
  const clock = createManualClock();
  const way = new LinkWay(clock);
  way.delayMs = delayMs;
  way.bytesPerSecond = bytesPerSecond;
  const startMs = clock.nowMs();
  const arrived: string[] = [];
  return {
    clock,
    way,
    arrived,
    send(name) {
      way.send(Buffer.alloc(chunkBytes), () => arrived.push(`${name}@${clock.nowMs() - startMs}`));
    },
  };
}

test("a way without distance and width passes on at once", () => {
  const { send, arrived, clock } = startRig(0, undefined);
  send("a");
  send("b");
  assert.deepEqual(arrived, ["a@0", "b@0"]);
  assert.equal(clock.timers(), 0);
});

test("everything arrives after the distance, in order, however close together it was sent", () => {
  const { send, arrived, clock } = startRig(25, undefined);
  send("a");
  clock.advance(10);
  send("b");
  clock.advance(14);
  assert.deepEqual(arrived, []);
  clock.advance(11);
  assert.deepEqual(arrived, ["a@25", "b@35"]);
  assert.equal(clock.timers(), 0, "nothing is left to run");
});

test("the width is shared by all who send, and a rest is not saved up", () => {
  // 10,000 bytes take 10 ms.
  const { send, arrived, clock } = startRig(5, 1_000_000);
  for (const name of ["a", "b", "c"]) send(name);
  clock.advance(100);
  assert.deepEqual(arrived, ["a@15", "b@25", "c@35"]);
  send("d");
  send("e");
  clock.advance(100);
  assert.deepEqual(arrived.slice(3), ["d@115", "e@125"]);
});

test("over a long time exactly the width gets through, though the sender is let in again and again", () => {
  const { way, clock } = startRig(50, 40_000_000);
  const sendWhileRoom = (): void => {
    while (!way.isFull()) way.send(Buffer.alloc(64 * KiB), () => undefined);
    way.whenRoom(sendWhileRoom);
  };
  sendWhileRoom();
  clock.advance(1_050);
  const beforeBytes = way.passedBytes();
  clock.advance(1_000);
  const passedBytes = way.passedBytes() - beforeBytes;
  assert.ok(Math.abs(passedBytes - 40_000_000) <= 64 * KiB, `${passedBytes} bytes in a second`);
});

test("a way holds what is on its distance and a bounded queue, then its senders wait", () => {
  const { way, clock } = startRig(100, 10_000_000);
  // 100 ms hold 1,000,000 bytes, the queue's 50 ms 500,000.
  let sent = 0;
  for (; !way.isFull(); sent += 1) way.send(Buffer.alloc(chunkBytes), () => undefined);
  assert.equal(sent, 150);
  assert.equal(way.heldBytes(), 1_500_000);
  let letIn = 0;
  way.whenRoom(() => (letIn += 1));
  clock.advance(100);
  assert.equal(letIn, 0, "nothing has arrived yet");
  // Half of the queue, 1 ms a chunk.
  clock.advance(24);
  assert.equal(letIn, 0);
  clock.advance(1);
  assert.equal(letIn, 1);
  assert.ok(!way.isFull());
  clock.advance(1_000);
  assert.equal(letIn, 1, "who waited is told once");
  assert.equal(way.heldBytes(), 0);
});

test("nothing overtakes when the distance becomes shorter", () => {
  const { way, send, arrived, clock } = startRig(100, undefined);
  send("a");
  clock.advance(10);
  way.delayMs = 0;
  send("b");
  clock.advance(100);
  assert.deepEqual(arrived, ["a@100", "b@100"]);
});
