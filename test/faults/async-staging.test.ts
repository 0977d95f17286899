import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { MiB } from "#base/limits.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import {
  assertCaughtUp,
  assertUntouched,
  flipBit,
  segmentsOf,
  startPair,
  upTo,
  writeBlocks,
} from "../support/log-damage.ts";
import { until } from "../support/until.ts";

// A copy's staging log that is damaged at rest, on real processes: refused with the place named, nothing of it applied,
// and made good from the primary.

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
    // Now and then what is on record is all that it has told: then the log holds nothing that could be missed.
    await until("it is killed with more told than on record", async () => {
      await cluster.copyIs("east", "west", "streaming");
      await writer.more(300);
      await west.kill();
      const { record } = west.inspect();
      assert.ok(typeof record !== "string");
      const { complete } = await east.copy("west");
      const isBehind = (record.applied?.lsn ?? 0) < complete;
      if (!isBehind) await west.start();
      return isBehind;
    });
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

function withHeaderCrc(segment: Buffer): Buffer {
  segment.writeUInt32LE(crc32c(segment.subarray(0, 60)), 60);
  return segment;
}
