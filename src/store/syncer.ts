import type { IoFailure } from "#base/errors.ts";
import type { Clock } from "#ports/clock.ts";

type SyncDone = (failure: IoFailure | undefined) => void;

/** How much may be unsynced, and who wants to know how long syncs take. */
export type SyncBound = {
  readonly softBytes: number;
  learn(bytes: number, tookMs: number): void;
};

export type SyncerOptions = {
  /** What is synced, for messages. */
  readonly path: string;
  /** Begins one sync and calls back later, never before it returns. */
  readonly run: (done: SyncDone) => void;
  /** Beyond it a sync is begun without anybody asking for one; undefined for what is small. */
  readonly bound: SyncBound | undefined;
  readonly clock: Pick<Clock, "nowMs" | "soon">;
};

/**
 * Shares syncs of one file among all who wait (group commit), and counts what is not yet synced.
 *
 * At most one sync runs and one batch waits for the next. Who asks while one runs must wait for the next: a running
 * sync need not cover what was written after it began.
 *
 * A failed sync is final (DESIGN §5): the kernel marks the pages clean although they never reached the disk, so that a
 * second sync would succeed and mean nothing.
 */
export class Syncer {
  readonly #options: SyncerOptions;
  #running = false;
  #waiting: SyncDone[] = [];
  #failure: IoFailure | undefined;
  /** Writes and bytes so far, and how many of them the last good sync covered. Bytes overwritten count again. */
  #writes = 1;
  #writesSynced = 0;
  #bytes = 0;
  #bytesSynced = 0;

  // `#writes` begins at one: what an earlier process left in the page cache is not synced either.
  constructor(options: SyncerOptions) {
    this.#options = options;
  }

  /** Why the file is dead, once a sync has failed. */
  get failure(): IoFailure | undefined {
    return this.#failure;
  }

  get unsyncedBytes(): number {
    return this.#bytes - this.#bytesSynced;
  }

  /** Something was written, `bytes` of it by way of the page cache. To be told before whoever wrote hears of it. */
  wrote(bytes: number): void {
    this.#writes++;
    this.#bytes += bytes;
    this.#startIfTooMuch();
  }

  /** Calls back when everything told to `wrote` before is durable. Never before the call returns. */
  sync(done: SyncDone): void {
    if (this.#failure !== undefined || (!this.#running && this.#writesSynced === this.#writes)) {
      const failure = this.#failure;
      this.#options.clock.soon(() => done(failure));
      return;
    }
    this.#waiting.push(done);
    if (!this.#running) this.#start();
  }

  #startIfTooMuch(): void {
    if (this.#running || this.#failure !== undefined) return;
    const { bound } = this.#options;
    if (bound !== undefined && this.unsyncedBytes > bound.softBytes) this.#start();
  }

  #start(): void {
    const batch = this.#waiting;
    const writes = this.#writes;
    const bytes = this.#bytes;
    this.#waiting = [];
    this.#running = true;
    const { bound, clock } = this.#options;
    const startedMs = clock.nowMs();
    this.#options.run((failure) => {
      this.#running = false;
      if (failure === undefined) {
        bound?.learn(bytes - this.#bytesSynced, clock.nowMs() - startedMs);
        this.#writesSynced = writes;
        this.#bytesSynced = bytes;
      } else {
        this.#fail(failure, batch);
      }
      // The next batch starts before the callbacks of this one, which may take their time and ask for more.
      if (this.#waiting.length > 0) this.#start();
      else this.#startIfTooMuch();
      for (const done of batch) done(this.#failure);
    });
  }

  #fail(failure: IoFailure, batch: SyncDone[]): void {
    batch.push(...this.#waiting);
    this.#waiting = [];
    // Whatever the sync said, it is an I/O error to everybody after: "no space" would invite them to make some and go
    // on.
    const lost = `what was written since the last good sync may be lost, and ${this.#options.path} is used no more`;
    this.#failure = { code: "EIO", message: `${failure.message}; ${lost}` };
  }
}
