import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MiB } from "#base/limits.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { stepCopy } from "./copy.ts";
import { createCopy } from "./copy-state.ts";
import type { Copy, CopyEffect, CopyEvent, CopyWork, CopyWorkKind } from "./copy-state.ts";
import type { GroupRecord } from "./group-record.ts";
import { createRegionMap, isMarked, mark } from "./region-map.ts";

// A copy's machine alone: the effects in words, and what they wait for, to be answered in any order.

type Rig = {
  readonly copy: Copy;
  readonly log: string[];
  readonly pending: { readonly words: string; readonly answer: CopyEvent }[];
  session: number;
  sequence: number;
};

const ok = { failure: undefined } as const;

function createRig(record: Partial<GroupRecord> = {}, open: readonly number[] = []): Rig {
  const maps = sampleRecord().volumes.map(({ bytes }) => createRegionMap(bytes, MiB));
  for (const granule of open) mark(maps[0] ?? assert.fail(), granule, granule);
  const copy = createCopy(sampleRecord({ site: "west", role: "secondary", ...record }), maps);
  return { copy, log: [], pending: [], session: 0, sequence: 0 };
}

/** A copy that a primary feeds, past BEGIN. */
function createFedRig(resync = true, record: Partial<GroupRecord> = {}): Rig {
  const rig = createRig(record);
  open(rig);
  give(rig, "begin", { begin: { ...begin, resync } });
  answer(rig, "record");
  rig.log.length = 0;
  return rig;
}

const begin = {
  history: [{ counter: 1, id: "a1", site: "east" }],
  incarnation: 2,
  lsn: 40,
  lsnReserved: 1_000,
  resync: true,
  firstSet: 0,
};

function open(rig: Rig): void {
  rig.session += 1;
  rig.sequence = 0;
  step(rig, { kind: "opened", session: rig.session, from: "east" });
}

function step(rig: Rig, event: CopyEvent): void {
  const out: CopyEffect[] = [];
  stepCopy(rig.copy, event, out);
  for (const effect of out) {
    const words = wordsOf(effect);
    rig.log.push(words);
    const next = answerTo(effect);
    if (next !== undefined) rig.pending.push({ words, answer: next });
  }
}

function wordsOf(effect: CopyEffect): string {
  switch (effect.kind) {
    case "image":
      return `${effect.work.kind} ${effect.work.lsn}`;
    case "ack":
      return `ack ${effect.sequence}`;
    case "sendFlushed":
      return `flushed ${effect.ticket}`;
    case "failSession":
      return `fail: ${effect.why}`;
    case "event":
      return `image is ${effect.event.to}`;
    default:
      return effect.kind;
  }
}

function answerTo(effect: CopyEffect): CopyEvent | undefined {
  switch (effect.kind) {
    case "image":
      return { kind: "imageDone", work: effect.work, ...ok };
    case "syncOpenMaps":
      return { kind: "openMapDurable", ticket: effect.ticket };
    case "syncImages":
      return { kind: "imagesSynced", work: effect.work, lsn: effect.lsn, ...ok };
    case "compare":
      return { kind: "compared", work: effect.work, ...ok };
    case "record":
      return { kind: "recorded", ticket: effect.ticket };
    default:
      return undefined;
  }
}

/** Answers what begins with these words, the oldest first. */
function answer(rig: Rig, prefix: string): void {
  const index = rig.pending.findIndex(({ words }) => words.startsWith(prefix));
  const [taken] = rig.pending.splice(index === -1 ? rig.pending.length : index, 1);
  step(rig, taken?.answer ?? assert.fail(`nothing waits for ${prefix}`));
}

function settle(rig: Rig): void {
  for (let i = 0; rig.pending.length > 0; i += 1) {
    assert.ok(i < 10_000);
    answer(rig, "");
  }
}

