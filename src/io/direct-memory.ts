import { limits } from "#base/limits.ts";

/**
 * Memory that the disk can read from: it begins at a page, where a buffer of Node's begins anywhere. All images of a process
 * share it, and how much there is of it bounds how many of their writes are under way: each keeps a thread of the pool busy.
 */
export class DirectMemory {
  readonly #free: Uint8Array[] = [];
  #made = 0;
  readonly #waiting: (() => void)[] = [];

  take(): Uint8Array | undefined {
    const block = this.#free.pop();
    if (block !== undefined || this.#made === limits.directWritesMax) return block;
    this.#made += 1;
    return pageAligned(limits.directWriteBytesMax);
  }

  giveBack(block: Uint8Array): void {
    this.#free.push(block);
    this.#waiting.shift()?.();
  }

  /** Calls back once, when a block has come back; by then somebody else may have taken it. */
  whenFree(wake: () => void): void {
    this.#waiting.push(wake);
  }
}

/**
 * A buffer that could be resized lies in pages of its own, so that it could. Should that change one day, the disk refuses
 * what does not begin where it must, and writes go by way of the page cache.
 */
function pageAligned(bytes: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(bytes, { maxByteLength: bytes }), 0, bytes);
}
