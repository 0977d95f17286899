import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { type ChainWriter, startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { inMode, journalModes } from "../support/in-mode.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import { assertCaughtUp, exports, readerOf } from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// Networks and disks that go wrong under asynchronous copies: flapping, narrow, lying links; blocks that rot at rest.

const options = {
  groups: { bank: { data: "16MiB", log: "8MiB" } },
  modes: { west: "async" },
} as const;

const startWriter = (site: TestSite): Promise<ChainWriter> =>
  startChainWriter({ socket: site.nbd, exports, blocks: 300, flushEvery: 25 });

const descriptors = (site: TestSite): number => fs.readdirSync(`/proc/${site.pid()}/fd`).length;

/** Waits until the site tells of a change to this state, behind the events that it had told of before. */
async function untilEvent(site: TestSite, before: number, state: string): Promise<void> {
  await until(`${site.name} tells of a change to ${state}`, async () =>
    (await site.events()).slice(before).some(({ to }) => to === state),
  );
}

for (const mode of journalModes) {
  test(`I31, row 26: mode ${mode}: a link that goes up and down again and again costs neither descriptors nor room, and all is well when it stays up (PEERS C1)`, async (t) => {
    const { cluster, toWest, toEast } = await startLinkedCluster(t, inMode(options, mode));
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startWriter(east);
    await writer.more(50);
    const before = [descriptors(east), descriptors(west)];
    const used: number[] = [];
    let cuts = 0;
    for (let round = 0; round < 10; round += 1) {
      for (const link of [toWest, toEast]) link.isClosed = true;
      cuts += toWest.cut() + toEast.cut();
      await cluster.copyIs("east", "west", "buffering");
      await writer.more(30);
      used.push((await east.group()).journal.bytesUsed);
      for (const link of [toWest, toEast]) link.isClosed = false;
      await cluster.copyIs("east", "west", "streaming");
    }
    await writer.stop();
    await assertCaughtUp({ east, west });
    assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
    assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
    const { journal } = await east.until("nothing is under way", (group) => {
      return group.requestsInFlight === 0 && group.openGranules === 0;
    });
    assert.ok(Math.max(...used, journal.bytesUsed) <= 64 * MiB, "one segment is enough for all");
    assert.deepEqual(east.inspect().bitmap, [], "I31: nothing is dirty, nothing is open");
    await west.until("nothing is open there", ({ openGranules }) => openGranules === 0);
    assert.deepEqual(west.inspect().bitmap, []);
    // The hosts are gone by now; a connection that is just being exchanged is no leak, and one that ends takes its time.
    await until("no descriptor is left over", () => {
      const [atEast = 0, atWest = 0] = before;
      return descriptors(east) <= atEast + 2 && descriptors(west) <= atWest + 2;
    });
    count("row 26", { faultsInjected: cuts, effectsSeen: used.length });
  });
}

for (const mode of journalModes) {
  test(`row 27: mode ${mode}: over a far and narrow link hosts go on at their own speed, nobody is lost, and the lag is what is under way`, async (t) => {
    const { cluster, toWest } = await startLinkedCluster(t, inMode(options, mode));
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startWriter(east);
    await writer.more(20);
    toWest.delayMs = 100;
    toWest.bytesPerSecond = 250_000;
    await writer.more(250);
    // What was replied is far more than the link has carried by now.
    const acked = writer.acked();
    const { copies } = await east.until("the copy is behind", ({ copies: [copy] }) => {
      return (copy?.lagWrites ?? 0) > 50;
    });
    const { state, lagWrites, complete } = copies[0] ?? assert.fail();
    assert.ok(lagWrites >= acked - complete, `${lagWrites} behind`);
    assert.match(state, /streaming|replaying/);
    toWest.delayMs = 0;
    toWest.bytesPerSecond = undefined;
    await writer.stop();
    await assertCaughtUp({ east, west });
    const lost = (await east.events()).filter(({ to }) => to === "buffering" || to === "tripped");
    assert.deepEqual(lost, []);
    count("row 27", { faultsInjected: 1, effectsSeen: lagWrites });
  });
}

for (const how of ["flip", "cutAt"] as const) {
  test(`I34: a batch that is ${how === "flip" ? "changed" : "cut off"} on its way is not applied, and comes again (rows 31 and 32)`, async (t) => {
    const { cluster, toWest } = await startLinkedCluster(t, options);
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startWriter(east);
    const places = [10, 100, 3000];
    for (const at of places) {
      const before = (await east.events()).length;
      await Promise.all([toWest.spoilNext(4 * KiB, { kind: how, at }), writer.more(40)]);
      await untilEvent(east, before, "buffering");
      await cluster.copyIs("east", "west", "streaming");
    }
    await writer.stop();
    await assertCaughtUp({ east, west });
    assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
    assert.equal((await east.copy("west")).resyncComparedBytes, 0);
    const row = how === "flip" ? "row 32" : "row 31";
    count(row, { faultsInjected: places.length, effectsSeen: places.length });
  });
}

test("row 44: a block that rots at the primary is not sent by itself, and full compares repair it from whoever is primary", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "16MiB" } },
    modes: { west: "async" },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const write = async (site: TestSite, block: number): Promise<void> => {
    const host = await connectHost(site.nbd, "bank/data");
    assert.equal(await host.write(block * 64 * KiB, Buffer.alloc(64 * KiB, block)), 0);
    assert.equal(await host.flush(), 0);
    host.close();
  };
  const rotted = 3 * 64 * KiB + 1000;
  const byteAt = (site: TestSite): number => {
    const fd = fs.openSync(site.image(), "r");
    const byte = Buffer.alloc(1);
    fs.readSync(fd, byte, 0, 1, rotted);
    fs.closeSync(fd);
    return byte[0] ?? 0;
  };
  const rot = (site: TestSite): void => {
    const fd = fs.openSync(site.image(), "r+");
    fs.writeSync(fd, Buffer.from([0x55]), 0, 1, rotted);
    fs.closeSync(fd);
  };
  for (const block of [1, 2, 3, 40]) await write(east, block);
  await east.until(
    "all is there",
    ({ copies: [copy] }) => copy?.applyLagWrites === 0 && copy.lagWrites === 0,
  );
  // What is open at the copy is compared when it is promoted, and would be found: it closes when it is told to.
  for (const site of [east, west])
    await site.until("nothing is open", ({ openGranules }) => openGranules === 0);
  await east.stop();
  rot(east);
  await east.start();
  await cluster.copyIs("east", "west", "streaming");
  await write(east, 41);
  await east.until(
    "all is there",
    ({ copies: [copy] }) => copy?.applyLagWrites === 0 && copy.lagWrites === 0,
  );
  assert.deepEqual([byteAt(east), byteAt(west)], [0x55, 3], "the rot stays where it is");

  await east.kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await east.start();
  await cluster.copyIs("west", "east", "streaming");
  assert.deepEqual([byteAt(east), byteAt(west)], [0x55, 3], "nothing says that it differs");
  const compare = async (): Promise<void> => {
    const full = await cluster.cli("resync", "bank", "--copy", "east", "--full", "--wait");
    assert.equal(full.code, 0, full.stderr);
    await west.until(
      "east has all",
      ({ copies: [copy] }) => copy?.state === "streaming" && copy.lagWrites === 0,
    );
    await assertEqualImages(east.image(), west.image());
  };
  await compare();
  assert.equal(byteAt(east), 3, "repaired from the copy that became primary");
  assert.equal((await west.copy("east")).resyncSentBytes, 64 * KiB, "by one region");

  rot(east);
  await compare();
  assert.equal(byteAt(east), 3, "and so is a block that rots at a copy");
  count("row 44", { faultsInjected: 2, effectsSeen: 2 });
});
