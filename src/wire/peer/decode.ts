import { firstBytes, getU64, joined, textOf, viewOf } from "#base/bytes.ts";
import { crc32c, crc32cChunks } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import type { Result } from "#base/errors.ts";
import {
  addToBody,
  beginBody,
  type Body,
  createBody,
  landedInBody,
  landingOf,
} from "#wire/body.ts";
import { frameHeaderBytes, frameMagic, frameType, hasTable } from "./messages.ts";
import type { Frame, FrameHeader, FrameType } from "./messages.ts";

/** Types whose body may be as long as a host's request; every other body is a control message. */
const payloadTypes: ReadonlySet<number> = new Set([
  frameType.write,
  frameType.region,
  frameType.batch,
  frameType.record,
]);
const knownTypes: ReadonlySet<number> = new Set(Object.values(frameType));

/**
 * Takes a byte stream apart into frames. Feed it chunks of any size by `pushChunk`, or receive into `landingOfFrame`; it calls
 * `onFrame` for each whole, valid frame, in order, and `onMalformed` once for the first that is not, after which it ignores
 * everything.
 */
export type FrameDecoder = {
  readonly onFrame: (frame: Frame) => void;
  readonly onMalformed: (rule: string) => void;
  /** Bytes of a header that came in pieces. */
  readonly partialHeader: Uint8Array<ArrayBuffer>;
  partialBytes: number;
  header: FrameHeader | undefined;
  bodyCrc: number;
  readonly body: Body;
  dead: boolean;
};

/** `take` gives memory for bodies. */
export function createFrameDecoder(
  onFrame: (frame: Frame) => void,
  onMalformed: (rule: string) => void,
  take: (bytes: number) => Uint8Array = (bytes) => new Uint8Array(bytes),
): FrameDecoder {
  return {
    onFrame,
    onMalformed,
    partialHeader: new Uint8Array(frameHeaderBytes),
    partialBytes: 0,
    header: undefined,
    bodyCrc: 0,
    body: createBody(take),
    dead: false,
  };
}

export function pushChunk(decoder: FrameDecoder, chunk: Uint8Array): void {
  let at = 0;
  while (at < chunk.length && !decoder.dead) {
    at =
      decoder.header === undefined ? takeHeader(decoder, chunk, at) : takeBody(decoder, chunk, at);
  }
}

/** Where to receive the rest of a long body; undefined: as chunks. */
export function landingOfFrame({ header, body, dead }: FrameDecoder): Uint8Array | undefined {
  return header === undefined || dead ? undefined : landingOf(body);
}

/** So many bytes have been received there. */
export function landedInFrame(decoder: FrameDecoder, count: number): void {
  if (decoder.dead) return;
  landedInBody(decoder.body, count);
  if (decoder.body.missing === 0) endFrame(decoder);
}

/** Ends the decoder: whoever closes the connection in the middle of a chunk hears no more of it. */
export function stopDecoder(decoder: FrameDecoder): void {
  decoder.dead = true;
}

function takeHeader(decoder: FrameDecoder, chunk: Uint8Array, at: number): number {
  if (decoder.partialBytes === 0 && chunk.length - at >= frameHeaderBytes) {
    beginFrame(decoder, chunk.subarray(at, at + frameHeaderBytes));
    return at + frameHeaderBytes;
  }
  const take = Math.min(frameHeaderBytes - decoder.partialBytes, chunk.length - at);
  decoder.partialHeader.set(chunk.subarray(at, at + take), decoder.partialBytes);
  decoder.partialBytes += take;
  if (decoder.partialBytes === frameHeaderBytes) {
    decoder.partialBytes = 0;
    beginFrame(decoder, decoder.partialHeader);
  }
  return at + take;
}

function takeBody(decoder: FrameDecoder, chunk: Uint8Array, at: number): number {
  const take = Math.min(decoder.body.missing, chunk.length - at);
  addToBody(
    decoder.body,
    at === 0 && take === chunk.length ? chunk : chunk.subarray(at, at + take),
  );
  if (decoder.body.missing === 0) endFrame(decoder);
  return at + take;
}

