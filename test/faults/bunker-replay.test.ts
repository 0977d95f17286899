import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  assertWestHasAll,
  exports,
  killEast,
  loseEast,
  startBunkerBank,
  twoCopiesAndBunker,
} from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import { flipBit, upTo, writeBlocks } from "../support/log-damage.ts";
import { readerOf } from "../support/sets-bank.ts";
import { takeOver, untilNobodyFeeds } from "../support/take-over.ts";
import { until } from "../support/until.ts";

// What a bunker is for: the primary is gone with all that it had, and the copy far away had not got everything.

/** A long run asks for more: `ANTIPODE_ROUNDS=100 npm test -- bunker-replay --name "no acked write"`. */
const rounds = Number(process.env["ANTIPODE_ROUNDS"] ?? 3);

for (let round = 1; round <= rounds; round += 1) {
  test(`B6, B8, B10, I5, row 14: a primary is lost with its data, and no acked write is (round ${round})`, async (t) => {
    const bank = await startBunkerBank(t);
    const { cluster, west } = bank;
    const writer = await loseEast(bank, 400 * (1 + (round % 3)));
    const acked = writer.acked();
    const [before] = (await west.group()).copies;
    assert.ok((before?.complete ?? 0) < acked, "the copy was behind");
    const early = await cluster.cli("promote", "bank", "--site", "west");
    assert.equal(early.code, 3, early.stdout);
    assert.match(early.stderr, /replay bank --from vault/);
    const replayFirst = /antipode replay bank --from vault --site west, then antipode promote bank/;
    for (const asked of [
      ["why", "bank"],
      ["why", "bank", "--site", "west"],
      ["status", "bank"],
    ])
      assert.match((await cluster.cli(...asked)).stdout, replayFirst);
    const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
    assert.equal(replayed.code, 0, replayed.stderr);
    const [, fromLsn] = /from vault: LSN (\d+) to \d+/.exec(replayed.stdout) ?? [];
    assert.ok(Number(fromLsn) > (before?.complete ?? 0), "nothing that the copy has comes again");
    const { stdout: helped } = await cluster.cli("why", "bank", "--site", "west");
    assert.match(helped, /antipode promote bank --site west \(the log of vault has been replayed/);
    await takeOver(bank, writer, "vault");
    count("row 14", { faultsInjected: 1, effectsSeen: acked - (before?.complete ?? 0) });
  });
}

test("B6, I5, row 14: a primary that falls silent and ends no connection does not keep a replay from its copy", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, west, toWest } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400 });
  // What the copy does not get any more, the bunker does.
  toWest.bytesPerSecond = 4096;
  await writer.more(200);
  east.signal("SIGSTOP");
  await west.until("the primary is missed, and the log answers", ({ bunkers = [] }) =>
    bunkers.some(({ answers }) => answers === true),
  );
  const replay = ["replay", "bank", "--from", "vault", "--site", "west"];
  // Its connection counts as alive until west has missed it for long enough, by west's own clock: a standstill of west
  // begins that anew, so that a dry run that finds nothing promises nothing. The hint says to give the command again.
  await until("nobody feeds the copy", async () => {
    const replayed = await cluster.cli(...replay);
    if (replayed.code === 0) return true;
    assert.match(replayed.stderr, /east feeds this copy[^]*give the command again/);
    return false;
  });
  await east.kill();
  await takeOver(bank, writer, "vault");
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("B16, I5, row 14: a replay that ends early leaves a state of the host's, says what is given up, and goes on", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, west } = bank;
  const writer = await loseEast(bank, 800);
  const acked = writer.acked();
  const [before] = (await west.group()).copies;
  const until = Math.floor(((before?.complete ?? 0) + acked) / 2);
  const args = ["replay", "bank", "--from", "vault", "--site", "west"] as const;
  const planned = await cluster.cli(...args, "--until", String(until), "--dry-run");
  assert.equal(planned.code, 0, planned.stderr);
  assert.match(planned.stdout, /not replayed: LSN \d+ to \d+/);
  const replayed = await cluster.cli(...args, "--until", String(until));
  assert.equal(replayed.code, 0, replayed.stderr);
  const [, from, to, writes] =
    /given up unless it is replayed: LSN (\d+) to (\d+), (\d+) writes, [\d.]+ MiB/.exec(
      replayed.stdout,
    ) ?? [];
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held <= until && held > (before?.complete ?? 0), `${held}, asked for ${until}`);
  assert.deepEqual([Number(from), Number(to) >= acked], [held + 1, true]);
  assert.equal(Number(writes), Number(to) - held, "every write has an LSN of its own");
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(refused.stderr, new RegExp(`LSN ${held + 1} to ${to}`));
  const rest = await cluster.cli(...args);
  assert.equal(rest.code, 0, rest.stderr);
  assert.equal((await cluster.cli("promote", "bank", "--site", "west")).code, 0);
  assert.ok((await writer.prefixOf(readerOf(west))) >= acked);
  const events = await west.events();
  const told = events.filter(({ kind }) => kind === "replay");
  const first = (before?.complete ?? 0) + 1;
  assert.deepEqual(
    told.map(({ why, copy, fromLsn, toLsn }) => [why.split(/[ ,]/, 1)[0], copy, fromLsn, toLsn]),
    [
      ["begun", "vault", first, held],
      ["ended", "vault", first, held],
      ["begun", "vault", held + 1, Number(to)],
      ["ended", "vault", held + 1, Number(to)],
    ],
    "B9: each is recorded, with its range",
  );
  for (const { why, time } of told.filter(({ why: words }) => words.startsWith("begun")))
    assert.ok(why.startsWith("begun by an operator: ") && !Number.isNaN(Date.parse(time)), why);
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("B16, B9, row 14: a replay that is stopped after a time leaves a state of the host's, and says what is given up", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, west, toLog } = bank;
  const writer = await loseEast(bank, 800);
  const [before] = (await west.group()).copies;
  // It cannot have come to the end by then, and has begun long before.
  toLog.bytesPerSecond = 80_000;
  const args = ["replay", "bank", "--from", "vault", "--site", "west"] as const;
  const replayed = await cluster.cli(...args, "--stop-after", "8s");
  assert.equal(replayed.code, 0, replayed.stderr);
  const [, from, to] =
    /given up unless it is replayed: LSN (\d+) to (\d+)/.exec(replayed.stdout) ?? [];
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held > (before?.complete ?? 0), "something was replayed");
  assert.deepEqual([Number(from), Number(to) >= writer.acked()], [held + 1, true]);
  const events = await west.events();
  const told = events.filter(({ kind }) => kind === "replay").map(({ why }) => why);
  assert.ok(told.some((why) => new RegExp(`ended, .*LSN ${from} to ${to}`).test(why)));
  toLog.bytesPerSecond = undefined;
  assert.equal((await cluster.cli(...args)).code, 0);
  assert.ok((await writer.prefixOf(readerOf(west))) >= writer.acked());
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("I27: a primary that was demoted has nothing to replay from the log of its own generation, and gets its role back", async (t) => {
  const { cluster } = await startBunkerBank(t);
  const demoted = await cluster.cli("demote", "bank", "--site", "east");
  assert.equal(demoted.code, 0, demoted.stderr);
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "east");
  assert.equal(replayed.code, 3, replayed.stdout);
  assert.match(replayed.stderr, /until it was demoted, and has what it acked/);
  assert.match(replayed.stderr, /antipode promote bank --site east/);
  const promoted = await cluster.cli("promote", "bank", "--site", "east");
  assert.equal(promoted.code, 0, promoted.stderr);
});

