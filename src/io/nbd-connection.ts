import type { Socket } from "node:net";
import { assert } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { Exports } from "#ports/exports.ts";
import type { HostOutcome, HostRequest, HostVolume } from "#ports/host-request.ts";
import {
  createHandshakeDecoder,
  nextHandshake,
  pushHandshake,
} from "#wire/nbd/decode-handshake.ts";
import {
  createRequestDecoder,
  isMidRequest,
  isUsedUp,
  landedInRequest,
  landingOfRequest,
  nextRequest,
  partialBytes,
  pushRequests,
  type RequestDecoder,
} from "#wire/nbd/decode-request.ts";
import { encodeGreeting } from "#wire/nbd/encode-handshake.ts";
import {
  addBlockStatus,
  addErrorChunk,
  addSimpleRead,
  addSimpleReply,
  addStructuredRead,
  createReplyBatch,
  takeReplies,
  type Cookie,
} from "#wire/nbd/encode-reply.ts";
import { command, commandFlag, nbdError, type NbdRequest } from "#wire/nbd/messages.ts";
import {
  allocationContext,
  createHandshake,
  stepHandshake,
  type Transmission,
} from "#wire/nbd/session.ts";
import {
  createRequest,
  partBytesMax,
  partsOf,
  refusalOf,
  refusalOfOutcome,
  runsOf,
  type Refusal,
} from "#wire/nbd/transmission.ts";
import type { HeldBytes } from "./held-bytes.ts";
import type { Poller } from "./poll.ts";
import { adopt, createIntake, type Receiver } from "./receive.ts";
import type { ReceivedMemory } from "./received-memory.ts";

/** What a connection tells its server. */
export type NbdConnectionEvents = {
  /** The handshake is over, and the client has entered the volume. */
  onServe(connection: NbdConnection, volume: HostVolume): void;
  /** Exactly once, when the socket is closed. `violation`: what the client did that ended it, if it was that. */
  onClose(connection: NbdConnection, violation: string | undefined): void;
};

export type NbdConnectionPorts = {
  readonly exports: Exports;
  readonly poller: Poller;
  readonly held: HeldBytes;
  readonly memory: ReceivedMemory | undefined;
};

/**
 * One NBD client on one socket: everything between its bytes and the engine.
 *
 * The unit is the turn: what has arrived is decoded and submitted whole, and the replies that exist at its end go out
 * in one write. A reply that comes later (from the disk or from a copy) opens a turn of its own, shared by all that
 * come with it. Nothing here makes a promise, a closure or a timer per request.
 *
 * The client is not read from while too much of it is under way or it does not take its replies. When it dies, requests
 * under way go on in the engine, and their replies find the connection closed and are dropped.
 */
export class NbdConnection {
  readonly remote: string;
  readonly #socket: Socket;
  readonly #ports: NbdConnectionPorts;
  readonly #events: NbdConnectionEvents;
  readonly #handshakeTimer: NodeJS.Timeout;
  readonly #handshakeDecoder = createHandshakeDecoder();
  readonly #handshake = createHandshake();
  readonly #decoder: RequestDecoder;
  readonly #batch = createReplyBatch(allocate);

  #phase: "handshake" | "serving" | "draining" | "closed" = "handshake";
  #served: { readonly volume: HostVolume; readonly transmission: Transmission } | undefined;
  #violation: string | undefined;
  #drainingSinceMs = 0;

  #requestsInFlight = 0;
  #bytesInFlight = 0;
  #requestsTotal = 0;
  /** What was last reported to `held`. */
  #bytesHeld = 0;
  #inTurn = false;
  #turnPlanned = false;
  #paused = false;
  /** For the sweep: what the socket had moved when it was looked at last. */
  #seenRead = 0;
  #seenQueued = 0;

