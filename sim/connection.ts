import type { Connection, ConnectionEvents } from "#ports/transport.ts";
import type { Link, Network } from "./network.ts";
import type { Process } from "./process.ts";
import { eventKind } from "./scheduler.ts";

const retransmitUs = 1_000_000;

/**
 * One end of a simulated TCP connection.
 *
 * What the owner sends waits in its own queue until the turn is over, is then copied as the kernel would copy it, and
 * travels in order. Bytes that the kernel has taken may still arrive after the sender's death; bytes in the queue do not.
 */
export class SimConnection implements Connection {
  readonly remote: string;
  readonly process: Process;
  readonly link: Link;
  peer: SimConnection | undefined;
  readonly #network: Network;
  #events: ConnectionEvents | undefined;
  #state: "open" | "ending" | "closed" = "open";
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Bytes on the way or received and not read: what the window limits. */
  #unreadBytes = 0;
  #flushArmed = false;
  #lastArrivalUs = 0;
  #paused = false;
  #closeTold = false;
  /** Who waits until the queue is empty. */
  readonly #releases: (() => void)[] = [];
  /** What came and was not read yet. */
  readonly #inbox: Uint8Array[] = [];
  #closeWhy: string | undefined;
  #endWhy = "";
  #deliverArmed = false;

  constructor(network: Network, process: Process, link: Link) {
    this.#network = network;
    this.process = process;
    this.link = link;
    this.remote = `${link.target}:peer`;
    network.opened(this);
  }

  isOpen(): boolean {
    return this.#state === "open";
  }

  isStarted(): boolean {
    return this.#events !== undefined;
  }

  /** The owner has taken the connection. */
  start(events: ConnectionEvents): void {
    this.#events = events;
    this.#armDelivery();
  }

  send(chunks: readonly Uint8Array[]): void {
    if (this.#state !== "open" || !this.process.alive) return;
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      this.#queue.push(chunk);
      this.#queuedBytes += chunk.length;
    }
    this.#armFlush();
  }

  queuedBytes(): number {
    return this.#queuedBytes;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#armDelivery();
  }

