import { limits } from "#base/limits.ts";

// What a device behind a link may lack, by range: of each byte its newest write, and where the journal has it. Ranges are kept
// by granule, so that a write changes a short list, however much a device lacks that has been away for long.

/** Where a record of the journal begins. */
export type RecordPlace = {
  readonly number: number;
  readonly segment: number;
  readonly byte: number;
};

export type OverlayPiece = {
  readonly offset: number;
  readonly end: number;
  readonly lsn: number;
  readonly place: RecordPlace;
  /** Where its bytes begin in that record's payload; undefined: they are zeros. */
  readonly at: number | undefined;
};

/** A part of a range: what the overlay has of it, or undefined where the device has it. */
export type OverlayPart = {
  readonly offset: number;
  readonly length: number;
  readonly piece: OverlayPiece | undefined;
};

export type Overlay = {
  readonly granules: Map<number, OverlayGranule>;
  pieces: number;
};

/** Pieces in order, none overlaps another; none is older than `oldestLsn`. */
type OverlayGranule = { readonly pieces: readonly OverlayPiece[]; readonly oldestLsn: number };

const granuleBytes = limits.openGranuleBytes;

export function createOverlay(): Overlay {
  return { granules: new Map(), pieces: 0 };
}

/** A write that is newer than all before it. */
export function put(overlay: Overlay, piece: OverlayPiece): void {
  for (let from = piece.offset; from < piece.end;) {
    const granule = Math.floor(from / granuleBytes);
    const end = Math.min(piece.end, (granule + 1) * granuleBytes);
    const known = overlay.granules.get(granule) ?? { pieces: [], oldestLsn: piece.lsn };
    const pieces = replaced(known.pieces, cut(piece, from, end));
    overlay.pieces += pieces.length - known.pieces.length;
    overlay.granules.set(granule, { pieces, oldestLsn: known.oldestLsn });
    from = end;
  }
}

function replaced(known: readonly OverlayPiece[], piece: OverlayPiece): OverlayPiece[] {
  const next: OverlayPiece[] = [];
  let isPut = false;
  for (const old of known) {
    if (old.offset >= piece.end && !isPut) {
      next.push(piece);
      isPut = true;
    }
    if (old.offset < piece.offset) next.push(cut(old, old.offset, Math.min(old.end, piece.offset)));
    if (old.end > piece.end && old.offset < piece.end) {
      if (!isPut) next.push(piece);
      isPut = true;
    }
    if (old.end > piece.end) next.push(cut(old, Math.max(old.offset, piece.end), old.end));
  }
  if (!isPut) next.push(piece);
  return next;
}

function cut(piece: OverlayPiece, offset: number, end: number): OverlayPiece {
  if (offset === piece.offset && end === piece.end) return piece;
  const at = piece.at === undefined ? undefined : piece.at + offset - piece.offset;
  return { offset, end, lsn: piece.lsn, place: piece.place, at };
}

/** The device has everything up to this LSN, durably. */
export function forgetThrough(overlay: Overlay, lsn: number): void {
  const { granules } = overlay;
  for (const [granule, { pieces, oldestLsn }] of granules) {
    if (oldestLsn > lsn) continue;
    const left = pieces.filter((piece) => piece.lsn > lsn);
    overlay.pieces += left.length - pieces.length;
    if (left.length === 0) granules.delete(granule);
    else granules.set(granule, { pieces: left, oldestLsn: oldestOf(left) });
  }
}

function oldestOf(pieces: readonly OverlayPiece[]): number {
  let oldest = Number.POSITIVE_INFINITY;
  for (const { lsn } of pieces) oldest = Math.min(oldest, lsn);
  return oldest;
}

/** The parts of a range, in order and without gaps; what is not newer than `hadLsn` the device has. */
export function look(
  overlay: Overlay,
  range: { readonly offset: number; readonly length: number },
  hadLsn: number,
): OverlayPart[] {
  const parts: OverlayPart[] = [];
  const end = range.offset + range.length;
  let at = range.offset;
  for (let granule = Math.floor(at / granuleBytes); granule * granuleBytes < end; granule += 1) {
    for (const piece of overlay.granules.get(granule)?.pieces ?? []) {
      if (piece.lsn <= hadLsn || piece.end <= at || piece.offset >= end) continue;
      const from = Math.max(piece.offset, at);
      const until = Math.min(piece.end, end);
      if (from > at) parts.push({ offset: at, length: from - at, piece: undefined });
      parts.push({ offset: from, length: until - from, piece: cut(piece, from, until) });
      at = until;
    }
  }
  if (at < end) parts.push({ offset: at, length: end - at, piece: undefined });
  return parts;
}
