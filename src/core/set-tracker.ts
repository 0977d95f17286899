import { must } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import { costOf, countOf, coversFrom, digestStep } from "./entry.ts";
import type { Entry } from "./entry.ts";

// What a copy has of one set (S6, S8, S15): which indexes came, what they say, where their payloads are held. Entries may
// come in any order, SEAL first, last or between. Whether the set is whole is decided by the bitmap and the SEAL's count.

export type SetTracker<Held> = {
  readonly set: number;
  /** The identifier bitmap: bit i - 1 when index i came. Grows with the highest index. */
  bits: Uint32Array;
  /** Bits that are set. */
  count: number;
  /** By index - 1. */
  readonly entries: (Entry | undefined)[];
  readonly held: (Held | undefined)[];
  /** Bytes of the payloads. */
  payloadBytes: number;
  seal: Entry | undefined;
  /** All indexes up to this one came; the digest and the highest LSN are theirs. */
  prefix: number;
  digest: number;
  highestLsn: number;
};

/** A rule that the other side broke, in words: its session ends, and nothing of the set is kept. */
export type Broken = { readonly why: string };

/** `new`: kept. `duplicate`: is here already, and nothing changed (I15). */
export type Taken = "new" | "duplicate" | Broken;

export function createSetTracker<Held>(set: number): SetTracker<Held> {
  return {
    set,
    bits: new Uint32Array(2),
    count: 0,
    entries: [],
    held: [],
    payloadBytes: 0,
    seal: undefined,
    prefix: 0,
    digest: 0,
    highestLsn: 0,
  };
}

/** Takes one entry of the set as it comes by a session; `held` says where its payload is, for a write. */
export function take<Held>(tracker: SetTracker<Held>, entry: Entry, held: Held | undefined): Taken {
  return entry.kind === "seal" ? takeSeal(tracker, entry) : takeWrite(tracker, entry, held);
}

function takeWrite<Held>(tracker: SetTracker<Held>, entry: Entry, held: Held | undefined): Taken {
  const { index } = entry;
  const { seal } = tracker;
  if (!isIndex(index)) return broken(tracker, `index ${index}, outside 1..${limits.setEntriesMax}`);
  if (seal !== undefined && index > countOf(seal)) {
    return broken(tracker, `index ${index}, above its count of ${countOf(seal)}`);
  }
  if (has(tracker, index)) {
    if (isSame(must(tracker.entries[index - 1], "a bit without its entry"), entry))
      return "duplicate";
    return broken(tracker, `index ${index} twice, with different content`);
  }
  put(tracker, entry, held);
  advance(tracker);
  return "new";
}

function takeSeal<Held>(tracker: SetTracker<Held>, seal: Entry): Taken {
  const count = countOf(seal);
  if (tracker.seal !== undefined) {
    if (isSame(tracker.seal, seal)) return "duplicate";
    return broken(tracker, `two SEALs, which differ: counts ${countOf(tracker.seal)} and ${count}`);
  }
  if (count !== 0 && !isIndex(count)) {
    return broken(tracker, `a count of ${count}, outside 0..${limits.setEntriesMax}`);
  }
  if (coversFrom(seal) < 1 || coversFrom(seal) > tracker.set) {
    return broken(tracker, `a SEAL that covers from ${coversFrom(seal)}`);
  }
  if (tracker.entries.length > count) {
    return broken(tracker, `index ${tracker.entries.length}, above its count of ${count}`);
  }
  tracker.seal = seal;
  return "new";
}

/** Bits 1..n are set, and n is known (S8). What the set says may still be wrong: `faultOf`. */
export function isWhole(tracker: SetTracker<unknown>): boolean {
  return tracker.seal !== undefined && tracker.count === countOf(tracker.seal);
}

/** Why a whole set is not the one that was sealed; undefined when it is. */
export function faultOf(tracker: SetTracker<unknown>): Broken | undefined {
  const seal = must(tracker.seal, "a set without its SEAL is not whole");
  if (tracker.digest !== seal.payloadCrc) {
    return broken(tracker, "another content than its SEAL says: the digests differ");
  }
  // Where several sets go as one, the last of them may have been empty.
  const isOne = coversFrom(seal) === tracker.set;
  const isOther = isOne ? tracker.highestLsn !== seal.lsn : tracker.highestLsn > seal.lsn;
  if (tracker.count > 0 && isOther) {
    return broken(tracker, `LSNs up to ${tracker.highestLsn}, and a SEAL that says ${seal.lsn}`);
  }
  return undefined;
}

/** What the set counts in the bounds: payloads, and a place for every index up to the highest. Bytes. */
export function costOfSet(tracker: SetTracker<unknown>): number {
  const places = tracker.entries.length + (tracker.seal === undefined ? 0 : 1);
  return tracker.payloadBytes + places * limits.entryCostBytes;
}

/** How much more it counts with this entry; 0 for what it will not keep. */
export function growthBy(tracker: SetTracker<unknown>, entry: Entry): number {
  if (entry.kind === "seal") return tracker.seal === undefined ? costOf(entry) : 0;
  if (!isIndex(entry.index) || has(tracker, entry.index)) return 0;
  // Indexes that are skipped are on their way, and have their places now.
  const skipped = entry.index - 1 - tracker.entries.length;
  const payloadBytes = costOf(entry) - limits.entryCostBytes;
  return payloadBytes + Math.max(0, skipped + 1) * limits.entryCostBytes;
}

