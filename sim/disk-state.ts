// What a disk holds and what it would forget: plain data and functions over it, so that the disks of a world can be cloned
// at any instant, and judged without touching the world they came from.
//
// A file has its content as everybody sees it (`current`: page cache over disk) and what the platter holds (`durable`).
// Between the two lies the ordered list of writes that no sync has covered yet. A power loss keeps none, all, or some of
// them, whole or in part; a kill changes nothing here. Names in a folder work the same way.

import { clonePages, createPages, pageBytes, readPages, writePages, zeroPages } from "./pages.ts";
import type { Pages } from "./pages.ts";
import type { Prng } from "./prng.ts";

export const sectorBytes = 512;

export type UnsyncedWrite = {
  readonly seq: number;
  readonly offset: number;
  readonly length: number;
  /** Undefined for a range that was zeroed. */
  readonly bytes: Uint8Array | undefined;
};

export type Inode = {
  readonly id: number;
  current: Pages;
  durable: Pages;
  bytes: number;
  durableBytes: number;
  /** So many pages from its beginning on have room, whether they are written yet or not. */
  allocatedPages: number;
  unsynced: UnsyncedWrite[];
  /** It lies on a machine of its own (device.ts): this one's losses of power are none of it, and its space neither. */
  isRemote: boolean;
  /** A failed sync has left pages that look clean and are not on the platter. */
  isStale: boolean;
  /** A sync has failed that nobody was there to hear of: the kernel tells the next one. */
  isUnreported: boolean;
  /** Grows with every change of `current`, and of `durable`: lets a checker keep what it parsed. */
  version: number;
  durableVersion: number;
  /** The lowest places that were changed since `log-view.ts` last parsed `current`, and `durable`: it goes on where it was. */
  changedFrom: number;
  durableChangedFrom: number;
};

type NameChange = {
  readonly seq: number;
  readonly name: string;
  readonly inode: number | undefined;
};

export type FolderState = {
  names: Map<string, number>;
  durableNames: Map<string, number>;
  unsynced: NameChange[];
};

export type DiskState = {
  readonly inodes: Map<number, Inode>;
  readonly folders: Map<string, FolderState>;
  /** Number of the last write or change of a name. */
  seq: number;
  nextInode: number;
  /** Grows with whatever changes any file or name in either view: a checker need not look twice at the same. */
  changes: number;
};

/** What a power loss leaves of the writes that no sync had covered. `torn` keeps any sectors of any of them. */
export type Keep = "none" | "all" | "prefix" | "subset" | "torn";
export const keeps: readonly Keep[] = ["none", "all", "prefix", "subset", "torn"];

/** Whose eyes: everybody's, or a reader's after a power loss that kept nothing unsynced. */
export type View = "current" | "durable";

export function createDiskState(): DiskState {
  return { inodes: new Map(), folders: new Map(), seq: 0, nextInode: 1, changes: 0 };
}

export function cloneDiskState(disk: DiskState): DiskState {
  const inodes = new Map<number, Inode>();
  for (const [id, inode] of disk.inodes) {
    inodes.set(id, {
      ...inode,
      current: clonePages(inode.current),
      durable: clonePages(inode.durable),
      unsynced: [...inode.unsynced],
    });
  }
  const folders = new Map<string, FolderState>();
  for (const [path, folder] of disk.folders) {
    folders.set(path, {
      names: new Map(folder.names),
      durableNames: new Map(folder.durableNames),
      unsynced: [...folder.unsynced],
    });
  }
  const { seq, nextInode, changes } = disk;
  return { inodes, folders, seq, nextInode, changes };
}

/** The folder, made when missing. Folders themselves are never lost. */
export function folderAt(disk: DiskState, path: string): FolderState {
  let folder = disk.folders.get(path);
  if (folder === undefined) {
    folder = { names: new Map(), durableNames: new Map(), unsynced: [] };
    disk.folders.set(path, folder);
  }
  return folder;
}

export function createFile(disk: DiskState, folder: FolderState, name: string): Inode {
  const id = disk.nextInode;
  disk.nextInode += 1;
  const inode: Inode = {
    id,
    current: createPages(),
    durable: createPages(),
    bytes: 0,
    durableBytes: 0,
    allocatedPages: 0,
    unsynced: [],
    isRemote: false,
    isStale: false,
    isUnreported: false,
    version: 0,
    durableVersion: 0,
    changedFrom: 0,
    durableChangedFrom: 0,
  };
  disk.inodes.set(id, inode);
  changeName(disk, folder, name, id);
  return inode;
}

