import assert from "node:assert/strict";
import { test } from "node:test";
import { samplePolicy } from "../../test/support/sample-primary.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { sampleSeals } from "../../test/support/sample-seals.ts";
import { wantRound } from "./flush.ts";
import { blankMember } from "./group-record.ts";
import { createJournal } from "./journal.ts";
import type { Journal } from "./journal.ts";
import { overflowing, releaseJournal, tailHolder, tailLsn } from "./journal-room.ts";
import { logCaughtUp, logLocated, logOverflowed, logged } from "./log-members.ts";
import { flushed, loseMember } from "./members.ts";
import { lossTable, policyTable } from "./policy.ts";
import { retainedAfter } from "./open-map.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { createPrimary } from "./primary.ts";
import { createRegionMap } from "./region-map.ts";
import { firstSetFor, heldFor, lacksRelay } from "./relay.ts";
import { judgePosition } from "./set-members.ts";
import { mayConnect } from "./slow.ts";

// A relay as the primary sees it: when its copy may be fed, what the journal keeps, and what INVALIDATE does.

type Bench = {
  readonly primary: Primary;
  readonly journal: Journal;
  readonly west: Member;
  readonly gate: Member;
  readonly out: PrimaryEffect[];
};

/** The images have everything up to LSN 200; west has LSN 50, set 20; gate's log begins with set 10. */
function createBench(overflow: Journal["overflow"] = "trip"): Bench {
  const phase = { ...blankMember(), phase: "synchronized" as const };
  const record = sampleRecord({
    members: { west: { ...phase, replicaId: "w" }, gate: { ...phase, replicaId: "g" } },
  });
  const policy = sampleSeals({ bytesMax: 65_536 });
  const found = { nextSet: 100, openSet: undefined, lastSealedSet: 99, bytesUsed: 0, firstSet: 60 };
  const journal = createJournal(
    { policy, overflow, bytesMax: 1 << 30, segmentBytes: 1 << 26 },
    { ...found, lastLsn: 200, lastWriteLsn: 200 },
    0,
  );
  const primary = createPrimary({
    record,
    policies: [
      samplePolicy({ site: "west", mode: policyTable.cycle, through: "gate" }),
      samplePolicy({ site: "gate", mode: policyTable.bunker, loss: lossTable.override }),
    ],
    durability: "flush",
    openMaps: record.volumes.map(({ bytes }) => createRegionMap(bytes, 1024 * 1024)),
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal,
    isJournalWhole: true,
  });
  const [west, gate] = primary.members;
  assert.ok(west && gate);
  primary.nextLsn = 201;
  primary.syncedLsn = 200;
  primary.lsnReserved = 1_000;
  primary.stage = "serving";
  Object.assign(west.sets, { isTold: true, completeSet: 20, completeLsn: 50 });
  gate.stage = "synchronized";
  gate.log.firstSet = 10;
  return { primary, journal, west, gate, out: [] };
}

/** It has told of this entry, and a flush that was asked for after that has been answered. */
function sync({ primary, gate, out }: Bench, lsn: number, set: number): void {
  logged(primary, gate, { incarnation: 0, lsn, set, index: 3 }, out);
  const flush = { kind: "joining", coverLsn: 0, atMs: 0, told: gate.log.told } as const;
  gate.flushes.set(7, flush);
  flushed(primary, gate, 7, out);
}

function kinds({ out }: Bench): string[] {
  return out.splice(0).map(({ kind }) => kind);
}

test("a copy behind a relay is dialled while that streams; before hosts are served it is asked all the same", () => {
  const { primary, west, gate } = createBench();
  assert.ok(!lacksRelay(primary, west) && mayConnect(primary, west));
  for (const stage of ["none", "opening", "resync", "joining"] as const) {
    gate.stage = stage;
    assert.ok(lacksRelay(primary, west) && !mayConnect(primary, west), stage);
  }
  west.sets.isTold = false;
  assert.ok(mayConnect(primary, west), "nobody knows how far it is");
  west.record.phase = "dirty";
  assert.ok(!mayConnect(primary, west), "it is compared wherever it is");
  primary.stage = "starting";
  assert.ok(mayConnect(primary, west), "it may have been promoted");
});

test("A2, I17: the journal lets go what the relay has synced, the relay only what the copy has", () => {
  const bench = createBench();
  const { primary, out } = bench;
  releaseJournal(primary, out);
  assert.deepEqual(out.splice(0), [
    { kind: "reclaim", lsn: 50, set: 20, neededSet: 20 },
    { kind: "sendReleased", member: 1, lsn: 50, set: 20 },
  ]);
  logged(primary, bench.gate, { incarnation: 0, lsn: 120, set: 70, index: 1 }, out);
  releaseJournal(primary, out);
  assert.deepEqual(kinds(bench), [], "in its page cache is not enough");
  sync(bench, 150, 80);
  out.length = 0;
  releaseJournal(primary, out);
  // Of the set in which its log was synced, the end may be missing there.
  assert.deepEqual(out, [{ kind: "reclaim", lsn: 150, set: 79, neededSet: 20 }]);
  assert.equal(tailLsn(primary), 150);
});

