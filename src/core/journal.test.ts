import assert from "node:assert/strict";
import { test } from "node:test";
import { sampleSeals } from "../../test/support/sample-seals.ts";
import { limits } from "#base/limits.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import { countOf, coversFrom, digestStep } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { createJournal } from "./journal.ts";
import type { JournalFound, SealPolicy } from "./journal.ts";
import type { PrimaryEffect, PrimaryEvent } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";
import { createPrimary, step } from "./primary.ts";
import { createRegionMap, mark } from "./region-map.ts";

// A primary without members and with a journal: its driver answers at once, and what it appends is what we look at.

type Rig = {
  readonly primary: Primary;
  readonly entries: Entry[];
  /** What was appended at once, by the kinds of its entries. */
  readonly batches: Entry["kind"][][];
  sealedSet: number;
  readonly replies: HostRequest[];
  readonly timers: { readonly set: number; readonly afterMs: number }[];
  /** Kinds of effects, in order. */
  readonly order: string[];
  /** Records that are not durable before the test says so; undefined: all of them are at once. */
  readonly recordsHeld: number[] | undefined;
};

const emptyJournal: JournalFound = {
  nextSet: 100,
  openSet: undefined,
  lastSealedSet: 0,
  bytesUsed: 0,
  firstSet: 1,
  lastLsn: 0,
  lastWriteLsn: 0,
};

function createRig(
  policy: Partial<SealPolicy> = {},
  found: Partial<JournalFound> = {},
  powerLost?: { readonly open: boolean; readonly recordsHeld?: number[] },
): Rig {
  const record = sampleRecord({ members: {} });
  const openMaps = record.volumes.map(({ bytes }) => createRegionMap(bytes, 1024 * 1024));
  for (const map of powerLost?.open === true ? openMaps : []) mark(map, 0, 0);
  const journal = createJournal(
    {
      policy: sampleSeals({ bytesMax: 64 * 1024, ...policy }),
      overflow: "trip",
      bytesMax: 1 << 30,
      segmentBytes: 1 << 26,
    },
    { ...emptyJournal, ...found },
    0,
  );
  const primary = createPrimary({
    record,
    policies: [],
    durability: "flush",
    openMaps,
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal,
    isJournalWhole: powerLost === undefined,
  });
  const rig: Rig = {
    primary,
    entries: [],
    batches: [],
    sealedSet: 0,
    replies: [],
    timers: [],
    order: [],
    recordsHeld: powerLost?.recordsHeld,
  };
  submit(rig, { kind: "start" });
  return rig;
}

/** The same with its granule open already, and one set behind it: the next one is 101. */
function createWarmRig(policy: Partial<SealPolicy> = {}): Rig {
  const rig = createRig(policy);
  turn(rig, "write");
  submit(rig, { kind: "turnEnd" });
  turn(rig, "flush");
  submit(rig, { kind: "sealDue", set: 100 });
  for (const list of [rig.entries, rig.batches, rig.replies, rig.timers, rig.order])
    list.length = 0;
  return rig;
}

function submit(rig: Rig, event: PrimaryEvent): void {
  const effects: PrimaryEffect[] = [];
  step(rig.primary, event, effects);
  for (const effect of effects) perform(rig, effect);
}

function perform(rig: Rig, effect: PrimaryEffect): void {
  const figures = { bytesUsed: 0, firstSet: 1 };
  rig.order.push(effect.kind);
  switch (effect.kind) {
    case "record":
      if (rig.recordsHeld !== undefined) return void rig.recordsHeld.push(effect.ticket);
      return submit(rig, { kind: "recorded", ticket: effect.ticket });
    case "syncOpenMaps":
      return submit(rig, { kind: "openMapDurable", ticket: effect.ticket });
    case "append":
      rig.entries.push(...effect.entries);
      rig.batches.push(effect.entries.map(({ kind }) => kind));
      for (const { kind, set } of effect.entries) if (kind === "seal") rig.sealedSet = set;
      return submit(rig, {
        kind: "appended",
        requests: effect.requests,
        ...figures,
        sealedSet: rig.sealedSet,
      });
    case "image":
      return submit(rig, { kind: "imageDone", request: effect.request, failure: undefined });
    case "syncJournal":
      return submit(rig, { ...effect, kind: "journalSynced" });
    case "syncImage":
      return submit(rig, { ...effect, kind: "imageSynced", failure: undefined });
    case "awaitSeal":
      rig.timers.push(effect);
      return;
    case "reply":
      rig.replies.push(effect.request);
      return;
    default:
      return;
  }
}

