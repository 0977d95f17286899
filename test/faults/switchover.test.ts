import assert from "node:assert/strict";
import { test } from "node:test";
import { textOf } from "#base/bytes.ts";
import type { GroupStatus } from "#site/api.ts";
import { frameType } from "#wire/peer/messages.ts";
import { imageReader, startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster, type TestCluster, type TestSite } from "../support/cluster.ts";
import { type FrameProxy, type SeenFrame, startFramedCluster } from "../support/frame-proxy.ts";
import { assertEqualImages } from "../support/images.ts";
import { until } from "../support/until.ts";

// Planned changes of role on real processes: the role goes over, or nothing has changed, whatever is lost in the midst of it.

for (const mode of ["sync", "async"] as const) {
  test(`B12, I29, I33: switchover under load to a copy of mode ${mode}, there and back: no ack lost, nothing copied in full`, async (t) => {
    const cluster = await startCluster(t, {
      groups: { bank: { data: "64MiB" } },
      modes: { west: mode },
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const writer = await startAckedWriter({ socket: east.nbd, blocks: 500, flushEvery: 50 });
    await writer.more(1000);

    const there = await cluster.cli("switchover", "bank", "--to", "west");
    assert.equal(there.code, 0, there.stderr);
    assert.match(there.stdout, /east has the role in generation 1.*west has it, in generation 2/);
    assert.match(there.stdout, /west is the primary of bank/);
    await writer.ended;
    await writer.check(imageReader(west.image()));
    await writer.reconnect(west.nbd);
    await writer.more(500);
    await cluster.copyIs("west", "east", mode === "sync" ? "synchronized" : "streaming");
    await writer.more(500);

    const back = await cluster.cli("switchover", "bank", "--to", "east");
    assert.equal(back.code, 0, back.stderr);
    await writer.ended;
    await writer.reconnect(east.nbd);
    await writer.more(500);
    await writer.stop();
    await isWell(east, "west");
    await writer.check(imageReader(east.image()));
    await assertEqualImages(east.image(), west.image());
    const { resyncSentBytes } = await east.copy("west");
    assert.ok(resyncSentBytes <= 8 * 1024 * 1024, `${resyncSentBytes} bytes were copied`);
    assert.deepEqual(writer.errors, [], "hosts see a lost connection, and no error");
  });
}

test("B12, I29, I16: mirrors and a copy that follows in one group: the role goes to the one that follows, and fails back", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "vault"],
    groups: { bank: { data: "64MiB", log: "8MiB" } },
    modes: { vault: "async" },
  });
  const [east, vault] = [cluster.site("east"), cluster.site("vault")];
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 500, flushEvery: 50 });
  await writer.more(500);
  const there = await cluster.cli("switchover", "bank", "--to", "vault");
  assert.equal(there.code, 0, there.stderr);
  assert.match(there.stdout, /west is a copy of vault from then on/);
  await writer.ended;
  await writer.check(imageReader(vault.image()));
  await writer.reconnect(vault.nbd);
  await writer.more(500);
  const back = await cluster.cli("failback", "bank", "--to", "east");
  assert.equal(back.code, 0, back.stderr);
  await writer.ended;
  await writer.reconnect(east.nbd);
  await writer.more(500);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  for (const copy of ["west", "vault"]) {
    await isWell(east, copy);
    for (const volume of ["data", "log"])
      await assertEqualImages(east.image(volume), cluster.site(copy).image(volume));
  }
  await writer.check(imageReader(east.image()));
});

async function isWell(primary: TestSite, copy: string): Promise<void> {
  await primary.until(`${copy} has everything`, ({ copies }) => {
    const seen = copies.find(({ site }) => site === copy);
    const isUp = seen?.state === "synchronized" || seen?.state === "streaming";
    return isUp && seen.lagWrites + seen.applyLagWrites === 0;
  });
}

/** A sync may be held for as long as a command takes to begin: the copy is not lost as slow meanwhile. */
const held = {
  groups: { bank: { data: "16MiB" } },
  copies: { west: "probe: 100ms, ackTimeout: 60s" },
} as const;

test("I31: a switchover that is not done in time changes nothing: hosts have waited, and see no error", async (t) => {
  const { cluster, toWest } = await startFramedCluster(t, held);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
  await writer.more(200);
  toWest.forth = holding("flush");
  const late = await cluster.cli("switchover", "bank", "--to", "west", "--timeout", "5s");
  assert.equal(late.code, 4, late.stderr);
  assert.match(late.stderr, /not handed over to west: after 5 s .* a last sync of every volume/);
  assert.match(late.stderr, /hint: nothing has changed, east serves it as before/);
  toWest.forth = () => "pass";
  toWest.release();
  await writer.more(200);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.equal((await east.group()).generation, 1);
  await isWell(east, "west");
  await writer.check(imageReader(west.image()));
});

