import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { imageReader, stampedBlock, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages, hashFile } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";
import { type Proxy, startProxy } from "../support/proxy.ts";

// The copy's process dies, its disk is exchanged, an operator stops feeding it, or it is merely far away.

const regionBytes = 64 * KiB;
const ioError = 5;

function dirtyFiles(site: TestSite): readonly string[] {
  return fs.readdirSync(join(site.data, "bank")).filter((name) => name.startsWith("dirty-"));
}

/** Waits until nothing is open any more, so that the next marks are those of the next writes alone. */
async function settled(site: TestSite): Promise<void> {
  await site.until("no granule is open", ({ openGranules }) => openGranules === 0);
}

test("F3: without a loss there is no fracture log, over writes, flushes and clean restarts", async (t) => {
  // A standstill of the machine is no loss, either.
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, timeout: 20s" } });
  const east = cluster.site("east");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 100, flushEvery: 10 });
  await writer.more(500);
  await writer.stop();
  assert.deepEqual(dirtyFiles(east), []);
  assert.equal(await east.stop(), 0);
  assert.deepEqual(dirtyFiles(east), []);
  await east.start();
  const copy = await cluster.copyIs("east", "west", "synchronized");
  assert.equal(copy.resyncComparedBytes, 0, "a clean restart compares nothing");
  await writer.reconnect(east.nbd);
  await writer.more(100);
  await writer.stop();
  assert.deepEqual(dirtyFiles(east), []);
});

test("I33: a mirror that is away over a restart of its primary lags since it was lost, and misses its objective (PEERS C26 and C27)", async (t) => {
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, rpo: 1s" } });
  const east = cluster.site("east");
  await cluster.copyIs("east", "west", "synchronized");
  await cluster.site("west").kill();
  await cluster.copyIs("east", "west", "fractured");
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(0, stampedBlock(1, 1)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
  await east.kill();
  await east.start();
  await east.until("its lag goes on", ({ copies: [copy] }) => (copy?.lagSeconds ?? 0) > 1);
  const checked = await cluster.cli("status", "bank", "--check", "--site", "east");
  assert.equal(checked.code, 1, checked.stdout);
  assert.match(checked.stderr, /copy west lags [\d.]+ s, over its rpo of 1s/);
});

test("F4, F6: a fracture log marks exactly the regions written since the loss, holds no data, and goes when all is brought over", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: "64MiB" } } });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(5 * MiB, stampedBlock(1, 1)), 0);
  await settled(east);
  await west.kill();
  // Whatever is in flight when the loss is noticed marks its whole granule (decision 3), so nothing shall be.
  await cluster.copyIs("east", "west", "fractured");
  const regions = [3, 10, 11, 900];
  for (const region of regions) {
    assert.equal(await host.write(region * regionBytes + 4096, stampedBlock(region, 1)), 0);
  }
  const lost = await cluster.copyIs("east", "west", "fractured");
  assert.equal(lost.dirtyBytes, regions.length * regionBytes);
  const { bitmap } = east.inspect();
  const marked = bitmap.filter(({ file }) => file === "dirty-west-data.map");
  assert.deepEqual(
    marked.map(({ offset, length }) => [offset / regionBytes, length / regionBytes]),
    [
      [3, 1],
      [10, 2],
      [900, 1],
    ],
  );
  const log = fs.readFileSync(join(east.data, "bank", "dirty-west-data.map"));
  assert.ok(!log.includes(stampedBlock(900, 1).subarray(0, 16)), "the log holds data");
  const listed = await cluster.cli("inspect", east.data, "--bitmap", "--json");
  assert.match(listed.stdout, /dirty-west-data\.map/);

  // What is still open when the copy comes back counts as in flight, and would be compared by whole granules.
  await settled(east);
  await west.start();
  const back = await cluster.copyIs("east", "west", "synchronized");
  assert.equal(back.resyncComparedBytes, regions.length * regionBytes);
  assert.equal(back.resyncSentBytes, regions.length * regionBytes);
  assert.equal(back.dirtyBytes, 0);
  assert.deepEqual(dirtyFiles(east), []);
  await assertEqualImages(east.image(), west.image());
  host.close();
  count("F4", { faultsInjected: 1, effectsSeen: 1 });
});

