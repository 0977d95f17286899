import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MiB } from "#base/limits.ts";
import type { GroupStatus } from "#site/api.ts";
import { imageReader } from "../support/acked-writer.ts";
import { type ChainWriter, startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages, hashFile } from "../support/images.ts";
import { type LabDisk, startLabDisk } from "../support/lab-disk.ts";
import { connectHost } from "../support/nbd-host.ts";
import { missing } from "../support/needs.ts";
import { until } from "../support/until.ts";

// The preserved point on real processes: a primary that dies in the midst of a resync leaves a copy that can go back.

const needsFuse = { skip: missing("libnbd-bin", "fuse3") };
const exports = ["bank/data", "bank/log"];
const volumes = ["data", "log"];
/** Of the volume that `fill` fills. */
const roundMiB = 24;

const startWriter = (site: TestSite): Promise<ChainWriter> =>
  startChainWriter({ socket: site.nbd, exports, blocks: 500, flushEvery: 100 });

const usedBytes = ({ copies }: GroupStatus): number => copies[0]?.preserved?.bytesUsed ?? 0;

/** Both images of west, and the last write that it may have. */
type Past = { readonly hashes: readonly string[]; readonly acked: number };

function hashesOf(site: TestSite): readonly string[] {
  return volumes.map((volume) => hashFile(site.image(volume)));
}

/** West is lost behind some writes, and its primary goes on; then the resync is under way and has overwritten much. */
async function inResync(
  cluster: TestCluster,
  writer: ChainWriter,
  goOn: () => Promise<void>,
): Promise<Past> {
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await writer.more(700);
  const acked = writer.acked();
  await west.kill();
  const past = { hashes: hashesOf(west), acked: Math.max(acked, writer.acked()) };
  await goOn();
  await west.start();
  await west.until("old content is kept", (group) => usedBytes(group) > MiB / 2);
  await east.kill();
  await writer.ended();
  return past;
}

/** Row 11: not without force; by force to a named point. Answers the last write that west has then. */
async function promoteToPoint(cluster: TestCluster, writer: ChainWriter): Promise<number> {
  const west = cluster.site("west");
  const before = (await west.group()).copies[0];
  assert.equal(before?.image, "synchronizing");
  const { lsn = 0, generation = 0 } = before.preserved ?? {};
  const name = new RegExp(`LSN ${lsn} of generation ${generation}`);
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(refused.stderr, name);
  const dry = await cluster.cli("promote", "bank", "--site", "west", "--force", "--dry-run");
  assert.equal(dry.code, 0, dry.stderr);
  assert.match(dry.stdout, /goes back to the preserved point: .*\n.*undoes .* MiB/);
  assert.equal((await west.group()).copies[0]?.image, "synchronizing", "a dry run does nothing");
  const forced = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(forced.code, 0, forced.stderr);
  assert.match(forced.stdout, name);
  const hosts = await Promise.all(exports.map((each) => connectHost(west.nbd, each)));
  const highest = await writer.prefixOf(async (volume, offset, length) => {
    const host = hosts[volume];
    assert.ok(host !== undefined);
    return host.read(offset, length);
  });
  for (const host of hosts) host.close();
  assert.ok(fs.readdirSync(join(west.data, "bank")).every((file) => !file.startsWith("preserve-")));
  return highest;
}

async function assertSplitBrain(cluster: TestCluster): Promise<void> {
  await cluster.site("east").start();
  await cluster.copyIs("west", "east", "split-brain");
  const { why } = await cluster.site("west").copy("east");
  assert.match(why, /acked writes without west/);
}

test("row 11, I30: a mirror whose primary dies in the midst of a resync goes back to a named point", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "4MiB", log: "4MiB" } },
    copies: { west: "probe: 100ms, rate: 512KiB/s" },
  });
  const writer = await startWriter(cluster.site("east"));
  const past = await inResync(cluster, writer, () => writer.more(2_000));
  const highest = await promoteToPoint(cluster, writer);
  assert.deepEqual(hashesOf(cluster.site("west")), past.hashes, "the image is what it was");
  // West had answered whatever was acked before it was killed.
  assert.ok(highest >= 700 && highest <= past.acked + 1, `${highest} of ${past.acked}`);
  await assertSplitBrain(cluster);
  count("row 11", { faultsInjected: 1, effectsSeen: 1 });
});

