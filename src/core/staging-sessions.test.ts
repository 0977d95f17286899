import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import {
  answer,
  createFedRig,
  createRig,
  effects,
  give,
  makeEntry,
  makeSet,
  open,
  rest,
  restart,
  settle,
  step,
} from "../../test/support/staging-rig.ts";
import { completeBytes } from "./staging-lag.ts";
import { viewSets, watermarksOf } from "./staging-state.ts";

// The machine of staging alone: what a restart keeps, and where a session and a resync go on.

// --------------------------------------------------------------------------------------- restart

test("S11, S21, I21: a restarted copy applies complete sets from its log, without a primary, once they are known synced", () => {
  const rig = createFedRig();
  give(rig, [...makeSet(1, 1), ...makeSet(2, 2), makeEntry(3, 1)]);
  give(rig, makeSet(4, 1));
  settle(rig, /^(stage|flag|sync)/);
  restart(rig);
  assert.deepEqual(effects(rig), ["sync"]);
  open(rig);
  assert.deepEqual(effects(rig), ["fail: this copy is reading its staging log"]);
  answer(rig, "sync");
  assert.deepEqual(effects(rig), ["started", "apply 1: 11", "apply 2: 21 22"]);
  settle(rig);
  open(rig);
  assert.deepEqual(effects(rig), ["ready", "complete 2 applied 2 synced 0"]);
  assert.deepEqual(
    viewSets(rig.staging, 10).map(({ set, phase }) => [set, phase]),
    [[4, "complete"]],
  );
});

test("S22, I21: what was not complete is forgotten wholly by a restart, and the whole set is taken again", () => {
  const rig = createFedRig();
  const one = makeSet(1, 3);
  give(rig, one.slice(0, 2));
  settle(rig);
  restart(rig);
  assert.deepEqual(effects(rig), ["started", "forget 1"]);
  assert.deepEqual(viewSets(rig.staging, 10), []);
  open(rig);
  give(rig, one.slice(2));
  settle(rig);
  assert.deepEqual(effects(rig, /^(apply|complete)/), ["complete 0 applied 0 synced 0"]);
  give(rig, one.slice(0, 2));
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11 12 13"]);
});

test("I20: power loss between flag and sync: a flag without all of its data says nothing, one with it counts", () => {
  for (const [lost, applied] of [
    ["stage 1.1", []],
    ["stage 1.2 1.S", []],
    ["flag 1", []],
    ["none", ["apply 1: 11 12"]],
  ] as const) {
    const rig = createFedRig();
    const [first, ...others] = makeSet(1, 2);
    give(rig, [first ?? assert.fail()]);
    give(rig, others);
    const place = effects(rig, /^(stage|flag)/).indexOf(lost) + 1;
    restart(rig, (record) => record.place !== place);
    settle(rig);
    assert.deepEqual(effects(rig, /^apply/), applied, lost);
    open(rig);
    give(rig, makeSet(1, 2));
    settle(rig);
    assert.equal(rig.staging.applied.lsn, 12);
  }
});

test("S21, I13: sets on record as applied are not applied again, and the log lets them go", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  settle(rig);
  rest(rig);
  settle(rig);
  give(rig, makeSet(2, 1));
  settle(rig);
  restart(rig);
  settle(rig);
  assert.deepEqual(effects(rig), ["sync", "forget 2", "started", "apply 2: 21"]);
  assert.deepEqual(rig.staging.applied, { set: 2, lsn: 21, stampMs: 2 });
});

// ------------------------------------------------------------------ sessions, incarnations, gaps

test("S5: a new session keeps what is staged; what comes late by the one before is not taken [I15]", () => {
  const rig = createFedRig();
  const one = makeSet(1, 2);
  give(rig, one.slice(0, 1));
  step(rig, { kind: "lost" });
  give(rig, one.slice(1));
  assert.deepEqual(effects(rig), ["stage 1.1", "release 1.2"]);
  open(rig, { incarnation: 2 });
  give(rig, one.slice(1), { epoch: 1 });
  assert.deepEqual(effects(rig, /^(stage|ack|ready)/), ["ready"]);
  give(rig, one.slice(1));
  settle(rig);
  assert.deepEqual(effects(rig, /^(apply|ack)/), ["ack 0:2", "apply 1: 11 12"]);
});

test("decision 5: the first set of an incarnation follows the last of the one before; what never became whole goes", () => {
  const rig = createFedRig();
  give(rig, [...makeSet(1, 1), makeEntry(2, 1), ...makeSet(3, 1)]);
  settle(rig);
  open(rig, { incarnation: 2 });
  give(rig, makeSet(100, 1, { offset: 2, incarnation: 2 }));
  give(rig, makeSet(101, 1));
  give(rig, makeSet(99, 1, { offset: 98 }));
  effects(rig);
  settle(rig);
  const wanted = ["release 2.1 3.1 99.1", "apply 100: 1001", "apply 101: 1011"];
  assert.deepEqual(effects(rig, /^(apply|release)/), wanted);
  give(rig, makeSet(2, 1));
  assert.deepEqual(effects(rig, /^(stage|release)/), ["release 2.1"]);
  assert.equal(rig.staging.sets.size + rig.staging.covering.length, 0);
  restart(rig);
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11", "apply 100: 1001", "apply 101: 1011"]);
});

test("decision 12: a set that covers more goes where what is applied leads to it, not before, and not over a complete one", () => {
  const rig = createFedRig();
  give(rig, makeSet(9, 1, { offset: 3 }));
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), []);
  give(rig, makeSet(1, 1));
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11"]);
  give(rig, makeSet(3, 1));
  settle(rig);
  give(rig, makeSet(2, 1));
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 2: 21", "apply 3: 31", "apply 9: 91"]);
});

