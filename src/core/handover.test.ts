import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bench } from "../../test/support/primary-bench.ts";
import {
  ask,
  connect,
  createBench,
  createServingBench,
  lose,
  run,
  settle,
  submit,
  take,
} from "../../test/support/primary-bench.ts";
import type { BenchMember } from "../../test/support/primary-bench.ts";
import { planSwitchover } from "./handover-plan.ts";
import { withTenure } from "./history.ts";

const west = { group: "bank", site: "east", to: "west", timeoutMs: 30_000 };

function begin(bench: Bench, timeoutMs = 30_000): void {
  submit(bench, { kind: "handover", to: 0, timeoutMs });
}

function member(bench: Bench): BenchMember {
  return bench.members[0] ?? assert.fail();
}

function answers(bench: Bench, kind: "offerRefused" | "offerUnanswered"): void {
  const { ticket } = bench.primary.handover ?? assert.fail();
  submit(bench, { kind, ticket, why: "the test said so" });
}

test("I33: the role is offered once every request under way has ended and is synced, and that is on record", () => {
  const bench = createServingBench();
  const under = ask(bench, "write", { region: 1 });
  run(bench, "turnEnd");
  run(bench, "openMap");
  begin(bench);
  const held = ask(bench, "write", { region: 2 });
  const read = ask(bench, "read", { region: 1 });
  assert.equal(bench.primary.handover?.phase, "requests");
  run(bench, "image");
  assert.equal(bench.primary.handover.phase, "requests", "west has not acked the write");
  while (take(bench, member(bench)));
  assert.equal(bench.outcomes.get(under), "ok");
  assert.equal(bench.primary.handover.phase, "sync");
  run(bench, "sync 0");
  run(bench, "sync 1");
  while (take(bench, member(bench)));
  assert.equal(bench.primary.handover.phase, "record");
  assert.deepEqual(bench.primary.record.handover, { to: "west" });
  assert.ok(!bench.log.includes("offerRole west"), "not before it is on record");
  run(bench, "record");
  assert.ok(bench.log.includes("offerRole west"));
  assert.deepEqual([bench.outcomes.get(held), bench.outcomes.get(read)], [undefined, undefined]);

  submit(bench, { kind: "outranked", by: "west has taken over", successor: "west" });
  settle(bench);
  assert.deepEqual([bench.outcomes.get(held), bench.outcomes.get(read)], ["moved", "moved"]);
  assert.deepEqual(bench.ended, ["demoted"]);
  assert.equal(bench.primary.record.handover, undefined);
  bench.judge.allAnswered(bench);
});

test("I31: a refused offer goes off the record, then what was held is served as if nothing had been", () => {
  const bench = createServingBench();
  begin(bench);
  const held = ask(bench, "write");
  settle(bench);
  assert.equal(bench.primary.handover?.phase, "offered");
  answers(bench, "offerRefused");
  assert.equal(bench.primary.record.handover, undefined);
  assert.equal(bench.primary.stage, "handing", "not before that is on record");
  settle(bench);
  assert.equal(bench.outcomes.get(held), "ok");
  assert.equal(bench.primary.handover, undefined);
  assert.ok(bench.log.includes("handoverEnded"));
  bench.judge.allAnswered(bench);
});

test("I31: what has not come about by the deadline changes nothing, and neither does a successor that is lost before", () => {
  for (const isLate of [true, false]) {
    const bench = createServingBench();
    ask(bench, "write");
    run(bench, "turnEnd");
    run(bench, "openMap");
    begin(bench, 500);
    const held = ask(bench, "write", { region: 3 });
    if (isLate) submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 501, wallMs: 0 });
    else lose(bench, member(bench));
    assert.equal(bench.primary.handover, undefined);
    assert.equal(bench.primary.stage, "serving");
    settle(bench, true);
    assert.equal(bench.outcomes.get(held), "ok");
    assert.ok(!bench.log.includes("offerRole west"));
    bench.judge.allAnswered(bench);
  }
});

