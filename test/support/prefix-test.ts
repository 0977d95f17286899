// The linear prefix test (SPEC 4.1), for images that real processes leave: is what an image holds a state of the order of
// writes at one place of it? Every write has a number, rising in that order, and one place; what a place holds names its
// write.

/** A write, as the order has it: numbers rise, and begin above 0. */
export type PlacedWrite = { readonly number: number; readonly place: string };

export type PrefixVerdict =
  /** The image is a state of the order at any number from `from` on and below `below`; Infinity when it lacks nothing. */
  | { readonly isPrefix: true; readonly from: number; readonly below: number }
  | { readonly isPrefix: false; readonly why: string };

/**
 * Judges an image over all volumes of a group. `held` has the number that each place holds; a place without one, or with 0, was
 * never written. One pass over the writes: with s(b) the number that place b holds and n(b) that of the next write to it, an
 * image is a prefix iff the highest s(b) is below the lowest n(b).
 */
export function judgePrefix(
  writes: Iterable<PlacedWrite>,
  held: ReadonlyMap<string, number>,
): PrefixVerdict {
  const phantoms = new Map([...held].filter(([, number]) => number !== 0));
  const next = { number: Number.POSITIVE_INFINITY, place: "" };
  const highest = { number: 0, place: "" };
  let last = 0;
  for (const { number, place } of writes) {
    if (number <= last) throw new Error(`write ${number} follows write ${last} in the order`);
    last = number;
    const found = held.get(place) ?? 0;
    if (found === number) {
      phantoms.delete(place);
      Object.assign(highest, { number, place });
    } else if (found < number && number < next.number) {
      Object.assign(next, { number, place });
    }
  }
  for (const [place, number] of phantoms)
    return refuse(`${place} holds ${number}, which nobody wrote there`);
  if (highest.number < next.number)
    return { isPrefix: true, from: highest.number, below: next.number };
  return refuse(
    `${highest.place} holds write ${highest.number}, and ${next.place} lacks write ${next.number}`,
  );
}

/** The set test: whether the image may stand at one of these ends of sets. The state before any write is one, too. */
export function isAtEnd(verdict: PrefixVerdict, ends: Iterable<number>): boolean {
  if (!verdict.isPrefix) return false;
  const { from, below } = verdict;
  return [0, ...ends].some((end) => from <= end && end < below);
}

function refuse(why: string): PrefixVerdict {
  return { isPrefix: false, why };
}
