import { KiB, limits } from "#base/limits.ts";

/** Limits that modules read when they are loaded: set once, before the engine is imported. */
export const loadTimeLimits = { openGranuleBytes: 16 * KiB };

/**
 * Sets limits of the engine for the world at hand, so that a small world reaches them: a map with room for four granules
 * fills up within a second. The engine itself has no switch for this; the object is merely not frozen.
 *
 * @throws when a name is no limit of the engine's: a knob that turns nothing would be silent.
 */
export function setLimits(values: Readonly<Record<string, number>>): void {
  const writable: Record<string, number> = limits;
  for (const [name, value] of Object.entries(values)) {
    if (!(name in writable)) throw new RangeError(`the engine has no limit called ${name}`);
    writable[name] = value;
  }
}
