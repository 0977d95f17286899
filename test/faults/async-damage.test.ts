import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { KiB, MiB } from "#base/limits.ts";
import { imageReader } from "../support/acked-writer.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { connectHost } from "../support/nbd-host.ts";

// Logs that are damaged at rest, at the primary and at a copy, on real processes: refused with the place named, nothing of them
// applied, and made good from the other side.

type Pair = {
  readonly cluster: TestCluster;
  readonly east: TestSite;
  readonly west: TestSite;
};

async function startPair(t: TestContext, size = "16MiB"): Promise<Pair> {
  const cluster = await startCluster(t, {
    groups: { bank: { data: size } },
    modes: { west: "async" },
  });
  return { cluster, east: cluster.site("east"), west: cluster.site("west") };
}

/** Writes a block of 64 KiB for each number, filled with it, and flushes each: one set and a synced record each. */
async function writeBlocks(east: TestSite, numbers: readonly number[]): Promise<void> {
  const host = await connectHost(east.nbd, "bank/data");
  for (const number of numbers) {
    assert.equal(await host.write(number * 64 * KiB, Buffer.alloc(64 * KiB, number)), 0);
    assert.equal(await host.flush(), 0);
  }
  host.close();
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

async function assertCaughtUp({ east, west }: Pair): Promise<void> {
  await east.until("west has applied everything", ({ copies: [copy] }) => {
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  await assertEqualImages(east.image(), west.image());
}

/** The segments of a site's log, the oldest first. */
function segmentsOf(site: TestSite, kind: "journal" | "staging"): string[] {
  const folder = join(site.data, "bank");
  const names = fs.readdirSync(folder).filter((name) => name.startsWith(`${kind}-`));
  return names.toSorted().map((name) => join(folder, name));
}

/** Turns one bit of a file over, in place: whoever has it open sees that, too. */
function flipBit(path: string, at: number): void {
  const fd = fs.openSync(path, "r+");
  const byte = Buffer.alloc(1);
  fs.readSync(fd, byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  fs.writeSync(fd, byte, 0, 1, at);
  fs.closeSync(fd);
}

/** The log's files are as they were: nothing was cut, nothing was made. */
function assertUntouched(paths: readonly string[], before: readonly Buffer[]): void {
  for (const [index, path] of paths.entries())
    assert.ok(before[index]?.equals(fs.readFileSync(path)), `${path} was changed`);
}

test("row 45, I34: a flipped bit that the sender meets is not sent nor skipped, and a full compare brings what it hides", async (t) => {
  const pair = await startPair(t);
  const { cluster, east, west } = pair;
  await west.kill();
  await writeBlocks(east, upTo(20));
  const [journal = ""] = segmentsOf(east, "journal");
  // In the payload of the tenth write or so; the journal is read for the copy, and for nobody else.
  flipBit(journal, 10 * 64 * KiB);
  await west.start();
  const { copies } = await east.until("the damage is met", ({ copies: [copy] }) =>
    /payload does not match/.test(copy?.why ?? ""),
  );
  assert.match(copies[0]?.why ?? "", /journal-[0-9a-f-]+\.log: record \d+ at byte \d+/);
  const held = (): number[] =>
    upTo(20).filter((number) => imageReader(west.image())(number * 64 * KiB, 1)[0] === number);
  await west.until("what is sound is applied", () => held().length > 0);
  assert.deepEqual(held(), upTo(held().length), "nothing behind the damage");
  assert.ok(held().length < 11, `${held().length} of 20`);
  const full = await cluster.cli("resync", "bank", "--copy", "west", "--full", "--wait");
  assert.equal(full.code, 0, full.stderr);
  await assertCaughtUp(pair);
  assert.deepEqual(held(), upTo(20));
  count("row 45", { faultsInjected: 1, effectsSeen: 1 });
});

test("row 46: a primary that refuses its journal is succeeded by its copy, and comes back as a copy when it is taken away", async (t) => {
  const pair = await startPair(t);
  const { cluster, east, west } = pair;
  await writeBlocks(east, upTo(20));
  await east.until("all is there", ({ copies: [copy] }) => copy?.lagWrites === 0);
  await east.kill();
  const paths = segmentsOf(east, "journal");
  for (const path of paths) flipBit(path, 300);
  const damaged = paths.map((path) => fs.readFileSync(path));
  await east.start();
  const { serving, why } = await east.group();
  assert.equal(serving, false);
  assert.match(
    why,
    /the journal cannot be used: .*journal-[0-9a-f-]+\.log: record \d+ at byte \d+/,
  );
  assertUntouched(paths, damaged);
  await east.kill();
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await writeBlocks(west, [21]);
  for (const path of paths) fs.rmSync(path);
  await east.start();
  await cluster.copyIs("west", "east", "streaming");
  await assertCaughtUp({ cluster, east: west, west: east });
  assert.equal(imageReader(east.image())(21 * 64 * KiB, 1)[0], 21);
  count("row 46", { faultsInjected: 1, effectsSeen: 1 });
});

for (const [what, lost] of [
  ["last record is torn", 100],
  ["later half is gone", 5 * 64 * KiB],
] as const)
  test(`row 46, I16: a journal whose ${what} is cut there, and what it lost is brought over from the image`, async (t) => {
    const pair = await startPair(t);
    const { east, west } = pair;
    await west.kill();
    await writeBlocks(east, upTo(10));
    await east.kill();
    const [journal = ""] = segmentsOf(east, "journal");
    fs.truncateSync(journal, fs.statSync(journal).size - lost);
    await east.start();
    await east.until("serves", ({ serving }) => serving);
    for (const number of upTo(10))
      assert.equal(imageReader(east.image())(number * 64 * KiB, 1)[0], number);
    await west.start();
    await assertCaughtUp(pair);
  });

/** What may be done to a copy's staging log at rest, and what its site has to say of it. */
const damages = [
  {
    name: "a flipped bit in a head",
    damage: (path: string) => flipBit(path, 64 + 20),
    why: /record 1 at byte 64: the checksum of its head does not match; .* this is no torn end/,
  },
  {
    name: "a flipped bit in the segment's header",
    damage: (path: string) => flipBit(path, 40),
    why: /the checksum of its header does not match/,
  },
  {
    name: "another log in its place",
    damage: (path: string) => {
      const bytes = fs.readFileSync(path);
      const foreign = Buffer.from(bytes);
      // A whole header of another log, as its own site would have made it.
      foreign.writeUInt32LE(0xdeadbeef, 8);
      fs.writeFileSync(path, withHeaderCrc(foreign));
    },
    why: /it is not of the log that the group's record names/,
  },
];

test("row 46, row 49, I34: a copy refuses a staging log that was damaged at rest, with the place, and applies nothing of it", async (t) => {
  const pair = await startPair(t);
  const { cluster, east, west } = pair;
  await writeBlocks(east, upTo(20));
  await assertCaughtUp(pair);
  await west.kill();
  await writeBlocks(east, [21]);
  const [path = ""] = segmentsOf(west, "staging");
  const sound = fs.readFileSync(path);
  const image = fs.readFileSync(west.image());
  for (const { name, damage, why } of damages) {
    damage(path);
    const damaged = fs.readFileSync(path);
    await west.start();
    const group = await west.until("it refuses", (seen) => seen.why.includes("staging"));
    assert.match(group.why, /the staging log cannot be used: .*staging-[0-9a-f-]+\.log/, name);
    assert.match(group.why, why, name);
    assert.ok(fs.readFileSync(west.image()).equals(image), `${name}: the image is untouched`);
    await west.kill();
    assertUntouched([path], [damaged]);
    fs.writeFileSync(path, sound);
  }
  await west.start();
  await assertCaughtUp(pair);
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "as it was, it is taken again");

  // What no command mends is filled anew from the primary.
  await west.kill();
  flipBit(segmentsOf(west, "staging")[0] ?? "", 64 + 20);
  fs.rmSync(join(west.data, "bank"), { recursive: true });
  await west.start();
  const full = await cluster.cli("resync", "bank", "--copy", "west", "--full", "--wait");
  assert.equal(full.code, 0, full.stderr);
  await assertCaughtUp(pair);
  count("row 46", { faultsInjected: damages.length, effectsSeen: damages.length });
});

/** A log that ends too early looks like one that was torn; the copy's own word of before tells. */
const losses = {
  "is gone": (path: string) => fs.rmSync(path),
  "was cut short": (path: string) => fs.truncateSync(path, Math.floor(fs.statSync(path).size / 2)),
};

for (const [what, lose] of Object.entries(losses)) {
  test(`row 48, I16: a copy whose staging log ${what} is behind its own word, and is compared throughout`, async (t) => {
    const pair = await startPair(t);
    const { cluster, east, west } = pair;
    const writer = await startChainWriter({
      socket: east.nbd,
      exports: ["bank/data"],
      blocks: 500,
      flushEvery: 20,
    });
    await writer.more(300);
    await west.kill();
    const { record } = west.inspect();
    assert.ok(typeof record !== "string");
    const { complete } = await east.copy("west");
    assert.ok((record.applied?.lsn ?? 0) < complete, "it was told more than the record has");
    for (const path of segmentsOf(west, "staging")) lose(path);
    await west.start();
    await cluster.copyIs("east", "west", "streaming");
    await writer.stop();
    await assertCaughtUp(pair);
    const { resyncComparedBytes } = await east.copy("west");
    assert.ok(resyncComparedBytes >= 16 * MiB, `${resyncComparedBytes} bytes compared`);
    count("row 48", { faultsInjected: 1, effectsSeen: 1 });
  });
}

test("I17, row 51: the journal keeps all that a copy lacks though the images have it; a missing segment is refused with its records", async (t) => {
  const pair = await startPair(t, "32MiB");
  const { east, west } = pair;
  await west.kill();
  const host = await connectHost(east.nbd, "bank/data");
  for (let number = 0; number < 150; number += 1) {
    assert.equal(await host.write((number % 32) * MiB, Buffer.alloc(MiB, number)), 0);
    // What is written behind a FLUSH says how far the journal was synced.
    if (number % 10 === 0) assert.equal(await host.flush(), 0);
  }
  host.close();
  const { journal } = await east.group();
  assert.ok(journal.bytesUsed > 150 * MiB, "I17: nothing of it went");
  await east.kill();
  const paths = segmentsOf(east, "journal");
  assert.equal(paths.length, 3);
  const [, middle = ""] = paths;
  fs.renameSync(middle, `${middle}.away`);
  await east.start();
  const { serving, why } = await east.until("it refuses", (group) => group.why !== "starting");
  assert.equal(serving, false);
  assert.ok(why.includes(`${middle} is missing, with the records`), why);
  assert.match(why, /with the records \d+ to \d+; all records up to \d+ were synced/);
  assert.ok(!fs.existsSync(middle), "nothing was made in its place");
  await east.kill();
  fs.renameSync(`${middle}.away`, middle);
  await east.start();
  await east.until("serves", ({ serving: serves }) => serves);
  await west.start();
  await assertCaughtUp(pair);
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "I17: the journal had it all");
  await east.until("the journal is let go", (group) => group.journal.bytesUsed <= 64 * MiB);
  assert.ok(segmentsOf(east, "journal").length < 3, "I17: what everybody has goes");
  count("row 51", { faultsInjected: 1, effectsSeen: 1 });
});

function withHeaderCrc(segment: Buffer): Buffer {
  segment.writeUInt32LE(crc32c(segment.subarray(0, 60)), 60);
  return segment;
}
