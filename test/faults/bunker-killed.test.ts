import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type BunkerBank,
  exports,
  killEast,
  loseEast,
  startBunkerBank,
} from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import type { Outcome } from "../support/cluster.ts";
import { prefixShownBy, readerOf } from "../support/sets-bank.ts";

// Replays that are cut short by a death: the same command again ends them.

/** Replays to west until it has got something and not all; whatever `kill` does then ends the command. */
async function cutReplay(
  { cluster, west, toLog }: BunkerBank,
  kill: () => Promise<void>,
): Promise<Outcome> {
  const [before] = (await west.group()).copies;
  toLog.bytesPerSecond = 400_000;
  const replaying = cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  await west.until("the replay has brought something", ({ copies: [copy] }) => {
    return copy?.state === "replaying" && copy.complete > (before?.complete ?? 0);
  });
  // What is on its way is lost with whom it comes from.
  toLog.cut();
  await kill();
  toLog.bytesPerSecond = undefined;
  return replaying;
}

async function isCutAndEnds(t: TestContext, who: "west" | "vault"): Promise<void> {
  const bank = await startBunkerBank(t);
  const { cluster, west } = bank;
  const writer = await loseEast(bank, 1500);
  const [begun] = (await west.group()).copies;
  let cuts = 0;
  for (const signal of ["first", "second"]) {
    const site = cluster.site(who);
    const cut = await cutReplay(bank, () => site.kill());
    assert.notEqual(cut.code, 0, `the ${signal} replay came to its end: ${cut.stdout}`);
    cuts += 1;
    if (who === "vault") {
      const told = (await west.events()).filter(({ kind }) => kind === "replay").at(-1);
      assert.match(told?.why ?? "", /^cut short, LSN \d+ to \d+; this copy has everything up to/);
    }
    // What is here is a state of the host's, and no worse than before.
    await site.start();
    assert.ok((await prefixShownBy(west, writer)) >= (begun?.applied ?? 0));
    const refused = await cluster.cli("promote", "bank", "--site", "west");
    assert.equal(refused.code, 3, refused.stdout);
  }
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const again = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stdout, /nothing that this copy lacks/);
  assert.equal((await cluster.cli("promote", "bank", "--site", "west")).code, 0);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()} acked writes`);
  count("row 15", { faultsInjected: cuts, effectsSeen: cuts });
}

test("B11, I27, row 15: the bunker is killed in the midst of a replay, twice; the same command ends it, and nothing is lost", (t) =>
  isCutAndEnds(t, "vault"));

test("B11, I27, row 15, row 52: the copy is killed in the midst of a replay, twice; the same command ends it, and nothing is lost", (t) =>
  isCutAndEnds(t, "west"));

test("I28, row 15, row 21: a copy that was killed in the midst of a replay takes nothing from the old primary, nor after it", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, west, toWest, toVault } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400 });
  await writer.more(50);
  toWest.bytesPerSecond = 20_000;
  await writer.more(1500);
  await killEast(bank);
  await writer.ended();
  const cut = await cutReplay(bank, () => west.kill());
  assert.notEqual(cut.code, 0, cut.stdout);
  await west.start();
  // It comes back, and reaches the copy alone: what that was sent by the bunker is no part of what it would send.
  toWest.bytesPerSecond = undefined;
  toVault.isClosed = true;
  await east.start();
  await east.until("it has given up its role, and says why", ({ role, copies: [own] }) => {
    return role === "demoted" && /west was brought up from the log of vault/.test(own?.why ?? "");
  });
  const args = ["replay", "bank", "--from", "vault", "--site", "west"] as const;
  // Its return may be meant: then the plan says that it has given up its role.
  const planned = await cluster.cli(...args, "--cancel", "--dry-run");
  assert.match(planned.stdout, /antipode promote bank --site east/, planned.stderr);
  const replayed = await cluster.cli(...args);
  assert.equal(replayed.code, 0, replayed.stderr);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()}`);
  for (const row of ["row 15", "row 21"]) count(row, { faultsInjected: 1, effectsSeen: 1 });
});
