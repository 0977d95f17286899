import { assert } from "#base/assert.ts";

/**
 * Which units of a volume are marked: addresses without data or order. The one map class of the engine, with two uses
 * (decision 21): the open map of a member (unit: granule) and the dirty map towards an absent member (unit: region).
 *
 * The bits lie in pages of the size in which they are stored (`store/map-file.ts` draws them), so that memory and file
 * follow the marked regions and not the volume's size, and a page is written as it is. A page that is missing has no
 * bit.
 */
export type RegionMap = {
  readonly unitBytes: number;
  /** How many units the volume has; the last may be shorter. A volume that grows has more (`growMap`). */
  units: number;
  readonly pages: Map<number, MapPage>;
  /** Marked units. */
  count: number;
  /** Pages whose bits differ from what was last handed to the file. */
  readonly unwritten: Set<number>;
};

export type MapPage = {
  /** The whole page as stored: header, then bits. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  count: number;
};

export const mapPageBytes = 512;
export const mapPageHeaderBytes = 16;
export const bitsPerPage = (mapPageBytes - mapPageHeaderBytes) * 8;

export function createRegionMap(volumeBytes: number, unitBytes: number): RegionMap {
  assert(unitBytes > 0 && volumeBytes > 0, "a map needs a volume and a unit");
  return {
    unitBytes,
    units: Math.ceil(volumeBytes / unitBytes),
    pages: new Map(),
    count: 0,
    unwritten: new Set(),
  };
}

/** The volume has so many bytes by now: none of what is new is marked. It never has fewer. */
export function growMap(map: RegionMap, volumeBytes: number): void {
  map.units = Math.max(map.units, Math.ceil(volumeBytes / map.unitBytes));
}

/** The unit that holds a byte. */
export function unitOf(map: RegionMap, offset: number): number {
  return Math.floor(offset / map.unitBytes);
}

export function isMarked(map: RegionMap, unit: number): boolean {
  const page = map.pages.get(Math.floor(unit / bitsPerPage));
  if (page === undefined) return false;
  const bit = unit % bitsPerPage;
  return ((page.bytes[mapPageHeaderBytes + (bit >>> 3)] ?? 0) & (1 << (bit & 7))) !== 0;
}

/** Marks units `first` to `last`, both included. How many were not marked before. */
export function mark(map: RegionMap, first: number, last: number): number {
  assert(
    first >= 0 && first <= last && last < map.units,
    "units to mark lie outside of the volume",
  );
  const before = map.count;
  for (let unit = first; unit <= last; unit += 1) {
    const index = Math.floor(unit / bitsPerPage);
    let page = map.pages.get(index);
    if (page === undefined) {
      page = { bytes: new Uint8Array(mapPageBytes), count: 0 };
      map.pages.set(index, page);
    }
    if (setBit(page, unit % bitsPerPage)) {
      map.count += 1;
      map.unwritten.add(index);
    }
  }
  return map.count - before;
}

/** Takes the marks of units `first` to `last` away. A page without marks stays until it was written. */
export function unmark(map: RegionMap, first: number, last: number): void {
  for (let unit = first; unit <= last; unit += 1) {
    const index = Math.floor(unit / bitsPerPage);
    const page = map.pages.get(index);
    if (page !== undefined && clearBit(page, unit % bitsPerPage)) {
      map.count -= 1;
      map.unwritten.add(index);
    }
  }
}

/** Whether any of the units `first` to `last`, both included, is marked. */
export function anyMarked(map: RegionMap, first: number, last: number): boolean {
  const found = nextMarked(map, first);
  return found !== -1 && found <= last;
}

/** Whether all of them are. */
export function allMarked(map: RegionMap, first: number, last: number): boolean {
  for (let unit = first; unit <= last; unit += 1) if (!isMarked(map, unit)) return false;
  return true;
}

/** The first marked unit at or after `from`, or -1. */
export function nextMarked(map: RegionMap, from: number): number {
  if (map.count === 0) return -1;
  let unit = from;
  while (unit < map.units) {
    const index = Math.floor(unit / bitsPerPage);
    const page = map.pages.get(index);
    const end = Math.min((index + 1) * bitsPerPage, map.units);
    if (page !== undefined && page.count > 0) {
      const found = nextInPage(page, unit % bitsPerPage, index * bitsPerPage, end);
      if (found !== -1) return found;
    } else if (page === undefined && map.pages.size < 64) {
      // A sparse map: jump to the next page there is instead of walking over all that are not.
      unit = nextPageStart(map, index);
      if (unit === -1) return -1;
      continue;
    }
    unit = end;
  }
  return -1;
}

/** How many units from `first` on, at most `unitsMax`, are marked in one run. */
export function runLength(map: RegionMap, first: number, unitsMax: number): number {
  let length = 0;
  while (length < unitsMax && first + length < map.units && isMarked(map, first + length)) {
    length += 1;
  }
  return length;
}

/**
 * Marks in `target` everything that is marked in `source`, whatever the two units are. Over-marks, never under-marks.
 */
export function orInto(target: RegionMap, source: RegionMap): void {
  for (let unit = nextMarked(source, 0); unit !== -1; unit = nextMarked(source, unit + 1)) {
    markBytes(target, unit * source.unitBytes, source.unitBytes);
  }
}

/** Marks every unit that a range of bytes touches; the part beyond the last unit is left out. */
export function markBytes(map: RegionMap, offset: number, lengthBytes: number): number {
  const last = Math.min(unitOf(map, offset + lengthBytes - 1), map.units - 1);
  return mark(map, unitOf(map, offset), last);
}

export function markedBytes(map: RegionMap): number {
  return map.count * map.unitBytes;
}

/** A copy of the bits, to be consumed; nothing of it is for a file. */
export function copyOf(map: RegionMap): RegionMap {
  const pages = new Map<number, MapPage>();
  for (const [index, page] of map.pages) {
    pages.set(index, { bytes: page.bytes.slice(), count: page.count });
  }
  return { ...map, pages, unwritten: new Set() };
}

function setBit(page: MapPage, bit: number): boolean {
  const at = mapPageHeaderBytes + (bit >>> 3);
  const old = page.bytes[at] ?? 0;
  const mask = 1 << (bit & 7);
  if ((old & mask) !== 0) return false;
  page.bytes[at] = old | mask;
  page.count += 1;
  return true;
}

function clearBit(page: MapPage, bit: number): boolean {
  const at = mapPageHeaderBytes + (bit >>> 3);
  const old = page.bytes[at] ?? 0;
  const mask = 1 << (bit & 7);
  if ((old & mask) === 0) return false;
  page.bytes[at] = old & ~mask;
  page.count -= 1;
  return true;
}

function nextInPage(page: MapPage, fromBit: number, pageStart: number, end: number): number {
  for (let bit = fromBit; pageStart + bit < end; bit += 1) {
    const byte = page.bytes[mapPageHeaderBytes + (bit >>> 3)] ?? 0;
    if (byte === 0) {
      bit |= 7; // Nothing in this byte: go on behind it.
    } else if ((byte & (1 << (bit & 7))) !== 0) {
      return pageStart + bit;
    }
  }
  return -1;
}

function nextPageStart(map: RegionMap, after: number): number {
  let next = -1;
  for (const index of map.pages.keys()) {
    if (index > after && (next === -1 || index < next)) next = index;
  }
  return next === -1 ? -1 : next * bitsPerPage;
}
