// A map of marked units (open map, dirty map) on disk, version 1.
//
// Sector 0, the file's own header, written once and synced before any page:
//
//    0  u32 magic "APMF"   4  u16 version   6  u16 kind (1 open, 2 dirty)   8  u32 mapId   12  u32 unitBytes
//   16  u64 units         24  zeros up to byte 508                        508  u32 CRC32C of bytes 0..507
//
// `units` is what the volume had when the map was made: one that has grown since has more, without a mark until it gets one.
//
// Sector 1 + p, page p, 3,968 units each:
//
//    0  u32 CRC32C of bytes 4..511    4  u32 mapId    8  u32 p    12  u32 zero    16  496 bytes of bits, lowest first
//
// Why it is safe: a page is one sector, and a disk writes a sector whole or not at all. A sector of zeros, or one
// beyond the end, has no marks: marks count from the moment their page was synced, and nothing is promised before. A
// page of another `mapId`, in the wrong place, or with a wrong checksum is damaged: all its units count as marked, and
// the damage is reported. Over-marking costs a comparison; under-marking would cost data (trap 1).
//
// Taking marks away is written without a sync: an old page that comes back over-marks.
//
// Version history:
//   1  the first.

import { limits } from "#base/limits.ts";
import { crc32c } from "#base/checksum.ts";
import { getU64, putU64, viewOf } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import {
  bitsPerPage,
  createRegionMap,
  mapPageBytes,
  mapPageHeaderBytes,
} from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { File } from "#ports/file.ts";

export const mapFileVersion = 1;
const MAGIC = 0x464d5041; // "APMF"

export const mapKind = { open: 1, dirty: 2 } as const;
export type MapKind = (typeof mapKind)[keyof typeof mapKind];

export type MapIdentity = {
  readonly kind: MapKind;
  /** Drawn at random for each file, and named by the group record: tells a stale file of the same name. */
  readonly mapId: number;
  readonly unitBytes: number;
  readonly volumeBytes: number;
};

/** Writes the header of a new map file. The caller syncs file and folder before the map counts. */
export function writeMapHeader(file: File, identity: MapIdentity): IoFailure | undefined {
  const sector = new Uint8Array(mapPageBytes);
  const view = viewOf(sector);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, mapFileVersion, true);
  view.setUint16(6, identity.kind, true);
  view.setUint32(8, identity.mapId, true);
  view.setUint32(12, identity.unitBytes, true);
  putU64(view, 16, Math.ceil(identity.volumeBytes / identity.unitBytes));
  view.setUint32(508, crc32c(sector.subarray(0, 508)), true);
  return file.write(0, [sector]);
}

/** What the file takes at most, in whole blocks of a file system. Bytes. */
export function mapFileBytes(volumeBytes: number, unitBytes: number): number {
  const pages = 1 + Math.ceil(Math.ceil(volumeBytes / unitBytes) / bitsPerPage);
  return Math.ceil((pages * mapPageBytes) / limits.fileBlockBytes) * limits.fileBlockBytes;
}

/** Takes room for all pages: marks must find some on a full disk. Where the disk cannot do that, pages look for theirs. */
export function allocateMap(
  file: File,
  { volumeBytes, unitBytes }: Pick<MapIdentity, "volumeBytes" | "unitBytes">,
): IoFailure | undefined {
  const failure = file.allocate(0, mapFileBytes(volumeBytes, unitBytes));
  return failure === "unsupported" ? undefined : failure;
}

/**
 * Hands the pages that changed to the file, neighbours in one write. They are durable after a later `sync` of the file.
 */
export function writeMapPages(file: File, map: RegionMap, mapId: number): IoFailure | undefined {
  if (map.unwritten.size === 0) return undefined;
  const order = [...map.unwritten].sort((a, b) => a - b);
  let run: Uint8Array[] = [];
  let runStart = -1;
  for (const index of order) {
    if (runStart !== -1 && index !== runStart + run.length) {
      const failure = file.write((1 + runStart) * mapPageBytes, run);
      if (failure !== undefined) return failure;
      run = [];
    }
    if (run.length === 0) runStart = index;
    run.push(sealedPage(map, index, mapId));
  }
  const failure = file.write((1 + runStart) * mapPageBytes, run);
  if (failure !== undefined) return failure;
  map.unwritten.clear();
  return undefined;
}

const emptyPage = new Uint8Array(mapPageBytes);

function sealedPage(map: RegionMap, index: number, mapId: number): Uint8Array {
  const page = map.pages.get(index);
  if (page === undefined || page.count === 0) {
    map.pages.delete(index);
    return emptyPage;
  }
  const view = viewOf(page.bytes);
  view.setUint32(4, mapId, true);
  view.setUint32(8, index, true);
  view.setUint32(12, 0, true);
  view.setUint32(0, crc32c(page.bytes.subarray(4)), true);
  return page.bytes;
}

export type MapLoaded = {
  readonly map: RegionMap;
  /** The header is damaged or of another map: nothing of the file counts. */
  readonly isForeign: boolean;
  /** Places found damaged, in words; their units are marked. */
  readonly damage: readonly string[];
};

