import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KiB, MiB, limits } from "#base/limits.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { stepCopy } from "./copy.ts";
import { createCopy } from "./copy-state.ts";
import type { Copy, CopyEffect, CopyEvent, CopyWork, CopyWorkKind } from "./copy-state.ts";
import { blankMember } from "./group-record.ts";
import type { GroupRecord } from "./group-record.ts";
import { createPreserve, savedBytes, savedMaps } from "./preserve.ts";
import { createRegionMap } from "./region-map.ts";

// The preserved point at a copy's machine: when it is made, what must be saved before what, when it goes. Effects are answered
// by hand, in any order; a dumb twin keeps the image itself.

const unitBytes = limits.preserveUnitBytes;
const stepBytes = 4 * unitBytes;

type Rig = { readonly copy: Copy; readonly pending: CopyEffect[]; session: number };

function createRig(record: Partial<GroupRecord> = {}, isKept = true): Rig {
  const whole = sampleRecord({ site: "west", role: "secondary", image: "consistent", ...record });
  const maps = whole.volumes.map(({ bytes }) => createRegionMap(bytes, MiB));
  const saved = whole.preservedPoint === undefined ? undefined : savedMaps(whole.volumes);
  return {
    copy: createCopy(whole, maps, { isKept, stepBytes, saved, branchSaved: undefined }),
    pending: [],
    session: 0,
  };
}

function step(rig: Rig, event: CopyEvent): void {
  stepCopy(rig.copy, event, rig.pending);
}

/** The oldest effect of this kind, which is answered or looked at now. */
function take<K extends CopyEffect["kind"]>(rig: Rig, kind: K): Extract<CopyEffect, { kind: K }> {
  const index = rig.pending.findIndex((effect) => effect.kind === kind);
  const kinds = rig.pending.map((effect) => effect.kind).join(", ");
  const [found] = rig.pending.splice(index, index === -1 ? 0 : 1);
  return (found ?? assert.fail(`no ${kind} among ${kinds}`)) as Extract<CopyEffect, { kind: K }>;
}

function has(rig: Rig, kind: CopyEffect["kind"]): boolean {
  return rig.pending.some((effect) => effect.kind === kind);
}

function open(rig: Rig): void {
  rig.session += 1;
  step(rig, { kind: "opened", session: rig.session, from: "east" });
}

const told = {
  history: [
    { counter: 1, id: "a1", site: "east" },
    { counter: 2, id: "b2", site: "north" },
  ],
  incarnation: 2,
  lsn: 90,
  lsnReserved: 1_000,
  resync: true,
  firstSet: 0,
};

function give(rig: Rig, kind: CopyWorkKind, fields: Partial<CopyWork> = {}): CopyWork {
  const work: CopyWork = {
    session: rig.session,
    kind,
    volume: 0,
    offset: 0,
    length: unitBytes,
    lsn: 0,
    set: 0,
    sequence: 0,
    index: 0,
    mayPunch: false,
    body: [],
    begin: kind === "begin" ? told : undefined,
    why: "",
    isDone: false,
    ...fields,
  };
  step(rig, { kind: "work", work });
  return work;
}

function makePoint(rig: Rig, id = 7): void {
  const { work } = take(rig, "makePoint");
  step(rig, { kind: "pointMade", work, made: { id, keptSinceMs: 5_000, as: "point" } });
}

function record(rig: Rig): void {
  step(rig, { kind: "recorded", ticket: take(rig, "record").ticket });
}

/** Past BEGIN of a resync, with a point on record. */
function resyncing(): Rig {
  const rig = createRig();
  open(rig);
  give(rig, "begin");
  makePoint(rig);
  record(rig);
  rig.pending.length = 0;
  return rig;
}

function openMaps(rig: Rig): void {
  while (has(rig, "syncOpenMaps"))
    step(rig, { kind: "openMapDurable", ticket: take(rig, "syncOpenMaps").ticket });
}

