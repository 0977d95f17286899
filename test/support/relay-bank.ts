// A bank whose primary, east, feeds west through gate, a relay near by. Each way has a proxy of its own.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type ClusterOptions, copyOf, createCluster } from "./cluster.ts";
import type { TestCluster, TestSite } from "./cluster.ts";
import { assertEqualImages } from "./images.ts";
import { type Proxy, startProxy } from "./proxy.ts";

export const exports = ["bank/data", "bank/log"];

export type RelayBank = {
  readonly cluster: TestCluster;
  readonly east: TestSite;
  readonly west: TestSite;
  readonly gate: TestSite;
  /** What east dials: the session with the copy, which brings no sets; and the relay. */
  readonly toWest: Proxy;
  readonly toGate: Proxy;
  /** What gate dials: the WAN, over which the sets go. */
  readonly wan: Proxy;
};

/** All three run, and both members are `streaming`. */
export async function startRelayBank(
  t: TestContext,
  west = "probe: 100ms, timeout: 1s, every: 30ms, ackAt: journal, through: gate",
  more: ClusterOptions = {},
): Promise<RelayBank> {
  const proxies: Proxy[] = [];
  const cluster = await createCluster(t, {
    sites: ["east", "west", "gate"],
    groups: { bank: { data: "16MiB", log: "8MiB" } },
    modes: { west: "cycle", gate: "relay" },
    copies: { west },
    tcp: ["east", "west", "gate"],
    isTraced: true,
    reach: async (peers) => {
      const toWest = await startProxy(t, peers.get("west") ?? "");
      const toGate = await startProxy(t, peers.get("gate") ?? "");
      const wan = await startProxy(t, peers.get("west") ?? "");
      proxies.push(toWest, toGate, wan);
      return {
        east: { west: toWest.address, gate: toGate.address },
        gate: { west: wan.address },
      };
    },
    ...more,
  });
  const [toWest, toGate, wan] = proxies;
  assert.ok(toWest !== undefined && toGate !== undefined && wan !== undefined);
  await cluster.start();
  for (const copy of ["gate", "west"]) await cluster.copyIs("east", copy, "streaming");
  const [east, copy, gate] = ["east", "west", "gate"].map((name) => cluster.site(name));
  assert.ok(east !== undefined && copy !== undefined && gate !== undefined);
  return { cluster, east, west: copy, gate, toWest, toGate, wan };
}

/** The WAN is cut, and stays so. How many connections that were. */
export function closeWan({ wan }: RelayBank): number {
  wan.isClosed = true;
  return wan.cut();
}

/** Waits until the copy has applied everything; then its images are those of the primary. */
export async function assertWestHasAll({ east, west }: RelayBank): Promise<void> {
  await east.until("west has it all", (group) => {
    const copy = copyOf(group, "west");
    return copy?.state === "streaming" && copy.lagWrites === 0 && copy.applyLagWrites === 0;
  });
  for (const volume of ["data", "log"])
    await assertEqualImages(east.image(volume), west.image(volume));
}

/** The same, and nothing was compared for that, but what was before: the logs had all it lacked. */
export async function assertFedFromLogs(bank: RelayBank, comparedBytes = 0): Promise<void> {
  await assertWestHasAll(bank);
  assert.equal((await bank.east.copy("west")).resyncComparedBytes, comparedBytes);
}
