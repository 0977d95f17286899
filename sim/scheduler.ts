import type { Prng } from "./prng.ts";

// Virtual time. One heap of events, run one by one on one thread: whatever happens in the simulated world happens here, in
// an order that the seed alone decides.

/** What an event is about. The numbers go into the hash of a run, so they are fixed, not counted up at run time. */
export const eventKind = {
  timer: 1,
  diskSync: 2,
  diskDone: 3,
  deviceOp: 4,
  netFlush: 5,
  netArrive: 6,
  netDeliver: 7,
  netDial: 8,
  netClose: 9,
  host: 10,
  hostSubmit: 11,
  fault: 12,
  operator: 13,
  watch: 14,
  packing: 15,
} as const;
export type EventKind = (typeof eventKind)[keyof typeof eventKind];

/**
 * Somebody whose events die and stop with it: a process, or a boot of a machine. Events without an owner (the network, the
 * hosts) always run.
 */
export type Owner = {
  readonly name: string;
  /** A small number that stands for the owner in the hash of a run. */
  readonly id: number;
  alive: boolean;
  paused: boolean;
  /** Events that came due while the owner stood still. */
  held: Scheduled[];
  /** Since when it runs: its start, or when it last stood still and went on again. */
  releasedUs: number;
  /** Timers that it armed and that have neither fired nor been cancelled (N7). */
  timers: number;
  /** Events of its own that it has had. */
  turns: number;
  /** Told when one of its events threw. */
  onThrow: (error: unknown) => void;
};

export type Scheduled = {
  atUs: number;
  readonly tie: number;
  readonly owner: Owner | undefined;
  readonly kind: EventKind;
  /** Cleared when the event has run or was cancelled. */
  run: (() => void) | undefined;
};

export function createOwner(name: string, id: number, onThrow: (error: unknown) => void): Owner {
  return {
    name,
    id,
    alive: true,
    paused: false,
    held: [],
    releasedUs: 0,
    timers: 0,
    turns: 0,
    onThrow,
  };
}

export class Scheduler {
  /** Virtual microseconds since the world began. */
  nowUs: number;
  /** Events that ran. */
  steps = 0;
  /** Folds every event in: two runs with the same hash took the same path. */
  hash = 0x811c9dc5;
  /** What owners want done when the present event is over, before anything else happens. */
  readonly #soon: { readonly owner: Owner; readonly run: () => void }[] = [];
  /** Called after every event, when all that it caused at once is done. */
  afterEvent: (() => void) | undefined;
  readonly #heap: Scheduled[] = [];
  readonly #rng: Prng;

  constructor(rng: Prng, startUs = 0) {
    this.#rng = rng;
    this.nowUs = startUs;
  }

  /** Runs something `delayUs` from now. Events of the same instant run in an order drawn by chance. */
  after(delayUs: number, owner: Owner | undefined, kind: EventKind, run: () => void): Scheduled {
    const atUs = this.nowUs + Math.max(0, Math.round(delayUs));
    const event: Scheduled = { atUs, tie: this.#rng.u32(), owner, kind, run };
    this.#push(event);
    return event;
  }

  /** Runs something when the present event has done all its work: the end of a turn of the owner's loop. */
  soon(owner: Owner, run: () => void): void {
    this.#soon.push({ owner, run });
  }

  /** Folds something that happened inside of an event into the hash. */
  mix(value: number): void {
    this.hash = Math.imul(this.hash ^ value, 0x01000193) ^ (value >>> 7);
  }

  /** Runs events up to and including the instant `untilUs`, or until `stop` says so. */
  run(untilUs: number, stop: () => boolean): void {
    while (!stop()) {
      const next = this.#heap[0];
      if (next === undefined || next.atUs > untilUs) break;
      this.#pop();
      this.#perform(next);
    }
    if (!stop() && untilUs > this.nowUs) this.nowUs = untilUs;
  }

  /** Lets an owner go on: what it missed runs now, in the order in which it came due. */
  release(owner: Owner): void {
    owner.paused = false;
    owner.releasedUs = this.nowUs;
    const missed = owner.held;
    owner.held = [];
    missed.forEach((event, place) => {
      // One microsecond apart keeps their order, which matters for the bytes of a connection.
      event.atUs = this.nowUs + place;
      this.#push(event);
    });
  }

  #perform(event: Scheduled): void {
    const { run, owner } = event;
    if (run === undefined || owner?.alive === false) return;
    this.nowUs = Math.max(this.nowUs, event.atUs);
    if (owner?.paused === true) {
      owner.held.push(event);
      return;
    }
    event.run = undefined;
    this.steps += 1;
    this.mix(event.atUs | 0);
    this.mix(event.kind + (owner === undefined ? 0 : owner.id << 8));
    this.#guard(owner, run);
    // Bodies may ask for more: the list grows while it is walked.
    for (const next of this.#soon) if (next.owner.alive) this.#guard(next.owner, next.run);
    this.#soon.length = 0;
    this.afterEvent?.();
  }

  #guard(owner: Owner | undefined, run: () => void): void {
    if (owner !== undefined) owner.turns += 1;
    try {
      run();
    } catch (error) {
      if (owner === undefined) throw error;
      owner.onThrow(error);
    }
  }

  #push(event: Scheduled): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt] as Scheduled;
      if (!isBefore(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Scheduled;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(heap[child + 1] as Scheduled, heap[child] as Scheduled))
        child += 1;
      const candidate = heap[child] as Scheduled;
      if (!isBefore(candidate, last)) break;
      heap[at] = candidate;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  return a.atUs === b.atUs ? a.tie < b.tie : a.atUs < b.atUs;
}
