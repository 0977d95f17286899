import fs from "node:fs";
import { restOf, totalBytes } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { failureOf } from "./failure.ts";

/**
 * An open file descriptor and the only thing that closes it.
 *
 * Calls that run in the thread pool hold the number of the descriptor, not the file. Closing waits for them: the next
 * `open` of anybody would get the same number, and a late read or sync would hit a stranger's file.
 */
export class OpenFile {
  readonly fd: number;
  readonly path: string;
  #inPool = 0;
  #closing = false;
  readonly #onClosed: () => void;

  constructor(fd: number, path: string, onClosed: () => void = () => {}) {
    this.fd = fd;
    this.path = path;
    this.#onClosed = onClosed;
  }

  /**
   * Writes all chunks from `offset` on, at once and whole, into the page cache. After a failure a part may be written.
   */
  write(offset: number, chunks: readonly Uint8Array[]): IoFailure | undefined {
    const end = offset + totalBytes(chunks);
    let at = offset;
    let rest = chunks;
    let attempts = 0;
    while (at < end) {
      try {
        const count = writeSome(this.fd, at, rest);
        at += count;
        if (at < end) rest = restOf(rest, count);
      } catch (error) {
        attempts++;
        if (isPassing(error) && attempts < limits.fileAttemptsMax) continue;
        return failureOf(error, `writing ${this.path} at byte ${at}`);
      }
    }
    return undefined;
  }

  /** Reads at once, on this thread. Answers how many bytes there were, fewer than asked only at the end of the file. */
  readNow(offset: number, into: Uint8Array): number | IoFailure {
    let done = 0;
    let attempts = 0;
    while (done < into.length) {
      try {
        const count = fs.readSync(this.fd, into, done, into.length - done, offset + done);
        if (count === 0) break;
        done += count;
      } catch (error) {
        attempts++;
        if (isPassing(error) && attempts < limits.fileAttemptsMax) continue;
        return failureOf(error, `reading ${this.path} at byte ${offset + done}`);
      }
    }
    return done;
  }

  /**
   * Fills `into` from byte `from` of it on, in the thread pool. Ending early is a failure: the caller knows the size.
   */
  readInPool(
    offset: number,
    into: Uint8Array,
    from: number,
    done: (failure: IoFailure | undefined) => void,
  ): void {
    this.#inPool++;
    fs.read(this.fd, into, from, into.length - from, offset + from, (error, count) => {
      this.#leavePool();
      if (error !== null) {
        done(failureOf(error, `reading ${this.path} at byte ${offset + from}`));
      } else if (count === 0) {
        const message = `reading ${this.path} at byte ${offset + from}: it ends there, so somebody cut it short`;
        done({ code: "EIO", message });
      } else if (from + count < into.length) {
        this.readInPool(offset, into, from + count, done);
      } else {
        done(undefined);
      }
    });
  }

  /** Writes in the thread pool. Answers how many bytes that were: fewer than asked where the next one would fail. */
  writeInPool(
    offset: number,
    bytes: Uint8Array,
    done: (count: number, failure: IoFailure | undefined) => void,
    attempts = 1,
  ): void {
    this.#inPool++;
    fs.write(this.fd, bytes, 0, bytes.length, offset, (error, count) => {
      this.#leavePool();
      if (error === null) done(count, undefined);
      else if (!isPassing(error) || attempts === limits.fileAttemptsMax)
        done(0, failureOf(error, `writing ${this.path} at byte ${offset}`));
      else this.writeInPool(offset, bytes, done, attempts + 1);
    });
  }

  /** `fdatasync(2)` in the thread pool. */
  fdatasync(done: (failure: IoFailure | undefined) => void): void {
    this.#inPool++;
    fs.fdatasync(this.fd, (error) => {
      this.#leavePool();
      done(error === null ? undefined : failureOf(error, `syncing ${this.path}`));
    });
  }

  /** Closes the descriptor, now or when the last call in the pool has come back. Nothing new may be begun. */
  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    if (this.#inPool === 0) this.#closeNow();
  }

  #leavePool(): void {
    this.#inPool--;
    if (this.#closing && this.#inPool === 0) this.#closeNow();
  }

  #closeNow(): void {
    try {
      fs.closeSync(this.fd);
    } catch (error) {
      // A network's file system tells here of writes that it could not keep. None was synced, so nothing rests on them, and the
      // number is free all the same. One that was not ours to close would be a mistake of ours.
      if (failureOf(error, `closing ${this.path}`).code === "EBADF") throw error;
    }
    this.#onClosed();
  }
}

function writeSome(fd: number, offset: number, chunks: readonly Uint8Array[]): number {
  const only = chunks.length === 1 ? chunks[0] : undefined;
  if (only === undefined) return fs.writevSync(fd, chunks, offset);
  return fs.writeSync(fd, only, 0, only.length, offset);
}

function isPassing(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "EINTR" || code === "EAGAIN";
}
