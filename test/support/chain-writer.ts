// A host that waits for each reply before it writes again, over two volumes in turn: the classical log-then-data pattern. What
// it leaves in an image tells up to which write the image came, and whether it is a state that the host could have seen.

import assert from "node:assert/strict";
import { connectHost, ConnectionLost, type NbdHost } from "./nbd-host.ts";

const blockBytes = 4096;

export type ChainWriter = {
  /** Writes that were replied. */
  readonly acked: () => number;
  /** Resolves when so many more writes have been replied. */
  more(count: number): Promise<void>;
  stop(): Promise<void>;
  readonly ended: Promise<void>;
  /** The highest write that the volumes hold; throws unless they hold exactly what was written up to it. */
  prefixOf(
    read: (volume: number, offset: number, length: number) => Buffer | Promise<Buffer>,
  ): Promise<number>;
};

export type ChainOptions = {
  readonly socket: string;
  /** Exports, written in turn. */
  readonly exports: readonly string[];
  /** Blocks of each export that are written again and again. */
  readonly blocks: number;
  /** A FLUSH after so many writes. */
  readonly flushEvery?: number;
};

/** Begins to write. */
export async function startChainWriter(options: ChainOptions): Promise<ChainWriter> {
  const hosts: NbdHost[] = [];
  for (const name of options.exports) hosts.push(await connectHost(options.socket, name));
  const state = { acked: 0, isStopping: false };
  const watchers: { readonly at: number; readonly give: () => void }[] = [];
  const ended = run(options, hosts, state, () => {
    for (const watcher of watchers.filter(({ at }) => at <= state.acked)) {
      watchers.splice(watchers.indexOf(watcher), 1);
      watcher.give();
    }
  });
  return {
    acked: () => state.acked,
    more(count) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      watchers.push({ at: state.acked + count, give: resolve });
      ended.then(() => reject(new Error("the writer has ended")), reject);
      return promise;
    },
    async stop() {
      state.isStopping = true;
      await ended;
    },
    ended,
    prefixOf: (read) => prefixOf(options, read),
  };
}

async function run(
  { exports, blocks, flushEvery }: ChainOptions,
  hosts: readonly NbdHost[],
  state: { acked: number; isStopping: boolean },
  onAck: () => void,
): Promise<void> {
  try {
    for (let number = 1; !state.isStopping; number += 1) {
      const host = hosts[number % exports.length];
      assert.ok(host !== undefined);
      const block = Buffer.alloc(blockBytes);
      for (let at = 0; at < blockBytes; at += 8) block.writeBigUInt64LE(BigInt(number), at);
      const error = await host.write(offsetOf(number, exports.length, blocks), block);
      if (error !== 0) throw new Error(`write ${number} was answered with error ${error}`);
      if (flushEvery !== undefined && number % flushEvery === 0) await host.flush();
      state.acked = number;
      onAck();
    }
  } catch (error: unknown) {
    if (!(error instanceof ConnectionLost)) throw error;
  } finally {
    for (const host of hosts) host.close();
  }
}

function offsetOf(number: number, volumes: number, blocks: number): number {
  return (Math.floor(number / volumes) % blocks) * blockBytes;
}

async function prefixOf(
  { exports, blocks }: ChainOptions,
  read: (volume: number, offset: number, length: number) => Buffer | Promise<Buffer>,
): Promise<number> {
  const volumes = exports.length;
  const held: number[][] = [];
  let highest = 0;
  for (let volume = 0; volume < volumes; volume += 1) {
    const bytes = await read(volume, 0, blocks * blockBytes);
    held[volume] = Array.from({ length: blocks }, (_, block) =>
      numberIn(bytes.subarray(block * blockBytes, (block + 1) * blockBytes)),
    );
    highest = Math.max(highest, ...(held[volume] ?? []));
  }
  for (let volume = 0; volume < volumes; volume += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const expected = lastWrite({ volume, block, volumes, blocks }, highest);
      const found = held[volume]?.[block];
      assert.equal(found, expected, `volume ${volume} block ${block} of an image up to ${highest}`);
    }
  }
  return highest;
}

/** The last write up to `highest` that went to this block; 0 when none did. */
function lastWrite(
  at: {
    readonly volume: number;
    readonly block: number;
    readonly volumes: number;
    readonly blocks: number;
  },
  highest: number,
): number {
  const { volume, block, volumes, blocks } = at;
  for (let number = highest; number > highest - volumes * blocks && number > 0; number -= 1) {
    const isHere = number % volumes === volume && Math.floor(number / volumes) % blocks === block;
    if (isHere) return number;
  }
  return 0;
}

function numberIn(block: Buffer): number {
  const number = block.readBigUInt64LE(0);
  for (let at = 0; at < block.length; at += 8)
    assert.equal(block.readBigUInt64LE(at), number, "a torn block");
  return Number(number);
}
