import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { BlockDevice } from "#ports/block-device.ts";

type Done = (failure: IoFailure | undefined) => void;

/** What is to be zeroed, and what marks a range of it in the open map, durably. */
export type Zeroing = {
  readonly image: BlockDevice;
  readonly mark: (offset: number, length: number, done: Done) => void;
};

/**
 * Makes all that is stored from `from` on read as zeros, durably. Image writes as any others (SPEC-mirror.md, rule 1): should
 * this site be promoted before they are done, they are dirty towards all others. A hole is zeros already: of an image that has
 * grown by terabytes, and that nobody has written to, nothing is marked, written or synced piece by piece.
 */
export function zeroStored(zeroing: Zeroing, from: number, done: Done): void {
  const { image, mark } = zeroing;
  const restBytes = image.bytes - from;
  // A hole that a host made is as durable as the last sync.
  if (restBytes <= 0) return image.sync(done);
  image.extents(from, restBytes, (extents) => {
    const stored = extents.find(({ hole }) => !hole);
    if (stored === undefined) return image.sync(done);
    const { offset } = stored;
    const length = Math.min(stored.length, limits.growZeroBytesMax);
    mark(offset, length, (notMarked) => {
      if (notMarked !== undefined) return done(notMarked);
      image.zero(offset, length, true, undefined, (_, notZeroed) => {
        if (notZeroed !== undefined) return done(notZeroed);
        image.sync((notSynced) => {
          if (notSynced === undefined) zeroStored(zeroing, offset + length, done);
          else done(notSynced);
        });
      });
    });
  });
}
