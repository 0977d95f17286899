import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { count } from "../../test/support/claims.ts";
import { makeEntry, makeSet } from "../../test/support/staging-rig.ts";
import { digestStep } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { stepStaging } from "./staging.ts";
import { createStaging } from "./staging-state.ts";
import type {
  FoundRecord,
  Point,
  Staging,
  StagingEffect,
  StagingEvent,
  StagingMode,
} from "./staging-state.ts";

// A copy with a disk that forgets, fed with a history of sets in any order, twice, over lanes, by sessions that end; killed and
// cut off from power between any two steps. Its twin applies the history in order. What the copy was heard to call complete
// is never sent again, as by a primary that has forgotten it.

const blockBytes = 4096;
const lanes = 3;

// --------------------------------------------------------------------------------------- history

type History = {
  /** In order, with what each leads to. */
  readonly sets: readonly { readonly entries: readonly Entry[]; readonly point: Point }[];
  readonly batches: readonly (readonly Entry[])[];
};

const someWrite = fc.record({
  block: fc.nat(7),
  blocks: fc.integer({ min: 1, max: 2 }),
  isZero: fc.boolean(),
});
const someSet = fc.record({
  writes: fc.array(someWrite, { maxLength: 5 }),
  /** Numbers that an incarnation has jumped over. */
  skipped: fc.constantFrom(0, 0, 0, 1, 2),
  order: fc.nat(),
});
const someHistory = fc
  .tuple(
    fc.array(someSet, { minLength: 1, maxLength: 7 }),
    fc.array(fc.integer({ min: 1, max: 6 })),
  )
  .map(([specs, cuts]) => makeHistory(specs, cuts));

type SetSpec = {
  writes: { block: number; blocks: number; isZero: boolean }[];
  skipped: number;
  order: number;
};

function makeHistory(specs: readonly SetSpec[], cuts: readonly number[]): History {
  const sets: { entries: Entry[]; point: Point }[] = [];
  const sent: Entry[] = [];
  let last: Point = { set: 0, lsn: 0, stampMs: 0 };
  for (const { writes, skipped, order } of specs) {
    const set = last.set + 1 + skipped;
    // What an earlier incarnation left: a set that never becomes whole, and one that does and has lost its place.
    if (skipped > 0) sent.push(...makeSet(last.set + 1, 2).slice(1));
    if (skipped > 1) sent.push(...makeSet(last.set + 2, 2));
    const entries = writes.map(({ block, blocks, isZero }, i) =>
      makeEntry(set, i + 1, {
        kind: isZero ? "zero" : "write",
        lsn: last.lsn + i + 1,
        offset: block * blockBytes,
        length: blocks * blockBytes,
      }),
    );
    const from = last.set + 1;
    last = { set, lsn: last.lsn + entries.length, stampMs: set };
    const [seal = assert.fail()] = makeSet(set, 0, {
      index: entries.length + 1,
      lsn: last.lsn,
      offset: from,
      payloadCrc: entries.reduce(digestStep, 0),
    });
    sets.push({ entries, point: last });
    sent.push(...shuffled([...entries, seal], order));
  }
  return { sets, batches: cut(sent, cuts) };
}

function cut(entries: readonly Entry[], sizes: readonly number[]): Entry[][] {
  const batches: Entry[][] = [];
  let rest = [...entries];
  for (let i = 0; rest.length > 0; i += 1) {
    batches.push(rest.slice(0, sizes[i] ?? 2));
    rest = rest.slice(sizes[i] ?? 2);
  }
  return batches;
}

/** Numbers that follow from a seed: below `n` each. */
function createDice(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const dice = createDice(seed);
  const rest = [...items];
  return items.map(() => rest.splice(dice(rest.length), 1)[0] ?? assert.fail());
}

type Image = Map<number, number>;

function writeInto(image: Image, { kind, offset, length, lsn }: Entry): void {
  for (let at = offset; at < offset + length; at += blockBytes)
    image.set(at / blockBytes, kind === "zero" ? -lsn : lsn);
}

/** The dumb twin: the image after this set. */
function twinAt(history: History, set: number): Image {
  const image: Image = new Map();
  for (const { entries, point } of history.sets)
    if (point.set <= set) for (const entry of entries) writeInto(image, entry);
  return image;
}

// ----------------------------------------------------------------------------------------- world

type LogItem = FoundRecord<number> & { readonly ticket: number; isSynced: boolean };
type Delivery = { readonly lane: number; readonly entries: readonly Entry[] };

