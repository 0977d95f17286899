import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "#core/entry.ts";
import type { TraceLine } from "#ports/events.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { hasEntry, payloadOf } from "../support/frame-proxy.ts";
import {
  assertCaughtUp,
  blockBytes,
  exports,
  heldAt,
  inspectSet,
  prefixShownBy,
  readerOf,
  setsOf,
  startBank,
} from "../support/sets-bank.ts";
import type { Bank } from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// Cycles on real processes: what travels when, and what becomes of it when the link is cut in the midst of numbers
// (SPEC-cycle.md).

const MiB = 1 << 20;
const rounds = Number(process.env["ANTIPODE_ROUNDS"] ?? 3);

function startCycles(t: Parameters<typeof startBank>[0], options: string): Promise<Bank> {
  const copies = { west: `probe: 100ms, timeout: 5s, ${options}` };
  return startBank(t, { modes: { west: "cycle" }, copies });
}

test("A3, A4, A5, A8, A14, A16, I23, I24: after a cut, PURGED; then all that was sent as one number R, each block once; then what was not", async (t) => {
  const bank = await startCycles(t, "every: 60ms, ackAt: journal");
  const { east, west, toWest } = bank;
  const sent = new Set<number>();
  let sentLsn = 0;
  // A cycle of more than a batch arrives in part: its SEAL is lost.
  toWest.forth = (frame) => {
    for (const set of setsOf(frame)) sent.add(set);
    for (const { lsn } of frame.entries) sentLsn = Math.max(sentLsn, lsn);
    return sent.size > 0 && hasEntry(frame, ({ kind }) => kind === "seal") ? "drop" : "pass";
  };
  for (let i = 1; i <= 3; i += 1) {
    await writeCycle(bank, i);
    const { lsn } = await east.group();
    // On a slow machine the writes may be of two numbers; the newest one is covered by none.
    await until(`cycle ${i} is sent`, () => sentLsn >= lsn);
  }
  const sentSets = [...sent].toSorted((a, b) => a - b);
  const resent = sentSets.at(-1) ?? assert.fail("nothing was sent");
  await until("a part of the first is staged", async () =>
    ((await west.group()).copies[0]?.sets ?? []).some(({ set }) => set === sentSets[0]),
  );
  toWest.isClosed = true;
  assert.ok(toWest.cut() > 0);
  await east.until("A14: it is the way that is down", ({ copies }) => copies[0]?.link !== "up");
  for (let i = 4; i <= 5; i += 1) {
    await writeCycle(bank, i);
    const { set } = await east.group();
    await east.until("A16: numbers move on while the link is cut", (group) => group.set > set);
  }
  const lag = (await east.copy("west")).lagWrites;
  assert.equal(lag, 5 * 4, "A8: all of it counts as missing, what was sent as well");

  toWest.forth = (frame) => (frame.entries.length > 0 ? "hold" : "pass");
  toWest.isClosed = false;
  await until("PURGED has come", () => purges(east.trace()).length > 0);
  const purged = purges(east.trace()).at(-1) ?? assert.fail("no PURGED");
  assert.ok((purged.index ?? 0) > 0, "there were entries to give up");
  await until("R is on its way", () => toWest.held().length > 0);
  for (const set of sentSets)
    assert.equal(await inspectSet(bank, set), undefined, "A3: nothing of it is left");
  assert.deepEqual(heldAt(west, 9), [0, 0], "A3: what was applied is as it was");

  const told = (await east.copy("west")).lagWrites;
  assert.equal(told, lag, "A8: until it is there again");
  toWest.forth = () => "pass";
  toWest.release();
  await assertCaughtUp(bank);
  const lines = linesBehind(east.trace(), purged);
  const numbers = lines.filter(({ kind }) => kind === "seal").map(({ set }) => set ?? 0);
  assert.equal(numbers[0], resent, "A4: one number for all that was sent");
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
    "I24: and nothing before it is higher",
  );
  assert.ok(numbers.length >= 3, "A4: what was not sent follows under its own numbers");
  const merged = lines.filter(({ kind, set }) => kind === "write" && set === resent);
  assertDisjoint(merged);
  const hot = merged.filter(({ volume, offset }) => volume === "data" && offset === 9 * blockBytes);
  assert.equal(hot.length, 1, "A5: the block that each of them wrote, once");
  assert.equal((await east.copy("west")).resyncComparedBytes, 0);
  count("I23", { faultsInjected: 1, effectsSeen: purged.index ?? 0 });
  count("row 17", { faultsInjected: 1, effectsSeen: 1 });
});

