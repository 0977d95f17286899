import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { ReadDone, WriteDone } from "#ports/block-device.ts";
import type { Clock, Timer } from "#ports/clock.ts";
import type { DeviceLink, DeviceLinkEvents } from "#ports/device-link.ts";
import type { Connection, ConnectionEvents, Transport } from "#ports/transport.ts";
import {
  createNbdClient,
  encodeCommand,
  encodeDisconnect,
  nextMessage,
  pushChunk,
} from "#wire/nbd/client.ts";
import type { NbdClient, NbdClientMessage, NbdCommand, NbdExport } from "#wire/nbd/client.ts";

export type NbdLinkOptions = {
  /** As the cluster file says it. */
  readonly address: string;
  /** Where to dial, and which export to ask for. */
  readonly dial: string;
  readonly name: string;
  readonly bytes: number;
  /** Takes a device that cannot flush: whoever configures that answers for what it forgets. */
  readonly trustDevice: boolean;
  readonly transport: Transport;
  readonly clock: Clock;
};

/**
 * The `DeviceLink` port to an NBD server. It dials until it is closed, less and less often, and finds out that a server is
 * gone also when nobody asks anything of it: an idle one is asked for its first bytes now and then (U15: an inquiry of the
 * device itself, not of its machine's kernel).
 */
export function createNbdLink(options: NbdLinkOptions, events: DeviceLinkEvents): DeviceLink {
  return new NbdLink(options, events);
}

/** One request of the owner's, in as many pieces as the server takes. */
type Asked = {
  piecesLeft: number;
  failure: IoFailure | undefined;
  /** For a read: all its bytes. */
  readonly into: Uint8Array | undefined;
  readonly done: (failure: IoFailure | undefined) => void;
};

type Piece = { readonly asked: Asked; readonly at: number; readonly sinceMs: number };

const zeros = new Uint8Array(limits.devicePieceBytesMax);

class NbdLink implements DeviceLink {
  readonly address: string;
  readonly bytes: number;
  readonly #options: NbdLinkOptions;
  readonly #events: DeviceLinkEvents;
  #connection: Connection | undefined;
  #client: NbdClient;
  /** While it is up. */
  #found: NbdExport | undefined;
  /** By cookie, oldest first. */
  #pieces = new Map<number, Piece>();
  #isClosed = false;
  #redialMs: number = limits.deviceRedialMsMin;
  #timer: Timer | undefined;
  #dialledMs = 0;
  #heardMs = 0;
  readonly #watch: Timer;

  constructor(options: NbdLinkOptions, events: DeviceLinkEvents) {
    this.address = options.address;
    this.bytes = options.bytes;
    this.#options = options;
    this.#events = events;
    this.#client = createNbdClient(options.name);
    this.#watch = options.clock.every(limits.deviceProbeMs, () => this.#look());
    this.#dial();
  }

  isUp(): boolean {
    return this.#found !== undefined;
  }

  read<C>(offset: number, length: number, context: C, done: ReadDone<C>): void {
    const into = new Uint8Array(length);
    const asked = this.#begin(into, (failure) =>
      done(context, failure, failure === undefined ? into : into.subarray(0, 0)),
    );
    for (const piece of this.#cut(offset, length))
      this.#send(asked, { kind: "read", ...piece, mayPunch: false }, piece.offset - offset, []);
    this.#end(asked);
  }

  write<C>(offset: number, chunks: readonly Uint8Array[], context: C, done: WriteDone<C>): void {
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const asked = this.#begin(undefined, (failure) => done(context, failure));
    const bytes = joined(chunks, length);
    for (const piece of this.#cut(offset, length)) {
      const from = piece.offset - offset;
      const payload = bytes.subarray(from, from + piece.length);
      this.#send(asked, { kind: "write", ...piece, mayPunch: false }, 0, [payload]);
    }
    this.#end(asked);
  }

