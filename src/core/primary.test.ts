import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ask,
  createBench,
  createServingBench,
  failImage,
  lose,
  run,
  settle,
  submit,
  take,
} from "../../test/support/primary-bench.ts";
import type { Bench, BenchMember } from "../../test/support/primary-bench.ts";

// The way of single requests, step by step: what is asked for before what.

function memberOf(bench: Bench, index: number): BenchMember {
  return bench.members[index] ?? assert.fail();
}

/** The effects since the last look. */
function effects(bench: Bench): string[] {
  return bench.log.splice(0);
}

test("F1, I18: bit durable, then members and image, then the reply when all have answered", () => {
  for (const last of ["image", "west", "vault"]) {
    const bench = createServingBench({ onLoss: ["continue", "continue"] });
    const write = ask(bench, "write", { region: 9 });
    assert.deepEqual(effects(bench), ["awaitTurnEnd"]);
    run(bench, "turnEnd");
    assert.deepEqual(effects(bench), ["syncOpenMaps"]);
    assert.equal(write.lsn, 0, "no place in the order before the bit is durable (decision 25)");
    run(bench, "openMap");
    const { lsn } = write;
    assert.deepEqual(effects(bench), [
      `sendWrite west ${lsn}`,
      `sendWrite vault ${lsn}`,
      `image ${lsn}`,
    ]);
    const legs: Record<string, () => void> = {
      image: () => run(bench, "image"),
      west: () => void take(bench, memberOf(bench, 0)),
      vault: () => void take(bench, memberOf(bench, 1)),
    };
    for (const [name, answer] of Object.entries(legs)) if (name !== last) answer();
    assert.deepEqual(effects(bench), [], `${last} has not answered`);
    legs[last]?.();
    assert.deepEqual(effects(bench), [`reply write ${lsn} ok`]);
  }
});

test("trap 11: cold writes of one turn share one sync, and those of the next turn the next one", () => {
  const bench = createServingBench();
  for (const region of [0, 8, 16]) ask(bench, "write", { region });
  run(bench, "turnEnd");
  for (const region of [4, 12, 0]) ask(bench, "write", { region });
  assert.deepEqual(effects(bench), ["awaitTurnEnd", "syncOpenMaps"]);
  run(bench, "openMap");
  const first = effects(bench);
  assert.deepEqual(first.filter((words) => words.startsWith("image")).length, 3);
  assert.ok(first.includes("syncOpenMaps"));
  run(bench, "openMap");
  assert.equal(effects(bench).filter((words) => words.startsWith("image")).length, 3);
  settle(bench);
  bench.judge.allAnswered(bench);
});

test("decision 2: a flush is answered when a round that began after it is done here and everywhere", () => {
  const bench = createServingBench({ onLoss: ["continue", "continue"] });
  ask(bench, "write");
  for (const name of ["turnEnd", "openMap", "image"]) run(bench, name);
  for (const member of bench.members) take(bench, member);
  effects(bench);
  ask(bench, "flush");
  assert.deepEqual(effects(bench), ["sendFlush west", "sendFlush vault", "syncImage 0"]);
  // A write that comes meanwhile makes the next flush wait for a round of its own; without one it shares this round.
  ask(bench, "flush");
  assert.deepEqual(effects(bench), []);
  ask(bench, "write");
  run(bench, "image");
  effects(bench);
  ask(bench, "flush");
  run(bench, "sync");
  take(bench, memberOf(bench, 0));
  assert.deepEqual(effects(bench), []);
  take(bench, memberOf(bench, 1));
  assert.deepEqual(effects(bench), [
    "reply flush 0 ok",
    "reply flush 0 ok",
    "sendFlush west",
    "sendFlush vault",
    "syncImage 0",
  ]);
  settle(bench);
  bench.judge.allAnswered(bench);
  // Nothing was written since: nothing is to be synced.
  effects(bench);
  ask(bench, "flush");
  assert.deepEqual(effects(bench), ["reply flush 0 ok"]);
});

test("decision 1: FUA, and every write at level write, is answered after a sync behind it", () => {
  for (const durability of ["flush", "write"] as const) {
    const bench = createServingBench({ durability });
    ask(bench, "write", { fua: durability === "flush" });
    for (const name of ["turnEnd", "openMap", "image"]) run(bench, name);
    effects(bench);
    take(bench, memberOf(bench, 0));
    assert.deepEqual(effects(bench), ["sendFlush west", "syncImage 0"]);
    run(bench, "sync");
    assert.deepEqual(effects(bench), []);
    take(bench, memberOf(bench, 0));
    assert.deepEqual(effects(bench), ["reply write 100 ok"]);
  }
});