/** Reads a map file. A damaged or foreign file gives a map that errs on the side of marks, and says so. */
export function readMapFile(file: File, identity: MapIdentity): MapLoaded | IoFailure {
  const map = createRegionMap(identity.volumeBytes, identity.unitBytes);
  const header = new Uint8Array(mapPageBytes);
  const failure = file.read(0, header);
  if (failure !== undefined) return failure;
  const rule = brokenHeaderRule(header, identity, map.units);
  if (rule !== undefined) {
    markEverything(map);
    const damage = [`${file.path}: ${rule}; every region counts as marked`];
    return { map, isForeign: true, damage };
  }
  return readPages(file, map, identity.mapId);
}

/** What a stranger's tool (`inspect`) can say of a map file without knowing the volume. */
export function readMapIdentity(file: File): MapIdentity | IoFailure | undefined {
  const header = new Uint8Array(mapPageBytes);
  const failure = file.read(0, header);
  if (failure !== undefined) return failure;
  const view = viewOf(header);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  if (view.getUint32(508, true) !== crc32c(header.subarray(0, 508))) return undefined;
  const unitBytes = view.getUint32(12, true);
  const units = getU64(view, 16) ?? 0;
  const kind = view.getUint16(6, true) === mapKind.dirty ? mapKind.dirty : mapKind.open;
  return { kind, mapId: view.getUint32(8, true), unitBytes, volumeBytes: units * unitBytes };
}

function brokenHeaderRule(header: Uint8Array, identity: MapIdentity, units: number) {
  const view = viewOf(header);
  if (view.getUint32(0, true) !== MAGIC) return "this is no map file";
  if (view.getUint32(508, true) !== crc32c(header.subarray(0, 508))) {
    return "the checksum of its header does not match";
  }
  if (view.getUint16(4, true) !== mapFileVersion) return "its version is unknown to this build";
  if (view.getUint16(6, true) !== identity.kind) return "it is a map of another kind";
  if (view.getUint32(8, true) !== identity.mapId)
    return "it is not the map that the group's record names";
  const unitsAtFirst = getU64(view, 16) ?? Number.POSITIVE_INFINITY;
  if (view.getUint32(12, true) !== identity.unitBytes || unitsAtFirst > units) {
    return "it belongs to a volume of another size or region";
  }
  return undefined;
}

function readPages(file: File, map: RegionMap, mapId: number): MapLoaded | IoFailure {
  const damage: string[] = [];
  const pagesInMap = Math.ceil(map.units / bitsPerPage);
  const pagesInFile = Math.min(pagesInMap, Math.ceil(file.bytes() / mapPageBytes) - 1);
  const chunkPages = limits.mapReadChunkPages;
  for (let first = 0; first < pagesInFile; first += chunkPages) {
    const count = Math.min(chunkPages, pagesInFile - first);
    const bytes = new Uint8Array(count * mapPageBytes);
    const failure = file.read((1 + first) * mapPageBytes, bytes);
    if (failure !== undefined) return failure;
    for (let i = 0; i < count; i += 1) {
      const page = bytes.slice(i * mapPageBytes, (i + 1) * mapPageBytes);
      if (!takePage(map, first + i, page, mapId)) {
        damage.push(`${file.path}: page ${first + i} is damaged; its regions count as marked`);
      }
    }
  }
  return { map, isForeign: false, damage };
}

// False when the page is damaged; its units are marked then.
function takePage(
  map: RegionMap,
  index: number,
  bytes: Uint8Array<ArrayBuffer>,
  mapId: number,
): boolean {
  if (bytes.every((byte) => byte === 0)) return true;
  const view = viewOf(bytes);
  const valid =
    view.getUint32(0, true) === crc32c(bytes.subarray(4)) &&
    view.getUint32(4, true) === mapId &&
    view.getUint32(8, true) === index;
  if (!valid) fillPage(bytes, Math.min(bitsPerPage, map.units - index * bitsPerPage));
  let count = 0;
  for (let at = mapPageHeaderBytes; at < mapPageBytes; at += 1) count += onesIn(bytes[at] ?? 0);
  map.pages.set(index, { bytes, count });
  map.count += count;
  if (!valid) map.unwritten.add(index);
  return valid;
}

function markEverything(map: RegionMap): void {
  for (let index = 0; index * bitsPerPage < map.units; index += 1) {
    const bytes = new Uint8Array(mapPageBytes);
    const units = Math.min(bitsPerPage, map.units - index * bitsPerPage);
    fillPage(bytes, units);
    map.pages.set(index, { bytes, count: units });
    map.count += units;
    map.unwritten.add(index);
  }
}

/** Marks every unit of a map: a copy that has nothing yet (U54). */
export function createFullMap(volumeBytes: number, unitBytes: number): RegionMap {
  const map = createRegionMap(volumeBytes, unitBytes);
  markEverything(map);
  return map;
}

function fillPage(bytes: Uint8Array, units: number): void {
  bytes.fill(0);
  for (let bit = 0; bit < units; bit += 1) {
    const at = mapPageHeaderBytes + (bit >>> 3);
    bytes[at] = (bytes[at] ?? 0) | (1 << (bit & 7));
  }
}

function onesIn(byte: number): number {
  let ones = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) ones += 1;
  return ones;
}
