import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";

/** Syncs images side by side; calls back once, with the first failure if there was one. */
export function syncImages(
  images: readonly BlockDevice[],
  done: (failure: IoFailure | undefined) => void,
): void {
  let missing = images.length;
  let failed: IoFailure | undefined;
  for (const image of images) {
    image.sync((failure) => {
      failed ??= failure;
      missing -= 1;
      if (missing === 0) done(failed);
    });
  }
}
