import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { MiB } from "#base/limits.ts";
import type { SplitStatus } from "#site/api.ts";
import { count } from "../support/claims.ts";
import {
  type ClusterOptions,
  startCluster,
  type TestCluster,
  type TestSite,
} from "../support/cluster.ts";
import type { TestContext } from "node:test";
import { assertEqualImages, hashFile } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";
import { until } from "../support/until.ts";

// Split brain on real processes, and the way out of it: both sides serve, the operator gives one up, and may take that back.

const volumeMiB = 96;

/** East serves, loses sight of west and goes on; west is promoted all the same, and serves too; then they meet again. */
async function split(t: TestContext, options: ClusterOptions = {}): Promise<TestCluster> {
  const cluster = await startCluster(t, {
    groups: { bank: { data: `${volumeMiB}MiB` } },
    copies: { west: "probe: 100ms" },
    ...options,
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await write(east, { from: 0, to: volumeMiB, byte: 1 });
  // West hears of it with the next probe.
  for (const site of [east, west])
    await site.until("what is cold is closed", ({ openGranules }) => openGranules <= 8);
  // To its site, a process that is stopped is one that is cut off.
  west.signal("SIGSTOP");
  await write(east, { from: 0, to: 24, byte: 2 });
  await east.stop();
  west.signal("SIGCONT");
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await west.until("it serves", ({ serving }) => serving);
  await write(west, { from: 16, to: 48, byte: 3 });
  await east.start();
  await cluster.copyIs("west", "east", "split-brain");
  await east.until("it knows", ({ splits }) => splits?.[0]?.wroteThere !== undefined);
  await west.until("it knows", ({ splits }) => splits?.[0]?.wroteThere !== undefined);
  return cluster;
}

type Writes = { readonly from: number; readonly to: number; readonly byte: number };

/** Each MiB from one to another gets bytes of its own. */
async function write(site: TestSite, { from, to, byte }: Writes): Promise<void> {
  const host = await connectHost(site.nbd, "bank/data");
  for (let number = from; number < to; number += 1)
    assert.equal(await host.write(number * MiB, Buffer.alloc(MiB, byte * 64 + (number % 61))), 0);
  assert.equal(await host.flush(), 0);
  host.close();
}

async function splitOf(site: TestSite): Promise<SplitStatus> {
  const [found] = (await site.group()).splits ?? [];
  assert.ok(found !== undefined, `${site.name} tells of no split brain`);
  return found;
}

async function discard(cluster: TestCluster, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.cli("discard", "bank", ...args);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}

async function areEqual(cluster: TestCluster, primary: string, copy: string): Promise<void> {
  await cluster.copyIs(primary, copy, "synchronized");
  await assertEqualImages(cluster.site(primary).image(), cluster.site(copy).image());
}

function branchFiles(site: TestSite): string[] {
  return fs.readdirSync(join(site.data, "bank")).filter((name) => name.startsWith("branch-"));
}

function recordOf(site: TestSite) {
  const { record } = site.inspect();
  assert.ok(typeof record !== "string", `${site.name} has a record`);
  return record;
}

test("row 25, I29: in a split brain status, why and a dry run say how much each side wrote, and since when; nothing is copied (U57, N10) (PEERS C16 and C19)", async (t) => {
  const startMs = Date.now();
  const cluster = await split(t);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  let [here, there] = [await splitOf(west), await splitOf(east)];
  // They tell each other with their probes, and east's count ends with its own demotion.
  await until("each knows what the other says", async () => {
    [here, there] = [await splitOf(west), await splitOf(east)];
    return (
      isDeepStrictEqual(here.wroteThere, there.wroteHere) &&
      isDeepStrictEqual(there.wroteThere, here.wroteHere)
    );
  });
  for (const [wrote, leastMiB] of [
    [there.wroteHere, 24],
    [here.wroteHere, 32],
  ] as const) {
    assert.ok(wrote.bytes >= leastMiB * MiB, `${wrote.bytes} bytes are an upper bound`);
    assert.ok(wrote.bytes < volumeMiB * MiB, "and not everything");
    assert.equal(wrote.regions, wrote.bytes / (64 * 1024));
    assert.ok((wrote.sinceMs ?? 0) >= startMs && (wrote.sinceMs ?? 0) <= Date.now());
  }
  const text = await cluster.cli("status", "bank", "--site", "west");
  assert.match(
    text.stdout,
    /split brain with east: up to \d+ regions, \d+\.\d MiB, that west wrote/,
  );
  const why = await cluster.cli("why", "bank", "--site", "west");
  assert.match(
    why.stdout,
    /that west wrote by itself since [^;]*; up to \d+ regions.* that east wrote/,
  );
  assert.match(why.stdout, /antipode discard bank --site east --dry-run/);

  const hashes = [hashFile(east.image()), hashFile(west.image())];
  const plan = await discard(cluster, "--site", "east", "--dry-run");
  assert.match(plan, /gives up up to \d+ regions, .* that east wrote by itself since/);
  assert.match(plan, /keeps up to \d+ regions, .* that west wrote by itself since/);
  assert.match(plan, /as a branch, in up to 64\.0 MiB .*\n.*nothing was done/);
  const wrong = await cluster.cli("discard", "bank", "--site", "west", "--dry-run");
  assert.equal(wrong.code, 3, wrong.stdout);
  assert.match(wrong.stdout, /gives up up to \d+ regions, .* that west wrote by itself since/);
  assert.match(wrong.stderr, /east is not primary/);
  assert.deepEqual([hashFile(east.image()), hashFile(west.image())], hashes);
  count("row 25", { faultsInjected: 1, effectsSeen: 1 });
});

test("row 58, row 25, I29: in a split brain every command that would copy, or give a role, is refused, and copies nothing", async (t) => {
  const cluster = await split(t);
  const sites = [cluster.site("east"), cluster.site("west")];
  const before = sites.map((site) => hashFile(site.image()));
  for (const [command, why] of [
    ["failback bank --to east", /east is split-brain.*\nhint: antipode discard bank/],
    ["switchover bank --to east", /east is split-brain/],
    ["resync bank --copy east --full", /east is split-brain.*\nhint: antipode discard bank/],
    ["promote bank --site east", /west is the primary and answers/],
    ["promote bank --site east --force", /west is the primary and answers/],
  ] as const) {
    const { code, stderr } = await cluster.cli(...command.split(" "));
    assert.equal(code, 3, `${command}: ${stderr}`);
    assert.match(stderr, why);
  }
  await cluster.cli("resume", "bank", "--copy", "east");
  await cluster.copyIs("west", "east", "split-brain");
  assert.deepEqual(
    sites.map((site) => hashFile(site.image())),
    before,
    "something was copied",
  );
  count("row 58", { faultsInjected: 5, effectsSeen: 5 });
});

test("I29, I31: what is given up is resynced by what may differ, kept as a branch, and brought back bit for bit (N10)", async (t) => {
  const cluster = await split(t);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const past = hashFile(east.image());
  const winner = hashFile(west.image());
  await discard(cluster, "--site", "east");
  await areEqual(cluster, "west", "east");
  assert.equal(hashFile(west.image()), winner, "the other side is as it was");
  const { resyncComparedBytes, resyncSentBytes } = await west.copy("east");
  const bytes = `${resyncComparedBytes} compared, ${resyncSentBytes} sent`;
  assert.ok(resyncSentBytes >= 48 * MiB && resyncSentBytes <= 52 * MiB, bytes);
  assert.ok(resyncComparedBytes <= 80 * MiB, bytes);
  const branch = (await east.group()).copies[0]?.branch;
  assert.equal(branch?.phase, "kept");
  // What was overwritten in both rounds and in none of ours is kept as well.
  await write(west, { from: 60, to: 64, byte: 4 });
  const again = await cluster.cli("promote", "bank", "--site", "east", "--dry-run");
  assert.equal(again.code, 3, again.stdout);
  const none = await cluster.cli("discard", "bank", "--site", "east");
  assert.equal(none.code, 3, none.stdout);
  assert.match(none.stderr, /no part in a split brain/);

  const handed = await cluster.cli("switchover", "bank", "--to", "east");
  assert.equal(handed.code, 3, handed.stdout);
  assert.match(handed.stderr, /east keeps a branch, .*--drop-branch lets it go/);

  // A branch outlives the process.
  await east.kill();
  await east.start();
  await areEqual(cluster, "west", "east");
  await write(west, { from: 64, to: 66, byte: 5 });
  const plan = await discard(cluster, "--site", "east", "--undo", "--dry-run");
  assert.match(plan, /takes the image of east back to the branch: LSN \d+ of generation 1/);
  await discard(cluster, "--site", "east", "--undo");
  assert.equal(hashFile(east.image()), past, "bit for bit");
  assert.deepEqual(branchFiles(east), []);
  await cluster.copyIs("west", "east", "split-brain");
  assert.equal(hashFile(east.image()), past, "nobody copies anything");
  // What east had taken of west's is gone from it again, and no map tells of that: anything may be lost with west.
  await west.until(
    "it claims no less",
    ({ splits }) => splits?.[0]?.wroteHere.bytes === volumeMiB * MiB,
  );
  for (const asked of [["resume"], ["resync", "--full"]]) {
    const [verb = "", ...more] = asked;
    const told = await cluster.cli(verb, "bank", "--copy", "east", "--site", "west", ...more);
    assert.equal(told.code, 3, told.stdout);
    assert.match(told.stderr, /split-brain.*[^]*antipode discard bank --site east --dry-run/);
  }

  // The other way round: east serves its branch again, and west is given up.
  const refused = await cluster.cli("discard", "bank", "--site", "west");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(
    refused.stderr,
    /east is not primary[^]*antipode demote bank --site west, antipode promote/,
  );
  for (const command of [
    ["demote", "bank", "--site", "west"],
    ["promote", "bank", "--site", "east", "--force"],
  ]) {
    const { code, stderr } = await cluster.cli(...command);
    assert.equal(code, 0, stderr);
  }
  await cluster.copyIs("east", "west", "split-brain");
  await west.until("it knows", ({ splits }) => splits?.[0]?.wroteThere !== undefined);
  await discard(cluster, "--site", "west");
  await areEqual(cluster, "east", "west");
  assert.equal(hashFile(west.image()), past);
  assert.ok(branchFiles(west).length > 0);
  await discard(cluster, "--site", "west", "--drop-branch");
  assert.deepEqual(branchFiles(west), []);
  await areEqual(cluster, "east", "west");
});

test("row 25, I29, I31: a side whose disk is lost before anybody decides is no split brain any more, and comes back blank", async (t) => {
  const cluster = await split(t);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await east.stop();
  fs.renameSync(east.data, `${east.data}.lost`);
  await east.start();
  // A disk that is blank is filled once that is confirmed (row 53).
  assert.match((await cluster.copyIs("west", "east", "stopped")).why, /blank/);
  const { splits } = await west.group();
  assert.equal(splits, undefined);
  const full = await cluster.cli("resync", "bank", "--copy", "east", "--full");
  assert.equal(full.code, 0, full.stderr);
  await cluster.copyIs("west", "east", "synchronized");
  const told = (await west.events()).filter(({ kind }) => kind === "copy").map(({ why }) => why);
  assert.ok(told.includes("it is blank: what it wrote by itself is not there any more"));
  await east.stop();
  await west.stop();
  await assertEqualImages(east.image(), west.image());
  count("row 25", { faultsInjected: 1, effectsSeen: 1 });
});

test("a full branch holds the resync up and says so; let go, the resync goes on", async (t) => {
  const terms = "probe: 100ms, preserve: { bytesMax: 4MiB }";
  const cluster = await split(t, { copies: { west: terms } });
  const east = cluster.site("east");
  await discard(cluster, "--site", "east");
  const full = /keeps its branch fills the 4\.0 MiB of preserve\.bytesMax at east: raise it/;
  await east.until("it is full", ({ copies }) => full.test(copies[0]?.why ?? ""));
  await cluster
    .site("west")
    .until("the primary says so too", ({ copies }) => full.test(copies[0]?.why ?? ""));
  const refused = await cluster.cli("promote", "bank", "--site", "east", "--force");
  assert.equal(refused.code, 3, refused.stdout);
  await discard(cluster, "--site", "east", "--drop-branch");
  await areEqual(cluster, "west", "east");
});

test("I29: a full branch holds up what is complete here; a promotion by force gives it up, says so, and applies that first", async (t) => {
  const terms = "probe: 100ms, preserve: { bytesMax: 64MiB }";
  const cluster = await split(t, { copies: { west: terms } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await discard(cluster, "--site", "east");
  await cluster.copyIs("west", "east", "synchronized");
  for (const site of ["east", "west"]) {
    const path = join(cluster.folder, `${site}.yaml`);
    const text = fs.readFileSync(path, "utf8");
    fs.writeFileSync(path, text.replace("mode: sync", "mode: async"));
  }
  const reloaded = await cluster.cli("reload", "bank");
  assert.equal(reloaded.code, 0, reloaded.stderr);
  await cluster.copyIs("west", "east", "streaming");
  await write(west, { from: 48, to: 96, byte: 1 });
  const full = /keeps its branch fills the 64\.0 MiB of preserve\.bytesMax at east/;
  const { copies } = await east.until("it is full", ({ copies: [copy] }) =>
    full.test(copy?.why ?? ""),
  );
  const [held] = copies;
  assert.ok(held !== undefined && held.complete > held.applied, "nothing waits to be applied");
  await west.kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "east", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await east.until("it serves", ({ serving }) => serving);
  assert.deepEqual(branchFiles(east), []);
  const given = (await east.events()).filter(({ kind }) => kind === "branch");
  assert.match(given.at(-1)?.why ?? "", /the branch at .* is given up by a promotion/);
  const host = await connectHost(east.nbd, "bank/data");
  const last = await host.read(48 * MiB, MiB);
  assert.ok(last.equals(Buffer.alloc(MiB, 64 + 48)), "a set that was complete is not there");
  host.close();
  count("I29", { faultsInjected: 1, effectsSeen: 1 });
});

test("where nothing is kept aside, giving up needs force and says that it cannot be undone", async (t) => {
  const terms = "probe: 100ms, preserve: { bytesMax: 0 }";
  const cluster = await split(t, { copies: { west: terms } });
  const refused = await cluster.cli("discard", "bank", "--site", "east");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(refused.stderr, /nothing can be kept aside: preserve\.bytesMax is 0/);
  assert.match(await discard(cluster, "--site", "east", "--force"), /cannot be undone/);
  await areEqual(cluster, "west", "east");
  const undo = await cluster.cli("discard", "bank", "--site", "east", "--undo");
  assert.equal(undo.code, 3, undo.stdout);
});

test("row 58, I29: killed in the midst of giving up, of the resync and of taking it back, a site goes on with it", async (t) => {
  const terms = "probe: 100ms, rate: 48MiB/s, preserve: { bytesMax: 256MiB }";
  const cluster = await split(t, { copies: { west: terms } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const past = hashFile(east.image());
  const word = cluster.cli("discard", "bank", "--site", "east");
  const hasWord = (): boolean => {
    const { discarding, branch } = recordOf(east);
    return discarding !== undefined || branch !== undefined;
  };
  while (!hasWord()) await new Promise((resolve) => setImmediate(resolve));
  await east.kill();
  await word;
  await east.start();
  await east.until("much is kept", ({ copies }) => (copies[0]?.branch?.bytesUsed ?? 0) > 16 * MiB);
  await east.kill();
  assert.notEqual(hashFile(east.image()), past, "the resync has written");
  await east.start();
  await areEqual(cluster, "west", "east");

  const undo = cluster.cli("discard", "bank", "--site", "east", "--undo");
  while (recordOf(east).branch?.phase === "kept") await new Promise((r) => setImmediate(r));
  await east.kill();
  await undo;
  await east.start();
  await east.until("it is back", ({ copies }) => copies[0]?.image === "consistent");
  assert.equal(hashFile(east.image()), past);
  await cluster.copyIs("west", "east", "split-brain");
  const { resyncComparedBytes: before } = await west.copy("east");
  await discard(cluster, "--site", "east");
  await areEqual(cluster, "west", "east");
  const { resyncComparedBytes: after } = await west.copy("east");
  assert.ok(after - before >= volumeMiB * MiB, `all is compared: ${after - before} bytes`);
  count("row 58", { faultsInjected: 3, effectsSeen: 3 });
});
