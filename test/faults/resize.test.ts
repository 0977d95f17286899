import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { frameType } from "#wire/peer/messages.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import type { TestCluster, TestSite } from "../support/cluster.ts";
import { startFramedCluster } from "../support/frame-proxy.ts";
import type { FrameProxy, SeenFrame } from "../support/frame-proxy.ts";
import { assertEqualImages } from "../support/images.ts";
import { missing } from "../support/needs.ts";
import { connectHost } from "../support/nbd-host.ts";
import { runCommand } from "../support/run-command.ts";
import { until } from "../support/until.ts";

// `antipode resize` on real processes: volumes grow while hosts write, and whoever is killed in the midst of it leaves a group
// that is whole (SPEC-mirror.md, Growing a volume).

// Neither a whole granule nor a whole region, so that the end of the old size lies within both.
const oldBytes = 8 * MiB + 4 * KiB;
const newBytes = 24 * MiB + 8 * KiB;
const blockBytes = 4 * KiB;
const oldSize = String(oldBytes);

const threeSites = {
  sites: ["east", "west", "north"],
  groups: { bank: { data: oldSize } },
} as const;

function resize(cluster: TestCluster, bytes = newBytes, ...more: readonly string[]) {
  return cluster.cli("resize", "bank/data", String(bytes), ...more);
}

/** What a site says that the volume has, by the record that rules there. */
async function bytesAt(site: TestSite): Promise<number> {
  return (await site.group()).volumes[0]?.bytes ?? 0;
}

async function areZeros(site: TestSite, from: number, to: number): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  for (let at = from; at < to; at += MiB) {
    const bytes = await host.read(at, Math.min(MiB, to - at));
    assert.ok(
      bytes.every((byte) => byte === 0),
      `what is new reads as zeros at ${at}`,
    );
  }
  host.close();
}

/** A block at the very end, and one across the old end, of the byte. */
async function writeTail(site: TestSite, byte: number): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  for (const at of [oldBytes - blockBytes, newBytes - 2 * blockBytes])
    assert.equal(await host.write(at, Buffer.alloc(2 * blockBytes, byte)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
}

async function stopAndCompare(sites: readonly TestSite[]): Promise<void> {
  for (const site of sites) assert.equal(await site.stop(), 0);
  const [first, ...others] = sites.map((site) => site.image());
  assert.equal(fs.statSync(first ?? "").size, newBytes);
  for (const other of others) await assertEqualImages(first ?? "", other);
}

async function copiesAreWell(
  cluster: TestCluster,
  primary: string,
  copies: Readonly<Record<string, "synchronized" | "streaming">>,
): Promise<void> {
  for (const [copy, state] of Object.entries(copies)) await cluster.copyIs(primary, copy, state);
}

test("resize: grows under hosts' writes with a mirror and a copy of sets, who connects then uses what is new, kill -9 keeps it", async (t) => {
  const cluster = await startCluster(t, { ...threeSites, modes: { north: "async" } });
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  if (east === undefined || west === undefined || north === undefined) assert.fail("no sites");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  const old = await connectHost(east.nbd, "bank/data");
  await writer.more(500);

  const planned = await resize(cluster, newBytes, "--dry-run");
  assert.equal(planned.code, 0, planned.stderr);
  assert.match(planned.stdout, /west: the image of data grows from 8392704 to 25174016 bytes/);
  assert.match(planned.stdout, /north: the image/);
  assert.match(planned.stdout, /nothing was done/);
  assert.equal(await bytesAt(west), oldBytes, "a dry run changes nothing");

  const grown = await resize(cluster);
  assert.equal(grown.code, 0, grown.stderr);
  assert.match(grown.stdout, /a connection that is open keeps the size that it has/);
  assert.match(grown.stdout, /write size: 25174016 for data of bank in the cluster file/);
  for (const site of [east, west, north]) {
    assert.equal(await bytesAt(site), newBytes);
    assert.equal(fs.statSync(site.image()).size, newBytes);
  }
  assert.notEqual(await old.write(oldBytes, Buffer.alloc(blockBytes, 1)), 0, "the old size");
  old.close();
  await writer.more(500);
  await areZeros(east, oldBytes, newBytes);
  await writeTail(east, 0x11);
  await copiesAreWell(cluster, "east", { west: "synchronized", north: "streaming" });
  await writer.more(500);
  const again = await resize(cluster);
  assert.equal(again.code, 0, "given again, it has nothing to do");

  // What was open is compared with the new size, at both copies, after a start that finds the file of before.
  const ended = writer.ended;
  await east.kill();
  await ended;
  await east.start();
  await copiesAreWell(cluster, "east", { west: "synchronized", north: "streaming" });
  assert.equal(await bytesAt(east), newBytes);
  await writer.reconnect(east.nbd);
  await writeTail(east, 0x22);
  await writer.more(200);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  const walk = await cluster.cli("verify", "bank", "--copy", "north");
  assert.equal(walk.code, 0, walk.stderr);
  assert.match(walk.stdout, /no region differs/);
  const { lsn } = await east.group();
  await north.until("it has all", ({ copies }) => (copies[0]?.applied ?? 0) >= lsn);
  await writer.check(imageReader(north.image()));
  await stopAndCompare([east, west, north]);
});

test("resize: what cannot be is refused, named, and changes nothing; the command goes on to the primary", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: oldSize } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["bank/data", "4MiB"], 2, /a volume does not shrink\nhint: /],
    [["bank/data", String(newBytes + 1)], 2, /no multiple of 512 bytes.*\nhint: the next is /],
    [["bank/data", "17TiB"], 2, /too many/],
    [["bank/dat", "16MiB"], 2, /no volume dat\nhint: its volumes are: data/],
    [["bonk/data", "16MiB"], 2, /bonk/],
  ];
  for (const [args, code, why] of cases) {
    const refused = await cluster.cli("resize", ...args);
    assert.equal(refused.code, code, refused.stderr);
    assert.match(refused.stderr, why);
  }
  await west.stop();
  const away = await resize(cluster);
  assert.equal(away.code, 1);
  assert.match(away.stderr, /west does not answer[\s\S]*hint: nothing was changed/);
  assert.equal(await bytesAt(east), oldBytes);
  assert.equal(fs.statSync(east.image()).size, oldBytes);
  await west.start();
  await cluster.copyIs("east", "west", "synchronized");
  const elsewhere = await resize(cluster, newBytes, "--site", "west");
  assert.equal(elsewhere.code, 1);
  assert.match(elsewhere.stderr, /west is not the primary of bank\nhint: .*--site east/);
  const moved = await cluster.cli("switchover", "bank", "--to", "west");
  assert.equal(moved.code, 0, moved.stderr);
  const sent = await resize(cluster);
  assert.equal(sent.code, 0, sent.stderr);
  assert.match(sent.stdout, /east: the image of data grows/);
  await writeTail(west, 0x12);
  assert.equal(await bytesAt(east), newBytes);
});