// ------------------------------------------------------------------------------------------ kill -9

type Moment = {
  readonly name: string;
  readonly hold: (toWest: FrameProxy) => void;
  /** What the primary waits for by then. A frame of the kind may have been held for something else before. */
  readonly waitsFor: RegExp;
  /** Who has the role when all is over, whoever was killed. */
  readonly heir: "east" | "west";
};

const moments: readonly Moment[] = [
  {
    name: "while the last sync is under way",
    hold: (toWest) => (toWest.forth = holding("flush")),
    waitsFor: /a last sync of every volume/,
    heir: "east",
  },
  {
    name: "while the offer is under way",
    hold: (toWest) => (toWest.forth = (frame) => (isOffer(frame) ? "hold" : "pass")),
    waitsFor: /the role was offered to west/,
    heir: "east",
  },
  {
    name: "while the answer is under way",
    hold(toWest) {
      toWest.forth = (frame) => {
        if (isOffer(frame)) toWest.back = holding("opened");
        return "pass";
      };
    },
    waitsFor: /the role was offered to west/,
    heir: "west",
  },
];

for (const { name, hold, waitsFor, heir } of moments) {
  for (const victim of ["east", "west"]) {
    test(`I28, I29, I33: a switchover, and ${victim} killed ${name}: ${heir} has the role, and every ack`, async (t) => {
      const { cluster, toWest } = await startFramedCluster(t, held);
      const sites = [cluster.site("east"), cluster.site("west")] as const;
      const [first] = sites;
      const writer = await startAckedWriter({ socket: first.nbd, blocks: 200 });
      await writer.more(200);
      hold(toWest);
      const ordered = cluster.cli("switchover", "bank", "--to", "west");
      await first.until("it waits", ({ why }) => waitsFor.test(why));
      await until("a frame is held", () => toWest.held().length > 0);
      await cluster.site(victim).kill();
      toWest.forth = () => "pass";
      toWest.back = () => "pass";
      toWest.cut();
      await cluster.site(victim).start();

      const next = cluster.site(heir);
      const other = heir === "east" ? "west" : "east";
      const { generation } = await next.until(
        "serves",
        ({ role, serving }) => role === "primary" && serving,
      );
      assert.equal(generation, heir === "east" ? 1 : 2);
      const { code, stderr } = await ordered;
      if (heir === "east" || victim === "east") assert.equal(code, 1, stderr);
      if (heir === "east" && victim === "west") {
        await writer.more(200);
        assert.match(stderr, /nothing has changed, east serves it as before/);
      } else {
        await writer.ended;
        await writer.reconnect(next.nbd);
        await writer.more(200);
      }
      await writer.stop();
      assert.deepEqual(writer.errors, []);
      await isWell(next, other);
      await writer.check(imageReader(next.image()));
      await assertEqualImages(sites[0].image(), sites[1].image());
      count("I29", { faultsInjected: 1, effectsSeen: 1 });
    });
  }
}