test("row 5, F4: a flush that waits for a lost member is answered by its durable loss record instead", () => {
  const bench = createServingBench();
  ask(bench, "write");
  settle(bench);
  ask(bench, "flush");
  run(bench, "sync");
  effects(bench);
  lose(bench, memberOf(bench, 0));
  assert.deepEqual(effects(bench), ["createDirtyMaps west", "record", "event copy west fractured"]);
  run(bench, "record");
  assert.deepEqual(effects(bench)[0], "reply flush 0 ok");
});

test("row 6, I4: under stall nothing is acked while the copy is away, and all of it when it is back", () => {
  const bench = createServingBench({ onLoss: ["stall"] });
  const under = ask(bench, "write");
  for (const name of ["turnEnd", "openMap", "image"]) run(bench, name);
  lose(bench, memberOf(bench, 0));
  const during = [ask(bench, "write"), ask(bench, "write", { fua: true }), ask(bench, "flush")];
  ask(bench, "read");
  settle(bench);
  for (const request of [under, ...during]) assert.equal(bench.outcomes.get(request), undefined);
  settle(bench, true);
  for (const request of [under, ...during]) assert.equal(bench.outcomes.get(request), "ok");
  bench.judge.allAnswered(bench);
  bench.judge.converged(bench);
});

test("row 6, I4: under fail a write without the copy is an error at once, and reads go on", () => {
  const bench = createServingBench({ onLoss: ["fail"] });
  const under = ask(bench, "write");
  for (const name of ["turnEnd", "openMap", "image"]) run(bench, name);
  lose(bench, memberOf(bench, 0));
  const during = [ask(bench, "write"), ask(bench, "flush")];
  for (const request of [under, ...during]) assert.equal(bench.outcomes.get(request), "io");
  assert.equal(bench.outcomes.get(ask(bench, "read")), "ok");
  settle(bench, true);
  const after = ask(bench, "write");
  settle(bench);
  assert.equal(bench.outcomes.get(after), "ok");
  bench.judge.converged(bench);
});

test("I4: a loss record that is under way does not answer a flush in place of a strict copy", () => {
  const bench = createServingBench({ onLoss: ["stall"] });
  ask(bench, "write");
  settle(bench);
  const doomed = ask(bench, "write");
  ask(bench, "write");
  take(bench, memberOf(bench, 0));
  take(bench, memberOf(bench, 0));
  lose(bench, memberOf(bench, 0));
  failImage(bench, doomed, "ENOSPC");
  ask(bench, "flush");
  settle(bench, true);
  bench.judge.allAnswered(bench); // The judge has looked at what the flush's ok promised.
  bench.judge.converged(bench);
});

test("F15, row 41: a full disk fails the one write, dirty towards all on record first, and then all are equal", () => {
  const bench = createServingBench({ onLoss: ["continue", "continue"] });
  const before = ask(bench, "write", { region: 1 });
  settle(bench);
  const full = ask(bench, "write", { region: 2 });
  take(bench, memberOf(bench, 0));
  failImage(bench, full, "ENOSPC");
  assert.equal(bench.outcomes.get(full), undefined, "not before it is on record");
  for (const member of bench.primary.members) assert.equal(member.record.phase, "dirty");
  settle(bench);
  assert.equal(bench.outcomes.get(full), "full");
  assert.equal(bench.primary.volumes[0]?.state, "ok");
  const after = ask(bench, "write", { region: 3 });
  settle(bench, true);
  assert.equal(bench.outcomes.get(before), "ok");
  assert.equal(bench.outcomes.get(after), "ok");
  bench.judge.converged(bench);
});

test("F15, row 39: any other error of the image fails the volume; nothing more is served from it", () => {
  const bench = createServingBench();
  ask(bench, "write", { region: 1 });
  settle(bench);
  const broken = ask(bench, "write", { region: 2 });
  failImage(bench, broken, "EIO");
  settle(bench);
  assert.equal(bench.outcomes.get(broken), "io");
  assert.equal(bench.primary.volumes[0]?.state, "failed");
  for (const kind of ["read", "write", "flush"] as const) {
    assert.equal(bench.outcomes.get(ask(bench, kind)), "io");
  }
  const other = ask(bench, "write", { volume: 1 });
  settle(bench);
  assert.equal(bench.outcomes.get(other), "ok", "the other volume goes on");
  bench.judge.allAnswered(bench);
});

