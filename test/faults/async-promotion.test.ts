import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import { inMode, journalModes } from "../support/in-mode.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import { exports, readerOf } from "../support/sets-bank.ts";

// What the promotion of an asynchronous copy gives, beside what was said before of it.

for (const mode of journalModes)
  test(`I6, I33, I8, decision 7: mode ${mode}: what a failover loses are the latest writes alone, on both volumes, and no more than the lag that was shown last (row 12)`, async (t) => {
    const { cluster, toWest } = await startLinkedCluster(
      t,
      inMode({ groups: { bank: { data: "16MiB", log: "8MiB" } } }, mode),
    );
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startChainWriter({
      socket: east.nbd,
      exports,
      blocks: 200,
      flushEvery: 30,
    });
    await writer.more(100);
    // It takes seconds for what the hosts write, also where they are slow.
    toWest.bytesPerSecond = 100_000;
    await writer.more(300);
    // Every write has the LSN of its number, so that what is said can be compared with what is there.
    const before = writer.acked();
    const shown = await east.copy("west");
    const told = (await west.group()).copies[0];
    await writer.more(20);
    // Hosts are quicker than the link all the while.
    await west.until("it was told what it lacks", ({ copies: [own] }) => {
      return (own?.lagWrites ?? 0) > 0 && (own?.lagBytes ?? 0) > 0;
    });
    await east.kill();
    await writer.ended();
    const acked = writer.acked();
    assert.ok(shown.lagWrites > 0 && shown.lagBytes > 0, "the copy was behind");
    assert.ok(shown.lagWrites >= before - shown.complete);
    const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
    assert.equal(promoted.code, 0, promoted.stderr);
    const highest = await writer.prefixOf(readerOf(west));
    const plan =
      /lacks \d+ writes known, LSN (\d+) to (\d+), sets \d+ to \d+, at most (\d+) bytes(?: up to LSN (\d+))?, and whatever east acked since we last heard of it \(.* ago\)/.exec(
        promoted.stdout,
      );
    const [first = 0, last = 0, bytes = 0, upTo = 0] = (plan ?? [])
      .slice(1)
      .map((one) => Number(one ?? 0));
    assert.equal(first, highest + 1, promoted.stdout);
    assert.ok(last >= first && last <= acked + 1, promoted.stdout);
    assert.ok(bytes >= ((upTo || last) - highest) * 4096, promoted.stdout);
    assert.ok(highest >= shown.complete, `I33: ${highest} of ${shown.complete} that were complete`);
    assert.ok(
      highest >= (told?.applied ?? 0) && highest >= (told?.complete ?? 0),
      "as the copy said",
    );
    const lost = acked - highest;
    assert.ok(lost > 0 && lost <= shown.lagWrites + (acked - before), `I6: ${lost} writes lost`);
    await writer.reconnect(west.nbd, highest);
    await writer.more(50);
    await writer.stop();
    await west.until("idle", ({ requestsInFlight }) => requestsInFlight === 0);
    assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
    count("row 12", { faultsInjected: 1, effectsSeen: lost });
  });

test("I30: an asynchronous copy in the midst of a resync is not promoted without force, which says what it would be (row 11)", async (t) => {
  const { cluster, toWest } = await startLinkedCluster(t, {
    groups: { bank: { data: "16MiB" } },
    modes: { west: "async" },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const host = await connectHost(east.nbd, "bank/data");
  for (let number = 0; number < 8; number += 1)
    assert.equal(await host.write(number * MiB, Buffer.alloc(MiB, number + 1)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
  await east.until(
    "all is there",
    ({ copies: [copy] }) => copy?.lagWrites === 0 && copy.applyLagWrites === 0,
  );
  // A set that is not on record as applied would be applied again.
  await west.until("it is on record", () => {
    const { record } = west.inspect();
    return typeof record !== "string" && record.applied?.lsn === 8;
  });
  await west.kill();
  // What the compare will find, and will take long to bring over.
  fs.writeFileSync(west.image(), Buffer.alloc(16 * MiB));
  await west.start();
  await cluster.copyIs("east", "west", "streaming");
  toWest.bytesPerSecond = 500_000;
  const full = await cluster.cli("resync", "bank", "--copy", "west", "--full");
  assert.equal(full.code, 0, full.stderr);
  await west.until("it is in the midst", ({ copies: [copy] }) => copy?.image === "synchronizing");
  await east.until(
    "regions are under way",
    ({ copies: [copy] }) => (copy?.resyncSentBytes ?? 0) > 0,
  );
  await east.kill();
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(refused.stderr, /resync|synchronizing|consistent/);
  assert.equal((await west.group()).role, "secondary");
  // The primary comes back, and the resync ends what it began.
  toWest.bytesPerSecond = undefined;
  await east.start();
  await east.until(
    "all is well",
    ({ copies: [copy] }) => copy?.state === "streaming" && copy.image === "consistent",
  );
  count("row 11", { faultsInjected: 1, effectsSeen: 1 });
});

test("I33: who was not fed since its start shows itself in the mode of its file, and as consistent at best", async (t) => {
  for (const mode of ["async", "cycle", "sync"] as const) {
    const cluster = await startCluster(t, { modes: { west: mode } });
    const west = cluster.site("west");
    await cluster.copyIs("east", "west", mode === "sync" ? "synchronized" : "streaming");
    await cluster.site("east").kill();
    await west.kill();
    await west.start();
    const own = (await west.group()).copies[0];
    assert.equal(own?.mode, mode);
    assert.equal(own.image, "consistent");
    await west.stop();
  }
});
