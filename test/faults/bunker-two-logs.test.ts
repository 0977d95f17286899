import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { loseEast, startBunkerBank } from "../support/bunker-bank.ts";
import { count } from "../support/claims.ts";
import type { TestSite } from "../support/cluster.ts";
import { writeBlocks } from "../support/log-damage.ts";
import { onEnd } from "../support/on-end.ts";
import { readerOf } from "../support/sets-bank.ts";
import { makeTempFolder, removeTempFolder } from "../support/temp-folder.ts";

// A group with a bunker process and a second log on a path: one is replayed, and what the other has decides the promotion.

const onPath = "mirror:bank";

async function startBothBank(t: TestContext) {
  const path = makeTempFolder();
  // Once nobody writes there any more.
  onEnd(t, () => removeTempFolder(path));
  const bank = await startBunkerBank(t, "probe: 100ms, timeout: 1s", {
    groupLines: [`journal: { mirror: ${path} }`],
  });
  await bank.cluster.copyIs("east", onPath, "streaming");
  return bank;
}

async function logsAnswer(west: TestSite): Promise<void> {
  await west.until("both logs answer", ({ bunkers = [] }) =>
    bunkers.every(({ answers }) => answers),
  );
}

test("decision 7c, B13: a log on a path that has nothing more than the bunker that was replayed asks for no force", async (t) => {
  const bank = await startBothBank(t);
  const { cluster, west } = bank;
  const writer = await loseEast(bank, 200);
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  await logsAnswer(west);
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()}`);
  await cluster.copyIs("west", onPath, "streaming");
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("decision 7c, B13: of a log on a path and a bunker's the longer one is named first, with how far it goes, and replayed", async (t) => {
  const bank = await startBothBank(t);
  const { cluster, east, west, toVault } = bank;
  // Where the chain writer does not come to.
  await writeBlocks(east, [100, 101]);
  toVault.isClosed = true;
  toVault.cut();
  await cluster.copyIs("east", "vault", "buffering");
  const writer = await loseEast(bank, 200);
  await logsAnswer(west);
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, 3, refused.stdout);
  const [, lsn] =
    /replay bank --from mirror:bank .*\(mirror:bank: up to LSN (\d+)\)/.exec(refused.stderr) ?? [];
  assert.ok(Number(lsn) >= writer.acked(), refused.stderr);
  const replayed = await cluster.cli("replay", "bank", "--from", onPath, "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()}`);
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});
