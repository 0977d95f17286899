import { assert } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import { command, magic, size } from "./messages.ts";

/**
 * Takes a client's requests out of received chunks, and is itself the last request taken: the fields from `flags` to
 * `payload` hold until the next call. So the hot path allocates no message that would be read once and thrown away.
 *
 * A write's payload is a list of views into the chunks as they were received; nothing is copied or joined on the way to
 * image and wire. Only a client that sends in crumbs is gathered (see `keepPiece`), lest the views outweigh the data.
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

  /** Bytes of the current payload not yet seen, and whether they are dropped because the request is too long. */
  payloadLeft: number;
  dropping: boolean;
  /** Free room behind the last piece, when that piece is a gathering block. */
  gatherFree: number;
  readonly header: Uint8Array;
  readonly headerView: DataView;
  headerFill: number;
};

const nothing = new Uint8Array(0);
const nothingView = new DataView(nothing.buffer);

export function createRequestDecoder(): RequestDecoder {
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
    payload: [],
    payloadLeft: 0,
    dropping: false,
    gatherFree: 0,
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
  if (decoder.payloadLeft === 0) {
    const began = takeHeader(decoder);
    if (began !== "request") return began;
    decoder.payload = [];
    decoder.gatherFree = 0;
    if (decoder.type !== command.write || decoder.length === 0) return "request";
    decoder.payloadLeft = decoder.length;
    decoder.dropping = decoder.length > limits.hostRequestBytesMax;
  }
  return takePayload(decoder) ? "request" : "more";
}

/** Bytes of a request that has begun and not ended: what the client makes us hold without having asked anything yet. */
export function partialBytes(decoder: RequestDecoder): number {
  return decoder.payloadLeft === 0 || decoder.dropping ? 0 : decoder.length - decoder.payloadLeft;
}

/** A request has begun and its end has not come. */
export function isMidRequest(decoder: RequestDecoder): boolean {
  return decoder.payloadLeft > 0 || decoder.headerFill > 0;
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
  const { chunk, at } = decoder;
  const taken = Math.min(decoder.payloadLeft, chunk.length - at);
  if (taken > 0 && !decoder.dropping) keepPiece(decoder, chunk.subarray(at, at + taken));
  decoder.at = at + taken;
  decoder.payloadLeft -= taken;
  const isWhole = decoder.payloadLeft === 0;
  // Whoever answers the request may give the chunk's memory back: it must not be ours any more.
  if (!isWhole || isUsedUp(decoder)) letGo(decoder);
  return isWhole;
}

/** A used-up chunk must not be kept alive by an idle connection. */
function letGo(decoder: RequestDecoder): void {
  decoder.chunk = nothing;
  decoder.view = nothingView;
  decoder.at = 0;
}

/**
 * Adds a piece to the payload. The first few are kept as they are, whatever their size: a request that lies across two
 * or three chunks is the ordinary case. Behind them small pieces are copied into gathering blocks, so that 32 MiB sent
 * byte by byte do not become 32 million views with a chunk behind each.
 */
function keepPiece(decoder: RequestDecoder, piece: Uint8Array): void {
  const { payload } = decoder;
  if (payload.length < limits.nbdPiecesUngathered || piece.length >= limits.nbdPieceBytesMin) {
    payload.push(piece);
    decoder.gatherFree = 0;
    return;
  }
  let copied = 0;
  while (copied < piece.length) {
    if (decoder.gatherFree === 0) {
      decoder.gatherFree = Math.min(limits.nbdGatherBytes, decoder.payloadLeft - copied);
      payload.push(new Uint8Array(new ArrayBuffer(decoder.gatherFree), 0, 0));
    }
    copied += appendToLast(decoder, piece.subarray(copied));
  }
}

function appendToLast(decoder: RequestDecoder, bytes: Uint8Array): number {
  const { payload } = decoder;
  const last = payload[payload.length - 1];
  assert(last !== undefined, "gathering without a block");
  const count = Math.min(bytes.length, decoder.gatherFree);
  const longer = new Uint8Array(last.buffer, 0, last.length + count);
  longer.set(bytes.subarray(0, count), last.length);
  payload[payload.length - 1] = longer;
  decoder.gatherFree -= count;
  return count;
}
