import assert from "node:assert/strict";
import { test } from "node:test";
import type { IoFailure } from "#base/errors.ts";
import { Syncer } from "./syncer.ts";

type Run = (failure?: IoFailure) => void;

/** A syncer whose syncs end when the test says so. */
function start(softBytes = 1_000): { syncer: Syncer; runs: Run[]; log: string[] } {
  const runs: Run[] = [];
  const syncer = new Syncer({
    path: "disk",
    run: (done) => void runs.push(done),
    bound: { softBytes, learn: () => {} },
    clock: { nowMs: () => performance.now(), soon: queueMicrotask },
  });
  return { syncer, runs, log: [] };
}

function sync({ syncer, log }: ReturnType<typeof start>, waiter: string): void {
  syncer.sync((failure) => log.push(`${waiter} ${failure?.code ?? "ok"}`));
}

test("one sync runs, one batch waits, and the batch shares the next sync", () => {
  const world = start();
  sync(world, "a");
  sync(world, "b");
  sync(world, "c");
  assert.equal(world.runs.length, 1, "b and c wait, since the sync that runs may not cover them");
  world.runs[0]?.();
  assert.deepEqual(world.log, ["a ok"]);
  assert.equal(world.runs.length, 2);
  sync(world, "d");
  world.runs[1]?.();
  assert.deepEqual(world.log, ["a ok", "b ok", "c ok"]);
  assert.equal(world.runs.length, 3);
  world.runs[2]?.();
  assert.deepEqual(world.log, ["a ok", "b ok", "c ok", "d ok"]);
  assert.equal(world.runs.length, 3);
});

test("a sync covers what was written before it began, and no more", async () => {
  const world = start();
  world.syncer.wrote(10);
  sync(world, "a");
  world.syncer.wrote(5);
  world.runs[0]?.();
  assert.equal(world.syncer.unsyncedBytes, 5);
  sync(world, "b");
  assert.equal(world.runs.length, 2);
  world.runs[1]?.();
  sync(world, "nothing new");
  assert.equal(world.runs.length, 2, "there is nothing to sync");
  assert.deepEqual(world.log, ["a ok", "b ok"], "and it is still told later");
  await Promise.resolve();
  assert.deepEqual(world.log, ["a ok", "b ok", "nothing new ok"]);
});

test("the first sync always runs: an earlier process may have left something unsynced", () => {
  const world = start();
  sync(world, "a");
  assert.equal(world.runs.length, 1);
});

test("too much unsynced starts a sync by itself, one at a time, until it is little again", () => {
  const { syncer, runs } = start(100);
  syncer.wrote(100);
  assert.equal(runs.length, 0);
  syncer.wrote(1);
  assert.equal(runs.length, 1);
  syncer.wrote(150);
  assert.equal(runs.length, 1);
  runs[0]?.();
  assert.equal(runs.length, 2, "what came meanwhile is again too much");
  runs[1]?.();
  assert.equal(runs.length, 2);
  assert.equal(syncer.unsyncedBytes, 0);
});

test("row 38: a failed sync fails all who wait and all who come, and is never tried again", async () => {
  const world = start(100);
  sync(world, "a");
  sync(world, "b");
  world.runs[0]?.({ code: "ENOSPC", message: "no space" });
  assert.deepEqual(world.log, ["a EIO", "b EIO"]);
  assert.match(world.syncer.failure?.message ?? "", /no space.*disk is used no more/);
  world.syncer.wrote(1_000);
  sync(world, "c");
  await Promise.resolve();
  assert.deepEqual(world.log, ["a EIO", "b EIO", "c EIO"]);
  assert.equal(world.runs.length, 1);
});

test("row 38: a sync begun in the background fails the file too", async () => {
  const world = start(100);
  world.syncer.wrote(101);
  world.runs[0]?.({ code: "EIO", message: "i/o error" });
  sync(world, "a");
  await Promise.resolve();
  assert.deepEqual(world.log, ["a EIO"]);
});