test("I17: what a relay has counts only where it leads on from what the copy has, and where a full journal may trip", () => {
  const bench = createBench();
  sync(bench, 150, 80);
  const { primary, journal, west, gate } = bench;
  gate.log.firstSet = 22;
  assert.deepEqual(heldFor(primary, journal, west), { lsn: 50, set: 20 }, "set 21 is missing");
  gate.log.firstSet = 21;
  assert.deepEqual(heldFor(primary, journal, west), { lsn: 150, set: 79 });
  for (const overflow of ["stall", "fail"] as const) {
    const strict = createBench(overflow);
    sync(strict, 150, 80);
    assert.deepEqual(heldFor(strict.primary, strict.journal, strict.west), { lsn: 50, set: 20 });
  }
});

test("I17: of a copy that was not heard since the start, its relay's log is taken to lead on from what it has", () => {
  const bench = createBench();
  const { primary, journal, west, gate, out } = bench;
  Object.assign(west.sets, { isTold: false, completeSet: 0, completeLsn: 0 });
  assert.equal(heldFor(primary, journal, west).lsn, 0, "nothing is known to be synced");
  journal.bytesUsed = journal.bytesMax;
  assert.equal(overflowing(primary, out), undefined, "the relay's sync is asked for");
  sync(bench, 150, 80);
  assert.deepEqual(heldFor(primary, journal, west), { lsn: 150, set: 79 });
  assert.equal(retainedAfter(primary), 0, "and everything stays open for it");
  out.length = 0;
  releaseJournal(primary, out);
  assert.deepEqual(kinds(bench), ["reclaim"], "the relay lets go of nothing");
  logOverflowed(primary, gate, out);
  assert.equal(west.record.phase, "dirty");
  const stalled = createBench("stall");
  sync(stalled, 150, 80);
  stalled.west.sets.isTold = false;
  assert.equal(heldFor(stalled.primary, stalled.journal, stalled.west).lsn, 50);
});

test("I17: while a relay is lost, what it had synced stays let go; of what it returns with nothing counts before it is synced anew", () => {
  const bench = createBench();
  sync(bench, 150, 80);
  const { primary, journal, west, gate, out } = bench;
  west.stage = "synchronized";
  out.length = 0;
  loseMember(primary, gate, "a cut", out);
  const [closed] = out;
  assert.deepEqual(closed, { kind: "closeSession", member: 0, why: "its relay gate: a cut" });
  assert.equal(heldFor(primary, journal, west).lsn, 150);
  gate.stage = "opening";
  gate.epoch = 3;
  logLocated(primary, gate, { epoch: 3, isFound: true }, out);
  assert.equal(heldFor(primary, journal, west).lsn, 50);
  logCaughtUp(primary, gate, 10, out);
  assert.equal(heldFor(primary, journal, west).lsn, 50, "it may have lost its power");
});

test("I16: a copy goes on where its relay's log has all it lacks, whatever the journal has let go; otherwise what is open is dirty", () => {
  const hello = {
    replicaId: "w",
    history: [],
    aloneTowards: [],
    isBlank: false,
    mustRewrite: false,
    completeSet: 20,
    completeLsn: 50,
    discards: [],
  };
  const { primary, journal, west, gate, out } = createBench();
  assert.ok(journal.firstSet > 21);
  assert.equal(firstSetFor(primary, journal, west), 10);
  judgePosition(primary, west, hello, out);
  assert.equal(west.record.phase, "synchronized");
  gate.stage = "none";
  gate.log.firstSet = Infinity;
  judgePosition(primary, west, hello, out);
  assert.equal(west.record.phase, "synchronized", "nobody knows what the relay has");
  gate.stage = "synchronized";
  gate.log.firstSet = 22;
  judgePosition(primary, west, hello, out);
  assert.equal(west.record.phase, "dirty");
});

test("A18, I25: INVALIDATE trips the copy that the relay's log is full for: on record first, then the logs are let go", () => {
  const bench = createBench();
  const { primary, west, gate, out } = bench;
  west.stage = "synchronized";
  logOverflowed(primary, gate, out);
  assert.equal(west.record.phase, "dirty");
  const order = kinds(bench);
  assert.ok(order.includes("createDirtyMaps") && order.includes("closeSession"));
  assert.ok(order.indexOf("createDirtyMaps") < order.lastIndexOf("record"));
  assert.equal(tailHolder(primary), west, "kept until that is durable");
  releaseJournal(primary, out);
  assert.ok(!out.some((effect) => effect.kind === "sendReleased" && effect.lsn > 50));
});

