// A group in front of a stranger's block store, on real processes: the volume `data` lies on an NBD server that keeps what it
// was sent in its memory until it is flushed, and `log` in a file as ever.

import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { VolumeStatus } from "#site/api.ts";
import type { ClusterOptions, TestSite } from "./cluster.ts";
import { startLinkedCluster, type LinkedCluster } from "./linked-cluster.ts";
import { connectHost, type NbdHost } from "./nbd-host.ts";
import { startNbdkit, type Nbdkit } from "./nbdkit.ts";
import { onEnd } from "./on-end.ts";
import { makeTempFolder, removeTempFolder } from "./temp-folder.ts";

export const volumeBytes = 16 * 1024 * 1024;

export type GatewayBank = LinkedCluster & {
  readonly east: TestSite;
  readonly west: TestSite;
  readonly device: Nbdkit;
  /** What the device has flushed. */
  readonly path: string;
};

export type GatewayOptions = Pick<ClusterOptions, "copies" | "groupLines"> & {
  readonly mode: "async" | "cycle";
};

export async function startGatewayBank(
  t: TestContext,
  { mode, ...more }: GatewayOptions,
): Promise<GatewayBank> {
  const folder = makeTempFolder();
  onEnd(t, () => removeTempFolder(folder));
  const path = join(folder, "disk");
  const device = await startNbdkit({
    socket: join(folder, "nbd.sock"),
    path,
    bytes: volumeBytes,
    filters: ["--filter=cache"],
  });
  onEnd(t, () => device.kill());
  const linked = await startLinkedCluster(t, {
    groups: { bank: { data: `${volumeBytes}`, log: "8MiB" } },
    at: { bank: { data: { east: device.uri } } },
    modes: { west: mode },
    copies: { west: "probe: 100ms, timeout: 3s" },
    ...more,
  });
  const [east, west] = [linked.cluster.site("east"), linked.cluster.site("west")];
  return { ...linked, east, west, device, path };
}

/** The volume on the device, as the gateway sees it. */
export async function deviceOf({ east }: GatewayBank): Promise<VolumeStatus> {
  const { volumes } = await east.group();
  return volumes[0] ?? assert.fail("the group has a volume");
}

/** Waits until the device has everything, flushed. */
export async function assertDrained({ east }: GatewayBank): Promise<void> {
  await east.until("the device has everything", ({ volumes }) => {
    const [data] = volumes;
    return data?.link === "up" && data.deviceLagBytes === 0;
  });
}

export function hostOf({ east }: GatewayBank): Promise<NbdHost> {
  return connectHost(east.nbd, "bank/data");
}
