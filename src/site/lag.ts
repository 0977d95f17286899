import { limits } from "#base/limits.ts";
import type { GroupView } from "#wire/peer/probe.ts";
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

/**
 * What a bunker that has everything up to `heldLsn` lacks of what its primary has told of, at most. A primary that does not
 * count this site among its members tells no lack, and its LSNs may have begun far above those of the log.
 */
export function ownLagWrites(
  told: Pick<GroupView, "lsn" | "lackedWrites"> | undefined,
  heldLsn: number,
): LagWrites {
  const behind = Math.max(0, (told?.lsn ?? 0) - heldLsn);
  if (told?.lackedWrites !== undefined) return { lagWrites: Math.min(behind, told.lackedWrites) };
  return behind === 0 ? { lagWrites: 0 } : { lagWrites: behind, isLagCounted: false };
}
