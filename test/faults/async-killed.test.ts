import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { imageReader } from "../support/acked-writer.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { payloadOf, type SeenFrame, type Verdict } from "../support/frame-proxy.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLabDisk } from "../support/lab-disk.ts";
import { missing } from "../support/needs.ts";
import {
  assertCaughtUp,
  blockBytes,
  commit,
  exports,
  inspectSet,
  prefixShownBy,
  readerOf,
  setsOf,
  startBank,
} from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// Copies and primaries that are killed -9 at the moments that matter, and what the copy's images are then.

const cycles = {
  modes: { west: "cycle" },
  copies: { west: "probe: 100ms, timeout: 20s, every: 2s, ackAt: journal" },
} as const;
const sevens = Buffer.alloc(blockBytes, 7);

for (const mode of ["async", "cycle"] as const)
  test(
    `S18, S21, I21: mode ${mode}: killed while it applies a complete set, the copy has all of it after a restart, with nothing sent again (row 17) (SPEC 4.4, demo 4)`,
    { skip: missing("libnbd-bin", "fuse3") },
    async (t) => {
      const disk = await startLabDisk(t, 16 * MiB);
      const at = { bank: { data: { west: disk.path } } };
      const bank = await startBank(t, mode === "cycle" ? { at, ...cycles } : { at });
      const { east, west, toWest, data } = bank;
      const heldIn = (block: number): number => disk.content[block * blockBytes] ?? 0;
      let set = 0;
      toWest.forth = (frame) => {
        set ||= setsOf(frame)[0] ?? 0;
        return "pass";
      };
      // Its process stands still in its first write to the volume: the set is complete by then, and hardly applied.
      disk.hold("write");
      // All at once: a cycle that ended between them would make two sets of it.
      const at13 = [data.write(13 * blockBytes, sevens), bank.log.write(13 * blockBytes, sevens)];
      const others = [10, 11, 12].map((block) => data.write(block * blockBytes, sevens));
      assert.deepEqual(await Promise.all([...others, ...at13]), [0, 0, 0, 0, 0]);
      assert.equal(await data.flush(), 0);
      await until("the set is being applied", () => disk.waiting("write") > 0);
      const found = await inspectSet(bank, set);
      assert.deepEqual([found?.complete, found?.applied], [true, false], "S18: complete before");
      assert.deepEqual([10, 11, 12, 13].map(heldIn), [0, 0, 0, 0], "S18: and never applied before");
      toWest.isClosed = true;
      toWest.cut();
      const again: Entry[] = [];
      toWest.forth = (frame) => {
        again.push(...frame.entries.filter((entry) => entry.set <= set));
        return "pass";
      };
      // The kill waits for the write that is under way, which takes effect: the set is half there.
      const gone = west.kill();
      disk.release();
      await gone;
      assert.ok([10, 11, 12, 13].map(heldIn).includes(0), "the kill came in the midst of the set");
      await west.start();
      await west.until("it is applied", ({ copies }) => copies[0]?.applied === 5);
      assert.deepEqual([10, 11, 12, 13].map(heldIn), [7, 7, 7, 7]);
      const [inLog] = imageReader(west.image("log"))(13 * blockBytes, 1);
      assert.equal(inLog, 7, "on the other volume, too");
      toWest.isClosed = false;
      await east.until("all is there", ({ copies: [copy] }) => copy?.state === "streaming");
      await commit(bank, 14, 8);
      await east.until("all is there", ({ copies: [copy] }) => copy?.applied === 7);
      assert.deepEqual(again, [], "S21: nothing of it was sent again");
      await assertEqualImages(east.image(), disk.path);
      count("row 17", { faultsInjected: 1, effectsSeen: 1 });
    },
  );

/** Where the set of each write ends, from what passed by the proxy. */
class SetBounds {
  readonly #setOf = new Map<number, number>();

  note(frame: SeenFrame): void {
    for (const entry of frame.entries.filter(({ kind }) => kind === "write")) {
      const number = Number(Buffer.from(payloadOf(frame, entry)).readBigUInt64LE(0));
      // A write without a reply is made again, in a later set: the first attempt is what ends a set.
      this.#setOf.set(number, Math.min(this.#setOf.get(number) ?? Infinity, entry.set));
    }
  }

  /** Whether a set ends behind this write: the set test. */
  isEnd(number: number): boolean {
    const own = this.#setOf.get(number) ?? 0;
    return number === 0 || own < (this.#setOf.get(number + 1) ?? Infinity);
  }
}

test("I8, I10, I11, I14, row 12: after each kill and cut, whatever comes in whatever order, the copy's images are the end of a set, and never an earlier one", async (t) => {
  const bank = await startBank(t, {
    copies: { west: "probe: 100ms, timeout: 20s, seal: { every: 30ms, bytes: 64KiB }" },
  });
  const { east, west, toWest, cluster } = bank;
  const bounds = new SetBounds();
  // Every few batches the latest comes first; what is held when the link is cut never comes.
  const shuffled = (frame: SeenFrame): Verdict => {
    bounds.note(frame);
    if (frame.entries.length === 0) return "pass";
    if (toWest.held().length >= 5) setImmediate(() => toWest.release((held) => held.toReversed()));
    return "hold";
  };
  const straight = (frame: SeenFrame): Verdict => {
    bounds.note(frame);
    return "pass";
  };
  toWest.forth = shuffled;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 80, flushEvery: 9 });
  let before = 0;
  let complete = 0;
  let moved = 0;
  const faults = ["cut", "copy", "primary", "copy", "primary", "cut"] as const;
  for (const fault of faults) {
    await writer.more(150);
    // The fault comes in the midst of sets, however long the first of them took.
    const { copies } = await east.until("the copy comes on", ({ copies: [copy] }) => {
      return (copy?.complete ?? 0) > complete;
    });
    complete = copies[0]?.complete ?? 0;
    if (fault === "primary") {
      await east.kill();
      await writer.ended();
    }
    toWest.isClosed = true;
    toWest.cut();
    if (fault === "copy") {
      await west.kill();
      await west.start();
    }
    const prefix = await prefixShownBy(west, writer);
    assert.ok(prefix <= writer.acked() + 1, "I8");
    assert.ok(bounds.isEnd(prefix), `I10: write ${prefix} is the last of its set`);
    assert.ok(prefix >= before, `I14: from ${before} to ${prefix}`);
    if (prefix > before) moved += 1;
    before = prefix;
    toWest.isClosed = false;
    if (fault === "primary") {
      await east.start();
      await east.until("serves", ({ serving }) => serving);
      await writer.reconnect(east.nbd);
    }
    await cluster.copyIs("east", "west", "streaming");
    const { complete: later } = await east.copy("west");
    assert.ok(later >= complete, "I14: what was told to be complete stays so");
    complete = later;
  }
  toWest.forth = straight;
  toWest.release();
  await writer.more(50);
  await writer.stop();
  await assertCaughtUp(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "the journal had it all");
  assert.ok(moved >= 4, `the copy came on in ${moved} of ${faults.length} rounds`);
  count("row 12", { faultsInjected: faults.length, effectsSeen: moved });
});
