// A host that waits for each reply before it writes again, over two volumes in turn: the classical log-then-data pattern. What
// it leaves in an image tells up to which write the image came, and whether it is a state that the host could have seen.

import assert from "node:assert/strict";
import { connectHost, ConnectionLost, type NbdHost } from "./nbd-host.ts";
import { judgePrefix, type PlacedWrite } from "./prefix-test.ts";

const blockBytes = 4096;

export type ChainWriter = {
  /** Writes that were replied. */
  readonly acked: () => number;
  /** Resolves when so many more writes have been replied. */
  more(count: number): Promise<void>;
  stop(): Promise<void>;
  /** Resolves when it has stopped, or when its connection was lost. */
  readonly ended: () => Promise<void>;
  /**
   * Goes on after the connection was lost, or it was stopped, with the write that was not replied: its retry brings the same
   * bytes. From `held` on, where another site has taken over that holds no more.
   */
  reconnect(socket: string, held?: number): Promise<void>;
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

type Watcher = {
  readonly at: number;
  readonly give: () => void;
  readonly lose: (error: Error) => void;
};

type ChainState = {
  acked: number;
  /** The highest that was ever asked for. */
  issued: number;
  isStopping: boolean;
  watchers: Watcher[];
};

/** Begins to write. */
export async function startChainWriter(options: ChainOptions): Promise<ChainWriter> {
  const state: ChainState = { acked: 0, issued: 0, isStopping: false, watchers: [] };
  let ended = Promise.resolve();
  const begin = async (socket: string): Promise<void> => {
    const hosts: NbdHost[] = [];
    for (const name of options.exports) hosts.push(await connectHost(socket, name));
    ended = run(options, hosts, state);
    // Who waits for it hears of its failure there.
    ended.catch(() => undefined);
  };
  await begin(options.socket);
  return {
    acked: () => state.acked,
    more(count) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      state.watchers.push({ at: state.acked + count, give: resolve, lose: reject });
      return promise;
    },
    async stop() {
      state.isStopping = true;
      await ended;
    },
    ended: () => ended,
    async reconnect(socket, held) {
      await ended;
      state.isStopping = false;
      state.acked = held ?? state.acked;
      await begin(socket);
    },
    prefixOf: (read) => prefixOf(options, state.issued, read),
  };
}

async function run(
  { exports, blocks, flushEvery }: ChainOptions,
  hosts: readonly NbdHost[],
  state: ChainState,
): Promise<void> {
  let why = new Error("the writer has ended");
  try {
    for (let number = state.acked + 1; !state.isStopping; number += 1) {
      const host = hosts[number % exports.length];
      assert.ok(host !== undefined);
      state.issued = Math.max(state.issued, number);
      const block = Buffer.alloc(blockBytes);
      for (let at = 0; at < blockBytes; at += 8) block.writeBigUInt64LE(BigInt(number), at);
      const error = await host.write(offsetOf(number, exports.length, blocks), block);
      if (error !== 0) throw new Error(`write ${number} was answered with error ${error}`);
      if (flushEvery !== undefined && number % flushEvery === 0) await host.flush();
      state.acked = number;
      for (const watcher of state.watchers.filter(({ at }) => at <= number)) watcher.give();
      state.watchers = state.watchers.filter(({ at }) => at > number);
    }
  } catch (error: unknown) {
    if (error instanceof Error) why = error;
    if (!(error instanceof ConnectionLost)) throw error;
  } finally {
    for (const host of hosts) host.close();
    for (const watcher of state.watchers.splice(0)) watcher.lose(why);
  }
}

// Blocks are rewritten after few writes and after many: a multiplicative hash scatters them.
function blockOf(number: number, blocks: number): number {
  return Math.floor(((Math.imul(number, 2_654_435_761) >>> 0) / 2 ** 32) * blocks);
}

function offsetOf(number: number, volumes: number, blocks: number): number {
  return blockOf(Math.floor(number / volumes), blocks) * blockBytes;
}

function* writesOf({ exports, blocks }: ChainOptions, issued: number): Generator<PlacedWrite> {
  for (let number = 1; number <= issued; number += 1) {
    const offset = offsetOf(number, exports.length, blocks);
    yield { number, place: placeName(number % exports.length, offset) };
  }
}

function placeName(volume: number, offset: number): string {
  return `volume ${volume} at ${offset}`;
}

async function prefixOf(
  options: ChainOptions,
  issued: number,
  read: (volume: number, offset: number, length: number) => Buffer | Promise<Buffer>,
): Promise<number> {
  const held = new Map<string, number>();
  for (const volume of options.exports.keys()) {
    const bytes = await read(volume, 0, options.blocks * blockBytes);
    for (let offset = 0; offset < bytes.length; offset += blockBytes)
      held.set(placeName(volume, offset), numberIn(bytes.subarray(offset, offset + blockBytes)));
  }
  const verdict = judgePrefix(writesOf(options, issued), held);
  if (!verdict.isPrefix) assert.fail(`no state that the host could have seen: ${verdict.why}`);
  return verdict.from;
}

function numberIn(block: Buffer): number {
  const number = block.readBigUInt64LE(0);
  for (let at = 0; at < block.length; at += 8)
    assert.equal(block.readBigUInt64LE(at), number, "a torn block");
  return Number(number);
}
