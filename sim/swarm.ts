import { policyTable } from "#core/policy.ts";
import { KiB } from "#base/limits.ts";
import type { Config, CopyConfig, GroupConfig, SiteConfig } from "#config/types.ts";
import { quietDisk } from "./disk.ts";
import type { DiskBehaviour } from "./disk.ts";
import type { NetworkShape } from "./network.ts";
import type { Prng } from "./prng.ts";
import { drawBunker } from "./swarm-bunker.ts";
import { drawDevices } from "./swarm-devices.ts";
import type { DeviceSwarm } from "./swarm-devices.ts";
import { drawPreserve } from "./swarm-preserve.ts";
import { drawCycleTrouble, drawModes, drawSetLimits } from "./swarm-sets.ts";
import type { CycleTrouble } from "./swarm-sets.ts";

// Swarm testing: each seed draws which kinds of trouble exist in its world at all, and how often. A world with everything at
// once hides more than it shows; the prototype's detection rates moved tenfold with the mix (PROOF §4.1).

export const faultKinds = [
  "kill",
  "power",
  "powerAll",
  "crashPoint",
  "resyncCrash",
  "pause",
  "reset",
  "blackHole",
  "oneWay",
  "flap",
  "slowLink",
  "diskStall",
  "writeStall",
  "syncError",
  "writeError",
  "readError",
  "noSpace",
  "clockJump",
  "flip",
] as const;
export type FaultKind = (typeof faultKinds)[number];
/** Every fault that a world can go through, also those that no seed draws because a phase of its own makes them. */
export type CountedFault = FaultKind | "rot";

export const operatorKinds = [
  "pauseCopy",
  "resyncFull",
  "takeover",
  "takeoverForced",
  "partitionTakeover",
  "switchover",
  "demote",
] as const;
export type OperatorKind = (typeof operatorKinds)[number] | "reload";

/** Everything that a seed decides before its world begins. */
export type Swarm = {
  readonly config: Config;
  readonly sites: readonly string[];
  readonly faults: readonly FaultKind[];
  readonly operator: readonly OperatorKind[];
  /** Mean time between two faults, and between two acts of the operator. */
  readonly faultGapUs: number;
  readonly operatorGapUs: number;
  /** Mean time between two failures of a write to an image; undefined where none fails but by `writeError`. */
  readonly imageErrorGapUs?: number;
  /** How long faults go on. */
  readonly faultsUs: number;
  /** Worlds cloned at random instants, and at persistent steps, during the faults. */
  readonly clones: number;
  readonly hosts: readonly HostShape[];
  readonly requestsMax: number;
  readonly network: NetworkShape;
  readonly disk: DiskBehaviour;
  /** How far the monotonic clocks of machines are off. */
  readonly clockRateSpread: number;
  /** Scribbles over a write's payload as soon as it was answered. */
  readonly poisonPayload: boolean;
  /** In the midst of a resync the primary may die, and the copy is promoted to its preserved point. */
  readonly pointTakeovers?: boolean;
  /** Mean time between two orders to hand the role over; undefined where there are none. */
  readonly handoverGapUs?: number;
  /** Trouble where cycles have their seams. */
  readonly cycleTrouble?: readonly CycleTrouble[];
  /** Copies are brought up from a bunker. */
  readonly replays?: boolean;
  /** Mean time between two orders to compare a copy with its primary; undefined where there are none. */
  readonly verifyGapUs?: number;
  /** Volumes of the first primaries lie on devices behind links. */
  readonly devices?: DeviceSwarm;
  /** The groups have second logs on a path that all machines reach. */
  readonly hasLogPath?: true;
  /** Limits of the engine made small, so that a small world reaches them. */
  readonly limits: Readonly<Record<string, number>>;
};

export type HostShape = {
  readonly group: string;
  readonly inFlightMax: number;
  /** Mean time between an answer and the next request in its place. */
  readonly thinkUs: number;
  readonly sectorsMax: number;
  /** Share of requests that fall on a few hot places. */
  readonly hotShare: number;
  /** Relative weights of what it does. */
  readonly mix: Readonly<Record<HostAct, number>>;
};

export const hostActs = ["write", "fua", "zero", "flush", "read", "chain"] as const;
export type HostAct = (typeof hostActs)[number];

