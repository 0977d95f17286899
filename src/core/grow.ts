import { must } from "#base/assert.ts";
import type { Copy } from "./copy-state.ts";
import type { Primary } from "./primary-state.ts";
import type { Grown } from "./ranges.ts";
import { growMap } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";

// A volume becomes larger while its group runs (SPEC-mirror.md, Growing a volume). The image and the record say so already, and
// the new bytes are zeros at every member: nothing of them is dirty towards anybody, and nothing is open there.

/** From now on hosts may write to the new part here: every copy takes it already, or grows before it is fed again. */
export function growPrimary(primary: Primary, grown: Grown): void {
  const volume = must(primary.volumes[grown.volume], "an unknown volume has grown");
  const moreBytes = grown.bytes - volume.bytes;
  if (moreBytes <= 0) return;
  volume.bytes = grown.bytes;
  growMaps(grown, volume.openMap, volume.unresolved);
  for (const { dirty, resync, verify } of primary.members) {
    growMaps(
      grown,
      dirty?.[volume.index],
      resync.pending?.[volume.index],
      verify?.differing[volume.index],
    );
    // A walk comes by there in its turn, unless it is past this volume: then it was not asked for what is new.
    if (verify?.isRunning === true && verify.cursorVolume <= volume.index)
      verify.totalBytes += moreBytes;
  }
}

/** From now on frames and entries of the new part are taken here. */
export function growCopy(copy: Copy, grown: Grown): void {
  const volume = must(copy.volumes[grown.volume], "an unknown volume has grown");
  if (grown.bytes <= volume.bytes) return;
  volume.bytes = grown.bytes;
  growMaps(grown, volume.openMap);
  for (const kept of [copy.preserve, copy.branch]) {
    const saved = kept?.volumes[grown.volume];
    if (saved === undefined) continue;
    saved.bytes = Math.max(saved.bytes, grown.bytes);
    growMaps(grown, saved.saved);
  }
}

function growMaps({ bytes }: Grown, ...maps: readonly (RegionMap | undefined)[]): void {
  for (const map of maps) if (map !== undefined) growMap(map, bytes);
}