test("row 38: a failed sync answers its round with an error, after it is on record", () => {
  const bench = createServingBench();
  ask(bench, "write");
  settle(bench);
  const flush = ask(bench, "flush");
  const shared = ask(bench, "flush");
  bench.pending.delete("sync 0");
  const { ticket } = bench.primary.volumes[0]?.flush.running ?? assert.fail();
  const failure = { code: "EIO", message: "EIO" };
  submit(bench, { kind: "imageSynced", volume: 0, ticket, failure });
  assert.equal(bench.outcomes.get(flush), undefined);
  settle(bench);
  assert.equal(bench.outcomes.get(flush), "io");
  assert.equal(bench.outcomes.get(shared), "io");
  assert.equal(bench.primary.volumes[0]?.state, "failed");
  assert.deepEqual(bench.primary.record.failedVolumes, ["data"]);
  bench.judge.allAnswered(bench);
});

test("I28, decision 6: who is outranked answers everything with gone, once, and serves nothing more", () => {
  const bench = createServingBench({ onLoss: ["continue", "stall"] });
  const hot = ask(bench, "write", { region: 0 });
  run(bench, "turnEnd");
  run(bench, "openMap");
  ask(bench, "flush"); // A round under way.
  run(bench, "image");
  ask(bench, "flush"); // One that waits for the next.
  ask(bench, "write", { region: 4 }); // Cold, being opened.
  run(bench, "turnEnd");
  ask(bench, "write", { region: 8 }); // Cold, gathering.
  ask(bench, "write", { region: 0 }); // On its way to image and members.
  lose(bench, memberOf(bench, 1));
  ask(bench, "write", { region: 0 }); // Held for the strict member.
  submit(bench, { kind: "outranked", by: "west holds generation 2" });
  // What is being written to the image is answered when that is over: before, its memory is not the host's again.
  while (bench.primary.writing.size > 0) run(bench, "image");
  bench.judge.allAnswered(bench);
  assert.deepEqual(new Set(bench.outcomes.values()), new Set(["gone"]));
  assert.equal(bench.outcomes.get(hot), "gone");
  const late = ask(bench, "read");
  assert.equal(bench.outcomes.get(late), "gone");
  settle(bench, true);
  bench.judge.allAnswered(bench);
  assert.deepEqual(bench.ended, ["demoted"]);
  assert.equal(bench.primary.record.role, "demoted");
  assert.ok(bench.members.every((member) => member.epoch === undefined));
});

test("I28: who is outranked while his demotion is being recorded ends once", () => {
  const bench = createServingBench();
  submit(bench, { kind: "drain", next: "demote" });
  while (bench.primary.record.role !== "demoted") {
    const [next] = bench.pending.keys();
    if (next === undefined) for (const member of bench.members) take(bench, member);
    else run(bench, next);
  }
  assert.deepEqual(bench.ended, [], "the record is under way");
  submit(bench, { kind: "outranked", by: "west holds generation 2" });
  settle(bench, true);
  assert.deepEqual(bench.ended, ["demoted"]);
  bench.judge.allAnswered(bench);
});

test("PROOF 2.5: where the record of a demotion cannot be made, the machine ends as failed, and does not wait for ever", () => {
  const bench = createServingBench();
  submit(bench, { kind: "outranked", by: "west holds generation 2" });
  assert.deepEqual(bench.ended, [], "the record is under way");
  submit(bench, { kind: "storeFailed", what: "group.record: EIO" });
  assert.deepEqual(bench.ended, ["failed"]);
});

test("PROOF 2.5: a store that fails ends the machine; every request is answered, none with ok", () => {
  const bench = createServingBench();
  ask(bench, "write");
  ask(bench, "flush");
  submit(bench, { kind: "storeFailed", what: "group.record: EIO" });
  bench.judge.allAnswered(bench);
  assert.ok(![...bench.outcomes.values()].includes("ok"));
  assert.deepEqual(bench.ended, ["failed"]);
});

test("row 36, row 37: after a standstill nothing is answered until every member was heard of", () => {
  const bench = createServingBench();
  const write = ask(bench, "write");
  run(bench, "turnEnd");
  run(bench, "openMap");
  submit(bench, { kind: "suspend", why: "this process stood still", nowMs: 6_000 });
  run(bench, "image");
  take(bench, memberOf(bench, 0));
  const read = ask(bench, "read", { region: 20 });
  assert.equal(bench.outcomes.get(write), undefined);
  assert.equal(bench.outcomes.get(read), undefined);
  submit(bench, { kind: "probeAnswered", member: 0, roundTripMs: 1 });
  assert.equal(bench.outcomes.get(write), "ok");
  assert.equal(bench.outcomes.get(read), "ok");
});

