import type { Line } from "./line.ts";
import type { World } from "./world.ts";

/** The same, and no copy lags: whatever they differ in now is a difference. */
export function allCaughtUp(world: World): boolean {
  if (!allWell(world)) return false;
  return [...world.lines.values()].every((line) => isCaughtUp(world, line));
}

function isCaughtUp(world: World, line: Line): boolean {
  const status = world.status(world.machine(line.oracle.reign.site), line.group.name);
  if (status === undefined) return false;
  return status.copies.every(
    ({ state, applied }) => state !== "streaming" || applied >= status.lsn,
  );
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
