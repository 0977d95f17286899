import type { Staging } from "./staging-state.ts";

/** Whether something of what has come is on its way to be complete, or applied, and will be. */
export function isAtWork(staging: Staging<unknown>): boolean {
  const { whole, flagged, syncing, ready, applying, imageFailure, stagingFailure } = staging;
  if (imageFailure !== undefined || stagingFailure !== undefined) return false;
  const isStaging = whole.length + flagged.length > 0 || syncing !== undefined;
  return isStaging || ready.count + applying.count > 0;
}
