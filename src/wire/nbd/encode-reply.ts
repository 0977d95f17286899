import { assert } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import { allocation, magic, replyFlag, replyType, size, type NbdError } from "./messages.ts";

/**
 * Replies of one turn, on their way into one socket write (drawings in messages.ts).
 *
 * Headers and small payloads are written one behind the other into a block; a large payload stands in the list as it
 * is, between two pieces of the block. A block is only ever filled forward and then left to the collector, never used
 * again: the socket may still be reading from it.
 */
export type ReplyBatch = {
  readonly allocate: (bytes: number) => Uint8Array;
  block: Uint8Array;
  view: DataView;
  /** What lies between `start` and `at` belongs to this batch and is not yet in `chunks`. */
  start: number;
  at: number;
  chunks: Uint8Array[];
  /** Of everything in the batch. */
  bytes: number;
};

/** The part of a request that its reply repeats. */
export type Cookie = { readonly cookieHigh: number; readonly cookieLow: number };

const nothing = new Uint8Array(0);
const nothingView = new DataView(nothing.buffer);
const utf8 = new TextEncoder();

/** `allocate` gives blocks, which need not be zeroed. */
export function createReplyBatch(allocate: (bytes: number) => Uint8Array): ReplyBatch {
  return { allocate, block: nothing, view: nothingView, start: 0, at: 0, chunks: [], bytes: 0 };
}

/** The answer to everything but READ; also the failure of a READ where no structured replies were negotiated. */
export function addSimpleReply(batch: ReplyBatch, cookie: Cookie, error: NbdError): void {
  const at = claim(batch, size.simpleReply);
  const { view } = batch;
  view.setUint32(at, magic.simpleReply);
  view.setUint32(at + 4, error);
  view.setInt32(at + 8, cookie.cookieHigh);
  view.setInt32(at + 12, cookie.cookieLow);
}

/** A READ's bytes behind a simple reply. They must stay untouched until they were sent. */
export function addSimpleRead(batch: ReplyBatch, cookie: Cookie, bytes: Uint8Array): void {
  addSimpleReply(batch, cookie, 0);
  addPayload(batch, bytes);
}

/** A READ's bytes as one OFFSET_DATA chunk, whole, so that NBD_CMD_FLAG_DF is always obeyed. */
export function addStructuredRead(
  batch: ReplyBatch,
  request: Cookie & { readonly offset: number },
  bytes: Uint8Array,
): void {
  const at = addChunkHeader(batch, request, replyType.offsetData, { fixed: 8, more: bytes.length });
  batch.view.setUint32(at, Math.floor(request.offset / 0x1_0000_0000));
  batch.view.setUint32(at + 4, request.offset % 0x1_0000_0000);
  addPayload(batch, bytes);
}

/** A failure with words for a person: error:32 message length:16 message. */
export function addErrorChunk(
  batch: ReplyBatch,
  cookie: Cookie,
  error: NbdError,
  message: string,
): void {
  const text = utf8.encode(message);
  assert(text.length <= limits.nbdNameBytesMax, "an error message is longer than a string may be");
  const at = addChunkHeader(batch, cookie, replyType.error, { fixed: 6, more: text.length });
  batch.view.setUint32(at, error);
  batch.view.setUint16(at + 4, text.length);
  addPayload(batch, text);
}

/** BLOCK_STATUS of `base:allocation`: context:32, and for each run length:32 flags:32. */
export function addBlockStatus(
  batch: ReplyBatch,
  cookie: Cookie,
  context: number,
  runs: readonly { readonly length: number; readonly hole: boolean }[],
): void {
  assert(runs.length > 0, "a block status without a single run");
  const data = new Uint8Array(8 * runs.length);
  const view = new DataView(data.buffer);
  for (const [index, run] of runs.entries()) {
    view.setUint32(8 * index, run.length);
    view.setUint32(8 * index + 4, run.hole ? allocation.hole | allocation.zero : 0);
  }
  const at = addChunkHeader(batch, cookie, replyType.blockStatus, { fixed: 4, more: data.length });
  batch.view.setUint32(at, context);
  addPayload(batch, data);
}

/** Empties the batch into a list for one vectored write. */
export function takeReplies(batch: ReplyBatch): readonly Uint8Array[] {
  seal(batch);
  const { chunks } = batch;
  batch.chunks = [];
  batch.bytes = 0;
  return chunks;
}

/** A chunk that is the whole of its reply; returns where the `fixed` bytes of its payload go. `more` follow them. */
function addChunkHeader(
  batch: ReplyBatch,
  cookie: Cookie,
  type: number,
  payload: { readonly fixed: number; readonly more: number },
): number {
  const at = claim(batch, size.chunkHeader + payload.fixed);
  const { view } = batch;
  view.setUint32(at, magic.structuredReply);
  view.setUint16(at + 4, replyFlag.done);
  view.setUint16(at + 6, type);
  view.setInt32(at + 8, cookie.cookieHigh);
  view.setInt32(at + 12, cookie.cookieLow);
  view.setUint32(at + 16, payload.fixed + payload.more);
  return at + size.chunkHeader;
}

function addPayload(batch: ReplyBatch, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  if (bytes.length <= limits.nbdReplyCopyBytesMax) {
    const at = claim(batch, bytes.length);
    batch.block.set(bytes, at);
    return;
  }
  seal(batch);
  batch.chunks.push(bytes);
  batch.bytes += bytes.length;
}

/** Makes room for `count` bytes in one piece, and returns where they go. */
function claim(batch: ReplyBatch, count: number): number {
  if (batch.block.length - batch.at < count) {
    seal(batch);
    batch.block = batch.allocate(limits.nbdReplyBlockBytes);
    batch.view = new DataView(batch.block.buffer, batch.block.byteOffset, batch.block.byteLength);
    batch.start = 0;
    batch.at = 0;
  }
  const at = batch.at;
  batch.at = at + count;
  batch.bytes += count;
  return at;
}

/** Moves what was written into the block since the last time to the list. */
function seal(batch: ReplyBatch): void {
  if (batch.start === batch.at) return;
  batch.chunks.push(batch.block.subarray(batch.start, batch.at));
  batch.start = batch.at;
}
