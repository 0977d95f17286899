// A proxy between two sites that knows frames: holds some back while later ones pass, sends them in another order or twice, and
// lies. What a network with several connections does to sets, and what a dishonest peer would send, both on real processes.

import net from "node:net";
import type { TestContext } from "node:test";
import { joined } from "#base/bytes.ts";
import type { Entry } from "#core/entry.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createFrameDecoder, pushChunk } from "#wire/peer/decode.ts";
import { createHeaderPool, encodeHeader } from "#wire/peer/encode.ts";
import { frameType, type FrameHeader } from "#wire/peer/messages.ts";
import { type ClusterOptions, startCluster, type TestCluster } from "./cluster.ts";
import { onEnd } from "./on-end.ts";
import { resetSocket } from "./reset-socket.ts";

export type SeenFrame = {
  readonly header: FrameHeader;
  readonly body: Uint8Array;
  /** Of a batch; none of any other frame. */
  readonly entries: readonly Entry[];
};

/** What becomes of a frame: these go in its place, now. `hold` keeps it until `release`. */
export type Verdict = "pass" | "hold" | "drop" | readonly SeenFrame[];

export type FrameProxy = {
  /** Where to dial instead of the target. */
  readonly address: string;
  /** Decides about each frame from dialer to target, and from target to dialer; everything passes by default. */
  forth: (frame: SeenFrame) => Verdict;
  back: (frame: SeenFrame) => Verdict;
  /** Refuses new connections with a reset. */
  isClosed: boolean;
  /** What is held, in the order in which it came. */
  held(): readonly SeenFrame[];
  /** Sends what is held in the order that `arrange` gives it, each on its connection, and holds no more of it. */
  release(arrange?: (held: readonly SeenFrame[]) => readonly SeenFrame[]): void;
  /** Batches that went to the target and that it has not acknowledged, over all connections that there are. */
  unacknowledged(): number;
  /** Resets every connection that there is, and forgets what is held; how many those were. */
  cut(): number;
};

export type FramedCluster = {
  readonly cluster: TestCluster;
  readonly toWest: FrameProxy;
  /** The way to each copy, by its site. */
  readonly ways: ReadonlyMap<string, FrameProxy>;
};

/** East and its copies, west or those of `sites`, each of which east dials by way of a frame proxy of its own. */
export async function startFramedCluster(
  t: TestContext,
  options: ClusterOptions = {},
): Promise<FramedCluster> {
  const copies = options.sites?.slice(1) ?? ["west"];
  const ways = new Map<string, FrameProxy>();
  const cluster = await startCluster(t, {
    ...options,
    tcp: copies,
    reach: async (peers) => {
      for (const copy of copies) ways.set(copy, await startFrameProxy(t, peers.get(copy) ?? ""));
      return { east: Object.fromEntries([...ways].map(([copy, { address }]) => [copy, address])) };
    },
  });
  const toWest = ways.get("west");
  if (toWest === undefined) throw new Error("no proxy was made");
  return { cluster, toWest, ways };
}

/** Starts a proxy to `host:port`; it ends with the test. */
async function startFrameProxy(t: TestContext, target: string): Promise<FrameProxy> {
  const proxy = new TcpFrameProxy(target);
  onEnd(t, () => proxy.close());
  await proxy.listen();
  return proxy;
}

type Held = { readonly frame: SeenFrame; readonly to: net.Socket };

class TcpFrameProxy implements FrameProxy {
  forth: FrameProxy["forth"] = () => "pass";
  back: FrameProxy["back"] = () => "pass";
  isClosed = false;
  address = "";
  readonly #far: { readonly host: string; readonly port: number };
  readonly #server = net.createServer((near) => this.#accept(near));
  readonly #sockets = new Set<net.Socket>();
  /** By the socket to the target: batches that went there, and the last that came back as staged. */
  readonly #counts = new Map<net.Socket, { sent: number; staged: number }>();
  #held: Held[] = [];