test("A19, A20, I7, I9: acked at the switch and with nothing sent; who waits for an ack is in a later number", async (t) => {
  const bank = await startCycles(t, "every: 20ms");
  const { east, toWest } = bank;
  const found = new Map<number, Entry>();
  toWest.forth = (frame) => {
    for (const entry of frame.entries.filter(({ kind }) => kind === "write"))
      found.set(Number(Buffer.from(payloadOf(frame, entry)).readBigUInt64LE(0)), entry);
    return "pass";
  };
  toWest.isClosed = true;
  toWest.cut();
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 500 });
  await writer.more(20);
  assert.equal(found.size, 0, "A20: acks, and no byte of them has left the site");
  toWest.isClosed = false;
  await writer.more(40);
  await writer.stop();
  await assertCaughtUp(bank);
  const sets = Array.from({ length: writer.acked() }, (_, i) => found.get(i + 1)?.set ?? 0);
  assert.ok(sets.length >= 60 && sets.every((set) => set > 0));
  assert.ok(
    sets.every((set, i) => i === 0 || set > (sets[i - 1] ?? 0)),
    "I9: strictly",
  );
});

for (const ackAt of ["switch", "journal"])
  test(`A6, A9, row 12, row 30: ackAt ${ackAt}: the link is cut in the midst of numbers, and the copy never shows a write without those before it`, async (t) => {
    const bank = await startCycles(t, `every: 25ms, ackAt: ${ackAt}`);
    const { east, west, toWest } = bank;
    const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
    let seen = 0;
    for (let round = 0; round < rounds; round += 1) {
      let left = 3 + round;
      toWest.forth = (frame) => {
        if (frame.entries.length > 0) left -= 1;
        // The link dies under way: of what it carries a part is lost.
        if (left === 0) setImmediate(() => toWest.cut());
        return left > 0 || frame.entries.length === 0 ? "pass" : "drop";
      };
      await writer.more(30);
      await until("the link was cut", () => left <= 0);
      toWest.isClosed = true;
      toWest.cut();
      await writer.more(10);
      seen = Math.max(seen, await prefixShownBy(west, writer));
      toWest.forth = () => "pass";
      toWest.isClosed = false;
      const { lsn } = await east.group();
      await east.until("it is back", ({ copies }) => (copies[0]?.complete ?? 0) >= lsn);
    }
    await writer.stop();
    await assertCaughtUp(bank);
    assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
    assert.ok(seen > 0);
    const { resyncComparedBytes } = await east.copy("west");
    assert.equal(resyncComparedBytes, 0, "the journal had it all");
    count("row 12", { faultsInjected: rounds, effectsSeen: rounds });
  });

/** Writes of one cycle: more than a batch, and among them a block that every cycle writes. */
async function writeCycle({ data, log }: Bank, byte: number): Promise<void> {
  const results = await Promise.all([
    data.write(9 * blockBytes, Buffer.alloc(blockBytes, byte)),
    log.write(9 * blockBytes, Buffer.alloc(blockBytes, byte)),
    data.write(MiB * byte, Buffer.alloc(MiB, byte)),
    data.write(MiB * byte + MiB / 2, Buffer.alloc(MiB / 2, byte + 100)),
  ]);
  assert.deepEqual(results, [0, 0, 0, 0]);
}

function purges(lines: readonly TraceLine[]): TraceLine[] {
  return lines.filter(({ kind, dir, index }) => kind === "purged" && dir === "in" && index !== 0);
}

function linesBehind(lines: readonly TraceLine[], purged: TraceLine): TraceLine[] {
  const from = lines.findIndex(({ kind, epoch }) => kind === "purged" && epoch === purged.epoch);
  return lines.slice(from).filter(({ dir, kind }) => dir === "out" && !kind.startsWith("ack-"));
}

function assertDisjoint(writes: readonly TraceLine[]): void {
  const sorted = writes.toSorted((a, b) =>
    a.volume === b.volume
      ? (a.offset ?? 0) - (b.offset ?? 0)
      : (a.volume ?? "") < (b.volume ?? "")
        ? -1
        : 1,
  );
  sorted.forEach((line, i) => {
    const before = sorted[i - 1];
    if (before?.volume !== line.volume) return;
    const end = (before?.offset ?? 0) + (before?.length ?? 0);
    assert.ok(end <= (line.offset ?? 0), "A5, I24: no two of R overlap");
  });
}
