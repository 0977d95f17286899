import type { IoFailure } from "#base/errors.ts";
import type { Process } from "./process.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { Owner, Scheduler } from "./scheduler.ts";
import {
  createDiskState,
  folderAt,
  forgetUnsynced,
  losePower,
  syncFolder,
  syncInode,
  usedBytes,
} from "./disk-state.ts";
import { pageBytes } from "./pages.ts";
import type { DiskState, FolderState, Inode, Keep } from "./disk-state.ts";

/** How fast a disk is, and what is wrong with it at the moment. */
export type DiskBehaviour = {
  /** Mean time of a sync. */
  syncUs: number;
  /** The next sync takes that much longer, once. */
  stallUs: number;
  /** Mean time of an image read or write; 0 answers before the call returns, as a file in the page cache does. */
  imageUs: number;
  /** How many of the next operations fail, by kind. */
  failWrites: number;
  /** The same of writes to images alone. */
  failImageWrites: number;
  failReads: number;
  failSyncs: number;
  /** Bytes the disk may hold; writes that need more get ENOSPC. */
  spaceBytes: number;
  /** A write into the page cache that has to wait for the disk stops the whole process: how often, and for how long. */
  writeStallChance: number;
  writeStallUs: number;
};

/** A disk at which nothing goes wrong. */
export const quietDisk: DiskBehaviour = {
  syncUs: 500,
  stallUs: 0,
  imageUs: 0,
  failWrites: 0,
  failImageWrites: 0,
  failReads: 0,
  failSyncs: 0,
  spaceBytes: Infinity,
  writeStallChance: 0,
  writeStallUs: 0,
};

/** What a persistent step did; crash points are named by these. */
export type StepKind = "write" | "zero" | "sync" | "name" | "folderSync";

/** Told before and after each persistent step; may crash the machine there. */
export type StepWatcher = (step: number, kind: StepKind, phase: "before" | "after") => void;

/**
 * The disk of one site, with page cache. Files, folders and images of the site lie on it (`disk-files.ts`,
 * `disk-image.ts`); it outlives the site's processes and the machine's boots.
 */
export class SimDisk {
  readonly site: string;
  readonly scheduler: Scheduler;
  readonly rng: Prng;
  readonly behaviour: DiskBehaviour;
  state: DiskState;
  /** Persistent steps so far: what a directed crash point counts. */
  steps = 0;
  /** Operations that it has refused: until then nobody may blame it. */
  failures = 0;
  readonly stepWatchers = new Set<StepWatcher>();
  /** Syncs under way, for the leak check (N7). */
  syncsInFlight = 0;
  /** Stops the process for a while: a page-cache write that waits for the platter. */
  onStall: ((durationUs: number) => void) | undefined;
  /** What this machine's present boot owns: a sync goes on when its process dies, not when the machine does. */
  boot: Owner;

  constructor(options: {
    site: string;
    scheduler: Scheduler;
    rng: Prng;
    behaviour: DiskBehaviour;
    boot: Owner;
    state?: DiskState;
  }) {
    this.site = options.site;
    this.scheduler = options.scheduler;
    this.rng = options.rng;
    this.behaviour = options.behaviour;
    this.boot = options.boot;
    this.state = options.state ?? createDiskState();
  }

  folder(path: string): FolderState {
    return folderAt(this.state, path);
  }

  losePower(keep: Keep): void {
    losePower(this.state, keep, this.rng);
    this.syncsInFlight = 0;
  }

  /** Performs one persistent step of a process, unless the process died before it. */
  step(process: Process, kind: StepKind, apply: () => void): void {
    if (!process.alive) return;
    this.steps += 1;
    const step = this.steps;
    for (const watch of this.stepWatchers) watch(step, kind, "before");
    if (!process.alive) return;
    apply();
    this.scheduler.mix(step);
    for (const watch of this.stepWatchers) watch(step, kind, "after");
  }

