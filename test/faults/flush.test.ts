import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MiB } from "#base/limits.ts";
import { stampedBlock } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster } from "../support/cluster.ts";
import { type LabDisk, startLabDisk } from "../support/lab-disk.ts";
import { connectHost, type NbdHost } from "../support/nbd-host.ts";
import { missing } from "../support/needs.ts";
import { until } from "../support/until.ts";

// What must have happened on both disks before a host is answered: the test holds each disk in turn and sees that the host
// waits for it.

const needs = { skip: missing("libnbd-bin", "fuse3") };

type Bench = {
  readonly cluster: TestCluster;
  readonly host: NbdHost;
  readonly disks: Readonly<Record<"east" | "west", LabDisk>>;
};

async function startBench(t: TestContext, groupLines: readonly string[] = []): Promise<Bench> {
  const disks = { east: await startLabDisk(t, 8 * MiB), west: await startLabDisk(t, 8 * MiB) };
  const cluster = await startCluster(t, {
    at: { bank: { data: { east: disks.east.path, west: disks.west.path } } },
    copies: { west: "probe: 100ms, timeout: 20s, ackTimeout: 20s" },
    groupLines,
  });
  return { cluster, host: await connectHost(cluster.site("east").nbd, "bank/data"), disks };
}

/** Two answers of each site's engine: whatever it had received before has been worked off. */
async function engineTurns({ cluster }: Bench): Promise<void> {
  for (const site of ["east", "west", "east", "west"]) await cluster.site(site).group();
}

const requests: readonly (readonly [
  name: string,
  lines: readonly string[],
  ask: (host: NbdHost) => Promise<number>,
])[] = [
  ["FLUSH", [], (host) => host.flush()],
  ["a write with FUA", [], (host) => host.write(0, stampedBlock(0, 2), { fua: true })],
  [
    "at durability write every write",
    ["durability: write"],
    (host) => host.write(0, stampedBlock(0, 2)),
  ],
];

for (const [name, lines, ask] of requests) {
  test(`F1, I2: ${name} is answered when both images are synced, not before`, needs, async (t) => {
    const bench = await startBench(t, lines);
    const { host, disks } = bench;
    assert.equal(await host.write(0, stampedBlock(0, 1)), 0);
    for (const [first, last] of [
      ["east", "west"],
      ["west", "east"],
    ] as const) {
      assert.equal(await host.write(4096, stampedBlock(1, 1)), 0);
      for (const disk of Object.values(disks)) disk.hold("flush");
      const before = disks[last].done("flush");
      const asked = ask(host);
      await until(`${last} is asked to sync`, () => disks[last].waiting("flush") > 0);
      await until(`${first} is asked to sync`, () => disks[first].waiting("flush") > 0);
      disks[first].release();
      await engineTurns(bench);
      assert.equal(host.pending(), 1, `answered without ${last}`);
      disks[last].release();
      assert.equal(await asked, 0);
      assert.ok(disks[last].done("flush") > before);
    }
    assert.deepEqual(disks.east.content.subarray(0, 8192), disks.west.content.subarray(0, 8192));
    host.close();
    count("F1", { faultsInjected: 2, effectsSeen: 2 });
  });
}

test("F1, I1: a write is answered when both images took it, not before", needs, async (t) => {
  const bench = await startBench(t);
  const { host, disks } = bench;
  for (const site of ["east", "west"] as const) {
    disks[site].hold("write");
    const asked = host.write(0, stampedBlock(0, site === "east" ? 1 : 2));
    await until(`${site} is written to`, () => disks[site].waiting("write") > 0);
    await bench.cluster.site(site === "east" ? "west" : "east").group();
    assert.equal(host.pending(), 1, `answered without ${site}`);
    disks[site].release();
    assert.equal(await asked, 0);
    assert.deepEqual(disks.east.content.subarray(0, 4096), disks.west.content.subarray(0, 4096));
  }
  host.close();
});
