import fs from "node:fs";
import { constants } from "node:os";
import { assert } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { BlockDevice, Extent, ReadDone, WriteDone } from "#ports/block-device.ts";
import { Syncer } from "#store/syncer.ts";
import { createClock } from "./clock.ts";
import { DirectWrites, type DirectWritesOptions } from "./direct-writes.ts";
import { failureOf, failureOfErrno } from "./failure.ts";
import { OpenFile } from "./open-file.ts";

import { UnsyncedBound, type UnsyncedBudget } from "./unsynced-bound.ts";
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  SEEK_DATA,
  SEEK_HOLE,
  type Sys,
} from "./sys.ts";

const { EINVAL, ENOSYS, ENXIO, EOPNOTSUPP } = constants.errno;

const zeros = new Uint8Array(limits.zeroChunkBytes);

type DirectOptions = Pick<DirectWritesOptions, "memory" | "bytesMin" | "runMin"> & {
  readonly fd: number;
};

export type FileDeviceOptions = {
  readonly fd: number;
  /** Another descriptor of the same file, for long reads: it reads nothing ahead. Undefined to do without. */
  readonly bulkFd?: number;
  /** A third one, opened with `O_DIRECT`, for long writes. Undefined to do without. */
  readonly direct?: DirectOptions;
  readonly path: string;
  readonly bytes: number;
  /** Of a block device: what it holds by now. Undefined for a regular file. */
  readonly capacityBytes?: () => number;
  /** What all images together may leave unsynced. */
  readonly budget: UnsyncedBudget;
  /** Native calls, or undefined to do without. */
  readonly sys: Sys | undefined;
  /** Called when the descriptor has been closed. */
  readonly onClosed: () => void;
};

/**
 * The `BlockDevice` port over a regular file or a block device of the machine, by way of the page cache but for streams of
 * long writes (direct-writes.ts).
 *
 * All other writes and zeroes are system calls made before the method returns: 4 KiB cost 2 us so, and 40 us through the thread
 * pool. Their order is thus the order of the calls. Reads are tried without blocking (`RWF_NOWAIT`) and go to the pool
 * when the page cache has not got them all: one cold read on this thread would hold up every host, peer and heartbeat.
 * Without native code a read cannot be tried, and every read goes to the pool for the same reason, although a cached
 * one takes 40 us there instead of 1.5.
 *
 * Long writes are made in pieces: the kernel lays out the page cache in units as large as the writes that fill it, and
 * ext4 walks through such a unit from its beginning at every later write into it. After writes of 1 MiB a write of 4 KiB
 * takes 15 to 30 us of processor time, after writes of 64 KiB 4.5 us, of 32 KiB 3.4 us (Linux 6.18); the pieces
 * themselves cost a tenth of what a copy into the page cache does. Reading ahead lays out such units too, so long reads,
 * which gain nothing by it, do without: a resync, which reads everything, would leave every write after it the dearer.
 *
 * Write-back of what piles up is begun by `fdatasync` in the pool. `sync_file_range(2)` looks made for it and is not:
 * it submits the pages before it returns, and stood still for 55 ms over 32 MiB of scattered blocks, while writes
 * beside an `fdatasync` never waited for a millisecond.
 */
export function createFileDevice(options: FileDeviceOptions): BlockDevice {
  return new FileDevice(options);
}

class FileDevice implements BlockDevice {
  /** The part of it that is in use, which a growth alone changes. */
  bytes: number;
  readonly #capacityBytes: (() => number) | undefined;
  readonly #file: OpenFile;
  readonly #bulk: OpenFile;
  readonly #direct: DirectWrites | undefined;
  readonly #sys: Sys | undefined;
  readonly #bound: UnsyncedBound;
  readonly #syncer: Syncer;
  /** What the file system turned out to do; what it refused once is not asked for again. */
  #canPunch: boolean;
  #canZeroRange: boolean;
  #canReadCached: boolean;
  #closed: IoFailure | undefined;
  /** Growths that wait for the one that is under way; undefined where none is. */
  #growths: (() => void)[] | undefined;

