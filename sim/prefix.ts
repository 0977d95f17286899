import type { Claim, Finding, WriteRecord } from "./oracle.ts";

// The prefix test and the set test (SPEC 4.1): an image is a state of the primary's at one LSN, and that is the end of a set.

/** Of the last reign: the highest write that an image holds for certain, and the lowest that it lacks. */
export type Prefix = {
  highestHeld: WriteRecord | undefined;
  lowestMissing: WriteRecord | undefined;
  where: string;
};

/** A write's place in the order, or 0. */
export function lsnOf(write: WriteRecord | undefined): number {
  return write?.request?.lsn ?? 0;
}

export function judgePrefix(
  { highestHeld, lowestMissing, where }: Prefix,
  claim: Claim,
  site: string,
  describe: (write: WriteRecord) => string,
): Finding[] {
  const ends = claim.sets?.ends;
  if (highestHeld === undefined) return [];
  const lowest = lsnOf(highestHeld);
  const below = lowestMissing === undefined ? Infinity : lsnOf(lowestMissing);
  const holds = `${site} holds ${describe(highestHeld)}`;
  const lacks =
    lowestMissing === undefined ? "lacks nothing" : `lacks ${describe(lowestMissing)} (${where})`;
  if (below < lowest)
    return [{ id: "I8", message: `${holds} and ${lacks}: no prefix of the order` }];
  if (ends === undefined || [...ends].some((end) => lowest <= end && end < below)) return [];
  const known = [...ends].join(", ");
  return [{ id: "I10", message: `${holds} and ${lacks}: no end of a set, which are at ${known}` }];
}
