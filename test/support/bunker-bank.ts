// A bank whose primary, east, feeds a copy far away, west, and a bunker near by, vault, each by way of a proxy of its own.

import assert from "node:assert/strict";
import fs from "node:fs";
import type { TestContext } from "node:test";
import { type ChainWriter, startChainWriter } from "./chain-writer.ts";
import { type ClusterOptions, copyOf, createCluster } from "./cluster.ts";
import type { TestCluster, TestSite } from "./cluster.ts";
import { assertEqualImages } from "./images.ts";
import { type Proxy, startProxy } from "./proxy.ts";
import { untilNobodyFeeds } from "./take-over.ts";

export const exports = ["bank/data", "bank/log"];

export type BunkerBank = {
  readonly cluster: TestCluster;
  readonly east: TestSite;
  readonly west: TestSite;
  readonly vault: TestSite;
  /** What east dials. */
  readonly toWest: Proxy;
  readonly toVault: Proxy;
  /** What west dials: its probes, and a bunker that brings it up. */
  readonly toEast: Proxy;
  readonly toLog: Proxy;
};

const probe = "probe: 100ms";

/** A primary at east with two copies, at west and north, and a bunker at vault: without a proxy, and no site on TCP. */
export const twoCopiesAndBunker: ClusterOptions = {
  sites: ["east", "west", "north", "vault"],
  modes: { west: "async", north: "async", vault: "bunker" },
  copies: { west: probe, north: probe, vault: probe },
  groups: { bank: { data: "16MiB", log: "8MiB" } },
};

export type BunkerBankOptions = ClusterOptions & {
  /** What is done to the bunker's folder before any site is started. */
  readonly prepare?: (vault: TestSite) => Promise<void>;
};

/** All three run, and both copies are `streaming`. `vault`: options of the bunker as they stand in the cluster file. */
export async function startBunkerBank(
  t: TestContext,
  vault = probe,
  { prepare, ...more }: BunkerBankOptions = {},
): Promise<BunkerBank> {
  const proxies: Proxy[] = [];
  const cluster = await createCluster(t, {
    sites: ["east", "west", "vault"],
    groups: { bank: { data: "16MiB", log: "8MiB" } },
    modes: { west: "async", vault: "bunker" },
    copies: { vault, west: probe },
    tcp: ["east", "west", "vault"],
    reach: async (peers) => {
      const toWest = await startProxy(t, peers.get("west") ?? "");
      const toVault = await startProxy(t, peers.get("vault") ?? "");
      const toEast = await startProxy(t, peers.get("east") ?? "");
      const toLog = await startProxy(t, peers.get("vault") ?? "");
      proxies.push(toWest, toVault, toEast, toLog);
      return {
        east: { west: toWest.address, vault: toVault.address },
        west: { east: toEast.address, vault: toLog.address },
      };
    },
    ...more,
  });
  const [toWest, toVault, toEast, toLog] = proxies;
  assert.ok(toWest !== undefined && toVault !== undefined);
  assert.ok(toEast !== undefined && toLog !== undefined);
  const [east, west, bunker] = ["east", "west", "vault"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && west !== undefined && bunker !== undefined);
  await prepare?.(bunker);
  await cluster.start();
  for (const copy of ["west", "vault"]) await cluster.copyIs("east", copy, "streaming");
  return { cluster, east, west, vault: bunker, toWest, toVault, toEast, toLog };
}

/** A line of `antipode inspect --journal`. */
export type InspectedEntry = {
  readonly lsn: number;
  readonly set: number;
  readonly index: number;
  readonly checksum: string;
  readonly isChecksumOk: boolean;
};

/** The log of a site, as it lies on the disk. */
export async function entriesOf(
  cluster: TestCluster,
  site: TestSite,
): Promise<readonly InspectedEntry[]> {
  const { code, stdout, stderr } = await cluster.cli("inspect", site.data, "--journal", "--json");
  assert.equal(code, 0, stderr);
  const { groups } = JSON.parse(stdout) as { groups: { journal: InspectedEntry[] }[] };
  return groups[0]?.journal ?? [];
}

/** Waits until the copy has applied everything; then its images are those of the primary. */
export async function assertWestHasAll({ east, west }: BunkerBank): Promise<void> {
  await east.until("west has it all", (group) => {
    const copy = copyOf(group, "west");
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  for (const volume of ["data", "log"])
    await assertEqualImages(east.image(volume), west.image(volume));
}

/** The primary is lost for good while its copy is behind. Gives what hosts were told. */
export async function loseEast(bank: BunkerBank, writes: number): Promise<ChainWriter> {
  const { east, toWest, toEast } = bank;
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400, flushEvery: 30 });
  await writer.more(50);
  toWest.bytesPerSecond = 20_000;
  await writer.more(writes);
  await Promise.all([killEast(bank), toEast.close()]);
  await writer.ended();
  fs.rmSync(east.data, { recursive: true });
  return writer;
}

/** What was on its way is lost with it. */
export async function killEast({ east, west, toWest }: BunkerBank): Promise<void> {
  await east.kill();
  toWest.cut();
  await untilNobodyFeeds(west);
}