/** Asks for requests in one turn of the loop, then ends the turn. */
function turn(rig: Rig, ...kinds: ("write" | "flush")[]): void {
  for (const kind of kinds) submit(rig, { kind: "request", request: sampleRequest(kind) });
  submit(rig, { kind: "turnEnd" });
}

function placesOf(rig: Rig): string[] {
  return rig.entries.map(({ kind, set, index }) => `${kind} ${set}/${index}`);
}

function sealsOf(rig: Rig): Entry[] {
  return rig.entries.filter(({ kind }) => kind === "seal");
}

test("S2, S7: every write has a set and an index of its own in it, and SEAL has the one behind the last", () => {
  const rig = createWarmRig();
  turn(rig, "write");
  turn(rig, "write", "write");
  submit(rig, { kind: "sealDue", set: 101 });
  assert.deepEqual(
    rig.entries.map(({ kind, set, index }) => [kind, set, index]),
    [
      ["write", 101, 1],
      ["write", 101, 2],
      ["write", 101, 3],
      ["seal", 101, 4],
    ],
  );
  const [seal] = sealsOf(rig);
  assert.ok(seal !== undefined);
  assert.equal(countOf(seal), 3);
  const digest = rig.entries
    .filter(({ kind }) => kind !== "seal")
    .reduce((crc, entry) => digestStep(crc, entry), 0);
  assert.equal(seal.payloadCrc, digest);
  assert.equal(seal.lsn, rig.entries[2]?.lsn);
});

test("what the image has the journal has: a turn's writes are appended at once, and then go to the image", () => {
  const rig = createWarmRig();
  turn(rig, "write", "write", "write");
  assert.deepEqual(rig.batches.at(-1), ["write", "write", "write"]);
  assert.ok(rig.order.indexOf("append") < rig.order.indexOf("image"));
  assert.ok(rig.order.indexOf("image") < rig.order.indexOf("reply"));
});

test("A19, A20, I7: writes are answered when SEAL of their set is in the journal, all of them, and none before", () => {
  const rig = createWarmRig({ acksAtSwitch: true, onFlush: false });
  rig.replies.length = 0;
  turn(rig, "write", "write");
  turn(rig, "write");
  assert.equal(rig.replies.length, 0, "the number stands");
  turn(rig, "flush");
  assert.equal(rig.replies.length, 1, "a FLUSH speaks of what was answered before");
  const { set } = rig.timers.at(-1) ?? assert.fail("nobody waits for the switch");
  submit(rig, { kind: "sealDue", set });
  assert.ok(rig.order.lastIndexOf("append") < rig.order.lastIndexOf("reply"));
  assert.equal(rig.replies.length, 4);
  turn(rig, "write");
  assert.equal(rig.replies.length, 4, "the next number stands");
});

test("A19: whoever waits for a switch that does not come is answered by the end of the primary", () => {
  const rig = createWarmRig({ acksAtSwitch: true, onFlush: false });
  rig.replies.length = 0;
  turn(rig, "write", "write");
  submit(rig, { kind: "storeFailed", what: "the disk is gone" });
  assert.equal(rig.replies.length, 2);
  assert.equal(rig.primary.inFlight, 0);
});

