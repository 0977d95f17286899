import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ask,
  connect,
  createServingBench,
  lose,
  run,
  settle,
  submit,
  take,
} from "../../test/support/primary-bench.ts";
import type { Bench, BenchMember } from "../../test/support/primary-bench.ts";
import { aloneTowards } from "./branch.ts";
import { splitWhy } from "./member-state.ts";
import type { Member, MemberStage } from "./primary-state.ts";
import { allMarked, createRegionMap, isMarked, mark, nextMarked, orInto } from "./region-map.ts";

// What every stage of a member makes of every event: SPEC-mirror.md's first table, complete by type. A cell is the stage
// that follows, and the effects in order.

type StageEvent =
  | "host write"
  | "host flush"
  | "sessionLost"
  | "loss of an older session"
  | "memberDown"
  | "late ack"
  | "answer to an unknown flush"
  | "memberOpenMapEnd"
  | "synchronizedRecorded"
  | "pause"
  | "resyncFull"
  | "splitBrain"
  | "heardSplit"
  | "outranked";

const table: Record<MemberStage, Record<StageEvent, string>> = {
  none: {
    "host write": "none: record, image 101",
    "host flush": "none: syncImage 0",
    sessionLost: "none: ",
    "loss of an older session": "none: ",
    memberDown: "none: ",
    "late ack": "none: ",
    "answer to an unknown flush": "none: ",
    memberOpenMapEnd: "none: ",
    synchronizedRecorded: "none: ",
    pause: "none: record, record, event copy west paused",
    resyncFull: "none: record",
    splitBrain: "none: closeSession west, record, event copy west split-brain",
    heardSplit: "none: event copy west split-brain",
    outranked: "none: dropExports, record",
  },
  opening: {
    "host write": "opening: record, image 101",
    "host flush": "opening: syncImage 0",
    sessionLost: "none: ",
    "loss of an older session": "opening: ",
    memberDown: "opening: ",
    "late ack": "opening: ",
    "answer to an unknown flush": "opening: ",
    memberOpenMapEnd: "opening: record",
    synchronizedRecorded: "opening: ",
    pause: "none: sendFractured west, closeSession west, event copy west paused, record, record",
    resyncFull: "none: record, closeSession west",
    splitBrain: "none: event copy west split-brain, closeSession west, record",
    heardSplit: "opening: event copy west split-brain",
    outranked: "none: dropExports, closeSession west, record",
  },
  resync: {
    "host write": "resync: record, sendWrite west 101, image 101",
    "host flush": "resync: sendFlush west, syncImage 0",
    sessionLost: "none: record, event copy west fractured",
    "loss of an older session": "resync: ",
    memberDown: "resync: ",
    "late ack": "resync: ",
    "answer to an unknown flush": "resync: ",
    memberOpenMapEnd: "resync: ",
    synchronizedRecorded: "resync: ",
    pause:
      "none: sendFractured west, closeSession west, record, event copy west paused, record, record",
    resyncFull: "none: record, closeSession west, record, event copy west fractured",
    splitBrain: "none: record, event copy west split-brain, closeSession west, record",
    heardSplit: "resync: ",
    outranked: "none: dropExports, closeSession west, record",
  },
  joining: {
    "host write": "joining: sendWrite west 101, image 101",
    "host flush": "joining: sendFlush west, syncImage 0",
    sessionLost: "none: record, event copy west fractured",
    "loss of an older session": "joining: ",
    memberDown: "joining: ",
    "late ack": "joining: ",
    "answer to an unknown flush": "joining: ",
    memberOpenMapEnd: "joining: ",
    synchronizedRecorded: "joining: record",
    pause:
      "none: sendFractured west, closeSession west, record, event copy west paused, record, record",
    resyncFull: "none: record, closeSession west, record, event copy west fractured",
    splitBrain: "none: record, event copy west split-brain, closeSession west, record",
    heardSplit: "joining: ",
    outranked: "none: dropExports, closeSession west, record",
  },
  synchronized: {
    "host write": "synchronized: sendWrite west 101, image 101",
    "host flush": "synchronized: sendFlush west, syncImage 0",
    sessionLost: "none: createDirtyMaps west, record, event copy west fractured",
    "loss of an older session": "synchronized: ",
    memberDown: "synchronized: ",
    "late ack": "synchronized: ",
    "answer to an unknown flush": "synchronized: ",
    memberOpenMapEnd: "synchronized: ",
    synchronizedRecorded: "synchronized: ",
    pause:
      "none: sendFractured west, closeSession west, createDirtyMaps west, record, event copy west paused, record, record",
    resyncFull:
      "none: createDirtyMaps west, record, closeSession west, record, event copy west fractured",
    splitBrain:
      "none: createDirtyMaps west, record, event copy west split-brain, closeSession west, record",
    heardSplit: "synchronized: ",
    outranked: "none: dropExports, closeSession west, record",
  },
};

