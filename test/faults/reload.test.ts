import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";

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
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  await writer.more(1000);
  // Blocks that a full copy would bring over, and that no change of mode touches.
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
  assert.ok(sent < 8 * MiB, `${sent} bytes were copied`);
  assert.ok(compared <= 32 * MiB, `${compared} bytes were compared`);
  const { configuration } = await east.group();
  assert.deepEqual(configuration, { revision: 3, differing: [] });
  await writer.check(imageReader(west.image()));
  await assertEqualImages(east.image(), west.image());
  assert.ok(!fs.readdirSync(join(east.data, "bank")).some((name) => name.startsWith("journal-")));
  console.log({ sent, compared });

});