  constructor(options: FileDeviceOptions) {
    const { fd, path, sys } = options;
    this.bytes = options.bytes;
    this.#capacityBytes = options.capacityBytes;
    this.#sys = sys;
    this.#file = new OpenFile(fd, path, options.onClosed);
    this.#bulk = options.bulkFd === undefined ? this.#file : new OpenFile(options.bulkFd, path);
    this.#direct = this.#openDirect(options);
    this.#bound = new UnsyncedBound(options.budget);
    this.#syncer = new Syncer({
      path,
      run: (done) => this.#file.fdatasync(done),
      bound: this.#bound,
      clock: createClock(),
    });
    this.#canPunch = sys !== undefined;
    // On a block device it would wait for the disk to write the zeros; the page cache takes them at once.
    this.#canZeroRange = sys !== undefined && options.capacityBytes === undefined;
    this.#canReadCached = sys !== undefined;
  }

  read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void {
    this.#checkRange(offset, length);
    const direct = this.#direct;
    if (direct?.changes(offset, length) !== true) this.#read(offset, length, context, done);
    else direct.after(offset, length, () => this.#read(offset, length, context, done));
  }

  write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void {
    const length = totalBytes(chunks);
    this.#checkRange(offset, length);
    const direct = this.#direct;
    if (direct?.takes(offset, length) === true) {
      direct.write(offset, length, chunks, (failure) => {
        // Not by way of the page cache: a sync has it in its care, and nearly no work with it.
        this.#syncer.wrote(0);
        done(context, failure);
      });
    } else if (direct === undefined || direct.isIdle) {
      done(context, this.#dead() ?? this.#write(offset, chunks, length));
    } else {
      direct.after(offset, length, () =>
        done(context, this.#dead() ?? this.#write(offset, chunks, length)),
      );
    }
  }

  // oxlint-disable-next-line max-params -- the port's shape: a request object would cost an allocation each time
  zero<C>(offset: number, length: number, mayPunch: boolean, context: C, done: WriteDone<C>): void {
    this.#checkRange(offset, length);
    const now = () => done(context, this.#dead() ?? this.#zero(offset, length, mayPunch));
    if (this.#direct === undefined || this.#direct.isIdle) now();
    else this.#direct.after(offset, length, now);
  }

  sync(done: (failure: IoFailure | undefined) => void): void {
    const closed = this.#closed;
    if (closed !== undefined) queueMicrotask(() => done(closed));
    else this.#syncer.sync(done);
  }

  failure(): IoFailure | undefined {
    return this.#syncer.failure;
  }

  unsyncedBytes(): number {
    return this.#syncer.unsyncedBytes;
  }

  isPressed(): boolean {
    return this.#syncer.unsyncedBytes >= this.#bound.hardBytes;
  }

  extents(offset: number, length: number, done: (extents: readonly Extent[]) => void): void {
    this.#checkRange(offset, length);
    if (this.#sys === undefined || this.#dead() !== undefined) done(allStored(offset, length));
    else done(seekExtents(this.#sys, this.#file.fd, offset, length));
  }

  whyNotGrow(bytes: number): IoFailure | undefined {
    const dead = this.#dead();
    if (dead !== undefined || this.#capacityBytes === undefined) return dead;
    try {
      const capacity = this.#capacityBytes();
      if (capacity >= bytes) return undefined;
      const message = `the device ${this.#file.path} has ${capacity} bytes: it must be made larger first`;
      return { code: "EINVAL", message };
    } catch (error) {
      return failureOf(error, `asking how large ${this.#file.path} is`);
    }
  }

  // One after the other: what the first has answered is in use, and a second one would cut it off, or zero it again.
  grow(bytes: number, done: (failure: IoFailure | undefined) => void): void {
    if (this.#growths === undefined) this.#grow(bytes, done);
    else this.#growths.push(() => this.#grow(bytes, done));
  }

  close(): void {
    if (this.#closed !== undefined) return;
    this.#closed = { code: "EBADF", message: `${this.#file.path} was closed` };
    this.#bound.leave();
    if (this.#bulk !== this.#file) this.#bulk.close();
    this.#direct?.close();
    this.#file.close();
  }

  #read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void {
    const bytes = Buffer.allocUnsafe(length);
    const dead = this.#dead();
    if (dead !== undefined) {
      done(context, dead, bytes.subarray(0, 0));
      return;
    }
    const file = length >= limits.imageBulkReadBytesMin ? this.#bulk : this.#file;
    const cached = this.#readCached(file, offset, bytes);
    if (cached === length) {
      done(context, undefined, bytes);
      return;
    }
    file.readInPool(offset, bytes, cached, (failure) => {
      done(context, failure, failure === undefined ? bytes : bytes.subarray(0, 0));
    });
  }

  #grow(bytes: number, done: (failure: IoFailure | undefined) => void): void {
    const waiting = this.#growths ?? [];
    this.#growths = waiting;
    const refused = this.whyNotGrow(bytes);
    const end = (failure: IoFailure | undefined): void => {
      if (failure === undefined) this.bytes = Math.max(this.bytes, bytes);
      const next = waiting.shift();
      if (next === undefined) this.#growths = undefined;
      done(failure);
      next?.();
    };
    if (refused !== undefined || bytes <= this.bytes) queueMicrotask(() => end(refused));
    else if (this.#capacityBytes === undefined) this.#lengthen(bytes, end);
    else this.#zeroOnwards(this.bytes, bytes, end);
  }

  // What lies beyond the size is of a growth that was not finished: cut off, and made anew, it reads as zeros.
  #lengthen(bytes: number, done: (failure: IoFailure | undefined) => void): void {
    const { fd, path } = this.#file;
    try {
      fs.ftruncateSync(fd, this.bytes);
      fs.ftruncateSync(fd, bytes);
    } catch (error) {
      const failure = failureOf(error, `growing ${path} to ${bytes} bytes`);
      queueMicrotask(() => done(failure));
      return;
    }
    this.#syncer.wrote(0);
    this.sync(done);
  }

  // Whatever the device held there is of another use of it. Piece by piece: everybody else's work goes on between them.
  #zeroOnwards(from: number, to: number, done: (failure: IoFailure | undefined) => void): void {
    const length = Math.min(to - from, limits.growZeroBytesMax);
    const failure = this.#dead() ?? (length === 0 ? undefined : this.#zero(from, length, true));
    if (failure !== undefined) queueMicrotask(() => done(failure));
    else if (length === 0) this.sync(done);
    else if (this.isPressed()) this.sync(() => this.#zeroOnwards(from + length, to, done));
    else setImmediate(() => this.#zeroOnwards(from + length, to, done));
  }

  #openDirect({ direct, path }: FileDeviceOptions): DirectWrites | undefined {
    if (direct === undefined) return undefined;
    return new DirectWrites({
      ...direct,
      file: new OpenFile(direct.fd, path),
      dead: () => this.#dead(),
      writeCached: (offset, chunks) => this.#write(offset, chunks, totalBytes(chunks)),
    });
  }

  #dead(): IoFailure | undefined {
    return this.#closed ?? this.#syncer.failure;
  }

  #checkRange(offset: number, length: number): void {
    const inside = Number.isSafeInteger(offset) && offset >= 0 && length >= 0;
    assert(
      inside && offset + length <= this.bytes,
      `${offset}+${length} is not in ${this.#file.path}`,
    );
  }

  /** Takes what the page cache has of the beginning; how many bytes that is. */
  #readCached(file: OpenFile, offset: number, into: Uint8Array): number {
    if (this.#sys === undefined || !this.#canReadCached) return 0;
    if (into.length > limits.cachedReadBytesMax) return 0;
    const count = this.#sys.readCached(file.fd, into, offset);
    if (count === -EOPNOTSUPP || count === -EINVAL || count === -ENOSYS)
      this.#canReadCached = false;
    // Mostly -EAGAIN. Whatever else it is, the pool will meet it again and report it.
    return Math.max(count, 0);
  }

  #write(offset: number, chunks: readonly Uint8Array[], length: number): IoFailure | undefined {
    const failure = this.#writePieces(offset, chunks, length);
    // A failed write may have left a part behind, and that part is unsynced like any other.
    this.#syncer.wrote(length);
    return failure;
  }

  #writePieces(offset: number, chunks: readonly Uint8Array[], length: number) {
    if (length <= limits.imageWriteBytesMax) return this.#file.write(offset, chunks);
    let at = offset;
    for (const piece of piecesOf(offset, chunks)) {
      const failure = this.#file.write(at, piece);
      if (failure !== undefined) return failure;
      at += totalBytes(piece);
    }
    return undefined;
  }

  #zero(offset: number, length: number, mayPunch: boolean): IoFailure | undefined {
    if (length === 0) return undefined;
    if (mayPunch && this.#canPunch) {
      const result = this.#fallocate(FALLOC_FL_PUNCH_HOLE, offset, length);
      if (result !== "unsupported") return result;
      this.#canPunch = false;
    }
    if (this.#canZeroRange) {
      const result = this.#fallocate(FALLOC_FL_ZERO_RANGE, offset, length);
      if (result !== "unsupported") return result;
      this.#canZeroRange = false;
    }
    const chunks = Array.from({ length: Math.floor(length / zeros.length) }, () => zeros);
    const rest = length % zeros.length;
    if (rest > 0) chunks.push(zeros.subarray(0, rest));
    return this.#write(offset, chunks, length);
  }

  #fallocate(mode: number, offset: number, length: number): IoFailure | undefined | "unsupported" {
    assert(this.#sys !== undefined, "fallocate without native calls");
    const result = this.#sys.fallocate(this.#file.fd, mode | FALLOC_FL_KEEP_SIZE, offset, length);
    if (result === -EOPNOTSUPP || result === -ENOSYS) return "unsupported";
    this.#syncer.wrote(0);
    if (result === 0) return undefined;
    // Block devices refuse ranges that their sectors do not fit.
    if (result === -EINVAL) return "unsupported";
    return failureOfErrno(-result, `zeroing ${this.#file.path} at byte ${offset}`);
  }
}

/** The chunks, cut and grouped so that no group crosses a multiple of `limits.imageWriteBytesMax` of the file. */
export function piecesOf(offset: number, chunks: readonly Uint8Array[]): Uint8Array[][] {
  const bytesMax = limits.imageWriteBytesMax;
  const pieces: Uint8Array[][] = [];
  let piece: Uint8Array[] = [];
  let room = bytesMax - (offset % bytesMax);
  for (const chunk of chunks) {
    let from = 0;
    while (from < chunk.length) {
      const to = Math.min(chunk.length, from + room);
      piece.push(chunk.subarray(from, to));
      room -= to - from;
      from = to;
      if (room > 0) continue;
      pieces.push(piece);
      piece = [];
      room = bytesMax;
    }
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}

function allStored(offset: number, length: number): Extent[] {
  return length === 0 ? [] : [{ offset, length, hole: false }];
}

function seekExtents(sys: Sys, fd: number, offset: number, length: number): Extent[] {
  const end = offset + length;
  const extents: Extent[] = [];
  let at = offset;
  while (at < end && extents.length < limits.extentsPerAnswerMax - 1) {
    const data = sys.lseek(fd, at, SEEK_DATA);
    if (data < 0 && data !== -ENXIO) break;
    const dataAt = data === -ENXIO ? end : Math.min(data, end);
    if (dataAt > at) {
      extents.push({ offset: at, length: dataAt - at, hole: true });
      at = dataAt;
      continue;
    }
    const hole = sys.lseek(fd, at, SEEK_HOLE);
    if (hole < 0) break;
    const holeAt = Math.min(hole, end);
    extents.push({ offset: at, length: holeAt - at, hole: false });
    at = holeAt;
  }
  // What could not be told, or is too finely cut to tell, counts as stored.
  const last = extents.at(-1);
  if (at === end || last === undefined || last.hole)
    return [...extents, ...allStored(at, end - at)];
  extents[extents.length - 1] = { ...last, length: end - last.offset };
  return extents;
}
