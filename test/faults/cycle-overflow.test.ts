import assert from "node:assert/strict";
import { test } from "node:test";
import type { InspectedEntry } from "#cli/inspect-logs.ts";
import { KiB, MiB } from "#base/limits.ts";
import { journalSizeOf } from "#core/journal-size.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost, type NbdHost } from "../support/nbd-host.ts";
import { until } from "../support/until.ts";

// What stays in the journal of a group with cycles, and what becomes of the group when the journal is full.

const regionBytes = 64 * KiB;
const groups = { bank: { data: "64MiB", log: "8MiB" } };
const volumes = ["data", "log"];

test("A10, A11, A18, I16, row 40: a full journal trips both volumes of the copy: what was acked is marked, durably, before it goes; resume brings exactly that", async (t) => {
  const cluster = await startCluster(t, {
    groups,
    modes: { west: "cycle" },
    copies: { west: "probe: 100ms, timeout: 20s, every: 100ms, ackAt: journal, resume: manual" },
    groupLines: ["journal: { size: 128MiB, overflow: trip }"],
    isTraced: true,
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await west.kill();
  const { data, log } = await hostsOf(east);
  assert.equal(await log.write(5 * regionBytes, Buffer.alloc(4096, 1)), 0);
  // Over and over the first half, so that there is something that the copy does not lack.
  let written = 0;
  while ((await east.copy("west")).state !== "tripped") {
    assert.ok(written < 512, "a journal of 128 MiB has room for more than half a GiB");
    for (let some = 0; some < 8; some += 1) {
      assert.equal(await data.write((written % 32) * MiB, Buffer.alloc(MiB, written)), 0);
      written += 1;
    }
  }
  // At this very moment, with whatever the journal still has.
  await east.kill();
  // By whole granules: the open map remembers them for a copy that is behind (docs/decisions/0009).
  assert.deepEqual(marksOf(east), { data: [[0, 32 * MiB]], log: [[0, MiB]] });
  [data, log].forEach((host) => host.close());

  await east.start();
  await cluster.copyIs("east", "west", "tripped");
  // The segment that is written to stays, whatever is in it.
  await east.until(
    "A18: the journal is empty",
    ({ journal }) => journal.bytesUsed <= journalSizeOf(128 * MiB).segmentBytes,
  );
  const again = await hostsOf(east);
  assert.equal(await again.log.write(3 * MiB, Buffer.alloc(4096, 2)), 0);
  assert.deepEqual(
    marksOf(east)["log"],
    [
      [0, MiB],
      [3 * MiB, regionBytes],
    ],
    "A10: marked before the host had its ack",
  );
  const before = east.trace().length;
  await west.start();
  await east.until("west answers", ({ copies: [copy] }) => copy?.link === "up");
  assert.equal(await again.data.write(40 * MiB, Buffer.alloc(4096, 3)), 0);
  const tripped = await east.until("nothing is open", ({ openGranules }) => openGranules === 0);
  assert.equal(tripped.copies[0]?.state, "tripped", "A10: until somebody resumes it");
  assert.equal(tripped.copies[0].dirtyBytes, 33 * MiB + 2 * regionBytes);
  const isEntry = ({ dir, kind }: { dir: string; kind: string }): boolean =>
    dir === "out" && ["write", "zero", "seal"].includes(kind);
  assert.deepEqual(east.trace().slice(before).filter(isEntry), [], "A10: nothing is sent");

  const { code, stderr } = await cluster.cli("resume", "bank", "--copy", "west", "--site", "east");
  assert.equal(code, 0, stderr);
  await caughtUp(cluster, "west");
  const { resyncComparedBytes, dirtyBytes } = await east.copy("west");
  assert.equal(resyncComparedBytes, 33 * MiB + 2 * regionBytes, "A11: those, and no more");
  assert.equal(dirtyBytes, 0);
  await until("A11: no map is left", () => Object.keys(marksOf(east)).length === 0);
  [again.data, again.log].forEach((host) => host.close());
  count("row 40", { faultsInjected: 1, effectsSeen: 1 });
  count("I16", { faultsInjected: 1, effectsSeen: 1 });
});

test("A17, row 7, row 40: overflow stall: while the journal is full no write is acked, and those that wait are counted", async (t) => {
  const cluster = await startCluster(t, {
    groups,
    modes: { west: "cycle" },
    copies: { west: "probe: 100ms, every: 20ms" },
    groupLines: ["journal: { size: 128MiB, overflow: stall }"],
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await west.kill();
  const { data, log } = await hostsOf(east);
  const total = 140;
  let acked = 0;
  let given = 0;
  const lane = async (): Promise<void> => {
    while (given < total) {
      given += 1;
      const at = (given % 64) * MiB;
      assert.equal(await data.write(at, Buffer.alloc(MiB, given)), 0);
      acked += 1;
    }
  };
  const lanes = Promise.all([lane(), lane(), lane(), lane()]);
  await east.until("all hosts wait", ({ journal }) => journal.stalledWrites === 4);
  const full = acked;
  assert.ok(full < total, `${full} acked`);
  for (let look = 0; look < 20; look += 1) {
    const { journal, copies } = await east.group();
    assert.equal(journal.stalledWrites, 4);
    assert.ok(journal.bytesUsed <= journal.bytesMax);
    assert.equal(copies[0]?.state, "buffering", "nothing is tripped");
  }
  assert.equal(acked, full, "A17: none while it is full");
  await west.start();
  await lanes;
  await caughtUp(cluster, "west");
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
  assert.equal((await east.group()).journal.stalledWrites, 0);
  [data, log].forEach((host) => host.close());
  count("row 7", { faultsInjected: 1, effectsSeen: total - full });
  count("row 40", { faultsInjected: 1, effectsSeen: total - full });
});

test("A1, A2, I17: every packet says what it is; a number stays in the journal until the last copy has stored it, and then goes", async (t) => {
  const cycle = "probe: 100ms, every: 50ms, ackAt: journal";
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    groups,
    modes: { west: "cycle", north: "cycle" },
    copies: { west: cycle, north: cycle },
    isTraced: true,
  });
  const [east, north] = [cluster.site("east"), cluster.site("north")];
  const { data, log } = await hostsOf(east);
  await north.kill();
  assert.equal(await log.write(0, Buffer.alloc(4096, 1)), 0);
  // More than two segments of the journal, which shrinks by whole ones.
  for (let i = 0; i < 150; i += 1)
    assert.equal(await data.write((i % 64) * MiB, Buffer.alloc(MiB, i)), 0);
  const { lsn } = await east.group();
  await east.until("one of two has stored all", ({ copies }) =>
    copies.some(({ site, complete }) => site === "west" && complete >= lsn),
  );
  const held = await journalOf(cluster, east);
  const lsns = held.filter(({ kind }) => kind === "write").map((entry) => entry.lsn);
  assert.deepEqual(
    lsns,
    Array.from({ length: lsn }, (_, i) => i + 1),
    "A2: every entry, since the other lacks it",
  );
  assert.ok(held.every(({ isChecksumOk }) => isChecksumOk));
  const sent = east.trace().filter(({ dir, kind }) => dir === "out" && kind === "write");
  assert.ok(sent.length > 0);
  for (const line of sent) {
    const { generation, epoch, set, index, offset, length, volume, group } = line;
    for (const number of [generation, epoch, set, index, offset, length])
      assert.ok(Number.isSafeInteger(number), `A1: ${JSON.stringify(line)}`);
    assert.ok(group === "bank" && volume !== undefined && volumes.includes(volume), "A1");
  }

  await north.start();
  await caughtUp(cluster, "north");
  assert.equal((await east.copy("north")).resyncComparedBytes, 0, "I17: the journal had it all");
  const first = held[0]?.set ?? 0;
  await until("A2: both have stored it, and it goes", async () =>
    (await journalOf(cluster, east)).every(({ set }) => set > first),
  );
  [data, log].forEach((host) => host.close());
  count("I17", { faultsInjected: 1, effectsSeen: lsns.length });
});

async function hostsOf(site: TestSite): Promise<{ data: NbdHost; log: NbdHost }> {
  const [data, log] = await Promise.all([
    connectHost(site.nbd, "bank/data"),
    connectHost(site.nbd, "bank/log"),
  ]);
  return { data, log };
}

/** What west lacks as it lies on the disk of a site, running or not: runs of bytes, by volume; nothing where no map is. */
function marksOf(site: TestSite): Record<string, [number, number][]> {
  const { bitmap, maps } = site.inspect();
  const counted = volumes.filter((volume) =>
    maps.some(({ file, counts }) => counts && file === `dirty-west-${volume}.map`),
  );
  const runsOf = (volume: string): [number, number][] =>
    bitmap
      .filter(({ file }) => file === `dirty-west-${volume}.map`)
      .map(({ offset, length }) => [offset, length]);
  return Object.fromEntries(counted.map((volume) => [volume, runsOf(volume)]));
}

async function journalOf(cluster: TestCluster, site: TestSite): Promise<InspectedEntry[]> {
  const { code, stdout, stderr } = await cluster.cli("inspect", site.data, "--journal", "--json");
  assert.equal(code, 0, stderr);
  const {
    groups: [group],
  } = JSON.parse(stdout) as { groups: { journal: InspectedEntry[] }[] };
  return group?.journal ?? [];
}

async function caughtUp(cluster: TestCluster, copy: string): Promise<void> {
  const east = cluster.site("east");
  await east.until(`${copy} has applied everything`, ({ copies }) =>
    copies.some(
      ({ site, state, lagWrites, applyLagWrites }) =>
        site === copy && state === "streaming" && lagWrites + applyLagWrites === 0,
    ),
  );
  for (const volume of volumes)
    await assertEqualImages(east.image(volume), cluster.site(copy).image(volume));
}