type World = {
  readonly mode: StagingMode;
  readonly history: History;
  staging: Staging<number>;
  isStarted: boolean;
  log: LogItem[];
  /** What the log was told to forget, and may have again after a crash. */
  forgotten: LogItem[];
  places: number;
  image: Image;
  imageSynced: Image;
  imageWrites: Entry[];
  record: Point;
  /** What waits for an answer, by the device that gives it: each answers in order. */
  readonly logWork: StagingEffect<number>[];
  readonly applyWork: (StagingEffect<number> & { kind: "apply" })[];
  readonly imageWork: { readonly effect: StagingEffect<number>; readonly writes: number }[];
  epoch: number;
  readonly toSend: Delivery[];
  readonly sent: Delivery[];
  readonly sequences: number[];
  /** The highest set heard to be complete, in all lives; and the set applied last, in this one. */
  heard: number;
  applied: number;
  settled: Point | undefined;
};

const origin: Point = { set: 0, lsn: 0, stampMs: 0 };

function createWorld(history: History, mode: StagingMode): World {
  const world: World = {
    mode,
    history,
    staging: createStaging(mode),
    isStarted: false,
    log: [],
    forgotten: [],
    places: 0,
    image: new Map(),
    imageSynced: new Map(),
    imageWrites: [],
    record: origin,
    logWork: [],
    applyWork: [],
    imageWork: [],
    epoch: 0,
    toSend: [],
    sent: [],
    sequences: [],
    heard: 0,
    applied: 0,
    settled: undefined,
  };
  step(world, { kind: "start" });
  return world;
}

function step(world: World, event: StagingEvent<number>): void {
  const out: StagingEffect<number>[] = [];
  stepStaging(world.staging, event, out);
  for (const effect of out) perform(world, effect);
}

function perform(world: World, effect: StagingEffect<number>): void {
  switch (effect.kind) {
    case "stage":
    case "flag":
      world.places += 1;
      world.log.push({
        ...foundOf(effect),
        ticket: effect.ticket,
        place: world.places,
        isSynced: false,
      });
      return void world.logWork.push(effect);
    case "sync":
      return void world.logWork.push(effect);
    case "apply":
      judgeApply(world, effect);
      return void world.applyWork.push(effect);
    case "syncImages":
    case "recordApplied":
      return void world.imageWork.push({ effect, writes: world.imageWrites.length });
    case "forget":
      world.forgotten.push(...world.log.filter(({ place }) => place <= effect.through));
      world.log = world.log.filter(({ place }) => place > effect.through);
      return;
    case "ackLane":
      return judgeAck(world, effect);
    case "progress":
      return judgeProgress(world, effect.complete);
    case "settled":
      world.settled = effect.point;
      return;
    case "started":
      world.isStarted = true;
      return;
    case "failSession":
      return assert.fail(effect.why);
    default:
      return;
  }
}

function foundOf(effect: StagingEffect<number> & { kind: "stage" | "flag" }): FoundRecord<number> {
  if (effect.kind === "flag") return { kind: "flags", place: 0, flags: effect.flags };
  const { entries, held } = effect.batch;
  return { kind: "batch", place: 0, entries, held };
}

function answerLog(world: World): void {
  const effect = world.logWork.shift();
  if (effect?.kind === "sync") {
    for (const item of world.log) if (item.ticket <= effect.ticket) item.isSynced = true;
    step(world, { kind: "synced", ticket: effect.ticket, failure: undefined });
  } else if (effect?.kind === "stage" || effect?.kind === "flag") {
    const { ticket } = effect;
    const place = world.log.find((item) => item.ticket === ticket)?.place ?? assert.fail();
    step(world, { kind: "staged", ticket, place });
  }
}

function answerApply(world: World): void {
  const effect = world.applyWork.shift();
  if (effect === undefined) return;
  for (const entry of effect.entries) writeImage(world, entry);
  step(world, { kind: "applied", set: effect.set, failure: undefined });
}

function writeImage(world: World, entry: Entry): void {
  writeInto(world.image, entry);
  world.imageWrites.push(entry);
}

function answerImage(world: World): void {
  const work = world.imageWork.shift();
  if (work?.effect.kind === "syncImages") {
    for (const entry of world.imageWrites.splice(0, work.writes))
      writeInto(world.imageSynced, entry);
    step(world, { kind: "imagesSynced", failure: undefined });
  } else if (work?.effect.kind === "recordApplied") {
    judgeRecord(world, work.effect.point);
    world.record = work.effect.point;
    step(world, { kind: "appliedRecorded", failure: undefined });
  }
}

// --------------------------------------------------------------------------------------- judges

