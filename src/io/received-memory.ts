import { limits } from "#base/limits.ts";

/** A connection that may still have received chunks under way to its other end. */
export type Sender = {
  /** Something is queued or not yet taken by the kernel. */
  isBusy(): boolean;
  /** Tells the release when everything queued by now has been taken by the kernel, or never will be. */
  whenTaken(release: Release): void;
};

/** Chunks to be given back, and how many senders may still read from them. */
export type Release = { readonly chunks: readonly Uint8Array[]; senders: number };

/**
 * Gives the memory of large received chunks back as soon as nobody reads it any more, without waiting for the garbage
 * collector.
 *
 * Node receives into fresh blocks of 64 KiB. V8 counts them as pressure and answers a stream of large writes with a full
 * collection every few dozen milliseconds: half of the time that receiving 1 MiB writes takes, and most of the memory.
 * Only chunks that fill their block are given back, so that no neighbour in the block can be hurt; that is nearly all of
 * a large write.
 *
 * The kernel reads from a chunk until it has taken it, whatever the other end claims to have received; hence the senders.
 */
export class ReceivedMemory {
  readonly #senders = new Set<Sender>();

  join(sender: Sender): void {
    this.#senders.add(sender);
  }

  leave(sender: Sender): void {
    this.#senders.delete(sender);
  }

  /** The caller, and whoever it lent the chunks to, will neither look at them nor begin to send them again. */
  giveBack(chunks: readonly Uint8Array[]): void {
    let release: Release | undefined;
    for (const sender of this.#senders) {
      if (!sender.isBusy()) continue;
      release ??= { chunks, senders: 0 };
      release.senders++;
      sender.whenTaken(release);
    }
    if (release === undefined) freeWhole(chunks);
  }
}

/** One of the senders is through with a release's chunks. */
export function senderDone(release: Release): void {
  release.senders--;
  if (release.senders === 0) freeWhole(release.chunks);
}

/** Frees the blocks that these chunks fill. */
export function freeWhole(chunks: readonly Uint8Array[]): void {
  for (const { buffer, byteLength } of chunks) {
    if (byteLength < limits.giveBackBytesMin || byteLength !== buffer.byteLength) continue;
    // Moving a buffer's content into one of no size leaves nothing of it.
    if (buffer instanceof ArrayBuffer) buffer.transfer(0);
  }
}
