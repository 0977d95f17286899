import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { BlockDevice, Extent, ReadDone, WriteDone } from "#ports/block-device.ts";
import { failure } from "./disk.ts";
import type { SimDisk } from "./disk.ts";
import { createFile, inodeAt, readInode, writeInode, zeroInode } from "./disk-state.ts";
import type { Inode } from "./disk-state.ts";
import { missingPages, pageAt, pageBytes } from "./pages.ts";
import type { Process } from "./process.ts";
import { eventKind } from "./scheduler.ts";

/** Sees every write to an image just before it is made. `chunks` is undefined for a range of zeros. */
export type ImageWatcher = (
  process: Process,
  write: {
    readonly volume: string;
    readonly offset: number;
    readonly lengthBytes: number;
    readonly chunks: readonly Uint8Array[] | undefined;
  },
) => void;

type Range = { readonly offset: number; readonly length: number; readonly writes: boolean };

/** A write or read that a thread has taken on and not finished. */
type Operation = Range & {
  readonly endUs: number;
  /** What a write does to the file, told apart from the answer: a thread may get that far and no further. */
  readonly effect: () => void;
  done: boolean;
};

/** The folder of a disk in which the images lie. */
export const imagesPath = "images";

/**
 * An image file as one process sees it. With `behaviour.imageUs` 0 everything but `sync` answers before the call returns;
 * otherwise each operation takes its time, and only those that overlap keep their order.
 */
// oxlint-disable-next-line max-lines-per-function -- one closure per operation of the port, over the same few variables.
export function openSimImage(options: {
  disk: SimDisk;
  process: Process;
  name: string;
  volume: string;
  bytes: number;
  isOnRecord: boolean;
  watch: ImageWatcher | undefined;
}): BlockDevice | IoFailure {
  const { disk, process, name, volume, watch } = options;
  let { bytes } = options;
  const inode = imageInode(disk, name, bytes);
  if (inode.bytes < bytes || (inode.bytes > bytes && !options.isOnRecord))
    return failure("EINVAL", `${name} has another size`);
  const pending: Operation[] = [];
  let writingBack = false;
  /** A sync that failed is final for the image (PROOF §2.5). */
  let broken: IoFailure | undefined;
  process.atExit.push(() => abandon(disk, pending));

  function perform(range: Range, effect: () => void, run: () => void): void {
    if (!process.alive) return;
    const { imageUs } = disk.behaviour;
    if (imageUs === 0) return run();
    const endUs = endOf(disk, pending, range);
    const operation: Operation = { ...range, endUs, effect, done: false };
    pending.push(operation);
    const end = (): void => {
      // What came due while the process stood still is late, and still comes before what it asked for afterwards.
      if (isBehind(pending, operation)) {
        disk.scheduler.after(1, process, eventKind.deviceOp, end);
        return;
      }
      operation.done = true;
      pending.splice(pending.indexOf(operation), 1);
      run();
    };
    disk.scheduler.after(endUs - disk.scheduler.nowUs, process, eventKind.deviceOp, end);
  }

  function change<C>(
    range: Range,
    chunks: readonly Uint8Array[] | undefined,
    context: C,
    done: WriteDone<C>,
  ): void {
    if (!process.alive) return;
    watch?.(process, { volume, offset: range.offset, lengthBytes: range.length, chunks });
    const effect = (): void => {
      if (chunks === undefined) zeroInode(disk.state, inode, range.offset, range.length);
      else writeInode(disk.state, inode, range.offset, chunks);
    };
    perform(range, effect, () => {
      const refused =
        broken ??
        disk.imageWriteFailure(
          chunks === undefined ? 0 : missingPages(inode.current, range.offset, range.length),
        );
      if (refused === undefined)
        disk.step(process, chunks === undefined ? "zero" : "write", effect);
      if (process.alive) done(context, refused);
      writeBack();
    });
  }

  // As the port asks: beyond a soft limit the device begins a sync by itself.
  function writeBack(): void {
    if (writingBack || unsyncedBytes(inode) < limits.unsyncedBytesMin) return;
    writingBack = true;
    disk.syncFile(process, inode, (failed) => {
      writingBack = false;
      broken ??= failed;
    });
  }

  return {
    get bytes() {
      return bytes;
    },
    read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void {
      perform(
        { offset, length, writes: false },
        () => undefined,
        () => {
          const into = new Uint8Array(length);
          const refused = broken ?? disk.readFailure();
          if (refused === undefined) readInode(inode, "current", offset, into);
          if (process.alive) done(context, refused, into);
        },
      );
    },
    write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void {
      const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      change({ offset, length, writes: true }, chunks, context, done);
    },
    // oxlint-disable-next-line max-params -- The port says so.
    zero<C>(
      offset: number,
      length: number,
      _mayPunch: boolean,
      context: C,
      done: WriteDone<C>,
    ): void {
      change({ offset, length, writes: true }, undefined, context, done);
    },
    sync: (done) =>
      disk.syncFile(process, inode, (failed) => {
        broken ??= failed;
        done(broken);
      }),
    failure: () => broken,
    unsyncedBytes: () => unsyncedBytes(inode),
    isPressed: () => unsyncedBytes(inode) >= limits.unsyncedBytesMax,
    extents: (offset, length, done) => done(extentsOf(inode, offset, length)),
    whyNotGrow: () => broken,
    grow(wanted, done) {
      if (broken !== undefined || wanted <= bytes) return done(broken);
      disk.step(process, "zero", () => zeroInode(disk.state, inode, bytes, wanted - bytes));
      disk.syncFile(process, inode, (failed) => {
        broken ??= failed;
        if (broken === undefined) bytes = wanted;
        done(broken);
      });
    },
    close: () => undefined,
  };
}