test("U32, I28: a primary that still reaches the bunker stops acking at the replay (decision 6)", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, west, toWest, toEast } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400 });
  await writer.more(100);
  const answered = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(answered.code, 3, answered.stdout);
  assert.match(answered.stderr, /east feeds this copy|east answers/);
  // East and west do not reach each other any more; both reach the bunker.
  for (const way of [toWest, toEast]) {
    way.isClosed = true;
    way.cut();
  }
  await writer.more(100);
  await untilNobodyFeeds(west);
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  await east.until("it has given up its role", ({ role }) => role === "demoted");
  await writer
    .ended()
    .then(undefined, (error: unknown) => assert.match(String(error), /error 108/));
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()}`);
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("B12, B16, I16: a primary that returns before the takeover goes on, once the replay is called off", async (t) => {
  const seal = "seal: { every: 20s, bytes: 64MiB }";
  const bank = await startBunkerBank(t, "probe: 100ms", {
    copies: { vault: "probe: 100ms", west: `probe: 100ms, ${seal}` },
  });
  const { cluster, east, west, vault, toWest, toVault } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400 });
  await writer.more(100);
  toWest.isClosed = true;
  toWest.cut();
  await cluster.copyIs("east", "west", "buffering");
  await writer.more(200);
  // The last set goes on at the primary, and the bunker knows nothing of that.
  toVault.isClosed = true;
  toVault.cut();
  await writer.more(3);
  await cluster.copyIs("east", "vault", "buffering");
  await killEast(bank);
  await writer.ended();
  const args = ["replay", "bank", "--from", "vault", "--site", "west"] as const;
  assert.equal((await cluster.cli(...args)).code, 0);
  const brought = await writer.prefixOf(readerOf(west));
  assert.ok(brought >= 300 && brought <= writer.acked(), `${brought} of ${writer.acked()}`);
  const planned = await cluster.cli(...args, "--cancel", "--dry-run");
  assert.equal(planned.code, 0, planned.stderr);
  assert.match(planned.stdout, /east goes on in generation 1/);
  assert.match((await vault.copy("vault")).why, /activated for a replay to west/);
  const cancelled = await cluster.cli(...args, "--cancel");
  assert.equal(cancelled.code, 0, cancelled.stderr);
  for (const way of [toWest, toVault]) way.isClosed = false;
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  assert.equal((await east.group()).generation, 1);
  for (const copy of ["west", "vault"]) await cluster.copyIs("east", copy, "streaming");
  await writer.reconnect(east.nbd);
  await writer.more(50);
  await writer.stop();
  await assertWestHasAll(bank);
  // It protects itself again as ever.
  await killEast(bank);
  assert.equal((await cluster.cli(...args)).code, 0);
  assert.equal((await cluster.cli("promote", "bank", "--site", "west")).code, 0);
  const late = await cluster.cli(...args, "--cancel");
  assert.equal(late.code, 3, late.stdout);
  assert.match(late.stderr, /west is the primary of bank/);
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("B9, B12: a bunker whose copy is gone for good is freed at another site, by force, and brings up another copy", async (t) => {
  const cluster = await startCluster(t, twoCopiesAndBunker);
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && north !== undefined);
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400, flushEvery: 30 });
  await writer.more(200);
  await east.kill();
  await writer.ended();
  for (const copy of [west, north]) await untilNobodyFeeds(copy);
  const from = ["replay", "bank", "--from", "vault"] as const;
  const toWest = await cluster.cli(...from, "--site", "west");
  assert.equal(toWest.code, 0, toWest.stderr);
  const cancel = async (...more: readonly string[]) => cluster.cli(...from, "--cancel", ...more);
  const answers = await cancel("--site", "north", "--force");
  assert.equal(answers.code, 3, answers.stdout);
  assert.match(answers.stderr, /activated for a replay to west, which answers/);
  await west.kill();
  fs.rmSync(west.data, { recursive: true });
  const held = await cluster.cli(...from, "--site", "north");
  assert.equal(held.code, 3, held.stdout);
  assert.match(held.stderr, /activated for a replay to west already\nhint: .*--force, here, if/);
  const unforced = await cancel("--site", "north");
  assert.equal(unforced.code, 3, unforced.stdout);
  assert.match(unforced.stderr, /west, which does not answer\nhint: .*--force/);
  // At the bunker itself it is the same.
  for (const site of ["north", "vault"]) {
    const planned = await cancel("--site", site, "--force", "--dry-run");
    assert.equal(planned.code, 0, planned.stderr);
    assert.match(planned.stdout, /vault may bring up another copy.*\n.*both sides have written/);
  }
  assert.match((await cluster.site("vault").copy("vault")).why, /activated for a replay to west/);
  const freed = await cancel("--site", "vault", "--force");
  assert.equal(freed.code, 0, freed.stderr);
  const toNorth = await cluster.cli(...from, "--site", "north");
  assert.equal(toNorth.code, 0, toNorth.stderr);
  const promoted = await cluster.cli("promote", "bank", "--site", "north");
  assert.equal(promoted.code, 0, promoted.stderr);
  const has = await writer.prefixOf(readerOf(north));
  assert.ok(has >= writer.acked(), `${has} of ${writer.acked()} acked writes`);
  await cluster.copyIs("north", "vault", "streaming");
  count("row 14", { faultsInjected: 2, effectsSeen: 1 });
});

test("B9, row 46: a bunker that is busy is called that by a replay and by its cancel alike, with what to do", async (t) => {
  const bank = await startBunkerBank(t);
  const { cluster, east, vault } = bank;
  await writeBlocks(east, upTo(5));
  await vault.kill();
  const folder = join(vault.data, "bank");
  const [name = ""] = fs.readdirSync(folder).filter((each) => /^bunker-.*\.log$/.test(each));
  flipBit(join(folder, name), 300);
  await vault.start();
  await killEast(bank);
  const replay = ["replay", "bank", "--from", "vault", "--site", "west"];
  for (const more of [[], ["--dry-run"], ["--cancel"]]) {
    const { code, stderr } = await cluster.cli(...replay, ...more);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /vault is busy: the log of this bunker cannot be used/);
    assert.match(stderr, /nothing was changed; antipode why bank --site vault .* again/);
  }
  count("row 46", { faultsInjected: 1, effectsSeen: 3 });
});
