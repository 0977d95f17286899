import type { IoFailure } from "#base/errors.ts";

/**
 * A file of a site's own: a map, a record, a segment of a log.
 *
 * `write` returns at once and leaves the bytes in the page cache: they survive the death of the process, not of the
 * machine. `sync` makes everything written before the call durable. A failed `sync` is final for the file (DESIGN §5):
 * the caller must not sync it again and hope.
 */
export type File = {
  readonly path: string;
  bytes(): number;
  /**
   * Reads exactly `into.length` bytes; bytes beyond the end of the file read as zero. For start-up and small files
   * only.
   */
  read(offset: number, into: Uint8Array): IoFailure | undefined;
  /**
   * The same without holding up the loop: `into` is the file's until `done` is called, which is never before this returns.
   */
  readLater(offset: number, into: Uint8Array, done: (failure: IoFailure | undefined) => void): void;
  /** Writes all chunks one behind the other, whole or with a failure. */
  write(offset: number, chunks: readonly Uint8Array[]): IoFailure | undefined;
  /**
   * Takes room on the disk for these bytes, so that writing them meets no full disk; nothing that is there changes, nor what
   * `bytes` says. ENOSPC or EDQUOT where there is none; "unsupported" where the disk knows nothing of the kind. It is quick,
   * and it may be gone after a power cut.
   */
  allocate(offset: number, length: number): IoFailure | "unsupported" | undefined;
  sync(done: (failure: IoFailure | undefined) => void): void;
  close(): void;
};

/** The disk has no room, or a quota says so: that ends by itself, and nothing was written. */
export function isNoRoom({ code }: IoFailure): boolean {
  return code === "ENOSPC" || code === "EDQUOT";
}

/** One flat folder of a site's own files. */
export type Folder = {
  readonly path: string;
  list(): readonly string[];
  /** Opens a file, or makes an empty one where none is. The new name is durable only after `sync` of the folder. */
  open(name: string): File | IoFailure;
  exists(name: string): boolean;
  remove(name: string): IoFailure | undefined;
  /**
   * Gives a file another name, which nobody may have. After a power cut before the next `sync` it may have the old name, the
   * new one, both or none. A file that is open stays open, and keeps the old name in its messages.
   */
  rename(from: string, to: string): IoFailure | undefined;
  /** Makes names that came or went before the call durable. */
  sync(done: (failure: IoFailure | undefined) => void): void;
};

export function isFailure(value: File | Folder | IoFailure): value is IoFailure {
  return "code" in value;
}
