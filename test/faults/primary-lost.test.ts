import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import type { GroupStatus } from "#site/api.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";

// The primary's process dies (SIGKILL) or stands still (SIGSTOP) with writes in flight.

const volume = { bank: { data: "64MiB" } };

/** Bytes of the granules that the open maps on the site's disk mark. */
function openBytesOf(site: TestSite): number {
  const open = site.inspect().maps.filter(({ kind }) => kind === "open");
  return open.reduce((sum, map) => sum + map.markedBytes, 0);
}

function dirtyBytesOf(site: TestSite): number {
  const dirty = site.inspect().maps.filter(({ kind, counts }) => kind === "dirty" && counts);
  return dirty.reduce((sum, map) => sum + map.markedBytes, 0);
}

test("F7, F12: a primary killed with writes in flight keeps every replied write; only open granules are compared (row 1) (SPEC 4.4, demo 2)", async (t) => {
  const cluster = await startCluster(t, { groups: volume });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  await writer.more(1000);
  await east.kill();
  await writer.ended;
  const openBytes = openBytesOf(east);
  assert.ok(openBytes > 0 && openBytes < 8 * MiB, `${openBytes} bytes were open`);
  await east.start();
  const copy = await cluster.copyIs("east", "west", "synchronized");
  assert.ok(copy.resyncComparedBytes > 0, "nothing was compared");
  assert.ok(copy.resyncComparedBytes <= openBytes, `${copy.resyncComparedBytes} of ${openBytes}`);
  const host = await connectHost(east.nbd, "bank/data");
  await writer.check((offset, length) => host.read(offset, length));
  host.close();
  await assertEqualImages(east.image(), west.image());
  count("F7", { faultsInjected: 1, effectsSeen: 1 });
  count("row 1", { faultsInjected: 1, effectsSeen: 1 });
});

for (const mode of ["sync", "async"] as const) {
  test(`row 53: mode ${mode}: a primary whose disk was lost comes back as a blank copy, serves nobody, and is filled when that is confirmed (PEERS C9)`, async (t) => {
    const cluster = await startCluster(t, {
      groups: { bank: { data: "16MiB" } },
      modes: { west: mode },
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 500 });
    await writer.more(300);
    await cluster.copyIs("east", "west", mode === "sync" ? "synchronized" : "streaming");
    await writer.stop();
    await east.until("west has it all", hasItAll);
    await east.kill();
    fs.rmSync(east.data, { recursive: true });
    await east.start();
    const blank = await east.until("it knows that it is blank", ({ role }) => role === "secondary");
    assert.equal(blank.copies[0]?.image, "out-of-sync");
    const events = await east.events();
    assert.ok(
      events.some(
        ({ why }) => why === "the disk here is blank, and west has held the group before",
      ),
    );
    const args = ["promote", "bank", "--site", "west", "--force"] as const;
    const promoted = await cluster.cli(...args);
    assert.equal(promoted.code, 0, promoted.stderr);
    assert.doesNotMatch(promoted.stdout, /nothing is lost/);
    await west.until("west serves", ({ serving }) => serving);
    await writer.check(imageReader(west.image()));
    const { why, image, dirtyBytes } = await cluster.copyIs("west", "east", "stopped");
    assert.match(why, /blank/);
    assert.deepEqual({ image, dirtyBytes }, { image: "out-of-sync", dirtyBytes: 16 * MiB });
    const told = await cluster.cli("why", "bank", "--site", "west");
    assert.match(told.stdout, /antipode resync bank --copy east --full/);
    // Nor is it filled because the new primary is started again.
    await west.stop();
    await west.start();
    await cluster.copyIs("west", "east", "stopped");
    assert.ok(
      imageReader(east.image())(0, 16 * MiB).every((byte) => byte === 0),
      "it was filled unasked",
    );
    const full = await cluster.cli("resync", "bank", "--copy", "east", "--full");
    assert.equal(full.code, 0, full.stderr);
    await cluster.copyIs("west", "east", mode === "sync" ? "synchronized" : "streaming");
    await west.until("east has it all", hasItAll);
    await assertEqualImages(east.image(), west.image());
    count("row 53", { faultsInjected: 1, effectsSeen: 1 });
  });
}

test("F8: what was open when the primary died is dirty towards a copy that is away, and is brought over on its return", async (t) => {
  const cluster = await startCluster(t, { groups: volume });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000 });
  await writer.more(500);
  await Promise.all([east.kill(), west.kill()]);
  await writer.ended;
  const openBytes = openBytesOf(east);
  await east.start();
  const alone = await east.until("serves alone", (group) => group.serving);
  assert.ok((alone.copies[0]?.dirtyBytes ?? 0) >= openBytes);
  assert.ok(dirtyBytesOf(east) >= openBytes, "the marks are on the disk");
  await writer.reconnect(east.nbd);
  await writer.more(200);
  await writer.stop();
  await west.start();
  const copy = await cluster.copyIs("east", "west", "synchronized");
  assert.ok(copy.resyncComparedBytes > 0 && copy.resyncComparedBytes <= 8 * MiB);
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
});

