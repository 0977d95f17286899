import { must } from "#base/assert.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { createRegionMap, markBytes, unitOf, unmark } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";

// The dirty maps of a member: which regions it lacks. They are there only while it lacks any.

/** The dirty map of one volume, by its index. */
export function mapOf(
  primary: Primary,
  member: Member,
  volume: number,
  out: PrimaryEffect[],
): RegionMap {
  return must(dirtyOf(primary, member, out)[volume], `there is no volume ${volume}`);
}

/** The member's dirty maps, made when it has none: from then on it counts as lacking something. */
export function dirtyOf(
  primary: Primary,
  member: Member,
  out: PrimaryEffect[],
): readonly RegionMap[] {
  if (member.dirty === undefined) {
    member.dirty = primary.volumes.map((volume) =>
      createRegionMap(volume.bytes, primary.record.regionBytes),
    );
    out.push({ kind: "createDirtyMaps", member: member.index });
  }
  return member.dirty;
}

/** A disk that has nothing: every region is dirty (U54). */
export function markAll(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const maps = dirtyOf(primary, member, out);
  for (const volume of primary.volumes) {
    const map = maps[volume.index];
    if (map !== undefined) markBytes(map, 0, volume.bytes);
  }
}

/** The member has synced this range: it is dirty no more. */
export function unmarkRange(map: RegionMap, offset: number, length: number): void {
  unmark(map, unitOf(map, offset), unitOf(map, offset + length - 1));
}