  /** The sender has the same bytes in its hands: they are nobody's to give away. */
  take(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  giveBack(_chunks: readonly Uint8Array[]): void {}

  /** True when some of the chunk is still queued: then `release` is called once nothing is. */
  whenTaken(chunk: Uint8Array, release: () => void): boolean {
    if (!this.#queue.some(({ buffer }) => buffer === chunk.buffer)) return false;
    this.#releases.push(release);
    return true;
  }

  end(_why: string): void {
    if (this.#state !== "open" || !this.process.alive) return;
    this.#state = "ending";
    this.#armFlush();
  }

  close(why: string): void {
    if (!this.process.alive) return;
    if (this.#state !== "closed") this.#network.onClose?.(this.process.site, this.remote, why);
    this.#closeNow(why);
    this.#sendReset("reset by peer");
  }

  /** A device on the way resets both ends. */
  tear(): void {
    const other = this.peer;
    this.#closeNow("connection reset");
    other?.receiveReset("connection reset");
  }

  /** The process is gone. A dead kernel says nothing; a living one sends what it has taken and ends the connection. */
  abandon(powerLost: boolean): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#network.closed(this);
    if (!powerLost) this.#sendReset("closed by peer");
  }

  /** The other end is gone, at once. */
  receiveReset(why: string): void {
    if (this.#state === "closed" && this.#closeTold) return;
    this.#closeNow(why);
  }

  #armFlush(): void {
    if (this.#flushArmed) return;
    this.#flushArmed = true;
    this.#network.scheduler.after(0, this.process, eventKind.netFlush, () => {
      this.#flushArmed = false;
      if (this.#state !== "closed") this.#flush();
    });
  }

  #flush(): void {
    // The other end has gone, and what it sent before is still unread: sending finds it out.
    if (this.#closeWhy !== undefined) return this.#closeNow(this.#closeWhy);
    const had = this.#queuedBytes;
    const room = this.#network.shape.windowBytes - this.#unreadBytes;
    const segment = this.#take(Math.min(room, had));
    if (segment !== undefined) this.#transmit(segment);
    if (this.#queuedBytes > 0) return;
    for (const release of this.#releases.splice(0)) release();
    if (had > 0) this.#events?.onDrain();
    if (this.#state === "ending") {
      this.#closeNow(this.#endWhy);
      this.#sendReset("ended by peer");
    }
  }

  // Copies so many bytes off the queue: from here on the owner may do with its chunks what it likes.
  #take(lengthBytes: number): Uint8Array | undefined {
    if (lengthBytes <= 0) return undefined;
    const segment = new Uint8Array(lengthBytes);
    let at = 0;
    while (at < lengthBytes) {
      const chunk = this.#queue[0] as Uint8Array;
      const take = Math.min(chunk.length, lengthBytes - at);
      segment.set(take === chunk.length ? chunk : chunk.subarray(0, take), at);
      if (take === chunk.length) this.#queue.shift();
      else this.#queue[0] = chunk.subarray(take);
      at += take;
    }
    this.#queuedBytes -= lengthBytes;
    return segment;
  }

  #transmit(segment: Uint8Array): void {
    const { link } = this;
    if (link.flips > 0) {
      link.flips -= 1;
      const at = this.#network.rng.below(segment.length);
      segment[at] = (segment[at] as number) ^ (1 << this.#network.rng.below(8));
    }
    this.#unreadBytes += segment.length;
    this.#network.scheduler.mix(segment.length);
    this.#lastArrivalUs = this.#network.travel(link, segment.length, this.#lastArrivalUs, () =>
      this.peer?.receive(segment),
    );
  }

  #sendReset(why: string): void {
    this.#lastArrivalUs = this.#network.travel(this.link, 64, this.#lastArrivalUs, () =>
      this.peer?.receiveEnd(why),
    );
  }

  /** Bytes from the other end have arrived at this machine. */
  receive(segment: Uint8Array): void {
    if (this.#state === "closed") return this.#answerForTheDead(segment);
    this.#inbox.push(segment);
    this.#armDelivery();
  }

  // A machine that lost power and is back knows nothing of the connection and says so. One without power is silent, and the
  // sender's TCP tries again.
  #answerForTheDead(segment: Uint8Array): void {
    if (this.#network.isPowered(this.link.source)) return this.#sendReset("reset by peer");
    if (this.peer?.isGone() !== false) return;
    this.#network.scheduler.after(retransmitUs, undefined, eventKind.netArrive, () =>
      this.receive(segment),
    );
  }

  isGone(): boolean {
    return this.#state === "closed";
  }

  /** The other end's last word has arrived, behind all its bytes. */
  receiveEnd(why: string): void {
    this.#closeWhy = why;
    // Whoever has something to send finds out by that, though he reads nothing at the moment.
    if (this.#queuedBytes > 0 || this.#state === "ending") this.#closeNow(why);
    else this.#armDelivery();
  }

  #armDelivery(): void {
    if (this.#deliverArmed || this.#events === undefined || this.#state === "closed") return;
    if (this.#inbox.length === 0 && this.#closeWhy === undefined) return;
    this.#deliverArmed = true;
    this.#network.scheduler.after(0, this.process, eventKind.netDeliver, () => {
      this.#deliverArmed = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    while (this.#inbox.length > 0) {
      if (this.#paused || this.#state === "closed" || !this.process.alive) return;
      const segment = this.#inbox.shift() as Uint8Array;
      this.peer?.wasRead(segment.length);
      this.#hand(segment);
    }
    if (this.#closeWhy !== undefined && this.#state !== "closed") this.#closeNow(this.#closeWhy);
  }

  #hand(segment: Uint8Array): void {
    const { rng, shape } = this.#network;
    let from = this.#land(segment);
    if (from > 0 && this.#isHeldUp(segment, from)) return;
    while (from < segment.length && rng.chance(shape.splitChance)) {
      const to = from + 1 + rng.below(segment.length - from);
      this.#events?.onData(segment.subarray(from, to));
      from = to;
      if (this.#isHeldUp(segment, from)) return;
    }
    if (from < segment.length) this.#events?.onData(from === 0 ? segment : segment.subarray(from));
  }

  /** The owner has the segment up to there. Whether it takes nothing more now: the rest stays unread while it has paused. */
  #isHeldUp(segment: Uint8Array, from: number): boolean {
    if (this.#state === "closed" || !this.process.alive) return true;
    if (!this.#paused || from === segment.length) return false;
    this.#inbox.unshift(segment.subarray(from));
    this.peer?.wasRead(from - segment.length);
    return true;
  }

  /** Puts what the owner has made room for into that. Gives how many bytes it was. */
  #land(segment: Uint8Array): number {
    const room = this.#events?.landing?.room();
    if (room === undefined) return 0;
    const bytes = Math.min(room.length, segment.length);
    room.set(segment.subarray(0, bytes));
    this.#events?.landing?.landed(bytes);
    return bytes;
  }

  /** The other end has read so many bytes; a negative number puts some back. */
  wasRead(lengthBytes: number): void {
    this.#unreadBytes -= lengthBytes;
    if (this.#queuedBytes > 0 && this.process.alive) this.#armFlush();
  }

  #closeNow(why: string): void {
    if (this.#state !== "closed") {
      this.#state = "closed";
      this.#queue = [];
      this.#queuedBytes = 0;
      this.#network.closed(this);
    }
    if (this.#closeTold) return;
    this.#closeTold = true;
    this.#network.scheduler.after(0, this.process, eventKind.netClose, () =>
      this.#events?.onClose(why),
    );
  }
}
