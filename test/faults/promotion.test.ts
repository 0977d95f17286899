import assert from "node:assert/strict";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { imageReader, stampedBlock, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import { assertEqualImages, hashFile } from "../support/images.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { connectHost } from "../support/nbd-host.ts";

// Who may become the primary, what it costs, and what happens when both did.

const refusedAsUnsafe = 3;

test("F11: promotion is refused while the primary answers, with and without --force (row 58)", async (t) => {
  const cluster = await startCluster(t);
  for (const args of [[], ["--force"]]) {
    const refused = await cluster.cli("promote", "bank", "--site", "west", ...args);
    assert.equal(refused.code, refusedAsUnsafe);
    assert.match(refused.stderr, /^error: east is the primary and answers\nhint: demote it first/);
  }
  assert.equal((await cluster.site("west").group()).role, "secondary");
  await assert.rejects(connectHost(cluster.site("west").nbd, "bank/data"));
});

test("F11: a copy that knows it was left behind is promoted only by --force, which names the loss (row 10)", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  const west = cluster.site("west");
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
  assert.equal((await cluster.cli("pause", "bank", "--copy", "west", "--wait")).code, 0);
  assert.equal(await host.write(0, stampedBlock(0, 2)), 0);
  await west.until("it was told", ({ copies }) => /went on without/.test(copies[0]?.why ?? ""));
  await east.kill();
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, refusedAsUnsafe);
  assert.match(refused.stderr, /went on without this copy/);
  assert.match(refused.stdout, /lacks/);
  // It knows after a restart, too.
  await west.kill();
  await west.start();
  assert.equal((await cluster.cli("promote", "bank", "--site", "west")).code, refusedAsUnsafe);
  const forced = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(forced.code, 0, forced.stderr);
  const other = await connectHost(west.nbd, "bank/data");
  assert.ok((await other.read(0, 4096)).equals(stampedBlock(0, 1)), "the state before the pause");
  other.close();
  count("row 10", { faultsInjected: 1, effectsSeen: 1 });
});

test("F11: whoever took over and gave the role up again does not name the primary before it (row 10)", async (t) => {
  const cluster = await startCluster(t);
  const west = cluster.site("west");
  await west.until("it has heard of east", ({ primary }) => primary === "east");
  await cluster.site("east").kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await west.until("it serves", ({ serving }) => serving);
  const demoted = await cluster.cli("demote", "bank", "--site", "west");
  assert.equal(demoted.code, 0, demoted.stderr);
  const { role, primary } = await west.group();
  assert.deepEqual({ role, primary }, { role: "demoted", primary: "west" });
  count("row 10", { faultsInjected: 1, effectsSeen: 1 });
});

test("F11: a copy in the middle of a resync is not promoted without --force (row 11)", async (t) => {
  const { cluster, toWest } = await startLinkedCluster(t);
  const east = cluster.site("east");
  const west = cluster.site("west");
  await west.kill();
  const host = await connectHost(east.nbd, "bank/data");
  for (let at = 0; at < 2 * MiB; at += 64 * KiB) {
    assert.equal(await host.write(at, Buffer.alloc(64 * KiB, 1 + at / 65_536)), 0);
  }
  toWest.bytesPerSecond = 128 * KiB;
  await west.start();
  await east.until("it is under way", ({ copies }) => (copies[0]?.resyncSentBytes ?? 0) > 0);
  await west.until("it says so", ({ copies }) => copies[0]?.image === "synchronizing");
  await east.kill();
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, refusedAsUnsafe);
  assert.match(refused.stderr, /image here is synchronizing/);
  assert.equal((await west.group()).role, "secondary");
  count("row 11", { faultsInjected: 1, effectsSeen: 1 });
});

test("I3, I30: after a partition in which both sides served, nothing is copied and both say split brain (rows 25 and 58)", async (t) => {
  const { cluster, toWest, toEast } = await startLinkedCluster(t, {
    copies: { west: "probe: 100ms, timeout: 5s" },
  });
  const east = cluster.site("east");
  const west = cluster.site("west");
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 100 });
  await writer.more(100);
  toWest.isHole = true;
  toEast.isHole = true;
  await cluster.copyIs("east", "west", "fractured");
  await writer.more(100);
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  assert.match(promoted.stdout, /acked alone after that, if it lived on, would be lost/);
  const host = await connectHost(west.nbd, "bank/data");
  assert.equal(await host.write(0, stampedBlock(0, 999_999)), 0);
  await writer.stop();
  await east.until("idle", ({ requestsInFlight }) => requestsInFlight === 0);
  const before = [hashFile(east.image()), hashFile(west.image())];

  for (const proxy of [toWest, toEast]) {
    proxy.cut();
    proxy.isHole = false;
  }
  const split = await cluster.copyIs("west", "east", "split-brain");
  assert.match(split.why, /acked writes without west/);
  await east.until("gives its role up", ({ role }) => role === "demoted");
  const why = await cluster.cli("why", "bank", "--site", "west");
  assert.match(why.stdout, /split/);
  assert.deepEqual(
    [hashFile(east.image()), hashFile(west.image())],
    before,
    "something was copied",
  );
  // Neither a restart nor a resume makes it forget.
  await east.kill();
  await east.start();
  await cluster.copyIs("west", "east", "split-brain");
  assert.deepEqual(
    [hashFile(east.image()), hashFile(west.image())],
    before,
    "something was copied",
  );
  host.close();
  count("row 25", { faultsInjected: 1, effectsSeen: 1 });
});

test("F10: the command pauses, resumes, demotes, promotes and asks over several groups and volumes", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "4MiB", log: "2MiB" }, shop: { data: "4MiB" } },
  });
  const east = cluster.site("east");
  const west = cluster.site("west");
  await east.until("shop too", ({ copies }) => copies[0]?.state === "synchronized", "shop");
  assert.equal((await cluster.cli("pause", "shop", "--copy", "west", "--wait")).code, 0);
  const status = await cluster.cli("status", "--json");
  const { groups } = JSON.parse(status.stdout) as {
    groups: { name: string; copies: { state: string }[]; volumes: { name: string }[] }[];
  };
  assert.deepEqual(
    groups.map(({ name, copies, volumes }) => [name, copies[0]?.state, volumes.length]),
    [
      ["bank", "synchronized", 2],
      ["shop", "paused", 1],
    ],
  );
  assert.equal((await cluster.cli("status", "--check")).code, 1);
  assert.equal((await cluster.cli("resume", "shop", "--wait")).code, 0);
  const log = await startAckedWriter({ socket: east.nbd, export: "bank/log", blocks: 50 });
  await log.more(50);
  await log.stop();
  // A planned change of roles of one group; the other stays where it is.
  assert.equal((await cluster.cli("demote", "bank")).code, 0);
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  await cluster.copyIs("west", "east", "synchronized");
  assert.equal((await east.group("bank")).role, "secondary");
  assert.equal((await east.group("shop")).role, "primary");
  await log.reconnect(west.nbd);
  await log.more(50);
  await log.stop();
  await log.check(imageReader(east.image("log")));
  await assertEqualImages(east.image("log"), west.image("log"));
  const events = await cluster.cli("events", "bank", "--json", "--site", "west");
  assert.match(events.stdout, /"kind":"promote"/);
});