test("a session that would go on behind a gap, or begin anew below what is complete, is refused", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  settle(rig);
  effects(rig);
  open(rig, { firstSet: 3 });
  assert.deepEqual(effects(rig), ["fail: sets from 3 on, where those behind 1 are missing"]);
  open(rig, { firstSet: 1, resync: true });
  assert.match(effects(rig)[0] ?? "", /^fail: a resync that begins with set 1, where set 1/);
  open(rig, { firstSet: 1 });
  assert.deepEqual(effects(rig), ["ready", "complete 1 applied 1 synced 0"]);
});

test("I33: watermarks are contiguous, and each follows the one before", () => {
  const rig = createFedRig();
  const marks = (): number[] => {
    const { received, staged, complete, applied, synced } = watermarksOf(rig.staging);
    return [received, staged, complete, applied, synced];
  };
  // What has come and is not complete lags, and not behind the apply.
  const applyLagBytes = (): number => completeBytes(rig.staging);
  const [first, second, third] = makeSet(1, 3);
  give(rig, [first ?? assert.fail(), third ?? assert.fail()]);
  assert.deepEqual(marks(), [11, 0, 0, 0, 0]);
  rest(rig, limits.tickMs);
  give(rig, [second ?? assert.fail()]);
  settle(rig);
  assert.deepEqual(marks(), [13, 11, 0, 0, 0]);
  give(rig, makeSet(2, 2).slice(0, 1));
  give(rig, makeSet(1, 3).slice(3));
  assert.deepEqual(marks(), [21, 11, 0, 0, 0]);
  assert.equal(applyLagBytes(), 0);
  settle(rig, /^(stage|flag|sync)/);
  assert.deepEqual(marks(), [21, 21, 13, 0, 0]);
  assert.equal(applyLagBytes(), 3 * (first?.length ?? 0));
  settle(rig);
  rest(rig);
  settle(rig);
  assert.deepEqual(marks(), [21, 21, 13, 13, 13]);
  assert.equal(applyLagBytes(), 0);

  const memory = createFedRig("memory");
  for (const set of [1, 2]) give(memory, makeSet(set, 1));
  give(memory, makeSet(3, 0, { lsn: 5 }));
  settle(memory);
  const { received, staged, complete } = watermarksOf(memory.staging);
  assert.deepEqual([received, staged, complete], [21, 21, 21], "nor does one go back");
});

// ---------------------------------------------------------------------------------------- resync

test("decision 10: while regions come a set waits for its MARK; WHOLE ends that, and says when the image is consistent", () => {
  const rig = createRig();
  open(rig, { firstSet: 5, lsn: 44, resync: true });
  settle(rig);
  assert.deepEqual(effects(rig), [
    "started",
    "syncImages",
    "record 4",
    "ready",
    "complete 4 applied 4 synced 4",
  ]);
  for (const set of [5, 6, 7, 8]) give(rig, makeSet(set, 1));
  settle(rig);
  assert.deepEqual(effects(rig, /^(apply|complete)/).slice(-1), ["complete 8 applied 4 synced 4"]);
  step(rig, { kind: "mark", set: 6 });
  step(rig, { kind: "mark", set: 5 });
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 5: 51", "apply 6: 61"]);
  step(rig, { kind: "whole", set: 8 });
  answer(rig, "apply 7");
  assert.deepEqual(effects(rig, /^(apply|cons)/), ["apply 7: 71", "apply 8: 81"]);
  answer(rig, "apply 8");
  assert.deepEqual(effects(rig, /^cons/), ["consistent at 8"]);
  give(rig, makeSet(9, 1));
  settle(rig);
  step(rig, { kind: "whole", set: 9 });
  assert.deepEqual(effects(rig, /^(apply|cons)/), ["apply 9: 91", "consistent at 9"]);
});

test("decision 10: before sets begin anew, complete ones are in the image and the rest is gone; and a restart knows", () => {
  const rig = createFedRig();
  give(rig, [...makeSet(1, 1), makeEntry(2, 1), ...makeSet(3, 1)]);
  settle(rig, /^(stage|flag|sync)/);
  effects(rig);
  open(rig, { firstSet: 50, lsn: 499, resync: true });
  assert.deepEqual(effects(rig), ["release 2.1 3.1"]);
  give(rig, makeSet(50, 1));
  assert.match(effects(rig, /^fail/)[0] ?? "", /a batch came before BEGIN was answered/);
  open(rig, { firstSet: 50, lsn: 499, resync: true });
  answer(rig, "apply 1");
  answer(rig, "syncImages");
  assert.deepEqual(effects(rig), ["syncImages", "record 49"]);
  answer(rig, "record");
  assert.deepEqual(effects(rig), ["ready", "forget 2", "complete 49 applied 49 synced 49"]);
  give(rig, makeSet(50, 1));
  settle(rig);
  restart(rig);
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 50: 501"]);
});

test("decision 10: what a resync said of an earlier one's end does not hold for a new one", () => {
  const rig = createRig();
  open(rig, { firstSet: 5, lsn: 44, resync: true });
  settle(rig);
  step(rig, { kind: "whole", set: 5 });
  step(rig, { kind: "lost" });
  open(rig, { firstSet: 7, lsn: 60, resync: true });
  settle(rig);
  assert.deepEqual(effects(rig, /^(ready|cons)/), ["ready", "ready"]);
});

test("a lost session lets marked sets and unmarked ones go: no region of it comes any more", () => {
  const rig = createRig();
  open(rig, { firstSet: 5, lsn: 44, resync: true });
  settle(rig);
  give(rig, makeSet(5, 1));
  settle(rig);
  effects(rig);
  step(rig, { kind: "lost" });
  assert.deepEqual(effects(rig), ["apply 5: 51"]);
});
