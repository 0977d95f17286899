import assert from "node:assert/strict";
import { test } from "node:test";
import { sampleSeals } from "../../test/support/sample-seals.ts";
import {
  ask,
  createServingBench,
  lose,
  run,
  settle,
  submit,
} from "../../test/support/primary-bench.ts";
import type { Bench } from "../../test/support/primary-bench.ts";
import { createJournal } from "./journal.ts";
import type { Journal } from "./journal.ts";
import { lossTable, policyTable } from "./policy.ts";
import type { MemberPolicy } from "./policy.ts";
import { isMarked } from "./region-map.ts";

// A running primary takes another configuration. The bench's judge looks at every effect meanwhile.

function policiesOf(bench: Bench, changes: Partial<MemberPolicy> = {}): MemberPolicy[] {
  return bench.primary.members.map(({ policy }) => ({ ...policy, ...changes }));
}

function reconfigure(bench: Bench, policies: readonly MemberPolicy[], journal?: Journal): void {
  submit(bench, {
    kind: "reconfigure",
    policies,
    durability: "flush",
    journal,
    sets: undefined,
  });
}

function newJournal(): Journal {
  const found = {
    nextSet: 1,
    lastSealedSet: 0,
    bytesUsed: 0,
    firstSet: 1,
    lastLsn: 0,
    lastWriteLsn: 0,
  };
  return createJournal(
    {
      policy: sampleSeals({ bytesMax: 4096 }),
      segmentBytes: 1 << 20,
      overflow: "trip",
      bytesMax: 2 ** 30,
    },
    { ...found, openSet: undefined },
    0,
  );
}

function only<T>(list: readonly T[]): T {
  const [first] = list;
  assert.ok(first !== undefined && list.length === 1);
  return first;
}

test("I16: a mirror that is to take sets: what is open is dirty, on record, before a write is acked without it", () => {
  const bench = createServingBench();
  const member = only(bench.primary.members);
  const request = ask(bench, "write", { region: 3 });
  run(bench, "turnEnd");
  run(bench, "openMap");
  run(bench, `image ${request.lsn}`);
  assert.equal(bench.outcomes.get(request), undefined, "the mirror has not answered");
  bench.log.length = 0;
  reconfigure(bench, policiesOf(bench, { mode: policyTable.async }), newJournal());
  assert.equal(member.record.phase, "dirty");
  assert.ok(isMarked(member.dirty?.[0] ?? assert.fail(), 3));
  const firstRecord = bench.log.indexOf("record");
  const maps = bench.log.indexOf("createDirtyMaps west");
  const reserved = bench.log.slice(0, maps).filter((line) => line === "record").length;
  assert.ok(maps !== -1 && (maps < firstRecord || reserved === 1), bench.log.join(", "));
  assert.equal(bench.outcomes.get(request), undefined, "not before it is on record");
  settle(bench);
  assert.equal(bench.outcomes.get(request), "ok");
  assert.ok(bench.primary.journal !== undefined && member.record.alone);
});

test("the last copy that takes sets becomes a mirror: the journal goes, and flushes rest on the image alone", () => {
  const bench = createServingBench();
  reconfigure(bench, policiesOf(bench, { mode: policyTable.async }), newJournal());
  settle(bench);
  bench.log.length = 0;
  bench.primary.record.journalId = 7;
  reconfigure(bench, policiesOf(bench, { mode: policyTable.sync }));
  assert.ok(bench.primary.journal !== undefined, "until what it lacks is on record");
  settle(bench);
  assert.equal(bench.primary.journal, undefined);
  assert.equal(bench.primary.record.journalId, undefined);
  assert.ok(bench.log.includes("closeJournal"));
  settle(bench, true);
  assert.equal(only(bench.primary.members).stage, "synchronized");
  const flush = ask(bench, "flush");
  settle(bench);
  assert.equal(bench.outcomes.get(flush), "ok");
});