/** Hands a frame over. Granules of `data` are named by number; a write covers 4 KiB of one. */
function give(
  rig: Rig,
  kind: CopyWorkKind,
  fields: Partial<CopyWork> & { granule?: number } = {},
): CopyWork {
  const isAcked = ["write", "zero", "region", "regionZero", "compare"].includes(kind);
  if (isAcked) rig.sequence += 1;
  const { granule, ...rest } = fields;
  const work: CopyWork = {
    session: rig.session,
    kind,
    volume: 0,
    offset: (granule ?? 0) * MiB,
    length: 4096,
    lsn: 0,
    set: 0,
    sequence: isAcked ? rig.sequence : 0,
    index: 0,
    mayPunch: false,
    body: [],
    begin: undefined,
    why: "",
    isDone: false,
    ...rest,
  };
  step(rig, { kind: "work", work });
  return work;
}

function effects(rig: Rig): string[] {
  return rig.log.splice(0);
}

test("N4, decision 8: a copy adopts a generation on record before it answers BEGIN, and nothing overtakes", () => {
  const rig = createRig({ history: [], image: "out-of-sync" });
  open(rig);
  give(rig, "begin", { begin });
  give(rig, "write", { lsn: 41 });
  assert.deepEqual(effects(rig), ["image is synchronizing", "record"]);
  answer(rig, "record");
  assert.deepEqual(effects(rig), ["sendBegun", "syncOpenMaps"]);
  const { record } = rig.copy;
  assert.deepEqual(record.history, begin.history);
  assert.deepEqual(
    [record.role, record.image, record.lsnReserved],
    ["secondary", "synchronizing", 1_000],
  );
});

test("I18: a granule's bit is durable before the first write into it; the whole queue shares one sync", () => {
  const rig = createFedRig();
  give(rig, "write", { granule: 1, lsn: 41 });
  give(rig, "write", { granule: 1, lsn: 42 });
  give(rig, "zero", { granule: 2, lsn: 43 });
  give(rig, "region", { granule: 3, length: 2 * MiB, lsn: 43 });
  assert.deepEqual(effects(rig), ["syncOpenMaps"]);
  // The first sync covers only the first frame, which was alone; one more serves all that came behind it.
  answer(rig, "syncOpenMaps");
  assert.deepEqual(effects(rig), ["write 41", "write 42", "syncOpenMaps"]);
  for (const granule of [1, 2, 3, 4])
    assert.ok(isMarked(rig.copy.volumes[0]?.openMap ?? assert.fail(), granule));
  answer(rig, "syncOpenMaps");
  assert.deepEqual(effects(rig), ["zero 43", "region 43"]);
});

test("I8, F1: frames begin in the order of the wire, and ACK speaks only for all up to its sequence", () => {
  const rig = createFedRig();
  for (const lsn of [41, 42, 43]) give(rig, "write", { lsn });
  answer(rig, "syncOpenMaps");
  effects(rig);
  answer(rig, "write 42");
  answer(rig, "write 43");
  assert.deepEqual(effects(rig), [], "the first write has not answered");
  answer(rig, "write 41");
  assert.deepEqual(effects(rig), ["ack 3"]);
  assert.equal(rig.copy.appliedLsn, 43);
});

test("I8, F1: under any order of answers, writes begin in order, each after its bit, and are acked at the end", () => {
  const frame = fc.record({
    granule: fc.nat(5),
    kind: fc.constantFrom<CopyWorkKind>("write", "zero"),
  });
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.nat()), (frames, picks) => {
      const rig = createFedRig();
      frames.forEach(({ granule, kind }, i) => give(rig, kind, { granule, lsn: 41 + i }));
      for (const pick of picks) {
        const chosen = rig.pending[pick % Math.max(1, rig.pending.length)];
        if (chosen !== undefined) answer(rig, chosen.words);
      }
      settle(rig);
      const begun = rig.log.filter((words) => /^(write|zero) /.test(words));
      assert.deepEqual(
        begun,
        frames.map(({ kind }, i) => `${kind} ${41 + i}`),
      );
      const acks = rig.log
        .filter((words) => words.startsWith("ack"))
        .map((words) => Number(words.slice(4)));
      assert.deepEqual(
        acks,
        acks.toSorted((a, b) => a - b),
      );
      assert.equal(acks.at(-1) ?? 0, frames.length);
    }),
    { numRuns: 200 },
  );
});

