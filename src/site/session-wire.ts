import { allZero } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { orInto, createRegionMap, mapPageHeaderBytes, bitsPerPage } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { ResyncItem } from "#core/primary-state.ts";
import type { Crypto } from "#ports/crypto.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { encodeHeader } from "#wire/peer/encode.ts";
import { allVolumes, emptyHeader, frameFlags, frameType } from "#wire/peer/messages.ts";
import type { FrameHeader, FrameType } from "#wire/peer/messages.ts";
import type { SessionBegin, WirePosition } from "#wire/peer/documents.ts";
import type { Feed, FeedLost } from "#wire/peer/feed.ts";
import { sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";

/** One end of a session: turns what the machines want said into frames. */
export type SessionWire = {
  readonly peer: Peer;
  readonly generation: number;
  readonly epoch: number;
  readonly crypto: Crypto;
  /** Filled anew for each frame, so that a write costs no header object. */
  readonly scratch: FrameHeader;
};

export function createSessionWire(
  peer: Peer,
  generation: number,
  epoch: number,
  crypto: Crypto,
): SessionWire {
  const scratch = emptyHeader(frameType.write);
  return { peer, generation, epoch, crypto, scratch };
}

const noBody: readonly Uint8Array[] = [];

/** The chunks of the payload go to the network as they are. */
export function feedWrite(wire: SessionWire, request: HostRequest, sequence: number): void {
  const isWrite = request.kind === "write";
  const header = prepare(wire, isWrite ? frameType.write : frameType.zero, sequence);
  header.flags = request.mayPunch ? frameFlags.mayPunch : 0;
  header.lsn = request.lsn;
  header.volume = request.volume;
  header.offset = request.offset;
  header.length = request.length;
  sendFrame(wire, isWrite ? request.payload : noBody);
}

export function feedRegion(
  wire: SessionWire,
  item: ResyncItem,
  bytes: Uint8Array,
  at: { readonly sequence: number; readonly lsn: number },
): void {
  const isZero = allZero(bytes);
  const header = prepareRange(wire, isZero ? frameType.regionZero : frameType.region, item, at);
  header.flags = frameFlags.mayPunch;
  sendFrame(wire, isZero ? noBody : [bytes]);
}

/** One hash a region, so that the copy can say which differ. */
export function feedCompare(
  wire: SessionWire,
  item: ResyncItem,
  bytes: Uint8Array,
  at: { readonly sequence: number; readonly lsn: number },
): void {
  const header = prepareRange(wire, frameType.compare, item, at);
  header.index = item.regionBytes;
  sendFrame(wire, [hashesOf(bytes, item.regionBytes, wire.crypto)]);
}

/** Little-endian 64-bit hashes of consecutive regions; both ends of a compare make them alike. */
export function hashesOf(bytes: Uint8Array, regionBytes: number, crypto: Crypto): Uint8Array {
  const regions = Math.ceil(bytes.length / regionBytes);
  const hashes = new Uint8Array(regions * 8);
  const view = new DataView(hashes.buffer);
  for (let i = 0; i < regions; i += 1) {
    const region = bytes.subarray(i * regionBytes, (i + 1) * regionBytes);
    view.setBigUint64(i * 8, crypto.hash64(region), true);
  }
  return hashes;
}

/** `lsn`: what a log must have before it syncs; 0 for a mirror, which has whatever came before. */
export function feedFlush(wire: SessionWire, volume: number, ticket: number, lsn: number): void {
  const header = prepare(wire, frameType.flush, 0);
  header.lsn = lsn;
  header.volume = volume < 0 ? allVolumes : volume;
  header.index = ticket;
  sendFrame(wire, noBody);
}

export function feedSynchronized(wire: SessionWire, lsn: number, set: number): void {
  const header = prepare(wire, frameType.synchronized, 0);
  header.lsn = lsn;
  header.set = set;
  sendFrame(wire, noBody);
}

/** Behind this word the set may be applied. */
export function feedMark(wire: SessionWire, set: number): void {
  const header = prepare(wire, frameType.mark, 0);
  header.set = set;
  sendFrame(wire, noBody);
}

/** A record of the journal as it lies there, and which entry it follows. */
export function feedRecord(
  wire: SessionWire,
  follows: WirePosition,
  table: Uint8Array,
  payload: readonly Uint8Array[],
): void {
  const header = prepare(wire, frameType.record, 0);
  header.lsn = follows.lsn;
  header.set = follows.set;
  header.offset = follows.index;
  header.length = follows.incarnation;
  header.index = table.length;
  sendFrame(wire, [table, ...payload]);
}

/** Asks a relay to feed a copy from its log. */
export function feedFeed(wire: SessionWire, document: Feed): void {
  const { generation, epoch } = wire;
  const named = { set: document.fromSet, index: document.epoch };
  Object.assign(prepare(wire, frameType.feed, 0), named);
  sendDocument(wire.peer, frameType.feed, document, { generation, epoch, ...named });
}

/** A relay tells that it feeds a copy no more. */
export function feedFeedLost(wire: SessionWire, document: FeedLost): void {
  const { generation, epoch } = wire;
  const index = document.epoch;
  prepare(wire, frameType.feedLost, 0).index = index;
  sendDocument(wire.peer, frameType.feedLost, document, { generation, epoch, index });
}

/** A batch as it lies in the journal. */
export function feedBatch(
  wire: SessionWire,
  table: Uint8Array,
  payload: readonly Uint8Array[],
): void {
  const header = prepare(wire, frameType.batch, 0);
  header.index = table.length;
  sendFrame(wire, [table, ...payload]);
}

/** A batch whose payload was packed from so many bytes. */
export function feedPackedBatch(
  wire: SessionWire,
  table: Uint8Array,
  packed: Uint8Array,
  payloadBytes: number,
): void {
  const header = prepare(wire, frameType.batch, 0);
  header.index = table.length;
  header.length = payloadBytes;
  sendFrame(wire, [table, packed]);
}

export function feedBegin(wire: SessionWire, begin: SessionBegin): void {
  const { generation, epoch } = wire;
  // For the trace, which looks at what was prepared last.
  prepare(wire, frameType.begin, 0).lsn = begin.lsn;
  sendDocument(wire.peer, frameType.begin, begin, { generation, epoch });
}

export function feedFractured(wire: SessionWire, lsn: number, why: string): void {
  const { generation, epoch } = wire;
  prepare(wire, frameType.fractured, 0).lsn = lsn;
  sendDocument(wire.peer, frameType.fractured, { why }, { generation, epoch, lsn });
}

/** Tells whoever feeds us that this session cannot go on; its connection ends behind that. */
export function failWire(
  { peer, generation, epoch }: SessionWire,
  failed: { readonly why: string; readonly code?: "activated" },
): void {
  sendDocument(peer, frameType.failed, failed, { generation, epoch });
  peer.connection.end(failed.why);
}

/** What another member lacks, in granules, a frame for each page of the map. */
export function feedMemberMap(
  wire: SessionWire,
  volume: number,
  map: RegionMap,
  volumeBytes: number,
): void {
  const granules = createRegionMap(volumeBytes, limits.openGranuleBytes);
  orInto(granules, map);
  sendMapPages(wire, frameType.memberMap, volume, granules);
}

/** The pages of an open map as frames; also the copy sends its own so, before BEGIN. */
export function sendMapPages(
  wire: SessionWire,
  type: FrameType,
  volume: number,
  map: RegionMap,
): void {
  for (const [index, page] of map.pages) {
    if (page.count === 0) continue;
    const header = prepare(wire, type, 0);
    header.volume = volume;
    header.offset = index * bitsPerPage;
    sendFrame(wire, [page.bytes.slice(mapPageHeaderBytes)]);
  }
}

export function sendBare(wire: SessionWire, type: FrameType, fields: Partial<FrameHeader>): void {
  Object.assign(prepare(wire, type, 0), fields);
  sendFrame(wire, noBody);
}

export function sendBody(
  wire: SessionWire,
  type: FrameType,
  fields: Partial<FrameHeader>,
  body: Uint8Array,
): void {
  Object.assign(prepare(wire, type, 0), fields);
  sendFrame(wire, [body]);
}

export function sendBits(
  wire: SessionWire,
  type: FrameType,
  sequence: number,
  bits: Uint8Array,
): void {
  prepare(wire, type, sequence);
  sendFrame(wire, [bits]);
}

function prepareRange(
  wire: SessionWire,
  type: FrameType,
  item: ResyncItem,
  at: { readonly sequence: number; readonly lsn: number },
): FrameHeader {
  const header = prepare(wire, type, at.sequence);
  header.lsn = at.lsn;
  header.volume = item.volume;
  header.offset = item.offset;
  header.length = item.length;
  return header;
}

function prepare(wire: SessionWire, type: FrameType, sequence: number): FrameHeader {
  const header = wire.scratch;
  header.type = type;
  header.flags = 0;
  header.lsn = 0;
  header.set = 0;
  header.index = 0;
  header.volume = 0;
  header.offset = 0;
  header.length = 0;
  header.generation = wire.generation;
  header.epoch = wire.epoch;
  header.sequence = sequence % 0x1_0000_0000;
  return header;
}

function sendFrame(wire: SessionWire, body: readonly Uint8Array[]): void {
  const header = encodeHeader(wire.peer.pool, wire.scratch, body);
  wire.peer.connection.send(body.length === 0 ? [header] : [header, ...body]);
}
