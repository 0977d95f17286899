import fs from "node:fs";
import { dirname } from "node:path";
import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import { failureOf } from "./failure.ts";
import { createFileDevice } from "./file-device.ts";
import { lockFile } from "./file-lock.ts";
import { syncNamesNow } from "./folder.ts";
import { nativeCalls, type Sys } from "./sys.ts";
import { createUnsyncedBudget, type UnsyncedBudget } from "./unsynced-bound.ts";

/** What an image is to hold; and what all images together may leave unsynced. */
export type ImageWanted = {
  readonly bytes: number;
  readonly mayBeLarger?: boolean;
  readonly budget?: UnsyncedBudget;
};

/** The unit in which sysfs tells sizes, whatever the device's sectors are. */
const SYSFS_SECTOR_BYTES = 512;

/**
 * Opens a volume's image for this process alone: a block device, or a regular file, made sparse and durable when
 * missing.
 *
 * What the page cache holds of it is let go: whoever wrote it there laid it out, and writes of ours into units as large as a
 * copy program leaves behind cost four times as much (file-device.ts). The first reads come from the disk for that.
 *
 * Fails with EINVAL when it is there with another size (`mayBeLarger`: with a smaller one) or is neither of the two, with
 * EBUSY when it is in use (also by this process), else with what the operating system says.
 */
export function openImage(path: string, wanted: ImageWanted): BlockDevice | IoFailure {
  let fd: number;
  try {
    fd = openPath(path);
  } catch (error) {
    return failureOf(error, `opening the image ${path}`);
  }
  const opened = openDescriptor(fd, path, wanted);
  if ("code" in opened) fs.closeSync(fd);
  return opened;
}

function openPath(path: string): number {
  const { O_RDWR, O_EXCL, O_CREAT } = fs.constants;
  // A block device opened with O_EXCL is refused while it is mounted or part of another device (open(2)).
  if (fs.statSync(path, { throwIfNoEntry: false })?.isBlockDevice())
    return fs.openSync(path, O_RDWR | O_EXCL);
  // A device that is missing today must not become a file in /dev, which would hold the volume in memory.
  return fs.openSync(path, path.startsWith("/dev/") ? O_RDWR : O_RDWR | O_CREAT, 0o600);
}

function openDescriptor(
  fd: number,
  path: string,
  { bytes, mayBeLarger = false, budget = createUnsyncedBudget() }: ImageWanted,
): BlockDevice | IoFailure {
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
    const size = isBlockSpecial ? blockDeviceBytes(stat.rdev) : fileBytes(fd, path, bytes);
    if (size === bytes || (mayBeLarger && size > bytes)) {
      const sys = nativeCalls();
      sys?.adviseUnneeded(fd);
      const bulkFd = sys === undefined ? undefined : openForBulk(sys, path);
      return createFileDevice({
        fd,
        ...(bulkFd === undefined ? {} : { bulkFd }),
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

function blockDeviceBytes(rdev: number): number {
  // The halves of a device number as glibc's makedev(3) lays them out; neither uses its upper part in practice.
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return (
    Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, "utf8")) * SYSFS_SECTOR_BYTES
  );
}