const events: Record<StageEvent, (bench: Bench) => void> = {
  "host write": (bench) => void ask(bench, "write"),
  "host flush": (bench) => void ask(bench, "flush"),
  sessionLost: (bench) => lose(bench, west(bench)),
  "loss of an older session": (bench) =>
    submit(bench, { kind: "sessionLost", member: 0, epoch: 0, why: "late" }),
  memberDown: (bench) => submit(bench, { kind: "memberDown", member: 0, why: "refused" }),
  "late ack": (bench) => submit(bench, { kind: "acked", member: 0, sequence: 0 }),
  "answer to an unknown flush": (bench) =>
    submit(bench, { kind: "flushed", member: 0, ticket: 1_000 }),
  memberOpenMapEnd: (bench) => submit(bench, { kind: "memberOpenMapEnd", member: 0 }),
  synchronizedRecorded: (bench) => submit(bench, { kind: "synchronizedRecorded", member: 0 }),
  pause: (bench) => submit(bench, { kind: "pause", member: 0 }),
  resyncFull: (bench) => submit(bench, { kind: "resyncFull", member: 0 }),
  splitBrain: (bench) => submit(bench, { kind: "splitBrain", member: 0, why: "both served" }),
  heardSplit: (bench) => submit(bench, { kind: "heardSplit", member: 0, why: "both were primary" }),
  outranked: (bench) => submit(bench, { kind: "outranked", by: "west holds generation 2" }),
};

const stages = Object.keys(table) as MemberStage[];

function west(bench: Bench): BenchMember {
  return bench.members[0] ?? assert.fail();
}

function member(bench: Bench): Member {
  return bench.primary.members[0] ?? assert.fail();
}

/** A serving primary with granule 0 open, whose copy has come to this stage and no further. */
function benchAt(stage: MemberStage): Bench {
  const bench = createServingBench();
  ask(bench, "write");
  settle(bench);
  if (stage !== "synchronized") {
    lose(bench, west(bench));
    settle(bench);
  }
  if (stage !== "none" && stage !== "synchronized") connect(bench, west(bench));
  // Under resync, past the read of the region: while it is read, writes to it wait.
  const isThere = (): boolean =>
    member(bench).stage === stage && (stage !== "resync" || bench.log.includes("sendCompare west"));
  for (let i = 0; i < 100 && !isThere(); i += 1) {
    if (bench.pending.size > 0) run(bench, "");
    else take(bench, west(bench));
  }
  assert.ok(isThere());
  bench.log.length = 0;
  return bench;
}

