import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { imageReader } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { journalModes } from "../support/in-mode.ts";
import {
  assertCaughtUp,
  assertUntouched,
  flipBit,
  segmentsOf,
  startPair,
  upTo,
  writeBlocks,
} from "../support/log-damage.ts";
import { connectHost } from "../support/nbd-host.ts";

// A primary's journal that is damaged at rest, on real processes: refused with the place named, nothing of it sent or
// skipped, and made good from the image or from the other side.

for (const mode of journalModes) {
  test(`row 45, I34: mode ${mode}: a flipped bit that the sender meets is not sent nor skipped: the copy is tripped, and brought up from the image`, async (t) => {
    const pair = await startPair(t, "16MiB", mode);
    const { east, west } = pair;
    await west.kill();
    await writeBlocks(east, upTo(20));
    const [journal = ""] = segmentsOf(east, "journal");
    // In the payload of the tenth write or so; the journal is read for the copy, and for nobody else.
    flipBit(journal, 10 * 64 * KiB);
    await west.start();
    await assertCaughtUp(pair);
    const events = await east.events();
    const tripped = events.filter(({ kind, to }) => kind === "copy" && to === "tripped");
    assert.equal(tripped.length, 1);
    assert.match(
      tripped[0]?.why ?? "",
      /cannot be read from the journal: .*journal-[0-9a-f-]+\.log: record \d+ at byte \d+.*payload does not match/,
    );
    count("row 45", { faultsInjected: 1, effectsSeen: 1 });
  });
}

test("row 51, I16: a primary whose journal is gone says so, and what its copy may lack is compared", async (t) => {
  const pair = await startPair(t);
  const { east, west } = pair;
  await west.kill();
  await writeBlocks(east, upTo(20));
  await east.kill();
  for (const path of segmentsOf(east, "journal")) fs.rmSync(path);
  await east.start();
  await west.start();
  await assertCaughtUp(pair);
  const events = await east.events();
  assert.ok(
    events.some(({ kind, why }) => kind === "damage" && /the journal .* is gone/.test(why ?? "")),
  );
  count("row 51", { faultsInjected: 1, effectsSeen: 1 });
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
