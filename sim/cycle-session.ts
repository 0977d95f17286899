import type { TraceLine } from "#ports/events.ts";
import { sectorBytes } from "./disk-state.ts";
import { keyOf } from "./sector-key.ts";

// What a trace shows of one session that feeds a copy with cycles, and what should be in it: of the journal's writes the newest
// of every sector. Written as a painter would, so that it has nothing in common with the engine's folding.

/** Sectors of a group, and the LSN of the write that each was last given by. */
export type Painting = Map<number, number>;

export type CycleSession = {
  readonly generation: number;
  readonly epoch: number;
  /** What PURGED said: up to this set everything is complete there. Undefined: none has come, the session is a resync. */
  purgedSet: number | undefined;
  /** All that was sent before and is not complete there is to come under this number; undefined where there is nothing. */
  resentSet: number | undefined;
  isResent: boolean;
  /** More was sent before than one set may hold: how it is split, up to this set, is the engine's affair. */
  unknownThrough: number;
  /** Sets of which something was sent, and not yet all. */
  readonly parts: Map<number, CyclePart>;
};

export type CyclePart = {
  readonly painting: Painting;
  lines: number;
  /** As the SEAL says. */
  count: number | undefined;
};

export function createCycleSession({ generation = 0, epoch = 0 }: TraceLine): CycleSession {
  return {
    generation,
    epoch,
    purgedSet: undefined,
    resentSet: undefined,
    isResent: false,
    unknownThrough: 0,
    parts: new Map(),
  };
}

export type Range = {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  readonly lsn: number;
};

/** Paints over what is there. The LSN of something that was there already; undefined: the place was free. */
export function paint(painting: Painting, range: Range): number | undefined {
  const { volume, offset, length, lsn } = range;
  const end = Math.ceil((offset + length) / sectorBytes);
  let under: number | undefined;
  for (let sector = Math.floor(offset / sectorBytes); sector < end; sector += 1) {
    const key = keyOf(volume, sector);
    under ??= painting.get(key);
    painting.set(key, lsn);
  }
  return under;
}

/** A sector in which two paintings differ, and what each has there; undefined: they are the same. */
export function differenceOf(
  wanted: Painting,
  found: Painting,
):
  | {
      readonly key: number;
      readonly wanted: number | undefined;
      readonly found: number | undefined;
    }
  | undefined {
  for (const key of [...wanted.keys(), ...found.keys()])
    if (wanted.get(key) !== found.get(key))
      return { key, wanted: wanted.get(key), found: found.get(key) };
  return undefined;
}