test("I28, row 58: who has offered its role serves nobody until the successor speaks, or force takes it back", async (t) => {
  const { cluster, toWest } = await startFramedCluster(t, { groups: { bank: { data: "16MiB" } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 200 });
  await writer.more(200);
  toWest.forth = (frame) => (isOffer(frame) ? "hold" : "pass");
  const ordered = cluster.cli("switchover", "bank", "--to", "west", "--timeout", "5s");
  await until("the offer is held", () => toWest.held().length > 0);
  await west.kill();
  const told = await ordered;
  assert.equal(told.code, 4, told.stderr);
  assert.match(told.stderr, /east serves nobody until it does, and nothing is lost either way/);
  await east.kill();
  await writer.ended;
  await east.start();
  const refused = await cluster.cli("promote", "bank", "--site", "east");
  assert.equal(refused.code, 3, refused.stderr);
  assert.match(refused.stderr, /--force where west is lost for good/);
  assert.equal((await east.group()).serving, false);
  assert.match((await cluster.cli("why", "bank")).stdout, /the role was offered to west/);
  const forced = await cluster.cli("promote", "bank", "--site", "east", "--force");
  assert.equal(forced.code, 0, forced.stderr);
  await east.until("serves", ({ serving }) => serving);
  await writer.reconnect(east.nbd);
  await writer.more(100);
  await writer.stop();
  await writer.check(imageReader(east.image()));
});

// ----------------------------------------------------------------------------------------- failback

test("B12, I29: failback after a takeover waits for the returned site, then hands it the role; a paused one is refused (PEERS C42)", async (t) => {
  const cluster = await startCluster(t, { groups: { bank: { data: "64MiB" } } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  const writer = await startAckedWriter({ socket: east.nbd, blocks: 1000 });
  await writer.more(500);
  await east.kill();
  await writer.ended;
  const promoted = await cluster.cli("promote", "bank", "--site", "west");
  assert.equal(promoted.code, 0, promoted.stderr);
  await west.until("serves", ({ serving }) => serving);
  await writer.reconnect(west.nbd);
  await writer.more(1000);
  const absent = await cluster.cli("failback", "bank", "--to", "east", "--timeout", "200ms");
  assert.equal(absent.code, 4, absent.stderr);

  await east.start();
  await cluster.copyIs("west", "east", "synchronized");
  assert.equal((await cluster.cli("pause", "bank", "--copy", "east")).code, 0);
  await writer.more(500);
  const paused = await cluster.cli("failback", "bank", "--to", "east");
  assert.equal(paused.code, 3, paused.stderr);
  assert.match(paused.stderr, /east is paused[\s\S]*hint: antipode resume bank --copy east/);
  assert.equal((await cluster.cli("resume", "bank", "--copy", "east")).code, 0);

  const back = await cluster.cli("failback", "bank", "--to", "east");
  assert.equal(back.code, 0, back.stderr);
  assert.match(
    back.stdout,
    /afterwards east has it, in generation 3[^]*west becomes a copy of east/,
  );
  await writer.ended;
  await writer.reconnect(east.nbd);
  await writer.more(200);
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  assert.equal((await east.group()).generation, 3);
  await isWell(east, "west");
  await writer.check(imageReader(east.image()));
  await assertEqualImages(east.image(), west.image());
});

test("I29, I33: --all hands over every group of a site with one plan, and status --all shows every site", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "8MiB" }, shop: { data: "8MiB" } },
  });
  const isWellToo = ({ copies }: GroupStatus): boolean => copies[0]?.state === "synchronized";
  await cluster.site("east").until("shop is well, too", isWellToo, "shop");
  await generationsAre(cluster, "east", 1);
  const planned = await cluster.cli("switchover", "--all", "--to", "west", "--dryRun");
  assert.equal(planned.code, 0, planned.stderr);
  assert.match(planned.stdout, /- bank: east has the role[\s\S]*- shop: east has the role/);
  assert.match(planned.stdout, /nothing was done/);
  await generationsAre(cluster, "east", 1);
  const there = await cluster.cli("switchover", "--all", "--to", "west");
  assert.equal(there.code, 0, there.stderr);
  assert.match(there.stdout, /^bank: west is the primary of bank\nshop: west is the primary/m);
  await generationsAre(cluster, "west", 2);
  const seen = await cluster.cli("status", "--all");
  assert.match(
    seen.stdout,
    /site east[\s\S]*shop: (demoted|secondary)[\s\S]*site west[\s\S]*shop: primary/,
  );

  // One group cannot be handed over; the other is, and the exit code is that of the worse.
  assert.equal((await cluster.cli("pause", "bank", "--copy", "east")).code, 0);
  const back = await cluster.cli("failback", "--all", "--to", "east");
  assert.equal(back.code, 3, back.stderr);
  assert.match(back.stdout, /^shop: east is the primary of shop/m);
  assert.match(back.stderr, /error: bank: east is paused/);
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  assert.equal((await east.group("shop")).generation, 3);
  await west.until("bank is served", ({ serving }) => serving, "bank");
  const demoted = await cluster.cli("demote", "--all", "--site", "east");
  assert.match(demoted.stdout, /- bank: no demote, east is not its primary, but \w+/);
  assert.match(demoted.stdout, /^shop: demoted shop at east/m);
});

async function generationsAre(
  cluster: TestCluster,
  primary: string,
  generation: number,
): Promise<void> {
  for (const name of ["bank", "shop"]) {
    const what = `has the role of ${name} in generation ${generation}`;
    const is = await cluster
      .site(primary)
      .until(what, ({ role, serving }) => role === "primary" && serving, name);
    assert.equal(is.generation, generation, what);
  }
}

// -------------------------------------------------------------------------------------------- frames

function holding(type: "flush" | "opened"): (frame: SeenFrame) => "hold" | "pass" {
  return ({ header }) => (header.type === frameType[type] ? "hold" : "pass");
}

function isOffer({ header, body }: SeenFrame): boolean {
  if (header.type !== frameType.open) return false;
  const document = JSON.parse(textOf(body) ?? "{}") as { purpose?: string; isOffer?: boolean };
  return document.purpose === "handover" && document.isOffer === true;
}
