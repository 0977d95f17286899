// A group in front of a stranger's block store, on real processes: the volume `data` lies on an NBD server that keeps what it
// was sent in its memory until it is flushed, and `log` in a file as ever.

import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
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
  /** Where that lies. */
  readonly deviceFolder: string;
};

export type GatewayOptions = Pick<ClusterOptions, "copies" | "groupLines"> & {
  readonly mode: "async" | "cycle";
  /** How the device is reached: by its socket file, or over TCP. */
  readonly link?: "unix" | "tcp";
  /** Of the device: what stands before its plugin, instead of the cache, and settings behind it. */
  readonly filters?: readonly string[];
  readonly settings?: (folder: string) => readonly string[];
};

export async function startGatewayBank(
  t: TestContext,
  { mode, link = "unix", filters = ["--filter=cache"], settings, ...more }: GatewayOptions,
): Promise<GatewayBank> {
  const folder = makeTempFolder();
  onEnd(t, () => removeTempFolder(folder));
  const path = join(folder, "disk");
  const device = await startNbdkit({
    socket: join(folder, "nbd.sock"),
    path,
    bytes: volumeBytes,
    filters,
    settings: settings?.(folder) ?? [],
  });
  onEnd(t, () => device.kill());
  const uri = link === "unix" ? device.uri : await tcpUri(t, join(folder, "nbd.sock"));
  const linked = await startLinkedCluster(t, {
    groups: { bank: { data: `${volumeBytes}`, log: "8MiB" } },
    at: { bank: { data: { east: uri } } },
    modes: { west: mode },
    // Longer than a busy machine lets a process wait: tests count the losses of links.
    copies: { west: "probe: 100ms, timeout: 20s" },
    ...more,
  });
  const [east, west] = [linked.cluster.site("east"), linked.cluster.site("west")];
  return { ...linked, east, west, device, path, deviceFolder: folder };
}

/** The server by a TCP port that is ours, and stays so while the server is gone: nobody else can get it meanwhile. */
async function tcpUri(t: TestContext, socket: string): Promise<string> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect(socket);
    near.pipe(far);
    far.pipe(near);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      // Its end is told by `close`, which ends the other one too.
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  onEnd(t, () => {
    server.close();
    for (const one of sockets) one.destroy();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return `nbd://127.0.0.1:${address.port}/disk`;
}

/** What a site tells Prometheus. */
export function metricsOf({ cluster }: GatewayBank, site: string): Promise<string> {
  const socketPath = join(cluster.folder, `${site}.api`);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = http.get({ socketPath, path: "/metrics", agent: false }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    response.on("end", () => resolve(text));
  });
  request.on("error", reject);
  return promise;
}

/** A host that writes long requests to the volume that lies in a file, and so fills the journal. */
export type Filler = {
  /** Writes no more, and gives the errors that it got. */
  stop(): Promise<readonly number[]>;
};

export async function startFiller(t: TestContext, { east }: GatewayBank): Promise<Filler> {
  const host = await connectHost(east.nbd, "bank/log");
  onEnd(t, () => host.close());
  const errors: number[] = [];
  const bytes = Buffer.alloc(1 << 20, 0x66);
  let isOver = false;
  const lane = async (at: number): Promise<void> => {
    while (!isOver) {
      const error = await host.write(at, bytes);
      if (error !== 0) errors.push(error);
    }
  };
  const lanes = [0, 1, 2, 3].map((place) => lane(place << 20));
  return {
    async stop() {
      isOver = true;
      await Promise.all(lanes);
      return errors;
    },
  };
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