test("F5, F11: a copy killed while the host writes costs it no error; back again, it gets the dirty regions while the host writes on (rows 5 and 8) (PEERS C4)", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: "64MiB" } } });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 500, flushEvery: 50 });
  for (let round = 0; round < 2; round += 1) {
    await writer.more(300);
    await west.kill();
    await writer.more(300);
    await cluster.copyIs("east", "west", "fractured");
    assert.equal(
      east.inspect().maps.some(({ kind, counts }) => kind === "dirty" && counts),
      true,
    );
    await west.start();
    const back = await cluster.copyIs("east", "west", "synchronized");
    assert.ok(back.resyncComparedBytes <= 8 * MiB * (round + 1), `${back.resyncComparedBytes}`);
    await writer.more(300);
  }
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.deepEqual(dirtyFiles(east), []);
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
  for (const row of ["row 5", "row 8"]) count(row, { faultsInjected: 2, effectsSeen: 2 });
});

test("F6: a resync that is interrupted keeps the remaining bits, and the next one ends it (PEERS C1 and C12)", async (t) => {
  let proxy: Proxy | undefined;
  const cluster = await startCluster(t, {
    tcp: ["west"],
    reach: async (peers) => {
      proxy = await startProxy(t, peers.get("west") ?? "");
      return { east: { west: proxy.address } };
    },
  });
  const east = cluster.site("east");
  const west = cluster.site("west");
  await west.kill();
  const host = await connectHost(east.nbd, "bank/data");
  for (let at = 0; at < 2 * MiB; at += regionBytes) {
    assert.equal(await host.write(at, Buffer.alloc(regionBytes, 1 + at / regionBytes)), 0);
  }
  if (proxy !== undefined) proxy.bytesPerSecond = 256 * KiB;
  await west.start();
  await east.until("it is under way", ({ copies }) => (copies[0]?.resyncSentBytes ?? 0) > 0);
  await west.kill();
  const left = await cluster.copyIs("east", "west", "fractured");
  assert.ok(left.dirtyBytes > 0, "bits were cleared that were not brought over");
  const { bitmap } = east.inspect();
  assert.ok(bitmap.some(({ file }) => file === "dirty-west-data.map"));
  if (proxy !== undefined) proxy.bytesPerSecond = undefined;
  await west.start();
  await cluster.copyIs("east", "west", "synchronized");
  assert.deepEqual(dirtyFiles(east), []);
  await assertEqualImages(east.image(), west.image());
  host.close();
});

test("I4: onLoss stall replies to nothing while the copy lacks it, and goes on when it is back (row 6)", async (t) => {
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, onLoss: stall" } });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const host = await connectHost(east.nbd, "bank/data");
  await west.kill();
  await east.until("the copy is lost", ({ copies }) => copies[0]?.link !== "up");
  const writing = host.write(0, stampedBlock(0, 1));
  const flushing = host.flush();
  await east.until("both wait", ({ requestsInFlight }) => requestsInFlight === 2);
  // A restart of the primary does not turn waiting into acking alone.
  assert.equal(host.pending(), 2);
  await west.start();
  assert.equal(await writing, 0);
  assert.ok(imageReader(west.image())(0, 4096).equals(stampedBlock(0, 1)), "west has it");
  assert.equal(await flushing, 0);
  await cluster.copyIs("east", "west", "synchronized");
  await assertEqualImages(east.image(), west.image());
  host.close();
  count("row 6", { faultsInjected: 1, effectsSeen: 1 });
});

