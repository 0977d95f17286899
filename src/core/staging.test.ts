import assert from "node:assert/strict";
import { test } from "node:test";
import { limits, MiB } from "#base/limits.ts";
import {
  answer,
  createFedRig,
  createRig,
  effects,
  failure,
  give,
  makeEntry,
  makeSet,
  nameOf,
  open,
  rest,
  restart,
  settle,
  step,
  wordsOf,
} from "../../test/support/staging-rig.ts";
import { digestStep } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { stepStaging } from "./staging.ts";
import { viewSets, watermarksOf } from "./staging-state.ts";
import type { StagingEffect } from "./staging-state.ts";

// The machine of staging alone: its effects in words, what they wait for answered in any order.

// ---------------------------------------------------------------------------------- completeness

test("S8, S18, S20, I20: a set is complete when one sync has answered for its data and the flag behind it, and applied then", () => {
  const rig = createFedRig();
  const [first, second, seal] = makeSet(1, 2);
  give(rig, [first ?? assert.fail()]);
  give(rig, [seal ?? assert.fail()]);
  assert.deepEqual(effects(rig), ["stage 1.1", "stage 1.S"]);
  give(rig, [second ?? assert.fail()]);
  assert.deepEqual(effects(rig), ["stage 1.2", "flag 1", "sync"]);
  for (let i = 0; i < 4; i += 1) answer(rig, i < 3 ? "stage" : "flag");
  assert.deepEqual(effects(rig), [], "a flag that may be lost is no promise");
  answer(rig, "sync");
  assert.deepEqual(effects(rig), ["ack 0:3", "apply 1: 11 12", "complete 1 applied 0 synced 0"]);
  answer(rig, "apply");
  assert.deepEqual(effects(rig), ["complete 1 applied 1 synced 0"]);
  assert.deepEqual(rig.staging.complete, { set: 1, lsn: 12, stampMs: 1 });
});

test("decision 15: what becomes whole during a sync shares the next one, flags and data of many sets", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  for (const set of [3, 2, 5, 4]) give(rig, makeSet(set, 1));
  assert.equal(effects(rig, /^(flag|sync)/).length, 2);
  for (const words of ["stage 1", "flag 1", "stage", "stage", "stage", "stage", "sync"])
    answer(rig, words);
  assert.deepEqual(effects(rig, /^(flag|sync|ack)/), ["ack 0:1", "flag 3 2 5 4", "sync"]);
  answer(rig, "flag");
  answer(rig, "sync");
  assert.deepEqual(effects(rig, /^(ack|apply)/).length, 5);
});

test("S9: a batch is acked when it is durable, the set not being complete; a duplicate waits for what it repeats", () => {
  const rig = createFedRig();
  const [first, second] = makeSet(1, 3);
  give(rig, [first ?? assert.fail()]);
  give(rig, [first ?? assert.fail()], { lane: 1 });
  give(rig, [second ?? assert.fail()]);
  assert.deepEqual(effects(rig), ["stage 1.1", "release 1.1", "stage 1.2"]);
  rest(rig, limits.tickMs);
  assert.deepEqual(effects(rig), ["sync"]);
  settle(rig);
  assert.deepEqual(effects(rig), ["ack 0:3", "ack 1:2"]);
  give(rig, [second ?? assert.fail()]);
  assert.deepEqual(effects(rig), ["release 1.2", "ack 0:4"]);
  rest(rig, limits.tickMs);
  assert.deepEqual(effects(rig), [], "nothing is to be synced");
});