  // oxlint-disable-next-line max-params -- the port's shape
  zero<C>(offset: number, length: number, mayPunch: boolean, context: C, done: WriteDone<C>): void {
    const asked = this.#begin(undefined, (failure) => done(context, failure));
    const canZero = this.#found?.canZero === true;
    for (const piece of this.#cut(offset, length)) {
      const payload = canZero ? [] : [zeros.subarray(0, piece.length)];
      this.#send(asked, { kind: canZero ? "zero" : "write", ...piece, mayPunch }, 0, payload);
    }
    this.#end(asked);
  }

  flush(done: (failure: IoFailure | undefined) => void): void {
    const asked = this.#begin(undefined, done);
    // Who trusts a device that cannot flush takes its answers for durable.
    if (this.#found?.canFlush === true)
      this.#send(asked, { kind: "flush", offset: 0, length: 0, mayPunch: false }, 0, []);
    this.#end(asked);
  }

  drop(why: string): void {
    this.#redialMs = limits.deviceRedialMsMax;
    this.#connection?.close(why);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#watch.cancel();
    if (this.#found !== undefined) this.#connection?.send([encodeDisconnect()]);
    this.#found = undefined;
    this.#connection?.end("the volume is closed here");
    this.#failAll("the volume is closed here");
  }

  // ---------------------------------------------------------------------------------------- requests

  /** It has a piece more than will be sent until `#end`, so that it is answered once, and never before it was all made. */
  #begin(into: Uint8Array | undefined, done: Asked["done"]): Asked {
    // Whoever asks in the moment in which the link is lost, and has not heard of it, is told this way.
    const failure = this.#found === undefined ? away("the link is not up") : undefined;
    return { piecesLeft: 1, failure, into, done };
  }

  #end(asked: Asked): void {
    this.#options.clock.soon(() => this.#pieceDone(asked));
  }

