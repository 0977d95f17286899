import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { MiB } from "#base/limits.ts";
import { imageReader } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { createCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";
import { onEnd } from "../support/on-end.ts";
import { fill, mountSmallAt, needsRoot } from "../support/small-disk.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";
import { until } from "../support/until.ts";

// The disk under a primary's journal gets full: real processes on a small file system, which others fill.

const volumeBytes = 64 * MiB;
/** Of a MiB each: more than a journal holds of a disk that is full. */
const manyWrites = 120;

/** The data folder of the primary is a file system of this size, and both images lie elsewhere. */
async function startSmall(t: TestContext, overflow: string, size: string) {
  const images = makeTempFolder();
  onEnd(t, () => removeTempFolder(images));
  const at = { east: join(images, "east.img"), west: join(images, "west.img") };
  const cluster = await createCluster(t, {
    groups: { bank: { data: "64MiB" } },
    modes: { west: "async" },
    at: { bank: { data: at } },
    groupLines: [`journal: { size: 1GiB, overflow: ${overflow} }`],
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await mountSmallAt(t, east.data, size);
  await cluster.start();
  await cluster.copyIs("east", "west", "streaming");
  const host = await connectHost(east.nbd, "bank/data");
  onEnd(t, () => host.close());
  let number = 0;
  /** Writes a MiB over and over; the number of the write, and what the host was told. */
  const write = async (by = host): Promise<readonly [number, number]> => {
    number += 1;
    const mine = number;
    const error = await by.write((mine * MiB) % volumeBytes, Buffer.alloc(MiB, mine));
    return [mine, error];
  };
  const assertWhole = async (acked: readonly number[]): Promise<void> => {
    await east.until("west has applied everything", ({ copies: [copy] }) => {
      return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
    });
    await assertEqualImages(at.east, at.west);
    const last = new Map(acked.map((one) => [one % 64, one]));
    const read = imageReader(at.west);
    for (const one of last.values())
      assert.equal(read((one * MiB) % volumeBytes, 1)[0], one & 255, `write ${one}`);
  };
  /** It is told as full once, and as over once room has been there for a while. */
  const assertTold = async (): Promise<void> => {
    let told: (string | undefined)[] = [];
    await until("people hear that it is over", async () => {
      told = (await east.events())
        .filter(({ kind }) => kind === "journal-disk")
        .map(({ to }) => to);
      return told.at(-1) === "ok";
    });
    assert.deepEqual(told, ["full", "ok"]);
  };
  return { cluster, east, west, host, write, assertWhole, assertTold };
}

const isSaid =
  /^the disk under the journal is full: taking room for .*journal-.*ENOSPC.* by itself/;

test(
  "row 40, I25: overflow stall: a disk that is full under the journal makes hosts wait, and they go on by themselves once there is room",
  needsRoot,
  async (t) => {
    const { cluster, east, west, host, write, assertWhole, assertTold } = await startSmall(
      t,
      "stall",
      "300M",
    );
    const pid = east.pid();
    const free = fill(east.data);
    await west.kill();
    const acked: number[] = [];
    const all = Promise.all(
      Array.from({ length: manyWrites }, async () => {
        const [number, error] = await write();
        assert.equal(error, 0);
        acked.push(number);
      }),
    );
    const waiting = await east.until(
      "hosts wait, and it is said for what",
      ({ why, journal }) => isSaid.test(why) && journal.stalledWrites > 0,
    );
    assert.ok(waiting.serving && waiting.journal.bytesMax <= 160 * MiB, "the limit is the disk's");
    const { diskFull } = waiting.journal;
    assert.match(diskFull ?? "", /ENOSPC/);
    assert.deepEqual(waiting.writesHeldUp, { by: "disk", said: diskFull, verdict: "wait" });
    const before = acked.length;
    assert.ok(before > 0 && before < manyWrites, `${before} were answered`);
    assert.equal((await east.copy("west")).state, "buffering", "nothing is tripped");
    const helps = await cluster.cli("why", "bank", "--site", "east");
    assert.match(helps.stdout, /free some space.*by itself, and nothing needs to be restarted/);
    free();
    await all;
    host.close();
    assert.equal(east.pid(), pid, "the same process");
    await east.until("it is over", ({ why, journal }) => why === "" && journal.diskFull === "");
    await west.start();
    await assertWhole(acked);
    assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
    await assertTold();
    count("row 40", { faultsInjected: 1, effectsSeen: manyWrites - before });
  },
);

test(
  "row 40: hosts do not feel a disk that is full under the journal while the copies keep up, from its first write on, and behind a kill",
  needsRoot,
  async (t) => {
    const { east, host, write, assertWhole } = await startSmall(t, "stall", "300M");
    const free = fill(east.data);
    const acked: number[] = [];
    const writeMany = async (by: typeof host): Promise<void> => {
      for (let i = 0; i < 200; i += 1) {
        const [number, error] = await write(by);
        assert.equal(error, 0);
        acked.push(number);
      }
    };
    await writeMany(host);
    host.close();
    await east.kill();
    await east.start();
    await east.until("serves on the full disk", ({ serving }) => serving);
    const again = await connectHost(east.nbd, "bank/data");
    onEnd(t, () => again.close());
    await writeMany(again);
    again.close();
    await assertWhole(acked);
    assert.ok(
      (await east.events()).some(({ kind, to }) => kind === "journal-disk" && to === "full"),
    );
    assert.equal((await east.copy("west")).resyncComparedBytes, 0, "never lost");
    free();
    count("row 40", { faultsInjected: 2, effectsSeen: 2 });
  },
);

test(
  "row 40, I25: overflow fail: a disk that is full under the journal refuses writes and not reads, and takes them again once there is room",
  needsRoot,
  async (t) => {
    const { east, west, host, write, assertWhole, assertTold } = await startSmall(
      t,
      "fail",
      "300M",
    );
    const pid = east.pid();
    const free = fill(east.data);
    await west.kill();
    const acked: number[] = [];
    let refused = 0;
    for (let i = 0; i < manyWrites && refused < 5; i += 1) {
      const [number, error] = await write();
      if (error === 0) acked.push(number);
      else {
        assert.equal(error, 28, "ENOSPC");
        refused += 1;
      }
    }
    assert.ok(acked.length > 0 && refused === 5, `${acked.length} were answered`);
    assert.match((await east.group()).why, isSaid);
    assert.equal((await host.read(0, 4096)).length, 4096);
    free();
    await east.until("it is over", ({ why }) => why === "");
    for (let i = 0; i < 64; i += 1) {
      const [number, error] = await write();
      assert.equal(error, 0);
      acked.push(number);
    }
    host.close();
    assert.equal(east.pid(), pid, "the same process");
    await west.start();
    await assertWhole(acked);
    await assertTold();
    count("row 40", { faultsInjected: 1, effectsSeen: refused });
  },
);

test(
  "row 40, I16, I25: overflow trip: where the disk under the journal is full the copy is tripped, bits first; hosts go on in what is cut, also behind a kill, and the copy gets it all",
  needsRoot,
  async (t) => {
    const { east, west, host, write, assertWhole } = await startSmall(t, "trip", "300M");
    await west.kill();
    const acked: number[] = [];
    const writeMany = async (many: number): Promise<void> => {
      for (let i = 0; i < many; i += 1) {
        const [number, error] = await write();
        assert.equal(error, 0);
        acked.push(number);
      }
    };
    await writeMany(150);
    const free = fill(east.data);
    // More than the file system ever had for them.
    await writeMany(400);
    const { journal, copies } = await east.group();
    assert.equal(copies[0]?.state, "tripped");
    assert.equal(copies[0]?.dirtyBytes, volumeBytes, "the dirty map has it all");
    const trip = (await east.events()).find(({ copy, to }) => copy === "west" && to === "tripped");
    assert.match(trip?.why ?? "", /the disk under the journal is full .*ENOSPC/);
    assert.ok(journal.bytesUsed < 300 * MiB);
    host.close();
    await east.kill();
    await east.start();
    await east.until("serves on the full disk", ({ serving }) => serving);
    assert.equal((await east.copy("west")).dirtyBytes, volumeBytes);
    await west.start();
    await assertWhole(acked);
    free();
    count("row 40", { faultsInjected: 1, effectsSeen: 1 });
  },
);
