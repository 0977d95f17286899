import assert from "node:assert/strict";
import { test } from "node:test";
import type { TraceLine } from "#ports/events.ts";
import { startCluster, type TestSite } from "../support/cluster.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { connectHost } from "../support/nbd-host.ts";

// What the traces of both sites tell of the way of sets.

const entries = (lines: readonly TraceLine[], dir: "in" | "out"): TraceLine[] =>
  lines.filter((line) => line.dir === dir && ["write", "zero", "seal"].includes(line.kind));

async function caughtUp(east: TestSite): Promise<void> {
  await east.until("west has applied everything", ({ copies }) => {
    const copy = copies[0];
    return copy?.lagWrites === 0 && copy.applyLagWrites === 0;
  });
}

test("S1, S2, S3, S7, S23: replies come first, sets are streamed while open, and applied one after the other", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "16MiB", log: "8MiB" } },
    modes: { west: "async" },
    copies: {
      west: "probe: 100ms, timeout: 20s, seal: { every: 300ms, bytes: 1MiB, onFlush: false }",
    },
    isTraced: true,
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const exports = ["bank/data", "bank/log"];
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 300 });
  await writer.more(2000);
  await writer.stop();
  await caughtUp(east);
  const sent = east.trace();
  const writes = entries(sent, "out").filter(({ kind }) => kind === "write");
  const seals = entries(sent, "out").filter(({ kind }) => kind === "seal");
  assert.ok(writes.length >= 2000 && seals.length > 2);

  const places = new Set(writes.map(({ set, index }) => `${set}:${index}`));
  assert.equal(places.size, writes.length, "S7: every write has a place of its own");
  const sealPlaces = seals.map(({ set, index }) => `${set}:${index}`);
  assert.ok(
    sealPlaces.every((place) => !places.has(place)),
    "S7: and SEAL another",
  );
  const without = writes.find(({ set }) => (set ?? 0) === 0);
  assert.equal(without, undefined, "S2: every write has a set");

  const sentAt = new Map(writes.map((line) => [line.lsn, sent.indexOf(line)]));
  const ackedAt = new Map(
    sent.flatMap((line, at) => (line.kind === "ack-write" ? [[line.lsn, at] as const] : [])),
  );
  const ackFirst = [...sentAt].filter(([lsn, at]) => (ackedAt.get(lsn) ?? Infinity) < at);
  assert.ok(
    ackFirst.length > writes.length / 2,
    `S1: ${ackFirst.length} of ${writes.length} acked first`,
  );

  const received = west.trace();
  const firstSeal = received.findIndex(({ kind, index }) => kind === "seal" && (index ?? 0) > 10);
  const itsSet = received[firstSeal]?.set;
  const before = received
    .slice(0, firstSeal)
    .filter(({ kind, set }) => kind === "write" && set === itsSet);
  assert.ok(before.length > 0, "S3: writes of a set are there before it is sealed");

  const applied = received.filter(({ kind }) => kind === "applied").map(({ set }) => set ?? 0);
  assert.deepEqual(
    applied,
    applied.toSorted((a, b) => a - b),
    "S23",
  );
  assert.equal(new Set(applied).size, applied.length, "S23: each set once");
});

test("S4, S6: a FLUSH closes a set; an idle group's recovery point moves on by empty sets", async (t) => {
  const cluster = await startCluster(t, { modes: { west: "async" }, isTraced: true });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const host = await connectHost(east.nbd, "bank/data");
  assert.equal(await host.write(0, Buffer.alloc(4096, 1)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
  await caughtUp(east);
  const { set } = await east.group();
  const later = await east.until("empty sets go on", (group) => group.set >= set + 2);
  assert.equal(later.lsn, 1, "without a write");
  const own = await west.until("they are applied", ({ copies }) => copies[0]?.applied === 1);
  assert.equal(own.copies[0]?.complete, 1);
});