test("S11: a batch is staged as it came where all of it is new; else the log gets what is new alone", () => {
  const rig = createFedRig();
  const raws: unknown[] = [];
  const raw = "as it came";
  const [first, second] = makeSet(1, 2).map((entry) => ({ entries: [entry], held: ["here"], raw }));
  const both = { entries: makeSet(1, 2), held: ["here", "here", undefined], raw };
  for (const [i, batch] of [first, second, both].entries()) {
    const out: StagingEffect<string>[] = [];
    const event = { kind: "batch", epoch: rig.epoch, lane: 0, sequence: i + 1 } as const;
    stepStaging(rig.staging, { ...event, batch: batch ?? assert.fail() }, out);
    for (const effect of out) if (effect.kind === "stage") raws.push(effect.batch.raw);
    if (i === 2) assert.deepEqual(out.map(wordsOf).slice(0, 2), ["stage 1.S", "release here here"]);
  }
  assert.deepEqual(raws, [raw, raw, undefined]);
});

test("S13, S14, S23, I13: sets become complete by themselves and are applied in order; what is ahead waits", () => {
  const rig = createFedRig();
  const sets = [1, 2, 3].map((set) => makeSet(set, 2));
  const [one = [], two = [], three = []] = sets;
  give(rig, three);
  give(rig, [two[0] ?? assert.fail(), one[1] ?? assert.fail(), two[2] ?? assert.fail()]);
  give(rig, [one[2] ?? assert.fail(), two[1] ?? assert.fail()]);
  settle(rig);
  assert.deepEqual(effects(rig, /^(apply|complete)/), []);
  assert.deepEqual(viewSets(rig.staging, 10), [
    { set: 3, received: 2, expected: 2, phase: "complete" },
    { set: 2, received: 2, expected: 2, phase: "complete" },
    { set: 1, received: 1, expected: 2, phase: "receiving" },
  ]);
  give(rig, one);
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11 12", "apply 2: 21 22", "apply 3: 31 32"]);
});

test("I15, S5: entries of complete and of applied sets, and what is staged already, have no effect but their ack", () => {
  const rig = createFedRig();
  const one = makeSet(1, 1);
  give(rig, one);
  give(rig, one);
  settle(rig);
  effects(rig);
  give(rig, [...one, ...makeSet(2, 1), ...one]);
  assert.deepEqual(effects(rig, /^(stage|release)/), ["stage 2.1 2.S", "release 1.1 1.1"]);
  settle(rig);
  assert.equal(effects(rig, /^apply/).length, 1);
});

test("I20: a set that is not what its SEAL says is never flagged; its session ends, and it may come again", () => {
  const rig = createFedRig();
  const plain = makeSet(1, 2);
  const wrong = plain.map((entry) => (entry.index === 1 ? { ...entry, payloadCrc: 9 } : entry));
  give(rig, [...makeSet(2, 1), ...wrong]);
  assert.deepEqual(effects(rig), [
    "stage 2.1 2.S 1.1 1.2",
    "release 1.1 1.2",
    "fail: set 1 has another content than its SEAL says: the digests differ",
    "flag 2",
    "sync",
  ]);
  settle(rig);
  open(rig);
  give(rig, plain);
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11 12", "apply 2: 21"]);
  restart(rig);
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11 12", "apply 2: 21"]);
});

test("I20: who contradicts itself about a set loses what is here of it, unless the set is whole already", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 2).slice(0, 2));
  give(rig, [makeEntry(1, 2, { payloadCrc: 9 })]);
  const why = "fail: set 1 has index 2 twice, with different content";
  assert.deepEqual(effects(rig), ["stage 1.1 1.2", "release 1.1 1.2 1.2", why]);
  assert.deepEqual(viewSets(rig.staging, 10), []);
  open(rig);
  give(rig, makeSet(2, 1));
  give(rig, [makeEntry(2, 1, { payloadCrc: 9 }), makeEntry(2, 9)]);
  settle(rig);
  give(rig, [makeEntry(2, 9), ...makeSet(1, 2)]);
  settle(rig);
  assert.deepEqual(effects(rig, /^(apply|fail)/), ["apply 1: 11 12", "apply 2: 21"]);
});

