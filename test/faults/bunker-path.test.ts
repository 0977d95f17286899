import assert from "node:assert/strict";
import { test } from "node:test";
import { count } from "../support/claims.ts";
import {
  loseEast,
  partSites,
  secondLog,
  startPathBank,
  startWriter,
} from "../support/path-bank.ts";
import { readerOf } from "../support/sets-bank.ts";
import { takeOver, untilNobodyFeeds } from "../support/take-over.ts";

// A second log on a path: no process keeps it, and whoever reaches the path has it.

test("U37, B13, B8, I5, row 14: a primary is lost with its data, and the log on the path has every acked write", async (t) => {
  const bank = await startPathBank(t);
  const { cluster, west, path } = bank;
  const writer = await startWriter(bank);
  await loseEast(bank, writer, 300);
  const acked = writer.acked();
  const [before] = (await west.group()).copies;
  assert.ok((before?.complete ?? 0) < acked, "the copy was behind");
  const early = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(early.code, 3, early.stdout);
  assert.match(early.stderr, /replay bank --from mirror:bank/);
  const args = ["replay", "bank", "--from", path, "--site", "west"] as const;
  const until = Math.floor(((before?.complete ?? 0) + acked) / 2);
  const some = await cluster.cli(...args, "--until", String(until));
  assert.equal(some.code, 0, some.stderr);
  const reached = await writer.prefixOf(readerOf(west));
  assert.ok(
    reached <= until && reached > (before?.complete ?? 0),
    `${reached}, asked for ${until}`,
  );
  const replayed = await cluster.cli(...args);
  assert.equal(replayed.code, 0, replayed.stderr);
  await takeOver(bank, writer, secondLog);
  count("row 14", { faultsInjected: 1, effectsSeen: acked - (before?.complete ?? 0) });
});

test("B13, U32, I28: a primary that still reaches the path stops acking once the log is taken (decision 6)", async (t) => {
  const bank = await startPathBank(t);
  const { cluster, east, west, path } = bank;
  const writer = await startWriter(bank);
  const args = ["replay", "bank", "--from", path, "--site", "west"] as const;
  const answered = await cluster.cli(...args);
  assert.equal(answered.code, 3, answered.stdout);
  assert.match(answered.stderr, /east feeds this copy|east answers/);
  partSites(bank);
  await writer.more(100);
  await untilNobodyFeeds(west);
  const replayed = await cluster.cli(...args);
  assert.equal(replayed.code, 0, replayed.stderr);
  await east.until("it has given up its role", ({ role }) => role === "demoted");
  await writer
    .ended()
    .then(undefined, (error: unknown) => assert.match(String(error), /error 108/));
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()}`);
  // What it wrote before it looked is behind the end that is on record, and stays there.
  assert.equal((await cluster.cli(...args)).code, 0);
  assert.equal(await writer.prefixOf(readerOf(west)), held);
  assert.equal((await cluster.cli("promote", "bank", "--site", "west")).code, 0);
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("B13, B12, U32: a primary that returns finds the log taken, and goes on once the replay was called off", async (t) => {
  const bank = await startPathBank(t);
  const { cluster, east, west, path, toWest, toEast } = bank;
  const writer = await startWriter(bank);
  toWest.isClosed = true;
  toWest.cut();
  await writer.more(50);
  await east.kill();
  await writer.ended();
  await untilNobodyFeeds(west);
  const args = ["replay", "bank", "--from", path, "--site", "west"] as const;
  assert.equal((await cluster.cli(...args)).code, 0);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held >= writer.acked(), `${held} of ${writer.acked()}`);
  const cancelled = await cluster.cli(...args, "--cancel");
  assert.equal(cancelled.code, 0, cancelled.stderr);
  toWest.isClosed = false;
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  for (const copy of ["west", secondLog]) await cluster.copyIs("east", copy, "streaming");
  await writer.reconnect(east.nbd);
  await writer.more(20);
  await east.kill();
  await writer.ended();
  await untilNobodyFeeds(west);
  // Taken again: this time nobody calls it off, and the old primary finds it so at its start.
  assert.equal((await cluster.cli(...args)).code, 0);
  partSites({ toWest, toEast });
  await east.start();
  await east.until("has given up its role", ({ role }) => role === "demoted");
  count("row 14", { faultsInjected: 2, effectsSeen: 2 });
});
