import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { createCluster, startCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";

// The journal of asynchronous copies on real processes: full, damaged, and after changes of role.

test("I25: a full journal trips the copy, hosts never notice, and the copy is resynced (row 40) (PEERS C45)", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "64MiB" } },
    modes: { west: "async" },
    groupLines: ["journal: { size: 32MiB, overflow: trip }"],
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await west.kill();
  const host = await connectHost(east.nbd, "bank/data");
  let written = 0;
  for (let number = 0; number < 50; number += 1) {
    const bytes = Buffer.alloc(MiB, number);
    assert.equal(await host.write((number % 64) * MiB, bytes), 0);
    written += bytes.length;
  }
  host.close();
  const tripped = await cluster.copyIs("east", "west", "tripped");
  assert.ok(tripped.dirtyBytes > 0);
  const { journal } = await east.group();
  assert.ok(journal.bytesUsed <= journal.bytesMax, `${journal.bytesUsed} of ${journal.bytesMax}`);
  await west.start();
  await cluster.copyIs("east", "west", "streaming");
  await east.until("west has applied everything", ({ copies: [copy] }) => {
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  await assertEqualImages(east.image(), west.image());
  assert.ok((await east.copy("west")).resyncComparedBytes > 0);
  count("row 40", { faultsInjected: 1, effectsSeen: written > 32 * MiB ? 1 : 0 });
});

test("I16, I29: beside a mirror: the mirror is promoted, and the copy that follows follows it without a full copy", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    groups: { bank: { data: "64MiB" } },
    modes: { west: "sync", north: "async" },
  });
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && north !== undefined);
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  await writer.more(1000);
  await east.kill();
  await writer.ended;
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  await writer.reconnect(west.nbd);
  await writer.more(300);
  await writer.stop();
  await cluster.copyIs("west", "north", "streaming");
  await west.until("north has applied everything", (group) =>
    group.copies.some(
      ({ site, lagWrites, applyLagWrites }) => site === "north" && lagWrites + applyLagWrites === 0,
    ),
  );
  await writer.check(imageReader(north.image()));
  await assertEqualImages(west.image(), north.image());
  const { resyncComparedBytes } = await west.copy("north");
  assert.ok(resyncComparedBytes <= 16 * MiB, `${resyncComparedBytes} bytes compared`);
});

test("I29: a primary that was succeeded by its copy comes back as a copy, and ends byte-equal (PEERS C18)", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "64MiB" } },
    modes: { west: "async" },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000, flushEvery: 50 });
  await writer.more(1000);
  await east.kill();
  await writer.ended;
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  const host = await connectHost(west.nbd, "bank/data");
  assert.equal(await host.write(8 * MiB, Buffer.alloc(MiB, 7)), 0);
  host.close();
  await east.start();
  await cluster.copyIs("west", "east", "streaming");
  await west.until("east has applied everything", ({ copies: [copy] }) => {
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  await assertEqualImages(west.image(), east.image());
  const { resyncComparedBytes } = await west.copy("east");
  assert.ok(resyncComparedBytes <= 16 * MiB, `${resyncComparedBytes} bytes compared`);
});

test("row 45, row 46: a journal that is damaged where it was synced is refused with the place, and nothing is changed", async (t) => {
  const cluster = await createCluster(t, {
    groups: { bank: { data: "16MiB" } },
    modes: { west: "async" },
  });
  const east = cluster.site("east");
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  const host = await connectHost(east.nbd, "bank/data");
  for (let number = 0; number < 20; number += 1) {
    assert.equal(await host.write(number * 4096, Buffer.alloc(4096, number + 1)), 0);
    assert.equal(await host.flush(), 0);
  }
  host.close();
  await east.kill();
  const folder = join(east.data, "bank");
  const name = fs.readdirSync(folder).find((each) => each.startsWith("journal-"));
  assert.ok(name !== undefined);
  const path = join(folder, name);
  const before = fs.readFileSync(path);
  const damaged = Buffer.from(before);
  damaged[300] = (damaged[300] ?? 0) ^ 1;
  fs.writeFileSync(path, damaged);
  await east.start();
  const group = await east.group();
  assert.equal(group.serving, false);
  assert.match(group.why, new RegExp(`${name}.*(byte|record)`));
  assert.deepEqual(fs.readFileSync(path), damaged, "nothing was changed");
  await east.kill();
  fs.writeFileSync(path, before);
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  count("row 45", { faultsInjected: 1, effectsSeen: 1 });
});
