import { limits } from "#base/limits.ts";
import type { Claim, Finding, WriteRecord } from "./oracle.ts";

// The prefix test and the set test (SPEC 4.1): an image is a state of the primary's at one LSN, and that is the end of a set.

/** Of the last reign: the highest write that an image holds for certain, and the lowest that it lacks, acked or not. */
export type Prefix = {
  highestHeld: WriteRecord | undefined;
  lowestMissing: WriteRecord | undefined;
  lowestAckedMissing: WriteRecord | undefined;
  where: string;
};

export const emptyPrefix: Prefix = {
  highestHeld: undefined,
  lowestMissing: undefined,
  lowestAckedMissing: undefined,
  where: "",
};

/** A write's place in the order, or 0. */
export function lsnOf(write: WriteRecord | undefined): number {
  return write?.request?.lsn ?? 0;
}

/** An image lacks a write of the last reign; `where` says what stands in its place. */
export function noteMissing(prefix: Prefix, write: WriteRecord, where: () => string): void {
  const lsn = lsnOf(write);
  if (write.outcome === "ok" && lsn < lsnOr(Infinity, prefix.lowestAckedMissing))
    prefix.lowestAckedMissing = write;
  if (lsn >= lsnOr(Infinity, prefix.lowestMissing)) return;
  prefix.lowestMissing = write;
  prefix.where = where();
}

export function judgePrefix(
  { highestHeld, lowestMissing, lowestAckedMissing, where }: Prefix,
  claim: Claim,
  site: string,
  describe: (write: WriteRecord) => string,
): Finding[] {
  const ends = claim.sets?.ends;
  if (highestHeld === undefined) return [];
  const lowest = lsnOf(highestHeld);
  const below = lsnOr(Infinity, lowestMissing);
  // A later life of the primary begins with what its journal had. It ends above all that no host was answered, and need not
  // have it.
  const belowLater = lsnOr(Infinity, lowestAckedMissing);
  const holds = `${site} holds ${describe(highestHeld)}`;
  const lacks =
    lowestMissing === undefined ? "lacks nothing" : `lacks ${describe(lowestMissing)} (${where})`;
  if (below < lowest)
    return [{ id: "I8", message: `${holds} and ${lacks}: no prefix of the order` }];
  const isThere = (end: number): boolean =>
    lowest <= end && end < (lifeOf(end) > lifeOf(lowest) ? belowLater : below);
  if (ends === undefined || [...ends].some(isThere)) return [];
  const known = [...ends].join(", ");
  return [{ id: "I10", message: `${holds} and ${lacks}: no end of a set, which are at ${known}` }];
}

function lsnOr(none: number, write: WriteRecord | undefined): number {
  return write === undefined ? none : lsnOf(write);
}

/** Each life of a primary begins at a reserve of its own, which no simulated one fills. */
function lifeOf(lsn: number): number {
  return Math.floor(lsn / limits.lsnReserve);
}
