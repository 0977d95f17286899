import { meets } from "#base/span.ts";

/** Bytes `offset` to `offset + length` of a volume, named by its index. */
export type ByteRange = {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
};

/** A volume that has become larger, and the bytes that it has from now on. */
export type Grown = { readonly volume: number; readonly bytes: number };

export function overlaps(a: ByteRange, b: ByteRange): boolean {
  return a.volume === b.volume && meets(a, b);
}

/** A device that answers later may still be writing there: what would be read is neither old nor new. */
export function isBeingWritten(
  { writing }: { readonly writing: Iterable<ByteRange> },
  range: ByteRange,
): boolean {
  for (const write of writing) if (overlaps(write, range)) return true;
  return false;
}
