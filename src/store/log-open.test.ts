import assert from "node:assert/strict";
import { test } from "node:test";
import { cloneDiskState, keeps } from "../../sim/disk-state.ts";
import type { DiskState } from "../../sim/disk-state.ts";
import { createPrng } from "../../sim/prng.ts";
import { count } from "../../test/support/claims.ts";
import { appendUpTo, everything, goOn } from "../../test/support/log-life.ts";
import { afterPowerLoss, createLogWorld, mustSync, opened } from "../../test/support/log-world.ts";
import type { LogWorld, Piece } from "../../test/support/log-world.ts";
import { closeLog, reclaim, sync } from "./log.ts";
import type { Log } from "./log.ts";

// Opening a log after a kill, a power loss at any step, or a failed sync: what was synced is there, and a torn end is cut off.

/** The disk at one instant, and what was promised by then. */
type Cut = {
  readonly state: DiskState;
  /** Highest record that a sync had answered for. */
  readonly synced: number;
  readonly appended: number;
  /** Records below it may be gone. */
  readonly unneededBelow: number;
};

/** Appends, syncs and reclaims for a while; the disk as it was before and after each persistent step of it. */
function live(seed: number): { readonly cuts: Cut[]; readonly pieces: Piece[] } {
  const world = createLogWorld(seed);
  const rng = createPrng(`life ${seed}`);
  const cuts: Cut[] = [];
  const pieces: Piece[] = [];
  let synced = 0;
  let unneededBelow = 1;
  const { scheduler, behaviour } = world.disk;
  behaviour.syncUs = 300;
  world.disk.stepWatchers.add(() => {
    const state = cloneDiskState(world.disk.state);
    cuts.push({ state, synced, appended: pieces.length + 1, unneededBelow });
  });
  const log = opened(world);
  while (pieces.length < 45) {
    appendUpTo(log, pieces, pieces.length + rng.between(1, 4), () => rng.below(900));
    const through = pieces.length;
    if (rng.chance(0.5)) sync(log, () => (synced = Math.max(synced, through)));
    if (rng.chance(0.2) && synced > 0) {
      unneededBelow = Math.max(unneededBelow, synced - rng.below(6));
      reclaim(log, unneededBelow);
    }
    scheduler.run(scheduler.nowUs + rng.below(600), () => false);
  }
  return { cuts, pieces };
}

/** What is there is what was appended, without gaps, from what is still needed on and up to what was synced at least. */
function judge(world: LogWorld, log: Log, cut: Cut, pieces: readonly Piece[]): void {
  assert.ok(log.lastRecord >= cut.synced, "what was synced is there");
  assert.ok(log.lastRecord <= cut.appended);
  assert.ok(log.firstRecord <= Math.max(1, cut.unneededBelow), "what is needed is there");
  assert.deepEqual(everything(world, log), pieces.slice(log.firstRecord - 1, log.lastRecord));
  assert.equal(log.syncedThrough, log.lastRecord);
}

test("row 2, row 46: a power loss at any step leaves what was synced and a prefix of what was not, and the rest is cut", () => {
  let opens = 0;
  let torn = 0;
  for (let seed = 1; seed <= 4; seed += 1) {
    const { cuts, pieces } = live(seed);
    for (const [index, cut] of cuts.entries()) {
      for (const keep of keeps) {
        const world = afterPowerLoss(cut.state, keep, `${seed} ${index} ${keep}`);
        const log = opened(world);
        judge(world, log, cut, pieces);
        opens += 1;
        if (log.damage.length > 0) torn += 1;
        if (index % 5 === 0) goOn(world, log);
      }
    }
  }
  assert.ok(torn > 200, `only ${torn} of ${opens} were torn`);
  count("row 46", { faultsInjected: opens, effectsSeen: torn });
});

test("a kill at any step leaves everything that was appended", () => {
  const { cuts, pieces } = live(11);
  for (const [index, cut] of cuts.entries()) {
    const world = createLogWorld(index, cloneDiskState(cut.state));
    const log = opened(world);
    assert.deepEqual(log.damage, []);
    // The step may have been cut down before it took effect.
    assert.ok(log.lastRecord >= cut.appended - 1 - (log.lastRecord === 0 ? 1 : 0));
    judge(world, log, { ...cut, synced: 0 }, pieces);
  }
});

