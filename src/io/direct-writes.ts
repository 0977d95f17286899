import { must } from "#base/assert.ts";
import { firstBytes, restOf } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { at, createFifo, peek, push, shift } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { meets, meetsAny } from "#base/span.ts";
import type { Span } from "#base/span.ts";
import type { DirectMemory } from "./direct-memory.ts";
import type { OpenFile } from "./open-file.ts";

/** A write that goes past the page cache. Its chunks stay untouched until `done`. */
type LongWrite = Span & {
  readonly kind: "long";
  readonly chunks: readonly Uint8Array[];
  readonly done: (failure: IoFailure | undefined) => void;
};

/** Anything else, by way of the page cache: begun on this thread, as soon as no long write is under way. */
type Other = Span & { readonly kind: "other"; readonly run: () => void };

/** What it needs of the descriptor. */
export type DirectFile = Pick<OpenFile, "writeInPool" | "close">;

export type DirectWritesOptions = {
  /** A descriptor of its own, opened with `O_DIRECT`. */
  readonly file: DirectFile;
  readonly memory: DirectMemory;
  /** Writes from so many bytes on, once this many of them have come in a row. */
  readonly bytesMin?: number;
  readonly runMin?: number;
  /** Why nothing is to be written any more. */
  readonly dead: () => IoFailure | undefined;
  /** By way of the page cache: what the disk would not take otherwise. */
  readonly writeCached: (offset: number, chunks: readonly Uint8Array[]) => IoFailure | undefined;
};

/**
 * Long writes to an image, from the thread pool and past the page cache (`O_DIRECT`; docs/decisions/0022).
 *
 * A file system makes a write to the page cache wait while one past it is under way in the same file, and the caller of the
 * former is the thread that serves everybody. So the two are never mixed: what comes while long writes are under way waits
 * here for their end, and what comes behind it waits for its turn, in the order of the calls. That would cost short writes
 * dearly where both kinds come by turns; there, all go through the page cache, since only the last of several long
 * ones in a row take this way.
 */
export class DirectWrites {
  readonly #file: DirectFile;
  readonly #memory: DirectMemory;
  readonly #bytesMin: number;
  readonly #runMin: number;
  readonly #dead: DirectWritesOptions["dead"];
  readonly #writeCached: DirectWritesOptions["writeCached"];
  readonly #underWay = new Set<LongWrite>();
  readonly #waiting: Fifo<LongWrite | Other> = createFifo();
  /** Long writes since the last short one. */
  #run = 0;
  /** The disk refused one as none that it can make. */
  #isRefused = false;
  #awaitsMemory = false;

  constructor(options: DirectWritesOptions) {
    this.#file = options.file;
    this.#memory = options.memory;
    this.#bytesMin = options.bytesMin ?? limits.directWriteBytesMin;
    this.#runMin = options.runMin ?? limits.directWriteRunMin;
    this.#dead = options.dead;
    this.#writeCached = options.writeCached;
  }

  /** Nothing is under way or waits: whatever else changes the file may do it at once. */
  get isIdle(): boolean {
    return this.#underWay.size === 0 && this.#waiting.count === 0;
  }

  /** Whether this write, which is the next one, is to be given to `write`. */
  takes(offset: number, length: number): boolean {
    const unit = limits.directWriteUnitBytes;
    if (length < this.#bytesMin || offset % unit !== 0 || length % unit !== 0) {
      this.#run = 0;
      return false;
    }
    this.#run += 1;
    return this.#run > this.#runMin && !this.#isRefused;
  }

  write(
    offset: number,
    length: number,
    chunks: readonly Uint8Array[],
    done: (failure: IoFailure | undefined) => void,
  ): void {
    push(this.#waiting, { kind: "long", offset, length, chunks, done });
    this.#begin();
  }

  /** Has anything else that changes the file wait for its turn. */
  after(offset: number, length: number, run: () => void): void {
    push(this.#waiting, { kind: "other", offset, length, run });
    this.#begin();
  }

  /** Whether a read of this range has to wait for its turn, too, to find what was written before it was asked for. */
  changes(offset: number, length: number): boolean {
    if (this.isIdle) return false;
    const range = { offset, length };
    if (meetsAny(range, this.#underWay)) return true;
    for (let i = 0; i < this.#waiting.count; i += 1)
      if (meets(range, must(at(this.#waiting, i), "it waits"))) return true;
    return false;
  }

  /** Closes the descriptor when what is under way has ended. What waits has its turn then, and finds the file dead. */
  close(): void {
    this.#file.close();
  }

  #begin(): void {
    for (let next = peek(this.#waiting); next !== undefined; next = peek(this.#waiting)) {
      if (next.kind === "other") {
        if (this.#underWay.size > 0) return;
        shift(this.#waiting);
        next.run();
        continue;
      }
      if (meetsAny(next, this.#underWay)) return;
      const block = this.#memory.take();
      if (block === undefined) return this.#awaitMemory();
      shift(this.#waiting);
      this.#underWay.add(next);
      this.#write(next, 0, block);
    }
  }

  #awaitMemory(): void {
    if (this.#awaitsMemory) return;
    this.#awaitsMemory = true;
    this.#memory.whenFree(() => {
      this.#awaitsMemory = false;
      this.#begin();
    });
  }

  /** A block after the other, from byte `from` of it on. */
  #write(write: LongWrite, from: number, block: Uint8Array): void {
    const dead = this.#dead();
    if (dead !== undefined || from === write.length) return this.#end(write, block, dead);
    const piece = block.subarray(0, Math.min(block.length, write.length - from));
    fill(piece, firstBytes(restOf(write.chunks, from), piece.length));
    const at = write.offset + from;
    this.#file.writeInPool(at, piece, (count, failure) => {
      if (failure?.code === "EINVAL") this.#isRefused = true;
      else if (failure !== undefined) return this.#end(write, block, failure);
      const rest = piece.subarray(count);
      const refused = rest.length === 0 ? undefined : this.#writeCached(at + count, [rest]);
      if (refused !== undefined) return this.#end(write, block, refused);
      this.#write(write, from + piece.length, block);
    });
  }

  #end(write: LongWrite, block: Uint8Array, failure: IoFailure | undefined): void {
    this.#underWay.delete(write);
    this.#memory.giveBack(block);
    write.done(failure);
    this.#begin();
  }
}

function fill(block: Uint8Array, chunks: readonly Uint8Array[]): void {
  let end = 0;
  for (const chunk of chunks) {
    block.set(chunk, end);
    end += chunk.length;
  }
}