test("I36, I34: nonsense and floods end the session in words; what came before is kept, and no ack follows", () => {
  const many = Array.from({ length: limits.setsAtCopyMax + 1 }, (_, i) => makeEntry(i + 2, 1));
  const huge = { length: limits.stagingBytesMax };
  const cases: [entries: readonly Entry[], why: RegExp][] = [
    [many, /more than 65536 sets that are not applied/],
    [
      [makeEntry(1, 1), { ...makeEntry(1, 2), ...huge }],
      /more than \d+ bytes that are not applied/,
    ],
    [[makeEntry(1, 1), { ...makeEntry(1, 2), incarnation: 2 }], /incarnation 2, after this one/],
    [[makeEntry(1, 1), makeEntry(0, 1)], /an entry belongs to no set/],
    [[makeEntry(1, 1), makeEntry(2, 0)], /set 2 has index 0/],
  ];
  for (const [entries, why] of cases) {
    const rig = createFedRig();
    give(rig, entries);
    const kept = entries.slice(0, -1).map(nameOf).join(" ");
    const last = entries.at(-1) ?? assert.fail();
    const [stage, release, fail = ""] = effects(rig);
    assert.deepEqual([stage, release], [`stage ${kept}`, `release ${nameOf(last)}`]);
    assert.match(fail, why);
    give(rig, [makeEntry(1, 3)]);
    assert.deepEqual(effects(rig), ["release 1.3"]);
    rest(rig);
    settle(rig);
    assert.deepEqual(effects(rig, /ack/), []);
  }
});

test("a failed append or sync of staging is final: nothing of it is acked, complete or applied, now or in a new session", () => {
  for (const what of ["stage", "sync"]) {
    const rig = createFedRig();
    give(rig, makeSet(1, 1));
    if (what === "stage") step(rig, { kind: "stageFailed", failure });
    else {
      answer(rig, "stage");
      answer(rig, "flag");
      rig.pending.length = 0;
      const { ticket } = rig.staging;
      step(rig, { kind: "synced", ticket, failure });
    }
    settle(rig);
    open(rig);
    give(rig, makeSet(2, 1));
    rest(rig);
    const words = effects(rig).filter((each) => !/^(stage 1|flag 1|sync|release 2)/.test(each));
    const [failed = "", told, again = "", ...more] = words;
    for (const each of [failed, again])
      assert.match(each, /^fail: (staging|fdatasync of staging) here .*EIO$/);
    assert.equal(told, "stagingFailed");
    assert.deepEqual(more, []);
  }
});

test("a log whose first sync fails after a restart keeps nobody waiting, and nothing that it had counts", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  settle(rig, /^(stage|flag|sync)/);
  restart(rig);
  const { ticket } = rig.staging;
  rig.pending.length = 0;
  step(rig, { kind: "synced", ticket, failure });
  const why = "fail: fdatasync of staging here failed: EIO";
  assert.deepEqual(effects(rig), ["sync", why, "stagingFailed", "started"]);
  step(rig, { kind: "settle" });
  assert.deepEqual(effects(rig).slice(-1), ["settled at 0, LSN 0: all"]);
});

test("a set's stamp is that of its SEAL, also behind one of a primary whose clock was ahead", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1, { stampMs: 600_000 }));
  give(rig, makeSet(2, 1, { stampMs: 5_000 }));
  settle(rig);
  assert.deepEqual(rig.staging.complete, { set: 2, lsn: 21, stampMs: 5_000 });
});

// ------------------------------------------------------------------------- application, forgetting