function beginFrame(decoder: FrameDecoder, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  const rule = brokenRule(view, bytes);
  if (rule !== undefined) return giveUp(decoder, rule);
  const lsn = getU64(view, 8);
  const set = getU64(view, 16);
  const offset = getU64(view, 32);
  if (lsn === undefined || set === undefined || offset === undefined) {
    return giveUp(decoder, "a frame's lsn, set or offset is above 2^53");
  }
  decoder.header = {
    type: view.getUint8(2) as FrameType,
    flags: view.getUint8(3),
    bodyBytes: view.getUint32(4, true),
    lsn,
    set,
    index: view.getUint32(24, true),
    volume: view.getUint16(28, true),
    source: view.getUint16(30, true),
    offset,
    length: view.getUint32(40, true),
    generation: view.getUint32(44, true),
    epoch: view.getUint32(48, true),
    sequence: view.getUint32(52, true),
  };
  decoder.bodyCrc = view.getUint32(56, true);
  const { type, index, bodyBytes } = decoder.header;
  beginBody(decoder.body, bodyBytes, hasTable(type) ? Math.min(index, bodyBytes) : 0);
  if (decoder.body.missing === 0) endFrame(decoder);
}

// The lengths are judged before anything of the body is kept, so that a stranger cannot make us allocate.
function brokenRule(view: DataView, bytes: Uint8Array): string | undefined {
  if (view.getUint16(0, true) !== frameMagic) return "a frame does not begin with our magic number";
  if (view.getUint32(60, true) !== crc32c(bytes.subarray(0, 60))) {
    return "the checksum of a frame's header does not match";
  }
  const type = view.getUint8(2);
  if (!knownTypes.has(type)) return `frame type ${type} is unknown in this version`;
  const bodyBytes = view.getUint32(4, true);
  const bodyBytesMax = payloadTypes.has(type)
    ? limits.peerBodyBytesMax
    : limits.peerControlBytesMax;
  if (bodyBytes > bodyBytesMax) return `a frame of type ${type} claims ${bodyBytes} bytes of body`;
  // What a packed batch unpacks to is no longer than a plain one may be.
  const unpackedBytes = type === frameType.batch ? view.getUint32(40, true) : 0;
  if (unpackedBytes > limits.peerBodyBytesMax)
    return `a batch claims to unpack to ${unpackedBytes} bytes`;
  return undefined;
}

function endFrame(decoder: FrameDecoder): void {
  const header = decoder.header;
  if (header === undefined) return;
  decoder.header = undefined;
  const body = decoder.body.pieces;
  decoder.body.pieces = [];
  const guarded = hasTable(header.type) ? firstBytes(body, header.index) : body;
  if (header.bodyBytes > 0 && crc32cChunks(guarded) !== decoder.bodyCrc) {
    return giveUp(
      decoder,
      `the checksum of the body of a frame of type ${header.type} does not match`,
    );
  }
  decoder.onFrame({ header, body });
}

function giveUp(decoder: FrameDecoder, rule: string): void {
  decoder.dead = true;
  decoder.onMalformed(rule);
}

/** The JSON document in a control frame's body. */
export function decodeJson(frame: Frame): Result<unknown> {
  const text = textOf(joined(frame.body));
  if (text === undefined) return { ok: false, error: "a control message is not UTF-8" };
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch {
    return { ok: false, error: "a control message is not JSON" };
  }
}

/** The reason that a control frame gives for people, cut short; undefined where it gives none. */
export function reasonIn(frame: Frame): string | undefined {
  const document = decodeJson(frame);
  const why = document.ok ? (document.value as { why?: unknown } | null)?.why : undefined;
  return typeof why === "string" ? why.slice(0, limits.peerReasonCharsMax) : undefined;
}
