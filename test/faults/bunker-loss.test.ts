import assert from "node:assert/strict";
import { test } from "node:test";
import { limits, MiB } from "#base/limits.ts";
import { exports, startBunkerBank } from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { copyOf, type TestSite } from "../support/cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import { fill, mountSmallAt, needsRoot } from "../support/small-disk.ts";

// A bunker that is slow, full or away: each policy does what its name says.

/** Writes so many MiB at once over the volume; `answered` counts those that were, all without an error. */
async function pushMiB(site: TestSite, many: number) {
  const host = await connectHost(site.nbd, "bank/data");
  let answered = 0;
  const writes = Array.from({ length: many }, async (_, number) => {
    assert.equal(await host.write((number % 16) * MiB, Buffer.alloc(MiB, number + 1)), 0);
    answered += 1;
  });
  const all = Promise.all(writes).then(() => host.close());
  return { answered: () => answered, all };
}

const boundMiB = limits.bunkerLagBytesMax / MiB;

for (const how of ["slow", "away"] as const) {
  test(`B15, row 16: with onLoss off hosts never wait for a bunker that is ${how}, until it lacks more than its bound`, async (t) => {
    const options = "probe: 100ms, timeout: 30s, ackTimeout: 1min, onLoss: off";
    const { cluster, east, vault, toVault } = await startBunkerBank(t, options);
    if (how === "slow") toVault.bytesPerSecond = 100_000;
    else await vault.kill();
    // Far more than the link takes meanwhile.
    const some = await pushMiB(east, boundMiB / 2);
    await some.all;
    assert.equal((await east.group()).journal.stalledWrites, 0);
    const more = await pushMiB(east, boundMiB);
    const { copies } = await east.until(
      "hosts wait",
      ({ journal: { stalledWrites }, requestsInFlight }) =>
        // All are there, and none of them is still on its way to the log and the image.
        stalledWrites === requestsInFlight && stalledWrites === boundMiB - more.answered(),
    );
    const vaults = copies.find(({ site }) => site === "vault");
    // A write that begins below the bound ends above it.
    const lacked = boundMiB / 2 + more.answered();
    assert.ok(lacked >= boundMiB - 2 && lacked <= boundMiB + 1, `${lacked} MiB were answered`);
    assert.ok((vaults?.lagBytes ?? 0) > 0, "what it lacks is shown");
    if (how === "slow") toVault.bytesPerSecond = undefined;
    else await vault.start();
    await more.all;
    await cluster.copyIs("east", "vault", "streaming");
    await east.until(
      "the bunker has it all",
      (group) => copyOf(group, "vault")?.received === group.lsn,
    );
    count("row 16", { faultsInjected: 1, effectsSeen: 1 });
  });
}

for (const onLoss of ["override", "fail"] as const) {
  test(`B15, row 16: a bunker that answers too late is lost as slow; with onLoss ${onLoss} hosts ${onLoss === "fail" ? "get an error" : "go on"}`, async (t) => {
    const options = `probe: 100ms, timeout: 30s, ackTimeout: 4s, onLoss: ${onLoss}`;
    const { cluster, east, toVault } = await startBunkerBank(t, options);
    const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
    await writer.more(100);
    toVault.delayMs = 6000;
    if (onLoss === "fail") await assert.rejects(writer.ended(), /answered with error/);
    else await writer.more(100);
    const lost = await cluster.copyIs("east", "vault", "buffering");
    assert.match(lost.why, /slow/);
    if (onLoss === "fail") assert.ok(lost.received >= writer.acked(), "nothing acked without it");
    toVault.delayMs = 0;
    await cluster.copyIs("east", "vault", "streaming");
    if (onLoss === "override") {
      await writer.more(50);
      await writer.stop();
    }
    count("row 16", { faultsInjected: 1, effectsSeen: 1 });
  });
}

for (const onLoss of ["override", "fail", "off"] as const) {
  test(
    `B15, row 40, row 16: a bunker without room says so, and goes on once there is some; with onLoss ${onLoss} hosts ${onLoss === "fail" ? "get an error" : "go on"}`,
    needsRoot,
    async (t) => {
      const { cluster, east, vault } = await startBunkerBank(t, `probe: 100ms, onLoss: ${onLoss}`, {
        prepare: (site) => mountSmallAt(t, site.data, "64M"),
      });
      const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
      await writer.more(100);
      const free = fill(vault.data);
      const isSaid = /ENOSPC.* goes on once there is room/;
      if (onLoss === "fail") await assert.rejects(writer.ended(), /answered with error/);
      else await writer.more(100);
      // The connection may end before the word on it that says why.
      const { copies } = await east.until("it is said why", (group) => {
        const copy = copyOf(group, "vault");
        return copy?.state === "buffering" && isSaid.test(copy.why);
      });
      const lost = copies.find(({ site }) => site === "vault");
      if (onLoss !== "fail") await writer.stop();
      assert.match((await vault.copy("vault")).why, isSaid);
      if (onLoss === "fail")
        assert.ok((lost?.received ?? 0) >= writer.acked(), "nothing acked without it");
      for (const site of ["east", "vault"]) {
        const { stdout } = await cluster.cli("why", "bank", "--site", site);
        assert.match(stdout, /helps: .*free some space .*df at vault.*by itself/);
      }
      free();
      await cluster.copyIs("east", "vault", "streaming");
      const again = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
      await again.more(50);
      await again.stop();
      count("row 16", { faultsInjected: 1, effectsSeen: 1 });
      count("row 40", { faultsInjected: 1, effectsSeen: 1 });
    },
  );
}
