import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type NbdServer, startNbdServer } from "#io/nbd-server.ts";
import { ReceivedMemory } from "#io/received-memory.ts";
import type { EventRecord } from "#ports/events.ts";
import type { HostVolume } from "#ports/host-request.ts";
import { createMemoryExports, type MemoryExports } from "./memory-exports.ts";

/** An NBD server on a unix socket and a TCP port, with what a test needs to watch it. */
export type NbdBench = {
  readonly server: NbdServer;
  readonly exports: MemoryExports;
  /** A folder of the test's own, gone at its end. */
  readonly folder: string;
  readonly socket: string;
  readonly port: number;
  /** What the server reported as an error. */
  readonly errors: string[];
  readonly events: EventRecord[];
  /** The URI of an export on the unix socket. */
  uri(name: string): string;
};

/** Starts a server for the volumes; it stops when the test ends. */
export async function startNbdBench(
  t: TestContext,
  volumes: readonly HostVolume[],
): Promise<NbdBench> {
  const folder = mkdtempSync(join(tmpdir(), "nbd-"));
  const socket = join(folder, "nbd.sock");
  const exports = createMemoryExports(volumes);
  const errors: string[] = [];
  const events: EventRecord[] = [];
  const server = await startNbdServer({
    addresses: [`unix:${socket}`, "127.0.0.1:0"],
    exports,
    memory: new ReceivedMemory(),
    events: { emit: (event) => events.push(event) },
    onError: (error) => errors.push(error.message),
  });
  t.after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  return {
    server,
    exports,
    folder,
    socket,
    port: Number(server.addresses[1]?.split(":").at(-1)),
    errors,
    events,
    uri: (name) => `nbd+unix:///${name}?socket=${socket}`,
  };
}
