import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { copyOf, startCluster } from "../support/cluster.ts";
import type { TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";

// Failures that users of other systems have published (docs/published-failures.md), recreated; those that no other test tells.

/** Everything that one look at a site's disk, its copies and its past says. */
async function assertQuiet(site: TestSite, eventsMax: number): Promise<void> {
  const { splits } = await site.group();
  assert.equal(splits, undefined, `${site.name} speaks of a split brain`);
  const events = await site.events();
  assert.ok(
    !events.some(({ kind, to }) => kind === "copy" && (to === "split-brain" || to === "stopped")),
  );
  const kinds = events.map(({ kind, why }) => `${kind}: ${why}`).join("\n");
  assert.ok(events.length <= eventsMax, `${site.name} has told ${events.length} times\n${kinds}`);
}

test("I31: a resync goes on and ends while a member without a volume is away, and once that is back (PEERS C2)", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "vault"],
    groups: { bank: { data: "16MiB" } },
    modes: { west: "async", vault: "bunker" },
  });
  const [east, west, vault] = ["east", "west", "vault"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && vault !== undefined);
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000 });
  await writer.more(100);
  await vault.kill();
  const full = await cluster.cli("resync", "bank", "--copy", "west", "--full", "--wait");
  assert.equal(full.code, 0, full.stderr);
  assert.ok((await east.copy("west")).resyncComparedBytes >= 16 * MiB);
  assert.notEqual((await east.copy("vault")).state, "streaming");
  await writer.more(50);
  await vault.start();
  await cluster.copyIs("east", "vault", "streaming");
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  const { lsn } = await east.group();
  await east.until("west has it all", (group) => (copyOf(group, "west")?.applied ?? 0) >= lsn);
  await assertEqualImages(east.image(), west.image());
});

test("I29, I31: after both sites were stopped in order, the outdated one is the target at once, without a storm of tries (PEERS C3)", async (t) => {
  const cluster = await startCluster(t);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 500 });
  await writer.more(100);
  await east.kill();
  await writer.ended;
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  await writer.reconnect(west.nbd);
  await writer.more(200);
  await writer.stop();
  assert.equal(await west.stop(), 0);
  // Both believe to be the primary, and the one that is not comes first.
  await east.start();
  await west.start();
  await cluster.copyIs("west", "east", "synchronized");
  assert.equal((await east.group()).role, "secondary");
  assert.equal((await west.group()).generation, 2);
  await writer.check(imageReader(east.image()));
  await assertEqualImages(east.image(), west.image());
  for (const site of [east, west]) await assertQuiet(site, 40);
});

test("I29: a takeover and a failback of a volume that nobody wrote to end in no split brain, and compare nothing (PEERS C19)", async (t) => {
  const cluster = await startCluster(t);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await east.kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  await east.start();
  const copy = await cluster.copyIs("west", "east", "synchronized");
  assert.deepEqual([copy.resyncComparedBytes, copy.resyncSentBytes], [0, 0]);
  const back = await cluster.cli("failback", "bank", "--to", "east");
  assert.equal(back.code, 0, back.stderr);
  await east.until(
    "west has everything",
    (group) => group.serving && copyOf(group, "west")?.state === "synchronized",
  );
  assert.equal((await east.group()).generation, 3);
  for (const site of [east, west]) await assertQuiet(site, 40);
});
