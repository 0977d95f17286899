import type { TestContext } from "node:test";
import { type ClusterOptions, startCluster, type TestCluster } from "./cluster.ts";
import { type Proxy, startProxy } from "./proxy.ts";

/** Two sites, east and west, that reach each other only by way of our proxies. */
export type LinkedCluster = {
  readonly cluster: TestCluster;
  /** What east dials: its sessions with west and its probes. */
  readonly toWest: Proxy;
  /** What west dials: its probes, and sessions when it is the primary. */
  readonly toEast: Proxy;
};

/** Both sites run, and west is synchronized, or streaming where it takes sets. */
export async function startLinkedCluster(
  t: TestContext,
  options: ClusterOptions = {},
): Promise<LinkedCluster> {
  const proxies: Proxy[] = [];
  const cluster = await startCluster(t, {
    ...options,
    tcp: ["east", "west"],
    reach: async (peers) => {
      const toWest = await startProxy(t, peers.get("west") ?? "");
      const toEast = await startProxy(t, peers.get("east") ?? "");
      proxies.push(toWest, toEast);
      return { east: { west: toWest.address }, west: { east: toEast.address } };
    },
  });
  const [toWest, toEast] = proxies;
  if (toWest === undefined || toEast === undefined) throw new Error("no proxies were made");
  return { cluster, toWest, toEast };
}
