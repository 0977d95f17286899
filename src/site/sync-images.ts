import type { IoFailure } from "#base/errors.ts";
import type { BlockDevice } from "#ports/block-device.ts";

/** Syncs images side by side; calls back once, with the first failure if there was one. */
export function syncImages(
  images: readonly BlockDevice[],
  done: (failure: IoFailure | undefined) => void,
): void {
  // All of a primary's may be devices, which are synced otherwise.
  if (images.length === 0) return done(undefined);
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

/** Why an image of a copy is used no more, and what helps; "" while all of them are. */
export function deadImageWhy(images: readonly BlockDevice[]): string {
  for (const image of images) {
    const failure = image.failure();
    if (failure !== undefined)
      return `the image here cannot be written: ${failure.message}; this site must be started again`;
  }
  return "";
}
