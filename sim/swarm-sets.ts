import { KiB } from "#base/limits.ts";
import type { CopyConfig, GroupConfig } from "#config/types.ts";
import type { Prng } from "./prng.ts";
import type { Swarm } from "./swarm.ts";

// What a seed decides about copies that take sets (`mode: async`): which copies do, and journals, sets and staging so small
// that a small world fills them. Drawn from a stream of its own, so that worlds of mirrors are what they were before.

/** Some of the group's copies take sets in four worlds of ten; alone, several of them, or beside mirrors. */
export function drawModes(
  rng: Prng,
  groups: ReadonlyMap<string, GroupConfig>,
): ReadonlyMap<string, GroupConfig> {
  if (rng.chance(0.6)) return groups;
  return new Map([...groups].map(([name, group]) => [name, drawGroup(rng.fork(name), group)]));
}

/** Trouble at the seams of cycles (cycle-faults.ts). */
export const cycleTroubles = ["cut", "purge", "standing", "narrow", "turn"] as const;
export type CycleTrouble = (typeof cycleTroubles)[number];

/** In most worlds with a copy of cycles; what a purge is in the midst of needs something to be cut. */
export function drawCycleTrouble(
  rng: Prng,
  groups: ReadonlyMap<string, GroupConfig>,
): readonly CycleTrouble[] {
  if (!hasCycles(groups) || !rng.chance(0.8)) return [];
  const shares = { cut: 0.7, purge: 0.4, standing: 0.4, narrow: 0.4, turn: 0.2 };
  return cycleTroubles.filter((kind) => rng.chance(shares[kind]));
}

function hasCycles(groups: ReadonlyMap<string, GroupConfig>): boolean {
  return [...groups.values()].some(({ copies }) =>
    [...copies.values()].some(({ mode }) => mode === "cycle"),
  );
}

/** Some copy takes cycles, or may come to take them when its mode is changed. */
export function mayHaveCycles({ config, operator }: Swarm): boolean {
  return operator.includes("reload") || hasCycles(config.groups);
}

function drawGroup(rng: Prng, group: GroupConfig): GroupConfig {
  const sites = [...group.copies.keys()];
  // Of two copies the first, the second or both.
  const chosen = rng.pick([sites, sites, sites.slice(0, 1), sites.slice(-1)]);
  const copies = [...group.copies].map(([site, copy]): [string, CopyConfig] => [
    site,
    chosen.includes(site) ? drawCopy(rng.fork(site), copy) : copy,
  ]);
  return {
    ...group,
    copies: new Map(copies),
    journal: {
      bytesMax: rng.pick([384, 512, 1024, 4096]) * KiB,
      overflow: rng.pick(["trip", "trip", "stall", "fail"]),
    },
  };
}

function drawCopy(rng: Prng, copy: CopyConfig): CopyConfig {
  const taker = drawTaker(rng, copy);
  const cycle = rng.fork("cycle");
  // From a stream of its own: worlds without it are what they were.
  return cycle.chance(0.25) ? drawCycle(cycle, taker) : taker;
}

/** The same copy, by cycles. */
export function drawCycle(rng: Prng, copy: CopyConfig): CopyConfig {
  return {
    ...copy,
    mode: "cycle",
    seal: { ...copy.seal, onFlush: false },
    ackAt: rng.pick(["switch", "journal"]),
    staging: "durable",
  };
}

function drawTaker(rng: Prng, copy: CopyConfig): CopyConfig {
  return {
    ...copy,
    mode: "async",
    onLoss: "continue",
    seal: {
      everyMs: Math.round(rng.logUniform(5, 100)),
      bytesMax: rng.pick([2, 8, 64]) * KiB,
      onFlush: rng.pick([true, true, false, "only"]),
    },
    staging: rng.pick(["durable", "durable", "memory"]),
    connections: rng.between(1, 4),
    // From a stream of its own: worlds without it are what they were.
    compress: rng.fork("compress").pick([undefined, undefined, "on", "auto"]),
  };
}

/** A record holds a batch or one request, and a segment the longest record: these must stay in proportion. */
export function drawSetLimits(rng: Prng): Readonly<Record<string, number>> {
  const batchBytesMax = rng.pick([8, 32]) * KiB;
  const batchEntriesMax = rng.pick([4, 64]);
  const setEntriesMax = rng.pick([8, 256]);
  return {
    batchBytesMax,
    batchEntriesMax,
    setEntriesMax,
    cycleEntriesMax: setEntriesMax / 2,
    cyclesGatheredMax: 3,
    // However small, they are of the sort that takes every write whole.
    journalBytesWhole: 0,
    journalMarginBytes: 112 * KiB,
    journalSegmentBytes: 96 * KiB,
    journalAheadBytes: 68 * KiB,
    journalAheadStepBytes: 8 * KiB,
    journalAheadMarginBytes: 64 * KiB,
    journalRoomRetryMs: 100,
    fullOverMs: 300,
    journalStretchBytes: rng.pick([2, 16, 64]) * KiB,
    journalReadBytes: rng.pick([8, 64]) * KiB,
    senderReadBytes: rng.pick([2, 16, 64]) * KiB,
    laneQueueBytesMax: rng.pick([4, 64]) * KiB,
    laneFreshBytesMax: rng.pick([1, 8, 64]) * KiB,
    ...drawPackLimits(rng.fork("packing")),
    sessionWindowBytesMin: rng.pick([8, 16]) * KiB,
    sessionWindowBytesMax: rng.pick([16, 64, 256]) * KiB,
    sessionSetsMax: rng.pick([4, 64, 1_024]),
    stagingBytesMax: 4096 * KiB,
    stagingSegmentBytes: 128 * KiB,
    stagingUnsyncedBytesMax: rng.pick([8, 256]) * KiB,
    logIndexBytes: rng.pick([4, 64]) * KiB,
    emptySealMs: rng.pick([150, 1_000]),
    bracketMsMax: rng.pick([200, 2_000]),
    bracketBytesMax: rng.pick([16, 128]) * KiB,
    setsAtCopyMax: 4_096,
    applyingSetsMax: rng.pick([1, 4, 64]),
    applyingBytesMax: rng.pick([8, 256]) * KiB,
    applyUnsyncedBytesMax: rng.pick([8, 256]) * KiB,
    applyUnsyncedSetsMax: rng.pick([4, 256]),
    applyIdleMs: rng.pick([100, 1_000]),
    applySyncMsMax: rng.pick([300, 3_000]),
  };
}

/** Writes of a few sectors are packed too, and `auto` has something to decide on. */
function drawPackLimits(rng: Prng): Readonly<Record<string, number>> {
  return {
    packBytesMin: rng.pick([512, 2 * KiB]),
    packLinkBytesPerSecondMax: rng.pick([1, 64, 1_024]) * 1_024 * KiB,
    packBehindBytesMin: rng.pick([1, 8]) * KiB,
    packRetryBytes: rng.pick([16, 256]) * KiB,
  };
}
