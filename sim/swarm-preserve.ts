import { KiB } from "#base/limits.ts";
import type { Config } from "#config/types.ts";
import type { Prng } from "./prng.ts";

// What a seed decides about preserved points: kept, kept with so little room that a resync fills it, or not kept; and whether
// copies are promoted to them. Drawn from a stream of its own, so that worlds are otherwise what they were before.

export function drawPreserve(
  rng: Prng,
  config: Config,
): {
  readonly config: Config;
  readonly pointTakeovers: boolean;
  readonly limits: Readonly<Record<string, number>>;
} {
  const bytesMax = rng.pick([undefined, undefined, undefined, 0, 24 * KiB, 64 * KiB, 160 * KiB]);
  return {
    config: withPreserve(config, bytesMax),
    pointTakeovers: rng.chance(0.4),
    limits: {
      preserveStepBytesMax: rng.pick([8, 64]) * KiB,
      preserveSegmentBytesMin: 96 * KiB,
      preserveUndoBytesMax: rng.pick([4, 64]) * KiB,
      preserveBytesDefaultMin: 4096 * KiB,
    },
  };
}

/** The same with another bound for every copy. */
export function withPreserve(config: Config, bytesMax: number | undefined): Config {
  const groups = [...config.groups].map(([name, group]) => {
    const copies = [...group.copies].map(
      ([site, copy]) => [site, { ...copy, preserveBytesMax: bytesMax }] as const,
    );
    return [name, { ...group, copies: new Map(copies) }] as const;
  });
  return { ...config, groups: new Map(groups) };
}