/** The writes of a whole set in the order in which they are applied: by LSN (U49), with what holds their payloads. */
export function inOrder<Held>(tracker: SetTracker<Held>): {
  readonly entries: readonly Entry[];
  readonly held: readonly (Held | undefined)[];
} {
  const entries = tracker.entries.map((entry) => must(entry, "a whole set lacks an index"));
  const isOrdered = entries.every((entry, i) => i === 0 || lsnAt(entries, i - 1) <= entry.lsn);
  if (isOrdered) return { entries, held: tracker.held };
  const places = entries.map((_, i) => i).toSorted((a, b) => lsnAt(entries, a) - lsnAt(entries, b));
  return {
    entries: places.map((i) => must(entries[i], "a place outside the set")),
    held: places.map((i) => tracker.held[i]),
  };
}

function lsnAt(entries: readonly Entry[], i: number): number {
  return must(entries[i], "a place outside the set").lsn;
}

// ---------------------------------------------------------------------------------- from the log

/**
 * Takes an entry that the staging log holds. The log has only what was accepted once; when a set was forgotten and sent
 * again, the later entry is the one that counts.
 */
export function takeFound<Held>(
  tracker: SetTracker<Held>,
  entry: Entry,
  held: Held | undefined,
): void {
  if (entry.kind === "seal") {
    tracker.seal = entry;
  } else if (isIndex(entry.index)) {
    remove(tracker, entry.index);
    put(tracker, entry, held);
  }
}

/**
 * Whether what the log holds is the set that its flag speaks of, whole and with its SEAL (I20). Entries above the count are
 * of an attempt before, and go.
 */
export function isAsFlagged(
  tracker: SetTracker<unknown>,
  flag: { readonly count: number; readonly digest: number },
): boolean {
  const { seal } = tracker;
  if (seal === undefined || countOf(seal) !== flag.count || seal.payloadCrc !== flag.digest) {
    return false;
  }
  for (let index = tracker.entries.length; index > flag.count; index -= 1) {
    remove(tracker, index);
    tracker.entries.pop();
    tracker.held.pop();
  }
  tracker.prefix = 0;
  tracker.digest = 0;
  tracker.highestLsn = 0;
  advance(tracker);
  return isWhole(tracker) && faultOf(tracker) === undefined;
}

// ------------------------------------------------------------------------------------------ bits

export function has(tracker: SetTracker<unknown>, index: number): boolean {
  const word = tracker.bits[(index - 1) >>> 5] ?? 0;
  return (word & (1 << ((index - 1) & 31))) !== 0;
}

// Not a bitmap's business: SEALs have no bit, since their index is above every count.
function isIndex(index: number): boolean {
  return index >= 1 && index <= limits.setEntriesMax;
}

function put<Held>(tracker: SetTracker<Held>, entry: Entry, held: Held | undefined): void {
  const place = entry.index - 1;
  while (tracker.entries.length <= place) {
    tracker.entries.push(undefined);
    tracker.held.push(undefined);
  }
  growBits(tracker, place);
  tracker.entries[place] = entry;
  tracker.held[place] = held;
  tracker.bits[place >>> 5] = (tracker.bits[place >>> 5] ?? 0) | (1 << (place & 31));
  tracker.count += 1;
  if (entry.kind === "write") tracker.payloadBytes += entry.length;
}

function growBits(tracker: SetTracker<unknown>, place: number): void {
  if (place >>> 5 < tracker.bits.length) return;
  const larger = new Uint32Array(Math.max(tracker.bits.length * 2, (place >>> 5) + 1));
  larger.set(tracker.bits);
  tracker.bits = larger;
}

function remove(tracker: SetTracker<unknown>, index: number): void {
  if (!has(tracker, index)) return;
  const place = index - 1;
  const entry = must(tracker.entries[place], "a bit without its entry");
  if (entry.kind === "write") tracker.payloadBytes -= entry.length;
  tracker.entries[place] = undefined;
  tracker.held[place] = undefined;
  tracker.bits[place >>> 5] = (tracker.bits[place >>> 5] ?? 0) & ~(1 << (place & 31));
  tracker.count -= 1;
}

// The digest is taken as indexes come: at the end of a large set it would hold up the loop.
function advance(tracker: SetTracker<unknown>): void {
  let entry = tracker.entries[tracker.prefix];
  while (entry !== undefined) {
    tracker.digest = digestStep(tracker.digest, entry);
    tracker.highestLsn = Math.max(tracker.highestLsn, entry.lsn);
    tracker.prefix += 1;
    entry = tracker.entries[tracker.prefix];
  }
}

function isSame(one: Entry, other: Entry): boolean {
  return (
    one.kind === other.kind &&
    one.mayPunch === other.mayPunch &&
    one.source === other.source &&
    one.lsn === other.lsn &&
    one.index === other.index &&
    one.volume === other.volume &&
    one.offset === other.offset &&
    one.length === other.length &&
    one.payloadCrc === other.payloadCrc
  );
}

function broken(tracker: SetTracker<unknown>, has: string): Broken {
  return { why: `set ${tracker.set} has ${has}` };
}
