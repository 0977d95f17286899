import assert from "node:assert/strict";
import { test } from "node:test";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { activationOf, createBunker, stepBunker } from "./bunker.ts";
import type { Bunker, BunkerEffect, BunkerEvent } from "./bunker.ts";
import type { Entry } from "./entry.ts";
import { noPosition, positionOf } from "./log-position.ts";
import type { LogPosition } from "./log-position.ts";

// The bunker's machine alone: every effect is in the test's hand.

const history = [{ counter: 1, id: "a1", site: "east" }];

function entry(set: number, index: number, lsn: number, kind: Entry["kind"] = "write"): Entry {
  return sampleEntry({ kind, set, index, lsn, length: kind === "seal" ? 0 : 4096 });
}

function newBunker(end: LogPosition = noPosition): Bunker {
  const record = sampleRecord({ volumes: [{ name: "data", bytes: 1 << 20 }] });
  record.role = "bunker";
  record.history = [];
  record.incarnation = 0;
  record.bunker = { logId: 7, isWhole: false };
  return createBunker(record, end);
}

function step(bunker: Bunker, event: BunkerEvent): BunkerEffect[] {
  const out: BunkerEffect[] = [];
  stepBunker(bunker, event, out);
  return out;
}

function kinds(effects: readonly BunkerEffect[]): string[] {
  return effects.map(({ kind }) => kind);
}

/** A session that has begun behind what is there. */
function open(bunker: Bunker, session = 1, anew = false): BunkerEffect[] {
  step(bunker, { kind: "opened", session, from: "east" });
  const asked = begin(bunker, session, anew);
  const told = anew
    ? step(bunker, { kind: "renewed", session })
    : step(bunker, { kind: "recorded", ticket: bunker.ticket });
  assert.deepEqual(kinds(told), ["sendBegun"]);
  return asked;
}

function begin(bunker: Bunker, session: number, anew = false): BunkerEffect[] {
  const told = { history, incarnation: 1, lsnReserved: 100, anew, released: { lsn: 0, set: 0 } };
  return step(bunker, { kind: "begin", session, begin: told });
}

function batch(bunker: Bunker, follows: LogPosition, entries: readonly Entry[], session = 1) {
  return step(bunker, { kind: "batch", session, follows, entries, raw: undefined });
}

test("I28: a generation is on record before anything of it is appended", () => {
  const bunker = newBunker();
  step(bunker, { kind: "opened", session: 1, from: "east" });
  assert.deepEqual(kinds(begin(bunker, 1)), ["reclaim", "record"]);
  assert.deepEqual(bunker.record.history, history);
  assert.deepEqual(kinds(batch(bunker, noPosition, [entry(1, 1, 1)])), ["failSession"]);
});

test("B2, B14: an LSN is told once its record is in the log, and a FLUSH answered once that is synced", () => {
  const bunker = newBunker();
  open(bunker);
  assert.deepEqual(kinds(step(bunker, { kind: "flush", session: 1, ticket: 5, lsn: 2 })), []);
  const last = entry(1, 2, 2);
  assert.deepEqual(kinds(batch(bunker, noPosition, [entry(1, 1, 1), last])), ["append"]);
  assert.equal(bunker.isAckDue, false);
  const appended = step(bunker, { kind: "appended", through: positionOf(last) });
  assert.deepEqual(kinds(appended), ["awaitTurnEnd", "sync"]);
  const synced = step(bunker, { kind: "synced", session: 1, tickets: [5], failure: undefined });
  assert.deepEqual(kinds(synced), ["sendLogged", "sendFlushed"]);
  assert.deepEqual(kinds(step(bunker, { kind: "turnEnd" })), []);
});

test("I26, B17: a record that does not follow what is here ends the session, and nothing of it is appended", () => {
  const gaps: readonly (readonly [LogPosition, readonly Entry[]])[] = [
    [positionOf(entry(1, 2, 2)), [entry(1, 3, 3)]],
    [positionOf(entry(1, 1, 1)), [entry(1, 3, 3)]],
    [positionOf(entry(1, 1, 1)), [entry(2, 2, 2)]],
    [positionOf(entry(1, 1, 1)), [entry(1, 2, 2), entry(1, 4, 3)]],
    [positionOf(entry(1, 1, 1)), [{ ...entry(1, 2, 2), incarnation: 2 }]],
    [positionOf(entry(1, 1, 1)), [entry(1, 2, 0)]],
  ];
  for (const [follows, entries] of gaps) {
    const bunker = newBunker(positionOf(entry(1, 1, 1)));
    open(bunker);
    assert.deepEqual(kinds(batch(bunker, follows, entries)), ["failSession"]);
    assert.deepEqual(bunker.end, positionOf(entry(1, 1, 1)));
  }
});

