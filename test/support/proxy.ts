// A TCP proxy between two sites, for the faults of a network: late, narrow, cut, silent, lying.

import net from "node:net";
import type { TestContext } from "node:test";
import { MiB } from "#base/limits.ts";
import { createClock } from "#io/clock.ts";
import { LinkWay } from "./link-way.ts";
import { onEnd } from "./on-end.ts";
import { resetSocket } from "./reset-socket.ts";

export type Proxy = {
  /** Where to dial instead of the target. */
  readonly address: string;
  /** What every chunk takes on its way, both ways. */
  delayMs: number;
  /** Ceiling for each direction, whatever the number of connections; undefined: none. */
  bytesPerSecond: number | undefined;
  /** Swallows everything both ways, also what new connections say, and tells nobody. */
  isHole: boolean;
  /** Swallows everything one way: from dialer to target, or back. */
  isHoleForth: boolean;
  isHoleBack: boolean;
  /** Refuses new connections with a reset. */
  isClosed: boolean;
  /** Nobody listens here any more, as where a process has ended. Connections are reset. */
  close(): Promise<void>;
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

/** The two directions of a link, as a dialer sees them. Several proxies may lead over the same link. */
export type Link = { readonly forth: LinkWay; readonly back: LinkWay };

/**
 * What a connection may leave untaken at its far end before it is no longer read from. With less, every chunk would stop it.
 */
const untakenBytesMax = 1 * MiB;

/**
 * An orderly end takes its way like all bytes, so one direction may end before the other. A small chunk does not wait until the
 * one before it is confirmed: that would add the kernel's 40 ms to a link of 10.
 */
const socketOptions = { highWaterMark: untakenBytesMax, allowHalfOpen: true, noDelay: true };

/** Starts a proxy to `host:port`; it ends with the test. */
export async function startProxy(t: TestContext, target: string): Promise<Proxy> {
  const proxy = new TcpProxy(target, createLink());
  onEnd(t, () => proxy.close());
  await proxy.listen();
  return proxy;
}

export function createLink(): Link {
  const clock = createClock();
  return { forth: new LinkWay(clock), back: new LinkWay(clock) };
}

export class TcpProxy implements Proxy {
  isHole = false;
  isHoleForth = false;
  isHoleBack = false;
  isClosed = false;
  address = "";
  readonly #host: string;
  readonly #port: number;
  readonly #pairs = new Set<Pair>();
  readonly #link: Link;
  readonly #server = net.createServer(socketOptions, (near) => this.#accept(near));
  #forth = 0;
  #armed: Armed | undefined;

  constructor(target: string, link: Link) {
    this.#link = link;
    const colon = target.lastIndexOf(":");
    this.#host = target.slice(0, colon);
    this.#port = Number(target.slice(colon + 1));
  }

  get delayMs(): number {
    return this.#link.forth.delayMs;
  }

  set delayMs(delayMs: number) {
    for (const way of [this.#link.forth, this.#link.back]) way.delayMs = delayMs;
  }

  get bytesPerSecond(): number | undefined {
    return this.#link.forth.bytesPerSecond;
  }

  set bytesPerSecond(rate: number | undefined) {
    for (const way of [this.#link.forth, this.#link.back]) way.bytesPerSecond = rate;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy has no port");
    this.address = `127.0.0.1:${address.port}`;
  }

  async close(): Promise<void> {
    this.cut();
    if (!this.#server.listening) return;
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
      resetSocket(near);
      return;
    }
    const far = net.connect({ host: this.#host, port: this.#port, ...socketOptions });
    const pair = { near, far };
    this.#pairs.add(pair);
    const { forth, back } = this.#link;
    this.#lead(forth, {
      from: near,
      to: far,
      look: (chunk) => this.#look(pair, chunk),
      isLost: () => this.isHole || this.isHoleForth,
    });
    this.#lead(back, {
      from: far,
      to: near,
      look: (chunk) => chunk,
      isLost: () => this.isHole || this.isHoleBack,
    });
    // What breaks at one end breaks at the other, unless the hole swallows it: then the other end stays, and is cut later.
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

  /** Passes on what comes in, as fast as the way takes it and the far end is taken from; else it is left where it is. */
  #lead(way: LinkWay, { from, to, look, isLost }: Lead): void {
    const deliver = (bytes: Buffer): void => {
      if (!to.destroyed && !to.write(bytes)) from.pause();
    };
    const goOn = (): void => {
      if (from.destroyed || to.writableNeedDrain) return;
      if (way.isFull()) way.whenRoom(goOn);
      else from.resume();
    };
    from.on("data", (chunk: Buffer) => {
      if (isLost()) return;
      const bytes = look(chunk);
      if (bytes.length === 0) return;
      way.send(bytes, deliver);
      if (!way.isFull()) return;
      from.pause();
      way.whenRoom(goOn);
    });
    from.on("end", () => {
      if (!isLost()) way.send(Buffer.alloc(0), () => to.end());
    });
    to.on("drain", goOn);
  }
}

type Lead = {
  readonly from: net.Socket;
  readonly to: net.Socket;
  readonly look: (chunk: Buffer) => Buffer;
  readonly isLost: () => boolean;
};

function spoiled(chunk: Buffer, how: Spoil, pair: Pair): Buffer {
  if (how.kind === "flip") {
    const changed = Buffer.from(chunk);
    changed[how.at] = (changed[how.at] ?? 0) ^ 0x10;
    return changed;
  }
  // The target gets an orderly end behind the bytes, since a reset would overtake them; the dialer gets the reset.
  pair.far.end(chunk.subarray(0, how.at));
  resetSocket(pair.near);
  return Buffer.alloc(0);
}

function reset({ near, far }: Pair): void {
  resetSocket(near);
  resetSocket(far);
}
