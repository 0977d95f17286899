import { hex, utf8 } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import type { Clock, Timer } from "#ports/clock.ts";
import type { Crypto } from "#ports/crypto.ts";
import type { Connection, ConnectionEvents, Transport } from "#ports/transport.ts";
import {
  createFrameDecoder,
  decodeJson,
  landedInFrame,
  landingOfFrame,
  pushChunk,
  stopDecoder,
} from "#wire/peer/decode.ts";
import type { FrameDecoder } from "#wire/peer/decode.ts";
import { createHeaderPool, encodeJson } from "#wire/peer/encode.ts";
import type { HeaderPool } from "#wire/peer/encode.ts";
import { commonVersion, parseGreeting, parseProof, proofText } from "#wire/peer/handshake.ts";
import type { Greeting, PeerRole } from "#wire/peer/handshake.ts";
import { parseRefusal } from "#wire/peer/documents.ts";
import type { PeerRefusal } from "#wire/peer/documents.ts";
import { frameType, peerVersions } from "#wire/peer/messages.ts";
import type { Frame, FrameHeader, FrameType } from "#wire/peer/messages.ts";

// A connection to another site, from the first byte on. Both greet, both prove that they know the cluster's secret
// (over both nonces), then the dialer says by OPEN what it wants. From then on the frames belong to whoever asked for
// it.

/** What a site shows of itself, and what it needs to judge the other. */
export type PeerIdentity = {
  readonly cluster: string;
  readonly site: string;
  readonly knownSites: ReadonlySet<string>;
  readonly secret: Uint8Array | undefined;
  readonly bootId: string;
  readonly crypto: Crypto;
  readonly clock: Clock;
};

/** A connection whose other end is known. The three handlers are set by its owner. */
export type Peer = {
  /** The site at the other end. */
  readonly site: string;
  readonly connection: Connection;
  readonly pool: HeaderPool;
  onFrame: (frame: Frame) => void;
  /** All frames of one received chunk have been handed over. */
  onChunkEnd: () => void;
  /** Everything that was queued has been taken by the network. */
  onDrain: () => void;
  /** Comes once, and nothing after it. */
  onLost: (why: string) => void;
};

/** What a dial came to: the other's answer to OPEN, or why there is none. */
export type DialOutcome =
  | { readonly kind: "opened"; readonly peer: Peer; readonly document: unknown }
  | { readonly kind: "refused"; readonly document: unknown }
  /** `isAbsent`: the machine answers and nobody listens there, so the site's process is down. */
  | { readonly kind: "failed"; readonly isAbsent: boolean; readonly why: string };

type Handshake = {
  readonly identity: PeerIdentity;
  readonly connection: Connection;
  readonly role: PeerRole;
  /** The site that was dialled; a listener takes any site of the cluster. */
  readonly expected: string | undefined;
  readonly nonce: string;
  readonly pool: HeaderPool;
  readonly decoder: FrameDecoder;
  readonly timer: Timer;
  readonly onProven: (peer: Peer, timer: Timer) => void;
  readonly onFailed: (why: string) => void;
  greeting: Greeting | undefined;
  peer: Peer | undefined;
};

const ignore = (): void => undefined;

/** Whom to dial, and what for. `timeoutMs` where the dialer has less patience than a dial or a handshake may take. */
export type DialTarget = {
  readonly site: string;
  readonly address: string;
  readonly document: unknown;
  readonly timeoutMs?: number;
};

/** Dials a site and asks it for what `document` says. `done` is called exactly once. */
export function dialPeer(
  identity: PeerIdentity,
  transport: Transport,
  target: DialTarget,
  done: (outcome: DialOutcome) => void,
): void {
  const timeoutMs = Math.min(limits.peerDialMsMax, target.timeoutMs ?? limits.peerDialMsMax);
  transport.dial(target.address, timeoutMs, {
    onFail: (failure) =>
      done({ kind: "failed", isAbsent: failure.kind === "refused", why: failure.message }),
    onOpen: (connection) =>
      handshake(identity, connection, {
        role: "dialer",
        expected: target.site,
        timeoutMs: Math.min(
          limits.peerHandshakeMsMax,
          target.timeoutMs ?? limits.peerHandshakeMsMax,
        ),
        onProven: (peer, timer) => askFor(peer, timer, target.document, done),
        onFailed: (why) => done({ kind: "failed", isAbsent: false, why }),
      }),
  });
}

