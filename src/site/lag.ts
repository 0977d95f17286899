import { limits } from "#base/limits.ts";
import type { Primary } from "#core/primary-state.ts";
import type { CopyStatus } from "./api.ts";

export type LagWrites = Pick<CopyStatus, "lagWrites" | "isLagCounted">;

/**
 * How many writes a member lacks that has everything up to `heldLsn`. Those of this start are counted by their LSNs. A start
 * begins above everything that was reserved, so between its LSNs and those of before lie numbers that no write ever had: of
 * writes of before, `bytes` alone is known, which bounds all that is lacking, and so how many blocks of hosts that can be.
 */
export function lagWritesOf(
  { nextLsn, firstLsn }: Primary,
  heldLsn: number,
  bytes: () => number,
): LagWrites {
  const lsn = nextLsn - 1;
  if (heldLsn >= firstLsn - 1) return { lagWrites: Math.max(0, lsn - heldLsn) };
  const ofThisStart = lsn - (firstLsn - 1);
  const ofBefore = Math.ceil(bytes() / limits.hostBlockBytesMin);
  return { lagWrites: Math.min(lsn - heldLsn, ofThisStart + ofBefore), isLagCounted: false };
}
