import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { limits } from "#base/limits.ts";
import { count } from "../support/claims.ts";
import { assertEqualImages } from "../support/images.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import { until } from "../support/until.ts";

// A link that carries a small part of what hosts want to write (PEERS N12): nobody is lost, nothing goes to and fro.

const MiB = 1 << 20;
/** A long run asks for more: `ANTIPODE_SECONDS=600 npm test -- cycle-pace`. */
const atLeastMs = Number(process.env["ANTIPODE_SECONDS"] ?? 20) * 1000;

test("A17, I25, row 7: on a link at a tenth hosts are slowed down before the journal is full, and no copy changes its state (U10)", async (t) => {
  const { cluster, toWest } = await startLinkedCluster(t, {
    groups: { bank: { data: "64MiB" } },
    modes: { west: "cycle" },
    // What ends a session here is the journal, if anything, and no standstill of the machine.
    copies: { west: "probe: 100ms, timeout: 20s, every: 100ms, ackAt: journal" },
    groupLines: ["journal: { size: 256MiB, overflow: stall }"],
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const before = (await east.events()).length;
  // Each block once: folding makes nothing less.
  toWest.bytesPerSecond = 12 * MiB;
  const host = await connectHost(east.nbd, "bank/data");
  // Where nothing has been drained yet there is no pace to go at, and a fast host would have all the room (SPEC-async.md).
  for (let i = 0; i < 8; i += 1) assert.equal(await host.write(i * MiB, Buffer.alloc(MiB, i)), 0);
  await east.until("west has drained what came first", ({ copies: [copy] }) => {
    return copy?.lagWrites === 0;
  });
  let written = 0;
  let isTold = false;
  let longestMs = 0;
  const beganMs = Date.now();
  const write = async (): Promise<void> => {
    while (written < 190 || !isTold || Date.now() - beganMs < atLeastMs) {
      written += 1;
      const at = (written * MiB) % (64 * MiB);
      const askedMs = Date.now();
      assert.equal(await host.write(at, Buffer.alloc(MiB, written)), 0);
      longestMs = Math.max(longestMs, Date.now() - askedMs);
    }
  };
  const writers = Promise.all([write(), write(), write(), write()]);
  await east.until("hosts are slowed down", ({ journal }) => journal.isPacing);
  await until("why says so", async () => {
    const { stdout } = await cluster.cli("why", "bank", "--site", "east");
    return stdout.includes("hosts of bank are slowed down");
  });
  isTold = true;
  let usedMax = 0;
  let isOver = false;
  const watch = async (): Promise<void> => {
    while (!isOver) {
      usedMax = Math.max(usedMax, (await east.group()).journal.bytesUsed);
      await sleep(20);
    }
  };
  const watched = watch();
  await writers;
  isOver = true;
  await watched;
  const full = 256 * MiB - limits.journalMarginBytes;
  t.diagnostic(`used ${usedMax} of ${full}`);
  assert.ok(usedMax < full, `${usedMax} of ${full}: it never came to a stall`);
  const told = ["copy", "link", "journal"];
  const changes = (await east.events()).slice(before).filter(({ kind }) => told.includes(kind));
  assert.deepEqual(changes, [], "not one flap");
  host.close();
  toWest.bytesPerSecond = undefined;
  await east.until("west has everything", ({ copies: [copy] }) => {
    return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  const after = await east.until("nobody is slowed down", ({ journal }) => !journal.isPacing);
  assert.equal(after.copies[0]?.state, "streaming");
  await assertEqualImages(east.image(), west.image());
  const seconds = Math.round((Date.now() - beganMs) / 1000);
  t.diagnostic(`${written} MiB in ${seconds} s, the longest write took ${longestMs} ms`);
  count("row 7", { faultsInjected: 1, effectsSeen: 1 });
});
