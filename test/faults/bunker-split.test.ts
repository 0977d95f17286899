import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { assertWestHasAll, killEast, startBunkerBank } from "../support/bunker-bank.ts";
import { count } from "../support/claims.ts";
import type { TestCluster, TestSite } from "../support/cluster.ts";
import { connectHost } from "../support/nbd-host.ts";

// Two sites promoted by force, each in a generation of its own, and a bunker that keeps the log of one of them.

async function write(site: TestSite, byte: number): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  assert.equal(await host.write(byte * MiB, Buffer.alloc(64 * 1024, byte)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
}

async function done(cluster: TestCluster, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.cli(...args);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}

async function promote(cluster: TestCluster, site: TestSite): Promise<void> {
  await done(cluster, "promote", "bank", "--site", site.name, "--force");
  await site.until("it serves", ({ serving }) => serving);
}

test("row 25, I29, U40: a bunker that keeps the log of the side that is given up is told so too, and begins anew (U57)", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, west, vault } = bank;
  await killEast(bank);
  await promote(cluster, west);
  await cluster.copyIs("west", "vault", "streaming");
  await write(west, 1);
  await west.kill();
  await east.start();
  await east.until("it has heard of the other", ({ role }) => role === "demoted");
  await promote(cluster, east);
  await write(east, 2);
  await cluster.copyIs("east", "vault", "split-brain");
  const why = await cluster.cli("why", "bank", "--site", "east");
  assert.match(why.stdout, /bunker vault of bank: it keeps the log of a primary that east/);
  assert.match(why.stdout, /antipode discard bank --site vault --dry-run/);

  await west.start();
  await cluster.copyIs("east", "west", "split-brain");
  await west.until("it knows", ({ splits }) => splits?.[0]?.wroteThere !== undefined);
  await done(cluster, "discard", "bank", "--site", "west", "--force");
  await cluster.copyIs("east", "west", "streaming");
  // What west wrote is given up by now, and the log of it is not: that takes a word of its own.
  await cluster.copyIs("east", "vault", "split-brain");
  await vault.until(
    "it knows",
    ({ splits }) => splits?.some(({ site }) => site === "east") === true,
  );
  const refused = await cluster.cli("discard", "bank", "--site", "vault");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(refused.stderr, /nothing can be kept aside/);
  const told = await done(cluster, "discard", "bank", "--site", "vault", "--force");
  assert.match(told, /gives up the log of generation 2 of west that vault keeps, up to LSN \d+/);
  assert.match(told, /the log of bank at vault is given up; antipode wait bank/);
  await cluster.copyIs("east", "vault", "streaming");
  await write(east, 3);
  await assertWestHasAll(bank);
  const late = await cluster.cli("discard", "bank", "--site", "vault", "--undo");
  assert.equal(late.code, 3, late.stdout);
  count("row 25", { faultsInjected: 2, effectsSeen: 1 });
});
