import type { IoFailure } from "#base/errors.ts";
import type { DeviceLink, DeviceLinkEvents } from "./device-link.ts";

/** A range of a device that is either stored or reads as zeros without taking space. */
export type Extent = { readonly offset: number; readonly length: number; readonly hole: boolean };

/**
 * What holds a volume's blocks: a sparse file, a block device, an NBD server.
 *
 * Everything calls back, and may do so before the call returns. `context` is handed through untouched, so that one
 * function serves all requests and none costs a closure. Writes and zeroes that overlap take effect in the order in
 * which they were submitted, and a read finds what was submitted before it, and maybe some of what came after; whoever
 * implements the port sees to that. Chunks must stay untouched until the callback.
 */
export type BlockDevice = {
  /** Grows by `grow` alone. */
  readonly bytes: number;
  read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void;
  write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void;
  /** Makes the range read as zeros; with `mayPunch` it need not keep its space. */
  zero<C>(offset: number, length: number, mayPunch: boolean, context: C, done: WriteDone<C>): void;
  /** Makes every write answered before the call durable. A failure is final (see `File.sync`). */
  sync(done: (failure: IoFailure | undefined) => void): void;
  /** Why it is used no more, until it is opened again: a sync of it has failed, or the link to it is lost. */
  failure(): IoFailure | undefined;
  /**
   * Bytes written since the last good sync began, at most: what was written twice counts twice. The device begins a
   * sync by itself when they are many.
   */
  unsyncedBytes(): number;
  /** So much is unsynced that the caller is to hold back its hosts until a sync has been answered. */
  isPressed(): boolean;
  /** What is stored in the range, in order and without gaps. A device that cannot tell says that all is stored. */
  extents(offset: number, length: number, done: (extents: readonly Extent[]) => void): void;
  /** Why `grow` could not make it so large, as far as that is known without doing it; undefined where nothing is. */
  whyNotGrow(bytes: number): IoFailure | undefined;
  /**
   * Makes the device hold `bytes` at least, durably, with zeros in all of it that is new: also where a growth that was cut
   * short has left something. What there was before stays as it is, and may be read and written meanwhile. Never shrinks it.
   */
  grow(bytes: number, done: (failure: IoFailure | undefined) => void): void;
  close(): void;
  /**
   * For a device behind a link: hands the link over. Whoever takes it has the device for himself, loss and return included;
   * everything else here is out of use then but `close`. Nothing of it may be under way.
   */
  readonly takeLink?: (events: DeviceLinkEvents) => DeviceLink;
};

export type ReadDone<C> = (context: C, failure: IoFailure | undefined, bytes: Uint8Array) => void;
export type WriteDone<C> = (context: C, failure: IoFailure | undefined) => void;
