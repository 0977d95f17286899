import { createRequire } from "node:module";
import { constants } from "node:os";

/** `fallocate(2)` modes, `lseek(2)` origins and `flock(2)` operations as Linux numbers them on every architecture. */
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const LOCK_EXCLUSIVE_NOWAIT = 2 | 4;
const POSIX_FADV_RANDOM = 1;
const POSIX_FADV_DONTNEED = 4;

const RWF_NOWAIT = 0x08;
const IOVEC_BYTES = 16;
/** `FS_IOC_FIEMAP` with its structures, as `linux/fiemap.h` lays them out. */
const FS_IOC_FIEMAP = 0xc0_20_66_0b;
const FIEMAP_BYTES = 32;
const EXTENT_BYTES = 56;
const EXTENT_SHARED = 0x2000;
const extentsAtOnce = 64;
const { EINTR } = constants.errno;

/**
 * The system calls that we need and Node does not offer. Each answers a number: 0 or more when it worked, the negative
 * errno when it did not. Offsets and lengths are in bytes.
 */
export type Sys = {
  /** `fallocate(2)`. 0 or -errno. */
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  /**
   * `ioctl(2)` with FS_IOC_FIEMAP: up to where, from `offset` on, the file has blocks of its own without a gap, written or
   * only taken; `offset` where it has none there. -EOPNOTSUPP where the file system does not say.
   */
  blocksEnd(fd: number, offset: number, end: number): number;
  /** `lseek(2)`. The position found, or -errno; -ENXIO when there is nothing of the kind up to the end. */
  lseek(fd: number, offset: number, whence: number): number;
  /**
   * `preadv2(2)` that takes only what the page cache has. Bytes read, perhaps fewer than asked, or -EAGAIN for none.
   */
  readCached(fd: number, into: Uint8Array, offset: number): number;
  /** `posix_fadvise(2)` with RANDOM for the whole file: reads through this descriptor bring what they ask for. 0 or -errno. */
  adviseRandom(fd: number): number;
  /** `posix_fadvise(2)` with DONTNEED for the whole file: the page cache lets go what is clean. 0 or -errno. */
  adviseUnneeded(fd: number): number;
  /** `flock(2)`. 0 or -errno. */
  flock(fd: number, operation: number): number;
};

type Loaded = { readonly sys: Sys | undefined; readonly whyMissing: string };

let loaded: Loaded | undefined;

/**
 * The native calls, loaded at the first use, or undefined where koffi does not load or `ANTIPODE_NO_NATIVE=1` forbids
 * it. Whoever uses them must do its work without them too, only slower.
 */
export function nativeCalls(): Sys | undefined {
  loaded ??= load();
  return loaded.sys;
}

/** Why there are no native calls, for people; empty when there are. */
export function whyNoNativeCalls(): string {
  loaded ??= load();
  return loaded.whyMissing;
}

function load(): Loaded {
  if (process.env["ANTIPODE_NO_NATIVE"] === "1") {
    return { sys: undefined, whyMissing: "ANTIPODE_NO_NATIVE=1 is set" };
  }
  try {
    return { sys: bind(), whyMissing: "" };
  } catch (error) {
    return { sys: undefined, whyMissing: error instanceof Error ? error.message : String(error) };
  }
}

function bind(): Sys {
  // By `require`, since an `import` would load the library for everybody and fail where it is not to be had.
  const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
  const libc = koffi.load("libc.so.6");
  const fallocate = libc.func("int fallocate(int fd, int mode, int64_t offset, int64_t length)");
  const lseek = libc.func("int64_t lseek(int fd, int64_t offset, int whence)");
  const preadv2 = libc.func(
    "int64_t preadv2(int fd, void *iov, int count, int64_t offset, int flags)",
  );
  const flock = libc.func("int flock(int fd, int operation)");
  const fadvise = libc.func(
    "int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)",
  );

  const ioctl = libc.func("int ioctl(int fd, unsigned long request, void *argument)");

  const iovec = Buffer.alloc(IOVEC_BYTES);
  const orErrno = (call: () => number): number => {
    for (;;) {
      const result = call();
      if (result >= 0) return result;
      const errno = koffi.errno();
      if (errno !== EINTR) return -errno;
    }
  };
  return {
    fallocate: (fd, mode, offset, length) => orErrno(() => fallocate(fd, mode, offset, length)),
    blocksEnd: (fd, offset, end) =>
      blocksEnd((map) => orErrno(() => ioctl(fd, FS_IOC_FIEMAP, map)), offset, end),
    lseek: (fd, offset, whence) => orErrno(() => lseek(fd, offset, whence)),
    readCached(fd, into, offset) {
      iovec.writeBigUInt64LE(koffi.address(into), 0);
      iovec.writeBigUInt64LE(BigInt(into.length), 8);
      // On the path of every read, hence without the closure: an interrupted call counts as a miss.
      const result: number = preadv2(fd, iovec, 1, offset, RWF_NOWAIT);
      return result >= 0 ? result : -koffi.errno();
    },
    // These answer an errno by themselves.
    adviseRandom: (fd) => -(fadvise(fd, 0, 0, POSIX_FADV_RANDOM) as number),
    adviseUnneeded: (fd) => -(fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) as number),
    flock: (fd, operation) => orErrno(() => flock(fd, operation)),
  };
}

function blocksEnd(ask: (map: Buffer) => number, offset: number, end: number): number {
  const map = Buffer.alloc(FIEMAP_BYTES + extentsAtOnce * EXTENT_BYTES);
  let reached = offset;
  while (reached < end) {
    map.writeBigUInt64LE(BigInt(reached), 0);
    map.writeBigUInt64LE(BigInt(end - reached), 8);
    map.fill(0, 16, FIEMAP_BYTES);
    map.writeUInt32LE(extentsAtOnce, 24);
    const answer = ask(map);
    if (answer < 0) return answer;
    const count = map.readUInt32LE(20);
    if (count === 0) return reached;
    for (let at = FIEMAP_BYTES; at < FIEMAP_BYTES + count * EXTENT_BYTES; at += EXTENT_BYTES) {
      const start = Number(map.readBigUInt64LE(at));
      // What is shared with another file is copied as it is written, and that takes room.
      const isShared = (map.readUInt32LE(at + 40) & EXTENT_SHARED) !== 0;
      if (start > reached || isShared) return reached;
      reached = Math.max(reached, start + Number(map.readBigUInt64LE(at + 16)));
    }
  }
  return Math.min(reached, end);
}