/** What the log holds synced, and so will be there whatever happens. */
function syncedEntries(world: World): Map<string, Entry> {
  const found = new Map<string, Entry>();
  for (const item of world.log) {
    if (!item.isSynced || item.kind !== "batch") continue;
    for (const entry of item.entries) found.set(nameOf(entry), entry);
  }
  return found;
}

function nameOf({ kind, set, index }: Entry): string {
  return `${kind === "seal" ? "seal" : "entry"} ${set}.${index}`;
}

function judgeDurable(world: World, set: number): void {
  if (set <= world.record.set) return;
  const synced = syncedEntries(world);
  const { entries } = world.history.sets.find(({ point }) => point.set === set) ?? assert.fail();
  for (const entry of entries) assert.deepEqual(synced.get(nameOf(entry)), entry);
  const flags = world.log.flatMap((item) =>
    item.isSynced && item.kind === "flags" ? item.flags : [],
  );
  assert.ok(flags.some((flag) => flag.set === set && flag.count === entries.length));
  assert.ok(synced.has(`seal ${set}.${entries.length + 1}`));
}

/** I13, S23: each set once, after the one before it; S18: when it is durably complete; I10, U49: all of it, by LSN. */
function judgeApply(world: World, effect: StagingEffect<number> & { kind: "apply" }): void {
  const next = world.history.sets.find(({ point }) => point.set > world.applied) ?? assert.fail();
  assert.equal(effect.set, next.point.set);
  world.applied = effect.set;
  judgeDurable(world, effect.set);
  assert.deepEqual(effect.entries, next.entries);
  effect.entries.forEach((entry, i) =>
    assert.equal(effect.held[i], entry.kind === "write" ? entry.lsn : undefined),
  );
}

/** I20: what was heard to be complete is durable, and stays. */
function judgeProgress(world: World, complete: Point): void {
  assert.ok(complete.set >= world.heard);
  for (const { point } of world.history.sets) {
    if (point.set <= complete.set && point.set > world.heard) judgeDurable(world, point.set);
  }
  const known = world.history.sets.find(({ point }) => point.set === complete.set)?.point ?? origin;
  assert.deepEqual(complete, known);
  world.heard = complete.set;
}

/** S9: everything that came by the lane up to here is durable, or was before. */
function judgeAck(world: World, effect: StagingEffect<number> & { kind: "ackLane" }): void {
  if (world.mode === "memory") return;
  const synced = syncedEntries(world);
  const ofLane = world.sent.filter(({ lane }) => lane === effect.lane).slice(0, effect.sequence);
  for (const entry of ofLane.flatMap(({ entries }) => entries))
    assert.ok(entry.set <= world.staging.complete.set || synced.has(nameOf(entry)));
}

/** The one rule of forgetting: what is on record as applied is in the images, synced. */
function judgeRecord(world: World, point: Point): void {
  for (const [block, lsn] of twinAt(world.history, point.set)) {
    const there = Math.abs(world.imageSynced.get(block) ?? 0);
    assert.ok(there >= Math.abs(lsn));
  }
}

// ----------------------------------------------------------------------------------------- moves

function openSession(world: World, seed: number): void {
  if (!world.isStarted) return;
  world.epoch += 1;
  world.toSend.length = 0;
  world.sent.length = 0;
  world.sequences.splice(0, lanes, 0, 0, 0);
  const dice = createDice(seed);
  const wanted = world.history.batches.filter((batch) =>
    batch.some(({ set }) => set > world.heard),
  );
  const twice = wanted.filter(() => dice(3) === 0);
  for (const entries of shuffled([...wanted, ...twice], seed))
    world.toSend.push({ lane: dice(lanes), entries });
  const { set, lsn } = world.staging.complete;
  const told = { epoch: world.epoch, incarnation: 2, firstSet: set + 1, lsn, resync: false };
  step(world, { kind: "opened", ...told });
}

function deliver(world: World): void {
  const delivery = world.toSend.shift();
  if (delivery === undefined) return;
  const { lane, entries } = delivery;
  world.sent.push(delivery);
  const sequence = (world.sequences[lane] ?? 0) + 1;
  world.sequences[lane] = sequence;
  const held = entries.map(({ kind, lsn }) => (kind === "write" ? lsn : undefined));
  const batch = { entries, held, raw: undefined };
  step(world, { kind: "batch", epoch: world.epoch, lane, sequence, batch });
}

