import { at } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { must } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { ByteRange } from "./ranges.ts";
import { allMarked, createRegionMap, isMarked, mark, markedBytes, unitOf } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";

// The preserved point at a copy (decision 11): before a unit of the image is overwritten for the first time since the point,
// what it held is durable in the preserve log. SPEC-preserve.md tells it whole.

/** What a copy knows of its point while it keeps one. */
export type Preserve = {
  /** By volume: the units whose old content is in the preserve log, or has been handed to it. */
  readonly volumes: readonly { bytes: number; readonly saved: RegionMap }[];
  /** Old content that is saved in one step, at most. */
  readonly stepBytes: number;
};

/** Whole units, the last of a volume perhaps shorter, whose old content is to be saved. */
export type SaveRange = {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
};

/** What waits in a copy's queue, as far as it matters here. */
export type ImageWork = ByteRange & { readonly kind: string };

/** A point of which nothing has been overwritten yet, or of which a restart has found `saved`. */
export function createPreserve(
  volumes: readonly { readonly bytes: number }[],
  stepBytes: number,
  saved: readonly RegionMap[] = savedMaps(volumes),
): Preserve {
  return {
    volumes: volumes.map(({ bytes }, index) => ({
      bytes,
      saved: must(saved[index], "each volume has a map of what is saved"),
    })),
    stepBytes,
  };
}

/** Maps of what is saved, with nothing in them. */
export function savedMaps(volumes: readonly { readonly bytes: number }[]): RegionMap[] {
  return volumes.map(({ bytes }) => createRegionMap(bytes, limits.preserveUnitBytes));
}

/** Bytes of the image that were overwritten since the point, in whole units: what going back to it undoes. */
export function savedBytes(preserve: Preserve): number {
  return preserve.volumes.reduce((sum, { saved }) => sum + markedBytes(saved), 0);
}

/** Whether this work may be written: nothing of what it overwrites is lost to the point. */
export function isSaved(preserve: Preserve, work: ByteRange): boolean {
  const { saved } = volumeOf(preserve, work.volume);
  return allMarked(saved, unitOf(saved, work.offset), unitOf(saved, work.offset + work.length - 1));
}

/**
 * What must be saved before the queue can go on, from its head on and at most one step. It counts as saved from now on, so the
 * queue must stand still until that is true.
 */
export function gatherUnsaved(preserve: Preserve, queue: Fifo<ImageWork>): SaveRange[] {
  const ranges: SaveRange[] = [];
  let room = preserve.stepBytes;
  for (let i = 0; i < queue.count && room > 0; i += 1) {
    const work = at(queue, i);
    if (work === undefined || !overwrites(work)) continue;
    room -= gatherFrom(preserve, work, room, ranges);
  }
  return ranges;
}

// Runs of units that are not saved yet; answers how many bytes they have.
function gatherFrom(
  preserve: Preserve,
  work: ByteRange,
  room: number,
  ranges: SaveRange[],
): number {
  const { saved, bytes } = volumeOf(preserve, work.volume);
  const { unitBytes } = saved;
  const last = unitOf(saved, work.offset + work.length - 1);
  let gathered = 0;
  let offset = -1;
  for (let unit = unitOf(saved, work.offset); unit <= last + 1; unit += 1) {
    const isWanted = unit <= last && gathered < room && !isMarked(saved, unit);
    if (isWanted) {
      mark(saved, unit, unit);
      gathered += unitBytes;
      if (offset === -1) offset = unit * unitBytes;
    } else if (offset !== -1) {
      const end = Math.min(unit * unitBytes, bytes);
      ranges.push({ volume: work.volume, offset, length: end - offset });
      offset = -1;
    }
  }
  return gathered;
}

/** Frames and entries that change the image. */
export function overwrites(work: { readonly kind: string }): boolean {
  return (
    work.kind === "write" ||
    work.kind === "zero" ||
    work.kind === "region" ||
    work.kind === "regionZero"
  );
}

function volumeOf(preserve: Preserve, volume: number) {
  return must(preserve.volumes[volume], "a frame for an unknown volume passed the door");
}
