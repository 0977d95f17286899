import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { imageReader, stampedBlock, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLabDisk } from "../support/lab-disk.ts";
import { connectHost } from "../support/nbd-host.ts";
import { missing } from "../support/needs.ts";
import { until } from "../support/until.ts";
import { mountSmall, needsRoot } from "../support/small-disk.ts";
import { runGood } from "../support/run-command.ts";

// Disks that fail, fill up or are slow, and hosts that are rude. The failing disks are the lab's own.

const needsFuse = { skip: missing("libnbd-bin", "fuse3") };
const ioError = 5;
const noSpace = 28;

test(
  "I35: a sync that fails at the primary fails the volume for good, and no reply says otherwise (row 38)",
  needsFuse,
  async (t) => {
    const disk = await startLabDisk(t, 8 * MiB);
    const cluster = await startCluster(t, { at: { bank: { data: { east: disk.path } } } });
    const east = cluster.site("east");
    const host = await connectHost(east.nbd, "bank/data");
    assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
    disk.failNext("flush", "io");
    assert.equal(await host.flush(), ioError);
    const { volumes } = await east.group();
    assert.equal(volumes[0]?.state, "failed");
    // The next sync would succeed: nobody asks for it.
    const syncs = disk.done("flush");
    assert.equal(await host.flush(), ioError);
    assert.equal(await host.write(0, stampedBlock(0, 2)), ioError);
    assert.deepEqual([disk.failed(), disk.done("flush")], [1, syncs]);
    const events = await east.events();
    assert.ok(events.some(({ kind, to }) => kind === "volume" && to === "failed"));
    host.close();
    count("row 38", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "I35: a sync that fails at the copy loses the copy, and FLUSH is answered by its durable loss record (row 38)",
  needsFuse,
  async (t) => {
    const disk = await startLabDisk(t, 8 * MiB);
    const cluster = await startCluster(t, { at: { bank: { data: { west: disk.path } } } });
    const east = cluster.site("east");
    const west = cluster.site("west");
    const host = await connectHost(east.nbd, "bank/data");
    assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
    disk.failNext("flush", "io");
    assert.equal(await host.flush(), 0);
    assert.equal(disk.failed(), 1);
    const { maps } = east.inspect();
    assert.ok(maps.some(({ kind, counts, marked }) => kind === "dirty" && counts && marked > 0));
    const { state, why } = await east.copy("west");
    assert.notEqual(state, "synchronized");
    assert.notEqual(why, "");
    assert.equal(await host.write(4096, stampedBlock(1, 1)), 0);
    // A restart opens the copy's image anew, and what it lacks is brought over.
    await west.kill();
    await west.start();
    await cluster.copyIs("east", "west", "synchronized");
    await assertEqualImages(east.image(), disk.path);
    host.close();
  },
);

test(
  "F15, decision 7: a copy whose sync has failed is promoted only by force, which writes what is open again (row 38)",
  needsFuse,
  async (t) => {
    const disk = await startLabDisk(t, 8 * MiB);
    const cluster = await startCluster(t, { at: { bank: { data: { west: disk.path } } } });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const host = await connectHost(east.nbd, "bank/data");
    assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
    disk.hold("flush");
    const flushed = assert.rejects(host.flush());
    await until("the sync is under way at west", () => disk.waiting("flush") > 0);
    await east.kill();
    await flushed;
    disk.failKept("flush", "io");
    const doubt = /a sync of data has failed/;
    await west.until("it says so", ({ copies: [copy] }) => doubt.test(copy?.why ?? ""));
    const refused = await cluster.cli("promote", "bank", "--site", "west");
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /a sync of data has failed at west: up to 1\.0 MiB/);
    // No word of it was written to: the disk does not come to it by itself.
    const writes = disk.done("write");
    const forced = await cluster.cli("promote", "bank", "--site", "west", "--force");
    assert.equal(forced.code, 0, forced.stderr);
    assert.ok(disk.done("write") > writes, "what was open is written again");
    const other = await connectHost(west.nbd, "bank/data");
    assert.ok((await other.read(0, 4096)).equals(stampedBlock(0, 1)));
    assert.equal(await other.write(4096, stampedBlock(1, 1)), 0);
    assert.equal(await other.flush(), 0);
    other.close();
    await east.start();
    await cluster.copyIs("west", "east", "synchronized");
    await assertEqualImages(east.image(), disk.path);
    count("row 38", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "F15, S21: a copy that takes sets and whose sync has failed is sound after a restart, and is promoted without force (row 38)",
  needsFuse,
  async (t) => {
    const disk = await startLabDisk(t, 8 * MiB);
    const cluster = await startCluster(t, {
      modes: { west: "async" },
      at: { bank: { data: { west: disk.path } } },
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const host = await connectHost(east.nbd, "bank/data");
    disk.failNext("flush", "io");
    assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
    await until("the sync has failed", () => disk.failed() === 1);
    await west.until("it says so", ({ copies: [copy] }) =>
      /fdatasync of the image here failed/.test(copy?.why ?? ""),
    );
    await west.kill();
    await west.start();
    await cluster.copyIs("east", "west", "streaming");
    host.close();
    await east.kill();
    const promote = ["promote", "bank", "--site", "west"];
    await until("what was complete is applied again, and synced", async () => {
      const { code, stderr } = await cluster.cli(...promote, "--dry-run");
      assert.ok(code === 0 || /a sync of data has failed/.test(stderr), stderr);
      return code === 0;
    });
    const promoted = await cluster.cli(...promote);
    assert.equal(promoted.code, 0, promoted.stderr);
    const { volumes } = await west.until("west serves", ({ serving }) => serving);
    assert.equal(volumes[0]?.state, "ok");
    const other = await connectHost(west.nbd, "bank/data");
    assert.ok((await other.read(0, 4096)).equals(stampedBlock(0, 1)));
    assert.equal(await other.write(4096, stampedBlock(1, 1)), 0);
    assert.equal(await other.flush(), 0);
    other.close();
    count("row 38", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "F15: a write that fails on the primary's image fails for its host; after repair what it touched is compared (row 39)",
  needsFuse,
  async (t) => {
    const disk = await startLabDisk(t, 8 * MiB);
    const cluster = await startCluster(t, { at: { bank: { data: { east: disk.path } } } });
    const east = cluster.site("east");
    const west = cluster.site("west");
    const host = await connectHost(east.nbd, "bank/data");
    assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
    await east.until("nothing is open", ({ openGranules }) => openGranules === 0);
    disk.failNext("write", "io");
    assert.equal(await host.write(64 * KiB, stampedBlock(16, 1)), ioError);
    assert.equal((await east.group()).volumes[0]?.state, "failed");
    assert.equal(disk.failed(), 1);
    const repaired = await cluster.cli("repair", "bank", "--volume", "data");
    assert.equal(repaired.code, 0, repaired.stderr);
    const copy = await cluster.copyIs("east", "west", "synchronized");
    // The granule of the failed write was open, so it is what might differ.
    assert.ok(copy.resyncComparedBytes > 0 && copy.resyncComparedBytes <= MiB);
    assert.equal(await host.write(64 * KiB, stampedBlock(16, 2)), 0);
    await assertEqualImages(disk.path, west.image());
    host.close();
    count("F15", { faultsInjected: 1, effectsSeen: 1 });
  },
);

for (const full of ["east", "west"] as const) {
  test(
    `row 41: no space for the image at ${full} costs that write alone, and the images do not diverge`,
    needsRoot,
    async (t) => {
      const small = await mountSmall(t, "2M");
      const place = join(small, "data.img");
      const cluster = await startCluster(t, { at: { bank: { data: { [full]: place } } } });
      const east = cluster.site("east");
      const host = await connectHost(east.nbd, "bank/data");
      let failed = -1;
      const written: number[] = [];
      for (let block = 0; block < 1024; block += 16) {
        const error = await host.write(
          block * 4096,
          Buffer.alloc(64 * KiB, stampedBlock(block, 1)),
        );
        if (error === 0) written.push(block);
        else assert.equal(error, noSpace);
        if (error !== 0) failed = block;
        if (error !== 0 || (await east.copy("west")).state !== "synchronized") break;
      }
      if (full === "east") {
        assert.ok(failed > 0, "the disk never filled up");
        // Only that write: what has its place can be written again, and read.
        assert.equal((await east.group()).volumes[0]?.state, "ok");
        assert.equal(await host.write(0, stampedBlock(0, 2)), 0);
      } else {
        assert.equal(failed, -1, "the host does not pay for the copy's disk");
        // The connection may end before the word on it that says why.
        await east.until("it is said why", ({ copies: [copy] }) => {
          return copy?.state === "fractured" && /cannot be written|space/.test(copy.why);
        });
        assert.equal(await host.write(0, stampedBlock(0, 2)), 0);
        await runGood("mount", ["-o", "remount,size=32M", small]);
      }
      await cluster.copyIs("east", "west", "synchronized");
      const images = [east.image(), cluster.site("west").image()];
      const [one = "", other = ""] = images.map((image, index) =>
        (index === 0 ? "east" : "west") === full ? place : image,
      );
      await assertEqualImages(one, other);
      const read = imageReader(other);
      for (const block of written.filter((each) => each > 0)) {
        assert.ok(read(block * 4096, 4096).equals(stampedBlock(block, 1)), `block ${block}`);
      }
      host.close();
      count("row 41", { faultsInjected: 1, effectsSeen: 1 });
    },
  );
}

for (const kind of ["write", "flush"] as const) {
  test(
    `row 42: a copy whose disk is slow to ${kind} is lost as slow after ackTimeout, and the host goes on`,
    needsFuse,
    async (t) => {
      const disk = await startLabDisk(t, 8 * MiB);
      const cluster = await startCluster(t, {
        at: { bank: { data: { west: disk.path } } },
        copies: { west: "probe: 100ms, timeout: 20s, ackTimeout: 1s" },
      });
      const east = cluster.site("east");
      const host = await connectHost(east.nbd, "bank/data");
      disk.hold(kind);
      assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
      assert.equal(await host.flush(), 0);
      const lost = await cluster.copyIs("east", "west", "fractured");
      assert.match(lost.why, /slow/);
      disk.release();
      await cluster.copyIs("east", "west", "synchronized");
      await assertEqualImages(east.image(), disk.path);
      host.close();
      count("row 42", { faultsInjected: 1, effectsSeen: 1 });
    },
  );
}

test("row 57: overlapping writes under way at once leave the same winner on both images", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  const hosts = await Promise.all([1, 2, 3].map(() => connectHost(east.nbd, "bank/data")));
  const writes: Promise<number>[] = [];
  for (let round = 0; round < 200; round += 1) {
    for (const [index, host] of hosts.entries()) {
      const offset = ((round * 7 + index * 3) % 16) * 2048;
      const length = 2048 * (1 + ((round + index) % 5));
      writes.push(host.write(offset, Buffer.alloc(length, (round * 3 + index) % 251)));
    }
  }
  assert.ok((await Promise.all(writes)).every((error) => error === 0));
  await cluster.copyIs("east", "west", "synchronized");
  await assertEqualImages(east.image(), cluster.site("west").image());
  for (const host of hosts) host.close();
});

test("row 55: a host that dies with a thousand requests under way leaves no request behind and no torn block", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1500, depth: 1000 });
  await writer.more(100);
  const host = await connectHost(east.nbd, "bank/data");
  for (let block = 0; block < 1000; block += 1) {
    void host.write((1600 + (block % 400)) * 4096, stampedBlock(block, 1)).catch(() => undefined);
  }
  host.close();
  await host.closed;
  await writer.more(2000);
  await writer.stop();
  await east.until("nothing is left", ({ requestsInFlight }) => requestsInFlight === 0);
  await writer.check(imageReader(east.image()));
  await cluster.copyIs("east", "west", "synchronized");
  await assertEqualImages(east.image(), cluster.site("west").image());
  assert.ok(fs.existsSync(east.image()));
});