/** A kill keeps all that was written; a power cut keeps what was synced and any of the rest. Then the process starts. */
function crash(world: World, seed: number, isPower: boolean): void {
  const dice = createDice(seed);
  const stays = (): boolean => !isPower || dice(2) === 0;
  const under = world.applyWork.flatMap(({ entries }) => entries);
  for (const entry of under.slice(0, dice(under.length + 1))) writeImage(world, entry);
  if (isPower) {
    for (const entry of world.imageWrites) if (stays()) writeInto(world.imageSynced, entry);
    world.image = new Map(world.imageSynced);
    world.imageWrites = [];
  }
  for (const { effect } of world.imageWork)
    if (effect.kind === "recordApplied" && dice(2) === 0) world.record = effect.point;
  const back = world.forgotten.slice(dice(world.forgotten.length + 1));
  world.log = [...back, ...world.log].filter(({ isSynced }) => isSynced || stays());
  world.forgotten = [];
  for (const work of [world.logWork, world.applyWork, world.imageWork, world.toSend])
    work.length = 0;
  world.isStarted = false;
  world.applied = world.record.set;
  world.staging = createStaging(world.mode, world.record, world.log);
  // The start gives tickets anew, from the oldest record on.
  world.log = world.log.map((item, i) => ({ ...item, ticket: i + 1 }));
  step(world, { kind: "start" });
}

const move = fc.record({ pick: fc.nat(99), seed: fc.nat() });

function play(world: World, pick: number, seed: number): void {
  if (pick < 35) deliver(world);
  else if (pick < 60) answerLog(world);
  else if (pick < 72) answerApply(world);
  else if (pick < 82) answerImage(world);
  else if (pick < 88) tick(world, seed % 2 === 0 ? limits.tickMs : limits.applyIdleMs);
  else if (pick < 93) openSession(world, seed);
  else if (pick < 94) step(world, { kind: "lost" });
  else crash(world, seed, pick < 97);
}

function tick(world: World, ms: number): void {
  step(world, { kind: "tick", nowMs: world.staging.nowMs + ms });
}

function answerAll(world: World): void {
  const waits = (): number =>
    world.logWork.length + world.applyWork.length + world.imageWork.length;
  for (let round = 0; waits() > 0; round += 1) {
    assert.ok(round < 10_000);
    answerLog(world);
    answerApply(world);
    answerImage(world);
  }
}

function heal(world: World): void {
  answerAll(world);
  openSession(world, 1);
  while (world.toSend.length > 0) deliver(world);
  for (let round = 0; round < 3; round += 1) {
    answerAll(world);
    tick(world, limits.applyIdleMs);
  }
  answerAll(world);
}

const RUNS = 300;

for (const mode of ["durable", "memory"] as const) {
  test(`I10, I13, I15, I20, I21, I22, S5, S21, S22, S23: ${mode} staging, any order, any crash: the image is the history's`, () => {
    let crashes = 0;
    let redone = 0;
    fc.assert(
      fc.property(
        someHistory,
        fc.array(move, { maxLength: 150, size: "max" }),
        (history, script) => {
          const world = createWorld(history, mode);
          openSession(world, 0);
          for (const { pick, seed } of script) {
            play(world, pick, seed);
            if (pick < 94) continue;
            crashes += 1;
            redone += world.staging.syncing?.sets.length ?? 0;
          }
          heal(world);
          const last = history.sets.at(-1)?.point ?? assert.fail();
          assert.deepEqual(world.staging.complete, last);
          assert.deepEqual(world.record, last);
          assert.deepEqual(world.image, twinAt(history, last.set));
          assert.deepEqual(world.imageSynced, world.image);
          const { staging } = world;
          assert.deepEqual([world.log.length, staging.records.count, staging.sets.size], [0, 0, 0]);
          assert.deepEqual([staging.waitingBytes, staging.appliedBytes], [0, 0]);
        },
      ),
      { numRuns: RUNS, interruptAfterTimeLimit: 20_000 },
    );
    assert.ok(redone > 0);
    for (const id of ["I20", "I21", "S21", "S22"])
      count(id, { faultsInjected: crashes, effectsSeen: redone });
  });

  test(`I8, I10, I13: ${mode} staging settled at any moment is the history up to a set, at least up to what was heard (U50)`, () => {
    fc.assert(
      fc.property(
        someHistory,
        fc.array(move, { maxLength: 80, size: "max" }),
        (history, script) => {
          const world = createWorld(history, mode);
          openSession(world, 0);
          for (const { pick, seed } of script) play(world, pick, seed);
          step(world, { kind: "settle" });
          answerAll(world);
          const point = world.settled ?? assert.fail("it never settled");
          assert.ok(point.set >= world.heard);
          assert.deepEqual(world.record, point);
          assert.deepEqual(world.image, twinAt(history, point.set));
          assert.deepEqual(world.imageSynced, world.image);
          assert.equal(world.log.length, 0);
        },
      ),
      { numRuns: RUNS, interruptAfterTimeLimit: 20_000 },
    );
  });
}