test("resize: nbdinfo sees the new size", { skip: missing("libnbd-bin") }, async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: oldSize } } });
  assert.equal((await resize(cluster)).code, 0);
  const uri = `nbd+unix:///bank/data?socket=${cluster.site("east").nbd}`;
  const { stdout, stderr } = await runCommand("nbdinfo", ["--size", uri]);
  assert.equal(stdout.trim(), String(newBytes), stderr);
});

/** The primary's word to grow, by which a copy makes it so. */
function isGrowth({ header, body }: SeenFrame): boolean {
  if (header.type !== frameType.open) return false;
  const document = JSON.parse(Buffer.from(body).toString()) as Record<string, unknown>;
  return document["purpose"] === "grow" && document["isWanted"] === true;
}

/** The word does not arrive; whether it was sent. */
function holdGrowth(toWest: FrameProxy): () => boolean {
  let isAsked = false;
  toWest.forth = (frame) => {
    if (!isGrowth(frame)) return "pass";
    isAsked = true;
    return "drop";
  };
  return () => isAsked;
}

type HalfGrown = {
  readonly cluster: TestCluster;
  readonly toWest: FrameProxy;
  readonly east: TestSite;
  readonly west: TestSite;
  readonly north: TestSite;
};

/** North has grown, west has not heard of it, and the primary was killed before it did anything. */
async function killHalfway(t: TestContext): Promise<HalfGrown> {
  const { cluster, toWest } = await startFramedCluster(t, threeSites);
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  if (east === undefined || west === undefined || north === undefined) assert.fail("no sites");
  const asked = holdGrowth(toWest);
  const command = resize(cluster);
  await north.until("it has grown", ({ volumes }) => volumes[0]?.bytes === newBytes);
  await until("west is asked, too", asked);
  assert.equal(await bytesAt(east), oldBytes);
  await east.kill();
  assert.notEqual((await command).code, 0);
  toWest.cut();
  toWest.forth = () => "pass";
  count("F4", { faultsInjected: 1, effectsSeen: 1 });
  return { cluster, toWest, east, west, north };
}

test("F4, I16: the primary is killed when some copies have grown: it serves its size, and the command given again ends it", async (t) => {
  const { cluster, east, west, north } = await killHalfway(t);
  // Whatever stands in a part that nobody ever served is gone before that copy is fed.
  await north.kill();
  const fd = fs.openSync(north.image(), "r+");
  fs.writeSync(fd, Buffer.alloc(64 * KiB, 0x77), 0, 64 * KiB, 12 * MiB);
  fs.closeSync(fd);
  await Promise.all([east.start(), north.start()]);
  await copiesAreWell(cluster, "east", { west: "synchronized", north: "synchronized" });
  assert.equal(await bytesAt(east), oldBytes);
  assert.equal(await bytesAt(west), oldBytes);
  const told = (await north.events()).filter(({ why }) => /stored beyond are zeros now/.test(why));
  assert.ok(told.length > 0, "what is given up is told");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  await writer.more(300);
  const grown = await resize(cluster);
  assert.equal(grown.code, 0, grown.stderr);
  await areZeros(east, oldBytes, newBytes);
  await writeTail(east, 0x33);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  await copiesAreWell(cluster, "east", { west: "synchronized", north: "synchronized" });
  await stopAndCompare([east, west, north]);
});

