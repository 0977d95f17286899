import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { SaveRange } from "#core/preserve.ts";
import { markBytes } from "#core/region-map.ts";
import type { Log } from "#store/log.ts";
import { readSaved } from "#store/preserve-log.ts";
import type { SavedRange } from "#store/preserve-log.ts";
import { imageOf } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { readRegion } from "./read-region.ts";

// What an image held, between the image and the log that keeps it: for a preserved point and for a branch alike.

type Done = (failure: string | undefined) => void;

/** Reads what these ranges of the images hold now. */
export function readRanges(
  context: GroupContext,
  ranges: readonly SaveRange[],
  done: (read: readonly SavedRange[] | IoFailure) => void,
): void {
  const read: SavedRange[] = [];
  let missing = ranges.length;
  let failed: IoFailure | undefined;
  ranges.forEach((range, i) => {
    readRegion(imageOf(context, range.volume), range, undefined, (_, failure, bytes) => {
      failed ??= failure;
      read[i] = { ...range, bytes };
      missing -= 1;
      if (missing === 0) done(failed ?? read);
    });
  });
}

/**
 * Trap 13: primaries may have forgotten that they differ from us where this log will be written back. Marks that in the open
 * maps, which must be durable before the first unit is written.
 */
export function markUndone(context: GroupContext, log: Log, done: Done): void {
  readSaved(
    log,
    (ranges, next) => {
      if (ranges.length === 0) return done(undefined);
      for (const { volume, offset, length } of ranges) {
        const { map } = must(context.store.openMaps[volume], "each volume has an open map");
        markBytes(map, offset, length);
      }
      next();
    },
    (failure) => done(failure.message),
  );
}

/** Writes back what the log has. Again from the start after a crash: what is written back twice is the same. */
export function writeBackAll(
  context: Pick<GroupContext, "images">,
  log: Log,
  { done, logLost }: { readonly done: Done; readonly logLost: (why: string) => void },
): void {
  readSaved(
    log,
    (ranges, next) => {
      if (ranges.length === 0) return done(undefined);
      writeBack(context, ranges, (failure) => {
        if (failure === undefined) next();
        else done(failure.message);
      });
    },
    (failure) => logLost(`its log cannot be read: ${failure.message}`),
  );
}

function writeBack(
  context: Pick<GroupContext, "images">,
  saved: readonly SavedRange[],
  done: (failure: IoFailure | undefined) => void,
): void {
  const ranges = saved.flatMap((range) => [
    range,
    ...grownSince(range, imageOf(context, range.volume).bytes),
  ]);
  let missing = ranges.length;
  let failed: IoFailure | undefined;
  const written = (_: undefined, failure: IoFailure | undefined): void => {
    failed ??= failure;
    missing -= 1;
    if (missing === 0) done(failed);
  };
  for (const range of ranges) {
    const { offset, length, bytes } = range;
    const image = imageOf(context, range.volume);
    if (bytes === undefined) image.zero(offset, length, true, undefined, written);
    else image.write(offset, [bytes], undefined, written);
  }
}

// A unit that was shorter was the last one then. The volume has grown: the rest of the unit was zeros as it became part of it.
function grownSince({ volume, offset, length }: SavedRange, imageBytes: number): SavedRange[] {
  const { preserveUnitBytes } = limits;
  const end = offset + length;
  const unitEnd = Math.min(Math.ceil(end / preserveUnitBytes) * preserveUnitBytes, imageBytes);
  if (unitEnd <= end) return [];
  return [{ volume, offset: end, length: unitEnd - end, bytes: undefined }];
}
