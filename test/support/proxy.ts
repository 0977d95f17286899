// A TCP proxy between two sites, for the faults of a network: late, narrow, cut, silent, lying.

import net from "node:net";
import type { TestContext } from "node:test";
import { onEnd } from "./on-end.ts";

export type Proxy = {
  /** Where to dial instead of the target. */
  readonly address: string;
  /** Added to every chunk on its way, both ways. */
  delayMs: number;
  /** Ceiling for each direction of each connection; undefined: none. */
  bytesPerSecond: number | undefined;
  /** Swallows everything both ways, also what new connections say, and tells nobody. */
  isHole: boolean;
  /** Refuses new connections with a reset. */
  isClosed: boolean;
  /** Resets every connection that there is; how many those were. */
  cut(): number;
  /** Does something to the next chunk of at least `bytesMin` from dialer to target; resolves when it has been done. */
  spoilNext(bytesMin: number, how: Spoil): Promise<void>;
  /** Bytes passed on from dialer to target since the start. */
  readonly bytesForth: () => number;
};

export type Spoil =
  /** One bit of the byte at this place of the chunk is turned over. */
  | { readonly kind: "flip"; readonly at: number }
  /** The first bytes pass, then the connection is reset. */
  | { readonly kind: "cutAt"; readonly at: number };

type Pair = { readonly near: net.Socket; readonly far: net.Socket };

type Armed = { readonly bytesMin: number; readonly how: Spoil; readonly done: () => void };

/** Starts a proxy to `host:port`; it ends with the test. */
export async function startProxy(t: TestContext, target: string): Promise<Proxy> {
  const pairs = new Set<Pair>();
  const colon = target.lastIndexOf(":");
  const host = target.slice(0, colon);
  const port = Number(target.slice(colon + 1));
  let forth = 0;
  let armed: Armed | undefined;

  const server = net.createServer((near) => {
    if (proxy.isClosed) {
      near.resetAndDestroy();
      return;
    }
    const far = net.connect({ host, port });
    const pair = { near, far };
    pairs.add(pair);
    link(near, far, (chunk) => {
      forth += chunk.length;
      const spoil = armed;
      if (spoil === undefined || chunk.length < spoil.bytesMin) return chunk;
      armed = undefined;
      spoil.done();
      return spoiled(chunk, spoil.how, pair);
    });
    link(far, near, (chunk) => chunk);
    const drop = (): void => {
      if (!pairs.delete(pair)) return;
      // An end that a hole swallowed must stay swallowed, too.
      if (proxy.isHole) return;
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("close", drop).on("error", () => undefined);
  });

  const link = (from: net.Socket, to: net.Socket, look: (chunk: Buffer) => Buffer): void => {
    let freeAtMs = 0;
    from.on("data", (chunk: Buffer) => {
      if (proxy.isHole) return;
      const bytes = look(chunk);
      const nowMs = performance.now();
      const { bytesPerSecond } = proxy;
      const sendMs = bytesPerSecond === undefined ? 0 : (bytes.length * 1000) / bytesPerSecond;
      freeAtMs = Math.max(freeAtMs, nowMs + proxy.delayMs) + sendMs;
      if (bytes.length === 0) return;
      if (freeAtMs <= nowMs) to.write(bytes);
      else setTimeout(() => to.write(bytes), freeAtMs - nowMs);
    });
  };

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  const cut = (): number => {
    const count = pairs.size;
    for (const pair of pairs) reset(pair);
    pairs.clear();
    return count;
  };
  onEnd(t, async () => {
    cut();
    await new Promise((resolve) => server.close(resolve));
  });
  const proxy: Proxy = {
    address: `127.0.0.1:${address.port}`,
    delayMs: 0,
    bytesPerSecond: undefined,
    isHole: false,
    isClosed: false,
    cut,
    spoilNext: (bytesMin, how) =>
      new Promise((done) => {
        armed = { bytesMin, how, done };
      }),
    bytesForth: () => forth,
  };
  return proxy;
}

function spoiled(chunk: Buffer, how: Spoil, pair: Pair): Buffer {
  if (how.kind === "flip") {
    const changed = Buffer.from(chunk);
    changed[how.at] = (changed[how.at] ?? 0) ^ 0x10;
    return changed;
  }
  // The target gets an orderly end behind the bytes, since a reset would overtake them; the dialer gets the reset.
  pair.far.end(chunk.subarray(0, how.at));
  pair.near.resetAndDestroy();
  return Buffer.alloc(0);
}

function reset({ near, far }: Pair): void {
  near.resetAndDestroy();
  far.resetAndDestroy();
}