test("decision 11, I30: the point is made of a quiet image, and goes on record with `synchronizing`, in its own generation", () => {
  const rig = createRig({ syncedAt: { lsn: 40, generation: 1 } });
  open(rig);
  give(rig, "begin", { begin: { ...told, resync: false, history: told.history.slice(0, 1) } });
  record(rig);
  const write = give(rig, "write", { lsn: 91 });
  openMaps(rig);
  take(rig, "image");
  rig.pending.length = 0;
  open(rig);
  give(rig, "begin");
  assert.ok(!has(rig, "makePoint"), "a write of the lost session is still under way");
  step(rig, { kind: "imageDone", work: write, failure: undefined });
  const { work } = take(rig, "makePoint");
  assert.equal(rig.copy.record.image, "consistent");
  assert.ok(!has(rig, "record"), "nothing is on record before there is a log");
  step(rig, { kind: "pointMade", work, made: { id: 7, keptSinceMs: 5_000, as: "point" } });
  assert.ok(has(rig, "record"));
  const { image, preservedPoint } = rig.copy.record;
  assert.equal(image, "synchronizing");
  const position = { lsn: 90, set: 0, stampMs: 0, generation: 1 };
  assert.deepEqual(preservedPoint, { id: 7, keptSinceMs: 5_000, ...position, phase: "kept" });
  assert.ok(!has(rig, "sendBegun"));
  record(rig);
  take(rig, "sendBegun");
});

test("decision 11: with sets, the point is the last that is applied and on record", () => {
  const rig = createRig({ applied: { set: 12, lsn: 77, stampMs: 3_000 } });
  open(rig);
  give(rig, "begin", { begin: { ...told, firstSet: 20 } });
  makePoint(rig);
  const { set, lsn, stampMs } = rig.copy.record.preservedPoint ?? assert.fail();
  assert.deepEqual({ set, lsn, stampMs }, { set: 12, lsn: 77, stampMs: 3_000 });
});

test("decision 11: an image that went back is the same point again, of its own generation and age, unless it has moved on", () => {
  const reverted = { lsn: 40, set: 0, stampMs: 0, generation: 1, keptSinceMs: 2_000 };
  const cases: readonly (readonly [number, number, number])[] = [
    [40, 1, 2_000],
    [50, 2, 5_000],
  ];
  for (const [lsn, generation, keptSinceMs] of cases) {
    const syncedAt = { lsn, generation };
    const rig = createRig({ history: told.history, syncedAt, reverted });
    open(rig);
    give(rig, "begin");
    makePoint(rig);
    const point = rig.copy.record.preservedPoint;
    const position = { lsn, set: 0, stampMs: 0, generation, keptSinceMs };
    assert.deepEqual(point, { id: 7, ...position, phase: "kept" });
  }
});

test("decision 11: no point of a first sync, of an image in doubt, without a resync, or where none is kept", () => {
  const cases: readonly (readonly [Partial<GroupRecord>, boolean, boolean])[] = [
    [{ image: "out-of-sync", syncedAt: undefined }, true, true],
    [{ image: "synchronizing" }, true, true],
    [{ failedVolumes: ["data"] }, true, true],
    [{}, false, true],
    [{}, true, false],
  ];
  for (const [fields, isKept, resync] of cases) {
    const rig = createRig(fields, isKept);
    open(rig);
    give(rig, "begin", { begin: { ...told, resync } });
    assert.ok(!has(rig, "makePoint"));
    record(rig);
    give(rig, "region");
    openMaps(rig);
    assert.ok(!has(rig, "save"));
    take(rig, "image");
  }
});

test("I30: a point outlives lost sessions and other primaries, and goes when it is on record that the image is whole", () => {
  const rig = resyncing();
  const point = rig.copy.record.preservedPoint;
  give(rig, "region");
  openMaps(rig);
  const { ticket } = take(rig, "save");
  step(rig, { kind: "lost", why: "cut" });
  open(rig);
  give(rig, "begin", { begin: { ...told, history: [...told.history, ...told.history] } });
  assert.ok(!has(rig, "record"), "what is being saved is waited for");
  step(rig, { kind: "saved", ticket, why: "" });
  assert.ok(!has(rig, "makePoint"));
  record(rig);
  assert.deepEqual(rig.copy.record.preservedPoint, point);
  give(rig, "synchronized", { lsn: 99 });
  assert.equal(rig.copy.record.preservedPoint, undefined);
  assert.ok(!has(rig, "dropPoint"), "the disk still says that there is one");
  record(rig);
  take(rig, "dropPoint");
  assert.equal(rig.copy.preserve, undefined);
});

test("a log that was made for a session that is gone is dropped, and the next BEGIN has its own made", () => {
  const rig = createRig();
  open(rig);
  give(rig, "begin");
  const { work } = take(rig, "makePoint");
  open(rig);
  give(rig, "begin");
  step(rig, { kind: "pointMade", work, made: { id: 7, keptSinceMs: 1, as: "point" } });
  assert.deepEqual(
    rig.pending.map(({ kind }) => kind),
    ["dropPoint", "makePoint"],
  );
  makePoint(rig, 8);
  assert.equal(rig.copy.record.preservedPoint?.id, 8);
});

