// A host that knows what it may expect: it writes stamped blocks, keeps several under way, records what was replied, and
// later judges an image by that record.

import assert from "node:assert/strict";
import fs from "node:fs";
import { connectHost, ConnectionLost, type NbdHost } from "./nbd-host.ts";

export const blockBytes = 4096;

export type AckedWriterOptions = {
  /** Socket file of the site's NBD server. */
  readonly socket: string;
  readonly export?: string;
  /** Blocks that are written again and again, from `firstBlock` on. */
  readonly blocks: number;
  readonly firstBlock?: number;
  /** Writes under way at a time; never two on one block, so that the order of its versions is known. */
  readonly depth?: number;
  /** A FLUSH after so many writes; none when left out. */
  readonly flushEvery?: number;
  readonly seed?: number;
};

export type AckedWriter = {
  /** Writes that were replied without an error. */
  readonly acked: () => number;
  /** NBD errors that writes or flushes got. */
  readonly errors: readonly number[];
  /** Resolves when so many more writes have been replied; rejects when the writer has ended before. */
  more(count: number): Promise<void>;
  /** Issues no more, waits for what is under way, hangs up. */
  stop(): Promise<void>;
  /** Resolves when the writer has ended, also by losing its connection. */
  readonly ended: Promise<void>;
  /** Goes on where the last connection ended, at this socket. */
  reconnect(socket: string): Promise<void>;
  /**
   * Every block holds one whole version that was written, and none older than the last one that was replied.
   * `read` gives the bytes of the volume from an image or an export.
   */
  check(read: (offset: number, length: number) => Buffer | Promise<Buffer>): Promise<void>;
};

type Block = { issued: number; acked: number; busy: boolean };

/** Begins to write. */
export async function startAckedWriter(options: AckedWriterOptions): Promise<AckedWriter> {
  const writer = new Writer(options);
  await writer.reconnect(options.socket);
  return writer;
}

/** Reads an image for `check`, by way of the page cache as its site does. */
export function imageReader(path: string): (offset: number, length: number) => Buffer {
  return (offset, length) => {
    const bytes = Buffer.alloc(length);
    const fd = fs.openSync(path, "r");
    try {
      fs.readSync(fd, bytes, 0, length, offset);
    } finally {
      fs.closeSync(fd);
    }
    return bytes;
  };
}

class Writer implements AckedWriter {
  readonly #options: AckedWriterOptions;
  readonly #blocks: Block[];
  readonly #first: number;
  readonly errors: number[] = [];
  ended: Promise<void> = Promise.resolve();
  #acked = 0;
  #issued = 0;
  #random: number;
  #isStopping = false;
  #host: NbdHost | undefined;
  #watchers: {
    readonly at: number;
    readonly give: () => void;
    readonly lose: (e: Error) => void;
  }[] = [];

  constructor(options: AckedWriterOptions) {
    this.#options = options;
    this.#first = options.firstBlock ?? 0;
    this.#random = options.seed ?? 1;
    this.#blocks = Array.from({ length: options.blocks }, () => ({
      issued: 0,
      acked: 0,
      busy: false,
    }));
  }

  acked = (): number => this.#acked;

  async reconnect(socket: string): Promise<void> {
    const host = await connectHost(socket, this.#options.export ?? "bank/data");
    this.#host = host;
    this.#isStopping = false;
    for (const block of this.#blocks) block.busy = false;
    const lanes = Array.from({ length: this.#options.depth ?? 8 }, () => this.#lane(host));
    this.ended = Promise.all(lanes).then(() => {
      host.close();
      const error = new Error("the writer has ended");
      for (const watcher of this.#watchers.splice(0)) watcher.lose(error);
    });
  }

  async #lane(host: NbdHost): Promise<void> {
    try {
      while (!this.#isStopping) await this.#step(host);
    } catch (error: unknown) {
      // A lost connection is what most tests make; the record says what was replied before.
      if (!(error instanceof ConnectionLost)) throw error;
    }
  }

  async #step(host: NbdHost): Promise<void> {
    const at = this.#pick();
    const block = this.#blocks[at];
    if (block === undefined) return;
    block.busy = true;
    block.issued += 1;
    const version = block.issued;
    const number = this.#first + at;
    this.#issued += 1;
    const flushes = this.#options.flushEvery;
    const flush = flushes !== undefined && this.#issued % flushes === 0;
    const error = await host.write(number * blockBytes, stampedBlock(number, version));
    block.busy = false;
    if (error !== 0) {
      this.errors.push(error);
      return;
    }
    block.acked = version;
    this.#acked += 1;
    this.#watchers = this.#watchers.filter((watcher) => {
      if (this.#acked < watcher.at) return true;
      watcher.give();
      return false;
    });
    if (!flush) return;
    const failure = await host.flush();
    if (failure !== 0) this.errors.push(failure);
  }

  // A block that nobody writes to now; there are always more blocks than lanes.
  #pick(): number {
    for (;;) {
      // Numerical Recipes' linear congruential generator: the same choices for the same seed.
      this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0;
      const at = Math.floor((this.#random / 2 ** 32) * this.#blocks.length);
      if (this.#blocks[at]?.busy === false) return at;
    }
  }

  more(count: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#watchers.push({ at: this.#acked + count, give: resolve, lose: reject });
    return promise;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.ended;
    this.#host?.close();
  }

  async check(read: (offset: number, length: number) => Buffer | Promise<Buffer>): Promise<void> {
    for (const [at, block] of this.#blocks.entries()) {
      if (block.issued === 0) continue;
      const number = this.#first + at;
      const bytes = await read(number * blockBytes, blockBytes);
      const version = Number(bytes.readBigUInt64LE(8));
      const expected = version === 0 ? Buffer.alloc(blockBytes) : stampedBlock(number, version);
      assert.ok(bytes.equals(expected), `block ${number} is torn or foreign (version ${version})`);
      assert.ok(
        version >= block.acked && version <= block.issued,
        `block ${number} holds version ${version}; ${block.acked} was replied, ${block.issued} was written last`,
      );
    }
  }
}

/** A block that says in every 16 bytes which block and which version of it this is. */
export function stampedBlock(number: number, version: number): Buffer {
  const stamp = Buffer.alloc(16);
  stamp.writeBigUInt64LE(BigInt(number), 0);
  stamp.writeBigUInt64LE(BigInt(version), 8);
  return Buffer.alloc(blockBytes, stamp);
}