test("I10, I13: sets under way are bounded, and one alone goes whatever its size", () => {
  const rig = createFedRig();
  const large = (set: number): Entry[] => {
    const entry = { ...makeEntry(set, 1), length: 20 * MiB };
    const [, seal] = makeSet(set, 1, { payloadCrc: digestStep(0, entry) });
    return [entry, seal ?? assert.fail()];
  };
  for (const set of [1, 2, 3]) give(rig, large(set));
  for (let set = 4; set <= 4 + limits.applyingSetsMax; set += 1) give(rig, makeSet(set, 0));
  const count = rig.staging.sets.size;
  settle(rig, /^(stage|flag|sync)/);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11"]);
  answer(rig, "apply 1");
  answer(rig, "apply 2");
  assert.equal(effects(rig, /^apply/).length, 1 + limits.applyingSetsMax);
  settle(rig);
  assert.equal(rig.staging.applied.set, count);
});

test("one rule of forgetting: the log keeps a set until it is applied, synced in the images and on record, in this order", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  give(rig, [makeEntry(3, 1), ...makeSet(2, 1)]);
  settle(rig);
  effects(rig);
  rest(rig, limits.applyIdleMs - 1);
  assert.deepEqual(effects(rig), []);
  rest(rig, 1);
  assert.deepEqual(effects(rig), ["syncImages"]);
  answer(rig, "syncImages");
  assert.deepEqual(effects(rig), ["record 2"]);
  answer(rig, "record");
  assert.deepEqual(effects(rig), ["forget 2", "complete 2 applied 2 synced 2"]);
  give(rig, makeSet(3, 1));
  settle(rig);
  rest(rig);
  settle(rig);
  assert.deepEqual(effects(rig, /^forget/), ["forget 6"]);
  assert.equal(rig.staging.records.count, 0);
  const { waitingBytes, appliedBytes, applyingBytes } = rig.staging;
  assert.deepEqual([waitingBytes, appliedBytes, applyingBytes], [0, 0, 0]);
});

test("images are synced when much was applied, and at the latest after a while, though there is no rest", () => {
  const rig = createFedRig();
  for (let set = 1; set <= limits.applySyncMsMax / 500; set += 1) {
    give(rig, makeSet(set, 0));
    settle(rig);
    rest(rig, 500);
  }
  assert.equal(effects(rig, /^syncImages/).length, 1);
  const busy = createFedRig();
  for (let set = 1; set <= limits.applyUnsyncedSetsMax; set += 1) give(busy, makeSet(set, 0));
  settle(busy);
  assert.equal(effects(busy, /^syncImages/).length, 1);
  assert.ok(limits.applyingBytesMax <= limits.applyUnsyncedBytesMax);
  assert.ok(limits.applyUnsyncedBytesMax < limits.stagingBytesMax);
  assert.ok(limits.applyUnsyncedSetsMax + limits.applyingSetsMax < limits.setsAtCopyMax);
});

test("row 39: an image that cannot be written or synced ends the session; nothing behind it counts as applied", () => {
  const rig = createFedRig();
  for (const set of [1, 2]) give(rig, makeSet(set, 1));
  settle(rig, /^(stage|flag|sync)/);
  rig.pending.shift();
  effects(rig);
  step(rig, { kind: "applied", set: 1, failure });
  // Every write of a set that fails tells of it, and so do those of the sets behind.
  step(rig, { kind: "applied", set: 1, failure });
  step(rig, { kind: "applied", set: 2, failure: undefined });
  settle(rig);
  open(rig);
  const why = "fail: the image here cannot be written: EIO";
  assert.deepEqual(effects(rig), [why, why]);
  assert.equal(rig.staging.applied.set, 0);

  const unsynced = createFedRig();
  give(unsynced, makeSet(1, 1));
  settle(unsynced);
  rest(unsynced);
  unsynced.pending.length = 0;
  effects(unsynced);
  step(unsynced, { kind: "imagesSynced", failure });
  assert.deepEqual(effects(unsynced), ["fail: fdatasync of the image here failed: EIO"]);
});

// ---------------------------------------------------------------------------------------- memory