for (const stage of stages) {
  test(`F4, F6, I19: a member that is ${stage}: every event has its outcome`, () => {
    for (const [name, cell] of Object.entries(table[stage])) {
      const bench = benchAt(stage);
      events[name as StageEvent](bench);
      assert.equal(`${member(bench).stage}: ${bench.log.join(", ")}`, cell, name);
    }
  });

  test(`I31: after any event a member that is ${stage} comes back, and everybody is answered`, () => {
    for (const [name, happen] of Object.entries(events)) {
      const bench = benchAt(stage);
      ask(bench, "write");
      happen(bench);
      submit(bench, { kind: "resume", member: 0 });
      if (name === "splitBrain") submit(bench, { kind: "resyncFull", member: 0 });
      settle(bench, true);
      bench.judge.allAnswered(bench);
      if (name !== "outranked") bench.judge.converged(bench);
    }
  });

  test(`F4, I16: a member lost while ${stage} is dirty wherever anything is open, on record before an ack`, () => {
    for (const kind of ["sessionLost", "pause"] as const) {
      const bench = benchAt(stage);
      const write = ask(bench, "write");
      ask(bench, "write", { volume: 1, region: 3 });
      run(bench, "turnEnd");
      run(bench, "openMap");
      events[kind](bench);
      // Who was fed may lack anything open; who was absent lacks what was written meanwhile, and that exactly.
      const wasFed = stage !== "none" && stage !== "opening";
      for (const [index, volume] of bench.primary.volumes.entries()) {
        const dirty = member(bench).dirty?.[index] ?? assert.fail();
        const missing = createRegionMap(volume.bytes, dirty.unitBytes);
        if (wasFed) orInto(missing, volume.openMap);
        else mark(missing, index * 3, index * 3);
        for (let unit = nextMarked(missing, 0); unit !== -1; unit = nextMarked(missing, unit + 1)) {
          assert.ok(isMarked(dirty, unit), `${kind}: region ${unit} of ${volume.name}`);
        }
      }
      settle(bench);
      const recorded = bench.log.indexOf("record");
      const replied = bench.log.indexOf(`reply write ${write.lsn} ok`);
      assert.ok(recorded !== -1 && recorded < replied, bench.log.join(", "));
      assert.equal(member(bench).record.phase, "dirty");
      assert.equal(member(bench).record.alone, true);
    }
  });
}

test("I33: a member that no session reaches is shown as what its history says, until that is another one", () => {
  const bench = benchAt("none");
  events.heardSplit(bench);
  assert.equal(splitWhy(member(bench)), "both were primary");
  submit(bench, { kind: "heardSplit", member: 0, why: "" });
  assert.equal(splitWhy(member(bench)), undefined);
  assert.deepEqual(bench.log, ["event copy west split-brain", "event copy west fractured"]);
});

test("I29: whom this tenure fed and who was taken back to before may lack anything, and less is not claimed", () => {
  for (const stage of ["none", "synchronized"] as const) {
    const bench = benchAt(stage);
    events.splitBrain(bench);
    settle(bench);
    const { dirty, record } = member(bench);
    assert.ok(
      dirty?.every((map) => allMarked(map, 0, map.units - 1)),
      stage,
    );
    assert.deepEqual([record.phase, record.syncedLsn], ["dirty", 0], stage);
  }
});

test("F3: while no member was ever lost there is no dirty map, through writes, flushes and a clean stop", () => {
  const bench = createServingBench({ onLoss: ["continue", "stall"] });
  for (let region = 0; region < 32; region += 1)
    ask(bench, "write", { region, fua: region % 3 === 0 });
  ask(bench, "flush");
  settle(bench);
  submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 5_000, wallMs: 0 });
  settle(bench);
  submit(bench, { kind: "drain", next: "stop" });
  settle(bench);
  bench.judge.allAnswered(bench);
  assert.deepEqual(bench.ended, ["stopped"]);
  assert.ok(!bench.log.some((words) => /DirtyMaps/.test(words)));
  assert.equal(bench.primary.openGranules, 0, "a clean stop leaves nothing open");
  assert.equal(bench.primary.record.cleanStop, true);
});

test("F14: of two copies one is lost: only its map fills, and the other stays synchronized", () => {
  const bench = createServingBench({ onLoss: ["continue", "continue"] });
  lose(bench, west(bench));
  for (const region of [0, 5, 9]) ask(bench, "write", { region });
  settle(bench);
  bench.judge.allAnswered(bench);
  const [lost, kept] = bench.primary.members;
  assert.equal(lost?.dirty?.[0]?.count, 3);
  assert.equal(lost?.dirty?.[1]?.count, 0);
  assert.equal(kept?.dirty, undefined);
  assert.equal(kept?.stage, "synchronized");
});

test("decision 9, I29: what earlier primaries acked without a member counts until it is whole", () => {
  const bench = createServingBench();
  const { record } = member(bench);
  record.mayLackEarlier = true;
  ask(bench, "write");
  settle(bench);
  lose(bench, west(bench));
  settle(bench);
  assert.deepEqual(aloneTowards(bench.primary.record), ["west"]);
  settle(bench, true);
  assert.equal(member(bench).stage, "synchronized");
  assert.deepEqual(aloneTowards(bench.primary.record), []);
});
