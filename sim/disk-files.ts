import type { IoFailure } from "#base/errors.ts";
import type { File, Folder } from "#ports/file.ts";
import { failure } from "./disk.ts";
import type { SimDisk } from "./disk.ts";
import { changeName, createFile, inodeAt, readInode, unwrittenPages } from "./disk-state.ts";
import { writeInode } from "./disk-state.ts";
import type { DiskState, Inode, View } from "./disk-state.ts";
import { missingPages, pageBytes } from "./pages.ts";
import type { Process } from "./process.ts";
import { eventKind } from "./scheduler.ts";

/** A folder of a simulated disk, as one process sees it. */
export function openSimFolder(disk: SimDisk, process: Process, path: string): Folder {
  const state = disk.folder(path);
  return {
    path,
    list: () => [...state.names.keys()].sort(),
    exists: (name) => state.names.has(name),
    open(name) {
      let inode = inodeAt(disk.state, path, name, "current");
      if (inode === undefined) {
        const refused = disk.writeFailure(1);
        if (refused !== undefined) return refused;
        disk.step(process, "name", () => {
          inode = createFile(disk.state, state, name);
        });
        // A process that died just now still gets something to write into; nothing of it will ever be seen.
        inode ??= createFile({ ...disk.state, inodes: new Map() }, emptyFolder(), name);
      }
      return openSimFile(disk, process, inode, `${path}/${name}`);
    },
    remove(name) {
      if (!state.names.has(name)) return failure("ENOENT", `${path}/${name} does not exist`);
      disk.step(process, "name", () => changeName(disk.state, state, name, undefined));
      return undefined;
    },
    rename(from, to) {
      const id = state.names.get(from);
      if (id === undefined) return failure("ENOENT", `${path}/${from} does not exist`);
      // Either half may be lost on its own: harder than what file systems do.
      disk.step(process, "name", () => {
        changeName(disk.state, state, to, id);
        changeName(disk.state, state, from, undefined);
      });
      return undefined;
    },
    sync: (done) => disk.syncNames(process, state, done),
  };
}

function openSimFile(disk: SimDisk, process: Process, inode: Inode, path: string): File {
  /** A sync that failed is final for the file (PROOF §2.5). */
  let broken: IoFailure | undefined;
  return {
    path,
    bytes: () => inode.bytes,
    read(offset, into) {
      const refused = disk.readFailure();
      if (refused === undefined) readInode(inode, "current", offset, into);
      return refused;
    },
    readLater(offset, into, done) {
      if (!process.alive) return;
      const { imageUs } = disk.behaviour;
      const delayUs = imageUs === 0 ? 0 : imageUs * disk.rng.exponential(1);
      disk.scheduler.after(delayUs, process, eventKind.deviceOp, () => {
        const refused = disk.readFailure();
        if (refused === undefined) readInode(inode, "current", offset, into);
        done(refused);
      });
    },
    write(offset, chunks) {
      const lengthBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      const refused = broken ?? disk.writeFailure(newPages(inode, offset, lengthBytes));
      if (refused === undefined) {
        disk.step(process, "write", () => writeInode(disk.state, inode, offset, chunks));
      }
      return refused;
    },
    allocate(offset, length) {
      const pages = Math.ceil((offset + length) / pageBytes);
      const refused = disk.roomFailure(unwrittenPages(inode, inode.allocatedPages, pages));
      // No step of its own: it changes nothing that a power cut would leave.
      if (refused === undefined && process.alive)
        inode.allocatedPages = Math.max(inode.allocatedPages, pages);
      return refused;
    },
    sync: (done) =>
      disk.syncFile(process, inode, (failed) => {
        broken ??= failed;
        done(broken);
      }),
    close: () => undefined,
  };
}

/** What a write needs of the disk's room: where it was taken before, nothing. */
function newPages(inode: Inode, offset: number, lengthBytes: number): number {
  const allocated = inode.allocatedPages * pageBytes;
  const from = Math.max(offset, allocated);
  const end = offset + lengthBytes;
  return end <= from ? 0 : missingPages(inode.current, from, end - from);
}

/**
 * A folder for a checker's eyes: it reads what is there, or what would be left after a power loss that kept nothing
 * unsynced. Nothing can be changed through it.
 */
export function viewFolder(disk: DiskState, path: string, view: View): Folder {
  const state = disk.folders.get(path);
  const names =
    (view === "current" ? state?.names : state?.durableNames) ?? new Map<string, number>();
  const refuse = failure("EROFS", `${path} is only looked at`);
  return {
    path,
    list: () => [...names.keys()].sort(),
    exists: (name) => names.has(name),
    open(name) {
      const inode = inodeAt(disk, path, name, view);
      if (inode === undefined) return failure("ENOENT", `${path}/${name} does not exist`);
      return {
        path: `${path}/${name}`,
        bytes: () => (view === "current" ? inode.bytes : inode.durableBytes),
        read: (offset, into) => {
          readInode(inode, view, offset, into);
          return undefined;
        },
        readLater: (offset, into, done) => {
          readInode(inode, view, offset, into);
          queueMicrotask(() => done(undefined));
        },
        write: () => refuse,
        allocate: () => refuse,
        sync: (done) => done(refuse),
        close: () => undefined,
      };
    },
    remove: () => refuse,
    rename: () => refuse,
    sync: (done) => done(refuse),
  };
}

function emptyFolder(): {
  names: Map<string, number>;
  durableNames: Map<string, number>;
  unsynced: [];
} {
  return { names: new Map(), durableNames: new Map(), unsynced: [] };
}