test("a copy that is to become a mirror is fed with sets until it has what was written before; lost, it waits for nothing", () => {
  const bench = createServingBench();
  const member = only(bench.primary.members);
  reconfigure(bench, policiesOf(bench, { mode: policyTable.async }), newJournal());
  settle(bench);
  bench.primary.nextLsn = 200;
  Object.assign(member, { stage: "synchronized", dirty: undefined });
  member.record.phase = "synchronized";
  member.sets.completeLsn = 150;
  reconfigure(bench, policiesOf(bench, { mode: policyTable.sync }));
  assert.equal(member.policy.mode.name, "async");
  submit(bench, { kind: "tick", nowMs: 2_000, wallMs: 2_000 });
  assert.equal(member.policy.mode.name, "async", "it lacks writes up to 199");
  member.sets.completeLsn = 199;
  submit(bench, { kind: "tick", nowMs: 2_100, wallMs: 2_100 });
  assert.equal(member.policy.mode.name, "async", "what is open is not on record yet");
  settle(bench);
  assert.equal(member.policy.mode.name, "sync");
  assert.equal(member.record.phase, "dirty", "what is open is compared");
  assert.equal(bench.primary.journal, undefined);
});

test("I4: onLoss stall -> continue: what waited for a lost mirror goes on once that is on record; -> fail: it fails", () => {
  for (const [onLoss, outcome] of [
    ["continue", "ok"],
    ["fail", "io"],
  ] as const) {
    const bench = createServingBench({ onLoss: ["stall"] });
    const request = ask(bench, "write", { region: 1 });
    run(bench, "turnEnd");
    run(bench, "openMap");
    lose(bench, only(bench.members));
    settle(bench);
    assert.equal(bench.outcomes.get(request), undefined);
    reconfigure(bench, policiesOf(bench, { loss: lossTable[onLoss] }));
    if (onLoss === "continue") {
      assert.equal(bench.outcomes.get(request), undefined, "not before it is on record");
    }
    settle(bench);
    assert.equal(bench.outcomes.get(request), outcome);
    assert.equal(only(bench.primary.members).record.alone, onLoss === "continue");
  }
});

test("a copy leaves: nobody waits for it, the others keep their numbers, and one that comes back begins anew", () => {
  const bench = createServingBench({ onLoss: ["stall", "continue"] });
  const [west, vault] = bench.primary.members;
  assert.ok(west !== undefined && vault !== undefined);
  const request = ask(bench, "write", { region: 2 });
  run(bench, "turnEnd");
  run(bench, "openMap");
  reconfigure(bench, [vault.policy]);
  settle(bench);
  assert.equal(bench.outcomes.get(request), "ok");
  assert.deepEqual(bench.primary.members, [vault]);
  assert.deepEqual(Object.keys(bench.primary.record.members), ["vault"]);
  assert.equal(vault.stage, "synchronized");
  // Its link dies only now: of whom nobody asks any more, nothing is heard.
  submit(bench, { kind: "sessionLost", member: west.index, epoch: 1, why: "late" });
  reconfigure(bench, [vault.policy, west.policy]);
  const [, again] = bench.primary.members;
  assert.equal(again?.index, 2, "its number is its own");
  assert.equal(again.record.phase, "blank");
});

test("nobody whose terms stay the same notices a reload", () => {
  const bench = createServingBench({ onLoss: ["continue", "stall"] });
  const request = ask(bench, "write", { region: 5 });
  run(bench, "turnEnd");
  run(bench, "openMap");
  bench.log.length = 0;
  const [west, vault] = bench.primary.members;
  assert.ok(west !== undefined && vault !== undefined);
  reconfigure(bench, [{ ...west.policy, ackTimeoutMs: 5_000 }, vault.policy]);
  assert.deepEqual(bench.log, ["record"]);
  assert.equal(west.policy.ackTimeoutMs, 5_000);
  settle(bench);
  assert.equal(bench.outcomes.get(request), "ok");
  assert.equal(vault.stage, "synchronized");
});
