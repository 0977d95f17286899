import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import type { TraceLine } from "#ports/events.ts";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import { copyOf, type TestSite } from "../support/cluster.ts";
import { connectHost } from "../support/nbd-host.ts";
import {
  assertFedFromLogs,
  assertWestHasAll,
  closeWan,
  exports,
  type RelayBank,
  startRelayBank,
} from "../support/relay-bank.ts";
import { readerOf } from "../support/sets-bank.ts";
import { until } from "../support/until.ts";

// A relay on real processes, whose group's file changes while it runs, or whose primary starts again (SPEC-relay.md).

const smallJournal = {
  groups: { bank: { data: "64MiB", log: "8MiB" } },
  groupLines: ["journal: { size: 32MiB, overflow: trip }"],
};

/** Takes the file of every site, with this changed in it. */
async function reload({ cluster }: RelayBank, from: RegExp, to: string): Promise<string> {
  for (const site of ["east", "west", "gate"]) {
    const path = join(cluster.folder, `${site}.yaml`);
    const text = fs.readFileSync(path, "utf8");
    assert.match(text, from);
    fs.writeFileSync(path, text.replace(from, to));
  }
  const { code, stdout, stderr } = await cluster.cli("reload", "bank", "--site", "east");
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Waits until west has what is written by now, whatever hosts write meanwhile. The last LSN of that. */
async function writtenAtWest({ east }: RelayBank): Promise<number> {
  const { lsn } = await east.group();
  await east.until("west has what was written", (group) => {
    const copy = copyOf(group, "west");
    return copy?.state === "streaming" && copy.complete >= lsn;
  });
  return lsn;
}

/** LSNs of the writes that a site has sent a copy in sets. */
function sentTo(site: TestSite, copy: string): readonly number[] {
  const isSent = ({ dir, copy: to, kind }: TraceLine): boolean =>
    dir === "out" && to === copy && kind === "write";
  return site
    .trace()
    .filter(isSent)
    .map(({ lsn = 0 }) => lsn);
}

async function tripsOfWest({ east }: RelayBank): Promise<readonly string[]> {
  const events = await east.events();
  return events.flatMap(({ copy, to, why }) =>
    copy === "west" && to === "tripped" ? [why ?? ""] : [],
  );
}

type Filler = { more(bytes: number): Promise<void>; end(): void };

/** A host that writes, and flushes now and then, so that the relay syncs what it has. */
async function startFiller({ east }: RelayBank): Promise<Filler> {
  const host = await connectHost(east.nbd, "bank/data");
  let number = 0;
  return {
    async more(bytes) {
      const end = number + bytes / MiB;
      for (; number < end; number += 1) {
        assert.equal(await host.write((number % 64) * MiB, Buffer.alloc(MiB, number)), 0);
        if (number % 8 === 7) assert.equal(await host.flush(), 0);
      }
    },
    end: () => host.close(),
  };
}

test("A2, A6, I17: a reload takes a copy from its relay and gives it back, under load: it is fed by whom the file names, and lacks nothing", async (t) => {
  const bank = await startRelayBank(t);
  const { east, west, gate } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(60);
  await until("gate feeds it", () => sentTo(gate, "west").length > 0);
  assert.deepEqual(sentTo(east, "west"), []);

  const away = await reload(bank, /, through: gate/, "");
  assert.match(away, /west: through gate -> none/);
  await east.until("the relay is forgotten", (group) => copyOf(group, "gate") === undefined);
  await until("the primary feeds it itself", () => sentTo(east, "west").length > 0);
  const awayLsn = await writtenAtWest(bank);
  await writer.more(60);
  const backLsn = await writtenAtWest(bank);

  const back = await reload(bank, /every: 30ms/, "every: 30ms, through: gate");
  assert.match(back, /west: through none -> gate/);
  await until("gate feeds it again", () => sentTo(gate, "west").some((lsn) => lsn > backLsn));
  const { lsn: fedLsn } = await east.group();
  await writer.more(60);
  await writer.stop();
  await assertWestHasAll(bank);
  assert.equal(await writer.prefixOf(readerOf(west)), writer.acked());
  const byGate = sentTo(gate, "west").filter((lsn) => lsn > awayLsn && lsn <= backLsn);
  assert.deepEqual(byGate, [], "nothing by a relay that it has not");
  const byEast = sentTo(east, "west").filter((lsn) => lsn > fedLsn);
  assert.deepEqual(byEast, [], "nothing by the primary while it has one");
});

// Were the copy not tripped, the relay's log would be full at 48 MiB, and the writes behind that would wait for ever: the
// journal begins with what came after the reload.
test("I25, row 40: stall is chosen while the relay alone has what its copy lacks: its full log trips that copy still, and hosts go on", async (t) => {
  const bank = await startRelayBank(t, undefined, smallJournal);
  const { cluster, east, wan } = bank;
  const filler = await startFiller(bank);
  assert.ok(closeWan(bank) > 0);
  await filler.more(26 * MiB);
  await east.until("the journal has let go", ({ journal }) => journal.bytesUsed <= 16 * MiB);
  assert.deepEqual(await tripsOfWest(bank), []);
  const plan = await reload(bank, /overflow: trip/, "overflow: stall");
  assert.match(plan, /overflow trip -> stall; of what its relay alone has now.*west \(gate\)/);
  await filler.more(30 * MiB);
  filler.end();
  const [why = "it was not tripped"] = await tripsOfWest(bank);
  assert.match(why, /^the log of its relay gate is full/);
  wan.isClosed = false;
  await cluster.copyIs("east", "west", "streaming");
  await assertWestHasAll(bank);
  count("row 40", { faultsInjected: 1, effectsSeen: 1 });
});

test("I17, A10, row 7: a primary starts while nobody reaches the copy: its relay's log is the buffer as before, beyond a whole journal", async (t) => {
  const bank = await startRelayBank(t, undefined, smallJournal);
  const { cluster, east, gate, toWest, wan } = bank;
  const segments = (): string[] =>
    fs.readdirSync(join(gate.data, "bank")).filter((name) => name.startsWith("bunker-"));
  const [first = ""] = segments().toSorted();
  const before = await startFiller(bank);
  await before.more(6 * MiB);
  await until("the relay lets go what everybody has", () => !segments().includes(first));
  toWest.isClosed = true;
  assert.ok(closeWan(bank) + toWest.cut() > 1);
  await before.more(1 * MiB);
  before.end();
  await east.kill();
  await east.start();
  await cluster.copyIs("east", "gate", "streaming");
  // By 20 MiB a journal that had to keep it all would be full, by 32 MiB the relay's log.
  const filler = await startFiller(bank);
  await filler.more(21 * MiB);
  filler.end();
  assert.deepEqual(await tripsOfWest(bank), []);
  toWest.isClosed = false;
  wan.isClosed = false;
  await assertFedFromLogs(bank);
  count("row 7", { faultsInjected: 1, effectsSeen: 1 });
});
