import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "#core/entry.ts";
import type { TraceLine } from "#ports/events.ts";
import { frameType } from "#wire/peer/messages.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { hasEntry, payloadOf, type SeenFrame, type Verdict } from "../support/frame-proxy.ts";
import {
  assertCaughtUp,
  blockBytes,
  commit,
  exports,
  heldAt,
  inspectSet,
  readerOf,
  setsOf,
  startBank,
} from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// Sets on real processes, whose frames come late, shuffled, twice, or not at all: a proxy that knows frames stands between.

const appliedSets = (lines: readonly TraceLine[]): number[] =>
  lines.filter(({ kind }) => kind === "applied").map(({ set }) => set ?? 0);

test("S13, S14, S15, S23, S24, I12: set 2 is complete before set 1, is not applied before it, and neither shows on any volume (SPEC 4.4, demo 4)", async (t) => {
  const bank = await startBank(t);
  const { east, west, toWest } = bank;
  let first: number | undefined;
  const sealsForth: number[] = [];
  let completeBack = 0;
  toWest.forth = (frame): Verdict => {
    first ??= setsOf(frame)[0];
    for (const { kind, set } of frame.entries) if (kind === "seal") sealsForth.push(set);
    // The write to the volume `data` of set 1 is late; all else of it comes.
    return hasEntry(frame, (entry) => isWrite(entry, first) && entry.volume === 0)
      ? "hold"
      : "pass";
  };
  toWest.back = ({ header }): Verdict => {
    if (header.type === frameType.progress) completeBack = Math.max(completeBack, header.set);
    return "pass";
  };
  await commit(bank, 1, 1);
  await commit(bank, 1, 2);
  await until("set 1 is late", () => first !== undefined);
  const one = first ?? 0;
  const two = one + 1;

  // Each comes on connections of its own: set 2 may be there before the rest of set 1.
  const { copies } = await west.until("set 2 is complete", ({ copies: [copy] }) => {
    const sets = copy?.sets ?? [];
    const isNext = sets.some(({ set, phase }) => set === two && phase === "complete");
    return (
      isNext &&
      sets.some((each) => each.set === one && each.received > 0 && each.expected !== undefined)
    );
  });
  const shown = copies[0]?.sets.filter(({ set }) => set === one || set === two);
  assert.deepEqual(
    shown?.map(({ set, received, expected }) => [set, received, expected]),
    [
      [one, 1, 2],
      [two, 2, 2],
    ],
    "S13, S15: each set has its own account",
  );
  assert.ok(sealsForth.includes(two), "S24: set 2 is sealed and sent");
  assert.ok(completeBack < one, "S24: while set 1 is not acknowledged");
  assert.ok((await west.group()).copies[0]?.complete === 0, "and counts nothing towards it");
  assert.deepEqual(heldAt(west, 1), [0, 0], "I12: no volume has anything of either");
  assert.ok(!appliedSets(west.trace()).some((set) => set >= one), "S14");
  const before = { received: 1, expected: 2, complete: false, applied: false };
  assert.deepEqual(await inspectSet(bank, one), { set: one, ...before });
  const ahead = { received: 2, expected: 2, complete: true, applied: false };
  assert.deepEqual(await inspectSet(bank, two), { set: two, ...ahead });

  toWest.forth = () => "pass";
  toWest.release();
  await assertCaughtUp(bank);
  assert.deepEqual(heldAt(west, 1), [2, 2]);
  const applied = appliedSets(west.trace()).filter((set) => set >= one);
  assert.deepEqual(applied.slice(0, 2), [one, two], "S14, S23: in order, when set 1 was there");
  assert.equal((await east.copy("west")).resyncComparedBytes, 0);
  count("row 29", { faultsInjected: 1, effectsSeen: 1 });
});