export function drawSwarm(rng: Prng): Swarm {
  const copies = rng.chance(0.7) ? 1 : 2;
  const sites = ["east", "west", "north"].slice(0, 1 + copies);
  const groups = rng.chance(0.85) ? ["bank"] : ["bank", "shop"];
  const preserve = drawPreserve(rng.fork("preserve"), drawConfig(rng, sites, groups));
  const bunker = drawBunker(rng.fork("bunker"), preserve.config.groups);
  const allSites = bunker === undefined ? sites : [...sites, ...bunker.sites];
  const devices = drawDevices(rng.fork("block store"), bunker?.groups ?? preserve.config.groups);
  const operator = rng.chance(0.5) ? drawSome(rng, operatorKinds, 2) : [];
  const faultsUs = rng.logUniform(1.5e6, 8e6);
  const requestsDrawn = rng.between(80, 400);
  // Two bunkers cost as much as two more sites: such worlds are kept small.
  const requestsMax = bunker?.sites.length === 2 ? Math.min(requestsDrawn, 160) : requestsDrawn;
  // A stream of chance of their own: worlds without them stay what they were.
  const handovers = rng.fork("handovers");
  const imageErrors = rng.fork("image errors");
  const verifies = rng.fork("verifies");
  return {
    ...(imageErrors.chance(0.013)
      ? { imageErrorGapUs: imageErrors.logUniform(200e3, 2000e3) }
      : {}),
    ...(handovers.chance(0.2) ? { handoverGapUs: handovers.logUniform(200e3, 2000e3) } : {}),
    ...(verifies.chance(0.06) ? { verifyGapUs: verifies.logUniform(200e3, 1500e3) } : {}),
    config:
      bunker === undefined && devices === undefined
        ? preserve.config
        : makeConfig(allSites, devices?.groups ?? bunker?.groups ?? preserve.config.groups),
    ...(devices === undefined ? {} : { devices: devices.swarm }),
    replays: bunker?.replays ?? false,
    cycleTrouble: drawCycleTrouble(
      rng.fork("cycle trouble"),
      bunker?.groups ?? preserve.config.groups,
    ).filter((trouble) => trouble !== "turn" || devices === undefined),
    pointTakeovers: preserve.pointTakeovers,
    sites: allSites,
    faults: drawFaults(rng),
    operator: [
      ...operator,
      // Before a device some copy has to take sets: files that say otherwise are refused (config/rules.ts).
      ...(devices === undefined ? drawReloads(rng.fork("reloads"), preserve.config) : []),
    ],
    faultGapUs: rng.logUniform(120e3, 1500e3),
    operatorGapUs: rng.logUniform(500e3, 3000e3),
    faultsUs,
    clones: rng.chance(0.6) ? rng.between(1, 4) : 0,
    hosts: drawHosts(rng, groups, faultsUs / requestsMax),
    requestsMax,
    network: {
      delayUs: rng.logUniform(50, 8000),
      bytesPerSecond: rng.chance(0.8) ? 1e9 : rng.logUniform(2e5, 1e8),
      splitChance: rng.chance(0.5) ? 0 : 0.2,
      windowBytes: rng.chance(0.7) ? 256 * KiB : rng.between(16_000, 60_000),
      scribbles: rng.chance(0.5),
    },
    disk: drawDisk(rng),
    clockRateSpread: rng.chance(0.3) ? 0.01 : 0,
    poisonPayload: rng.chance(0.3),
    limits: {
      ...drawLimits(rng),
      ...drawSetLimits(rng.fork("set limits")),
      ...preserve.limits,
      ...bunker?.limits,
      ...devices?.limits,
    },
  };
}

// Where some copies take sets, with all that goes with it, copies may change their mode: in one such world of four.
function drawReloads(rng: Prng, config: Config): readonly OperatorKind[] {
  const groups = [...config.groups.values()];
  const hasSets = groups.some(({ copies }) =>
    [...copies.values()].some(({ mode }) => policyTable[mode].unit === "set"),
  );
  return hasSets && rng.chance(0.25) ? ["reload", "reload"] : [];
}

function drawFaults(rng: Prng): readonly FaultKind[] {
  if (rng.chance(0.04)) return [];
  // Errors of the disk are rare guests: a world in which every disk fails shows little else.
  const rare: readonly FaultKind[] = [
    "syncError",
    "writeError",
    "readError",
    "noSpace",
    "flip",
    "clockJump",
  ];
  const common = faultKinds.filter((kind) => !rare.includes(kind));
  const chosen = [...drawSome(rng, common, rng.between(1, 5))];
  if (rng.chance(0.2)) chosen.push(rng.pick(rare));
  return chosen;
}

function drawSome<T>(rng: Prng, items: readonly T[], countMax: number): readonly T[] {
  const chosen = new Set<T>();
  for (let i = 0; i < countMax; i += 1) chosen.add(rng.pick(items));
  return [...chosen];
}

