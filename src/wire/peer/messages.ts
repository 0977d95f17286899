// The peer protocol, version 1.
//
// Every message is one frame: a header of 64 bytes, little-endian, then `bodyBytes` of body.
//
//    0  u16 magic 0xA17D     2  u8  type          3  u8  flags (0)       4  u32 bodyBytes
//    8  u64 lsn             16  u64 set          24  u32 index          28  u16 volume   30  u16 source
//   32  u64 offset          40  u32 length       44  u32 generation     48  u32 epoch    52  u32 sequence
//   56  u32 CRC32C of the body                   60  u32 CRC32C of bytes 0..59
//
// The body of a BATCH or a RECORD is checksummed in its table alone: each line there guards its own payload
// (batch/messages.ts).
//
// A frame is valid when both checksums agree, the type is known and its body is within the type's limit; anything else
// ends the connection, and nothing of it is applied (I34). Fields that a type does not use are zero. `set`, `index` and
// `source` are there for the modes with sets and several sources; a mirror leaves them zero.
//
// `generation` and `epoch` ride in every frame of a session: a receiver drops frames of another generation or epoch
// than the one its session was opened with, so that late packets of a dead primary do no harm (U56, I28, N4).
// `sequence` counts the frames of a session that the copy answers by ACK; ACK(s) answers all up to s.
//
// A copy may say in OPENED what it `unpacks`; only such a copy is sent packed batches. Behind the plain table of one,
// the payloads are packed as one ("zstd": RFC 8878, window up to 8 MiB), and `length`, else 0, is what they unpack to.
//
// Version history:
//   1  the first.

/** The versions this build speaks; two sites use the highest that both know. */
export const peerVersions = { lowest: 1, highest: 1 } as const;

export const frameMagic = 0xa17d;
export const frameHeaderBytes = 64;

export const frameType = {
  // Handshake, both ways, then the dialer's purpose and the listener's answer. Bodies are JSON (handshake.ts).
  greeting: 1,
  proof: 2,
  open: 3,
  opened: 4,
  refused: 5,
  // Direct inquiry. Bodies are JSON (probe.ts).
  probe: 10,
  probeReply: 11,
  // Primary to copy, answered in order by ACK.
  write: 20, //        volume, offset, length, lsn; body: the bytes
  zero: 21, //         volume, offset, length, lsn; flag mayPunch
  region: 22, //       volume, offset, length; body: the primary's content at this place in the order
  regionZero: 23, //   volume, offset, length: the range reads as zeros
  batch: 25, //        index: bytes of the table; body: a batch, packed where length is not 0. On any connection; no ACK
  record: 26, //       index: bytes of the table; lsn, set, offset, length: LSN, set, index, incarnation of the entry before; body: a batch
  compare: 24, //      volume, offset, length; index: region bytes; body: one 64-bit hash per region
  // Primary to copy, each with an answer of its own.
  begin: 30, //        body: JSON (Begin); answer: begun
  flush: 31, //        volume (0xffff: all), index: ticket; to a log: lsn: once it has that; answer: flushed
  memberMap: 32, //    volume, offset: first granule of the page; body: bits. No answer of its own
  synchronized: 33, // lsn; set: once it is applied (0: now); answer: synchronizedRecorded
  mark: 35, //         set: it may be applied behind this, while regions are under way; 0 asks for nothing. No answer
  fractured: 34, //    lsn, index: reason; the copy is no longer fed. No answer
  released: 36, //     lsn, set: nobody needs what is up to there: a log may let it go. No answer
  // Primary to a relay, in the session in which it is given the log. No answer
  feed: 37, //         index, set: its epoch and first set; body: JSON (Feed): feed this copy from the log
  feedEnd: 38, //      index: epoch of that feed
  applied: 39, //      index: epoch of that feed; set: everything up to it is in the copy's image
  // Copy to primary.
  ack: 40, //          sequence: everything up to it is in the image
  flushed: 41, //      index: ticket
  differs: 42, //      sequence of the compare; body: one bit per region that differs
  begun: 43,
  synchronizedRecorded: 44,
  openMap: 45, //      volume, offset: first granule; body: bits of the copy's open map
  openMapEnd: 46,
  progress: 48, //     set, lsn: complete and durable; body: four u64: applied set, its lsn, synced lsn, stamp of the complete set
  staged: 49, //       sequence: batches of this connection up to it are durable
  logged: 50, //       lsn, set, index: the last entry that the log has
  purged: 51, //       set, lsn: complete and durable; index: entries above that, all of which were given up. Before BEGUN
  feedLost: 52, //     index: epoch of that feed; body: JSON (FeedLost): the relay feeds that copy no more
  invalidate: 53, //   lsn, set: of the last entry that the log has; it is full, of what a copy lacks that the relay feeds
  failed: 47, //       body: JSON {why}; the copy cannot go on
} as const;

export type FrameType = (typeof frameType)[keyof typeof frameType];

export const frameFlags = { mayPunch: 1 } as const;

/** Whether the body begins with a batch's table of `index` bytes, which guards what follows it. */
export function hasTable(type: number): boolean {
  return type === frameType.batch || type === frameType.record;
}

/** `volume` of a flush that means every volume of the group. */
export const allVolumes = 0xffff;

/** The header's fields without magic and checksums. */
export type FrameHeader = {
  type: FrameType;
  flags: number;
  bodyBytes: number;
  lsn: number;
  set: number;
  index: number;
  volume: number;
  source: number;
  offset: number;
  length: number;
  generation: number;
  epoch: number;
  sequence: number;
};

/**
 * One frame as it came. `body` are views of the received chunks, in order; they stay valid as long as somebody holds
 * them, since nobody writes into a received chunk again.
 */
export type Frame = { readonly header: FrameHeader; readonly body: readonly Uint8Array[] };

/** A header with every field zero but the type. */
export function emptyHeader(type: FrameType): FrameHeader {
  return {
    type,
    flags: 0,
    bodyBytes: 0,
    lsn: 0,
    set: 0,
    index: 0,
    volume: 0,
    source: 0,
    offset: 0,
    length: 0,
    generation: 0,
    epoch: 0,
    sequence: 0,
  };
}
