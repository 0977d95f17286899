import assert from "node:assert/strict";
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
  startRelayBank,
} from "../support/relay-bank.ts";
import { prefixShownBy, readerOf } from "../support/sets-bank.ts";
import { promoteWest } from "../support/take-over.ts";
import { until } from "../support/until.ts";

// A relay on real processes: it has the primary's log and no volume, and feeds the copy in the primary's place (SPEC-relay.md).

const rounds = Number(process.env["ANTIPODE_ROUNDS"] ?? 3);

/** What this site has sent a copy of sets. */
function sentTo(site: TestSite, copy: string): readonly TraceLine[] {
  return site
    .trace()
    .filter((line) => line.dir === "out" && line.copy === copy && line.kind === "write");
}

/** What one site has told the other about feeding west: kind, and the session with west that it names. */
function toldOfFeeds(site: TestSite, dir: "in" | "out"): readonly string[] {
  const kinds = ["feed", "feedEnd", "applied", "feedLost"];
  return site
    .trace()
    .filter((line) => line.dir === dir && kinds.includes(line.kind))
    .map(({ kind, index, set, copy }) => `${copy} ${kind} ${index} ${set}`);
}

for (const ackAt of ["switch", "journal"])
  test(`A1, A19, A20: ackAt ${ackAt}: the sets of a copy come from its relay alone, and no ack waits for the WAN`, async (t) => {
    const west = `probe: 100ms, timeout: 1s, every: 20ms, ackAt: ${ackAt}, through: gate`;
    const bank = await startRelayBank(t, west);
    const { cluster, east, gate, wan } = bank;
    const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
    await writer.more(50);
    assert.ok(closeWan(bank) > 0);
    const { lsn } = await east.group();
    await writer.more(50);
    await writer.stop();
    await until("the relay has it all", async () => {
      const [own] = (await gate.group()).copies;
      return (own?.complete ?? 0) >= lsn;
    });
    wan.isClosed = false;
    await assertFedFromLogs(bank);
    assert.equal(await writer.prefixOf(readerOf(bank.west)), writer.acked());
    assert.deepEqual(sentTo(east, "west"), [], "the primary itself sends the copy no write");
    assert.ok(sentTo(gate, "west").length > 0);
    const { stdout } = await cluster.cli("check");
    assert.match(stdout, /west follows through gate/);
    count("row 22", { faultsInjected: 1, effectsSeen: 1 });
  });

test("A6, A9, row 22: behind a relay the WAN is cut again and again, and the copy never shows a write without those before it", async (t) => {
  const bank = await startRelayBank(t);
  const { east, west, gate, wan } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  let seen = 0;
  for (let round = 0; round < rounds; round += 1) {
    await writer.more(40 + 7 * round);
    assert.ok(closeWan(bank) > 0);
    await writer.more(10);
    seen = Math.max(seen, await prefixShownBy(west, writer));
    await until("the relay says so", () =>
      toldOfFeeds(east, "in").some((line) => line.startsWith("gate feedLost ")),
    );
    const { lsn } = await east.group();
    wan.isClosed = false;
    await east.until("it is back", (group) => (copyOf(group, "west")?.complete ?? 0) >= lsn);
  }
  await writer.stop();
  await assertFedFromLogs(bank);
  for (const [from, to, kinds] of [
    [east, gate, ["feed", "feedEnd", "applied"]],
    [gate, east, ["feedLost"]],
  ] as const) {
    const heard = toldOfFeeds(to, "in");
    assert.ok(heard.length > 0);
    await until("the other trace has it", () => toldOfFeeds(from, "out").length >= heard.length);
    const sent = toldOfFeeds(from, "out");
    assert.deepEqual(heard, sent.slice(0, heard.length), "both traces say the same");
    for (const kind of kinds)
      assert.ok(
        heard.some((line) => line.startsWith(`gate ${kind} `)),
        kind,
      );
  }
  assert.ok(seen > 0);
  count("row 22", { faultsInjected: rounds, effectsSeen: rounds });
});

test("B15, row 16: a relay dies: hosts go on, its copy waits and says for whom, and gets all of it when the relay is back", async (t) => {
  const bank = await startRelayBank(t);
  const { cluster, east, gate } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(60);
  await gate.kill();
  await writer.more(60);
  const waiting = await east.until("west waits for its relay", (group) =>
    /fed through gate/.test(copyOf(group, "west")?.why ?? ""),
  );
  assert.equal(copyOf(waiting, "west")?.state, "buffering");
  assert.match((await cluster.cli("why", "bank")).stdout, /fed through gate/);
  await gate.start();
  await writer.more(60);
  await writer.stop();
  await assertFedFromLogs(bank);
  assert.deepEqual(sentTo(east, "west"), []);
  count("row 16", { faultsInjected: 1, effectsSeen: 1 });
});