test("I29, row 11: what was acked before the role was handed over is not overwritten either, when a point that lacks it is promoted", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    groups: { bank: { data: "4MiB", log: "4MiB" } },
    copies: { west: "probe: 100ms, rate: 512KiB/s" },
  });
  const [east, west, north] = [cluster.site("east"), cluster.site("west"), cluster.site("north")];
  const writer = await startWriter(east);
  await writer.more(700);
  await west.kill();
  await writer.more(2_000);
  await writer.stop();
  const handed = await cluster.cli("switchover", "bank", "--to", "north");
  assert.equal(handed.code, 0, handed.stderr);
  // Nothing is acked at north: all that west lacks is of the tenure before.
  await west.start();
  await west.until("old content is kept", (group) => usedBytes(group) > MiB / 2);
  await north.kill();
  const held = hashesOf(north);
  const forced = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(forced.code, 0, forced.stderr);
  await north.start();
  await cluster.copyIs("west", "north", "split-brain");
  assert.match((await west.copy("north")).why, /acked writes without west/);
  assert.deepEqual(hashesOf(north), held, "it has every ack still");
  count("row 11", { faultsInjected: 1, effectsSeen: 1 });
});

test("I29, row 11: a primary that acked without a copy is in split brain with its point, though another site was promoted in between (decision 9)", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    groups: { bank: { data: "4MiB", log: "4MiB" } },
    copies: { west: "probe: 100ms, rate: 512KiB/s" },
  });
  const [east, west, north] = [cluster.site("east"), cluster.site("west"), cluster.site("north")];
  const writer = await startWriter(east);
  await writer.more(700);
  await west.kill();
  await writer.more(2_000);
  await writer.stop();
  await east.kill();
  const held = hashesOf(east);
  // North had everything: it takes nothing from anybody, and nothing is acked there.
  const promoted = await cluster.cli("promote", "bank", "--site", "north", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await west.start();
  await west.until("old content is kept", (group) => usedBytes(group) > MiB / 2);
  await north.kill();
  const forced = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(forced.code, 0, forced.stderr);
  await east.start();
  await cluster.copyIs("west", "east", "split-brain");
  assert.match((await west.copy("east")).why, /acked writes without west/);
  await east.until("it tells of the split brain", ({ splits = [] }) => splits.length === 1);
  assert.deepEqual(hashesOf(east), held, "it has every ack still");
  count("row 11", { faultsInjected: 3, effectsSeen: 1 });
});

test("row 11, I30: a copy that takes sets goes back to the end of one (PEERS C45 and C46)", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "16MiB", log: "4MiB" } },
    modes: { west: "async" },
    copies: { west: "probe: 100ms, rate: 1MiB/s" },
    groupLines: ["journal: { size: 32MiB, overflow: trip }"],
  });
  const east = cluster.site("east");
  const writer = await startWriter(east);
  const past = await inResync(cluster, writer, async () => {
    const host = await connectHost(east.nbd, "bank/data");
    for (let number = 0; number < 35; number += 1)
      assert.equal(await host.write((4 + (number % 12)) * MiB, Buffer.alloc(MiB, number + 1)), 0);
    host.close();
    await cluster.copyIs("east", "west", "tripped");
    await writer.more(1_500);
  });
  const { preserved } = (await cluster.site("west").group()).copies[0] ?? {};
  assert.ok((preserved?.set ?? 0) > 0 && (preserved?.stampMs ?? 0) > 0, "the point is a set's end");
  const highest = await promoteToPoint(cluster, writer);
  // What was complete and not applied when west died is in the point, so that the image is not the one that was killed. What
  // was written after that is not.
  const behind = imageReader(cluster.site("west").image("data"))(4 * MiB, 12 * MiB);
  assert.ok(behind.every((byte) => byte === 0));
  assert.ok(highest > 0 && highest <= past.acked + 1, `${highest} of ${past.acked}`);
  await assertSplitBrain(cluster);
  count("row 11", { faultsInjected: 1, effectsSeen: 1 });
});