test("B1: sets follow each other with gaps between their numbers, and a SEAL ends one", () => {
  const bunker = newBunker(positionOf(entry(1, 1, 1)));
  open(bunker);
  const entries = [entry(1, 2, 2), entry(1, 3, 2, "seal"), entry(9, 1, 3), entry(9, 2, 3, "seal")];
  assert.deepEqual(kinds(batch(bunker, positionOf(entry(1, 1, 1)), entries)), ["append"]);
});

test("B15, row 41: a full log ends the session and is tried again; one that failed is, once it was opened again", () => {
  const bunker = newBunker();
  open(bunker);
  batch(bunker, noPosition, [entry(1, 1, 1)]);
  assert.deepEqual(kinds(step(bunker, { kind: "appendFailed", failure: "full" })), ["failSession"]);
  assert.equal(bunker.failure, "");
  open(bunker, 2);
  batch(bunker, noPosition, [entry(1, 1, 1)], 2);
  const failure = { code: "EIO", message: "no luck" } as const;
  const failed = step(bunker, { kind: "appendFailed", failure });
  assert.deepEqual(kinds(failed), ["event", "awaitRoom", "failSession"]);
  step(bunker, { kind: "opened", session: 3, from: "east" });
  assert.deepEqual(kinds(begin(bunker, 3)), ["failSession"]);
  step(bunker, { kind: "reopened", end: positionOf(entry(1, 1, 1)) });
  assert.equal(bunker.failure, "");
  open(bunker, 4);
  assert.deepEqual(kinds(batch(bunker, positionOf(entry(1, 1, 1)), [entry(1, 2, 2)], 4)), [
    "append",
  ]);
});

test("row 38: a log that waited for room and whose sync has failed is not opened again", () => {
  const bunker = newBunker();
  open(bunker);
  batch(bunker, noPosition, [entry(1, 1, 1)]);
  step(bunker, { kind: "appendFailed", failure: { code: "ENOSPC", message: "no room" } });
  assert.match(bunker.failure, /no room; .* once there is room/);
  step(bunker, { kind: "unsound", why: "a sync failed" });
  assert.match(bunker.failure, /a sync failed; this site must be started again/);
});

test("I26: a log that begins anew has nothing, and takes whatever comes first", () => {
  const bunker = newBunker(positionOf(entry(1, 1, 1)));
  assert.deepEqual(kinds(open(bunker, 1, true)), ["renewLog"]);
  assert.deepEqual(bunker.end, noPosition);
  const entries = [entry(7, 5, 50), entry(7, 6, 51)];
  assert.deepEqual(kinds(batch(bunker, positionOf(entry(7, 4, 49)), entries)), ["append"]);
});

test("I29, U40: the log that an operator has given up begins anew, and the word goes with the history that it was for", () => {
  const bunker = newBunker(positionOf(entry(9, 1, 90)));
  bunker.record.history = [{ counter: 1, id: "b1", site: "west" }];
  bunker.record.discarding = { favours: ["a1"], wrote: { regions: 0, bytes: 0 } };
  step(bunker, { kind: "opened", session: 1, from: "east" });
  assert.ok(bunker.record.discarding !== undefined, "a session that has not begun changes nothing");
  assert.deepEqual(kinds(begin(bunker, 1, true)), ["renewLog"]);
  assert.equal(bunker.record.discarding, undefined);
  assert.deepEqual(bunker.record.history, history);
  assert.deepEqual(bunker.end, noPosition);
});

test("U32, I28: what an activation refuses is refused before it is told, and told once it is on record", () => {
  const bunker = newBunker();
  open(bunker);
  batch(bunker, noPosition, [entry(1, 1, 1)]);
  step(bunker, { kind: "appended", through: positionOf(entry(1, 1, 1)) });
  assert.deepEqual(kinds(step(bunker, { kind: "activate", site: "west" })), ["record", "event"]);
  assert.equal(bunker.record.bunker?.activatedFor, "west");
  // What is still on its way from the old primary is neither taken nor told.
  assert.deepEqual(kinds(batch(bunker, positionOf(entry(1, 1, 1)), [entry(1, 2, 2)])), []);
  assert.deepEqual(kinds(step(bunker, { kind: "turnEnd" })), []);
  assert.deepEqual(kinds(step(bunker, { kind: "recorded", ticket: bunker.ticket })), ["activated"]);
});