test("I29, I30: what was given up becomes a branch instead of a point, and is saved from also when the image is whole", () => {
  const wrote = { regions: 2, bytes: 131_072 };
  const rig = createRig({
    syncedAt: { lsn: 40, generation: 1 },
    history: told.history.slice(0, 1),
    discarding: { favours: ["b2"], wrote },
    members: { east: { ...blankMember(), phase: "dirty", alone: true } },
  });
  open(rig);
  give(rig, "begin");
  const { work, as } = take(rig, "makePoint");
  assert.equal(as, "branch");
  step(rig, { kind: "pointMade", work, made: { id: 9, keptSinceMs: 5_000, as } });
  const { branch, discarding, history, preservedPoint } = rig.copy.record;
  assert.deepEqual([discarding, preservedPoint, history], [undefined, undefined, told.history]);
  assert.deepEqual(branch?.history, told.history.slice(0, 1), "its own, and not the other side's");
  assert.deepEqual([branch.id, branch.aloneTowards, branch.wrote], [9, ["east"], wrote]);
  record(rig);
  give(rig, "region");
  openMaps(rig);
  const first = take(rig, "save");
  assert.deepEqual([first.ranges.length, first.branchRanges.length], [0, 1]);
  step(rig, { kind: "saved", ticket: first.ticket, why: "" });
  step(rig, { kind: "imageDone", work: take(rig, "image").work, failure: undefined });
  give(rig, "synchronized", { lsn: 99 });
  record(rig);
  assert.ok(!has(rig, "dropPoint"), "it stays until the operator drops it");
  assert.equal(rig.copy.record.branch?.id, 9);
  // Behind the resync a mirrored write overwrites something for the first time; and a later resync has a point of its own.
  give(rig, "write", { offset: 2 * MiB, lsn: 100 });
  openMaps(rig);
  const second = take(rig, "save");
  assert.deepEqual([second.ranges.length, second.branchRanges.length], [0, 1]);
  step(rig, { kind: "saved", ticket: second.ticket, why: "" });
  step(rig, { kind: "imageDone", work: take(rig, "image").work, failure: undefined });
  open(rig);
  give(rig, "begin");
  assert.equal(take(rig, "makePoint").as, "point");
});

test("decision 11: when nothing more can be saved, nothing more is overwritten, the session ends, and the point stays", () => {
  const rig = resyncing();
  give(rig, "region");
  give(rig, "region", { offset: MiB });
  openMaps(rig);
  step(rig, { kind: "saved", ticket: take(rig, "save").ticket, why: "full" });
  assert.equal(take(rig, "failSession").why, "full");
  assert.equal(rig.copy.preserveFailure, "full");
  open(rig);
  give(rig, "begin");
  give(rig, "region");
  assert.deepEqual(
    rig.pending.filter(({ kind }) => kind !== "event" && kind !== "heldUp"),
    [],
  );
  assert.equal(rig.copy.record.preservedPoint?.phase, "kept");
});

test("a log that cannot be made ends the resync before it has begun; a failed sync of the images makes the next one rewrite", () => {
  for (const isFinal of [true, false]) {
    const rig = createRig();
    open(rig);
    give(rig, "begin");
    const { work } = take(rig, "makePoint");
    if (!isFinal) step(rig, { kind: "syncLost" });
    step(rig, { kind: "pointNotMade", work, why: "broken", isFinal });
    take(rig, "failSession");
    assert.equal(rig.copy.record.image, "consistent");
    assert.equal(rig.copy.preserveFailure, isFinal ? "broken" : "");
    rig.pending.length = 0;
    open(rig);
    give(rig, "begin");
    assert.equal(has(rig, "record"), !isFinal, "an image in doubt is resynced without a point");
  }
});

test("going back: what came and is not begun is given up for good, of sessions and of sets", () => {
  const rig = resyncing();
  give(rig, "region");
  give(rig, "write", { set: 4, session: 0, offset: MiB });
  step(rig, { kind: "abandoned" });
  openMaps(rig);
  give(rig, "write", { set: 4, session: 0, offset: MiB });
  open(rig);
  give(rig, "begin");
  assert.ok(!has(rig, "image") && !has(rig, "save") && !has(rig, "record"));
});

// -------------------------------------------------------------------------------------- dumb twin

/** A volume of few units; what is in a unit is a number, that of the write that went over it last. */
const units = 24;

