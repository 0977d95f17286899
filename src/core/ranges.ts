/** Bytes `offset` to `offset + length` of a volume, named by its index. */
export type ByteRange = {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
};

export function overlaps(a: ByteRange, b: ByteRange): boolean {
  return a.volume === b.volume && a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}
