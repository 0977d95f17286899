import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { blockBytes, imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { createCluster } from "../support/cluster.ts";
import {
  assertDrained,
  deviceOf,
  type GatewayBank,
  hostOf,
  startGatewayBank,
  volumeBytes,
} from "../support/gateway-bank.ts";
import { assertEqualImages } from "../support/images.ts";
import { missing } from "../support/needs.ts";
import { startNbdkit } from "../support/nbdkit.ts";
import { onEnd } from "../support/on-end.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";

// A gateway in front of a stranger's block store, on real processes (SPEC-gateway.md). The store forgets what it was not asked
// to flush when it is killed.

const skip = missing("nbdkit");
const MiB = 1 << 20;

for (const mode of ["async", "cycle"] as const)
  test(
    `A7, A15, A16, I32, I22: ${mode}: the device is killed under load; hosts see no error, the copy goes on, and what was acked is on the device that comes back`,
    { skip },
    async (t) => {
      const bank = await startGatewayBank(t, { mode });
      const { east, west, device, path } = bank;
      assert.equal((await east.group()).role, "gateway", "A7");
      assert.equal((await deviceOf(bank)).device, device.uri);
      const writer = await startAckedWriter({ socket: east.nbd, blocks: 500, flushEvery: 7 });
      await writer.more(1000);
      await device.kill();
      await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
      await writer.more(1000);
      const host = await hostOf(bank);
      t.after(() => host.close());
      const bytes = Buffer.alloc(blockBytes, 0x5a);
      assert.equal(await host.write(9 * MiB, bytes), 0);
      assert.equal(await host.flush(), 0, "a FLUSH syncs the journal");
      assert.deepEqual(await host.read(9 * MiB, blockBytes), bytes, "I32: the journal answers");
      await east.until("A15: the copy gets what was acked meanwhile", ({ copies, lsn }) => {
        const [copy] = copies;
        return copy?.link === "up" && copy.state === "streaming" && copy.complete > lsn - 2000;
      });
      assert.ok(((await deviceOf(bank)).deviceLagBytes ?? 0) > 0);
      await device.start();
      await writer.more(500);
      await writer.stop();
      assert.deepEqual(writer.errors, []);
      await assertDrained(bank);
      await writer.check(imageReader(path));
      assert.deepEqual(imageReader(path)(9 * MiB, blockBytes), bytes);
      await assertEqual(bank);
      const links = (await east.events()).filter(({ kind }) => kind === "link");
      assert.deepEqual(
        links.map(({ volume, from, to }) => ({ volume, from, to })),
        [
          { volume: "data", from: "up", to: "device-down" },
          { volume: "data", from: "device-down", to: "up" },
        ],
        "A12, A15: this link, and no other",
      );
      assert.ok(links.every(({ why }) => why.includes("DEVICE_LINK") && why.includes(device.uri)));
      await west.stop();
      count("row 22", { faultsInjected: 1, effectsSeen: 1 });
    },
  );

test(
  "A14, A16: the WAN is cut alone: told as such, and the device gets everything meanwhile",
  { skip },
  async (t) => {
    const copies = { west: "probe: 100ms, timeout: 5s" };
    const bank = await startGatewayBank(t, { mode: "cycle", copies });
    const { east, toWest, path } = bank;
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 300, flushEvery: 7 });
    await writer.more(300);
    toWest.isHole = true;
    await east.until("the way to west is missed", ({ copies }) => copies[0]?.link === "wan-down");
    assert.equal((await deviceOf(bank)).link, "up");
    await writer.more(300);
    await writer.stop();
    await assertDrained(bank);
    await writer.check(imageReader(path));
    toWest.isHole = false;
    toWest.cut();
    await assertEqual(bank);
    assert.deepEqual(writer.errors, []);
    const links = (await east.events()).filter(({ kind }) => kind === "link");
    assert.deepEqual(
      links.map(({ copy, from, to }) => ({ copy, from, to })),
      [
        { copy: "west", from: "up", to: "wan-down" },
        { copy: "west", from: "wan-down", to: "up" },
      ],
    );
    assert.ok(links.every(({ why }) => why.includes("WAN_LINK")));
    count("row 23", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "row 1, A16, I32: killed while the device is away, a gateway serves from its journal what was acked, and the device gets it",
  { skip },
  async (t) => {
    const bank = await startGatewayBank(t, { mode: "async" });
    const { east, device, path } = bank;
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
    await writer.more(400);
    await device.kill();
    await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
    const host = await hostOf(bank);
    const bytes = Buffer.alloc(blockBytes, 0x77);
    assert.equal(await host.write(5 * MiB, bytes), 0);
    await writer.more(400);
    await east.kill();
    await writer.ended;
    await east.start();
    await east.until("it serves", ({ serving }) => serving);
    assert.equal((await deviceOf(bank)).link, "device-down");
    const again = await hostOf(bank);
    t.after(() => again.close());
    assert.deepEqual(await again.read(5 * MiB, blockBytes), bytes, "I32: served from the journal");
    await device.start();
    await assertDrained(bank);
    await writer.check(imageReader(path));
    await writer.check((offset, length) => again.read(offset, length));
    await assertEqual(bank);
    count("row 1", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "B12, I29: the role goes to the copy and back, with the device as the image of a copy meanwhile; and not while the device lacks something",
  { skip },
  async (t) => {
    const bank = await startGatewayBank(t, { mode: "async" });
    const { cluster, east, west, device, path } = bank;
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 300, flushEvery: 50 });
    await writer.more(500);
    await device.kill();
    await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
    await writer.more(50);
    for (const command of [
      ["switchover", "bank", "--to", "west"],
      ["demote", "bank"],
    ]) {
      const kept = await cluster.cli(...command);
      assert.equal(kept.code, 3, kept.stdout);
      assert.match(kept.stderr, /is away and lacks what the journal here has/);
    }
    await writer.more(50);
    await device.start();
    await east.until("the device is back", ({ volumes }) => volumes[0]?.link === "up");

    const there = await cluster.cli("switchover", "bank", "--to", "west");
    assert.equal(there.code, 0, there.stderr);
    await writer.ended;
    await writer.check(imageReader(path));
    assert.equal((await west.group()).role, "primary");
    await writer.reconnect(west.nbd);
    await writer.more(300);
    await cluster.copyIs("west", "east", "streaming");
    await writer.more(300);
    const back = await cluster.cli("switchover", "bank", "--to", "east");
    assert.equal(back.code, 0, back.stderr);
    await writer.ended;
    await writer.reconnect(east.nbd);
    await writer.more(300);
    await writer.stop();
    assert.equal((await east.group()).role, "gateway");
    await assertDrained(bank);
    await writer.check(imageReader(path));
    await assertEqual(bank);
    assert.deepEqual(writer.errors, []);
  },
);

test(
  "row 10, I16, I18: a takeover while the device lacks something: the device gets it as a copy's image, wherever it was open",
  { skip },
  async (t) => {
    const copies = { west: "probe: 100ms, timeout: 3s" };
    const bank = await startGatewayBank(t, { mode: "async", copies });
    const { cluster, east, west, device, path } = bank;
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 300, flushEvery: 5 });
    await writer.more(500);
    await device.kill();
    await east.until("the device is missed", ({ volumes }) => volumes[0]?.link === "device-down");
    await writer.more(500);
    await writer.stop();
    const { set } = await east.group();
    const idle = await east.until("recovery points of an idle group pass", (group) => {
      const [copy] = group.copies;
      return group.set > set + 3 && copy?.lagWrites === 0 && copy.applyLagWrites === 0;
    });
    assert.ok(idle.openGranules > 0, "I18: what the device lacks is open, however long ago");
    await east.kill();
    const taken = await cluster.cli("promote", "bank", "--site", "west", "--force");
    assert.equal(taken.code, 0, taken.stderr);
    await device.start();
    await east.start();
    await cluster.copyIs("west", "east", "streaming");
    await west.until("east has applied everything", ({ copies }) => {
      const [copy] = copies;
      return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
    });
    await east.stop();
    await assertEqualImages(path, west.image("data"));
    await writer.check(imageReader(west.image("data")));
    count("row 10", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "a device of another size is told at the start, and nothing is written to it",
  { skip },
  async (t) => {
    const folder = makeTempFolder();
    onEnd(t, () => removeTempFolder(folder));
    const bytes = volumeBytes / 2;
    const path = join(folder, "disk");
    const device = await startNbdkit({ socket: join(folder, "nbd.sock"), path, bytes });
    onEnd(t, () => device.kill());
    const cluster = await createCluster(t, {
      groups: { bank: { data: `${volumeBytes}` } },
      at: { bank: { data: { east: device.uri } } },
      modes: { west: "async" },
    });
    await cluster.start();
    const east = cluster.site("east");
    const { why, serving } = await east.until("it has failed", (group) => group.why !== "");
    assert.match(why, /data cannot lie on .*has 8388608 bytes, and the cluster file says 16777216/);
    assert.equal(serving, false);
    assert.equal(await east.stop(), 0, "and it stops as ever");
    assert.ok(fs.readFileSync(path).every((byte) => byte === 0));
  },
);

/** The copy has everything that the device has, byte for byte. */
async function assertEqual({ east, west, path }: GatewayBank): Promise<void> {
  await east.until("west has applied everything", ({ copies }) => {
    const [copy] = copies;
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  await assertEqualImages(path, west.image("data"));
}
