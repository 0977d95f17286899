import { policyTable } from "#core/policy.ts";
import { KiB } from "#base/limits.ts";
import type { CopyConfig, GroupConfig } from "#config/types.ts";
import type { Prng } from "./prng.ts";
import { drawCycle } from "./swarm-sets.ts";

// What a seed decides about bunkers: whether there is one, or two, where some copy takes sets; what its loss means; and
// whether copies are brought up from it. Drawn from streams of their own, so that worlds without one, or a second one,
// are what they were before.

const firstSite = "vault";
const secondSite = "attic";

export type BunkerSwarm = {
  /** Sites of the bunkers, one or two: each keeps the log of every group that has a copy of sets. */
  readonly sites: readonly string[];
  readonly groups: ReadonlyMap<string, GroupConfig>;
  /** Copies are brought up from the bunker, and promoted. */
  readonly replays: boolean;
  readonly limits: Readonly<Record<string, number>>;
};

/** In three of ten worlds with a copy that takes sets, in each group that has one; one such world of eight has two. */
export function drawBunker(
  rng: Prng,
  before: ReadonlyMap<string, GroupConfig>,
): BunkerSwarm | undefined {
  const groups = [...before.values()];
  if (!groups.some(takesSets) || !rng.chance(0.3)) return undefined;
  const second = rng.fork("second");
  const sites = second.chance(0.12) ? [firstSite, secondSite] : [firstSite];
  const withBunkers = groups.map((group): [string, GroupConfig] => {
    if (!takesSets(group)) return [group.name, group];
    const withOne = withBunker(rng.fork(group.name), group, firstSite);
    const isOne = sites.length === 1;
    return [group.name, isOne ? withOne : withBunker(second.fork(group.name), withOne, secondSite)];
  });
  // A name that leaves every kept seed (seeds.json) the world that it was kept for.
  const byItself = rng.fork("begun by no operator, if drawn");
  const automatic = drawAutomatic(byItself, new Map(withBunkers));
  return {
    sites,
    groups: automatic.groups,
    replays: rng.chance(0.7),
    limits: {
      bunkerLagBytesMax: rng.pick([16, 64, 256]) * KiB,
      bunkerFreshBytesMax: rng.pick([1, 8, 64]) * KiB,
      ...automatic.limits,
    },
  };
}

/** In one such world of eight the bunkers bring copies up by themselves, some time after a loss of the primary is noticed. */
function drawAutomatic(
  rng: Prng,
  groups: BunkerSwarm["groups"],
): Pick<BunkerSwarm, "groups" | "limits"> {
  if (!rng.chance(0.125)) return { groups, limits: {} };
  const drawn = [...groups].map(([name, group]): [string, GroupConfig] => {
    const copies = [...group.copies].map(([site, copy]): [string, CopyConfig] => {
      if (copy.mode !== "bunker") return [site, copy];
      const replayAfterMs = Math.round(copy.timeoutMs * rng.logUniform(0.7, 3));
      return [site, { ...copy, replayAfterMs }];
    });
    return [name, { ...group, copies: new Map(copies) }];
  });
  const limits = {
    replayTurnMs: rng.pick([100, 500, 2000]),
    replayRetryMsMin: 100,
    replayRetryMsMax: 2000,
  };
  return { groups: new Map(drawn), limits };
}

function takesSets({ copies }: GroupConfig): boolean {
  return [...copies.values()].some(({ mode }) => policyTable[mode].unit === "set");
}

function withBunker(rng: Prng, group: GroupConfig, site: string): GroupConfig {
  const [first] = group.copies.values();
  if (first === undefined) return group;
  const bunker: CopyConfig = {
    ...first,
    site,
    mode: "bunker",
    onLoss: rng.pick(["override", "override", "fail", "off"]),
    preserveBytesMax: undefined,
    connections: 1,
    ackAt: undefined,
    compress: undefined,
    rateBytesPerSecond: undefined,
  };
  const copies = site === firstSite ? drawRelayed(rng.fork("relay"), group) : group.copies;
  return { ...group, copies: new Map(copies).set(site, bunker) };
}

/** The first bunker is a relay for some copies of cycles; to have enough of them, some other copies of sets become such. */
function drawRelayed(rng: Prng, { copies }: GroupConfig): ReadonlyMap<string, CopyConfig> {
  const drawn = [...copies].map(([site, copy]): [string, CopyConfig] => {
    if (policyTable[copy.mode].unit !== "set") return [site, copy];
    const isCycle = copy.mode === "cycle";
    if (!rng.chance(isCycle ? 0.6 : 0.15)) return [site, copy];
    return [site, { ...(isCycle ? copy : drawCycle(rng, copy)), through: firstSite }];
  });
  return new Map(drawn);
}
