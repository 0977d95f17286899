import { assert } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { meetsAny } from "#base/span.ts";
import type { Span } from "#base/span.ts";
import type { BlockDevice, Extent, ReadDone, WriteDone } from "#ports/block-device.ts";
import type { Clock, Timer } from "#ports/clock.ts";
import type { DeviceLink, DeviceLinkEvents } from "#ports/device-link.ts";
import { Syncer } from "#store/syncer.ts";

export type LinkedImageOptions = {
  readonly connect: (events: DeviceLinkEvents) => DeviceLink;
  readonly clock: Clock;
};

/**
 * The `BlockDevice` port over a device behind a link, for whoever has no journal in front of it. What is asked before the link
 * is up waits for it. A link that is lost is final, like a failed sync: the device may have forgotten what it was sent since
 * its last flush, and nothing here could send that again.
 */
export function createLinkedImage(options: LinkedImageOptions): BlockDevice {
  return new LinkedImage(options);
}

/** A write or zeroed range, from the call until it is answered; or a read of what they change. */
type Turn = Span & {
  /** Begins it; `ended` is to be called first of all when it has ended. */
  readonly run: (ended: () => void) => void;
};

type Answered = (context: undefined, failure: IoFailure | undefined) => void;

class LinkedImage implements BlockDevice {
  readonly bytes: number;
  readonly #link: DeviceLink;
  readonly #clock: Clock;
  readonly #syncer: Syncer;
  readonly #patience: Timer;
  #owner: DeviceLinkEvents | undefined;
  #dead: IoFailure | undefined;
  #isOwnerTold = false;
  #hasBeenUp = false;
  /** The last word of the link while it was down. */
  #down: { readonly why: string; readonly isRefused: boolean } | undefined;
  /** What waits for the link, each to be told whether it came. */
  #waiting: ((failure: IoFailure | undefined) => void)[] = [];
  /** In the order of the calls; the oldest waits for an overlapping one under way. */
  readonly #queued: Turn[] = [];
  readonly #underWay = new Set<Turn>();