test("I25: INVALIDATE trips nobody whose tail is not the relay's, or whose images lag, or under stall", () => {
  const cases: readonly ((bench: Bench) => void)[] = [
    ({ west }) => Object.assign(west.policy, { through: undefined }),
    ({ primary, journal }) => {
      primary.syncedLsn = 50;
      Object.assign(journal, { replayedLsn: 0 });
    },
    // Its journal has all that the copy lacks: it is full before the relay's log is.
    ({ journal }) => Object.assign(journal, { overflow: "stall", firstSet: 21 }),
  ];
  for (const change of cases) {
    const bench = createBench();
    change(bench);
    logOverflowed(bench.primary, bench.gate, bench.out);
    assert.equal(bench.west.record.phase, "synchronized");
    assert.deepEqual(kinds(bench), []);
  }
});

test("I25: a full journal of what the relay has and has not synced trips nobody: that sync is asked for", () => {
  const bench = createBench();
  const { primary, journal, west, gate, out } = bench;
  journal.bytesUsed = journal.bytesMax;
  assert.equal(overflowing(primary, out), undefined);
  assert.ok(kinds(bench).includes("sendFlush"));
  gate.stage = "none";
  assert.equal(overflowing(primary, out), west, "nobody would sync it");
});

test("I25: stall or fail chosen anew: while the relay alone has what its copy lacks, a full log trips that copy still", () => {
  for (const overflow of ["stall", "fail"] as const) {
    const bench = createBench();
    const { primary, journal, west, gate, out } = bench;
    sync(bench, 150, 80);
    assert.ok(journal.firstSet > 21, "let go while a full journal might trip");
    journal.overflow = overflow;
    journal.bytesUsed = journal.bytesMax;
    assert.equal(overflowing(primary, out), undefined, "hosts wait for the copy, which is fed");
    gate.stage = "none";
    assert.equal(overflowing(primary, out), west, "its relay may have no room to be fed in");
    gate.stage = "synchronized";
    logOverflowed(primary, gate, out);
    assert.equal(west.record.phase, "dirty");
  }
});

test("I25: with stall nobody is tripped once the journal has all that the copy lacks, though one was being tripped before", () => {
  const bench = createBench();
  const { primary, journal, west, gate, out } = bench;
  journal.bytesUsed = journal.bytesMax;
  gate.stage = "none";
  assert.equal(overflowing(primary, out), west);
  Object.assign(journal, { overflow: "stall", firstSet: 21 });
  assert.equal(overflowing(primary, out), undefined);
  assert.ok(!journal.isTripping);
});

test("A2, I17: a relay that hosts do not wait for is asked to sync by rounds nevertheless, once at a time, and no round waits for it", () => {
  const bench = createBench();
  const { primary, journal, gate, out } = bench;
  gate.policy = { ...gate.policy, loss: lossTable.off };
  const [volume] = primary.volumes;
  assert.ok(volume);
  journal.bytesUsed = journal.bytesMax;
  assert.equal(overflowing(primary, out), undefined, "it will have it synced");
  assert.deepEqual([volume.flush.running?.legs, volume.flush.running?.closeLegs], [2, 1]);
  assert.equal(kinds(bench).filter((kind) => kind === "sendFlush").length, 1);
  volume.flush.running = undefined;
  wantRound(primary, volume, out);
  assert.ok(!kinds(bench).includes("sendFlush"), "before it has answered it is not asked again");
  logged(primary, gate, { incarnation: 0, lsn: 120, set: 70, index: 1 }, out);
  flushed(primary, gate, gate.flushTicket, out);
  wantRound(primary, volume, out);
  volume.flush.running = undefined;
  wantRound(primary, volume, out);
  assert.ok(kinds(bench).includes("sendFlush"));
  flushed(primary, gate, gate.flushTicket, out);
  assert.equal(heldFor(primary, journal, bench.west).lsn, 120);
});

test("B14: a bunker that hosts do not wait for, and that feeds nobody, is not asked to sync by rounds", () => {
  const bench = createBench();
  const { primary, west, gate, out } = bench;
  gate.policy = { ...gate.policy, loss: lossTable.off };
  west.policy = { ...west.policy, through: undefined };
  const [volume] = primary.volumes;
  assert.ok(volume);
  wantRound(primary, volume, out);
  assert.ok(!kinds(bench).includes("sendFlush"));
});
