import { limits } from "#base/limits.ts";

/**
 * The body of a message while it is received. One that lies whole in a received chunk stays there, as a view. Any other
 * gets blocks of its own: what has come is copied in, and what is missing can be received straight into the room behind
 * it. So the bytes of a long write lie in one piece, in memory that nothing else lies in, and a body sent in crumbs
 * holds no more than its length.
 */
export type Body = {
  /**
   * Views of what has come; the last may be a block that is being filled. Whoever gets them keeps them: the next body
   * has others.
   */
  pieces: Uint8Array[];
  /** Bytes that have not come; and how many of those are of its head, which gets a block of its own. */
  missing: number;
  headMissing: number;
  /** Room at the end of the last piece. */
  blockFree: number;
  /** Memory for a block: it need not be cleared. */
  readonly take: (bytes: number) => Uint8Array;
};

export function createBody(take: (bytes: number) => Uint8Array): Body {
  return { pieces: [], missing: 0, headMissing: 0, blockFree: 0, take };
}

/** `headBytes`: what comes before the payload, if anything does, so that payload alone fills a block. */
export function beginBody(body: Body, bytes: number, headBytes = 0): void {
  body.pieces = [];
  body.missing = bytes;
  body.headMissing = headBytes;
  body.blockFree = 0;
}

/** Adds what has come, at most what is missing. */
export function addToBody(body: Body, piece: Uint8Array): void {
  if (body.pieces.length === 0 && piece.length === body.missing) {
    body.pieces.push(piece);
    body.missing = 0;
    return;
  }
  let from = 0;
  while (from < piece.length) {
    const room = roomIn(body);
    const count = Math.min(room.length, piece.length - from);
    room.set(piece.subarray(from, from + count));
    from += count;
    landedInBody(body, count);
  }
}

/** Where to receive what is missing, if that is worth a read of its own. Asking again gives the same room. */
export function landingOf(body: Body): Uint8Array | undefined {
  return body.missing >= limits.landingBytesMin ? roomIn(body) : undefined;
}

/** So many bytes have been received into the room. */
export function landedInBody(body: Body, count: number): void {
  body.blockFree -= count;
  body.missing -= count;
  body.headMissing = Math.max(0, body.headMissing - count);
}

function roomIn(body: Body): Uint8Array {
  const last = body.pieces.at(-1);
  if (last !== undefined && body.blockFree > 0) return last.subarray(last.length - body.blockFree);
  const bytes = body.headMissing > 0 ? body.headMissing : body.missing;
  const block = body.take(Math.min(bytes, limits.landingBlockBytesMax));
  body.blockFree = block.length;
  body.pieces.push(block);
  return block;
}