test("S10, I22: a block written in two sets that nobody confirmed is sent again in both versions, each in its own set", async (t) => {
  const bank = await startBank(t);
  const { east, toWest } = bank;
  const lost = new Set<number>();
  toWest.forth = (frame) => {
    for (const set of setsOf(frame)) lost.add(set);
    return frame.entries.length > 0 && (lost.size > 0 || frame.header.set > 0) ? "drop" : "pass";
  };
  await commit(bank, 3, 1);
  await commit(bank, 3, 2);
  await until("both sets were sent, and lost", () => lost.size === 2);
  const [one = 0, two = 0] = [...lost];
  const again = new Map<string, number[]>();
  toWest.forth = (frame) => {
    for (const entry of frame.entries.filter(({ kind }) => kind === "write")) {
      const place = `set ${entry.set}, volume ${entry.volume} at ${entry.offset}`;
      again.set(place, [...(again.get(place) ?? []), payloadOf(frame, entry)[0] ?? 0]);
    }
    return "pass";
  };
  assert.ok(toWest.cut() > 0);
  await assertCaughtUp(bank);
  const at = 3 * blockBytes;
  assert.deepEqual(Object.fromEntries([...again].toSorted(([a], [b]) => (a < b ? -1 : 1))), {
    [`set ${one}, volume 0 at ${at}`]: [1],
    [`set ${one}, volume 1 at ${at}`]: [1],
    [`set ${two}, volume 0 at ${at}`]: [2],
    [`set ${two}, volume 1 at ${at}`]: [2],
  });
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had both");
});

test("S8, S9, S20, S22, I21: killed before a set is complete, though its writes were acknowledged, the copy forgets it and gets all of it again (SPEC 4.4, demo 4)", async (t) => {
  const bank = await startBank(t);
  const { east, west, toWest } = bank;
  let set = 0;
  toWest.forth = (frame) => {
    set ||= setsOf(frame)[0] ?? 0;
    return set > 0 && hasEntry(frame, ({ kind }) => kind === "seal") ? "drop" : "pass";
  };
  await commit(bank, 5, 7);
  await west.until("both writes are staged", ({ copies }) => copies[0]?.staged === 2);
  await until("S9: they are acknowledged", () => toWest.unacknowledged() === 0);
  assert.deepEqual(heldAt(west, 5), [0, 0], "S9: and in no image");
  const staged = { set, received: 2, expected: null, complete: false, applied: false };
  assert.deepEqual(await inspectSet(bank, set), staged, "S8: bits alone do not complete it");
  await west.kill();
  toWest.isClosed = true;
  await west.start();
  const { copies } = await west.group();
  assert.deepEqual(copies[0]?.sets, [], "I21: nothing of it counts any more");
  assert.deepEqual([copies[0]?.staged, copies[0]?.complete], [0, 0]);
  assert.deepEqual(heldAt(west, 5), [0, 0]);

  const again: Entry[] = [];
  toWest.forth = (frame) => {
    again.push(...frame.entries.filter((entry) => entry.set === set));
    return "pass";
  };
  toWest.isClosed = false;
  await assertCaughtUp(bank);
  const kinds = again.toSorted((a, b) => a.index - b.index).map(({ kind }) => kind);
  assert.deepEqual(kinds, ["write", "write", "seal"], "S22: the whole set");
  const told = west.trace().filter(({ kind, dir }) => kind === "progress" && dir === "out");
  const points = told.map((line) => line.set ?? 0);
  assert.deepEqual(
    points,
    points.toSorted((a, b) => a - b),
    "S20, I14: and never goes back",
  );
  const found = await inspectSet(bank, set);
  assert.deepEqual([found?.received, found?.expected, found?.complete], [2, 2, true]);
  assert.equal((await east.copy("west")).resyncComparedBytes, 0);
  count("row 17", { faultsInjected: 1, effectsSeen: 1 });
});

test("S12, S22: staged in memory, a set is acknowledged as it comes; killed before it is complete, nothing of it was stored, and all comes again", async (t) => {
  const copy = "probe: 100ms, timeout: 20s, seal: { every: 20s, bytes: 64MiB }, staging: memory";
  const bank = await startBank(t, { copies: { west: copy } });
  const { east, west, toWest } = bank;
  let set = 0;
  let writes = 0;
  toWest.forth = (frame) => {
    set ||= setsOf(frame)[0] ?? 0;
    writes += setsOf(frame).length;
    const isIt = hasEntry(frame, (entry) => entry.kind === "seal" && entry.set === set);
    return set > 0 && isIt ? "drop" : "pass";
  };
  await commit(bank, 5, 7);
  await until("both are acknowledged", () => writes === 2 && toWest.unacknowledged() === 0);
  assert.equal(await inspectSet(bank, set), undefined, "S12: from memory");
  assert.deepEqual(heldAt(west, 5), [0, 0]);
  await west.kill();
  const again: Entry[] = [];
  toWest.forth = (frame) => {
    again.push(...frame.entries.filter((entry) => entry.set === set));
    return "pass";
  };
  await west.start();
  await assertCaughtUp(bank);
  assert.deepEqual(again.map(({ kind }) => kind).toSorted(), ["seal", "write", "write"]);
  const stored = await inspectSet(bank, set);
  assert.deepEqual([stored?.received, stored?.complete], [2, true], "whole, with its flag");
  assert.equal((await east.copy("west")).resyncComparedBytes, 0);
});