/** West's image lies on a disk in the test's hand: lost behind the first round, its resync has overwritten a part. */
async function losePrimaryInResync(t: TestContext) {
  const disk = await startLabDisk(t, roundMiB * MiB);
  const cluster = await startCluster(t, {
    groups: { bank: { data: `${roundMiB}MiB` } },
    at: { bank: { data: { west: disk.path } } },
    // So narrow that the resync takes seconds longer than what is waited for.
    copies: { west: "probe: 100ms, timeout: 20s, rate: 4MiB/s, preserve: { bytesMax: 256MiB }" },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await fill(east, 1);
  await west.kill();
  const past = Buffer.from(disk.content);
  await fill(east, 2);
  await west.start();
  await west.until("much is kept", (group) => usedBytes(group) > 4 * MiB);
  await east.kill();
  await west.until("nobody answers", ({ copies }) => copies[0]?.link !== "up");
  assert.ok(!past.equals(disk.content), "the resync has written");
  return { cluster, east, west, disk, past };
}

/** West is told to go back to its point, and killed at the first write of that. */
async function killWhileUndoing(cluster: TestCluster, disk: LabDisk): Promise<void> {
  const west = cluster.site("west");
  disk.hold("write");
  const promotion = cluster.cli("promote", "bank", "--site", "west", "--force");
  await until("it goes back", () => disk.waiting("write") > 0);
  assert.equal(phaseOnDisk(west), "undoing", "it is killed in the midst");
  const gone = west.kill();
  // A process ends once the system call that it is in has come back.
  disk.release();
  await gone;
  await promotion;
}

test(
  "row 11: killed in the midst of going back, a copy goes on with it when it starts, and is then promoted by name",
  needsFuse,
  async (t) => {
    const { cluster, west, disk, past } = await losePrimaryInResync(t);
    await killWhileUndoing(cluster, disk);
    assert.ok(!past.equals(disk.content), "there is something left to undo");
    await west.start();
    const back = await west.until("it is back", ({ copies }) => copies[0]?.image === "consistent");
    assert.equal(back.role, "secondary", "nobody has promoted it");
    assert.ok(past.equals(disk.content));
    const refused = await cluster.cli("promote", "bank", "--site", "west");
    assert.equal(refused.code, 3, refused.stdout);
    assert.match(refused.stderr, /taken back to a preserved point/);
    const forced = await cluster.cli("promote", "bank", "--site", "west", "--force");
    assert.equal(forced.code, 0, forced.stderr);
    assert.ok(past.equals(disk.content));
    count("row 11", { faultsInjected: 2, effectsSeen: 1 });
  },
);

test(
  "trap 13: a copy that went back and was not promoted is resynced by its old primary, undone regions and all",
  needsFuse,
  async (t) => {
    const { cluster, east, disk } = await losePrimaryInResync(t);
    await killWhileUndoing(cluster, disk);
    await cluster.start();
    await cluster.copyIs("east", "west", "synchronized");
    await assertEqualImages(east.image(), disk.path);
  },
);

test("decision 11: a full preserve log holds the resync up, says so at both ends, and keeps the point (PEERS C46)", async (t) => {
  const terms = (bytesMax: string) => `probe: 100ms, preserve: { bytesMax: ${bytesMax} }`;
  const cluster = await startCluster(t, {
    groups: { bank: { data: "4MiB", log: "4MiB" } },
    copies: { west: terms("1MiB") },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startWriter(east);
  await writer.more(700);
  await west.kill();
  const hashes = hashesOf(west);
  await writer.more(2_000);
  await west.start();
  const full = /the resync stands still.* 1\.0 MiB of preserve\.bytesMax at west: raise it/;
  const here = await west.until("it is full", ({ copies }) => full.test(copies[0]?.why ?? ""));
  assert.ok(usedBytes(here) > MiB / 2 && usedBytes(here) <= MiB, `${usedBytes(here)} bytes`);
  await east.until("the primary says so too", ({ copies }) => full.test(copies[0]?.why ?? ""));
  await writer.more(300);
  const text = await cluster.cli("status", "bank", "--site", "west");
  assert.match(text.stdout, /preserved point: LSN \d+ of generation 1.*of 1MiB/);

  assert.notDeepEqual(hashesOf(west), hashes, "the resync had begun");
  for (const site of ["east", "west"]) {
    const file = join(cluster.folder, `${site}.yaml`);
    fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace(terms("1MiB"), terms("0")));
  }
  const reloaded = await cluster.cli("reload", "bank");
  assert.equal(reloaded.code, 0, reloaded.stderr);
  await cluster.copyIs("east", "west", "synchronized");
  const events = await west.events();
  assert.ok(events.some(({ kind, why }) => kind === "preserve" && /is given up/.test(why)));
  await writer.stop();
  for (const volume of volumes) await assertEqualImages(east.image(volume), west.image(volume));
});

/** Every MiB of the volume gets bytes of its own. */
async function fill(site: TestSite, round: number): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  for (let number = 0; number < roundMiB; number += 1)
    assert.equal(await host.write(number * MiB, Buffer.alloc(MiB, number + round)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
}

function phaseOnDisk(site: TestSite): string {
  const { record } = site.inspect();
  return typeof record === "string" ? record : (record.preservedPoint?.phase ?? "none");
}
