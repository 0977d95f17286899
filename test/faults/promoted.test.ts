import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { MiB } from "#base/limits.ts";
import type { CopyStatus } from "#site/api.ts";
import { imageReader, stampedBlock, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";
import { losePower, readSynced } from "../support/power-cut.ts";

// What a promotion rests on: the power that both sites lose, a crash right behind it, and metadata of before it.

const volume = { bank: { data: "16MiB" } };
const blocks = Array.from({ length: 64 }, (_, block) => block);

/** Writes each block in this version, many at once. */
async function writeAll(site: TestSite, version: number): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  const errors = await Promise.all(
    blocks.map((block) => host.write(block * 4096, stampedBlock(block, version))),
  );
  assert.ok(errors.every((error) => error === 0));
  if (version === 1) assert.equal(await host.flush(), 0);
  host.close();
}

function versionsIn(site: TestSite): number[] {
  const read = imageReader(site.image());
  return blocks.map((block) => {
    const found = read(block * 4096, 4096);
    const version = [0, 1, 2].find((each) => found.equals(stampedBlock(block, each)));
    return version ?? -1;
  });
}

/** The power is lost at both sites at once, behind what both have of the first version, which is flushed. */
async function losePowerEverywhere(t: TestContext) {
  const cluster = await startCluster(t, { groups: volume });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await writeAll(east, 1);
  const synced = [readSynced(east), readSynced(west)] as const;
  await writeAll(east, 2);
  await Promise.all([east.kill(), west.kill()]);
  // The power took less of it here: the images differ then.
  const image = fs.readFileSync(east.image());
  await losePower(east, new Map([...synced[0], ["data.img", image]]));
  await losePower(west, synced[1]);
  assertHolds(west, 1);
  return { cluster, east, west };
}

function assertHolds(site: TestSite, version: number): void {
  assert.ok(
    versionsIn(site).every((held) => held === version),
    `not version ${version}`,
  );
}

test("row 3, I2: both sites lose power at once and come back: what was flushed is on both, and they are equal", async (t) => {
  const { cluster, east, west } = await losePowerEverywhere(t);
  await Promise.all([east.start(), west.start()]);
  const copy = await cluster.copyIs("east", "west", "synchronized");
  assert.ok(copy.resyncComparedBytes > 0 && copy.resyncComparedBytes <= MiB);
  assertHolds(west, 2);
  await assertEqualImages(east.image(), west.image());
  count("row 3", { faultsInjected: 2, effectsSeen: blocks.length });
});

test("row 4, I2: both sites lose power at once, and the copy alone comes back: promoted, it has all that was flushed", async (t) => {
  const { cluster, west } = await losePowerEverywhere(t);
  await west.start();
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  await west.until("serves", ({ serving }) => serving);
  assertHolds(west, 1);
  count("row 4", { faultsInjected: 2, effectsSeen: blocks.length });
});

for (const mode of ["sync", "async"] as const) {
  test(`row 20, I28: mode ${mode}: killed right after its promotion, a site is the primary of that generation still, and knows what the others may lack`, async (t) => {
    const sites = ["east", "west", "north"];
    const cluster = await startCluster(t, {
      sites,
      groups: volume,
      modes: { west: mode, north: mode },
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 300 });
    await writer.more(500);
    await east.kill();
    await writer.ended;
    const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
    assert.equal(promoted.code, 0, promoted.stderr);
    await west.kill();
    const { maps } = west.inspect();
    const openBytes = maps
      .filter(({ kind }) => kind === "open")
      .reduce((sum, { markedBytes }) => sum + markedBytes, 0);
    for (const other of ["east", "north"]) {
      const dirty = maps.filter(({ file, counts }) => file.startsWith(`dirty-${other}-`) && counts);
      const dirtyBytes = dirty.reduce((sum, { markedBytes }) => sum + markedBytes, 0);
      assert.ok(
        dirtyBytes > 0 && dirtyBytes >= openBytes,
        `${other}: ${dirtyBytes} of ${openBytes}`,
      );
    }
    await west.start();
    const group = await west.until("serves", ({ serving }) => serving);
    assert.deepEqual([group.role, group.generation], ["primary", 2]);
    await east.start();
    const well = mode === "sync" ? "synchronized" : "streaming";
    for (const other of ["east", "north"]) {
      await cluster.copyIs("west", other, well);
      await west.until("nothing is on its way", ({ copies }) =>
        copies.every(({ lagWrites, applyLagWrites }) => lagWrites + applyLagWrites === 0),
      );
      await assertEqualImages(west.image(), cluster.site(other).image());
    }
    if (mode === "sync") await writer.check(imageReader(west.image()));
    count("row 20", { faultsInjected: 1, effectsSeen: 1 });
  });
}

for (const mode of ["sync", "async", "cycle"] as const) {
  test(`row 49, I28: mode ${mode}: a primary whose metadata of before a takeover was put back serves nobody, and is brought up by its successor`, async (t) => {
    const cluster = await startCluster(t, { groups: volume, modes: { west: mode } });
    const well = mode === "sync" ? "synchronized" : "streaming";
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    await writeAll(east, 1);
    await hasItAll(cluster, "east", well);
    assert.equal(await east.stop(), 0);
    const folder = join(east.data, "bank");
    const isMetadata = /\.(record|map)$/;
    const names = fs.readdirSync(folder).filter((name) => isMetadata.test(name));
    const before = names.map((name) => fs.readFileSync(join(folder, name)));
    const promoted = await cluster.cli("promote", "bank", "--site", "west");
    assert.equal(promoted.code, 0, promoted.stderr);
    await west.until("serves", ({ serving }) => serving);
    await writeAll(west, 2);
    await east.start();
    await hasItAll(cluster, "west", well);
    await east.stop();
    for (const name of fs.readdirSync(folder))
      if (isMetadata.test(name)) fs.rmSync(join(folder, name));
    for (const [i, name] of names.entries())
      fs.writeFileSync(join(folder, name), before[i] ?? assert.fail());
    await east.start();
    await east.until("it has found out", ({ role }) => role !== "primary");
    await assert.rejects(connectHost(east.nbd, "bank/data"), "nobody is served");
    const served = (await east.events()).filter(({ kind }) => kind === "serving");
    assert.equal(served.length, 1, "that was before the takeover");
    await hasItAll(cluster, "west", well);
    await assertEqualImages(east.image(), west.image());
    assertHolds(east, 2);
    count("row 49", { faultsInjected: 1, effectsSeen: 1 });
  });
}

/** The other site is a copy of this one, and has applied everything. */
async function hasItAll(
  cluster: TestCluster,
  primary: "east" | "west",
  well: CopyStatus["state"],
): Promise<void> {
  await cluster.copyIs(primary, primary === "east" ? "west" : "east", well);
  await cluster.site(primary).until("nothing is on its way", ({ copies: [copy] }) => {
    return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
  });
}
