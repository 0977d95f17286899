import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { startCluster, type TestCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";
import { until } from "../support/until.ts";

// `antipode reload` on real processes: a running group takes the changes of its file while a host writes.

const MiB = 1024 * 1024;

/** Changes the text of some sites' files; every one of them must have had what is replaced. */
function edit(
  cluster: TestCluster,
  sites: readonly string[],
  change: { readonly from: string; readonly to: string },
): void {
  for (const site of sites) {
    const path = join(cluster.folder, `${site}.yaml`);
    const text = fs.readFileSync(path, "utf8");
    assert.ok(text.includes(change.from), `${path} has no ${change.from}`);
    fs.writeFileSync(path, text.replace(change.from, change.to));
  }
}

test("reload: a copy changes its mode under load, to async and back, without a full copy and without an error", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: "64MiB" } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  // What a full copy would bring over, and no change of mode touches.
  const host = await connectHost(east.nbd, "bank/data");
  for (let number = 8; number < 64; number += 1)
    assert.equal(await host.write(number * MiB, Buffer.alloc(MiB, number)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
  await east.until("what is cold is closed", ({ openGranules }) => openGranules === 0);
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  await writer.more(1000);
  const before = await east.copy("west");

  edit(cluster, ["east", "west"], { from: "mode: sync", to: "mode: async" });
  const planned = await cluster.cli("reload", "bank", "--dry-run");
  assert.equal(planned.code, 0, planned.stderr);
  assert.match(planned.stdout, /west: mode sync -> async/);
  assert.equal((await east.group()).configuration.revision, 1, "a dry run changes nothing");
  const toAsync = await cluster.cli("reload", "bank");
  assert.equal(toAsync.code, 0, toAsync.stderr);
  await cluster.copyIs("east", "west", "streaming");
  await writer.more(1000);

  edit(cluster, ["east", "west"], { from: "mode: async", to: "mode: sync" });
  const toSync = await cluster.cli("reload", "bank");
  assert.equal(toSync.code, 0, toSync.stderr);
  await cluster.copyIs("east", "west", "synchronized");
  await writer.more(500);
  await writer.stop();
  assert.deepEqual(writer.errors, []);

  const after = await east.copy("west");
  assert.equal(after.mode, "sync");
  const sent = after.resyncSentBytes - before.resyncSentBytes;
  const compared = after.resyncComparedBytes - before.resyncComparedBytes;
  // Twice the four granules that the writer has open.
  assert.ok(sent <= 8 * MiB, `${sent} bytes were copied`);
  assert.ok(compared <= 16 * MiB, `${compared} bytes were compared`);
  // What west says of its file comes with the probes.
  await east.until("the files agree", ({ configuration: { revision, differing } }) => {
    return revision === 3 && differing.length === 0;
  });
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
  // It is removed once the record that names none is durable.
  const files = (): string[] => fs.readdirSync(join(east.data, "bank"));
  await until("the journal is gone", () => !files().some((name) => name.startsWith("journal-")));
});

test("reload: a file that was edited while its primary was down is taken at the start; one of a copy alone is not", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: "16MiB" } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await cluster.copyIs("east", "west", "synchronized");
  await west.stop();
  edit(cluster, ["west"], { from: "mode: sync", to: "mode: async" });
  await west.start();
  await east.until("the other file is known", ({ configuration }) =>
    configuration.differing.includes("west"),
  );
  assert.equal((await east.group()).configuration.revision, 1);
  await east.kill();
  edit(cluster, ["east"], { from: "mode: sync", to: "mode: async" });
  await east.start();
  await cluster.copyIs("east", "west", "streaming");
  assert.deepEqual((await east.group()).configuration, { revision: 2, differing: [] });
  const events = await east.events();
  assert.ok(
    events.some(
      ({ kind, why }) => kind === "reload" && why?.startsWith("revision 2: west: mode") === true,
    ),
  );
});

test("reload: what cannot change while the group runs refuses the whole file, with line and hint; so does a slip of the pen", async (t) => {
  const cluster = await startCluster(t);
  const east = cluster.site("east");
  edit(cluster, ["east"], { from: "mode: sync", to: "mode: async" });
  const path = join(cluster.folder, "east.yaml");
  const wanted = fs.readFileSync(path, "utf8");
  const line = (part: string): number =>
    fs
      .readFileSync(path, "utf8")
      .split("\n")
      .findIndex((text) => text.includes(part)) + 1;

  edit(cluster, ["east"], { from: '"size":"8MiB"', to: '"size":"16MiB"' });
  const resized = await cluster.cli("reload", "bank");
  assert.equal(resized.code, 2);
  const place = `${path}:${line("16MiB")}: groups.bank.volumes.data.size: `;
  assert.ok(resized.stderr.includes(place), resized.stderr);
  assert.match(resized.stderr, /nothing was changed[\s\S]*hint: .*antipode resize/);

  fs.writeFileSync(path, wanted.replace("mode: async,", "mode: async, ackTimeout: 5s,"));
  const impossible = await cluster.cli("reload", "bank");
  assert.equal(impossible.code, 2);
  assert.match(impossible.stderr, /east\.yaml:\d+: groups\.bank\.copies\.west\.ackTimeout/);

  // The command's own file is sound; that of the site which is to take it is not.
  fs.writeFileSync(path, wanted);
  const broken = join(cluster.folder, "west.yaml");
  fs.writeFileSync(broken, fs.readFileSync(broken, "utf8").replace("mode: sync", "mode: synk"));
  const elsewhere = await cluster.cli("reload", "bank");
  assert.equal(elsewhere.code, 2);
  assert.match(elsewhere.stderr, /bank at west: .*west\.yaml:\d+: .*"synk" does not fit here/);

  const { configuration, copies } = await east.group();
  assert.deepEqual(configuration, { revision: 1, differing: [] });
  assert.equal(copies[0]?.mode, "sync");
  assert.ok(!(await east.events()).some(({ kind }) => kind === "reload"));
});

