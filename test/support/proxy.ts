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
  const proxy = new TcpProxy(target);
  onEnd(t, () => proxy.close());
  await proxy.listen();
  return proxy;
}

class TcpProxy implements Proxy {
  delayMs = 0;
  bytesPerSecond: number | undefined;
  isHole = false;
  isClosed = false;
  address = "";
  readonly #host: string;
  readonly #port: number;
  readonly #pairs = new Set<Pair>();
  readonly #server = net.createServer((near) => this.#accept(near));
  #forth = 0;
  #armed: Armed | undefined;

  constructor(target: string) {
    const colon = target.lastIndexOf(":");
    this.#host = target.slice(0, colon);
    this.#port = Number(target.slice(colon + 1));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy has no port");
    this.address = `127.0.0.1:${address.port}`;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  cut(): number {
    const count = this.#pairs.size;
    for (const pair of this.#pairs) reset(pair);
    this.#pairs.clear();
    return count;
  }

  spoilNext(bytesMin: number, how: Spoil): Promise<void> {
    return new Promise((done) => {
      this.#armed = { bytesMin, how, done };
    });
  }

  bytesForth = (): number => this.#forth;

  #accept(near: net.Socket): void {
    if (this.isClosed) {
      near.resetAndDestroy();
      return;
    }
    const far = net.connect({ host: this.#host, port: this.#port });
    const pair = { near, far };
    this.#pairs.add(pair);
    this.#link(near, far, (chunk) => this.#look(pair, chunk));
    this.#link(far, near, (chunk) => chunk);
    // One end's end is passed on, unless the hole swallows it: then the other end stays, and is cut later.
    const drop = (): void => {
      if (this.isHole || !this.#pairs.delete(pair)) return;
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("close", drop).on("error", () => undefined);
  }

  #look(pair: Pair, chunk: Buffer): Buffer {
    this.#forth += chunk.length;
    const armed = this.#armed;
    if (armed === undefined || chunk.length < armed.bytesMin) return chunk;
    this.#armed = undefined;
    armed.done();
    return spoiled(chunk, armed.how, pair);
  }

  #link(from: net.Socket, to: net.Socket, look: (chunk: Buffer) => Buffer): void {
    let freeAtMs = 0;
    from.on("data", (chunk: Buffer) => {
      if (this.isHole) return;
      const bytes = look(chunk);
      if (bytes.length === 0) return;
      const nowMs = performance.now();
      const rate = this.bytesPerSecond;
      const sendMs = rate === undefined ? 0 : (bytes.length * 1000) / rate;
      freeAtMs = Math.max(freeAtMs, nowMs + this.delayMs) + sendMs;
      if (freeAtMs <= nowMs) to.write(bytes);
      else setTimeout(() => to.write(bytes), freeAtMs - nowMs);
    });
  }
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
