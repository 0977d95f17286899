import { limits } from "#base/limits.ts";

/** A connection that may still have received chunks under way to its other end. */
export type Sender = {
  /** Something is queued or not yet taken by the kernel. */
  isBusy(): boolean;
  /** Tells the release when everything queued by now has been taken by the kernel, or never will be. */
  whenTaken(release: Release): void;
};

/** Chunks to be given back, and how many senders may still read from them. */
export type Release = {
  readonly chunks: readonly Uint8Array[];
  senders: number;
  readonly kept: KeptBlocks;
};

/**
 * Memory for what is received, which is used again as soon as nobody reads it any more, without waiting for the garbage
 * collector.
 *
 * V8 counts received blocks as pressure and answers a stream of large writes with a full collection every few dozen
 * milliseconds: half of the time that receiving 1 MiB writes takes, and most of the memory. A block is taken back when all
 * of its bytes have been, so that no neighbour in the block can be hurt; that is nearly all of a large write.
 *
 * The kernel reads from a chunk until it has taken it, whatever the other end claims to have received; hence the
 * senders.
 */
export class ReceivedMemory {
  readonly #senders = new Set<Sender>();
  readonly #kept = new KeptBlocks();

  join(sender: Sender): void {
    this.#senders.add(sender);
  }

  leave(sender: Sender): void {
    this.#senders.delete(sender);
  }

  /** Memory for a message, not cleared. */
  readonly take = (bytes: number): Uint8Array => this.#kept.take(bytes);

  /** The caller, and whoever it lent the chunks to, will neither look at them nor begin to send them again. */
  giveBack(chunks: readonly Uint8Array[]): void {
    let release: Release | undefined;
    for (const sender of this.#senders) {
      if (!sender.isBusy()) continue;
      release ??= { chunks, senders: 0, kept: this.#kept };
      release.senders++;
      sender.whenTaken(release);
    }
    if (release === undefined) this.#kept.keep(chunks);
  }
}

/** One of the senders is through with a release's chunks. */
export function senderDone(release: Release): void {
  release.senders--;
  if (release.senders === 0) release.kept.keep(release.chunks);
}

/** Blocks that nobody uses, by their size: hosts write the same few sizes again and again. */
class KeptBlocks {
  readonly #blocks = new Map<number, ArrayBuffer[]>();
  /** Of blocks that came back in part: how much. A chunk is given back once, and chunks do not overlap. */
  readonly #given = new WeakMap<ArrayBuffer, number>();
  #bytes = 0;

  take(bytes: number): Uint8Array {
    const block = this.#blocks.get(bytes)?.pop();
    if (block === undefined) return Buffer.allocUnsafeSlow(bytes);
    this.#bytes -= bytes;
    return new Uint8Array(block);
  }

  /** Takes back the blocks that these chunks fill, with those before them. Whoever still has a view of one finds it empty. */
  keep(chunks: readonly Uint8Array[]): void {
    for (const { buffer, byteLength } of chunks) {
      if (byteLength < limits.giveBackBytesMin || !(buffer instanceof ArrayBuffer)) continue;
      if (byteLength === buffer.byteLength) this.#takeBack(buffer);
      else this.#takePart(buffer, byteLength);
    }
  }

  #takePart(block: ArrayBuffer, bytes: number): void {
    const given = (this.#given.get(block) ?? 0) + bytes;
    if (given === block.byteLength) this.#takeBack(block);
    else this.#given.set(block, given);
  }

  // Moving a buffer's content elsewhere leaves nothing of it here, and moving it into one of no size frees it.
  #takeBack(block: ArrayBuffer): void {
    const { byteLength } = block;
    const isRoom = this.#bytes + byteLength <= limits.landingKeptBytesMax;
    const moved = block.transfer(isRoom ? byteLength : 0);
    if (isRoom) this.#add(moved);
  }

  #add(block: ArrayBuffer): void {
    const { byteLength } = block;
    this.#bytes += byteLength;
    const same = this.#blocks.get(byteLength);
    if (same === undefined) this.#blocks.set(byteLength, [block]);
    else same.push(block);
  }
}
