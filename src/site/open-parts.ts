import { isMarked, unitOf } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";

type Range = { readonly offset: number; readonly length: number };

/** The parts of a range that lie in granules which the map marks. */
export function openParts(map: RegionMap, range: Range): Range[] {
  const parts: { offset: number; length: number }[] = [];
  const end = range.offset + range.length;
  for (let offset = range.offset; offset < end;) {
    const granule = unitOf(map, offset);
    const until = Math.min(end, (granule + 1) * map.unitBytes);
    const last = parts.at(-1);
    const isOpen = isMarked(map, granule);
    if (isOpen && last !== undefined && last.offset + last.length === offset)
      last.length += until - offset;
    else if (isOpen) parts.push({ offset, length: until - offset });
    offset = until;
  }
  return parts;
}
