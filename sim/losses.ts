// What crashes and takeovers took from one sector. A write may be lost, come back with the image of whoever takes over next,
// and be lost again: a claim that was made meanwhile is judged by what was lost then.

/** In ticks of the oracle; `untilTick` is Infinity while it is lost. */
type Loss = { readonly fromTick: number; untilTick: number };

/** Of the writes to a sector, by id: when they were lost, the last time last. */
export type SectorLosses = Map<number, Loss[]>;

/** Lost from now on, if it is not already. */
export function noteLost(losses: SectorLosses, id: number, tick: number): void {
  const spells = losses.get(id);
  if (spells === undefined) losses.set(id, [{ fromTick: tick, untilTick: Infinity }]);
  else if (!isLost(losses, id)) spells.push({ fromTick: tick, untilTick: Infinity });
}

/** Not lost any more. False when it was not lost. */
export function noteBack(losses: SectorLosses | undefined, id: number, tick: number): boolean {
  const last = losses?.get(id)?.at(-1);
  if (last === undefined || last.untilTick < Infinity) return false;
  last.untilTick = tick;
  return true;
}

export function isLost(losses: SectorLosses | undefined, id: number): boolean {
  return losses?.get(id)?.at(-1)?.untilTick === Infinity;
}

/** Whether it was lost at that tick; Infinity: whether it is. */
export function wasLost(losses: SectorLosses | undefined, id: number, asOf: number): boolean {
  if (asOf === Infinity) return isLost(losses, id);
  return losses?.get(id)?.some((one) => one.fromTick <= asOf && asOf < one.untilTick) === true;
}