/** Points a name at a file, or takes it away. A file without any name stays until the world ends: a crash may bring it back. */
export function changeName(
  disk: DiskState,
  folder: FolderState,
  name: string,
  inode: number | undefined,
): void {
  disk.seq += 1;
  disk.changes += 1;
  folder.unsynced.push({ seq: disk.seq, name, inode });
  applyName(folder.names, name, inode);
}

export function inodeAt(
  disk: DiskState,
  path: string,
  name: string,
  view: View,
): Inode | undefined {
  const folder = disk.folders.get(path);
  const names = view === "current" ? folder?.names : folder?.durableNames;
  const id = names?.get(name);
  return id === undefined ? undefined : disk.inodes.get(id);
}

export function writeInode(
  disk: DiskState,
  inode: Inode,
  offset: number,
  chunks: readonly Uint8Array[],
): void {
  const bytes = copyOf(chunks);
  if (bytes.length === 0) return;
  disk.seq += 1;
  inode.unsynced.push({ seq: disk.seq, offset, length: bytes.length, bytes });
  writePages(inode.current, offset, bytes);
  inode.bytes = Math.max(inode.bytes, offset + bytes.length);
  noteChange(disk, inode, offset);
}

export function zeroInode(disk: DiskState, inode: Inode, offset: number, length: number): void {
  disk.seq += 1;
  inode.unsynced.push({ seq: disk.seq, offset, length, bytes: undefined });
  zeroPages(inode.current, offset, length);
  inode.bytes = Math.max(inode.bytes, offset + length);
  noteChange(disk, inode, offset);
}

function noteChange(disk: DiskState, inode: Inode, offset: number): void {
  disk.changes += 1;
  inode.version += 1;
  inode.changedFrom = Math.min(inode.changedFrom, offset);
}

/** Makes everything up to `seq` durable. */
export function syncInode(disk: DiskState, inode: Inode, seq: number): void {
  disk.changes += 1;
  const rest = inode.unsynced.findIndex((write) => write.seq > seq);
  const covered = rest === -1 ? inode.unsynced : inode.unsynced.slice(0, rest);
  for (const write of covered) applyWrite(inode, write);
  inode.unsynced = rest === -1 ? [] : inode.unsynced.slice(rest);
  inode.durableVersion += 1;
}

/**
 * A sync that failed: the kernel marks the pages clean, so that no later sync writes them. They can still be read, until the
 * machine loses power (the fsync lesson of 2018, PROOF §1).
 */
export function forgetUnsynced(inode: Inode, seq: number): void {
  const kept = inode.unsynced.filter((write) => write.seq > seq);
  inode.isStale ||= kept.length < inode.unsynced.length;
  inode.unsynced = kept;
}

/** The kernel lets go of pages that look clean: what a failed sync dropped is then gone for every reader. */
export function evictStale(disk: DiskState): boolean {
  let isAny = false;
  for (const inode of disk.inodes.values()) {
    if (!inode.isStale) continue;
    isAny = true;
    disk.changes += 1;
    const { unsynced } = inode;
    settleInode(inode);
    inode.unsynced = unsynced;
    for (const write of unsynced) {
      if (write.bytes === undefined) zeroPages(inode.current, write.offset, write.length);
      else writePages(inode.current, write.offset, write.bytes);
      inode.bytes = Math.max(inode.bytes, write.offset + write.length);
    }
  }
  return isAny;
}

export function syncFolder(disk: DiskState, folder: FolderState, seq: number): void {
  disk.changes += 1;
  for (const change of folder.unsynced) {
    if (change.seq <= seq) applyName(folder.durableNames, change.name, change.inode);
  }
  folder.unsynced = folder.unsynced.filter((change) => change.seq > seq);
}

export function readInode(inode: Inode, view: View, offset: number, into: Uint8Array): void {
  readPages(view === "current" ? inode.current : inode.durable, offset, into);
}

/**
 * The machine loses power: what no sync had covered is kept or lost as `keep` says. With `remote`, that file's machine does,
 * and this one goes on.
 */
