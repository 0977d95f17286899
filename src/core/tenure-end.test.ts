import assert from "node:assert/strict";
import { test } from "node:test";
import { samplePolicy, samplePrimary } from "../../test/support/sample-primary.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import { endDrain, outranked, startPrimary, suspend } from "./life.ts";
import { policyTable } from "./policy.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";
import { releaseReplies, reply } from "./replies.ts";
import { noteUnjournaled, forgetUnjournaled, noteNewJournal, noteTenureEnd } from "./tenure-end.ts";

/** A primary whose record was kept by a start before, with a journal whose last write has LSN 20; numbers go on at 100. */
function started(changes: { readonly isJournalWhole?: boolean } = {}): Primary {
  const { primary } = samplePrimary();
  primary.record.unjournaled = { lsn: 0, incarnation: primary.record.incarnation };
  Object.assign(primary, changes);
  startPrimary(primary, []);
  return primary;
}

function answer(primary: Primary, lsn: number, outcome: "ok" | "io"): void {
  primary.inFlight += 1;
  const request = sampleRequest("write", { length: 4096, payload: [], lsn, legs: 0 });
  reply(primary, request, outcome, []);
}

function drained(next: "demote" | "stop"): Primary {
  const primary = started();
  answer(primary, 101, "ok");
  primary.drain = { next, phase: "record" };
  endDrain(primary, []);
  return primary;
}

function endOf(primary: Primary): number | undefined {
  outranked(primary, { by: "west holds generation 2", successor: "west" }, []);
  return primary.record.tenureEnd?.lsn;
}

test("I29, decision 9: a tenure ends at the last write that was acked, and not at the numbers that were reserved", () => {
  assert.equal(endOf(started()), 20, "what the journal had when it was killed");
  const primary = started();
  answer(primary, 101, "ok");
  answer(primary, 103, "ok");
  answer(primary, 102, "ok");
  answer(primary, 104, "io");
  assert.equal(endOf(primary), 103, "what nobody was told of does not count");
  assert.equal(primary.record.tenureEnd?.id, "a1");
});

test("I29, decision 9: an operator's demotion ends the tenure, a stop does not: its next start goes on acking in it", () => {
  assert.deepEqual(drained("demote").record.tenureEnd, { id: "a1", lsn: 101 });
  const stopped = drained("stop");
  assert.equal(stopped.record.tenureEnd, undefined);
  assert.equal(stopped.record.unjournaled?.lsn, 0);
});

test("I29, decision 9: a range that was zeroed counts like a write, a FLUSH and a read do not", () => {
  for (const [kind, end] of [
    ["zero", 105],
    ["flush", 20],
    ["read", 20],
  ] as const) {
    const primary = started();
    primary.inFlight += 1;
    const request = sampleRequest(kind, { length: 4096, payload: [], lsn: 105, legs: 0 });
    reply(primary, request, "ok", []);
    assert.equal(endOf(primary), end, kind);
  }
});

test("I29, decision 9: an ack that is held back over a standstill counts once it has gone out", () => {
  for (const [isReleased, end] of [
    [false, 20],
    [true, 101],
  ] as const) {
    const primary = started();
    primary.stage = "serving";
    const out: PrimaryEffect[] = [];
    suspend(primary, { why: "it stood still", nowMs: 9_000 }, out);
    assert.ok(primary.suspended);
    answer(primary, 101, "ok");
    if (isReleased) releaseReplies(primary, out);
    assert.equal(endOf(primary), end);
  }
});

test("I29, decisions 5 and 9: what a power cut may have taken from the journal counts as acked, in later starts too", () => {
  const primary = started({ isJournalWhole: false });
  assert.equal(primary.record.unjournaled?.lsn, 99);
  assert.equal(endOf(primary), 99);
  const { primary: again } = samplePrimary();
  again.record.unjournaled = { lsn: 99, incarnation: again.record.incarnation };
  startPrimary(again, []);
  assert.equal(endOf(again), 99, "the next start finds its journal whole");
});

test("I29, decision 9: what a build started that notes nothing of this is bounded by what was reserved", () => {
  for (const unjournaled of [undefined, { lsn: 0, incarnation: 0 }]) {
    const { primary } = samplePrimary();
    if (unjournaled !== undefined) primary.record.unjournaled = unjournaled;
    startPrimary(primary, []);
    assert.deepEqual(primary.record.unjournaled, { lsn: 99, incarnation: 2 });
  }
});

test("I29, decision 9: without a journal nothing is known, and a start forgets what an earlier end has said", () => {
  const primary = started();
  noteTenureEnd(primary);
  assert.ok(primary.record.tenureEnd);
  primary.journal = undefined;
  noteTenureEnd(primary);
  assert.equal(primary.record.tenureEnd, undefined);
  primary.record.tenureEnd = { id: "a1", lsn: 3 };
  noteUnjournaled(primary);
  assert.equal(primary.record.tenureEnd, undefined);
  assert.equal(primary.record.unjournaled?.lsn, undefined);
});

test("I29, decision 9: a journal that comes with a reload has nothing of before, and one that goes leaves nothing known", () => {
  const primary = started();
  primary.nextLsn = 150;
  noteNewJournal(primary);
  assert.equal(primary.record.unjournaled?.lsn, 149);
  forgetUnjournaled(primary, [samplePolicy({ site: "west", mode: policyTable.async })]);
  assert.equal(primary.record.unjournaled?.lsn, 149);
  forgetUnjournaled(primary, [samplePolicy({ site: "west", mode: policyTable.sync })]);
  assert.equal(primary.record.unjournaled?.lsn, undefined);
  assert.equal(endOf(primary), undefined);
});