test("I17, row 7: the primary dies while the WAN is down; once both are back the copy gets what the logs have", async (t) => {
  const bank = await startRelayBank(t);
  const { east, wan } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200, flushEvery: 20 });
  await writer.more(60);
  assert.ok(closeWan(bank) > 0);
  await writer.more(60);
  await east.kill();
  await writer.ended();
  await east.start();
  await writer.reconnect(east.nbd);
  await writer.more(20);
  await writer.stop();
  wan.isClosed = false;
  await assertFedFromLogs(bank);
  count("row 7", { faultsInjected: 1, effectsSeen: 1 });
});

test("B6, I5, row 14: the primary is lost while the WAN is down: its relay brings the copy up, and nothing acked is lost", async (t) => {
  const bank = await startRelayBank(t);
  const { cluster, east, west, gate, toWest, wan } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200, flushEvery: 20 });
  await writer.more(60);
  assert.ok(closeWan(bank) > 0);
  await writer.more(100);
  await east.kill();
  await writer.ended();
  toWest.cut();
  wan.isClosed = false;
  await west.until("nobody feeds it, and the relay answers", ({ bunkers = [] }) =>
    bunkers.some(({ answers }) => answers === true),
  );
  const [before] = (await west.group()).copies;
  assert.ok((before?.complete ?? 0) < writer.acked(), "the copy was behind");
  const early = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(early.code, 3, early.stdout);
  const replayed = await cluster.cli("replay", "bank", "--from", "gate", "--site", "west");
  assert.equal(replayed.code, 0, replayed.stderr);
  const held = await promoteWest({ cluster, west }, writer);
  await writer.reconnect(west.nbd, held);
  await writer.more(30);
  await writer.stop();
  assert.equal((await gate.group()).role, "bunker");
  count("row 14", { faultsInjected: 1, effectsSeen: writer.acked() - (before?.complete ?? 0) });
});

test("the role is handed over: the first primary is fed without the relay, and the copy through it again when the role is back", async (t) => {
  const bank = await startRelayBank(t);
  const { cluster, east, west, gate } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await writer.more(40);
  await writer.stop();
  const over = await cluster.cli("switchover", "bank", "--to", "west");
  assert.equal(over.code, 0, over.stderr);
  await cluster.copyIs("west", "east", "streaming");
  assert.equal(copyOf(await west.group(), "gate"), undefined, "it stands at the other side");
  const sent = sentTo(gate, "west").length;
  const there = await startChainWriter({ socket: west.nbd, exports, blocks: 200 });
  await there.more(40);
  await there.stop();
  // A cycle goes out once its time is over, and no ack waits for that.
  await until("west sends its cycles", () => sentTo(west, "east").length > 0);
  const back = await cluster.cli("switchover", "bank", "--to", "east");
  assert.equal(back.code, 0, back.stderr);
  for (const copy of ["gate", "west"]) await cluster.copyIs("east", copy, "streaming");
  const here = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
  await here.more(40);
  await here.stop();
  await assertWestHasAll(bank);
  assert.ok(sentTo(gate, "west").length > sent);
  assert.deepEqual(sentTo(east, "west"), []);
});

test("A10, A11, A17, A18, row 40: a relay's log is full: INVALIDATE, the copy is tripped, hosts never notice, and what is flagged is compared", async (t) => {
  const bank = await startRelayBank(t, undefined, {
    groups: { bank: { data: "64MiB", log: "8MiB" } },
    groupLines: ["journal: { size: 32MiB, overflow: trip }"],
  });
  const { cluster, east, gate, wan } = bank;
  assert.ok(closeWan(bank) > 0);
  const host = await connectHost(east.nbd, "bank/data");
  let tripped = false;
  let written = 0;
  for (let number = 0; !tripped; number += 1) {
    assert.ok(number < 200, "the relay's log has no end");
    assert.equal(await host.write((number % 64) * MiB, Buffer.alloc(MiB, number)), 0);
    written += MiB;
    if (number % 8 === 0) tripped = (await east.copy("west")).state === "tripped";
  }
  host.close();
  assert.ok(written >= 25 * MiB, `tripped behind ${written} bytes`);
  const isTrip = ({ copy, to, why = "" }: { copy?: string; to?: string; why?: string }): boolean =>
    copy === "west" && to === "tripped" && /the log of its relay gate is full/.test(why);
  assert.ok((await east.events()).some(isTrip));
  assert.ok((await east.copy("west")).dirtyBytes > 0, "marked before anything was let go");
  assert.ok(gate.trace().some(({ kind, dir }) => kind === "invalidate" && dir === "out"));
  // The relay goes on.
  await cluster.copyIs("east", "gate", "streaming");
  wan.isClosed = false;
  await cluster.copyIs("east", "west", "streaming");
  await assertWestHasAll(bank);
  assert.ok((await east.copy("west")).resyncComparedBytes > 0);
  count("row 40", { faultsInjected: 1, effectsSeen: 1 });
});
