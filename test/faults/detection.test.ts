import assert from "node:assert/strict";
import { test } from "node:test";
import { limits, MiB } from "#base/limits.ts";
import { raised } from "#ports/events.ts";
import { exports, startBunkerBank } from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import type { TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLabDisk } from "../support/lab-disk.ts";
import { missing } from "../support/needs.ts";
import { readerOf } from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// Who notices that the primary has failed, its node or a volume of it, and what is still kept of what it acked.

const needsFuse = { skip: missing("libnbd-bin", "fuse3") };

/** Waits until the site has raised the event so often, and gives the last one. */
async function raisedAt(site: TestSite, kind: string, times: number) {
  const found = () => site.events().then((all) => all.filter((event) => event.kind === kind));
  await until(`${site.name} has raised ${kind}`, async () => (await found()).length >= times);
  const events = await found();
  assert.equal(events.length, times, `${site.name} raised ${kind} too often`);
  return events.at(-1) ?? assert.fail();
}

test(
  "B7, F15, row 39: a volume fails under a living primary: all hear of it, and what was acked still flows from the log",
  needsFuse,
  async (t) => {
    const disk = await startLabDisk(t, 16 * MiB);
    // The node answers throughout, whatever the machine does: what is raised of it is counted.
    const patience = "probe: 100ms, timeout: 20s";
    const bank = await startBunkerBank(t, patience, {
      at: { bank: { data: { east: disk.path } } },
      copies: { west: patience, vault: patience },
    });
    const { cluster, east, west, vault, toWest } = bank;
    const writer = await startChainWriter({
      socket: east.nbd,
      exports,
      blocks: 200,
      flushEvery: 20,
    });
    await writer.more(50);
    toWest.bytesPerSecond = 20_000;
    await writer.more(200);
    disk.failNext("write", "io");
    await assert.rejects(writer.ended());
    const acked = writer.acked();
    assert.ok((await east.copy("west")).complete < acked, "the copy was behind");
    for (const site of [east, west, vault]) {
      const { volume, why } = await raisedAt(site, raised.volumeFailed, 1);
      assert.equal(volume, "data", why);
    }
    const told = await cluster.cli("why", "bank", "--site", "west");
    assert.match(told.stdout, /bank\/data failed at east[^]*repair bank --volume data --site east/);
    // Fed anew, too, it is brought on by the journal alone.
    toWest.cut();
    toWest.bytesPerSecond = undefined;
    const { lsn } = await east.group();
    await west.until("it has everything", ({ copies }) => (copies[0]?.applied ?? 0) >= lsn);
    assert.ok((await writer.prefixOf(readerOf(west))) >= acked);
    await cluster.copyIs("east", "west", "streaming");
    // What the image refused and the copy has is opened again, and only that may differ.
    assert.equal((await cluster.cli("repair", "bank", "--volume", "data")).code, 0);
    for (const site of [east, west, vault]) await raisedAt(site, raised.recovered, 1);
    await east.until("nothing differs", ({ openGranules, copies: [copy] }) => {
      return openGranules === 0 && copy?.state === "streaming" && copy.resyncComparedBytes > 0;
    });
    const { resyncComparedBytes } = await east.copy("west");
    assert.ok(resyncComparedBytes <= 4 * limits.openGranuleBytes, `${resyncComparedBytes} bytes`);
    await assertEqualImages(disk.path, west.image());
    await assertEqualImages(east.image("log"), west.image("log"));
    count("row 39", { faultsInjected: disk.failed(), effectsSeen: 3 });
  },
);

test("B7, row 23: a primary's node that is killed, or falls silent, is raised once, with what the inquiry came to, and so is its return", async (t) => {
  const patience = "probe: 100ms, timeout: 5s";
  const bank = await startBunkerBank(t, patience, {
    copies: { west: patience, vault: patience },
  });
  const { east, west, vault } = bank;
  for (const [index, [signal, words]] of (
    [
      ["SIGKILL", /refused/i],
      ["SIGSTOP", /no answer for 5000 ms/],
    ] as const
  ).entries()) {
    if (signal === "SIGKILL") await east.kill();
    else east.signal(signal);
    for (const site of [west, vault]) {
      const { why } = await raisedAt(site, raised.nodeFailed, index + 1);
      assert.match(why, /^east, the primary, does not answer/);
      // West asks by way of a proxy, which listens for ever.
      assert.match(why, site === vault ? words : /no answer for 5000 ms/);
      const { primaryFailure } = await site.group();
      assert.ok(primaryFailure?.site === "east" && why.endsWith(primaryFailure.node ?? "?"), why);
      // Its connection may stand for ever.
      await site.until("says that nobody feeds it", ({ copies: [own] }) => {
        return own?.isFed === false && own.link !== "up" && own.why !== "";
      });
    }
    if (signal === "SIGKILL") await east.start();
    else east.signal("SIGCONT");
    for (const site of [west, vault]) await raisedAt(site, raised.recovered, index + 1);
  }
  assert.equal((await west.group()).primaryFailure, undefined);
  count("row 23", { faultsInjected: 2, effectsSeen: 4 });
});

test("B7, row 23: a primary that this site cannot reach, and was heard by in its own questions alone, is missed all the same", async (t) => {
  const cluster = await startCluster(t, {
    copies: { west: "probe: 100ms, timeout: 1s" },
    // A firewall that lets connections through in one direction.
    reach: async () => ({ west: { east: "127.0.0.1:1" } }),
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await cluster.copyIs("east", "west", "synchronized");
  await east.kill();
  const { why } = await raisedAt(west, raised.nodeFailed, 1);
  assert.match(why, /^east, the primary, does not answer/);
  count("row 23", { faultsInjected: 1, effectsSeen: 1 });
});
