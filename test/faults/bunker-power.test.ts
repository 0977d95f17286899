import assert from "node:assert/strict";
import { test } from "node:test";
import {
  assertWestHasAll,
  type BunkerBank,
  entriesOf,
  exports,
  killEast,
  startBunkerBank,
} from "../support/bunker-bank.ts";
import { type ChainWriter, startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { losePower, readSynced } from "../support/power-cut.ts";
import { readerOf } from "../support/sets-bank.ts";

// A primary that lost power: what it acked is gone there, and its bunker has it (decision 5).

const twoBunkers = {
  sites: ["east", "west", "vault", "annex"],
  modes: { west: "async", vault: "bunker", annex: "bunker" },
  copies: { west: "probe: 100ms", vault: "probe: 100ms", annex: "probe: 100ms" },
} as const;

/** The tail of what hosts were told is at the bunker alone: not at the copy, and not on the primary's disk. */
async function loseTail(bank: BunkerBank): Promise<ChainWriter> {
  const { cluster, east, toWest } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(200);
  toWest.isClosed = true;
  toWest.cut();
  await cluster.copyIs("east", "west", "buffering");
  const synced = readSynced(east);
  await writer.more(300);
  await east.kill();
  await writer.ended();
  await losePower(east, synced);
  const held = await writer.prefixOf(readerOf(east));
  assert.ok(held <= writer.acked() - 250, `the power has taken nothing: ${held}`);
  return writer;
}

async function takeBackWords({ east }: BunkerBank): Promise<string> {
  const events = await east.events();
  return events.find(({ kind }) => kind === "takeBack")?.why ?? "";
}

test("I5, row 2: a primary that lost power takes back from its bunker what it had acked, before it serves", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, toWest } = bank;
  const writer = await loseTail(bank);
  const acked = writer.acked();
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  const [, records] =
    /^(\d+) records that were lost here came back/.exec(await takeBackWords(bank)) ?? [];
  assert.ok(Number(records) >= 250, await takeBackWords(bank));
  const held = await writer.prefixOf(readerOf(east));
  assert.ok(held >= acked, `${held} of ${acked} acked writes`);
  await cluster.copyIs("east", "vault", "streaming");
  toWest.isClosed = false;
  await writer.reconnect(east.nbd, held);
  await writer.more(50);
  await writer.stop();
  await assertWestHasAll(bank);
  count("row 2", { faultsInjected: 1, effectsSeen: Number(records) });
});

test("I5, I26, row 2: what a primary without power does not take back is void at the bunker, before anything new is acked", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, west, vault, toWest, toVault } = bank;
  const writer = await loseTail(bank);
  toVault.isClosed = true;
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  assert.match(
    await takeBackWords(bank),
    /whether vault has writes that were lost here is unknown/,
  );
  const held = await writer.prefixOf(readerOf(east));
  const before = (await vault.group()).lsn;
  toVault.isClosed = false;
  await cluster.copyIs("east", "vault", "streaming");
  // The copy is compared: no log leads over what the power took.
  toWest.isClosed = false;
  await cluster.copyIs("east", "west", "streaming");
  toWest.isClosed = true;
  toWest.cut();
  await writer.reconnect(east.nbd, held);
  await writer.more(100);
  await killEast(bank);
  await writer.ended();
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const brought = await writer.prefixOf(readerOf(west));
  assert.ok(brought >= writer.acked(), `${brought} of ${writer.acked()}`);
  await Promise.all([west.stop(), vault.stop()]);
  const entries = await entriesOf(cluster, vault);
  assert.ok(
    entries.every(({ lsn }) => lsn !== before),
    `LSN ${before} is still in the log`,
  );
  count("row 2", { faultsInjected: 1, effectsSeen: 1 });
});

test("I5, row 2: of two bunkers the one with the longer log gives back what was acked, whichever is asked first", async (t) => {
  for (const late of ["vault", "annex"]) {
    await t.test(`${late} was lost before`, async (t) => {
      const bank = await startBunkerBank(t, "", twoBunkers);
      const { cluster, east } = bank;
      await cluster.copyIs("east", "annex", "streaming");
      // Hosts go on without it: from here on one log is longer than the other.
      await cluster.site(late).kill();
      await cluster.copyIs("east", late, "buffering");
      const writer = await loseTail(bank);
      const acked = writer.acked();
      await cluster.site(late).start();
      await east.start();
      await east.until("serves", ({ serving }) => serving);
      const told = (await east.events()).filter(({ kind }) => kind === "takeBack");
      assert.deepEqual(
        told.map(({ copy }) => copy),
        ["vault", "annex"],
      );
      for (const { copy, why = "" } of told)
        assert.match(why, copy === late ? /^0 records .* up to LSN/ : /^[1-9]\d+ records .* back/);
      const held = await writer.prefixOf(readerOf(east));
      assert.ok(held >= acked, `${held} of ${acked} acked writes`);
      for (const site of ["vault", "annex"]) await cluster.copyIs("east", site, "streaming");
      count("row 2", { faultsInjected: 1, effectsSeen: 1 });
    });
  }
});

test("I5, row 2: a bunker that cannot be asked is told of, and the other one gives back what it has", async (t) => {
  const bank = await startBunkerBank(t, "", twoBunkers);
  const { cluster, east, toVault } = bank;
  await cluster.copyIs("east", "annex", "streaming");
  const writer = await loseTail(bank);
  toVault.isClosed = true;
  toVault.cut();
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  const told = (await east.events()).filter(({ kind }) => kind === "takeBack");
  const [vault, annex] = told.map(({ why }) => why ?? "");
  assert.match(vault ?? "", /^whether vault has writes that were lost here is unknown/);
  assert.match(annex ?? "", /^[1-9]\d+ records that were lost here came back/);
  assert.ok((await writer.prefixOf(readerOf(east))) >= writer.acked());
  count("row 2", { faultsInjected: 1, effectsSeen: 1 });
});