function unsyncedBytes(inode: Inode): number {
  return inode.unsynced.reduce((sum, write) => sum + write.length, 0);
}

/** An image is preallocated by whoever installs the site: its name and size are there before any crash. */
export function imageInode(disk: SimDisk, name: string, bytes: number): Inode {
  const found = inodeAt(disk.state, imagesPath, name, "current");
  if (found !== undefined) return found;
  const folder = disk.folder(imagesPath);
  const inode = createFile(disk.state, folder, name);
  folder.durableNames.set(name, inode.id);
  folder.unsynced = [];
  inode.bytes = bytes;
  inode.durableBytes = bytes;
  return inode;
}

function endOf(disk: SimDisk, pending: readonly Operation[], range: Range): number {
  let endUs = disk.scheduler.nowUs + Math.round(disk.behaviour.imageUs * disk.rng.exponential(1));
  for (const other of pending) {
    if (isOrdered(other, range)) endUs = Math.max(endUs, other.endUs + 1);
  }
  return endUs;
}

/** What reaches the bytes of an earlier write keeps its order; a read may find what was written after it was asked for. */
function isOrdered(earlier: Range, later: Range): boolean {
  const overlaps =
    earlier.offset < later.offset + later.length && later.offset < earlier.offset + earlier.length;
  return overlaps && earlier.writes;
}

function isBehind(pending: readonly Operation[], operation: Operation): boolean {
  for (const other of pending) {
    if (other === operation) return false;
    if (isOrdered(other, operation)) return true;
  }
  return false;
}

// The process was killed: each write that a thread was at may have been made or not. (Reads have no effect.)
function abandon(disk: SimDisk, pending: readonly Operation[]): void {
  for (const operation of pending) {
    if (operation.writes && !operation.done && disk.rng.chance(0.5)) operation.effect();
  }
}

function extentsOf(inode: Inode, offset: number, length: number): readonly Extent[] {
  const extents: Extent[] = [];
  for (let at = offset; at < offset + length;) {
    const end = Math.min(offset + length, (Math.floor(at / pageBytes) + 1) * pageBytes);
    const hole = pageAt(inode.current, Math.floor(at / pageBytes)) === undefined;
    const last = extents.at(-1);
    if (last !== undefined && last.hole === hole) {
      extents[extents.length - 1] = { offset: last.offset, length: end - last.offset, hole };
    } else {
      extents.push({ offset: at, length: end - at, hole });
    }
    at = end;
  }
  return extents;
}
