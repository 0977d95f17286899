import assert from "node:assert/strict";
import { test } from "node:test";
import type { CopyStatus } from "#site/api.ts";
import { stampedBlock } from "../support/acked-writer.ts";
import { startCluster, type TestSite } from "../support/cluster.ts";
import { connectHost } from "../support/nbd-host.ts";

// What INTERFACE promises to scripts that parse it, on real processes: figures, names and what helps.

async function write(site: TestSite, name: string, blocks: number): Promise<void> {
  const host = await connectHost(site.nbd, name);
  for (let block = 0; block < blocks; block += 1)
    assert.equal(await host.write(block * 4096, stampedBlock(block, 1)), 0);
  assert.equal(await host.flush(), 0);
  host.close();
}

function watermarks({ received, staged, complete, applied }: CopyStatus): number[] {
  return [received, staged, complete, applied];
}

test("I33, decision 8: all watermarks of a synchronized mirror are the group's LSN, after a resync and after a switchover", async (t) => {
  // A standstill of the machine is no loss.
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, timeout: 20s" } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await cluster.copyIs("east", "west", "synchronized");
  await write(east, "bank/data", 2);
  assert.equal((await cluster.cli("pause", "bank", "--wait")).code, 0);
  await write(east, "bank/data", 3);
  assert.equal((await east.copy("west")).lagWrites, 3);
  assert.equal((await cluster.cli("resume", "bank", "--wait")).code, 0);
  assert.deepEqual(watermarks(await east.copy("west")), [5, 5, 5, 5]);

  assert.equal((await cluster.cli("switchover", "bank", "--to", "west")).code, 0);
  await cluster.copyIs("west", "east", "synchronized");
  const { lsn } = await west.group();
  assert.deepEqual(watermarks(await west.copy("east")), [lsn, lsn, lsn, lsn]);
  assert.deepEqual(watermarks(await east.copy("east")), [lsn, lsn, lsn, lsn]);
});

test("U58, B12: with resume: manual, status, why, switchover and failback name the operator's command, and no session that is tried", async (t) => {
  const cluster = await startCluster(t, { copies: { west: "probe: 100ms, resume: manual" } });
  const [east, west] = [cluster.site("east"), cluster.site("west")];
  await cluster.copyIs("east", "west", "synchronized");
  assert.equal(await west.stop(), 0);
  await cluster.copyIs("east", "west", "fractured");
  // The file of its socket is gone with it: nobody listens there.
  await east.until(
    "its process is known to be down",
    ({ copies: [copy] }) => copy?.link === "peer-down",
  );
  await write(east, "bank/data", 1);
  await west.start();
  const waits = "its resume is manual: `antipode resume` feeds it again";
  const isTold = ({ why }: CopyStatus): boolean => why.endsWith(waits);
  await east.until("it waits for an operator", ({ copies }) => copies.every(isTold));
  const why = await cluster.cli("why", "bank", "--json");
  const { blockers } = JSON.parse(why.stdout) as { blockers: { help: string }[] };
  assert.deepEqual(
    blockers.map(({ help }) => help),
    ["antipode resume bank --copy west"],
  );
  for (const verb of ["switchover", "failback"]) {
    const refused = await cluster.cli(verb, "bank", "--to", "west");
    assert.equal(refused.code, 3, refused.stderr);
    assert.match(refused.stderr, /^hint: antipode resume bank --copy west$/m);
  }
  assert.equal((await cluster.cli("resume", "bank", "--wait")).code, 0);
  assert.equal((await cluster.cli("status", "bank", "--check")).code, 0);
});

test("A12: events of a link are those of groups that the site has a part in; status --check and events GROUP ask each group's own primary", async (t) => {
  const cluster = await startCluster(t, {
    groups: { bank: { data: "8MiB" }, lone: { data: "8MiB" } },
    lone: ["lone"],
    copies: { west: "probe: 100ms, timeout: 20s" },
  });
  const east = cluster.site("east");
  await cluster.copyIs("east", "west", "synchronized");
  assert.equal((await cluster.cli("switchover", "bank", "--to", "west")).code, 0);
  await cluster.copyIs("west", "east", "synchronized");
  const told = (await cluster.cli("events", "bank", "--json")).stdout.trimEnd().split("\n");
  const sites = told.map((line) => (JSON.parse(line) as { site: string }).site);
  assert.deepEqual([...new Set(sites)], ["west"], "what happened is told by the primary");
  const checked = await cluster.cli("status", "--check");
  assert.equal(checked.code, 0, checked.stderr);
  assert.match(
    checked.stdout,
    /^bank: primary,[^]*If west died now, nothing[^]*: east has it all/m,
  );
  assert.match(checked.stdout, /^lone: primary,[^]*If east died now, everything would be lost/m);

  assert.equal((await cluster.cli("failback", "bank", "--to", "east")).code, 0);
  await cluster.copyIs("east", "west", "synchronized");
  await cluster.site("west").kill();
  await cluster.copyIs("east", "west", "fractured");
  await east.until("the link is down", ({ copies: [copy] }) => copy?.link === "peer-down");
  const links = (await east.events()).filter(({ kind }) => kind === "link");
  assert.ok(
    links.some(({ group, copy, to }) => group === "bank" && copy === "west" && to === "peer-down"),
  );
  assert.ok(links.every(({ group }) => group === "bank"));
});