test("S4: a set ends by its time, once, and not when it was sealed before", () => {
  const rig = createWarmRig();
  turn(rig, "write");
  assert.deepEqual(
    rig.timers.map(({ set, afterMs }) => [set, afterMs]),
    [[101, 50]],
  );
  turn(rig, "flush");
  submit(rig, { kind: "sealDue", set: 101 });
  assert.equal(sealsOf(rig).length, 1);
  turn(rig, "write");
  submit(rig, { kind: "sealDue", set: 102 });
  assert.deepEqual(
    sealsOf(rig).map(({ set }) => set),
    [101, 102],
  );
});

test("S4: a set ends when it has enough bytes", () => {
  const rig = createWarmRig({ bytesMax: 3 * 4096 });
  for (let i = 0; i < 7; i += 1) turn(rig, "write");
  assert.deepEqual(
    sealsOf(rig).map((seal) => countOf(seal)),
    [3, 3],
  );
});

test("S19: a FLUSH seals at its place in the order, and is answered by disks here alone", () => {
  const rig = createWarmRig();
  turn(rig, "write", "write", "flush");
  turn(rig, "write");
  assert.deepEqual(
    rig.entries.map(({ kind }) => kind),
    ["write", "write", "seal", "write"],
  );
  assert.equal(rig.replies.length, 4);
});

test("S19: with onFlush: only, neither time nor bytes end a set, a FLUSH does, and at last the bracket's own limit", () => {
  const rig = createWarmRig({ onFlush: "only", bytesMax: 4096 });
  for (let i = 0; i < 5; i += 1) turn(rig, "write");
  assert.deepEqual([rig.timers.length, sealsOf(rig).length], [0, 0]);
  turn(rig, "flush");
  assert.deepEqual(
    sealsOf(rig).map((seal) => countOf(seal)),
    [5],
  );
  turn(rig, "write");
  submit(rig, { kind: "tick", nowMs: 29_000, wallMs: 0 });
  assert.equal(sealsOf(rig).length, 1);
  submit(rig, { kind: "tick", nowMs: 31_000, wallMs: 0 });
  assert.equal(sealsOf(rig).length, 2);
});

test("with onFlush: false a FLUSH ends no set", () => {
  const rig = createWarmRig({ onFlush: false });
  turn(rig, "write", "flush");
  assert.equal(sealsOf(rig).length, 0);
});

test("S4: an idle group seals an empty set now and then, and the recovery point moves", () => {
  const rig = createWarmRig();
  turn(rig, "write", "flush");
  submit(rig, { kind: "tick", nowMs: 500, wallMs: 7_500 });
  assert.equal(sealsOf(rig).length, 1);
  submit(rig, { kind: "tick", nowMs: 1_100, wallMs: 8_100 });
  const [first, second] = sealsOf(rig);
  assert.ok(first !== undefined && second !== undefined);
  assert.deepEqual([countOf(second), second.lsn, second.stampMs], [0, first.lsn, 8_100]);
});

test("S23, decision 5: the set that the last incarnation left open is ended first, and numbers go on above the reserve", () => {
  const openSet = { set: 42, count: 3, digest: 77 };
  const rig = createRig({}, { nextSet: 500, openSet, lastSealedSet: 41, lastLsn: 9 });
  const [left] = rig.entries;
  assert.ok(left !== undefined);
  assert.deepEqual(
    [left.kind, left.set, countOf(left), left.payloadCrc, left.lsn, coversFrom(left)],
    ["seal", 42, 3, 77, 9, 42],
  );
  turn(rig, "write");
  submit(rig, { kind: "turnEnd" });
  turn(rig, "flush");
  const seal = sealsOf(rig)[1];
  assert.ok(seal !== undefined);
  assert.deepEqual(
    [seal.set, coversFrom(seal)],
    [500, 43],
    "it follows the last of the one before",
  );
});