test("F5: a compare reads what all frames before it made, and those behind it wait for the read", () => {
  const rig = createFedRig();
  give(rig, "write", { lsn: 41 });
  answer(rig, "syncOpenMaps");
  give(rig, "compare", { length: MiB });
  give(rig, "write", { lsn: 42 });
  assert.deepEqual(effects(rig).slice(1), ["write 41"]);
  answer(rig, "write 41");
  assert.deepEqual(effects(rig), ["ack 1", "compare"]);
  answer(rig, "compare");
  assert.deepEqual(effects(rig), ["ack 2", "write 42"]);
});

test("F5, N4: the late read of a lost session does not release what the new session waits for", () => {
  const rig = createFedRig();
  give(rig, "compare", { length: MiB });
  step(rig, { kind: "lost", why: "link down" });
  open(rig);
  give(rig, "begin", { begin });
  answer(rig, "record");
  give(rig, "compare", { length: MiB });
  give(rig, "compare", { length: MiB });
  effects(rig);
  answer(rig, "compare");
  assert.deepEqual(effects(rig), []);
  answer(rig, "compare");
  assert.deepEqual(effects(rig), ["ack 1", "compare"]);
});

test("decision 2: FLUSHED is said when a sync that began after all frames before it is done", () => {
  const rig = createFedRig();
  give(rig, "write", { lsn: 41 });
  answer(rig, "syncOpenMaps");
  give(rig, "flush", { index: 7 });
  effects(rig);
  answer(rig, "write 41");
  assert.deepEqual(effects(rig), ["ack 1", "syncImages"]);
  answer(rig, "syncImages");
  assert.deepEqual(effects(rig), ["flushed 7"]);
  assert.equal(rig.copy.syncedLsn, 41);
});

test("F6, decision 4: synchronized is said after what others lack is durable here, and on record", () => {
  const rig = createFedRig();
  give(rig, "memberMap", { volume: 0, offset: 8, body: [Uint8Array.of(0b101)] });
  give(rig, "synchronized", { lsn: 44 });
  assert.deepEqual(effects(rig), ["syncOpenMaps"]);
  assert.equal(rig.copy.record.image, "synchronizing");
  answer(rig, "syncOpenMaps");
  assert.deepEqual(effects(rig), ["image is synchronized", "record"]);
  answer(rig, "record");
  assert.deepEqual(effects(rig), ["sendSynchronizedRecorded"]);
  assert.deepEqual(rig.copy.record.syncedAt, { lsn: 44, generation: 1 });
  const openMap = rig.copy.volumes[0]?.openMap ?? assert.fail();
  assert.ok(isMarked(openMap, 8) && isMarked(openMap, 10) && openMap.count === 2);
});

test("I16, decision 4: granules close by the stable LSN alone, and only while the copy is synchronized", () => {
  const rig = createFedRig(false, { image: "synchronized" });
  give(rig, "write", { granule: 1, lsn: 41 });
  give(rig, "write", { granule: 2, lsn: 42 });
  settle(rig);
  effects(rig);
  const openMap = rig.copy.volumes[0]?.openMap ?? assert.fail();
  step(rig, { kind: "stable", lsn: 40, lsnReserved: 0 });
  assert.deepEqual(effects(rig), []);
  step(rig, { kind: "stable", lsn: 41, lsnReserved: 0 });
  assert.deepEqual(effects(rig), ["writeOpenMaps"]);
  assert.ok(!isMarked(openMap, 1) && isMarked(openMap, 2));
  step(rig, { kind: "lost", why: "link down" });
  step(rig, { kind: "stable", lsn: 99, lsnReserved: 0 });
  assert.ok(isMarked(openMap, 2), "who is not fed knows of no end");

  const resyncing = createFedRig(true, { image: "synchronized" });
  give(resyncing, "write", { granule: 1, lsn: 41 });
  settle(resyncing);
  step(resyncing, { kind: "stable", lsn: 99, lsnReserved: 0 });
  assert.ok(isMarked(resyncing.copy.volumes[0]?.openMap ?? assert.fail(), 1));
});

