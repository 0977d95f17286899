import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { createCluster, startCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";
import { until } from "../support/until.ts";

// What a network does: resets, silence, bytes that are missing or wrong, and strangers.

/** Most that is compared after a short cut: the granules that the writers below touch. */
const openBytesMax = 8 * MiB;

test("I28: connections that are reset come back by themselves, and hosts notice nothing (rows 22 and 26)", async (t) => {
  const { cluster, toWest, toEast } = await startLinkedCluster(t, {
    groups: { bank: { data: "64MiB" } },
  });
  const east = cluster.site("east");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 500, flushEvery: 20 });
  await writer.more(100);
  const descriptors = (): number => fs.readdirSync(`/proc/${east.pid()}/fd`).length;
  const before = descriptors();
  let cuts = 0;
  for (let round = 0; round < 6; round += 1) {
    cuts += toWest.cut() + toEast.cut();
    await writer.more(50);
    await cluster.copyIs("east", "west", "synchronized");
  }
  await writer.more(100);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  const { resyncComparedBytes } = await east.copy("west");
  assert.ok(resyncComparedBytes > 0 && resyncComparedBytes <= 6 * openBytesMax);
  await east.until("nothing is open", ({ openGranules }) => openGranules === 0);
  // An inquiry, or this test's own question, has a connection for a moment; one that leaks has it for ever.
  await until("no connection has leaked", () => descriptors() <= before + 2);
  await writer.check(imageReader(cluster.site("west").image()));
  await assertEqualImages(east.image(), cluster.site("west").image());
  count("row 22", { faultsInjected: cuts, effectsSeen: cuts });
});

test("F4, I32: a link that goes silent is noticed by its silence, hosts go on, and it heals (row 23) (PEERS C4)", async (t) => {
  const { cluster, toWest, toEast } = await startLinkedCluster(t, {
    copies: { west: "probe: 100ms, timeout: 1s" },
  });
  const east = cluster.site("east");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
  await writer.more(100);
  toWest.isHole = true;
  toEast.isHole = true;
  // Far below the 15 minutes after which TCP would notice.
  const lost = await cluster.copyIs("east", "west", "fractured");
  const events = await east.events();
  assert.ok(events.some(({ to, why }) => to === "fractured" && /no answer/.test(why ?? "")));
  assert.notEqual(lost.link, "up");
  await writer.more(200);
  toWest.cut();
  toEast.cut();
  toWest.isHole = false;
  toEast.isHole = false;
  await cluster.copyIs("east", "west", "synchronized");
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  // A silence of a second, which a busy machine may bring about as well, loses it and lets it catch up again.
  await cluster.copyIs("east", "west", "synchronized");
  await writer.check(imageReader(cluster.site("west").image()));
  await assertEqualImages(east.image(), cluster.site("west").image());
  count("row 23", { faultsInjected: 1, effectsSeen: 1 });
});

for (const [place, at] of [
  ["header", 10],
  ["body", 3000],
] as const) {
  test(`I34: a cut in the middle of a frame's ${place} applies nothing of it (row 31)`, async (t) => {
    const { cluster, toWest } = await startLinkedCluster(t);
    const east = cluster.site("east");
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
    for (let round = 0; round < 3; round += 1) {
      await toWest.spoilNext(4 * KiB, { kind: "cutAt", at });
      // Torn blocks would be seen here: nothing has been brought over yet.
      await writer.more(20);
      await cluster.copyIs("east", "west", "synchronized");
    }
    await writer.stop();
    assert.deepEqual(writer.errors, []);
    await writer.check(imageReader(cluster.site("west").image()));
    await assertEqualImages(east.image(), cluster.site("west").image());
    count("row 31", { faultsInjected: 3, effectsSeen: 3 });
  });
}

for (const [place, at] of [
  ["header", 9],
  ["body", 2000],
] as const) {
  test(`I34: a bit flipped in a frame's ${place} ends the connection and is never applied (row 32)`, async (t) => {
    const { cluster, toWest } = await startLinkedCluster(t, {
      copies: { west: "probe: 100ms, resume: manual" },
    });
    const east = cluster.site("east");
    const west = cluster.site("west");
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
    await writer.more(50);
    await toWest.spoilNext(4 * KiB, { kind: "flip", at });
    const lost = await cluster.copyIs("east", "west", "fractured");
    await writer.more(50);
    await writer.stop();
    assert.deepEqual(writer.errors, []);
    assert.notEqual(lost.why, "");
    // With `resume: manual` nothing has repaired the image yet: no block of it may hold what was never written.
    const read = imageReader(west.image());
    for (let block = 0; block < 200; block += 1) {
      const bytes = read(block * 4096, 4096);
      assert.ok(isWhole(bytes, block), `block ${block} holds bytes that nobody wrote`);
    }
    assert.equal((await cluster.cli("resume", "bank", "--copy", "west", "--wait")).code, 0);
    await writer.check(imageReader(west.image()));
    await assertEqualImages(east.image(), west.image());
    count("row 32", { faultsInjected: 1, effectsSeen: 1 });
  });
}

/** Zeros, or one stamp of this block over and over. */
function isWhole(bytes: Buffer, block: number): boolean {
  if (bytes.every((byte) => byte === 0)) return true;
  const stamp = bytes.subarray(0, 16);
  return bytes.readBigUInt64LE(0) === BigInt(block) && bytes.equals(Buffer.alloc(4096, stamp));
}

test("row 28: a narrow and far link slows hosts down and loses nobody", async (t) => {
  const { cluster, toWest } = await startLinkedCluster(t);
  const east = cluster.site("east");
  toWest.delayMs = 100;
  toWest.bytesPerSecond = 128 * KiB;
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 50, flushEvery: 10 });
  await writer.more(60);
  await writer.stop();
  assert.equal((await east.copy("west")).state, "synchronized");
  assert.equal((await east.copy("west")).resyncComparedBytes, 0);
  await assertEqualImages(east.image(), cluster.site("west").image());
});

test("a site with another secret, or with none, is refused, and both ends say why", async (t) => {
  const folder = makeTempFolder();
  t.after(() => removeTempFolder(folder));
  const secrets = ["one", "two"].map((name, index) => {
    const path = join(folder, name);
    fs.writeFileSync(path, `${String(index + 1).repeat(64)}\n`, { mode: 0o600 });
    return path;
  });
  const [one = "", two = ""] = secrets;
  const agreed = await startCluster(t, { secret: one });
  assert.equal((await agreed.site("east").copy("west")).state, "synchronized");
  for (const [own, words] of [
    [{ west: { secret: two } }, /does not know the cluster's secret/],
    [{ west: { cluster: "another" } }, /belongs to cluster/],
  ] as const) {
    const cluster = await createCluster(t, { secret: one, own });
    await cluster.start();
    await cluster.site("east").until("says why", ({ copies }) => words.test(copies[0]?.why ?? ""));
    await cluster.site("west").until("says why", ({ copies }) => words.test(copies[0]?.why ?? ""));
    const { copies } = await cluster.site("east").group();
    assert.notEqual(copies[0]?.state, "synchronized");
    assert.notEqual(copies[0]?.link, "up");
  }
});