test("F13: a primary killed while fractured still knows what its copy lacks, and copies no more than that; then it knows nothing of that any more (SPEC 4.4, demo 2)", async (t) => {
  const cluster = await startCluster(t, { groups: volume });
  const east = cluster.site("east");
  const west = cluster.site("west");
  await west.kill();
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 500 });
  await writer.more(2000);
  const { dirtyBytes } = await cluster.copyIs("east", "west", "fractured");
  await east.kill();
  await writer.ended;
  const onDisk = dirtyBytesOf(east);
  assert.ok(onDisk >= dirtyBytes && onDisk > 0, `${onDisk} of ${dirtyBytes} bytes on the disk`);
  await east.start();
  await east.until("serves alone", (group) => group.serving);
  assert.ok((await east.copy("west")).dirtyBytes >= dirtyBytes);
  await west.start();
  const copy = await cluster.copyIs("east", "west", "synchronized");
  assert.ok(copy.resyncComparedBytes <= 8 * MiB, `${copy.resyncComparedBytes} bytes compared`);
  assert.equal(dirtyBytesOf(east), 0, "the map is erased");
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
  count("F13", { faultsInjected: 2, effectsSeen: 1 });
});

test("F11: promotion after the primary's death loses no replied and no flushed write (row 9)", async (t) => {
  const cluster = await startCluster(t, { groups: volume });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 300, flushEvery: 20 });
  await writer.more(1500);
  await east.kill();
  await writer.ended;
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  const host = await connectHost(west.nbd, "bank/data");
  await writer.check((offset, length) => host.read(offset, length));
  assert.equal(await host.flush(), 0);
  host.close();
  // A restart right after a promotion finds the same primary (row 20).
  await west.kill();
  await west.start();
  const group = await west.until("serves", ({ serving }) => serving);
  assert.deepEqual([group.role, group.generation], ["primary", 2]);
  count("row 9", { faultsInjected: 1, effectsSeen: 1 });
});

test("F7, F11: of two copies either is promoted, and the other follows without a full copy (row 9)", async (t) => {
  for (const heir of ["west", "north"] as const) {
    const other = heir === "west" ? "north" : "west";
    const cluster = await startCluster(t, { sites: ["east", "west", "north"], groups: volume });
    const east = cluster.site("east");
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, depth: 16 });
    await writer.more(1000);
    await east.kill();
    await writer.ended;
    const openBytes = openBytesOf(cluster.site(heir)) + openBytesOf(cluster.site(other));
    const promoted = await cluster.cli("promote", "bank", "--site", heir);
    assert.equal(promoted.code, 0, promoted.stderr);
    const followed = await cluster.copyIs(heir, other, "synchronized");
    assert.ok(followed.resyncComparedBytes <= openBytes, `${followed.resyncComparedBytes} bytes`);
    assert.ok(followed.resyncComparedBytes < 16 * MiB);
    await writer.reconnect(cluster.site(heir).nbd);
    await writer.more(200);
    await east.start();
    const returned = await cluster.copyIs(heir, "east", "synchronized");
    assert.ok(returned.resyncComparedBytes < 16 * MiB);
    await writer.stop();
    for (const site of ["east", "west", "north"]) {
      await writer.check(imageReader(cluster.site(site).image()));
    }
    await assertEqualImages(cluster.site(heir).image(), cluster.site(other).image());
    await assertEqualImages(cluster.site(heir).image(), east.image());
  }
});

for (const mode of ["sync", "async"] as const) {
  test(`F7, I32: mode ${mode}: a primary killed during its recovery, again and again, ends with equal images (row 52) (PEERS C12)`, async (t) => {
    const cluster = await startCluster(t, {
      groups: { bank: { data: "4MiB" } },
      modes: { west: mode },
      copies: { west: "probe: 100ms, rate: 2MiB/s" },
    });
    const east = cluster.site("east");
    const west = cluster.site("west");
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 900, depth: 16 });
    let kills = 0;
    for (let round = 0; round < 10; round += 1) {
      // The writer is held where a granule is not resolved yet, so it may get nothing done before the next kill.
      await Promise.race([writer.more(100), east.until("resync", isResyncing)]).catch(
        () => undefined,
      );
      await east.kill();
      await writer.ended;
      kills += 1;
      await east.start();
      await writer.reconnect(east.nbd);
    }
    await writer.stop();
    await cluster.copyIs("east", "west", mode === "sync" ? "synchronized" : "streaming");
    await east.until("west has it all", hasItAll);
    await writer.check(imageReader(east.image()));
    await assertEqualImages(east.image(), west.image());
    count("row 52", { faultsInjected: kills, effectsSeen: kills });
  });
}

function hasItAll({ copies: [copy] }: GroupStatus): boolean {
  return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
}

function isResyncing(group: { readonly copies: readonly { readonly state: string }[] }): boolean {
  return group.copies[0]?.state === "resync";
}

test("I28, row 36: a primary that stood still while its copy was promoted acks nothing afterwards", async (t) => {
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, timeout: 5s" } });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
  await writer.more(200);
  east.signal("SIGSTOP");
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  east.signal("SIGCONT");
  await writer.ended;
  await east.until("gives its role up", ({ role }) => role !== "primary");
  await cluster.copyIs("west", "east", "synchronized");
  // Every replied write is among those that west held when it was promoted.
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
  count("row 36", { faultsInjected: 1, effectsSeen: 1 });
});
