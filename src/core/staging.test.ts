import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import {
  answer,
  createFedRig,
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
import { viewSets } from "./staging-state.ts";
import type { StagingEffect } from "./staging-state.ts";

// The machine of staging alone: when a set is complete. Its effects in words, what they wait for answered in any order.

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
