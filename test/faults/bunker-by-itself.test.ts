import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { exports, killEast, loseEast, startBunkerBank } from "../support/bunker-bank.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import type { TestSite } from "../support/cluster.ts";
import { until } from "../support/until.ts";
import { takeOver } from "../support/take-over.ts";

// `replay: auto`: nobody gives a command. What is waited for is always that something is there, or told of.

const soon = "probe: 100ms, replay: auto, replayAfter: 1s";
/** Long beyond any test: it waits, and does not begin. */
const late = "probe: 100ms, replay: auto, replayAfter: 10h";

async function toldOf(site: TestSite, kind: string): Promise<string[]> {
  return (await site.events()).filter((event) => event.kind === kind).map(({ why }) => why);
}

async function untilReplayed(west: TestSite): Promise<void> {
  await west.until("it was brought up", ({ bunkers = [] }) =>
    bunkers.some(({ isReplayed }) => isReplayed),
  );
}

async function assertBegunByItself(west: TestSite): Promise<number> {
  const begun = (await toldOf(west, "replay")).filter((why) => why.startsWith("begun"));
  assert.match(begun[0] ?? "", /^begun automatically, after 1 s of silence of east: /);
  return Number(/: from vault: LSN \d+ to \d+, (\d+) writes/.exec(begun.join(" "))?.[1] ?? 0);
}

test("U32, B8, I5, row 14: a primary is lost with its data, and its bunker brings the copy up without a word", async (t) => {
  const bank = await startBunkerBank(t, soon);
  const { cluster, west } = bank;
  const writer = await loseEast(bank, 800);
  await untilReplayed(west);
  const writes = await assertBegunByItself(west);
  assert.ok(writes > 0, "the copy was behind");
  const group = await west.group();
  assert.equal(group.role, "secondary", "nothing is promoted by itself");
  assert.equal(group.autoReplay, undefined, "it is done");
  const { stdout } = await cluster.cli("why", "bank", "--site", "west");
  assert.match(stdout, /antipode promote bank --site west \(the log of vault has been replayed/);
  await takeOver(bank, writer, "vault");
  count("row 14", { faultsInjected: 1, effectsSeen: writes });
});

test("U32, I28: a primary that the copy alone does not hear goes on acking, and nothing is replayed by itself (decision 6)", async (t) => {
  // A machine that has much to do may stand still for seconds, and that is no loss of a primary.
  const bank = await startBunkerBank(t, "probe: 100ms, replay: auto, replayAfter: 10s");
  const { cluster, east, west, toWest, toEast } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400 });
  await writer.more(100);
  for (const way of [toWest, toEast]) {
    way.isClosed = true;
    way.cut();
  }
  await until("it would have begun", async () => (await toldOf(west, "autoReplay")).length > 0);
  await writer.more(200);
  const [first] = (await west.group()).copies;
  await west.until("nothing happens for as long again", ({ copies: [own] }) => {
    return (own?.lagSeconds ?? 0) > 5 + (first?.lagSeconds ?? 0);
  });
  await writer.more(200);
  const { autoReplay } = await west.group();
  assert.equal(autoReplay?.inSeconds, null);
  assert.match(autoReplay?.why ?? "", /^vault hears east, which lives/);
  const told = await toldOf(west, "autoReplay");
  assert.equal(told.filter((why) => /vault hears east/.test(why)).length, 1, told.join("\n"));
  assert.deepEqual(await toldOf(west, "replay"), []);
  for (const asked of ["why", "status"]) {
    const { stdout } = await cluster.cli(asked, "bank", "--site", "west");
    assert.match(stdout, /no replay from vault begins by itself: vault hears east/);
  }
  assert.equal((await east.group()).role, "primary");
  for (const way of [toWest, toEast]) way.isClosed = false;
  await cluster.copyIs("east", "west", "streaming");
  await writer.more(50);
  await writer.stop();
  await west.until("east is there again", (group) => group.autoReplay === undefined);
  count("row 23", { faultsInjected: 1, effectsSeen: 1 });
});

test("U32, B8, row 15: a copy that is started after the loss counts from its start, and is brought up", async (t) => {
  const bank = await startBunkerBank(t, soon);
  const { east, west, toWest, toEast } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400, flushEvery: 30 });
  await writer.more(50);
  toWest.bytesPerSecond = 20_000;
  await writer.more(400);
  await west.kill();
  await Promise.all([east.kill(), toEast.close()]);
  await writer.ended();
  fs.rmSync(east.data, { recursive: true });
  await west.start();
  await untilReplayed(west);
  assert.ok((await assertBegunByItself(west)) > 0, "the copy was behind");
  await takeOver(bank, writer, "vault");
  count("row 15", { faultsInjected: 2, effectsSeen: 1 });
});

test("U32: what an operator has called off, or paused, does not begin by itself, also after a restart of the copy", async (t) => {
  const bank = await startBunkerBank(t, late);
  const { cluster, east, west } = bank;
  const at = ["--site", "west"] as const;
  const barred = (words: RegExp): Promise<unknown> =>
    west.until(String(words), ({ autoReplay: own }) => {
      return own !== undefined && own.inSeconds === null && words.test(own.why);
    });
  const waits = (): Promise<unknown> =>
    west.until("it waits", ({ autoReplay: own }) => (own?.inSeconds ?? 0) > 0);
  await killEast(bank);
  await waits();
  const { stdout } = await cluster.cli("why", "bank", ...at);
  assert.match(
    stdout,
    /a replay from vault begins by itself in \d+s, at .*Z; antipode replay bank --cancel/,
  );
  const paused = await cluster.cli("pause", "bank", "--copy", "west", ...at);
  assert.equal(paused.code, 0, paused.stderr);
  await barred(/paused west/);
  await west.kill();
  await west.start();
  await barred(/paused west/);
  const resumed = await cluster.cli("resume", "bank", "--copy", "west", ...at);
  assert.equal(resumed.code, 0, resumed.stderr);
  await waits();
  const off = await cluster.cli("replay", "bank", "--cancel", "--from", "vault", ...at);
  assert.equal(off.code, 0, off.stderr);
  await barred(/called a replay off/);
  await west.kill();
  await west.start();
  await barred(/called a replay off/);
  // The primary is back, and that is over.
  await east.start();
  await cluster.copyIs("east", "west", "streaming");
  await cluster.copyIs("east", "vault", "streaming");
  await killEast(bank);
  await waits();
  // An operator's own word needs no silence.
  const replayed = await cluster.cli("replay", "bank", "--from", "vault", ...at);
  assert.equal(replayed.code, 0, replayed.stderr);
  await untilReplayed(west);
  assert.equal((await west.group()).autoReplay, undefined);
});