test("reload: where files differ the primary's revision rules, also after a takeover, and status names the sites", async (t) => {
  const cluster = await startCluster(t);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  edit(cluster, ["east"], { from: "mode: sync", to: "mode: async, rpo: 1min" });
  const reloaded = await cluster.cli("reload", "bank");
  assert.equal(reloaded.code, 0, reloaded.stderr);
  await cluster.copyIs("east", "west", "streaming");
  await east.until("west's file is named", ({ configuration }) =>
    configuration.differing.includes("west"),
  );
  const { stdout } = await cluster.cli("status", "bank");
  assert.match(stdout, /the file of west differs from revision 2, which rules/);
  await west.until("west goes by it", ({ configuration }) => configuration.revision === 2);
  assert.ok((await west.events()).some(({ kind }) => kind === "configuration"));

  const there = await cluster.cli("reload", "bank", "--site", "west");
  assert.equal(there.code, 0, there.stderr);
  assert.match(there.stdout, /revision 2 of east rules, and the file of west differs from it/);
  assert.match(there.stdout, /not taken: west: mode async -> sync/);

  // A start reads a file that says otherwise: what is on record rules.
  await west.kill();
  await west.start();
  await cluster.copyIs("east", "west", "streaming");
  await east.kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await east.start();
  const back = await cluster.copyIs("west", "east", "streaming");
  assert.equal(back.mode, "async");
  assert.deepEqual((await west.group()).configuration, { revision: 2, differing: ["west"] });

  // The new primary takes its own file, which has never known anything but a mirror.
  const taken = await cluster.cli("reload", "bank", "--site", "west");
  assert.equal(taken.code, 0, taken.stderr);
  await cluster.copyIs("west", "east", "synchronized");
  await east.until("east goes by it", ({ configuration }) => configuration.revision === 3);
  assert.deepEqual((await east.group()).configuration.differing, ["east"]);
});

test("reload: the plan tells of hooks, of a group that is gone from the file, and of one that is new; the others take their changes", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "8MiB" }, shop: { data: "8MiB" } },
  });
  const both = ["east", "west"];
  const primary = "    primary: east\n";
  edit(cluster, both, { from: primary, to: `    hooks: { onPromote: ./move }\n${primary}` });
  const hooks = await cluster.cli("reload", "bank", "--dry-run");
  assert.equal(hooks.code, 0, hooks.stderr);
  for (const site of both)
    assert.match(
      hooks.stdout,
      new RegExp(`at ${site}: ${site}: hooks\\.onPromote none -> .*/move`),
    );
  assert.doesNotMatch(hooks.stdout, /nothing changes/);

  edit(cluster, both, { from: "  shop:\n", to: "  mill:\n" });
  const named = await cluster.cli("reload", "mill");
  assert.equal(named.code, 1);
  assert.match(
    named.stderr,
    /hint: it is new in the file: it begins when its sites are started again/,
  );
  const all = await cluster.cli("reload");
  assert.equal(all.code, 0, all.stderr);
  assert.match(all.stderr, /warning: no site runs mill yet: it begins when its sites are started/);
  assert.match(
    all.stdout,
    /bank at east: group shop is not in the file any more: it goes on until east/,
  );
  assert.match(all.stdout, /bank at west: west: hooks\.onPromote none -> .*\n/);
  const again = await cluster.cli("reload", "bank");
  assert.doesNotMatch(again.stdout, /hooks/, "it was taken");
});

test("reload: a mirror that held hosts up lets them go on; copies come and go, and nobody else notices", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    copies: {
      west: "onLoss: stall, probe: 100ms, timeout: 500ms",
      north: "probe: 100ms, timeout: 20s",
    },
  });
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && north !== undefined);
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 200, flushEvery: 20 });
  await writer.more(200);
  await west.kill();
  await cluster.copyIs("east", "west", "fractured");
  edit(cluster, ["east"], { from: "onLoss: stall", to: "onLoss: continue" });
  const relaxed = await cluster.cli("reload", "bank", "--site", "east");
  assert.equal(relaxed.code, 0, relaxed.stderr);
  await writer.more(200);

  const path = join(cluster.folder, "east.yaml");
  const withWest = fs.readFileSync(path, "utf8");
  fs.writeFileSync(path, withWest.replace(/^ {6}west: \{ mode.*\n/m, ""));
  const removed = await cluster.cli("reload", "bank", "--site", "east");
  assert.equal(removed.code, 0, removed.stderr);
  await east.until("west is gone", ({ copies }) => copies.every(({ site }) => site === "north"));
  assert.ok(!fs.readdirSync(join(east.data, "bank")).some((name) => name.startsWith("dirty-")));
  await writer.more(200);

  fs.writeFileSync(path, withWest);
  const added = await cluster.cli("reload", "bank", "--site", "east");
  assert.match(added.stdout, /west is a new copy \(sync\)/);
  await west.start();
  await cluster.copyIs("east", "west", "synchronized");
  await writer.more(200);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  const { resyncComparedBytes } = await east.copy("north");
  assert.equal(resyncComparedBytes, 0, "north was fed all the while");
  for (const site of [west, north]) {
    await writer.check(imageReader(site.image()));
    await assertEqualImages(east.image(), site.image());
  }
});
