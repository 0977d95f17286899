import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { nextMarked } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { GroupContext } from "./group-context.ts";
import { readRegion } from "./read-region.ts";

// A copy whose sync has failed becomes the primary. Nobody is there who could bring what its disk may lack: what the image
// reads is what will be served, so that is what must be on the disk before the first write.

type Done = (failure: string | undefined) => void;

/**
 * Opens the images of volumes again whose sync has failed, and writes what they read where they are open once more, since
 * the kernel holds it for written (trap 8). `done` is called when that is synced, or with why it cannot be.
 */
export function renewImages(context: GroupContext, done: Done): void {
  const { failedVolumes, volumes } = context.store.record;
  const failed = volumes.flatMap(({ name }, i) => (failedVolumes.includes(name) ? [i] : []));
  const next: Done = (failure) => {
    const index = failed.shift();
    if (failure !== undefined || index === undefined) done(failure);
    else renew(context, index, next);
  };
  next(undefined);
}

function renew(context: GroupContext, index: number, done: Done): void {
  const { images, ports, store } = context;
  const { group, volumes } = store.record;
  const { name, bytes } = must(volumes[index], "a volume of the record");
  images[index]?.close();
  const image = ports.openImage(group, name, { bytes, isOnRecord: true });
  if ("code" in image) return done(`${name} cannot be opened: ${image.message}`);
  images[index] = image;
  const { map } = must(store.openMaps[index], "each volume has an open map");
  rewrite(image, map, 0, (failure) => {
    if (failure !== undefined) return done(`${name} cannot be written again: ${failure.message}`);
    image.sync((notSynced) => {
      done(notSynced && `fdatasync of ${name} failed: ${notSynced.message}`);
    });
  });
}

function rewrite(
  image: BlockDevice,
  map: RegionMap,
  from: number,
  done: (failure: IoFailure | undefined) => void,
): void {
  const unit = nextMarked(map, from);
  if (unit === -1) return done(undefined);
  const offset = unit * map.unitBytes;
  const length = Math.min(map.unitBytes, image.bytes - offset);
  readRegion(image, { offset, length }, undefined, (_, unread, bytes) => {
    if (unread !== undefined) return done(unread);
    image.write(offset, [bytes], undefined, (_none, failure) => {
      if (failure === undefined) rewrite(image, map, unit + 1, done);
      else done(failure);
    });
  });
}
