import { totalmem } from "node:os";
import { limits } from "#base/limits.ts";

/** What all images of a process together may leave unsynced; each takes an equal share of it. */
export type UnsyncedBudget = {
  readonly bytes: number;
  /** Images that are open now. */
  sharers: number;
};

/** The part of this machine's memory (or of the container's) that may be unsynced before hosts wait. */
export function createUnsyncedBudget(memoryBytes = memoryOfThisProcess()): UnsyncedBudget {
  return { bytes: Math.floor(memoryBytes / limits.unsyncedMemoryDivisor), sharers: 0 };
}

function memoryOfThisProcess(): number {
  const constrained = process.constrainedMemory();
  // Without a limit the kernel's answer is a number that no machine has.
  return constrained > 0 ? Math.min(totalmem(), constrained) : totalmem();
}

/**
 * How much of one image may be unsynced. A FLUSH has to write what is not synced yet, so the bound follows how fast this disk
 * has turned out to be: what it syncs within `limits.unsyncedSyncMs`, and never more than its share of the memory, since the
 * kernel stalls whoever writes once too many pages are dirty (DESIGN §3.11, docs/decisions/0006).
 */
export class UnsyncedBound {
  readonly #budget: UnsyncedBudget;
  #bytesPerMs = limits.unsyncedBytesFirst / limits.unsyncedSyncMs;

  constructor(budget: UnsyncedBudget) {
    this.#budget = budget;
    budget.sharers += 1;
  }

  /** Beyond this a sync begins in the background. */
  get softBytes(): number {
    const share = this.#budget.bytes / (2 * Math.max(1, this.#budget.sharers));
    const quick = this.#bytesPerMs * limits.unsyncedSyncMs;
    return Math.min(Math.max(quick, limits.unsyncedBytesMin), share, limits.unsyncedBytesMax);
  }

  /** Beyond this hosts wait: twice the soft bound, so that they write on while the sync that it began is under way. */
  get hardBytes(): number {
    return 2 * this.softBytes;
  }

  /** A sync of so many bytes took so long. Small ones tell nothing of the disk's speed. */
  learn(bytes: number, tookMs: number): void {
    if (bytes < limits.unsyncedBytesMin / 2) return;
    this.#bytesPerMs = (this.#bytesPerMs + bytes / Math.max(1, tookMs)) / 2;
  }

  leave(): void {
    this.#budget.sharers -= 1;
  }
}