function drawConfig(rng: Prng, sites: readonly string[], groups: readonly string[]): Config {
  const probeMs = rng.pick([50, 100, 250]);
  const regionBytes = rng.pick([4 * KiB, 4 * KiB, 16 * KiB]);
  const durability = rng.chance(0.65) ? "flush" : "write";
  const byGroup = new Map<string, GroupConfig>();
  for (const name of groups) {
    const copies = new Map<string, CopyConfig>();
    for (const site of sites.slice(1)) {
      copies.set(site, {
        site,
        mode: "sync",
        onLoss: rng.pick(["continue", "continue", "continue", "stall", "fail"]),
        ackTimeoutMs: rng.pick([1_000, 3_000]),
        resume: rng.chance(0.9) ? "auto" : "manual",
        preserveBytesMax: rng.pick([undefined, 0]),
        seal: { everyMs: 50, bytesMax: 64 * KiB, onFlush: true },
        staging: "durable",
        connections: 1,
        rpoMs: undefined,
        probeMs,
        timeoutMs: Math.max(400, probeMs * rng.between(4, 8)),
        ackAt: undefined,
        compress: undefined,
        rateBytesPerSecond: rng.chance(0.1) ? 512 * KiB : undefined,
      });
    }
    byGroup.set(name, {
      name,
      primary: sites[0] as string,
      volumes: [
        { name: "data", bytes: rng.pick([256, 384]) * KiB, at: new Map() },
        { name: "log", bytes: (64 + rng.below(3) * 20) * KiB, at: new Map() },
      ],
      copies,
      durability,
      regionBytes,
      journal: { bytesMax: 4096 * KiB, overflow: "trip" },
      hooks: {},
    });
  }
  return makeConfig(sites, drawModes(rng.fork("modes"), byGroup));
}

/** A cluster of the simulator: addresses are `SITE:PORT`, and nothing on a real machine. */
export function makeConfig(
  sites: readonly string[],
  groups: ReadonlyMap<string, GroupConfig>,
): Config {
  const bySite = new Map<string, SiteConfig>();
  for (const name of sites) {
    bySite.set(name, {
      name,
      peer: `${name}:7101`,
      api: `${name}:7201`,
      nbd: [`${name}:10809`],
      data: `/sim/${name}`,
      reach: new Map(),
    });
  }
  const secret = new Uint8Array(32).fill(7);
  return { path: "sim.yaml", cluster: "sim", sites: bySite, groups, secret, insecure: false };
}

/** The hosts' pace is drawn so that their requests last about as long as the faults do. */
function drawHosts(
  rng: Prng,
  groups: readonly string[],
  requestGapUs: number,
): readonly HostShape[] {
  const hosts: HostShape[] = [];
  for (const group of groups) {
    for (let i = rng.between(1, 3); i > 0; i -= 1) {
      const mix: Record<HostAct, number> = {
        write: 10,
        fua: rng.pick([0, 1, 4]),
        zero: rng.pick([0, 1, 3]),
        flush: rng.pick([0, 1, 4]),
        read: rng.pick([0, 3, 6]),
        chain: rng.pick([0, 2, 6]),
      };
      hosts.push({
        group,
        inFlightMax: rng.pick([1, 2, 4, 8]),
        thinkUs: 0,
        sectorsMax: rng.pick([1, 8, 8, 24, 64]),
        hotShare: rng.pick([0, 0.5, 0.9]),
        mix,
      });
    }
  }
  const inFlight = hosts.reduce((sum, host) => sum + host.inFlightMax, 0);
  return hosts.map((host) => ({ ...host, thinkUs: requestGapUs * inFlight }));
}

function drawDisk(rng: Prng): DiskBehaviour {
  return {
    ...quietDisk,
    syncUs: rng.logUniform(100, 6000),
    imageUs: rng.chance(0.6) ? 0 : rng.logUniform(20, 2000),
  };
}

function drawLimits(rng: Prng): Readonly<Record<string, number>> {
  return {
    openGranulesMax: rng.pick([4, 16, 1024]),
    openIdleMs: rng.pick([100, 1000]),
    openRoundMsMax: rng.pick([500, 3000]),
    openHotMs: rng.fork("hot granules").pick([100, 1000, 5000]),
    lsnReserve: rng.pick([32, 1 << 20]),
    lsnReserveMargin: 8,
    resyncWindowFirstBytes: 32 * KiB,
    resyncWindowBytes: rng.pick([32, 256]) * KiB,
    resyncChunkBytes: rng.pick([16, 32]) * KiB,
    unsyncedBytesMin: rng.pick([64, 1024]) * KiB,
    unsyncedBytesMax: 2048 * KiB,
    sessionOutstandingBytesMax: rng.pick([8, 32, 1024]) * KiB,
  };
}
