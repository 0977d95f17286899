import type { Entry } from "./entry.ts";

/**
 * The place of an entry in the order of a group's log, and the start of a primary that gave it. No two entries of one
 * generation share it: a start of a primary gives every index of a set once, and the numbers of others never.
 */
export type LogPosition = {
  readonly incarnation: number;
  /** A SEAL: the highest LSN up to there. */
  readonly lsn: number;
  readonly set: number;
  readonly index: number;
};

/** Before the first entry. */
export const noPosition: LogPosition = { incarnation: 0, lsn: 0, set: 0, index: 0 };

export function positionOf({ incarnation, lsn, set, index }: Entry): LogPosition {
  return { incarnation, lsn, set, index };
}

export function isSamePosition(a: LogPosition, b: LogPosition): boolean {
  return (
    a.incarnation === b.incarnation && a.lsn === b.lsn && a.set === b.set && a.index === b.index
  );
}

/** Whether `b` stands behind `a`, by set and index. */
export function isBehind(a: LogPosition, b: LogPosition): boolean {
  return b.set > a.set || (b.set === a.set && b.index > a.index);
}

/**
 * Which rule the entry breaks as the next one behind this position; undefined where it follows. A set's indexes leave none out;
 * behind its SEAL comes another set with its first. LSNs never go back.
 */
export function gapBefore(last: LogPosition, entry: Entry): string | undefined {
  const isNext =
    entry.set === last.set
      ? entry.index === last.index + 1
      : entry.set > last.set && entry.index === 1;
  const isLater = entry.lsn >= last.lsn && entry.incarnation >= last.incarnation;
  if (isNext && isLater) return undefined;
  return `entry ${describe(positionOf(entry))} does not follow ${describe(last)}`;
}

export function describe({ incarnation, lsn, set, index }: LogPosition): string {
  return `${set}/${index} (LSN ${lsn}, incarnation ${incarnation})`;
}
