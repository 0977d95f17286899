import { putU64, viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";

/** One line of a batch's table: a write, a zeroed range, or the SEAL of a set. */
export type Entry = {
  readonly kind: "write" | "zero" | "seal";
  readonly mayPunch: boolean;
  /** 0 until groups have several sources (decision 16). */
  readonly source: number;
  /** Of the primary that gave the LSN; a SEAL: of the one that sealed. */
  readonly incarnation: number;
  /** A SEAL: the highest LSN of its set, or of the set before it when it is empty. */
  readonly lsn: number;
  readonly set: number;
  /** 1..n; a SEAL has n + 1 (S7). */
  readonly index: number;
  readonly volume: number;
  /** A SEAL: the set from which on it covers (decision 12). */
  readonly offset: number;
  /** Bytes; a SEAL: 0. */
  readonly length: number;
  /** CRC32C of a write's bytes; a SEAL: the digest of its set. */
  readonly payloadCrc: number;
  /** A SEAL: the primary's wall clock, for people only (U58); else 0. */
  readonly stampMs: number;
};

/** Writes and zeroed ranges of the set, as its SEAL says (U43). */
export function countOf(seal: Entry): number {
  return seal.index - 1;
}

/** The set from which on the SEAL covers: it is consecutive to the set before that one (decision 12). */
export function coversFrom(seal: Entry): number {
  return seal.offset;
}

/** What an entry counts in the bounds of a copy, and so in the window of whoever sends to it. Bytes. */
export function costOf(entry: Entry): number {
  return limits.entryCostBytes + (entry.kind === "write" ? entry.length : 0);
}

// What the digest is taken of, one entry after the other in the order of their indexes; little-endian:
//
//    0  u8   1 write, 2 zero      8  u64  LSN             24  u64  offset
//    1  u8   1 may punch         16  u32  volume          32  u64  length
//    2  u16  0                   20  u32  payload CRC     40
//    4  u32  index
//
// All that decides what is applied; the incarnation, which only tells lives of a primary apart, is not among it.
const digestBytes = 40;

const scratch = new Uint8Array(digestBytes);
const view = viewOf(scratch);

/**
 * The digest of a set (U43): CRC32C over its writes and zeroed ranges, index after index, begun with 0. The primary takes it
 * as it gives the indexes, a copy when it has them; a set that is not what its SEAL says is never applied.
 */
export function digestStep(crc: number, entry: Entry): number {
  scratch[0] = entry.kind === "write" ? 1 : 2;
  scratch[1] = entry.mayPunch ? 1 : 0;
  view.setUint32(4, entry.index, true);
  putU64(view, 8, entry.lsn);
  view.setUint32(16, entry.volume, true);
  view.setUint32(20, entry.payloadCrc, true);
  putU64(view, 24, entry.offset);
  putU64(view, 32, entry.length);
  return crc32c(scratch, crc);
}
