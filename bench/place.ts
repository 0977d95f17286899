import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomFillSync } from "node:crypto";
import { MiB } from "#base/limits.ts";
import type { SocketKind, Volume } from "./plan.ts";

/** Where one stage keeps its images and its sockets, and how its servers are reached. */
export type Place = {
  readonly socket: SocketKind;
  readonly volume: Volume;
  /** Ends every program of the stage. */
  readonly signal: AbortSignal;
  /** A new folder for one contender, on the file system of the checkout. */
  folder(name: string): string;
  /** A new address of the stage's kind. */
  address(name: string): Promise<ServerAddress>;
  /** A new address on a TCP port, whatever the stage's kind is. */
  tcpAddress(): Promise<ServerAddress>;
  /** A new address on a unix socket, for what is not measured. */
  controlSocket(name: string): string;
  /** Makes an image as the stage wants it. */
  createImage(path: string): void;
  /** Makes an image of the same size with nothing in it, for a mirror to fill. */
  createEmptyImage(path: string): void;
  remove(): void;
};

export type ServerAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly port: number };

const fillChunkBytes = 4 * MiB;

/** `root` is the checkout. Sockets lie in the system's folder for temporary files, since their paths must be short. */
export function createPlace(
  root: string,
  { socket, volume }: { readonly socket: SocketKind; readonly volume: Volume },
  signal: AbortSignal,
): Place {
  const folder = join(root, ".antipode", "bench");
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  const sockets = fs.mkdtempSync(join(tmpdir(), "antipode-bench-"));
  return {
    socket,
    volume,
    signal,
    folder(name) {
      const path = join(folder, name);
      fs.mkdirSync(path, { recursive: true });
      return path;
    },
    address: async (name) =>
      socket === "unix"
        ? { kind: "unix", path: join(sockets, `${name}.sock`) }
        : { kind: "tcp", port: await freePort() },
    tcpAddress: async () => ({ kind: "tcp", port: await freePort() }),
    controlSocket: (name) => join(sockets, `${name}.control`),
    createImage: (path) => createImage(path, volume),
    createEmptyImage: (path) => createImage(path, { ...volume, isFilled: false }),
    remove() {
      fs.rmSync(folder, { recursive: true, force: true });
      fs.rmSync(sockets, { recursive: true, force: true });
    },
  };
}

/** The export's URI, for libnbd and all who use it. */
export function nbdUri(address: ServerAddress, name: string): string {
  return address.kind === "unix"
    ? `nbd+unix:///${name}?socket=${address.path}`
    : `nbd://127.0.0.1:${address.port}/${name}`;
}

function createImage(path: string, { bytes, isFilled, isDropped }: Volume): void {
  const file = fs.openSync(path, "wx");
  try {
    fs.ftruncateSync(file, bytes);
    if (!isFilled) return;
    const chunk = new Uint8Array(fillChunkBytes);
    for (let offset = 0; offset < bytes; offset += chunk.length) {
      fs.writeSync(file, randomFillSync(chunk), 0, chunk.length, offset);
    }
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
  if (!isDropped) return;
  execFileSync("dd", [`if=${path}`, "iflag=nocache", "count=0", "status=none"]);
}

/** A port that was free just now. Somebody else may take it before we do; then the server fails to start and says so. */
async function freePort(): Promise<number> {
  const server = net.createServer();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.on("error", reject).listen(0, "127.0.0.1", resolve);
  await promise;
  const address = server.address();
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  await closed.promise;
  if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
  return address.port;
}
