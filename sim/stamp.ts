import { sectorBytes } from "./disk-state.ts";

// What test writes put into each sector, so that any image tells of each sector which write it holds:
//
//     0  u32 magic   4  u32 writeId   8  u32 sector   12  u32 volume   16  zeros up to byte 495
//   496  u32 magic  500  u32 writeId 504  u32 sector  508  u32 volume
//
// The same words at both ends show a sector that is shifted or torn; the zeros between them cost nothing to make.

const MAGIC = 0x57415453;
const END_WORDS = 4;
const sectorWords = sectorBytes / 4;

/** What a sector holds: the write it is of (0: it reads as zeros), or nothing that any write ever put there. */
export type Held =
  | { readonly kind: "write"; readonly id: number }
  | { readonly kind: "alien"; readonly what: string };

const zeros: Held = { kind: "write", id: 0 };

/** Fills whole sectors of a write, beginning at `firstSector` of the volume. */
export function stamp(bytes: Uint8Array, id: number, volume: number, firstSector: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  for (let at = 0, sector = firstSector; at < words.length; at += sectorWords, sector += 1) {
    for (const end of [at, at + sectorWords - END_WORDS]) {
      words[end] = MAGIC;
      words[end + 1] = id;
      words[end + 2] = sector;
      words[end + 3] = volume;
    }
  }
}

/** Reads the stamp of the sector that begins at byte `at`; `deep` looks at every byte of it. */
export function readStamp(
  bytes: Uint8Array,
  at: number,
  place: { volume: number; sector: number },
  deep: boolean,
): Held {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, sectorWords);
  const tail = sectorWords - END_WORDS;
  const id = words[1] as number;
  if (words[0] === 0 && words[tail] === 0) {
    return isEmpty(words, 0, deep ? sectorWords : END_WORDS)
      ? zeros
      : alien("a sector that is neither zeros nor a write");
  }
  if (words[0] !== MAGIC || words[tail] !== MAGIC)
    return alien("a torn sector, or bytes that no host wrote");
  if (words[tail + 1] !== id)
    return alien(`one end of write ${id} and another of write ${words[tail + 1]}`);
  const misplaced = words[2] !== place.sector || words[3] !== place.volume;
  if (misplaced) return alien(`sector ${words[2]} of volume ${words[3]} (write ${id}), misplaced`);
  if (words[tail + 2] !== place.sector || words[tail + 3] !== place.volume)
    return alien("a damaged stamp");
  if (deep && !isEmpty(words, END_WORDS, tail)) return alien(`write ${id} with damaged bytes`);
  return { kind: "write", id };
}

/** The first so many bytes of chunks, as `readStamp` can read them. */
export function alignedBytes(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [first] = chunks;
  if (first !== undefined && first.length >= length && first.byteOffset % 4 === 0)
    return first.length === length ? first : first.subarray(0, length);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    if (at >= length) break;
    bytes.set(chunk.subarray(0, length - at), at);
    at += chunk.length;
  }
  return bytes;
}

function isEmpty(words: Uint32Array, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (words[at] !== 0) return false;
  return true;
}

function alien(what: string): Held {
  return { kind: "alien", what };
}