test("row 52: power losses during one opening after the other end in a log that opens, with all that was synced", () => {
  const rng = createPrng("double faults");
  let faults = 0;
  for (let seed = 21; seed <= 24; seed += 1) {
    const { cuts, pieces } = live(seed);
    for (const [index, cut] of cuts.entries()) {
      if (index % 7 !== 0) continue;
      let world = afterPowerLoss(cut.state, rng.pick(keeps), `${seed} ${index}`);
      for (let fault = 0; fault < 10; fault += 1) {
        const during = statesWhile(world, () => opened(world));
        world = afterPowerLoss(rng.pick(during), rng.pick(keeps), `${seed} ${index} ${fault}`);
        faults += 1;
      }
      const log = opened(world);
      judge(world, log, cut, pieces);
      goOn(world, log);
    }
  }
  count("row 52", { faultsInjected: faults, effectsSeen: faults });
});

function statesWhile(world: LogWorld, run: () => void): DiskState[] {
  const states = [cloneDiskState(world.disk.state)];
  const watch = (): void => void states.push(cloneDiskState(world.disk.state));
  world.disk.stepWatchers.add(watch);
  run();
  world.disk.stepWatchers.delete(watch);
  return states;
}

test("I1: what was found counts as durable when the log is handed over, and not before", () => {
  for (let seed = 31; seed <= 33; seed += 1) {
    const { cuts } = live(seed);
    for (const [index, { state }] of cuts.entries()) {
      if (index % 6 !== 0) continue;
      const world = afterPowerLoss(state, "torn", index);
      const log = opened(world);
      for (const keep of keeps) {
        const later = opened(afterPowerLoss(world.disk.state, keep, index));
        assert.equal(later.lastRecord, log.lastRecord);
        assert.deepEqual(later.damage, [], "and what was cut off is gone for good");
      }
    }
  }
});

test("row 38: what a failed sync left in the page cache alone is written again before it counts", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces: Piece[] = [];
  appendUpTo(log, pieces, 3, () => 300);
  mustSync(world, log);
  // Into a second segment, so that its header is among what is lost.
  appendUpTo(log, pieces, 9, () => 300);
  world.disk.behaviour.failSyncs = 3;
  world.run((done) => sync(log, done));
  world.disk.behaviour.failSyncs = 0;
  const lost = opened(afterPowerLoss(world.disk.state, "all", 1));
  assert.equal(lost.lastRecord, 3, "the disk has not got them, and no sync will bring them there");
  closeLog(log);
  world.kill();
  const again = opened(world);
  assert.equal(again.lastRecord, 9);
  const after = afterPowerLoss(world.disk.state, "none", 2);
  assert.deepEqual(everything(after, opened(after)), pieces);
  count("row 38", { faultsInjected: 1, effectsSeen: 1 });
});

test("row 50: without its name a new segment is not durable, and its records count only when the name is synced", () => {
  let lost = 0;
  for (let seed = 0; seed < 40; seed += 1) {
    const world = createLogWorld(seed);
    const log = opened(world);
    const pieces: Piece[] = [];
    appendUpTo(log, pieces, 4, () => 400);
    mustSync(world, log);
    appendUpTo(log, pieces, 14, () => 400);
    let isAnswered = false;
    sync(log, (failure) => (isAnswered = failure === undefined));
    const { scheduler } = world.disk;
    while (!isAnswered) {
      // The data of all segments may be durable by now; the names are not.
      const cut = afterPowerLoss(world.disk.state, "none", seed);
      const names = cut.folder().list().length;
      const again = opened(cut);
      if (names === 1) assert.equal(again.lastRecord, 4);
      assert.deepEqual(everything(cut, again), pieces.slice(0, again.lastRecord));
      lost += 1;
      let steps = 0;
      scheduler.run(scheduler.nowUs + 1e6, () => steps++ > 0);
    }
    const durable = opened(afterPowerLoss(world.disk.state, "none", seed));
    assert.equal(durable.lastRecord, 14);
    // Names in any other order: a later segment without the one before it is a torn end.
    const other = createLogWorld(seed);
    const unsynced = opened(other);
    appendUpTo(unsynced, [], 14, () => 400);
    const torn = afterPowerLoss(other.disk.state, "torn", seed);
    const found = opened(torn);
    goOn(torn, found);
  }
  count("row 50", { faultsInjected: lost, effectsSeen: lost });
});

test("files of other names, also of a log with a longer one, are not touched", () => {
  const world = createLogWorld();
  const others = [
    "journal-1.log",
    "journal-00000000.log",
    "journal-0000000G.log",
    "xjournal-00000001.log",
  ];
  for (const name of [...others, "journal-00000001.log.old", "journal-aa-00000001.log"]) {
    world.folder().open(name);
  }
  const log = opened(world);
  assert.equal(log.segments.length, 1);
  assert.equal(world.folder().list().length, 7);
});