// The answer must come in time too, so the handshake's timer runs until it is there.
function askFor(
  peer: Peer,
  timer: Timer,
  document: unknown,
  done: (outcome: DialOutcome) => void,
): void {
  peer.onLost = (why) => done({ kind: "failed", isAbsent: false, why });
  peer.onFrame = (frame) => {
    const answer = decodeJson(frame);
    const { type } = frame.header;
    if (!answer.ok || (type !== frameType.opened && type !== frameType.refused)) {
      return peer.connection.close("it answered something else than OPENED or REFUSED");
    }
    timer.cancel();
    // From here on the peer is its new owner's, who hears of its end by handlers of his own.
    peer.onLost = ignore;
    peer.onFrame = ignore;
    if (type === frameType.opened) {
      done({ kind: "opened", peer, document: answer.value });
    } else {
      peer.connection.close("refused");
      done({ kind: "refused", document: answer.value });
    }
  };
  sendDocument(peer, frameType.open, document);
}

/**
 * Takes a connection that somebody has dialled. `onOpen` is called when it has proven itself and said what it wants.
 */
export function acceptPeer(
  identity: PeerIdentity,
  connection: Connection,
  onOpen: (peer: Peer, document: unknown) => void,
): ConnectionEvents {
  return handshake(identity, connection, {
    role: "listener",
    expected: undefined,
    timeoutMs: limits.peerHandshakeMsMax,
    onProven: (peer, timer) => {
      peer.onFrame = (frame) => {
        const document = decodeJson(frame);
        if (frame.header.type !== frameType.open || !document.ok) {
          connection.close("it did not begin with OPEN");
        } else {
          timer.cancel();
          onOpen(peer, document.value);
        }
      };
    },
    onFailed: ignore,
  });
}

export function sendDocument(
  peer: Peer,
  type: FrameType,
  document: unknown,
  fields: Partial<FrameHeader> = {},
): void {
  peer.connection.send(encodeJson(peer.pool, type, document, fields));
}

/** Answers an OPEN with no, in words; the connection ends behind that. */
export function refusePeer(
  peer: Peer,
  code: PeerRefusal["code"],
  why: string,
  history: PeerRefusal["history"],
): void {
  sendDocument(peer, frameType.refused, { code, why, history });
  peer.connection.end(why);
}

// --------------------------------------------------------------------------------------- handshake

function handshake(
  identity: PeerIdentity,
  connection: Connection,
  side: Pick<Handshake, "role" | "expected" | "onProven" | "onFailed"> & {
    readonly timeoutMs: number;
  },
): ConnectionEvents {
  const state: Handshake = {
    ...side,
    identity,
    connection,
    nonce: hex(identity.crypto.randomBytes(32)),
    pool: createHeaderPool(),
    decoder: createFrameDecoder(
      (frame) => (state.peer === undefined ? receive(state, frame) : state.peer.onFrame(frame)),
      (rule) => connection.close(rule),
      (bytes) => connection.take(bytes),
    ),
    timer: identity.clock.after(side.timeoutMs, () =>
      connection.close("the handshake took too long"),
    ),
    greeting: undefined,
    peer: undefined,
  };
  send(state, frameType.greeting, greetingOf(state));
  return {
    onData: (chunk) => {
      pushChunk(state.decoder, chunk);
      state.peer?.onChunkEnd();
    },
    landing: {
      room: () => landingOfFrame(state.decoder),
      landed(bytes) {
        landedInFrame(state.decoder, bytes);
        state.peer?.onChunkEnd();
      },
    },
    onDrain: () => state.peer?.onDrain(),
    onClose: (why) => {
      state.timer.cancel();
      stopDecoder(state.decoder);
      if (state.peer === undefined) state.onFailed(why);
      else state.peer.onLost(why);
    },
  };
}