export function losePower(disk: DiskState, keep: Keep, rng: Prng, remote?: Inode): void {
  const inodes = remote === undefined ? ownInodes(disk) : [remote];
  const folders = remote === undefined ? [...disk.folders.values()] : [];
  const keepsWhole = survivors(disk, { inodes, folders }, keep, rng);
  disk.changes += 1;
  for (const inode of inodes) {
    for (const write of inode.unsynced) {
      if (keep === "torn") tearWrite(inode, write, rng);
      else if (keepsWhole(write.seq)) applyWrite(inode, write);
    }
    settleInode(inode);
  }
  for (const folder of folders) {
    for (const change of folder.unsynced) {
      const kept = keep === "torn" ? rng.chance(0.5) : keepsWhole(change.seq);
      if (kept) applyName(folder.durableNames, change.name, change.inode);
    }
    folder.unsynced = [];
    folder.names = new Map(folder.durableNames);
  }
}

/** Files that lie on this machine. */
function ownInodes(disk: DiskState): Inode[] {
  return [...disk.inodes.values()].filter(({ isRemote }) => !isRemote);
}

type Hit = { readonly inodes: readonly Inode[]; readonly folders: readonly FolderState[] };

function survivors(disk: DiskState, hit: Hit, keep: Keep, rng: Prng): (seq: number) => boolean {
  if (keep === "prefix") {
    const first = firstUnsynced(disk, hit);
    const last = first - 1 + rng.below(disk.seq - first + 2);
    return (seq) => seq <= last;
  }
  if (keep === "subset") {
    const share = rng.pick([0.1, 0.5, 0.9]);
    return () => rng.chance(share);
  }
  return () => keep === "all";
}

function firstUnsynced(disk: DiskState, { inodes, folders }: Hit): number {
  let first = disk.seq;
  for (const inode of inodes) first = Math.min(first, inode.unsynced[0]?.seq ?? first);
  for (const folder of folders) {
    first = Math.min(first, folder.unsynced[0]?.seq ?? first);
  }
  return first;
}

// Keeps any of the sectors of a write, often in runs as a disk would.
function tearWrite(inode: Inode, write: UnsyncedWrite, rng: Prng): void {
  let kept = rng.chance(0.5);
  let from = write.offset;
  const end = write.offset + write.length;
  for (let at = from; at < end;) {
    const next = Math.min(end, (Math.floor(at / sectorBytes) + 1) * sectorBytes);
    at = next;
    if (at < end && !rng.chance(0.3)) continue;
    if (kept) applyWrite(inode, partOf(write, from, at));
    kept = rng.chance(0.5);
    from = at;
  }
}

function partOf(write: UnsyncedWrite, from: number, to: number): UnsyncedWrite {
  const bytes = write.bytes?.subarray(from - write.offset, to - write.offset);
  return { seq: write.seq, offset: from, length: to - from, bytes };
}

function settleInode(inode: Inode): void {
  inode.unsynced = [];
  inode.isStale = false;
  // A file system may have written nothing down of what it had set aside.
  inode.allocatedPages = 0;
  inode.bytes = inode.durableBytes;
  inode.current = clonePages(inode.durable);
  inode.version += 1;
  inode.durableVersion += 1;
  inode.changedFrom = 0;
}

function applyWrite(inode: Inode, write: UnsyncedWrite): void {
  if (write.bytes === undefined) zeroPages(inode.durable, write.offset, write.length);
  else writePages(inode.durable, write.offset, write.bytes);
  inode.durableBytes = Math.max(inode.durableBytes, write.offset + write.length);
  inode.durableChangedFrom = Math.min(inode.durableChangedFrom, write.offset);
}

function applyName(names: Map<string, number>, name: string, inode: number | undefined): void {
  if (inode === undefined) names.delete(name);
  else names.set(name, inode);
}

function copyOf(chunks: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** Bytes that the files of a disk take, with what is set aside for them: what a space limit counts. */
export function usedBytes(disk: DiskState): number {
  const named = new Set<number>();
  for (const { names } of disk.folders.values()) for (const id of names.values()) named.add(id);
  let pages = 0;
  for (const inode of ownInodes(disk)) {
    // What has no name any more is kept here for the sake of a power cut alone.
    if (!named.has(inode.id)) continue;
    pages += inode.current.byIndex.size + unwrittenPages(inode, 0, inode.allocatedPages);
  }
  return pages * pageBytes;
}

/** Pages of a file that have no content yet, from one to before another. */
export function unwrittenPages({ current }: Inode, from: number, to: number): number {
  let pages = 0;
  for (let index = from; index < to; index += 1) if (!current.byIndex.has(index)) pages += 1;
  return pages;
}
