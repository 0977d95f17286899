import fs from "node:fs";
import { join } from "node:path";
import { AppError, type IoFailure } from "#base/errors.ts";
import { failureOf } from "#io/failure.ts";
import type { File, Folder } from "#ports/file.ts";

// A folder as `antipode inspect` looks at it: nothing in it is made, changed or synced, whoever uses it meanwhile. A site that
// runs removes logs and maps that it needs no more; opened as the site opens them, they would be there again, empty, and the
// site's next start would refuse a journal with such a file in it.

/** The `Folder` port over a directory that must be there, for reading only. */
export function openReadOnly(path: string): Folder {
  return {
    path,
    list: () => listFolder(path),
    exists: (name) => fs.existsSync(join(path, name)),
    open: (name) => openFile(join(path, name)),
    remove: (name) => refuse(`removing ${join(path, name)}`),
    rename: (name) => refuse(`renaming ${join(path, name)}`),
    sync: (done) => done(refuse(`syncing ${path}`)),
  };
}

function listFolder(path: string): readonly string[] {
  try {
    return fs.readdirSync(path);
  } catch (error: unknown) {
    throw new AppError("failed", failureOf(error, `listing ${path}`).message, { cause: error });
  }
}

function openFile(path: string): File | IoFailure {
  let fd: number;
  let bytes: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY);
    bytes = fs.fstatSync(fd).size;
  } catch (error: unknown) {
    return failureOf(error, `opening ${path}`);
  }
  const read = (offset: number, into: Uint8Array): IoFailure | undefined => {
    try {
      for (let done = 0; done < into.length;) {
        const count = fs.readSync(fd, into, done, into.length - done, offset + done);
        // What is beyond the end reads as zeros.
        if (count === 0) into.fill(0, done);
        done = count === 0 ? into.length : done + count;
      }
      return undefined;
    } catch (error: unknown) {
      return failureOf(error, `reading ${path} at byte ${offset}`);
    }
  };
  return {
    path,
    bytes: () => bytes,
    read,
    readLater(offset, into, done) {
      const failure = read(offset, into);
      setImmediate(done, failure);
    },
    write: () => refuse(`writing ${path}`),
    allocate: () => refuse(`taking room for ${path}`),
    sync: (done) => done(refuse(`syncing ${path}`)),
    close: () => fs.closeSync(fd),
  };
}

function refuse(what: string): IoFailure {
  return { code: "EROFS", message: `${what}: it is only looked at (EROFS)` };
}