test("I4: whoever asks why hosts hang is told which copy they wait for, whatever its rpo, and how to let them go on", async (t) => {
  const cluster = await startCluster(t, {
    copies: { west: "probe: 100ms, onLoss: stall, rpo: 1h" },
  });
  const east = cluster.site("east");
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal((await cluster.cli("status", "--check")).code, 0);
  await cluster.site("west").kill();
  await east.until("hosts wait", ({ why }) => why !== "");
  const writing = host.write(0, stampedBlock(0, 1));
  const why = "writes wait until copy west is back (onLoss: stall)";
  const held = await east.group();
  assert.equal(held.why, why);
  const byCopy = { by: "copy", copy: "west", onLoss: "stall", verdict: "wait" };
  assert.deepEqual(held.writesHeldUp, byCopy);
  const checked = await cluster.cli("status", "--check");
  assert.equal(checked.code, 1, checked.stdout);
  assert.ok(checked.stdout.includes(`why: ${why}`), checked.stdout);
  assert.ok(checked.stderr.includes(`bank: hosts cannot write (${why})`), checked.stderr);
  const told = await cluster.cli("why", "bank");
  assert.match(told.stdout, /^hosts of bank cannot write at east: writes wait\n/);
  const [, command = ""] = /antipode (pause .+)/.exec(told.stdout) ?? [];
  const paused = await cluster.cli(...command.split(" "));
  assert.equal(paused.code, 0, `${command}: ${paused.stderr}`);
  assert.equal(await writing, 0);
  const well = await east.group();
  assert.equal(well.why, "");
  assert.equal(well.writesHeldUp, undefined);
  host.close();
});

test("I4: onLoss fail answers with an error while the copy is away, and takes writes again when it is back (row 6)", async (t) => {
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, onLoss: fail" } });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 100 });
  await writer.more(100);
  await west.kill();
  await east.until("the copy is lost", ({ copies }) => copies[0]?.state !== "synchronized");
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(4 * MiB, stampedBlock(1024, 1)), ioError);
  assert.equal(await host.flush(), ioError);
  const { why, writesHeldUp } = await east.group();
  assert.equal(why, "writes are refused until copy west is back (onLoss: fail)");
  assert.deepEqual(writesHeldUp, { by: "copy", copy: "west", onLoss: "fail", verdict: "fail" });
  await writer.stop();
  assert.ok(writer.errors.length > 0 && writer.errors.every((error) => error === ioError));
  // Nothing was replied that the copy lacks.
  await writer.check(imageReader(west.image()));
  await west.start();
  await cluster.copyIs("east", "west", "synchronized");
  assert.equal(await host.write(4 * MiB, stampedBlock(1024, 2)), 0);
  await assertEqualImages(east.image(), west.image());
  host.close();
});

test("F14: of two copies one fractures; only its map fills, and the other stays synchronized", async (t) => {
  const cluster = await startCluster(t, { sites: ["east", "west", "north"] });
  const east = cluster.site("east");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 100 });
  await writer.more(100);
  await cluster.site("north").kill();
  await writer.more(200);
  const north = await cluster.copyIs("east", "north", "fractured");
  const west = await east.copy("west");
  assert.ok(north.dirtyBytes > 0);
  assert.deepEqual([west.state, west.dirtyBytes], ["synchronized", 0]);
  assert.deepEqual(dirtyFiles(east), ["dirty-north-data.map"]);
  await writer.stop();
  await writer.check(imageReader(cluster.site("west").image()));
  await cluster.site("north").start();
  await cluster.copyIs("east", "north", "synchronized");
  await assertEqualImages(east.image(), cluster.site("north").image());
});

test("F9: with the primary gone a copy answers for itself, and with the copy gone the primary serves", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  await east.kill();
  const own = await cluster
    .site("west")
    .until("lost its primary", ({ copies }) => copies[0]?.link !== "up");
  assert.equal(own.copies[0]?.image, "consistent");
  await cluster.site("west").kill();
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
});