test("I16: what was open when this process started closes only after the copy is synchronized again", () => {
  const rig = createRig({ image: "synchronized" }, [5]);
  open(rig);
  step(rig, { kind: "stable", lsn: 1_000, lsnReserved: 0 });
  const openMap = rig.copy.volumes[0]?.openMap ?? assert.fail();
  assert.ok(isMarked(openMap, 5));
  give(rig, "begin", { begin });
  settle(rig);
  give(rig, "synchronized", { lsn: 44 });
  settle(rig);
  step(rig, { kind: "stable", lsn: 43, lsnReserved: 0 });
  assert.ok(isMarked(openMap, 5));
  step(rig, { kind: "stable", lsn: 44, lsnReserved: 0 });
  assert.ok(!isMarked(openMap, 5));
});

test("row 10: a copy that is told of its fracture is consistent from then on, on record, once", () => {
  const rig = createFedRig(false, { image: "synchronized" });
  give(rig, "fractured", { lsn: 50, why: "paused by an operator" });
  assert.deepEqual(effects(rig), ["record", "image is consistent"]);
  step(rig, { kind: "toldFractured", lsn: 51, why: "again" });
  assert.deepEqual(effects(rig), []);
  assert.deepEqual(rig.copy.record.toldOfFracture, { lsn: 50, why: "paused by an operator" });
});

test("I28, N4: answers to a lost session go nowhere, and its frames are not begun in the next", () => {
  const rig = createFedRig();
  for (const lsn of [41, 42]) give(rig, "write", { lsn });
  answer(rig, "syncOpenMaps");
  give(rig, "flush", { index: 7 });
  give(rig, "write", { lsn: 43 });
  step(rig, { kind: "lost", why: "link down" });
  effects(rig);
  open(rig);
  give(rig, "begin", { begin });
  settle(rig);
  assert.deepEqual(effects(rig), ["record", "sendBegun"]);
  give(rig, "write", { lsn: 44 });
  settle(rig);
  assert.deepEqual(effects(rig), ["write 44", "ack 1"]);
});

test("row 39, I31: a set behind a region that the image refused is applied when the region's session is gone", () => {
  const rig = createFedRig();
  const region = give(rig, "region", { lsn: 41 });
  for (const kind of ["write", "setEnd"] as const) give(rig, kind, { lsn: 42, set: 3 });
  answer(rig, "syncOpenMaps");
  answer(rig, "write 42");
  step(rig, { kind: "imageDone", work: region, failure: { code: "EIO", message: "EIO" } });
  assert.ok(!effects(rig).includes("setApplied"), "what is ahead of it is not there");
  step(rig, { kind: "lost", why: "it failed" });
  assert.deepEqual(effects(rig), ["setApplied"]);
});

test("row 39, row 38: an image that cannot be written, read or synced ends the session with words", () => {
  const failure = { code: "EIO", message: "EIO" };
  for (const [kind, event, why] of [
    ["write", "imageDone", /the image here cannot be written: EIO/],
    ["compare", "compared", /the image here cannot be read: EIO/],
    ["flush", "imagesSynced", /fdatasync of the image here failed: EIO/],
  ] as const) {
    const rig = createFedRig();
    const work = give(rig, kind, { lsn: 41 });
    if (kind === "write") answer(rig, "syncOpenMaps");
    step(rig, { kind: event, work, lsn: 41, failure });
    assert.match(effects(rig).join(), why);
    assert.ok(!rig.log.some((words) => /^(ack|flushed)/.test(words)));
  }
});