  *#cut(
    offset: number,
    length: number,
  ): Generator<{ readonly offset: number; readonly length: number }> {
    const { devicePieceBytesMax } = limits;
    const bytesMax = Math.min(
      this.#found?.payloadBytesMax ?? devicePieceBytesMax,
      devicePieceBytesMax,
    );
    for (let at = offset; at < offset + length; at += bytesMax)
      yield { offset: at, length: Math.min(bytesMax, offset + length - at) };
  }

  #send(asked: Asked, what: NbdCommand, at: number, payload: readonly Uint8Array[]): void {
    if (asked.failure !== undefined) return;
    const { cookie, bytes } = encodeCommand(this.#client, what);
    asked.piecesLeft += 1;
    this.#pieces.set(cookie, { asked, at, sinceMs: this.#options.clock.nowMs() });
    this.#connection?.send([bytes, ...payload]);
  }

  #pieceDone(asked: Asked): void {
    asked.piecesLeft -= 1;
    if (asked.piecesLeft === 0) asked.done(asked.failure);
  }

  #failAll(why: string): void {
    const pieces = this.#pieces;
    this.#pieces = new Map();
    for (const { asked } of pieces.values()) {
      asked.failure ??= away(why);
      this.#pieceDone(asked);
    }
  }

  // -------------------------------------------------------------------------------------- connection

  #dial(): void {
    const { transport, dial, name, clock } = this.#options;
    this.#dialledMs = clock.nowMs();
    transport.dial(dial, limits.peerDialMsMax, {
      onOpen: (connection) => {
        this.#connection = connection;
        this.#client = createNbdClient(name);
        this.#heardMs = clock.nowMs();
        if (this.#isClosed) connection.close("the volume is closed here");
        return this.#eventsOf(connection);
      },
      onFail: ({ message }) => this.#lost(message, false),
    });
  }

  #eventsOf(connection: Connection): ConnectionEvents {
    let refusal: string | undefined;
    return {
      onData: (chunk) => {
        this.#heardMs = this.#options.clock.nowMs();
        pushChunk(this.#client, chunk);
        let message = nextMessage(this.#client);
        for (; message !== undefined; message = nextMessage(this.#client))
          refusal ??= this.#take(connection, message);
      },
      onClose: (why) => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        this.#lost(refusal ?? why, refusal !== undefined);
      },
      onDrain: () => {},
    };
  }

  /** Gives why the device is not what the volume needs, once that is known. */
  #take(connection: Connection, message: NbdClientMessage): string | undefined {
    switch (message.kind) {
      case "send":
        connection.send([message.bytes]);
        return undefined;
      case "ready":
        return this.#ready(connection, message.found);
      case "refused":
        connection.close(message.why);
        return message.why;
      case "malformed":
        connection.close(`it does not speak NBD as it should: ${message.why}`);
        return undefined;
      case "reply":
        this.#replied(message);
        return undefined;
    }
  }

  #ready(connection: Connection, found: NbdExport): string | undefined {
    const why = misfit(found, this.#options);
    if (why !== undefined) {
      connection.send([encodeDisconnect()]);
      connection.end(why);
      return why;
    }
    if (this.#isClosed) return undefined;
    this.#found = found;
    this.#redialMs = limits.deviceRedialMsMin;
    this.#events.onUp();
    return undefined;
  }

  #replied({ cookie, error, payload }: Extract<NbdClientMessage, { kind: "reply" }>): void {
    const piece = this.#pieces.get(cookie);
    // A probe's bytes are of no interest; that they came is.
    if (piece === undefined) return;
    this.#pieces.delete(cookie);
    const { asked } = piece;
    let { at } = piece;
    if (error !== 0)
      asked.failure ??= {
        code: codeOf(error),
        message: `${this.address} answers with error ${error}`,
      };
    for (const bytes of payload) {
      asked.into?.set(bytes, at);
      at += bytes.length;
    }
    this.#pieceDone(asked);
  }

  #lost(why: string, isRefused: boolean): void {
    if (this.#isClosed) return;
    this.#found = undefined;
    this.#failAll(why);
    this.#timer = this.#options.clock.after(this.#redialMs, () => this.#dial());
    this.#redialMs = Math.min(limits.deviceRedialMsMax, this.#redialMs * 2);
    this.#events.onDown(why, isRefused);
  }

  // -------------------------------------------------------------------------------------- its silence

  #look(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const nowMs = this.#options.clock.nowMs();
    const [oldest] = this.#pieces.values();
    const sinceMs = Math.max(this.#heardMs, this.#found === undefined ? this.#dialledMs : 0);
    const isWaiting = this.#found === undefined || this.#client.asked.size > 0;
    if (isWaiting && nowMs - Math.min(sinceMs, nowMs) >= limits.deviceSilenceMsMax) {
      connection.close(`it has not answered for ${limits.deviceSilenceMsMax / 1000} s`);
      return;
    }
    if (oldest !== undefined && nowMs - oldest.sinceMs >= limits.deviceTimeoutMs) {
      connection.close(`a request was not answered for ${limits.deviceTimeoutMs / 1000} s`);
      return;
    }
    if (isWaiting) return;
    // The silence is counted from the question on.
    this.#heardMs = nowMs;
    const length = Math.min(limits.sectorBytes, this.bytes);
    const probe = encodeCommand(this.#client, { kind: "read", offset: 0, length, mayPunch: false });
    connection.send([probe.bytes]);
  }
}

/** Why a device cannot hold the volume, in words. */
function misfit(found: NbdExport, { bytes, trustDevice }: NbdLinkOptions): string | undefined {
  if (found.bytes !== bytes)
    return `the device has ${found.bytes} bytes, and the cluster file says ${bytes}`;
  if (found.isReadOnly) return "the device is read-only";
  if (found.blockBytes > 1)
    return `the device takes whole blocks of ${found.blockBytes} bytes alone, and hosts write any`;
  if (!found.canFlush && !trustDevice)
    return "the device cannot flush, so nobody knows what it keeps; trustDevice: true takes it all the same";
  return undefined;
}

const codes = new Map([
  [1, "EPERM"],
  [12, "ENOMEM"],
  [22, "EINVAL"],
  [28, "ENOSPC"],
  [108, "ESHUTDOWN"],
]);

function codeOf(error: number): string {
  return codes.get(error) ?? "EIO";
}

function away(why: string): IoFailure {
  return { code: "ENOTCONN", message: why };
}

function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = chunks;
  if (only !== undefined && chunks.length === 1) return only;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
