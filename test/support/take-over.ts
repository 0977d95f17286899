import assert from "node:assert/strict";
import type { ChainWriter } from "./chain-writer.ts";
import type { TestCluster, TestSite } from "./cluster.ts";
import { readerOf } from "./sets-bank.ts";

/** A bank whose primary is lost, and the copy that a log brought up. */
export type Survivors = { readonly cluster: TestCluster; readonly west: TestSite };

/**
 * Waits until the copy has noticed that its feeder is gone: while that one's connection counts as alive, a replay is refused.
 * The log that it is to be brought up from answers it by then.
 */
export async function untilNobodyFeeds(site: TestSite): Promise<void> {
  await site.until("nobody feeds it, and the log answers", ({ bunkers = [] }) =>
    bunkers.some(({ answers }) => answers === true),
  );
}

/** West becomes the primary without force, and has every acked write. Gives up to which one it has. */
export async function promoteWest(
  { cluster, west }: Survivors,
  writer: ChainWriter,
): Promise<number> {
  const acked = writer.acked();
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= acked, `${held} of ${acked} acked writes`);
  return held;
}

/** The same, and hosts go on there to their end, once the group protects itself again: the log begins anew for west (U40). */
export async function takeOver(bank: Survivors, writer: ChainWriter, log: string): Promise<void> {
  const held = await promoteWest(bank, writer);
  await bank.cluster.copyIs("west", log, "streaming");
  await writer.reconnect(bank.west.nbd, held);
  await writer.more(50);
  await writer.stop();
}
