import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "#core/entry.ts";
import type { TraceLine } from "#ports/events.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { copyOf, type TestSite } from "../support/cluster.ts";
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
import { assertEqualImages } from "../support/images.ts";
import { until } from "../support/until.ts";

// Cycles on real processes: what travels when, and what becomes of it when the link is cut in the midst of numbers
// (SPEC-cycle.md).

const MiB = 1 << 20;
/** A long run asks for more: `ANTIPODE_ROUNDS=50 npm test -- faults/cycle.test --name "A6, A9"`. */
const rounds = Number(process.env["ANTIPODE_ROUNDS"] ?? 3);

function startCycles(
  t: Parameters<typeof startBank>[0],
  options: string,
  names: readonly string[] = ["west"],
): Promise<Bank> {
  const of = <T>(value: T): Record<string, T> =>
    Object.fromEntries(names.map((name) => [name, value]));
  return startBank(t, {
    sites: ["east", ...names],
    modes: of("cycle" as const),
    copies: of(`probe: 100ms, timeout: 20s, ${options}`),
  });
}

test("A3, A4, A5, A8, A14, A16, I23, I24: after a cut, PURGED from every copy; then all that was sent as one number R, each block once; then what was not", async (t) => {
  const names = ["west", "north"];
  const bank = await startCycles(t, "every: 60ms, ackAt: journal", names);
  const { cluster, east, ways } = bank;
  const copies = names.map((name) => {
    const way = ways.get(name) ?? assert.fail();
    return { name, way, site: cluster.site(name), sent: new Set<number>(), sentLsn: 0 };
  });
  // A cycle of more than a batch arrives in part: its SEAL is lost.
  for (const copy of copies)
    copy.way.forth = (frame) => {
      for (const set of setsOf(frame)) copy.sent.add(set);
      for (const { lsn } of frame.entries) copy.sentLsn = Math.max(copy.sentLsn, lsn);
      return copy.sent.size > 0 && hasEntry(frame, ({ kind }) => kind === "seal") ? "drop" : "pass";
    };
  for (let i = 1; i <= 3; i += 1) {
    await writeCycle(bank, i);
    const { lsn } = await east.group();
    // On a slow machine the writes may be of two numbers; the newest one is covered by none.
    await until(`cycle ${i} is sent`, () => copies.every(({ sentLsn }) => sentLsn >= lsn));
  }
  for (const { site, sent, way } of copies) {
    const first = Math.min(...sent);
    await until("a part of the first is staged", async () =>
      ((await site.group()).copies[0]?.sets ?? []).some(({ set }) => set === first),
    );
    way.isClosed = true;
    assert.ok(way.cut() > 0);
  }
  await east.until("A14: it is the way that is down", (group) =>
    group.copies.every(({ link }) => link !== "up"),
  );
  for (let i = 4; i <= 5; i += 1) {
    await writeCycle(bank, i);
    const { set } = await east.group();
    await east.until("A16: numbers move on while the link is cut", (group) => group.set > set);
  }
  const lacks = async (name: string): Promise<number> => (await east.copy(name)).lagWrites;
  for (const { name } of copies)
    assert.equal(
      await lacks(name),
      5 * 4,
      "A8: all of it counts as missing, what was sent as well",
    );

  for (const { way } of copies) {
    way.forth = (frame) => (frame.entries.length > 0 ? "hold" : "pass");
    way.isClosed = false;
  }
  for (const { name, way, site, sent } of copies) {
    await until("PURGED has come", () => purgedBy(east, name) !== undefined);
    assert.ok((purgedBy(east, name)?.index ?? 0) > 0, "there were entries to give up");
    await until("R is on its way", () => way.held().length > 0);
    for (const set of sent)
      assert.equal(
        await inspectSet({ ...bank, west: site }, set),
        undefined,
        "A3: nothing of it is left",
      );
    assert.deepEqual(heldAt(site, 9), [0, 0], "A3: what was applied is as it was");
    assert.equal(await lacks(name), 5 * 4, "A8: until it is there again");
  }
  for (const { way } of copies) {
    way.forth = () => "pass";
    way.release();
  }
  for (const { name, sent } of copies) {
    await assertCopyCaughtUp(bank, name);
    const resent = Math.max(...sent);
    const entries = assertResent(east, name, resent);
    count("I23", { faultsInjected: 1, effectsSeen: entries });
    count("I24", { faultsInjected: 1, effectsSeen: 1 });
  }
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
  test(`A6, A9, row 22, row 30: ackAt ${ackAt}: the link is cut in the midst of numbers, and the copy never shows a write without those before it`, async (t) => {
    const bank = await startCycles(t, `every: 25ms, ackAt: ${ackAt}`);
    const { east, west, toWest } = bank;
    const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
    let seen = 0;
    let twice = 0;
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
      // What comes anew comes twice.
      toWest.forth = (frame) => {
        if (frame.entries.length === 0) return "pass";
        twice += 1;
        return [frame, frame];
      };
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
    count("row 22", { faultsInjected: rounds, effectsSeen: rounds });
    count("row 30", { faultsInjected: twice, effectsSeen: twice });
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

/** What this copy has said last when it gave something up, or had nothing to give up, in a session behind its first. */
function purgedBy(east: TestSite, copy: string): TraceLine | undefined {
  return east
    .trace()
    .findLast(
      (line) =>
        line.kind === "purged" && line.dir === "in" && line.copy === copy && line.index !== 0,
    );
}

/** What a copy was sent behind PURGED: R, and then the rest. How many entries it had given up. */
function assertResent(east: TestSite, copy: string, resent: number): number {
  const purged = purgedBy(east, copy) ?? assert.fail("no PURGED");
  const lines = east
    .trace()
    .filter(({ epoch, ...line }) => line.copy === copy && epoch === purged.epoch);
  const isSent = ({ dir, kind }: TraceLine): boolean =>
    dir === "out" && ["write", "zero", "seal"].includes(kind);
  const at = lines.findIndex(({ kind }) => kind === "purged");
  assert.deepEqual(lines.slice(0, at).filter(isSent), [], "A3: nothing is sent before PURGED");
  const sent = lines.filter(isSent);
  const numbers = sent.filter(({ kind }) => kind === "seal").map(({ set }) => set ?? 0);
  assert.equal(numbers[0], resent, "A4: one number for all that was sent");
  assert.ok(numbers.length >= 3, "A4: what was not sent follows under its own numbers");
  const sets = sent.map(({ set }) => set ?? 0);
  const lastOfR = sets.lastIndexOf(resent);
  assert.deepEqual(
    new Set(sets.slice(0, lastOfR + 1)),
    new Set([resent]),
    "A4: nothing but R before all of R",
  );
  const merged = sent.filter(({ kind, set }) => kind === "write" && set === resent);
  assertDisjoint(merged);
  const hot = merged.filter(({ volume, offset }) => volume === "data" && offset === 9 * blockBytes);
  assert.equal(hot.length, 1, "A5: the block that each of them wrote, once");
  return purged.index ?? 0;
}

async function assertCopyCaughtUp({ cluster, east }: Bank, name: string): Promise<void> {
  await east.until(`${name} has applied everything`, (group) => {
    const copy = copyOf(group, name);
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  for (const volume of ["data", "log"])
    await assertEqualImages(east.image(volume), cluster.site(name).image(volume));
  assert.equal((await east.copy(name)).resyncComparedBytes, 0, "the journal had it all");
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