  constructor({ connect, clock }: LinkedImageOptions) {
    this.#clock = clock;
    this.#link = connect({
      onUp: () => this.#onUp(),
      onDown: (why, isRefused) => this.#onDown(why, isRefused),
    });
    this.bytes = this.#link.bytes;
    this.#syncer = new Syncer({
      path: this.#link.address,
      run: (done) => this.#whenUp((failure) => (failure ? done(failure) : this.#link.flush(done))),
      bound: undefined,
      clock,
    });
    this.#patience = clock.after(limits.deviceTimeoutMs, () => {
      if (this.#link.isUp() || this.#owner !== undefined) return;
      this.#die(`it was not reached: ${this.#down?.why ?? "no answer"}`);
    });
  }

  read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void {
    this.#checkRange(offset, length);
    const range = { offset, length };
    if (!meetsAny(range, this.#underWay) && !meetsAny(range, this.#queued))
      return this.#read(range, context, done);
    // A server answers in any order: what is to be written here before it must be there first.
    this.#take({
      ...range,
      run: (ended) =>
        this.#read(range, context, (same, failure, bytes) => {
          ended();
          done(same, failure, bytes);
          this.#pump();
        }),
    });
  }

  write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void {
    const range = { offset, length: totalBytes(chunks) };
    const start = (answered: Answered) => this.#link.write(offset, chunks, undefined, answered);
    this.#change(range, start, (failure) => done(context, failure));
  }

  // oxlint-disable-next-line max-params -- the port's shape
  zero<C>(offset: number, length: number, mayPunch: boolean, context: C, done: WriteDone<C>): void {
    const start = (answered: Answered) =>
      this.#link.zero(offset, length, mayPunch, undefined, answered);
    this.#change({ offset, length }, start, (failure) => done(context, failure));
  }

  sync(done: (failure: IoFailure | undefined) => void): void {
    const dead = this.#dead;
    if (dead !== undefined) this.#clock.soon(() => done(dead));
    else this.#syncer.sync(done);
  }

  failure(): IoFailure | undefined {
    return this.#dead ?? this.#syncer.failure;
  }

  unsyncedBytes(): number {
    return this.#syncer.unsyncedBytes;
  }

  isPressed(): boolean {
    return false;
  }

  extents(offset: number, length: number, done: (extents: readonly Extent[]) => void): void {
    done(length === 0 ? [] : [{ offset, length, hole: false }]);
  }

  whyNotGrow(bytes: number): IoFailure | undefined {
    if (bytes <= this.bytes) return undefined;
    const message = `${this.#link.address}: a volume on an NBD server keeps its size in this version`;
    return { code: "ENOTSUP", message };
  }

  grow(bytes: number, done: (failure: IoFailure | undefined) => void): void {
    this.#clock.soon(() => done(this.whyNotGrow(bytes)));
  }

  close(): void {
    this.#patience.cancel();
    this.#link.close();
    this.#die("it was closed");
  }

  readonly takeLink = (events: DeviceLinkEvents): DeviceLink => {
    this.#patience.cancel();
    this.#owner = events;
    this.#die("it has another owner");
    // What the link has said so far, unless it speaks by itself before that.
    this.#clock.soon(() => {
      if (this.#isOwnerTold) return;
      if (this.#link.isUp()) events.onUp();
      else if (this.#down !== undefined) events.onDown(this.#down.why, this.#down.isRefused);
    });
    return this.#link;
  };

  // -------------------------------------------------------------------------------- one after the other

  #change(
    range: Span,
    start: (answered: Answered) => void,
    done: (failure: IoFailure | undefined) => void,
  ): void {
    this.#checkRange(range.offset, range.length);
    const run = (ended: () => void): void => {
      const end = (failure: IoFailure | undefined): void => {
        ended();
        // A failed one may have left a part behind, and that part is unsynced like any other.
        this.#syncer.wrote(range.length);
        done(failure);
        this.#pump();
      };
      this.#whenUp((failure) => {
        if (failure !== undefined) end(failure);
        else start((_, notDone) => end(notDone && this.#lastingly(notDone)));
      });
    };
    this.#take({ ...range, run });
  }

  #take(turn: Turn): void {
    this.#queued.push(turn);
    this.#pump();
  }

  #pump(): void {
    for (;;) {
      const [next] = this.#queued;
      if (next === undefined || meetsAny(next, this.#underWay)) return;
      if (this.#underWay.size >= limits.deviceRequestsMax) return;
      this.#queued.shift();
      this.#underWay.add(next);
      next.run(() => this.#underWay.delete(next));
    }
  }

  #read<C>({ offset, length }: Span, context: C, done: ReadDone<C>): void {
    this.#whenUp((failure) => {
      if (failure !== undefined) return done(context, failure, new Uint8Array(0));
      this.#link.read(offset, length, context, (same, notRead, bytes) =>
        done(same, notRead && this.#lastingly(notRead), bytes),
      );
    });
  }

  // --------------------------------------------------------------------------------------- the link

  #onUp(): void {
    this.#down = undefined;
    if (this.#owner !== undefined) {
      this.#isOwnerTold = true;
      return this.#owner.onUp();
    }
    this.#hasBeenUp = true;
    if (this.#dead !== undefined) return;
    for (const waiter of this.#waiting.splice(0)) waiter(undefined);
  }

  #onDown(why: string, isRefused: boolean): void {
    this.#down = { why, isRefused };
    if (this.#owner !== undefined) {
      this.#isOwnerTold = true;
      return this.#owner.onDown(why, isRefused);
    }
    if (isRefused || this.#hasBeenUp) this.#die(why);
  }

  #whenUp(run: (failure: IoFailure | undefined) => void): void {
    const dead = this.failure();
    if (dead !== undefined) run(dead);
    else if (this.#link.isUp()) run(undefined);
    else this.#waiting.push(run);
  }

  #die(why: string): void {
    this.#dead ??= { code: "EIO", message: `${this.#link.address} is used no more: ${why}` };
    const dead = this.#dead;
    for (const waiter of this.#waiting.splice(0)) waiter(dead);
  }

  /** A lost link took along what nobody knows to be flushed; an error of the device's own is that request's alone. */
  #lastingly(failure: IoFailure): IoFailure {
    if (failure.code === "ENOTCONN") this.#die(failure.message);
    return failure.code === "ENOTCONN" && this.#dead !== undefined ? this.#dead : failure;
  }

  #checkRange(offset: number, length: number): void {
    const inside = Number.isSafeInteger(offset) && offset >= 0 && length >= 0;
    assert(inside && offset + length <= this.bytes, `${offset}+${length} is not in the device`);
  }
}
