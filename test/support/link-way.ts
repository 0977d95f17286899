// One direction of a link between two sites: how far it is, how wide, and how much it holds. All connections that go this
// direction share it, as they share a line.

import { createFifo, type Fifo, peek, push, shift } from "#base/fifo.ts";
import { KiB, MiB } from "#base/limits.ts";
import type { Clock } from "#ports/clock.ts";

/**
 * Beside what is on its way over the distance, the line's end holds what it sends in this time, and at least so much. With
 * less, a line whose process gets no processor for a while would stand idle though there is enough to send.
 */
const queueMs = 50;
const queueBytesMin = 64 * KiB;
/** A line without a width holds this much: at a distance of 100 ms more than anything here sends. */
const unlimitedBytes = 256 * MiB;

type Sent = { readonly bytes: Buffer; readonly dueMs: number; readonly deliver: Deliver };

export type Deliver = (bytes: Buffer) => void;

export class LinkWay {
  /** From when the last byte of a chunk has left until the chunk arrives. */
  delayMs = 0;
  /** What leaves in a second; undefined: everything at once. */
  bytesPerSecond: number | undefined;
  readonly #clock: Clock;
  readonly #onTheWay: Fifo<Sent> = createFifo();
  /** Whoever waits for room, the longest waiting first. */
  readonly #waiting = new Set<() => void>();
  #heldBytes = 0;
  #passedBytes = 0;
  #leavingUntilMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Bytes that have arrived since the start. */
  passedBytes = (): number => this.#passedBytes;

  /** Bytes that were sent and have not arrived. */
  heldBytes = (): number => this.#heldBytes;

  /** True when a sender has to wait for room before it sends more. The chunk that fills the way still goes in whole. */
  isFull(): boolean {
    return this.#heldBytes >= this.#distanceBytes() + this.#queueBytes();
  }

  /** Runs once when there is room again. */
  whenRoom(run: () => void): void {
    this.#waiting.add(run);
  }

  /** The bytes leave behind all that was sent before, arrive in that order, and are then given to `deliver`. */
  send(bytes: Buffer, deliver: Deliver): void {
    const nowMs = this.#clock.nowMs();
    const rate = this.bytesPerSecond;
    const leavesInMs = rate === undefined ? 0 : (bytes.length * 1000) / rate;
    this.#leavingUntilMs = Math.max(this.#leavingUntilMs, nowMs) + leavesInMs;
    const dueMs = this.#leavingUntilMs + this.delayMs;
    this.#heldBytes += bytes.length;
    push(this.#onTheWay, { bytes, dueMs, deliver });
    if (this.#onTheWay.count === 1) this.#arrive();
  }

  /** Delivers what is due, and comes back when the next is. */
  #arrive(): void {
    const nowMs = this.#clock.nowMs();
    let next = peek(this.#onTheWay);
    for (; next !== undefined && next.dueMs <= nowMs; next = peek(this.#onTheWay)) {
      // Taken out only afterwards, so that a chunk that is sent meanwhile does not start a second round.
      next.deliver(next.bytes);
      shift(this.#onTheWay);
      this.#heldBytes -= next.bytes.length;
      this.#passedBytes += next.bytes.length;
    }
    if (next !== undefined) this.#clock.after(next.dueMs - nowMs, () => this.#arrive());
    if (this.#heldBytes <= this.#distanceBytes() + this.#queueBytes() / 2) this.#letIn();
  }

  #letIn(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const run of waiting) run();
  }

  #distanceBytes(): number {
    const rate = this.bytesPerSecond;
    return rate === undefined ? unlimitedBytes : (rate * this.delayMs) / 1000;
  }

  #queueBytes(): number {
    return Math.max(((this.bytesPerSecond ?? 0) * queueMs) / 1000, queueBytesMin);
  }
}
