import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startChainWriter } from "../support/chain-writer.ts";
import { startCluster } from "../support/cluster.ts";
import { assertCaughtUp, exports } from "../support/sets-bank.ts";

// `antipode inspect` on the folders of sites that run: it only looks, and says that they run.

type Report = {
  readonly running: boolean;
  readonly process?: number;
  readonly groups: readonly {
    readonly record: { readonly incarnation: number };
    readonly logs: readonly { readonly file: string; readonly damage: string }[];
    readonly journal: readonly { readonly lsn: number; readonly isChecksumOk: boolean }[];
    readonly sets: readonly { readonly set: number; readonly complete: boolean }[];
  }[];
};

test("inspect reads the folder of a running site, says that it runs, and neither makes nor changes a file", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "16MiB", log: "8MiB" } },
    modes: { west: "async" },
  });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 300, flushEvery: 20 });
  const look = async (path: string): Promise<Report> => {
    const args = ["inspect", path, "--journal", "--sets", "--json"];
    const { code, stdout, stderr } = await cluster.cli(...args);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Report;
  };
  await west.until("a set is whole there", ({ copies: [copy] }) => (copy?.complete ?? 0) > 0);
  let highest = 0;
  for (let round = 0; round < 3; round += 1) {
    await writer.more(50);
    for (const site of [east, west]) {
      // A site's folder, and a group's folder in it, which tells the site's process from its place.
      for (const path of [site.data, join(site.data, "bank")]) {
        const { running, process: owner, groups } = await look(path);
        assert.deepEqual([running, owner], [true, site.pid()]);
        const [group] = groups;
        assert.deepEqual(
          group?.logs.map(({ damage }) => damage),
          [""],
          "one log, read to its end",
        );
        assert.ok(group?.journal.every(({ isChecksumOk }) => isChecksumOk));
        highest = Math.max(highest, group?.journal.at(-1)?.lsn ?? 0);
        if (site === west) assert.ok(group?.sets.some(({ complete }) => complete));
      }
    }
  }
  assert.ok(highest > 0 && highest <= writer.acked() + 1, `the journal up to write ${highest}`);
  const words = await cluster.cli("inspect", west.data, "--sets");
  assert.match(words.stdout, new RegExp(`^running: process ${west.pid()} has this data folder`));
  await writer.stop();
  await assertCaughtUp({ east, west });
  assert.equal((await east.copy("west")).resyncComparedBytes, 0, "nobody was disturbed");

  const { incarnation } = (await look(east.data)).groups[0]?.record ?? { incarnation: 0 };
  for (const site of [east, west]) assert.equal(await site.stop(), 0);
  const files = (): string[] => fs.readdirSync(join(east.data, "bank"));
  const before = files();
  const offline = await look(east.data);
  assert.deepEqual([offline.running, offline.process], [false, undefined]);
  assert.equal(offline.groups[0]?.record.incarnation, incarnation);
  assert.deepEqual(files(), before);
});
