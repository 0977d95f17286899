import { assert } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import {
  addToBody,
  beginBody,
  type Body,
  createBody,
  landedInBody,
  landingOf,
} from "#wire/body.ts";
import { command, magic, size } from "./messages.ts";

/**
 * Takes a client's requests out of received chunks, and is itself the last request taken: the fields from `flags` to
 * `payload` hold until the next call. So the hot path allocates no message that would be read once and thrown away.
 *
 * A small write's payload is mostly a view into the chunk as it was received, a long one's lies in blocks that were
 * received into (see `Body`); nothing is copied or joined on the way to image and wire.
 */
export type RequestDecoder = {
  chunk: Uint8Array;
  view: DataView;
  at: number;

  flags: number;
  type: number;
  /** Halves of the cookie, signed; nobody calculates with them. */
  cookieHigh: number;
  cookieLow: number;
  /** Above 2^53 it is rounded, and still far beyond the end of any volume. */
  offset: number;
  length: number;
  /** The bytes of a write; empty for other requests and for a write longer than we take. */
  payload: Uint8Array[];

  /** The payload that is being received, if one is; and whether it is dropped because the request is too long. */
  readonly body: Body;
  isInPayload: boolean;
  dropping: boolean;
  readonly header: Uint8Array;
  readonly headerView: DataView;
  headerFill: number;
};

const nothing = new Uint8Array(0);
const nothingReceived: Uint8Array[] = [];
const nothingView = new DataView(nothing.buffer);

/** `take` gives memory for payloads. */
export function createRequestDecoder(take: (bytes: number) => Uint8Array): RequestDecoder {
  const header = new Uint8Array(size.request);
  return {
    chunk: nothing,
    view: nothingView,
    at: 0,
    flags: 0,
    type: 0,
    cookieHigh: 0,
    cookieLow: 0,
    offset: 0,
    length: 0,
    payload: nothingReceived,
    body: createBody(take),
    isInPayload: false,
    dropping: false,
    header,
    headerView: new DataView(header.buffer),
    headerFill: 0,
  };
}

/** Gives the decoder a received chunk. The one before must be used up: the caller stops reading while it is not. */
export function pushRequests(decoder: RequestDecoder, chunk: Uint8Array): void {
  assert(decoder.at === decoder.chunk.length, "a chunk arrived before the last one was decoded");
  decoder.chunk = chunk;
  decoder.view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  decoder.at = 0;
}

/**
 * Takes the next whole request. `more`: the chunk is used up. `malformed`: the bytes are not a request, and since
 * nobody knows where the next one begins, the connection has to end.
 */
export function nextRequest(decoder: RequestDecoder): "request" | "more" | "malformed" {
  if (!decoder.isInPayload) {
    const began = takeHeader(decoder);
    if (began !== "request") return began;
    decoder.payload = nothingReceived;
    if (decoder.type !== command.write || decoder.length === 0) return "request";
    beginBody(decoder.body, decoder.length);
    decoder.isInPayload = true;
    decoder.dropping = decoder.length > limits.hostRequestBytesMax;
  }
  return takePayload(decoder) ? "request" : "more";
}

/** Where to receive the rest of a long payload; undefined: as chunks. */
export function landingOfRequest(decoder: RequestDecoder): Uint8Array | undefined {
  const mayLand = decoder.isInPayload && !decoder.dropping && isUsedUp(decoder);
  return mayLand ? landingOf(decoder.body) : undefined;
}

/** So many bytes have been received there. */
export function landedInRequest(decoder: RequestDecoder, count: number): void {
  landedInBody(decoder.body, count);
}

/** Bytes of a request that has begun and not ended: what the client makes us hold without having asked anything yet. */
export function partialBytes(decoder: RequestDecoder): number {
  return decoder.isInPayload && !decoder.dropping ? decoder.length - decoder.body.missing : 0;
}

/** A request has begun and its end has not come. */
export function isMidRequest(decoder: RequestDecoder): boolean {
  return decoder.isInPayload || decoder.headerFill > 0;
}

/** Nothing received waits to be decoded. */
export function isUsedUp(decoder: RequestDecoder): boolean {
  return decoder.at === decoder.chunk.length;
}

function takeHeader(decoder: RequestDecoder): "request" | "more" | "malformed" {
  const { chunk, at } = decoder;
  if (decoder.headerFill === 0 && chunk.length - at >= size.request) {
    decoder.at = at + size.request;
    return parseHeader(decoder, decoder.view, at);
  }
  const taken = Math.min(size.request - decoder.headerFill, chunk.length - at);
  decoder.header.set(chunk.subarray(at, at + taken), decoder.headerFill);
  decoder.headerFill += taken;
  decoder.at = at + taken;
  if (decoder.headerFill < size.request) {
    letGo(decoder);
    return "more";
  }
  decoder.headerFill = 0;
  return parseHeader(decoder, decoder.headerView, 0);
}

function parseHeader(decoder: RequestDecoder, view: DataView, at: number): "request" | "malformed" {
  if (view.getUint32(at) !== magic.request) return "malformed";
  decoder.flags = view.getUint16(at + 4);
  decoder.type = view.getUint16(at + 6);
  decoder.cookieHigh = view.getInt32(at + 8);
  decoder.cookieLow = view.getInt32(at + 12);
  decoder.offset = view.getUint32(at + 16) * 0x1_0000_0000 + view.getUint32(at + 20);
  decoder.length = view.getUint32(at + 24);
  return "request";
}

/** Takes payload from the chunk. True when it is whole. */
function takePayload(decoder: RequestDecoder): boolean {
  const { chunk, at, body } = decoder;
  const taken = Math.min(body.missing, chunk.length - at);
  if (decoder.dropping) body.missing -= taken;
  else if (taken > 0) addToBody(body, chunk.subarray(at, at + taken));
  decoder.at = at + taken;
  const isWhole = body.missing === 0;
  // Whoever answers the request may give the chunk's memory back: it must not be ours any more.
  if (!isWhole || isUsedUp(decoder)) letGo(decoder);
  if (!isWhole) return false;
  decoder.isInPayload = false;
  decoder.payload = body.pieces;
  body.pieces = [];
  return true;
}

/** A used-up chunk must not be kept alive by an idle connection. */
function letGo(decoder: RequestDecoder): void {
  decoder.chunk = nothing;
  decoder.view = nothingView;
  decoder.at = 0;
}