test("S12: from memory all is acked as it comes, early SEALs too; a set is staged whole, flagged, synced, and then applied", () => {
  const rig = createFedRig("memory");
  const [first, second, seal] = makeSet(1, 2);
  give(rig, [seal ?? assert.fail()]);
  give(rig, [second ?? assert.fail()], { lane: 1 });
  rest(rig);
  assert.deepEqual(effects(rig), ["ack 0:1", "ack 1:2"]);
  give(rig, [first ?? assert.fail()]);
  assert.deepEqual(effects(rig), ["stage 1.1 1.2 1.S", "ack 0:3", "flag 1", "sync"]);
  answer(rig, "stage");
  answer(rig, "flag");
  assert.deepEqual(effects(rig), []);
  answer(rig, "sync");
  assert.deepEqual(effects(rig), ["apply 1: 11 12", "complete 1 applied 0 synced 0"]);
});

test("S12, S22: what lay in memory alone is gone with the process, and comes again", () => {
  const rig = createFedRig("memory");
  give(rig, makeSet(1, 3).slice(1));
  restart(rig);
  assert.deepEqual([rig.records.size, rig.staging.sets.size], [0, 0]);
  open(rig);
  give(rig, makeSet(1, 3));
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 1: 11 12 13"]);
});

test("S12: a large set is staged from memory in records that a batch may have", () => {
  const rig = createFedRig("memory");
  const count = limits.batchEntriesMax + 1;
  const plain = Array.from({ length: count }, (_, i) => makeEntry(1, i + 1, { kind: "zero" }));
  const lsn = plain.at(-1)?.lsn ?? 0;
  const [seal] = makeSet(1, 0, { index: count + 1, payloadCrc: plain.reduce(digestStep, 0), lsn });
  give(rig, [...plain, seal ?? assert.fail()]);
  const sizes = effects(rig, /^stage/).map((words) => words.split(" ").length - 1);
  assert.equal(sizes.length, 2);
  assert.equal(Math.max(...sizes), limits.batchEntriesMax);
  settle(rig);
  rest(rig);
  settle(rig);
  assert.equal(rig.staging.records.count, 0);
});

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

// ------------------------------------------------------------------- sessions, incarnations, gaps

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
  settle(rig, /^(stage|flag|sync)/);
  assert.deepEqual(marks(), [21, 21, 13, 0, 0]);
  settle(rig);
  rest(rig);
  settle(rig);
  assert.deepEqual(marks(), [21, 21, 13, 13, 13]);

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

// -------------------------------------------------------------------------------------- promotion

test("S14, I13: settling applies all that is contiguous and whole, and drops what is behind a gap, complete or not (U50)", () => {
  const rig = createFedRig();
  give(rig, [...makeSet(1, 1), ...makeSet(4, 1)]);
  settle(rig, /^(stage|flag|sync)/);
  give(rig, [...makeSet(2, 1), makeEntry(3, 1)]);
  effects(rig);
  step(rig, { kind: "settle" });
  settle(rig);
  assert.deepEqual(effects(rig), [
    "apply 2: 21",
    "syncImages",
    "record 2",
    "release 4.1 3.1",
    "forget 4",
    "settled at 2, LSN 21: all",
  ]);
  open(rig);
  give(rig, makeSet(3, 1));
  rest(rig);
  assert.deepEqual(effects(rig), ["fail: this copy is being promoted"]);
});

test("row 39: settling with an image that failed says so, and up to where the image is sure", () => {
  const rig = createFedRig();
  for (const set of [1, 2]) give(rig, makeSet(set, 1));
  settle(rig, /^(stage|flag|sync)/);
  answer(rig, "apply 1");
  step(rig, { kind: "settle" });
  rig.pending.length = 0;
  effects(rig);
  step(rig, { kind: "applied", set: 2, failure });
  assert.match(effects(rig).join(), /settled at 0, LSN 0: the image here cannot be written: EIO/);
  const idle = createRig();
  step(idle, { kind: "settle" });
  assert.deepEqual(effects(idle), ["started", "settled at 0, LSN 0: all"]);
});
