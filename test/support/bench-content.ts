import { must } from "#base/assert.ts";

// Contents on the bench of primary-bench.ts are versions: for each volume, the LSN that each region was written with
// last. Writes there cover whole regions, so a version says all about one.

export const benchRegionBytes = 256 * 1024;

export type Content = number[][];
export type Range = { readonly volume: number; readonly offset: number; readonly length: number };

export function copied(content: readonly number[][], volume: number): number[] {
  return [...must(content[volume], "every content has every volume")];
}

export function put(content: Content, range: Range, versionOf: (index: number) => number): void {
  const regions = must(content[range.volume], "every content has every volume");
  const first = range.offset / benchRegionBytes;
  for (let i = 0; i * benchRegionBytes < range.length; i += 1) regions[first + i] = versionOf(i);
}

/** The versions of a range, region by region. */
export function versionsOf(content: readonly number[][], range: Range): number[] {
  const first = range.offset / benchRegionBytes;
  const count = range.length / benchRegionBytes;
  return copied(content, range.volume).slice(first, first + count);
}
