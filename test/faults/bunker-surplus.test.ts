import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type BunkerBank, exports, killEast, startBunkerBank } from "../support/bunker-bank.ts";
import { type ChainWriter, startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { copyOf } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";
import { readerOf } from "../support/sets-bank.ts";
import { promoteWest } from "../support/take-over.ts";

// A primary went on without its copy, and the bunker had what it acked: once the copy was brought up from there, whether the
// primary is a split brain when it returns rests on what it acked above the fork, and on nothing else (decision 9).

const replay = ["replay", "bank", "--from", "vault", "--site", "west"] as const;

/** Hosts write on while west is paused: east has on record that it acked without it. */
async function writeAlone(t: TestContext): Promise<{ bank: BunkerBank; writer: ChainWriter }> {
  const bank = await startBunkerBank(t);
  const { cluster, east } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400, flushEvery: 50 });
  await writer.more(60);
  const paused = await cluster.cli("pause", "bank", "--copy", "west");
  assert.equal(paused.code, 0, paused.stderr);
  await cluster.copyIs("east", "west", "paused");
  await writer.more(200);
  return { bank, writer };
}

function isAloneAtEast({ east }: BunkerBank): boolean {
  const { record } = east.inspect();
  return typeof record !== "string" && record.members["west"]?.alone === true;
}

/** East is a copy of west's, with no word of an operator, and has had little compared. */
async function assertResynced({ cluster, east, west }: BunkerBank): Promise<void> {
  await cluster.copyIs("west", "east", "streaming");
  const { resyncComparedBytes = 0, resyncSentBytes = 0 } = copyOf(await west.group(), "east") ?? {};
  // Both volumes of 400 blocks of 4 KiB lie within some fifty regions of their 384.
  assert.ok(resyncComparedBytes > 0, "nothing is taken for equal unseen");
  assert.ok(resyncComparedBytes <= 4 * 2 ** 20, `${resyncComparedBytes} bytes were compared`);
  assert.ok(resyncSentBytes <= resyncComparedBytes, `${resyncSentBytes} bytes were sent`);
  for (const site of [east, west]) {
    assert.deepEqual((await site.group()).splits ?? [], [], `${site.name} tells of a split brain`);
    const told = (await site.events()).filter(({ to }) => to === "split-brain");
    assert.deepEqual(told, [], `${site.name} has told of a split brain`);
  }
}

async function assertEqual({ east, west }: BunkerBank): Promise<void> {
  await west.until("east has it all", (group) => {
    const copy = copyOf(group, "east");
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  for (const volume of ["data", "log"])
    await assertEqualImages(east.image(volume), west.image(volume));
}

/** Both tell of it, and hosts of west's are served all the same. */
async function assertSplit({ cluster, east, west }: BunkerBank): Promise<void> {
  await cluster.copyIs("west", "east", "split-brain");
  for (const site of [east, west])
    await site.until("it tells of the split brain", ({ splits = [] }) => splits.length === 1);
}

test("I29, B8, B12, row 14: a primary that went on without its copy is an ordinary copy again, once that has all it acked from the bunker (decision 9)", async (t) => {
  const { bank, writer } = await writeAlone(t);
  const { cluster, east, west } = bank;
  // What was never acked could be in its journal and at no bunker: then only an operator knows.
  await writer.stop();
  await killEast(bank);
  assert.ok(isAloneAtEast(bank), "it acked without west, on record");
  const replayed = await cluster.cli(...replay);
  assert.equal(replayed.code, 0, replayed.stderr);
  const held = await promoteWest(bank, writer);
  await writer.reconnect(west.nbd, held);
  await writer.more(100);
  await east.start();
  await assertResynced(bank);
  await writer.more(50);
  await writer.stop();
  await assertEqual(bank);
  assert.ok((await writer.prefixOf(readerOf(east))) >= writer.acked());
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("I29, U32, I28: a primary that the bunker turns away under load, and that acked nothing more, is an ordinary copy again (decisions 6 and 9)", async (t) => {
  const { bank, writer } = await writeAlone(t);
  const { cluster, east, west, toEast, toWest } = bank;
  // West hears nothing of it any more, nor it of west; hosts and bunker do.
  for (const way of [toEast, toWest]) {
    way.isClosed = true;
    way.cut();
  }
  await west.until("nobody feeds it, and the bunker answers", ({ bunkers = [] }) =>
    bunkers.some(({ answers }) => answers === true),
  );
  const replayed = await cluster.cli(...replay);
  assert.equal(replayed.code, 0, replayed.stderr);
  await writer
    .ended()
    .then(undefined, (error: unknown) => assert.match(String(error), /error 108/));
  await east.until("it is demoted", ({ role }) => role === "demoted");
  assert.ok(isAloneAtEast(bank), "it acked without west, on record");
  await promoteWest(bank, writer);
  const next = await startChainWriter({ socket: west.nbd, exports, blocks: 400 });
  await next.more(100);
  for (const way of [toEast, toWest]) way.isClosed = false;
  await assertResynced(bank);
  await next.stop();
  await assertEqual(bank);
  count("row 14", { faultsInjected: 1, effectsSeen: 1 });
});

test("I29, B16: a primary whose acks were brought over in part alone is in split brain when it returns (decision 9)", async (t) => {
  const { bank, writer } = await writeAlone(t);
  const { cluster, east, west } = bank;
  await writer.stop();
  await killEast(bank);
  const [own] = (await west.group()).copies;
  const until = Math.floor(((own?.complete ?? 0) + writer.acked()) / 2);
  const replayed = await cluster.cli(...replay, "--until", String(until));
  assert.equal(replayed.code, 0, replayed.stderr);
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await east.start();
  await assertSplit(bank);
  count("row 25", { faultsInjected: 1, effectsSeen: 1 });
});

test("I29, B15: what a primary acked after it had lost its bunker, too, is a surplus: split brain (decision 9)", async (t) => {
  const { bank, writer } = await writeAlone(t);
  const { cluster, east, west, vault } = bank;
  await vault.kill();
  await east.until("the bunker is lost", (group) => copyOf(group, "vault")?.state === "buffering");
  await writer.more(20);
  await writer.stop();
  await killEastAlone(bank);
  await vault.start();
  await west.until("the bunker answers", ({ bunkers = [] }) =>
    bunkers.some(({ answers }) => answers === true),
  );
  const replayed = await cluster.cli(...replay);
  assert.equal(replayed.code, 0, replayed.stderr);
  const promoted = await cluster.cli("promote", "bank", "--site", "west", "--force");
  assert.equal(promoted.code, 0, promoted.stderr);
  await east.start();
  await assertSplit(bank);
  count("row 25", { faultsInjected: 2, effectsSeen: 1 });
});

// No bunker is there that could answer (`killEast`).
async function killEastAlone({ east, toWest }: BunkerBank): Promise<void> {
  await east.kill();
  toWest.cut();
}
