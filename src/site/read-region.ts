import { sharedZeros } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";

/**
 * Reads a range of an image for a resync. A hole is not read, which would fill the page cache with zeros (3 ms a MiB,
 * Linux 6.18): `bytes` are then zeros that everybody shares, so nobody may write into them.
 */
export function readRegion<T>(
  image: BlockDevice,
  range: { readonly offset: number; readonly length: number },
  context: T,
  done: (context: T, failure: IoFailure | undefined, bytes: Uint8Array) => void,
): void {
  const { offset, length } = range;
  image.extents(offset, length, (extents) => {
    if (extents.length > 0 && extents.every(({ hole }) => hole))
      return done(context, undefined, sharedZeros(length));
    image.read(offset, length, context, done);
  });
}