test("F11: a copy that has grown is promoted instead: the others grow as they are fed, the old primary too", async (t) => {
  const { cluster, east, west, north } = await killHalfway(t);
  const promoted = await cluster.cli("promote", "bank", "--site", "north");
  assert.equal(promoted.code, 0, promoted.stderr);
  await writeTail(north, 0x44);
  await cluster.copyIs("north", "west", "synchronized");
  assert.equal(await bytesAt(west), newBytes);
  await east.start();
  await cluster.copyIs("north", "east", "synchronized");
  assert.equal(await bytesAt(east), newBytes);
  await writeTail(north, 0x55);
  await stopAndCompare([north, west, east]);
});

test("F4: a copy is killed as it is asked to grow: the command says so, and given again it ends it", async (t) => {
  const { cluster, toWest } = await startFramedCluster(t, threeSites);
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  if (east === undefined || west === undefined || north === undefined) assert.fail("no sites");
  const asked = holdGrowth(toWest);
  const command = resize(cluster);
  await north.until("it has grown", ({ volumes }) => volumes[0]?.bytes === newBytes);
  await until("west is asked, too", asked);
  await west.kill();
  toWest.cut();
  toWest.forth = () => "pass";
  const failed = await command;
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /west does not answer[\s\S]*hint: hosts see the old size/);
  assert.equal(await bytesAt(east), oldBytes);
  await west.start();
  await copiesAreWell(cluster, "east", { west: "synchronized", north: "synchronized" });
  const grown = await resize(cluster);
  assert.equal(grown.code, 0, grown.stderr);
  await writeTail(east, 0x66);
  await stopAndCompare([east, west, north]);
  count("F4", { faultsInjected: 1, effectsSeen: 1 });
});

test("F4: killed between image and record, a site opens with the size on record, and grows from there; what is new is zeros", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: oldSize } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await writeTailOfOld(east);
  for (const site of [east, west]) {
    await site.kill();
    // As a crash there leaves it.
    fs.truncateSync(site.image(), oldBytes + 20 * MiB);
  }
  await cluster.start();
  await cluster.copyIs("east", "west", "synchronized");
  for (const site of [east, west]) assert.equal(await bytesAt(site), oldBytes);
  const grown = await resize(cluster);
  assert.equal(grown.code, 0, grown.stderr);
  await areZeros(east, oldBytes, newBytes);
  await stopAndCompare([east, west]);
  count("F4", { faultsInjected: 2, effectsSeen: 2 });
});

async function writeTailOfOld(site: TestSite): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  assert.equal(await host.write(oldBytes - blockBytes, Buffer.alloc(blockBytes, 0x88)), 0);
  host.close();
}

test("B13, F11: what was written beyond the old end comes back from a bunker's log, which knows no sizes", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "vault"],
    groups: { bank: { data: oldSize } },
    modes: { west: "async", vault: "bunker" },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  assert.equal((await resize(cluster)).code, 0);
  await west.kill();
  await writeTail(east, 0x21);
  await east.kill();
  await west.start();
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  const host = await connectHost(west.nbd, "bank/data");
  for (const at of [oldBytes - blockBytes, newBytes - 2 * blockBytes]) {
    const bytes = await host.read(at, 2 * blockBytes);
    assert.ok(bytes.equals(Buffer.alloc(2 * blockBytes, 0x21)), `what was acked at ${at}`);
  }
  host.close();
  count("F11", { faultsInjected: 2, effectsSeen: 2 });
});

test("resize: a file that says another size than the record does not rule; the site says so, and reload refuses it", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: oldSize } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  assert.equal((await resize(cluster)).code, 0);
  await west.stop();
  await west.start();
  await cluster.copyIs("east", "west", "synchronized");
  assert.equal(await bytesAt(west), newBytes);
  const told = async (site: TestSite, why: RegExp): Promise<boolean> =>
    (await site.events()).some((event) => event.kind === "configuration" && why.test(event.why));
  assert.ok(await told(west, /the file says 8392704 bytes for bank\/data, which has 25174016/));
  const refused = await cluster.cli("reload", "bank");
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /hint: write size: 25174016, which it has/);

  const larger = 2 * newBytes;
  for (const site of [east, west]) {
    const path = join(cluster.folder, `${site.name}.yaml`);
    const text = fs.readFileSync(path, "utf8");
    fs.writeFileSync(path, text.replace(oldSize, String(larger)));
  }
  await east.stop();
  await east.start();
  await cluster.copyIs("east", "west", "synchronized");
  assert.equal(await bytesAt(east), newBytes, "resize alone makes it larger");
  assert.ok(await told(east, /antipode resize bank\/data 50348032 grows it/));
  assert.equal((await resize(cluster, larger)).code, 0);
  const reloaded = await cluster.cli("reload", "bank");
  assert.equal(reloaded.code, 0, reloaded.stderr);
});