  constructor(accepted: Socket, ports: NbdConnectionPorts, events: NbdConnectionEvents) {
    const intake = createIntake();
    const socket = adopt(accepted, intake, true);
    intake.receiver = this.#receiver;
    this.#socket = socket;
    this.#decoder = createRequestDecoder(ports.memory?.take ?? allocate);
    this.#ports = ports;
    this.#events = events;
    this.remote =
      socket.remoteAddress === undefined ? "unix" : `${socket.remoteAddress}:${socket.remotePort}`;
    socket.on("drain", () => this.#resume());
    socket.on("end", () => this.#onEnd());
    // The reason is the client's business: it is gone, and `close` follows.
    socket.on("error", () => undefined);
    socket.on("close", () => this.#onClose());
    this.#handshakeTimer = setTimeout(
      () => this.close(`no export was entered within ${limits.nbdHandshakeMsMax} ms`),
      limits.nbdHandshakeMsMax,
    );
    socket.write(encodeGreeting());
    socket.resume();
  }

  /** The volume being served; undefined before. */
  get volume(): HostVolume | undefined {
    return this.#served?.volume;
  }

  get requestsInFlight(): number {
    return this.#requestsInFlight;
  }

  get requestsTotal(): number {
    return this.#requestsTotal;
  }

  /** Reads no further request; answers those under way, then ends. What a client sees when its volume is dropped. */
  drain(): void {
    if (this.#phase === "draining" || this.#phase === "closed") return;
    this.#phase = "draining";
    this.#drainingSinceMs = performance.now();
    clearTimeout(this.#handshakeTimer);
    this.#planTurn();
  }

  /** Ends at once. `violation` says what the client did wrong; undefined when it is not to blame. */
  close(violation: string | undefined): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#violation = violation;
    this.#socket.destroy();
  }

  /**
   * Looked at every `limits.nbdSweepMs`. Closes a connection that does not end though it should, and, while memory is
   * short, one that makes us hold bytes and neither sends nor takes any.
   */
  sweep(nowMs: number): void {
    const queued = this.#socket.writableLength;
    const stands = this.#socket.bytesRead === this.#seenRead && queued === this.#seenQueued;
    this.#seenRead = this.#socket.bytesRead;
    this.#seenQueued = queued;
    // Where it is we who do not read on, the rest of the request is not the client's debt.
    const owed = this.#paused ? 0 : partialBytes(this.#decoder);
    if (this.#phase === "draining" && nowMs - this.#drainingSinceMs >= limits.nbdDrainMsMax) {
      this.close(undefined);
    } else if (stands && this.#ports.held.isFull() && queued + owed > 0) {
      this.close("it stood still in the middle of a message while memory was short");
    }
  }

  readonly #receiver: Receiver = {
    onData: (chunk) => this.#onData(chunk),
    landing: {
      room: () => (this.#phase === "serving" ? landingOfRequest(this.#decoder) : undefined),
      landed: (bytes) => {
        if (this.#phase !== "serving") return;
        landedInRequest(this.#decoder, bytes);
        this.#pump();
      },
    },
  };

  #onData(chunk: Uint8Array): void {
    if (this.#phase === "handshake") {
      pushHandshake(this.#handshakeDecoder, chunk);
      this.#haggle();
    } else if (this.#phase === "serving") {
      pushRequests(this.#decoder, chunk);
      this.#pump();
    }
  }

  /** Answers options, one after the other, as long as the client takes the answers. */
  #haggle(): void {
    while (this.#phase === "handshake" && !this.#socket.writableNeedDrain) {
      const message = nextHandshake(this.#handshakeDecoder);
      if (message === undefined) break;
      if (message.kind === "malformed") return this.close(message.why);
      const out: Uint8Array[] = [];
      const step = stepHandshake(this.#handshake, message, this.#ports.exports, out);
      this.#send(out);
      if (step.kind === "serve") return this.#serve(step.volume, step.transmission);
      if (step.kind === "fail") return this.close(step.why);
      if (step.kind === "end") return this.drain();
    }
    this.#setPaused(this.#socket.writableNeedDrain);
  }

  #serve(volume: HostVolume, transmission: Transmission): void {
    clearTimeout(this.#handshakeTimer);
    this.#phase = "serving";
    this.#served = { volume, transmission };
    this.#events.onServe(this, volume);
    // A client may send its first requests without waiting for the answer to its last option.
    pushRequests(this.#decoder, this.#handshakeDecoder.buffer);
    this.#handshakeDecoder.buffer = new Uint8Array(0);
    this.#pump();
  }

  /** One turn: submits everything that has arrived, as far as the limits allow. */
  #pump(): void {
    this.#inTurn = true;
    while (this.#phase === "serving" && !this.#isSaturated()) {
      const taken = nextRequest(this.#decoder);
      if (taken === "more") break;
      if (taken === "malformed") {
        this.#inTurn = false;
        return this.close("it sent bytes that are not an NBD request");
      }
      this.#take();
      if (this.#batch.bytes >= limits.nbdReplyBatchBytesMax) this.#flush();
    }
    this.#inTurn = false;
    this.#endTurn();
  }

  #isSaturated(): boolean {
    return (
      this.#requestsInFlight >= limits.hostInFlightRequestsMax ||
      this.#bytesInFlight + this.#batch.bytes + this.#socket.writableLength >=
        limits.hostInFlightBytesMax ||
      (this.#ports.held.isFull() && !isMidRequest(this.#decoder))
    );
  }

  /** Deals with the request that the decoder holds. */
  #take(): void {
    const decoder = this.#decoder;
    if (decoder.type === command.disconnect) return this.drain();
    const served = this.#served;
    assert(served !== undefined, "a request before an export was entered");
    this.#requestsTotal++;
    const refusal = refusalOf(served.transmission, decoder);
    const bytesMax = partBytesMax(decoder, served.volume);
    if (refusal !== undefined) {
      this.#refuse(decoder, refusal);
    } else if (decoder.type === command.blockStatus) {
      this.#takeBlockStatus(served.volume);
    } else if (decoder.length > bytesMax) {
      for (const part of partsOf(decoder, bytesMax)) {
        this.#submit(served.volume, createRequest(decoder, served.volume, this.#onReply, part));
      }
    } else {
      this.#submit(served.volume, createRequest(decoder, served.volume, this.#onReply));
    }
  }

  #submit(volume: HostVolume, request: NbdRequest): void {
    this.#requestsInFlight++;
    this.#bytesInFlight += payloadBytes(request);
    if (isPolledFor(request)) this.#ports.poller.start();
    volume.submit(request);
  }

  /** One function for all requests of the connection; the engine calls it with each of them once. */
  readonly #onReply = (
    request: HostRequest,
    outcome: HostOutcome,
    bytes: Uint8Array | undefined,
  ): void => {
    // Whatever this function is given was made by `createRequest` for this connection.
    const nbd = request as NbdRequest;
    this.#requestsInFlight--;
    this.#bytesInFlight -= payloadBytes(nbd);
    if (isPolledFor(nbd)) this.#ports.poller.end();
    // Shorter payloads fill no block. One that was refused may still be looked at by what was begun for it.
    if (outcome === "ok" && nbd.kind === "write" && nbd.length >= limits.giveBackBytesMin)
      this.#ports.memory?.giveBack(nbd.payload);
    if (this.#phase === "closed") return this.#reportHeld();
    const { split } = nbd;
    if (split === undefined) {
      this.#reply(nbd, outcome, bytes);
    } else {
      split.partsLeft--;
      if (split.failure === "ok") split.failure = outcome;
      if (split.partsLeft === 0) this.#reply(nbd, split.failure, undefined);
    }
    this.#planTurn();
  };

  #reply(request: NbdRequest, outcome: HostOutcome, bytes: Uint8Array | undefined): void {
    // The end of the connection tells the client to ask again, where the volume is now.
    if (outcome === "moved") return this.drain();
    const refusal = refusalOfOutcome(outcome);
    if (refusal !== undefined) {
      this.#refuse(request, refusal);
    } else if (request.kind !== "read") {
      addSimpleReply(this.#batch, request, nbdError.none);
    } else {
      assert(bytes?.length === request.length, "a read was answered with another number of bytes");
      if (this.#served?.transmission.structured) addStructuredRead(this.#batch, request, bytes);
      else addSimpleRead(this.#batch, request, bytes);
    }
  }

  #refuse(cookie: Cookie, refusal: Refusal): void {
    if (this.#served?.transmission.structured) {
      addErrorChunk(this.#batch, cookie, refusal.error, refusal.message);
    } else {
      addSimpleReply(this.#batch, cookie, refusal.error);
    }
  }

  /** BLOCK_STATUS is rare, so a closure does no harm. */
  #takeBlockStatus(volume: HostVolume): void {
    const { offset, length, cookieHigh, cookieLow, flags } = this.#decoder;
    this.#requestsInFlight++;
    volume.extents(offset, length, (extents) => {
      this.#requestsInFlight--;
      if (this.#phase === "closed") return;
      const runs = runsOf(extents, length, (flags & commandFlag.reqOne) !== 0);
      addBlockStatus(this.#batch, { cookieHigh, cookieLow }, allocationContext.id, runs);
      this.#planTurn();
    });
  }

  /** Sees to it that replies which come outside of a turn get one. */
  #planTurn(): void {
    if (this.#inTurn || this.#turnPlanned) return;
    this.#turnPlanned = true;
    process.nextTick(this.#turn);
  }

  readonly #turn = (): void => {
    this.#turnPlanned = false;
    this.#resume();
  };

  /** Goes on with what was held up, or at least sends what there is. Harmless at any time. */
  readonly #resume = (): void => {
    if (this.#phase === "closed") return;
    if (this.#phase === "handshake") return this.#haggle();
    this.#flush();
    if (this.#phase === "serving" && this.#paused) this.#pump();
    else this.#endTurn();
  };

  #endTurn(): void {
    this.#flush();
    this.#reportHeld();
    if (this.#phase === "closed") return;
    if (this.#phase === "draining") {
      // What the client still sends is read and dropped: closing over unread bytes would reset the connection, and the
      // last replies with it. The socket closes by itself when the client has ended too, or is closed by the sweep.
      this.#setPaused(false);
      if (this.#requestsInFlight === 0) this.#socket.end();
      return;
    }
    const saturated = this.#isSaturated();
    this.#setPaused(saturated || !isUsedUp(this.#decoder));
    if (saturated && this.#ports.held.isFull()) this.#ports.held.wait(this.#resume);
    this.#ports.poller.settle();
  }

  #flush(): void {
    if (this.#batch.bytes > 0) this.#send(takeReplies(this.#batch));
  }

  #send(chunks: readonly Uint8Array[]): void {
    const [first] = chunks;
    if (chunks.length === 1 && first !== undefined) {
      this.#socket.write(first);
      return;
    }
    this.#socket.cork();
    for (const chunk of chunks) this.#socket.write(chunk);
    this.#socket.uncork();
  }

  #reportHeld(): void {
    // Of a dead client only what the engine still works on is left.
    const own =
      this.#phase === "closed" ? 0 : partialBytes(this.#decoder) + this.#socket.writableLength;
    const bytes = own + this.#bytesInFlight;
    const grown = bytes - this.#bytesHeld;
    if (grown === 0) return;
    this.#bytesHeld = bytes;
    this.#ports.held.change(grown);
    if (grown > 0 && isMidRequest(this.#decoder) && this.#ports.held.isExceeded()) {
      this.close("memory for half-received requests is used up");
    }
  }

  #setPaused(paused: boolean): void {
    if (paused === this.#paused) return;
    this.#paused = paused;
    if (paused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** The client sends no more. It may still wait for replies, so that this is a DISC without words. */
  #onEnd(): void {
    if (this.#phase === "handshake") this.close(undefined);
    else this.drain();
  }

  #onClose(): void {
    this.#phase = "closed";
    clearTimeout(this.#handshakeTimer);
    this.#ports.held.forget(this.#resume);
    this.#reportHeld();
    this.#events.onClose(this, this.#violation);
  }
}

const allocate = (bytes: number): Uint8Array<ArrayBuffer> => Buffer.allocUnsafeSlow(bytes);

/** What staying awake saves is nothing beside the time of a long transfer, which needs the processor for its other ends. */
function isPolledFor(request: NbdRequest): boolean {
  if (request.kind === "write" && request.split !== undefined) return false;
  return payloadBytes(request) <= limits.hostPollRequestBytesMax;
}

/** Bytes that a request makes us hold, here or in the engine. Zeroing has a length but no bytes. */
function payloadBytes(request: HostRequest): number {
  return request.kind === "read" || request.kind === "write" ? request.length : 0;
}