test("U32, B12: a replay that is called off is told once that is on record, and then it may be fed again", () => {
  const bunker = newBunker();
  step(bunker, { kind: "activate", site: "west" });
  step(bunker, { kind: "recorded", ticket: bunker.ticket });
  assert.match(activationOf(bunker.record), /for a replay to west/);
  assert.deepEqual(kinds(step(bunker, { kind: "deactivate", site: "west" })), ["event", "record"]);
  assert.equal(activationOf(bunker.record), "");
  assert.deepEqual(kinds(step(bunker, { kind: "recorded", ticket: bunker.ticket })), [
    "deactivated",
  ]);
  open(bunker);
  // Again: nothing changes, and whoever asks is answered.
  assert.deepEqual(kinds(step(bunker, { kind: "deactivate", site: "west" })), ["record"]);
});

test("U32, U60: behind its own SEAL it takes what a primary sends that has taken that back", () => {
  const bunker = newBunker();
  open(bunker);
  batch(bunker, noPosition, [entry(1, 1, 1)]);
  step(bunker, { kind: "appended", through: positionOf(entry(1, 1, 1)) });
  step(bunker, { kind: "activate", site: "west" });
  const seal = positionOf(entry(1, 2, 1, "seal"));
  step(bunker, { kind: "appended", through: seal });
  step(bunker, { kind: "deactivate", site: "west" });
  step(bunker, { kind: "recorded", ticket: bunker.ticket });
  open(bunker, 2);
  const before = positionOf(entry(1, 1, 1));
  assert.deepEqual(kinds(batch(bunker, seal, [entry(9, 1, 2)], 2)), ["append"]);
  open(bunker, 3);
  assert.deepEqual(kinds(batch(bunker, before, [entry(1, 2, 2)], 3)), ["failSession"]);
});

test("U32: that a replay was called off stays on record until a primary feeds the log, or an operator asks for one", () => {
  const bunker = newBunker();
  const isCalledOff = (): boolean => bunker.record.bunker?.isCalledOff === true;
  step(bunker, { kind: "activate", site: "west" });
  assert.ok(!isCalledOff());
  step(bunker, { kind: "deactivate", site: "west" });
  assert.ok(isCalledOff());
  step(bunker, { kind: "activate", site: "west" });
  assert.ok(!isCalledOff());
  step(bunker, { kind: "deactivate", site: "west" });
  step(bunker, { kind: "deactivate", site: "west" });
  assert.ok(isCalledOff());
  step(bunker, { kind: "recorded", ticket: bunker.ticket });
  open(bunker);
  assert.ok(!isCalledOff(), "the primary is back");
  step(bunker, { kind: "deactivate", site: "west" });
  assert.ok(!isCalledOff(), "and is there");
});

test("row 38, B2: a sync that fails after its session has ended fails the log all the same: nobody rests on it any more", () => {
  const bunker = newBunker();
  open(bunker);
  const first = entry(1, 1, 1);
  batch(bunker, noPosition, [first]);
  step(bunker, { kind: "appended", through: positionOf(first) });
  const asked = step(bunker, { kind: "flush", session: 1, ticket: 1, lsn: 1 });
  assert.deepEqual(kinds(asked), ["sync"]);
  step(bunker, { kind: "lost", session: 1 });
  // One that went well is of the past; the next session asks for its own.
  const well = { kind: "synced", session: 1, tickets: [1], failure: undefined } as const;
  open(bunker, 2);
  assert.deepEqual(kinds(step(bunker, well)), []);
  const failed = step(bunker, { ...well, failure: { code: "EIO", message: "no luck" } });
  assert.deepEqual(kinds(failed), ["event", "failSession"]);
  assert.match(bunker.failure, /fdatasync of the log failed: no luck; this site must be started/);
  step(bunker, { kind: "opened", session: 3, from: "east" });
  assert.deepEqual(kinds(begin(bunker, 3)), ["failSession"]);
});

test("N4: what an ended session still brings is dropped", () => {
  const bunker = newBunker();
  open(bunker);
  step(bunker, { kind: "lost", session: 1 });
  assert.deepEqual(kinds(batch(bunker, noPosition, [entry(1, 1, 1)])), []);
  assert.deepEqual(kinds(step(bunker, { kind: "flush", session: 1, ticket: 1, lsn: 0 })), []);
});

test("decision 8: it is whole once told so on record, and not whole from the next BEGIN on", () => {
  const bunker = newBunker();
  open(bunker);
  assert.deepEqual(kinds(step(bunker, { kind: "synchronized", session: 1, lsn: 4 })), [
    "record",
    "event",
  ]);
  assert.equal(bunker.record.bunker?.isWhole, true);
  const told = step(bunker, { kind: "recorded", ticket: bunker.ticket });
  assert.deepEqual(kinds(told), ["sendSynchronizedRecorded"]);
  open(bunker, 2);
  assert.equal(bunker.record.bunker?.isWhole, false);
});
