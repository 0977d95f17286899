import { firstBytes, putU64, totalBytes, utf8, viewOf } from "#base/bytes.ts";
import { crc32c, crc32cChunks } from "#base/checksum.ts";
import { emptyHeader, frameHeaderBytes, frameMagic, hasTable } from "./messages.ts";
import type { FrameHeader, FrameType } from "./messages.ts";

/**
 * Headers are cut from slabs: one allocation for 256 frames, fewer for a connection's first, which may be all that it ever
 * sends. A slab is never used again, since the network may still be sending from it (trap 10).
 */
const HEADERS_PER_SLAB = 256;
const HEADERS_IN_FIRST_SLAB = 8;

export type HeaderPool = { slab: Uint8Array<ArrayBuffer>; view: DataView; at: number };

export function createHeaderPool(): HeaderPool {
  const slab = new Uint8Array(0);
  return { slab, view: viewOf(slab), at: 0 };
}

/**
 * Writes a frame's header over its body chunks and gives back the header's bytes; the caller sends them and then the
 * body as it is. `header.bodyBytes` is set here. Of a batch, `index` bytes are its table.
 */
export function encodeHeader(
  pool: HeaderPool,
  header: FrameHeader,
  body: readonly Uint8Array[],
): Uint8Array {
  if (pool.at === pool.slab.length) {
    const headers = pool.slab.length === 0 ? HEADERS_IN_FIRST_SLAB : HEADERS_PER_SLAB;
    pool.slab = new Uint8Array(headers * frameHeaderBytes);
    pool.view = viewOf(pool.slab);
    pool.at = 0;
  }
  const start = pool.at;
  const view = pool.view;
  pool.at = start + frameHeaderBytes;
  header.bodyBytes = totalBytes(body);
  const guarded = hasTable(header.type) ? firstBytes(body, header.index) : body;
  view.setUint16(start, frameMagic, true);
  view.setUint8(start + 2, header.type);
  view.setUint8(start + 3, header.flags);
  view.setUint32(start + 4, header.bodyBytes, true);
  putU64(view, start + 8, header.lsn);
  putU64(view, start + 16, header.set);
  view.setUint32(start + 24, header.index, true);
  view.setUint16(start + 28, header.volume, true);
  view.setUint16(start + 30, header.source, true);
  putU64(view, start + 32, header.offset);
  view.setUint32(start + 40, header.length, true);
  view.setUint32(start + 44, header.generation, true);
  view.setUint32(start + 48, header.epoch, true);
  view.setUint32(start + 52, header.sequence, true);
  view.setUint32(start + 56, header.bodyBytes === 0 ? 0 : crc32cChunks(guarded), true);
  const bytes = pool.slab.subarray(start, pool.at);
  view.setUint32(start + 60, crc32c(bytes.subarray(0, 60)), true);
  return bytes;
}

/** A whole control frame whose body is a JSON document, as chunks to send. */
export function encodeJson(
  pool: HeaderPool,
  type: FrameType,
  document: unknown,
  fields: Partial<FrameHeader> = {},
): Uint8Array[] {
  const body = [utf8(JSON.stringify(document))];
  return [encodeHeader(pool, { ...emptyHeader(type), ...fields }, body), ...body];
}