function send(state: Handshake, type: FrameType, document: unknown): void {
  state.connection.send(encodeJson(state.pool, type, document));
}

function greetingOf(state: Handshake): Greeting {
  const { cluster, site, bootId, secret } = state.identity;
  const protocol = peerVersions;
  return {
    antipode: 1,
    protocol,
    cluster,
    site,
    nonce: state.nonce,
    bootId,
    secured: secret !== undefined,
  };
}

function receive(state: Handshake, frame: Frame): void {
  const failure = take(state, frame);
  if (failure === undefined) return;
  // Both ends shall be able to read why.
  const refusal: PeerRefusal = { code: "handshake", why: failure, history: [] };
  if (frame.header.type !== frameType.refused) send(state, frameType.refused, refusal);
  stopDecoder(state.decoder);
  state.connection.end(failure);
}

// Gives back why the connection must end, or nothing.
function take(state: Handshake, frame: Frame): string | undefined {
  const document = decodeJson(frame);
  if (!document.ok) return document.error;
  if (frame.header.type === frameType.refused) {
    const refusal = parseRefusal(document.value);
    return refusal.ok ? `the other site refused: ${refusal.value.why}` : refusal.error;
  }
  if (state.greeting === undefined) {
    if (frame.header.type !== frameType.greeting) return "it did not begin with a greeting";
    const greeting = judgeGreeting(state, parseGreeting(document.value));
    if (!greeting.ok) return greeting.error;
    state.greeting = greeting.value;
    send(state, frameType.proof, { proof: proofOf(state, greeting.value, state.role) });
    return undefined;
  }
  if (frame.header.type !== frameType.proof) return "it did not prove itself";
  const proof = parseProof(document.value);
  if (!proof.ok) return proof.error;
  const otherRole = state.role === "dialer" ? "listener" : "dialer";
  if (!isEqual(proof.value, proofOf(state, state.greeting, otherRole))) {
    return "it does not know the cluster's secret; compare the secret files of both sites";
  }
  becomePeer(state, state.greeting.site);
  return undefined;
}

function becomePeer(state: Handshake, site: string): void {
  const { connection, pool } = state;
  state.peer = {
    site,
    connection,
    pool,
    onFrame: ignore,
    onChunkEnd: ignore,
    onDrain: ignore,
    onLost: ignore,
  };
  state.onProven(state.peer, state.timer);
}

function judgeGreeting(state: Handshake, parsed: Result<Greeting>): Result<Greeting> {
  if (!parsed.ok) return parsed;
  const { identity, expected } = state;
  const theirs = parsed.value;
  const version = commonVersion(theirs.protocol);
  if (!version.ok) return version;
  if (theirs.cluster !== identity.cluster) {
    return wrong(`it belongs to cluster "${theirs.cluster}", we to "${identity.cluster}"`);
  }
  if (!identity.knownSites.has(theirs.site)) {
    return wrong(`site "${theirs.site}" is not in our configuration`);
  }
  if (expected !== undefined && theirs.site !== expected) {
    return wrong(`we dialled "${expected}" and "${theirs.site}" answered; check its address`);
  }
  if (theirs.site === identity.site) return wrong("it claims to be this very site");
  if (theirs.secured !== (identity.secret !== undefined)) {
    return wrong("only one of both sites is configured with a secret");
  }
  return parsed;
}

function proofOf(state: Handshake, theirs: Greeting, role: PeerRole): string {
  const { cluster, site, secret, crypto } = state.identity;
  if (secret === undefined) return "";
  const us = { site, nonce: state.nonce };
  const [dialer, listener] = state.role === "dialer" ? [us, theirs] : [theirs, us];
  return hex(crypto.hmacSha256(secret, utf8(proofText(role, cluster, dialer, listener))));
}

// In constant time, so that a stranger learns nothing from how long we take.
function isEqual(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < b.length; i += 1) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
