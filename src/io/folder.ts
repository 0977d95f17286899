import fs from "node:fs";
import { dirname, join } from "node:path";
import { assert } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import { AppError, type IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isNoRoom } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import { Syncer } from "#store/syncer.ts";
import { createClock } from "./clock.ts";
import { failureOf, failureOfErrno } from "./failure.ts";
import { OpenFile } from "./open-file.ts";
import { FALLOC_FL_KEEP_SIZE, nativeCalls } from "./sys.ts";

const OPEN_FLAGS = fs.constants.O_RDWR | fs.constants.O_CREAT;

/**
 * The `Folder` port over a directory of the machine, made durably with those above it when missing. Files in it are for
 * this user only (0600): they tell what the volumes hold.
 */
export function openFolder(path: string, flags = OPEN_FLAGS): Folder | IoFailure {
  const failure = makeFolder(path);
  if (failure !== undefined) return failure;
  const names = new Syncer({
    path,
    run: (done) => syncNames(path, done),
    bound: undefined,
    clock: createClock(),
  });
  return {
    path,
    list: () => listFolder(path),
    exists: (name) => fs.existsSync(inFolder(path, name)),
    open: (name) => openFile(inFolder(path, name), flags, names),
    remove(name) {
      const file = inFolder(path, name);
      try {
        fs.unlinkSync(file);
      } catch (error) {
        return failureOf(error, `removing ${file}`);
      }
      names.wrote(0);
      return undefined;
    },
    rename(from, to) {
      try {
        fs.renameSync(inFolder(path, from), inFolder(path, to));
      } catch (error) {
        return failureOf(error, `renaming ${inFolder(path, from)} to ${to}`);
      }
      names.wrote(0);
      return undefined;
    },
    sync: (done) => names.sync(done),
  };
}

/** A folder in one that must be there. `makes`: it is made when missing, and so are files in it. */
export function openFolderIn(path: string, name: string, makes: boolean): Folder | IoFailure {
  const folder = inFolder(path, name);
  try {
    // `mkdir` would make what a missing mount leaves missing.
    fs.statSync(makes ? path : folder);
  } catch (error) {
    return failureOf(error, `looking for ${makes ? path : folder}`);
  }
  const opened = openFolder(folder, makes ? OPEN_FLAGS : fs.constants.O_RDWR);
  return "code" in opened ? opened : listedLater(opened);
}

/** A path may be lost at any time: a folder that could not be listed has no file that could be opened. */
function listedLater(folder: Folder): Folder {
  let lost: IoFailure | undefined;
  return {
    ...folder,
    list() {
      try {
        return fs.readdirSync(folder.path);
      } catch (error) {
        lost = failureOf(error, `listing the folder ${folder.path}`);
        return [];
      }
    },
    open: (name) => lost ?? folder.open(name),
  };
}

/** Makes every name in a folder durable, on this thread. For start-up only. */
export function syncNamesNow(path: string): void {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function makeFolder(path: string): IoFailure | undefined {
  try {
    const topmost = fs.mkdirSync(path, { recursive: true, mode: 0o700 });
    if (topmost === undefined) return undefined;
    // Each new folder is a name in the one above it, up to the first that was there before.
    const last = dirname(topmost);
    for (let above = dirname(path); ; above = dirname(above)) {
      syncNamesNow(above);
      if (above === last || above === dirname(above)) return undefined;
    }
  } catch (error) {
    return failureOf(error, `making the folder ${path}`);
  }
}

function syncNames(path: string, done: (failure: IoFailure | undefined) => void): void {
  fs.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY, (openError, fd) => {
    if (openError !== null) {
      done(failureOf(openError, `opening the folder ${path}`));
      return;
    }
    fs.fsync(fd, (syncError) => {
      fs.closeSync(fd);
      done(syncError === null ? undefined : failureOf(syncError, `syncing the folder ${path}`));
    });
  });
}

function listFolder(path: string): readonly string[] {
  try {
    return fs.readdirSync(path);
  } catch (error) {
    // The port has no room for this failure, and a site cannot begin without knowing what it has.
    throw new AppError("failed", failureOf(error, `listing the folder ${path}`).message, {
      cause: error,
    });
  }
}

function inFolder(path: string, name: string): string {
  assert(
    name !== "" && name !== "." && name !== ".." && !name.includes("/"),
    `not a flat name: ${name}`,
  );
  return join(path, name);
}

function openFile(path: string, flags: number, names: Syncer): File | IoFailure {
  let file: OpenFile;
  let bytes: number;
  try {
    file = new OpenFile(fs.openSync(path, flags, 0o600), path);
    bytes = fs.fstatSync(file.fd).size;
  } catch (error) {
    return failureOf(error, `opening ${path}`);
  }
  // Whether `open` made the name or found it is not told apart: a sync of the folder too many does no harm.
  names.wrote(0);
  const syncer = new Syncer({
    path,
    run: (done) => file.fdatasync(done),
    bound: undefined,
    clock: createClock(),
  });
  return {
    path,
    bytes: () => bytes,
    read(offset, into) {
      const count = file.readNow(offset, into);
      if (typeof count !== "number") return count;
      into.fill(0, count);
      return undefined;
    },
    readLater(offset, into, done) {
      const there = into.subarray(0, Math.max(0, Math.min(into.length, bytes - offset)));
      into.fill(0, there.length);
      const cached = readCached(file, offset, there);
      // By way of the loop, so that a long log in the page cache does not keep everybody else from their turns.
      if (cached === there.length) setImmediate(done, undefined);
      else file.readInPool(offset, there, cached, done);
    },
    write(offset, chunks) {
      if (syncer.failure !== undefined) return syncer.failure;
      const length = totalBytes(chunks);
      const failure = file.write(offset, chunks);
      // A failed write may have left a part behind, and that part too waits for a sync and may have made the file
      // longer.
      syncer.wrote(length);
      if (failure === undefined) bytes = Math.max(bytes, length === 0 ? 0 : offset + length);
      else bytes = Math.max(bytes, sizeNow(file));
      return failure;
    },
    allocate: (offset, length) => allocate(file, offset, length),
    sync: (done) => syncer.sync(done),
    close: () => file.close(),
  };
}

const unsupported = ["EOPNOTSUPP", "ENOSYS", "EPERM", "EINVAL", "ENODEV"];

function allocate(
  { fd, path }: OpenFile,
  offset: number,
  length: number,
): IoFailure | "unsupported" | undefined {
  const sys = nativeCalls();
  if (sys === undefined) return "unsupported";
  const answer = sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length);
  if (answer === 0) return undefined;
  const failure = failureOfErrno(-answer, `taking room for ${path}`);
  // A full XFS refuses what the file has already: room that an earlier process took must be known again.
  const end = offset + length;
  if (isNoRoom(failure) && sys.blocksEnd(fd, offset, end) === end) return undefined;
  return unsupported.includes(failure.code) ? "unsupported" : failure;
}

/** The size that a failed write has left; none where the whole file is out of reach, which the write has told. */
function sizeNow({ fd, path }: OpenFile): number {
  try {
    return fs.fstatSync(fd).size;
  } catch (error) {
    failureOf(error, `looking at ${path}`);
    return 0;
  }
}

/** Takes what the page cache has of the beginning; how many bytes that is. */
function readCached(file: OpenFile, offset: number, into: Uint8Array): number {
  if (into.length === 0 || into.length > limits.logCachedReadBytesMax) return 0;
  // A negative answer mostly means that nothing is there. Whatever else it is, the pool will meet it again and report it.
  return Math.max(0, nativeCalls()?.readCached(file.fd, into, offset) ?? 0);
}
