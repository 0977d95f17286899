import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { killEast, startBunkerBank } from "../support/bunker-bank.ts";
import type { BunkerBank } from "../support/bunker-bank.ts";
import { count } from "../support/claims.ts";
import { copyOf } from "../support/cluster.ts";
import { upTo, writeBlocks } from "../support/log-damage.ts";
import { fill, mountSmallAt, needsRoot } from "../support/small-disk.ts";

// A bunker whose disk has no room for the log: real processes on a small file system.

test(
  "row 41, B15: a bunker without room for its log says so, and has everything again by itself once there is some",
  needsRoot,
  async (t) => {
    const { cluster, east, vault } = await startBunkerBank(t, "probe: 100ms", {
      prepare: ({ data }) => mountSmallAt(t, data, "8M"),
    });
    await writeBlocks(east, upTo(10));
    const pid = vault.pid();
    const told = async (): Promise<(string | undefined)[]> =>
      (await vault.events()).filter(({ kind, to }) => kind === "log" && to).map(({ to }) => to);
    for (const round of [1, 2]) {
      const free = fill(vault.data);
      const blocks = upTo(20).map((block) => block + 20 * round);
      await writeBlocks(east, blocks.slice(0, 10));
      const isSaid = /ENOSPC.* goes on once there is room/;
      await east.until("the bunker has no room", (group) =>
        isSaid.test(copyOf(group, "vault")?.why ?? ""),
      );
      assert.match((await vault.copy("vault")).why, isSaid);
      for (const site of ["east", "vault"]) {
        const { stdout } = await cluster.cli("why", "bank", "--site", site);
        assert.match(stdout, /helps: .*free some space or quota there .*df at vault.* by itself/);
      }
      await writeBlocks(east, blocks.slice(10));
      const expected = upTo(2 * round - 1).map((_, i) => (i % 2 === 0 ? "failed" : "ok"));
      assert.deepEqual(await told(), expected);
      free();
      await cluster.copyIs("east", "vault", "streaming");
      assert.deepEqual(await told(), [...expected, "ok"]);
    }
    assert.equal(vault.pid(), pid, "the same process");
    const { lsn } = await east.group();
    assert.ok(((await vault.copy("vault")).received ?? 0) >= lsn, "the log has everything");
    count("row 41", { faultsInjected: 2, effectsSeen: 2 });
  },
);

test(
  "row 41, row 48, B15: a bunker without room to make its log starts all the same, keeps the log of its other group, and makes it once there is some",
  needsRoot,
  async (t) => {
    const bank = await startTwoLogs(t);
    const { cluster, east, vault } = bank;
    await vault.kill();
    const folder = join(vault.data, "bank");
    for (const name of fs.readdirSync(folder))
      if (name.startsWith("bunker-")) fs.rmSync(join(folder, name));
    const free = fill(vault.data);
    await vault.start();
    const pid = vault.pid();
    await hasNoRoomFor(bank, /the log cannot be opened: .*ENOSPC.* goes on once there is room/);
    // Nobody takes a log that cannot be read for one that has nothing.
    const replay = ["replay", "bank", "--from", "vault", "--site", "west", "--dry-run"];
    await killEast(bank);
    const refused = await cluster.cli(...replay);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /vault is busy: the log cannot be opened: .* once there is room/);
    assert.match(refused.stderr, /nothing was changed; antipode why bank --site vault/);
    await east.start();
    await writeBlocks(east, upTo(10));
    free();
    await cluster.copyIs("east", "vault", "streaming");
    const { lsn } = await east.group();
    assert.ok(((await vault.copy("vault")).received ?? 0) >= lsn, "the log has everything");
    const told = (await vault.events()).filter(
      ({ kind, group }) => kind === "log" && group === "bank",
    );
    assert.deepEqual(
      told.filter(({ to }) => to).map(({ to }) => to),
      ["failed", "ok"],
    );
    assert.equal(vault.pid(), pid, "the same process");
    count("row 41", { faultsInjected: 1, effectsSeen: 1 });
  },
);

test(
  "row 41, row 48, B15: a bunker without room for a group's first record starts all the same, keeps the log of its other group, and makes it once there is some",
  needsRoot,
  async (t) => {
    const bank = await startTwoLogs(t);
    const { cluster, east, vault } = bank;
    await vault.kill();
    fs.rmSync(join(vault.data, "bank"), { recursive: true });
    const free = fill(vault.data);
    await vault.start();
    const pid = vault.pid();
    await hasNoRoomFor(
      bank,
      /the group's record cannot be made: .*ENOSPC.* goes on once there is room/,
    );
    await writeBlocks(east, upTo(10));
    free();
    // It has a record now, and by that it is another disk than the one that was fed.
    await east.until("the bunker is blank", (group) =>
      /blank or foreign/.test(copyOf(group, "vault")?.why ?? ""),
    );
    const again = await cluster.cli("resync", "bank", "--copy", "vault", "--full");
    assert.equal(again.code, 0, again.stderr);
    await cluster.copyIs("east", "vault", "streaming");
    const { lsn } = await east.group();
    assert.ok(((await vault.copy("vault")).received ?? 0) >= lsn, "the log has everything");
    assert.equal(vault.pid(), pid, "the same process");
    count("row 41", { faultsInjected: 1, effectsSeen: 1 });
  },
);

/** Two groups with a bunker on a small file system, which has both logs. */
async function startTwoLogs(t: TestContext): Promise<BunkerBank> {
  const bank = await startBunkerBank(t, "probe: 100ms", {
    groups: { bank: { data: "16MiB", log: "8MiB" }, shop: { data: "8MiB" } },
    prepare: ({ data }) => mountSmallAt(t, data, "8M"),
  });
  await hasLogOf(bank, "shop");
  return bank;
}

function hasLogOf({ east }: BunkerBank, name: string): Promise<unknown> {
  return east.until(
    `the bunker has the log of ${name}`,
    (group) => copyOf(group, "vault")?.state === "streaming",
    name,
  );
}

/** The bunker has no room for the first group, says so everywhere, with what helps, and keeps the other's log. */
async function hasNoRoomFor(bank: BunkerBank, why: RegExp): Promise<void> {
  const { cluster, east, vault } = bank;
  await east.until("the bunker has no room", (group) =>
    why.test(copyOf(group, "vault")?.why ?? ""),
  );
  assert.match((await vault.copy("vault")).why, why);
  const { stdout } = await cluster.cli("why", "bank", "--site", "vault");
  assert.match(stdout, /helps: .*free some space or quota there .*df at vault.* by itself/);
  await hasLogOf(bank, "shop");
}