  /** The failure that the next write, which needs so many new pages, meets, if any. */
  writeFailure(newPages: number): IoFailure | undefined {
    const { behaviour } = this;
    if (behaviour.failWrites > 0) {
      behaviour.failWrites -= 1;
      this.failures += 1;
      return failure("EIO", `${this.site}: the disk failed a write`);
    }
    const noRoom = this.roomFailure(newPages);
    if (noRoom !== undefined) return noRoom;
    if (behaviour.writeStallUs > 0 && this.rng.chance(behaviour.writeStallChance)) {
      this.onStall?.(this.rng.exponential(behaviour.writeStallUs));
    }
    return undefined;
  }

  /** The disk has no room for so many new pages. */
  roomFailure(newPages: number): IoFailure | undefined {
    const { spaceBytes } = this.behaviour;
    if (newPages === 0 || spaceBytes === Infinity) return undefined;
    if (this.usedBytes() + newPages * pageBytes <= spaceBytes) return undefined;
    this.failures += 1;
    return failure("ENOSPC", `${this.site}: no space left on the disk`);
  }

  /** The same for a write to an image. */
  imageWriteFailure(newPages: number): IoFailure | undefined {
    const { behaviour } = this;
    if (behaviour.failImageWrites === 0) return this.writeFailure(newPages);
    behaviour.failImageWrites -= 1;
    this.failures += 1;
    return failure("EIO", `${this.site}: the disk failed a write to an image`);
  }

  usedBytes(): number {
    return usedBytes(this.state);
  }

  readFailure(): IoFailure | undefined {
    if (this.behaviour.failReads === 0) return undefined;
    this.behaviour.failReads -= 1;
    this.failures += 1;
    return failure("EIO", `${this.site}: the disk failed a read`);
  }

  syncFile(process: Process, inode: Inode, done: (failure: IoFailure | undefined) => void): void {
    this.#sync(process, "sync", done, {
      apply: (seq) => syncInode(this.state, inode, seq),
      drop: (seq, isHeard) => {
        forgetUnsynced(inode, seq);
        if (!isHeard) inode.isUnreported = true;
      },
      isLate: () => {
        const was = inode.isUnreported;
        inode.isUnreported = false;
        return was;
      },
    });
  }

  syncNames(
    process: Process,
    folder: FolderState,
    done: (failure: IoFailure | undefined) => void,
  ): void {
    this.#sync(process, "folderSync", done, {
      apply: (seq) => syncFolder(this.state, folder, seq),
      drop: () => undefined,
      isLate: () => false,
    });
  }

  // What was written before the call becomes durable when the time of the sync is over. The kernel finishes it though the
  // process may have died meanwhile; the answer goes only to a living one.
  #sync(
    process: Process,
    kind: StepKind,
    done: (failure: IoFailure | undefined) => void,
    effect: SyncEffect,
  ): void {
    if (!process.alive) return;
    const covered = this.state.seq;
    const fails = this.#takeSyncFailure();
    const isLate = effect.isLate();
    this.syncsInFlight += 1;
    this.scheduler.after(this.#syncDelayUs(), this.boot, eventKind.diskSync, () => {
      this.syncsInFlight -= 1;
      if (fails) effect.drop(covered, process.alive);
      else if (process.alive) this.step(process, kind, () => effect.apply(covered));
      else effect.apply(covered);
      this.scheduler.after(0, process, eventKind.diskDone, () =>
        done(fails || isLate ? failure("EIO", `${this.site}: the disk failed a sync`) : undefined),
      );
    });
  }

  #takeSyncFailure(): boolean {
    if (this.behaviour.failSyncs === 0) return false;
    this.behaviour.failSyncs -= 1;
    this.failures += 1;
    return true;
  }

  #syncDelayUs(): number {
    const { behaviour } = this;
    const stall = behaviour.stallUs;
    behaviour.stallUs = 0;
    return stall + behaviour.syncUs * (0.3 + this.rng.exponential(0.7));
  }
}

type SyncEffect = {
  readonly apply: (seq: number) => void;
  /** The sync has failed; `isHeard` when its process is there to be told. */
  readonly drop: (seq: number, isHeard: boolean) => void;
  /** An earlier failure that nobody heard of: this sync tells it. */
  readonly isLate: () => boolean;
};

export function failure(code: string, message: string): IoFailure {
  return { code, message };
}