const act = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("region", "write", "zero", "set" as const),
      first: fc.nat(units - 1),
      count: fc.integer({ min: 1, max: 9 }),
      part: fc.boolean(),
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("answer" as const), which: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("session" as const) }) },
);

test("I30: at every moment, units that are saved, written back over the image, make the image of the point", () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 80 }), (acts) => {
      const rig = resyncing();
      const image = Array.from({ length: units }, (_, unit) => -1 - unit);
      const past = [...image];
      const saved = new Map<number, number>();
      let number = 0;
      const unitsOf = ({ offset, length }: { offset: number; length: number }): number[] => {
        const first = Math.floor(offset / unitBytes);
        const last = Math.floor((offset + length - 1) / unitBytes);
        return Array.from({ length: last - first + 1 }, (_, i) => first + i);
      };
      const answer = (effect: CopyEffect): void => {
        if (effect.kind === "save") {
          let bytes = 0;
          for (const range of effect.ranges) {
            bytes += range.length;
            for (const unit of unitsOf(range)) {
              assert.ok(!saved.has(unit), `unit ${unit} is saved twice`);
              saved.set(unit, image[unit] ?? 0);
            }
          }
          assert.ok(bytes > 0 && bytes <= stepBytes, `a step of ${bytes} bytes`);
          step(rig, { kind: "saved", ticket: effect.ticket, why: "" });
        } else if (effect.kind === "image") {
          number += 1;
          for (const unit of unitsOf(effect.work)) image[unit] = number;
          step(rig, { kind: "imageDone", work: effect.work, failure: undefined });
        } else if (effect.kind === "syncOpenMaps") {
          step(rig, { kind: "openMapDurable", ticket: effect.ticket });
        } else if (effect.kind === "record") {
          step(rig, { kind: "recorded", ticket: effect.ticket });
        }
        assert.deepEqual(
          image.map((held, unit) => saved.get(unit) ?? held),
          past,
        );
      };
      for (const one of acts) {
        if (one.kind === "session") {
          open(rig);
          give(rig, "begin");
        } else if (one.kind === "answer") {
          const [effect] = rig.pending.splice(one.which % Math.max(1, rig.pending.length), 1);
          if (effect !== undefined) answer(effect);
        } else {
          const isSet = one.kind === "set";
          const count = Math.min(one.count, units - one.first);
          const cut = one.part ? 512 : 0;
          give(rig, one.kind === "set" ? "write" : one.kind, {
            ...(isSet ? { set: 3, session: 0 } : {}),
            offset: one.first * unitBytes + cut,
            length: count * unitBytes - 2 * cut,
          });
        }
      }
      while (rig.pending.length > 0) answer(rig.pending.shift() ?? assert.fail());
      assert.equal(savedBytes(rig.copy.preserve ?? assert.fail()), saved.size * unitBytes);
    }),
    { numRuns: 300 },
  );
});

test("the last unit of a volume may be shorter: what is saved of it ends with the volume", () => {
  const bytes = 10 * KiB;
  const rig = createRig({ volumes: [{ name: "data", bytes }] });
  open(rig);
  give(rig, "begin");
  makePoint(rig);
  record(rig);
  give(rig, "zero", { offset: 4 * KiB, length: bytes - 4 * KiB });
  openMaps(rig);
  assert.deepEqual(take(rig, "save").ranges, [
    { volume: 0, offset: 4 * KiB, length: bytes - 4 * KiB },
  ]);
});

test("I29: what a branch holds up is told, and goes on once no branch is on record any more", () => {
  const tenure = { history: told.history, incarnation: 1, aloneTowards: ["east"] };
  const position = { lsn: 40, set: 0, stampMs: 0, generation: 1, keptSinceMs: 5_000 };
  const wrote = { regions: 1, bytes: unitBytes };
  const rig = createRig({ branch: { id: 9, phase: "kept", ...position, ...tenure, wrote } });
  rig.copy.branch = createPreserve(rig.copy.record.volumes, stepBytes);
  const write = give(rig, "write", { set: 5, lsn: 91 });
  openMaps(rig);
  step(rig, { kind: "saved", ticket: take(rig, "save").ticket, why: "full" });
  assert.equal(take(rig, "heldUp").why, "full");
  assert.ok(!has(rig, "image"), "overwritten before it was saved");
  assert.throws(() => step(rig, { kind: "unkept" }), /nothing is claimed/);
  delete rig.copy.record.branch;
  step(rig, { kind: "unkept" });
  assert.equal(take(rig, "heldUp").why, "");
  assert.equal(take(rig, "image").work, write);
});