test("row 36: who was succeeded during a standstill answers what it held back with gone", () => {
  const bench = createServingBench();
  const write = ask(bench, "write");
  run(bench, "turnEnd");
  run(bench, "openMap");
  submit(bench, { kind: "suspend", why: "this process stood still", nowMs: 6_000 });
  run(bench, "image");
  take(bench, memberOf(bench, 0));
  submit(bench, { kind: "outranked", by: "west holds generation 2" });
  assert.equal(bench.outcomes.get(write), "gone");
  bench.judge.allAnswered(bench);
});

test("N7: a drain ends what is under way, refuses what comes, and ends although a strict copy is away", () => {
  for (const next of ["stop", "demote"] as const) {
    const bench = createServingBench({ onLoss: ["continue", "stall"] });
    const under = ask(bench, "write");
    run(bench, "turnEnd");
    run(bench, "openMap");
    submit(bench, { kind: "drain", next });
    assert.equal(bench.outcomes.get(ask(bench, "write")), "gone");
    lose(bench, memberOf(bench, 1));
    settle(bench);
    assert.equal(bench.outcomes.get(under), "gone", "the strict copy never acked it");
    bench.judge.allAnswered(bench);
    assert.deepEqual(bench.ended, [next === "stop" ? "stopped" : "demoted"]);
    assert.equal(bench.primary.members[1]?.record.phase, "dirty");
  }
});

test("row 1, U24: after a start, open granules are served when every member has the same there", () => {
  const bench = createBench({ openGranules: [0, 3] });
  submit(bench, { kind: "start" });
  const unresolved = ask(bench, "read", { region: 13 });
  const settled = ask(bench, "read", { region: 31 });
  for (const name of ["record", "record"]) run(bench, name);
  assert.equal(bench.outcomes.get(settled), undefined, "the copy has not been heard of");
  settle(bench, true);
  assert.equal(bench.outcomes.get(settled), "ok");
  assert.equal(bench.outcomes.get(unresolved), "ok");
  assert.ok(bench.log.includes("sendCompare west"), "resolved by comparing (decision 3)");
  bench.judge.converged(bench);
});

test("F8: who serves says no more that it waits for its copies, whichever record of its start ends last", () => {
  const bench = createBench();
  submit(bench, { kind: "start" });
  run(bench, "record");
  submit(bench, { kind: "memberDown", member: 0, why: "refused" });
  settle(bench);
  assert.equal(bench.primary.stage, "serving");
  assert.equal(bench.primary.why, "");
});

test("F8: a copy that is down when we start has our open granules in its fracture log before they are served", () => {
  const bench = createBench({ openGranules: [2] });
  submit(bench, { kind: "start" });
  const read = ask(bench, "read", { region: 8 });
  submit(bench, { kind: "memberDown", member: 0, why: "refused" });
  assert.equal(bench.outcomes.get(read), undefined);
  settle(bench);
  assert.equal(bench.outcomes.get(read), "ok");
  assert.equal(bench.primary.members[0]?.dirty?.[0]?.count, 4);
  const record = bench.log.indexOf("record");
  assert.ok(record !== -1 && record < bench.log.indexOf("read"));
});

test("F15: a sync that ends well behind a failed write covers nothing of its volume, and closes nothing there", () => {
  const bench = createServingBench();
  const [data] = bench.primary.volumes;
  const broken = ask(bench, "write", { region: 1 });
  const sound = ask(bench, "write", { region: 9, fua: true });
  run(bench, "turnEnd");
  run(bench, "openMap");
  failImage(bench, broken, "EIO");
  settle(bench);
  assert.deepEqual(
    [broken, sound].map((one) => bench.outcomes.get(one)),
    ["io", "ok"],
  );
  submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 60_000, wallMs: 0 });
  settle(bench);
  assert.ok((data?.open.size ?? 0) > 0, "what was refused is open until a repair");
  assert.ok((data?.flush.coveredLsn ?? 0) < broken.lsn, "the journal would let go of it");
  bench.judge.allAnswered(bench);
});

test("decision 8, I33: who has joined has everything up to there, acked and synced, though regions brought it and no writes", () => {
  const bench = createServingBench();
  const [member] = bench.primary.members;
  assert.ok(member !== undefined);
  ask(bench, "write");
  settle(bench);
  const { ackedLsn } = member;
  lose(bench, memberOf(bench, 0));
  for (const region of [0, 1, 2]) ask(bench, "write", { region });
  settle(bench);
  assert.deepEqual([member.ackedLsn, bench.primary.nextLsn - 1], [ackedLsn, ackedLsn + 3]);
  settle(bench, true);
  bench.judge.converged(bench);
  assert.deepEqual([member.ackedLsn, member.record.syncedLsn], [ackedLsn + 3, ackedLsn + 3]);
});
