import fs from "node:fs";
import { dirname } from "node:path";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import { DirectMemory } from "./direct-memory.ts";
import { failureOf } from "./failure.ts";
import { createFileDevice } from "./file-device.ts";
import { lockFile } from "./file-lock.ts";
import { syncNamesNow } from "./folder.ts";
import { nativeCalls, SEEK_DATA, type Sys } from "./sys.ts";
import { createUnsyncedBudget, type UnsyncedBudget } from "./unsynced-bound.ts";

/** What an image is to hold; whether it has held it before; and what all images together may leave unsynced, and use. */
export type ImageWanted = {
  readonly bytes: number;
  readonly isOnRecord?: boolean;
  readonly budget?: UnsyncedBudget;
  /** For writes that go past the page cache; all images of a process share it. */
  readonly memory?: DirectMemory;
};

/** The unit in which sysfs tells sizes, whatever the device's sectors are. */
const SYSFS_SECTOR_BYTES = 512;

/**
 * Opens a volume's image for this process alone: a block device, or a regular file, made sparse and durable when it is
 * missing and was never on record (`isOnRecord`): an image that was there and is gone must not come back as zeros.
 *
 * What the page cache holds of it is let go: whoever wrote it there laid it out, and writes of ours into units as large as a
 * copy program leaves behind cost four times as much (file-device.ts). The first reads come from the disk for that.
 *
 * Fails with EINVAL when it is there with another size (`isOnRecord`: with a smaller one, or with data behind it) or is neither
 * of the two, with ENOENT when it should be there and is not, with EBUSY when it is in use (also by this process), else with
 * what the operating system says.
 */
export function openImage(path: string, wanted: ImageWanted): BlockDevice | IoFailure {
  let fd: number;
  try {
    fd = openPath(path, wanted.isOnRecord === true);
  } catch (error) {
    const failure = failureOf(error, `opening the image ${path}`);
    return wanted.isOnRecord === true && failure.code === "ENOENT" ? gone(path) : failure;
  }
  const opened = openDescriptor(fd, path, wanted);
  if ("code" in opened) fs.closeSync(fd);
  return opened;
}

function openPath(path: string, isOnRecord: boolean): number {
  const { O_RDWR, O_EXCL, O_CREAT } = fs.constants;
  // A block device opened with O_EXCL is refused while it is mounted or part of another device (open(2)).
  if (fs.statSync(path, { throwIfNoEntry: false })?.isBlockDevice())
    return fs.openSync(path, O_RDWR | O_EXCL);
  // A device that is missing today must not become a file in /dev, which would hold the volume in memory.
  const isMade = !isOnRecord && !path.startsWith("/dev/");
  return fs.openSync(path, isMade ? O_RDWR | O_CREAT : O_RDWR, 0o600);
}

// Mostly a file system that is not mounted today. The volume's content is elsewhere, and zeros are not a version of it.
function gone(path: string): IoFailure {
  const back = "mount what it lies on, or put it back";
  const anew =
    "if it is lost: promote a copy, move this group's folder away, and this site begins anew as a blank copy";
  return {
    code: "ENOENT",
    message: `the image ${path} is gone, which held a volume: ${back}; ${anew}`,
  };
}

function openDescriptor(fd: number, path: string, wanted: ImageWanted): BlockDevice | IoFailure {
  const { bytes, isOnRecord = false } = wanted;
  const { budget = createUnsyncedBudget(), memory = new DirectMemory() } = wanted;
  const stat = fs.fstatSync(fd);
  if (!stat.isFile() && !stat.isBlockDevice()) {
    return {
      code: "EINVAL",
      message: `the image ${path} is neither a regular file nor a block device`,
    };
  }
  const lock = lockFile(fd, path);
  if ("code" in lock) return lock;
  try {
    const isBlockSpecial = stat.isBlockDevice();
    const size = isBlockSpecial
      ? blockDeviceBytes(stat.rdev)
      : isOnRecord
        ? stat.size
        : fileBytes(fd, path, bytes);
    const sys = nativeCalls();
    const isLonger = isOnRecord && size > bytes;
    if (isLonger && !isBlockSpecial && hasDataBehind(fd, bytes, sys)) {
      lock.release();
      return strange(path, bytes);
    }
    if (size === bytes || isLonger) {
      sys?.adviseUnneeded(fd);
      const bulkFd = sys === undefined ? undefined : openForBulk(sys, path);
      const directFd = openDirect(path);
      return createFileDevice({
        fd,
        ...(bulkFd === undefined ? {} : { bulkFd }),
        ...(directFd === undefined ? {} : { direct: { fd: directFd, memory } }),
        path,
        bytes,
        ...(isBlockSpecial ? { capacityBytes: () => blockDeviceBytes(stat.rdev) } : {}),
        budget,
        sys,
        onClosed: () => lock.release(),
      });
    }
    lock.release();
    const sizes = `has ${size} bytes, and the cluster file says ${bytes}`;
    return {
      code: "EINVAL",
      message: `the image ${path} ${sizes}: correct the size there, or name another image`,
    };
  } catch (error) {
    lock.release();
    return failureOf(error, `making the image ${path} with ${bytes} bytes`);
  }
}

/** A second descriptor for long reads. The lock is the first one's. */
function openForBulk(sys: Sys, path: string): number {
  const fd = fs.openSync(path, "r");
  // It is advice: a kernel that does not take it reads ahead as ever.
  sys.adviseRandom(fd);
  return fd;
}

/** A third one for long writes; undefined where the file system refuses it, for whatever reason: it serves without. */
function openDirect(path: string): number | undefined {
  try {
    return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_DIRECT);
  } catch (error) {
    // What is no answer of the operating system's is a mistake of ours, and thrown on.
    failureOf(error, `opening ${path} with O_DIRECT`);
    return undefined;
  }
}

/**
 * Size of the file. An empty one is new, or was left so by a crash right after it was made (no volume has 0 bytes): it
 * gets its size now, durably.
 */
function fileBytes(fd: number, path: string, bytes: number): number {
  const { size } = fs.fstatSync(fd);
  if (size > 0) return size;
  fs.ftruncateSync(fd, bytes);
  fs.fsyncSync(fd);
  syncNamesNow(dirname(path));
  return bytes;
}

/**
 * Whether a file holds anything behind so many bytes. A growth that was cut short leaves nothing there: hosts write to the new
 * part once it is on record. Where a file system says that it stores something, that is looked at: it may be zeros.
 */
function hasDataBehind(fd: number, bytes: number, sys: Sys | undefined): boolean {
  const found = sys?.lseek(fd, bytes, SEEK_DATA) ?? bytes;
  if (found < 0) return false;
  const looked = Buffer.alloc(limits.imageLookBytesMax);
  const count = fs.readSync(fd, looked, 0, looked.length, found);
  return looked.subarray(0, count).some((byte) => byte !== 0);
}

// It may be another volume's, or this one's with a record from before it grew: to serve a part of it would be to cut it off.
function strange(path: string, bytes: number): IoFailure {
  const words = `has data behind the ${bytes} bytes that are on record for this volume`;
  const help = "put the right image back, or the right group.record beside it";
  return { code: "EINVAL", message: `the image ${path} ${words}: ${help}` };
}

function blockDeviceBytes(rdev: number): number {
  // The halves of a device number as glibc's makedev(3) lays them out; neither uses its upper part in practice.
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return (
    Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, "utf8")) * SYSFS_SECTOR_BYTES
  );
}
