import type { World } from "./world.ts";

/** Every group has a serving primary whose status calls all copies synchronized. */
export function allSynchronized(world: World): boolean {
  for (const line of world.lines.values()) {
    const { reign } = line.oracle;
    if (reign.number === 0) return false;
    if (line.sites.some((site) => site !== reign.site && !line.of(site).participant)) return false;
  }
  return true;
}
