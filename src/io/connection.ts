import type { Socket } from "node:net";
import { assert } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { Connection, ConnectionEvents } from "#ports/transport.ts";
import type { Intake } from "./receive.ts";
import { type ReceivedMemory, type Release, type Sender, senderDone } from "./received-memory.ts";

export type ConnectionOptions = {
  /** The other end, for messages. */
  readonly remote: string;
  readonly memory: ReceivedMemory;
  /** By which the socket receives. */
  readonly intake: Intake;
};

/**
 * The `Connection` port over a connected socket of Node, TCP or Unix.
 *
 * What is sent waits in a queue of our own until the end of the turn, and longer while the kernel has not taken the
 * batch before: then everything that came meanwhile goes out in one call. Small chunks (headers, acknowledgements) are
 * copied together, since a chunk more in a `writev` costs more than copying some KiB; large ones go as they are.
 *
 * After `end` or `close` nothing is sent or reported any more but `onClose`.
 */
export function createConnection(
  socket: Socket,
  { remote, memory, intake }: ConnectionOptions,
  open: (connection: Connection) => ConnectionEvents,
): void {
  const connection = new SocketConnection(socket, remote, memory);
  connection.begin(open(connection), intake);
}

class SocketConnection implements Connection, Sender {
  readonly remote: string;
  readonly #socket: Socket;
  readonly #memory: ReceivedMemory;
  #events: ConnectionEvents | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** A flush is due at the end of this turn. */
  #flushDue = false;
  /** The kernel has not taken all of the last batch. */
  #sending = false;
  #ending = false;
  /** What `onClose` will say; the first to know decides. */
  #why = "";
  #endTimer: NodeJS.Timeout | undefined;
  /** What waits for the batch that the kernel is taking, and for the queue behind it. */
  readonly #releases: Release[] = [];
  readonly #releasesQueued: Release[] = [];

  constructor(socket: Socket, remote: string, memory: ReceivedMemory) {
    this.#socket = socket;
    this.remote = remote;
    this.#memory = memory;
    // Its owner may send before it has told us where to report.
    memory.join(this);
  }

  begin(events: ConnectionEvents, intake: Intake): void {
    assert(this.#events === undefined, "a connection has one owner");
    this.#events = events;
    const socket = this.#socket;
    socket.setNoDelay(true);
    const { landing } = events;
    intake.receiver = {
      onData: (chunk) => {
        if (!this.#isOver()) events.onData(chunk);
      },
      landing: landing && {
        room: () => (this.#isOver() ? undefined : landing.room()),
        landed: (bytes) => {
          if (!this.#isOver()) landing.landed(bytes);
        },
      },
    };
    socket.resume();
    // Whoever ends has said all and hears nothing more: what we still have for it is of no use.
    socket.on("end", () => this.#drop("the other side ended the connection"));
    socket.on("error", (error) => this.#drop(error.message));
    socket.on("close", () => this.#closed(events));
  }

  send(chunks: readonly Uint8Array[]): void {
    if (this.#isOver()) return;
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      this.#queue.push(chunk);
      this.#queuedBytes += chunk.length;
    }
    if (this.#flushDue || this.#sending) return;
    this.#flushDue = true;
    queueMicrotask(this.#flush);
  }

  queuedBytes(): number {
    return this.#queuedBytes + this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  take(bytes: number): Uint8Array {
    return this.#memory.take(bytes);
  }

  giveBack(chunks: readonly Uint8Array[]): void {
    this.#memory.giveBack(chunks);
  }

  isBusy(): boolean {
    return this.#sending || this.#queue.length > 0;
  }

  whenTaken(release: Release): void {
    if (this.#queue.length > 0) this.#releasesQueued.push(release);
    else this.#releases.push(release);
  }

  end(why: string): void {
    if (this.#isOver()) return;
    this.#ending = true;
    this.#why = why;
    // What comes now is thrown away, and still has to be read, or the other side's end would never be seen.
    this.#socket.resume();
    this.#endTimer = setTimeout(() => this.#socket.destroy(), limits.peerEndMsMax);
    if (!this.#flushDue && !this.#sending) this.#socket.end();
  }

  close(why: string): void {
    this.#drop(why);
  }

  #isOver(): boolean {
    return this.#ending || this.#socket.destroyed;
  }

  #drop(why: string): void {
    if (this.#why === "") this.#why = why;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#socket.destroy();
  }

  #closed(events: ConnectionEvents): void {
    clearTimeout(this.#endTimer);
    // The kernel takes nothing more.
    this.#memory.leave(this);
    this.#releases.push(...this.#releasesQueued.splice(0));
    this.#releaseTaken();
    events.onClose(this.#why === "" ? "the connection closed" : this.#why);
  }

  readonly #flush = (): void => {
    this.#flushDue = false;
    if (this.#socket.destroyed) return;
    const batch = joinSmall(this.#queue);
    this.#queue = [];
    this.#queuedBytes = 0;
    const last = batch.pop();
    if (last === undefined) {
      this.#taken();
      return;
    }
    this.#sending = true;
    if (this.#releasesQueued.length > 0) this.#releases.push(...this.#releasesQueued.splice(0));
    this.#socket.cork();
    for (const chunk of batch) this.#socket.write(chunk);
    this.#socket.write(last, this.#onTaken);
    this.#socket.uncork();
  };

  // A failed write is followed by the socket's `error` and `close`, which say the rest.
  readonly #onTaken = (error: Error | null | undefined): void => {
    this.#sending = false;
    if (error === null || error === undefined) this.#taken();
  };

  #releaseTaken(): void {
    if (this.#releases.length === 0) return;
    for (const release of this.#releases.splice(0)) senderDone(release);
  }

  #taken(): void {
    this.#releaseTaken();
    if (this.#queue.length > 0) this.#flush();
    else if (this.#ending) this.#socket.end();
    else if (!this.#socket.destroyed) this.#events?.onDrain();
  }
}

/** The same bytes in fewer chunks: neighbours that are small become one, copied; the others stay as they are. */
export function joinSmall(chunks: readonly Uint8Array[]): Uint8Array[] {
  const joined: Uint8Array[] = [];
  let from = 0;
  while (from < chunks.length) {
    let bytes = 0;
    let to = from;
    for (; to < chunks.length; to++) {
      const length = chunks[to]?.length ?? 0;
      if (length > limits.sendJoinBytesMax || bytes + length > limits.sendJoinedBytesMax) break;
      bytes += length;
    }
    if (to - from > 1) {
      joined.push(Buffer.concat(chunks.slice(from, to), bytes));
      from = to;
    } else {
      joined.push(...chunks.slice(from, from + 1));
      from++;
    }
  }
  return joined;
}
