import assert from "node:assert/strict";
import { test } from "node:test";
import { assertWestHasAll, exports, killEast, startBunkerBank } from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { copyOf } from "../support/cluster.ts";
import { prefixShownBy, readerOf } from "../support/sets-bank.ts";
import { promoteWest } from "../support/take-over.ts";

// The whole story of a disaster (SPEC 4.4, demos 3 and 5): the primary dies in an open set, the copy is brought up from the
// bunker and takes over, the old primary returns and gets its role back, and hosts write all the while.

const seal = "seal: { every: 5s, bytes: 64MiB }";

test("B8, B12, I5, row 14: after a takeover by replay the old primary returns, gets what it lacks alone, and its role back under load (SPEC 4.4, demos 3 and 5)", async (t) => {
  const bank = await startBunkerBank(t, "probe: 100ms", {
    copies: { vault: "probe: 100ms", west: `probe: 100ms, ${seal}` },
  });
  const { cluster, east, west, toWest } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400, flushEvery: 50 });
  // The copy has whole sets by itself; the one that is open when the primary dies is at the bunker alone.
  await west.until("a set is here", ({ copies: [copy] }) => (copy?.applied ?? 0) > 0);
  toWest.bytesPerSecond = 20_000;
  await writer.more(75);
  await killEast(bank);
  await writer.ended();
  const acked = writer.acked();
  const before = await prefixShownBy(west, writer);
  assert.ok(before < acked, "the copy was behind");
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const held = await promoteWest(bank, writer);
  await writer.reconnect(west.nbd, held);
  await writer.more(100);

  toWest.bytesPerSecond = undefined;
  await east.start();
  await cluster.copyIs("west", "east", "streaming");
  const returned = copyOf(await west.group(), "east");
  const { resyncSentBytes = 0, resyncComparedBytes = 0 } = returned ?? {};
  // Both volumes of 400 blocks of 4 KiB lie within some fifty regions of their 384.
  assert.ok(resyncComparedBytes <= 4 * 2 ** 20, `${resyncComparedBytes} bytes were compared`);
  assert.ok(resyncSentBytes <= resyncComparedBytes, `${resyncSentBytes} bytes were sent`);

  const back = await cluster.cli("failback", "bank", "--to", "east");
  assert.equal(back.code, 0, back.stderr);
  await writer.ended();
  await writer.reconnect(east.nbd);
  for (const copy of ["west", "vault"]) await cluster.copyIs("east", copy, "streaming");
  await writer.more(50);
  await writer.stop();
  assert.ok((await writer.prefixOf(readerOf(east))) >= writer.acked());
  await assertWestHasAll(bank);
  count("row 14", { faultsInjected: 1, effectsSeen: held - before });
});