  constructor(target: string) {
    const colon = target.lastIndexOf(":");
    this.#far = { host: target.slice(0, colon), port: Number(target.slice(colon + 1)) };
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

  held = (): readonly SeenFrame[] => this.#held.map(({ frame }) => frame);

  release(arrange: (held: readonly SeenFrame[]) => readonly SeenFrame[] = (held) => held): void {
    const kept = this.#held;
    this.#held = [];
    for (const frame of arrange(kept.map((each) => each.frame))) {
      const to = kept.find((each) => each.frame === frame)?.to;
      if (to !== undefined) this.#forward(to, frame);
    }
  }

  unacknowledged(): number {
    let batches = 0;
    for (const { sent, staged } of this.#counts.values()) batches += sent - staged;
    return batches;
  }

  cut(): number {
    this.#held = [];
    const count = this.#sockets.size / 2;
    for (const socket of this.#sockets) resetSocket(socket);
    return count;
  }

  #accept(near: net.Socket): void {
    if (this.isClosed) {
      resetSocket(near);
      return;
    }
    const beyond = net.connect(this.#far);
    this.#counts.set(beyond, { sent: 0, staged: 0 });
    this.#relay(near, beyond, (frame) => this.forth(frame));
    this.#relay(beyond, near, (frame) => this.back(frame));
    const drop = (socket: net.Socket): void => {
      this.#sockets.delete(socket);
      this.#counts.delete(socket);
      this.#held = this.#held.filter(({ to }) => to !== socket);
      near.destroy();
      beyond.destroy();
    };
    for (const socket of [near, beyond]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => drop(socket));
    }
  }

  #relay(from: net.Socket, to: net.Socket, judge: (frame: SeenFrame) => Verdict): void {
    const decoder = createFrameDecoder(
      ({ header, body }) => {
        const frame = seen(header, joined(body));
        const counts = this.#counts.get(from);
        if (counts !== undefined && header.type === frameType.staged)
          counts.staged = header.sequence;
        const verdict = judge(frame);
        if (verdict === "drop") return;
        if (verdict === "hold") this.#held.push({ frame, to });
        else for (const one of verdict === "pass" ? [frame] : verdict) this.#forward(to, one);
      },
      (rule) => from.destroy(new Error(`not a frame: ${rule}`)),
    );
    from.on("data", (chunk) => pushChunk(decoder, chunk));
  }

  #forward(to: net.Socket, frame: SeenFrame): void {
    const counts = this.#counts.get(to);
    if (counts !== undefined && frame.header.type === frameType.batch) counts.sent += 1;
    send(to, frame);
  }
}

function seen(header: FrameHeader, body: Uint8Array): SeenFrame {
  if (header.type !== frameType.batch) return { header, body, entries: [] };
  const payloadBytes = header.length > 0 ? header.length : body.length - header.index;
  const decoded = decodeTable(body.subarray(0, header.index), payloadBytes);
  return { header, body, entries: decoded.ok ? decoded.value : [] };
}

/** Its checksums are made anew: what a lie says is as sound as what it stands for. */
function send(to: net.Socket, { header, body }: SeenFrame): void {
  if (to.destroyed) return;
  const isBatch = header.type === frameType.batch;
  const chunks = isBatch ? [body.subarray(0, header.index), body.subarray(header.index)] : [body];
  to.write(encodeHeader(createHeaderPool(), { ...header }, chunks));
  to.write(body);
}

/** The frame of a batch with other entries; its payload stays as it was. */
export function withEntries(frame: SeenFrame, change: (entry: Entry) => Entry): SeenFrame {
  const entries = frame.entries.map(change);
  const table = encodeTable(entries);
  return { ...frame, entries, body: joined([table, frame.body.subarray(frame.header.index)]) };
}

/** The bytes of a batch's write. */
export function payloadOf(frame: SeenFrame, entry: Entry): Uint8Array {
  let at = frame.header.index;
  for (const other of frame.entries) {
    if (other === entry) break;
    if (other.kind === "write") at += other.length;
  }
  return frame.body.subarray(at, at + entry.length);
}

/** Whether it is a batch with an entry like that. */
export function hasEntry(frame: SeenFrame, isIt: (entry: Entry) => boolean): boolean {
  return frame.entries.some((entry) => isIt(entry));
}
