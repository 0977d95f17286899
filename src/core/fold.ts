import { must } from "#base/assert.ts";
import type { Entry } from "./entry.ts";

// Folding: of the writes and zeroed ranges of a cycle, what is newest of every byte (A5, U6). What is left overlaps nowhere, so
// that it may be applied in any order; and what a host has rewritten within the cycle travels once.

/** A part of an entry's range that no newer entry covers. */
export type Piece = { readonly offset: number; readonly length: number };

/** What is left of each entry: undefined: all of it, as it is. By ascending offset; none: nothing. */
export type Folded = readonly (readonly Piece[] | undefined)[];

/** Folds writes and zeroed ranges, no two of which have the same LSN. */
export function fold(entries: readonly Entry[]): Folded {
  const folded: (readonly Piece[] | undefined)[] = Array.from({ length: entries.length });
  const places = entries.map((_, place) => place).toSorted((a, b) => compare(entries, a, b));
  let chain: number[] = [];
  let end = 0;
  let volume = -1;
  for (const place of places) {
    const entry = at(entries, place);
    if (entry.volume !== volume || entry.offset >= end) {
      foldChain(entries, chain, folded);
      chain = [];
      end = 0;
      volume = entry.volume;
    }
    chain.push(place);
    end = Math.max(end, entry.offset + entry.length);
  }
  foldChain(entries, chain, folded);
  return folded;
}

function compare(entries: readonly Entry[], a: number, b: number): number {
  const one = at(entries, a);
  const other = at(entries, b);
  return one.volume - other.volume || one.offset - other.offset;
}

// Ranges each of which touches another one of the chain, the newest first: what is covered already is older than nobody.
function foldChain(
  entries: readonly Entry[],
  chain: number[],
  folded: (readonly Piece[] | undefined)[],
): void {
  if (chain.length < 2) return;
  chain.sort((a, b) => at(entries, b).lsn - at(entries, a).lsn);
  const covered: Piece[] = [];
  for (const place of chain) {
    const { offset, length } = at(entries, place);
    const pieces = cover(covered, offset, offset + length);
    if (pieces.length !== 1 || pieces[0]?.length !== length) folded[place] = pieces;
  }
}

/** Adds a range to those that are covered, which lie apart and in order. What was not covered of it. */
function cover(covered: Piece[], from: number, to: number): Piece[] {
  const pieces: Piece[] = [];
  const first = firstEndingAt(covered, from);
  let next = first;
  let free = from;
  let begin = from;
  let end = to;
  for (; next < covered.length; next += 1) {
    const known = must(covered[next], "a range within the list");
    if (known.offset > to) break;
    if (known.offset > free) pieces.push({ offset: free, length: known.offset - free });
    free = Math.max(free, known.offset + known.length);
    begin = Math.min(begin, known.offset);
    end = Math.max(end, known.offset + known.length);
  }
  if (free < to) pieces.push({ offset: free, length: to - free });
  covered.splice(first, next - first, { offset: begin, length: end - begin });
  return pieces;
}

/** The first range that does not end before this place. */
function firstEndingAt(covered: readonly Piece[], from: number): number {
  let low = 0;
  let high = covered.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const known = must(covered[middle], "a range within the list");
    if (known.offset + known.length < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

function at(entries: readonly Entry[], place: number): Entry {
  return must(entries[place], "a place outside the entries");
}