test("S5, I15, row 30: batches in any order and twice, SEALs before their writes, bring the image that an honest order brings (SPEC 4.4, demo 4)", async (t) => {
  const bank = await startBank(t);
  const { east, west, toWest } = bank;
  // Numerical Recipes' linear congruential generator: the same order for the same frames.
  let random = 1;
  const draw = (below: number): number => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((random / 2 ** 32) * below);
  };
  const shuffle = (frames: readonly SeenFrame[]): SeenFrame[] => {
    const left = frames.flatMap((frame) => (draw(3) === 0 ? [frame, frame] : [frame]));
    const order: SeenFrame[] = [];
    while (left.length > 0) order.push(...left.splice(draw(left.length), 1));
    return order;
  };
  let sent = 0;
  let sealsFirst = 0;
  const release = (): void =>
    toWest.release((frames) => {
      const order = shuffle(frames);
      sent += order.length;
      const seal = order.findIndex((frame) => hasEntry(frame, ({ kind }) => kind === "seal"));
      const set = order[seal]?.entries.find(({ kind }) => kind === "seal")?.set;
      if (order.slice(seal + 1).some((frame) => setsOf(frame).includes(set ?? 0))) sealsFirst += 1;
      return order;
    });
  let batches = 0;
  toWest.forth = (frame) => {
    if (frame.entries.length === 0) return "pass";
    batches += 1;
    if (toWest.held().length >= 12) setImmediate(release);
    return "hold";
  };
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 60, flushEvery: 7 });
  await writer.more(600);
  await writer.stop();
  assert.equal(await bank.data.flush(), 0);
  toWest.forth = () => "pass";
  release();
  await assertCaughtUp(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  const applied = appliedSets(west.trace());
  assert.deepEqual(
    applied,
    applied.toSorted((a, b) => a - b),
  );
  assert.equal(new Set(applied).size, applied.length, "each set once");
  assert.ok(sealsFirst > 0 && sent > batches, `${sealsFirst} SEALs first, ${sent} of ${batches}`);
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "and no session ended");
  count("row 30", { faultsInjected: sent - batches, effectsSeen: sent - batches });
});

test("I9: what was replied before another write was made is in no later set, over both volumes", async (t) => {
  const bank = await startBank(t);
  const { east, toWest } = bank;
  const found = new Map<number, Entry>();
  toWest.forth = (frame) => {
    for (const entry of frame.entries.filter(({ kind }) => kind === "write"))
      found.set(Number(Buffer.from(payloadOf(frame, entry)).readBigUInt64LE(0)), entry);
    return "pass";
  };
  // Each write is made when the one before it was replied; its content says which one it is.
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 100, flushEvery: 3 });
  // A second host seals sets at moments that the first knows nothing of.
  const other = (async (): Promise<void> => {
    while (writer.acked() < 250) assert.equal(await bank.log.flush(), 0);
  })();
  await writer.more(300);
  await writer.stop();
  await other;
  assert.equal(await bank.data.flush(), 0);
  await assertCaughtUp(bank);
  const order = Array.from({ length: writer.acked() }, (_, i) => found.get(i + 1));
  assert.ok(order.every((entry) => entry !== undefined));
  for (const key of ["set", "lsn"] as const) {
    const numbers: number[] = order.map((entry) => entry?.[key] ?? 0);
    const risen = numbers.toSorted((a, b) => a - b);
    assert.deepEqual(numbers, risen, `${key}s follow the replies`);
  }
  assert.ok(new Set(order.map((entry) => entry?.set)).size > 100, "in many sets");
  assert.deepEqual(new Set(order.map((entry) => entry?.volume)), new Set([0, 1]));
});

function isWrite(entry: Entry, set: number | undefined): boolean {
  return entry.kind === "write" && entry.set === set;
}
