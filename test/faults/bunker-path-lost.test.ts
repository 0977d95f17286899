import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { count } from "../support/claims.ts";
import { copyOf } from "../support/cluster.ts";
import {
  killEast,
  loseEast,
  secondLog,
  slowDown,
  startPathBank,
  startWriter,
} from "../support/path-bank.ts";
import type { LastWord, PathBank } from "../support/path-bank.ts";
import { losePower, readSynced } from "../support/power-cut.ts";
import { readerOf } from "../support/sets-bank.ts";
import { fill, mountSmall, needsRoot } from "../support/small-disk.ts";
import { untilNobodyFeeds } from "../support/take-over.ts";

// A second log whose path is lost: hosts go on, and what that means is on record before the first of them is answered.

/** Hosts are answered, the loss is on record and told, and `status` says why. */
async function assertGoesOn({ east, cluster }: PathBank, why: RegExp): Promise<void> {
  await cluster.copyIs("east", secondLog, "buffering");
  await east.until("it says why", (group) => why.test(copyOf(group, secondLog)?.why ?? ""));
  const { record } = east.inspect();
  assert.ok(typeof record === "object");
  assert.equal(record.members[secondLog]?.alone, true, "on record");
  // It tries again and again: which attempt is the last one by now, nobody knows.
  const told = (await east.events()).filter(
    ({ kind, copy }) => kind === "copy" && copy === secondLog,
  );
  assert.ok(told.some(({ to }) => to === "buffering"));
}

test(
  "B13, B15, row 16: the path's file system is full: hosts go on, on record, until there is room",
  needsRoot,
  async (t) => {
    const bank = await startPathBank(t, await mountSmall(t, "16m"));
    const { cluster, east, path } = bank;
    const writer = await startWriter(bank);
    const free = fill(path);
    await cluster.copyIs("east", secondLog, "buffering");
    await writer.more(200);
    // What is written while the log waits for room, that small disk must have room for.
    await writer.stop();
    await assertGoesOn(bank, /ENOSPC|no space/i);
    const { stdout } = await cluster.cli("why", "bank", "--site", "east");
    assert.match(stdout, /nothing needs to be restarted/);
    free();
    await cluster.copyIs("east", secondLog, "streaming");
    await writer.reconnect(east.nbd);
    await writer.more(20);
    await writer.stop();
    count("row 16", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test("B13, B15, row 16: the log's folder is removed: hosts go on, on record, and the log begins anew", async (t) => {
  const bank = await startPathBank(t);
  const { cluster, west, path } = bank;
  const writer = await startWriter(bank);
  fs.renameSync(path, `${path}.away`);
  await writer.more(50);
  await assertGoesOn(bank, /ENOENT/);
  // What lies there is of the past, and whoever puts it back brings no old state back.
  fs.mkdirSync(path);
  await cluster.copyIs("east", secondLog, "streaming");
  assert.ok(fs.existsSync(join(path, "bank", "log.owner")));
  fs.rmSync(`${path}.away`, { recursive: true });
  const lastWord = await loseEast(bank, writer, 100);
  const replayed = await cluster.cli("replay", "bank", "--from", path, "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const held = await writer.prefixOf(readerOf(west));
  const seen = { held, acked: writer.acked(), replayed: replayed.stdout, ...lastWord };
  const evidence = JSON.stringify(seen, undefined, 1);
  if (lastWord.record.members[secondLog]?.alone === true) {
    await assertLostOnceMore(bank, { ...lastWord, held }, evidence);
  } else {
    assert.doesNotMatch(replayed.stdout, /did not have everything|went on without/, evidence);
    assert.ok(held >= writer.acked(), evidence);
  }
  count("row 16", { faultsInjected: 1, effectsSeen: 1 });
});

/**
 * A machine that has too much to do may lose the log once more, by the policy: only what was acked since may be missing then,
 * the loss was told, and nobody is told that nothing is lost.
 */
async function assertLostOnceMore(
  { cluster }: PathBank,
  { held, events }: LastWord & { readonly held: number },
  evidence: string,
): Promise<void> {
  const last = events.findLast(({ kind, copy }) => kind === "copy" && copy === secondLog);
  assert.notEqual(last?.to, "streaming", evidence);
  const whole = events.findLast(
    ({ kind, why }) => kind === "log" && why.startsWith("has everything that is acked"),
  );
  // Every write has an LSN, from 1 on.
  const wholeLsn = Number(/up to LSN (\d+)$/.exec(whole?.why ?? "")?.[1]);
  assert.ok(held >= wholeLsn, evidence);
  const { stdout, stderr } = await cluster.cli("promote", "bank", "--site", "west", "--dry-run");
  const told = `${stdout}${stderr}`;
  assert.match(told, /unknown/, `${told}${evidence}`);
  assert.doesNotMatch(told, /nothing .*is lost/, `${told}${evidence}`);
}

test("B15, B12, I33, row 16: who was told that the primary goes on without its second log does not take that one for whole", async (t) => {
  const bank = await startPathBank(t);
  const { cluster, west, path } = bank;
  const writer = await startWriter(bank);
  slowDown(bank);
  fs.renameSync(path, `${path}.away`);
  await cluster.copyIs("east", secondLog, "buffering");
  await writer.more(100);
  await writer.stop();
  const acked = writer.acked();
  await west.until("it has heard of every write", ({ copies: [own] }) => {
    return own !== undefined && (own.complete ?? 0) + own.lagWrites >= acked;
  });
  const { record } = await killEast(bank, writer);
  assert.equal(record.members[secondLog]?.alone, true, "on record");
  // The mount is back: its log has not heard of anything.
  fs.renameSync(`${path}.away`, path);
  await untilNobodyFeeds(west);
  const replayed = await cluster.cli("replay", "bank", "--from", path, "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  assert.match(replayed.stdout, /east went on without mirror:bank when it was last heard \(.+\)/);
  const held = await writer.prefixOf(readerOf(west));
  assert.ok(held < acked, `the log has all ${acked}`);
  const refused = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(refused.code, 3, refused.stdout);
  assert.match(refused.stderr, /this copy lacks \d+ writes known/);
  count("row 16", { faultsInjected: 1, effectsSeen: acked - held });
});

test("B13, I5, row 2: a primary that lost power takes back from its second log what it had acked", async (t) => {
  const bank = await startPathBank(t);
  const { cluster, east, toWest } = bank;
  const writer = await startWriter(bank, {});
  toWest.isClosed = true;
  toWest.cut();
  await cluster.copyIs("east", "west", "buffering");
  const synced = readSynced(east);
  await writer.more(50);
  await east.kill();
  await writer.ended();
  await losePower(east, synced);
  const held = await writer.prefixOf(readerOf(east));
  assert.ok(held < writer.acked(), `the power has taken nothing: ${held}`);
  await east.start();
  await east.until("serves", ({ serving }) => serving);
  const told = (await east.events()).find(({ kind }) => kind === "takeBack")?.why ?? "";
  assert.match(told, /^[1-9]\d* records that were lost here came back/);
  assert.ok((await writer.prefixOf(readerOf(east))) >= writer.acked());
  await cluster.copyIs("east", secondLog, "streaming");
  count("row 2", { faultsInjected: 1, effectsSeen: 1 });
});
