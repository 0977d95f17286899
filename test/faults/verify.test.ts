import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import { commandGroup } from "#cli/client.ts";
import type { GroupStatus, VerifyStatus } from "#site/api.ts";
import { startAckedWriter } from "../support/acked-writer.ts";
import { count } from "../support/claims.ts";
import { startCluster } from "../support/cluster.ts";
import type { TestCluster } from "../support/cluster.ts";
import { assertEqualImages } from "../support/images.ts";

// `antipode verify`: what differs is found while hosts write, and nothing else is.

/** Walks over a copy, and gives what it found. */
async function verify({ folder, site }: TestCluster, copy: string): Promise<VerifyStatus> {
  const command = { kind: "verify", group: "bank", copy, repair: false } as const;
  const outcome = await commandGroup(`unix:${join(folder, "east.api")}`, command);
  assert.ok(outcome.ok, JSON.stringify(outcome));
  const isOver = ({ copies }: GroupStatus) =>
    copies.find((one) => one.site === copy)?.verify?.isRunning === false;
  await site("east").until(`the verify of ${copy} has ended`, isOver);
  return (await site("east").copy(copy)).verify ?? assert.fail();
}

/** A byte at rest is not what it was. */
function rot(image: string, at: number): void {
  const fd = fs.openSync(image, "r+");
  const byte = Buffer.alloc(1);
  fs.readSync(fd, byte, 0, 1, at);
  fs.writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 0x55]), 0, 1, at);
  fs.closeSync(fd);
}

test("row 44: a verify under load finds a block that rotted at a mirror or at a copy of sets, nothing else, and --repair brings it back (PEERS C8)", async (t) => {
  const cluster = await startCluster(t, {
    sites: ["east", "west", "north"],
    groups: { bank: { data: "24MiB" } },
    modes: { north: "async" },
  });
  const [east, west, north] = ["east", "west", "north"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && north !== undefined);
  // Everywhere in the first chunks, so that they are written to while they are compared.
  const writer = await startAckedWriter({
    socket: east.nbd,
    blocks: 1500,

    flushEvery: 50,
  });
  await writer.more(300);
  for (const copy of ["west", "north"]) {
    const { why, comparedBytes, differingRegions } = await verify(cluster, copy);
    assert.deepEqual([why, comparedBytes, differingRegions], ["", 24 * MiB, 0], copy);
  }
  const rotted = 20 * MiB + 3 * 64 * KiB;
  const before = writer.acked();
  for (const { name, image } of [west, north]) {
    rot(image(), rotted + 1000);
    const { ranges } = await verify(cluster, name);
    assert.deepEqual(ranges, [{ volume: "data", offset: rotted, length: 64 * KiB }], name);
  }
  const found = await cluster.cli("verify", "bank", "--copy", "north");
  assert.equal(found.code, 1, found.stderr);
  assert.match(found.stdout, /1 regions differ, 64KiB\n  data at 21168128, 65536 bytes/);
  for (const copy of ["west", "north"]) {
    const repaired = await cluster.cli("verify", "bank", "--copy", copy, "--repair");
    assert.equal(repaired.code, 0, repaired.stderr);
    assert.ok((await east.copy(copy)).resyncSentBytes >= 64 * KiB);
  }
  assert.ok(writer.acked() > before, "hosts wrote on");
  await writer.stop();
  assert.deepEqual(writer.errors, []);
  const { lsn } = await east.group();
  await east.until("all is there", ({ copies }) => copies.every(({ applied }) => applied >= lsn));
  for (const { image } of [west, north]) await assertEqualImages(east.image(), image());
  count("row 44", { faultsInjected: 2, effectsSeen: 2 });
});
