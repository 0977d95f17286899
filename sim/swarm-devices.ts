import { KiB } from "#base/limits.ts";
import type { GroupConfig, VolumeConfig } from "#config/types.ts";
import { policyTable } from "#core/policy.ts";
import type { DeviceShape } from "./device.ts";
import type { Prng } from "./prng.ts";

// What a seed decides about volumes that lie on a stranger's block store, behind the journal of the group's first primary.
// Drawn from a stream of its own, so that worlds without one are what they were before.

/** What happens to a device, its link and its gateway. */
export const deviceTroubles = ["cut", "away", "crash", "stall", "error", "gateway"] as const;
export type DeviceTrouble = (typeof deviceTroubles)[number];

export type DeviceSwarm = {
  readonly shape: DeviceShape;
  readonly troubles: readonly DeviceTrouble[];
  /** Mean time between two of them. */
  readonly gapUs: number;
};

export type DrawnDevices = {
  readonly groups: ReadonlyMap<string, GroupConfig>;
  readonly swarm: DeviceSwarm;
  readonly limits: Readonly<Record<string, number>>;
};

/** In one of fourteen worlds with a copy that takes sets, in each group that has one. */
export function drawDevices(
  rng: Prng,
  before: ReadonlyMap<string, GroupConfig>,
): DrawnDevices | undefined {
  const groups = [...before.values()];
  if (!groups.some(takesSets) || !rng.chance(0.07)) return undefined;
  const onDevices = groups.map((group): [string, GroupConfig] => [
    group.name,
    takesSets(group) ? onDevice(rng.fork(group.name), group) : group,
  ]);
  return {
    groups: new Map(onDevices),
    swarm: {
      shape: {
        requestUs: rng.logUniform(50, 5_000),
        syncUs: rng.logUniform(100, 20_000),
        isTrusted: rng.chance(0.1),
      },
      troubles: deviceTroubles.filter(() => rng.chance(0.6)),
      gapUs: rng.logUniform(60e3, 800e3),
    },
    limits: {
      deviceTimeoutMs: rng.pick([300, 2_000]),
      deviceSilenceMsMax: rng.pick([150, 1_000]),
      deviceRedialMsMin: 10,
      deviceRedialMsMax: rng.pick([40, 400]),
      deviceRequestsMax: rng.pick([1, 4, 64]),
      deviceBytesMax: rng.pick([8, 256]) * KiB,
      deviceFlushMs: rng.pick([20, 100, 1_000]),
      deviceFlushBytes: rng.pick([4, 32, 1_024]) * KiB,
      deviceReadBackBytes: rng.pick([1, 64]) * KiB,
      deviceAheadBytesMax: rng.pick([4, 64, 1_024]) * KiB,
      overlayPiecesMax: rng.pick([24, 4_096, 4_096]),
    },
  };
}

function takesSets({ copies }: GroupConfig): boolean {
  return [...copies.values()].some(({ mode }) => policyTable[mode].unit === "set");
}

/** The first volume, sometimes both. */
function onDevice(rng: Prng, group: GroupConfig): GroupConfig {
  const isBoth = rng.chance(0.3);
  const volumes = group.volumes.map((volume, index): VolumeConfig => {
    if (index > 0 && !isBoth) return volume;
    const address = `nbd://store:10809/${group.name}-${volume.name}`;
    return { ...volume, at: new Map([[group.primary, address]]) };
  });
  return { ...group, volumes };
}
