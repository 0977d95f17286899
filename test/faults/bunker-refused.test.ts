import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { exports, killEast, startBunkerBank, twoCopiesAndBunker } from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { hashFile } from "../support/images.ts";
import { upTo, writeBlocks } from "../support/log-damage.ts";
import { connectHost } from "../support/nbd-host.ts";
import { untilNobodyFeeds } from "../support/take-over.ts";

// A log that does not lead on from what the copy has is of no use to it: the replay is refused with the reason (B17).

/** Neither the plan nor the command is granted, what is at the copy stays as it is, and the bunker is as free as before. */
async function isRefused(cluster: TestCluster, copy: TestSite, why: RegExp): Promise<void> {
  const before = hashFile(copy.image());
  const replay = ["replay", "bank", "--from", "vault", "--site", copy.name];
  for (const more of [["--dry-run"], []]) {
    const { code, stdout, stderr } = await cluster.cli(...replay, ...more);
    assert.equal(code, 3, stdout);
    assert.match(stderr, why);
    assert.match(stderr, /\nhint: nothing was changed; antipode promote bank --site /);
  }
  assert.equal(hashFile(copy.image()), before, "something was applied");
  assert.doesNotMatch((await cluster.site("vault").copy("vault")).why, /activated/);
  const events = (await copy.events()).filter(({ kind }) => kind === "replay");
  assert.deepEqual(events, [], "none has begun");
}

test("B17, I27: a copy that an overflow has given up is not brought over the gap in the bunker's log", async (t) => {
  const bank = await startBunkerBank(t, "probe: 100ms", {
    groups: { bank: { data: "64MiB" } },
    groupLines: ["journal: { size: 32MiB, overflow: trip }"],
  });
  const { cluster, east, west, toWest } = bank;
  await writeBlocks(east, upTo(5));
  await east.until("west has it", ({ copies: [copy] }) => copy?.lagWrites === 0);
  toWest.isClosed = true;
  toWest.cut();
  // More than any log of that size holds.
  const host = await connectHost(east.nbd, "bank/data");
  for (let number = 0; number < 75; number += 1)
    assert.equal(await host.write((number % 64) * MiB, Buffer.alloc(MiB, number)), 0);
  host.close();
  await cluster.copyIs("east", "west", "tripped");
  await cluster.copyIs("east", "vault", "streaming");
  await killEast(bank);
  await isRefused(
    cluster,
    west,
    /a gap: the log of vault begins with set \d+, and the copy has all sets up to \d+/,
  );
  count("row 14", { faultsInjected: 1, effectsSeen: 2 });
});

test("B17, I28: a log of another generation, or of before the primary's last start, is refused", async (t) => {
  const cluster = await startCluster(t, twoCopiesAndBunker);
  const [east, west, north, vault] = ["east", "west", "north", "vault"].map((name) =>
    cluster.site(name),
  );
  assert.ok(east !== undefined && west !== undefined);
  assert.ok(north !== undefined && vault !== undefined);
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(50);
  // The bunker misses a start of the primary.
  await vault.kill();
  await east.kill();
  await writer.ended();
  await east.start();
  for (const copy of ["west", "north"]) await cluster.copyIs("east", copy, "streaming");
  await writer.reconnect(east.nbd);
  await writer.more(50);
  await east.kill();
  await writer.ended();
  await vault.start();
  for (const copy of [west, north]) await untilNobodyFeeds(copy);
  await isRefused(cluster, west, /the primary has been started again since it last fed vault/);
  // And then a takeover.
  await vault.kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await cluster.copyIs("west", "north", "streaming");
  await west.kill();
  await vault.start();
  await untilNobodyFeeds(north);
  await isRefused(
    cluster,
    north,
    /vault keeps a log of generation 1 of east, and the copy is of generation 2 of west/,
  );
  count("row 14", { faultsInjected: 2, effectsSeen: 2 });
});
