import type { VolumeStatus } from "#site/api.ts";
import type { Line } from "./line.ts";
import type { World } from "./world.ts";

/** The same, and neither a copy lags nor a device: whatever they differ in now is a difference. */
export function allCaughtUp(world: World): boolean {
  if (!allWell(world)) return false;
  return [...world.lines.values()].every((line) => isCaughtUp(world, line));
}

function isCaughtUp(world: World, line: Line): boolean {
  const status = world.status(world.machine(line.oracle.reign.site), line.group.name);
  if (status === undefined || status.volumes.some(lacksOnDevice)) return false;
  return status.copies.every(
    ({ state, applied }) => state !== "streaming" || applied >= status.lsn,
  );
}

/**
 * What lies on the volume's device is older than what hosts read: the primary's journal has the rest, the granules are open,
 * and copies are compared with both. Who reads devices themselves waits for them (SPEC-gateway.md, I16).
 */
export function lacksOnDevice({ link = "up", deviceLagBytes = 0 }: VolumeStatus): boolean {
  return link !== "up" || deviceLagBytes > 0;
}

/** Every group has a serving primary whose status says of all copies the best that their modes know. */
export function allWell(world: World): boolean {
  for (const line of world.lines.values()) {
    const { reign } = line.oracle;
    if (reign.number === 0) return false;
    if (line.sites.some((site) => site !== reign.site && !line.of(site).well)) return false;
  }
  return true;
}