test("B17: behind a power cut that left something open, sets follow none before them", () => {
  const firstSealOf = (rig: Rig): Entry | undefined => {
    turn(rig, "write");
    submit(rig, { kind: "turnEnd" });
    turn(rig, "flush");
    return sealsOf(rig)[0];
  };
  const found = { nextSet: 42, lastSealedSet: 41, lastLsn: 9 };
  const killed = firstSealOf(createRig({}, found));
  const isClosed = firstSealOf(createRig({}, found, { open: false }));
  const isOpen = firstSealOf(createRig({}, found, { open: true }));
  assert.ok(killed !== undefined && isClosed !== undefined && isOpen !== undefined);
  assert.deepEqual([killed.set, coversFrom(killed)], [42, 42], "42 follows 41");
  assert.deepEqual([isClosed.set, coversFrom(isClosed)], [42, 42]);
  assert.deepEqual([isOpen.set, coversFrom(isOpen)], [43, 43], "43 follows 42, which never was");
});

test("S23, B17: whoever is served as soon as the start is on record writes to a set of this start", () => {
  const placesBehind = (found: Partial<JournalFound>): string[] => {
    const recordsHeld: number[] = [];
    const rig = createRig(
      {},
      { lastSealedSet: 41, lastLsn: 9, ...found },
      { open: true, recordsHeld },
    );
    const [reserved, started] = recordsHeld.splice(0);
    assert.ok(reserved !== undefined && started !== undefined);
    submit(rig, { kind: "recorded", ticket: reserved });
    submit(rig, { kind: "tick", nowMs: 500, wallMs: 7_500 });
    assert.equal(rig.primary.stage, "serving");
    turn(rig, "write");
    submit(rig, { kind: "turnEnd" });
    submit(rig, { kind: "recorded", ticket: started });
    turn(rig, "flush");
    assert.equal(sealsOf(rig).at(-1)?.set, sealsOf(rig).map(coversFrom).at(-1), "it follows none");
    return placesOf(rig);
  };
  const openSet = { set: 42, count: 3, digest: 77 };
  const behindOpen = placesBehind({ nextSet: 500, openSet });
  assert.deepEqual(behindOpen, ["seal 42/4", "write 500/1", "seal 500/2"]);
  const behindSealed = placesBehind({ nextSet: 42 });
  assert.deepEqual(behindSealed, ["write 43/1", "seal 43/2"], "42 never was");
});

test("S4: a full set that waits for numbers on record takes no write more, and is sealed once they are", () => {
  const recordsHeld: number[] = [];
  const rig = createRig({ countMax: 3 }, { nextSet: 5_000 }, { open: false, recordsHeld });
  for (const ticket of recordsHeld.splice(0)) submit(rig, { kind: "recorded", ticket });
  submit(rig, { kind: "tick", nowMs: 500, wallMs: 7_500 });
  const { primary } = rig;
  assert.equal(primary.stage, "serving");
  // The next write asks for more numbers; while their record is on its way, what there was is used up but for a few.
  primary.lsnReserved = primary.nextLsn + 1 + limits.lsnReserveMargin;
  turn(rig, "write");
  const reserve = recordsHeld.pop() ?? assert.fail("no more numbers were asked for");
  const set = primary.journal?.set ?? assert.fail();
  primary.lsnReserved = set + 1;
  turn(rig, "write", "write", "write");
  assert.deepEqual(placesOf(rig), [`write ${set}/1`, `write ${set}/2`, `write ${set}/3`]);
  submit(rig, { kind: "recorded", ticket: reserve });
  submit(rig, { kind: "turnEnd" });
  assert.deepEqual(placesOf(rig).slice(3), [`seal ${set}/4`, `write ${set + 1}/1`]);
});

test("a turn with more than a batch holds is appended in several", () => {
  const rig = createWarmRig({ bytesMax: 1 << 30 });
  turn(rig, ...Array.from({ length: 300 }, () => "write" as const));
  assert.equal(rig.batches.length, 2);
  assert.equal(rig.entries.filter(({ kind }) => kind === "write").length, 300);
});