test("F2: a far copy costs its distance, and never lags a replied write", async (t) => {
  const delayMs = 60;
  let slow: Proxy | undefined;
  const cluster = await startCluster(t, {
    tcp: ["west"],
    reach: async (peers) => {
      slow = await startProxy(t, peers.get("west") ?? "");
      return { east: { west: slow.address } };
    },
  });
  const host = await connectHost(cluster.site("east").nbd, "bank/data");
  if (slow !== undefined) slow.delayMs = delayMs;
  const read = imageReader(cluster.site("west").image());
  for (let at = 0; at < 5; at += 1) {
    const startMs = performance.now();
    assert.equal(await host.write(at * 4096, stampedBlock(at, 1)), 0);
    const tookMs = performance.now() - startMs;
    assert.ok(read(at * 4096, 4096).equals(stampedBlock(at, 1)), "the copy lags a replied write");
    // Timers may fire a millisecond early, never more.
    assert.ok(tookMs >= 2 * delayMs - 5, `${tookMs} ms for a way of twice ${delayMs} ms`);
  }
  assert.equal((await cluster.site("east").copy("west")).state, "synchronized");
  host.close();
  count("F2", { faultsInjected: 5, effectsSeen: 5 });
});

test("F10: pause and resume: what a paused copy misses is remembered and brought over, also over a restart", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  const west = cluster.site("west");
  const paused = await cluster.cli("pause", "bank", "--copy", "west", "--wait");
  assert.equal(paused.code, 0, paused.stderr);
  const before = hashFile(west.image());
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 100 });
  await writer.more(200);
  await writer.stop();
  assert.ok((await east.copy("west")).dirtyBytes > 0);
  assert.equal(await east.stop(), 0);
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  assert.equal((await east.copy("west")).state, "paused");
  assert.equal(hashFile(west.image()), before, "a paused copy was written to");
  const resumed = await cluster.cli("resume", "bank", "--copy", "west", "--wait");
  assert.equal(resumed.code, 0, resumed.stderr);
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
});

for (const mode of ["sync", "async", "cycle"] as const) {
  test(`row 53: mode ${mode}: a copy whose disk was exchanged for a blank one is filled only after resync --full (PEERS C9)`, async (t) => {
    const cluster = await startCluster(t, { modes: { west: mode } });
    const east = cluster.site("east");
    const west = cluster.site("west");
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
    await writer.more(300);
    await writer.stop();
    const before = hashFile(east.image());
    await west.kill();
    fs.rmSync(west.data, { recursive: true });
    await west.start();
    const stopped = await cluster.copyIs("east", "west", "stopped");
    assert.match(stopped.why, /blank|not the one/);
    assert.ok(
      imageReader(west.image())(0, 8 * MiB).every((byte) => byte === 0),
      "it was filled",
    );
    assert.equal(hashFile(east.image()), before, "a blank disk was copied onto a good one");
    const filled = await cluster.cli("resync", "bank", "--copy", "west", "--full", "--wait");
    assert.equal(filled.code, 0, filled.stderr);
    await cluster.copyIs("east", "west", mode === "sync" ? "synchronized" : "streaming");
    await east.until("west has it all", ({ copies: [copy] }) => {
      return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
    });
    await assertEqualImages(east.image(), west.image());
    count("row 53", { faultsInjected: 1, effectsSeen: 1 });
  });
}

test("row 53: an image that is gone while its site is down, as with a mount, is not served as zeros; put back, it is served as it was", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(0, stampedBlock(1, 1)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
  for (const site of [cluster.site("west"), east]) {
    assert.equal(await site.stop(), 0);
    const aside = `${site.image()}.aside`;
    fs.renameSync(site.image(), aside);
    await assert.rejects(site.start(), /cannot start: .*data\.img is gone.*mount what it lies on/);
    assert.equal(fs.existsSync(site.image()), false, "zeros were made in its place");
    fs.renameSync(aside, site.image());
    await site.start();
    await cluster.copyIs("east", "west", "synchronized");
  }
  const again = await connectHost(east.nbd, "bank/data");
  const read = await again.read(0, 4 * KiB);
  assert.deepEqual(read, stampedBlock(1, 1));
  again.close();
  await assertEqualImages(east.image(), cluster.site("west").image());
  count("row 53", { faultsInjected: 2, effectsSeen: 2 });
});