test("I28: an offer without an answer holds everything until a new session proves that it was not taken", () => {
  const bench = createServingBench();
  begin(bench);
  settle(bench);
  answers(bench, "offerUnanswered");
  const held = ask(bench, "write");
  submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 60_000, wallMs: 0 });
  settle(bench);
  assert.equal(bench.primary.handover?.phase, "offered", "no time is long enough");
  assert.equal(bench.outcomes.get(held), undefined);
  assert.ok(connect(bench, member(bench)), "its word is asked for");
  settle(bench, true);
  assert.equal(bench.outcomes.get(held), "ok");
  bench.judge.allAnswered(bench);
});

test("I28: a session with a successor that holds our tenures and one more proves nothing of the kind", () => {
  const bench = createServingBench();
  begin(bench);
  settle(bench);
  answers(bench, "offerUnanswered");
  const { history } = bench.primary.record;
  const hello = {
    replicaId: "disk of west",
    history: withTenure(history, "west", "b2"),
    aloneTowards: [],
    isBlank: false,
    mustRewrite: false,
    completeSet: 0,
    completeLsn: 0,
    discards: [],
  };
  submit(bench, { kind: "sessionOpened", member: 0, epoch: 99, hello });
  assert.equal(bench.primary.handover?.phase, "offered");
});

test("I28: a start that finds an offer on record serves nobody before the successor was met, however long that takes", () => {
  const bench = createBench();
  bench.primary.record.handover = { to: "west" };
  submit(bench, { kind: "start" });
  const held = ask(bench, "write");
  settle(bench);
  submit(bench, { kind: "memberDown", member: 0, why: "nobody listens" });
  submit(bench, { kind: "tick", nowMs: bench.primary.nowMs + 600_000, wallMs: 0 });
  settle(bench);
  assert.equal(bench.primary.stage, "starting");
  assert.match(bench.primary.why, /the role was offered to west/);
  assert.equal(bench.outcomes.get(held), undefined);
  settle(bench, true);
  assert.equal(bench.primary.record.handover, undefined);
  assert.equal(bench.outcomes.get(held), "ok");
});

test("I28: a stop in the midst of a handover ends it; an offer stays on record for the next start", () => {
  for (const isOffered of [false, true]) {
    const bench = createServingBench();
    const under = isOffered ? undefined : ask(bench, "write");
    begin(bench);
    if (isOffered) settle(bench);
    const held = ask(bench, "write", { region: 2 });
    submit(bench, { kind: "drain", next: "stop" });
    settle(bench);
    assert.deepEqual(bench.ended, ["stopped"]);
    assert.equal(bench.outcomes.get(held), "gone");
    assert.notEqual(under !== undefined && bench.outcomes.get(under), undefined);
    assert.deepEqual(bench.primary.record.handover, isOffered ? { to: "west" } : undefined);
    bench.judge.allAnswered(bench);
  }
});

test("I28, row 36: a standstill takes back what is not offered yet, and asks the copies before hosts are served", () => {
  const bench = createServingBench();
  ask(bench, "write");
  run(bench, "turnEnd");
  begin(bench);
  submit(bench, { kind: "suspend", why: "stood still", nowMs: bench.primary.nowMs + 5_000 });
  assert.equal(bench.primary.handover, undefined);
  assert.equal(bench.primary.suspended, true);
});

test("I33: the plan says who has the role and who will, that nothing is lost, and refuses with the command that helps", () => {
  const bench = createServingBench({ onLoss: ["continue", "continue"] });
  const { primary } = bench;
  const plan = planSwitchover(primary, west);
  assert.equal(plan.verdict, "go");
  assert.match(plan.lines.join("\n"), /east has the role in generation 1.*in generation 2/);
  assert.match(
    plan.lines.join("\n"),
    /nothing is lost; east becomes a copy of west\nvault is a copy/,
  );
  assert.equal(planSwitchover(primary, { ...west, to: "north" }).verdict, "usage");
  assert.equal(planSwitchover(primary, { ...west, to: "east" }).member, undefined);
  lose(bench, member(bench));
  const lost = planSwitchover(primary, west);
  assert.equal(lost.verdict, "refuse");
  assert.match(
    `${lost.refusal} ${lost.hint}`,
    /west is fractured.*antipode failback bank --to west/,
  );
  submit(bench, { kind: "pause", member: 0 });
  assert.equal(planSwitchover(primary, west).hint, "antipode resume bank --copy west");
});
