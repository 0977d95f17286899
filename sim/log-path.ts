import { groupOfPathBunker } from "#base/path-bunker.ts";
import { SimDisk } from "./disk.ts";
import type { Prng } from "./prng.ts";
import { createOwner } from "./scheduler.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Swarm } from "./swarm.ts";
import type { World } from "./world.ts";

/** A disk that all machines reach by the same path, for the second logs of groups: its folders are named as those are. */
export type LogPath = { readonly disk: SimDisk; isThere: boolean };

/** In worlds that have one. */
export function createLogPath(swarm: Swarm, scheduler: Scheduler, rng: Prng): LogPath | undefined {
  if (swarm.hasLogPath !== true) return undefined;
  const boot = createOwner("path kernel", 0, (error) => {
    throw error;
  });
  const behaviour = { ...swarm.disk };
  const disk = new SimDisk({ site: "path", scheduler, rng: rng.fork("path"), behaviour, boot });
  return { disk, isThere: true };
}

/** The disk that a member of a group keeps its log on. */
export function logDiskOf(world: World, member: string): SimDisk {
  const onPath = groupOfPathBunker(member) === undefined ? undefined : world.logPath;
  return onPath?.disk ?? world.machine(member).disk;
}
