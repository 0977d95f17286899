import type { GroupRecord } from "#core/group-record.ts";
import type { Line } from "./line.ts";
import type { Claim } from "./oracle.ts";
import type { World } from "./world.ts";

// What the beginning of a reign means, by the record of the site that begins it and by what its operator was told.

/**
 * A promotion by force promises nothing, but for a copy that takes sets and has a whole image: that is a state of the past, and
 * its promotion by force the ordinary one.
 */
export function losesAll(world: World, line: Line, site: string): boolean {
  const image = world.claimedImage.get(`${line.group.name}@${site}`);
  const isWhole = image === "consistent" || image === "synchronized";
  return !isWhole || !line.takesSets(line.oracle.reign.site, site);
}

/** How many promotions lie between the line and the generation that a site serves in; 0 on another branch. */
export function generationsSince(world: World, site: string, line: Line): number {
  const history = historyOf(world, site, line);
  const at = history.findIndex(({ id }) => id === line.tenure);
  return at === -1 ? 0 : history.length - 1 - at;
}

/** Sites that were primary before a site, in its own history, and itself. */
export function sitesBefore(world: World, site: string, line: Line): readonly string[] {
  return sitesOf(site, historyOf(world, site, line));
}

/**
 * Of those, whose acks off the line the site's image may hold: all, where it begins on another branch. Where it follows the
 * line, those behind the line's last tenure: what the ones before acked off the line they acked once they were succeeded.
 */
export function sitesAhead(world: World, site: string, line: Line): readonly string[] {
  const since = generationsSince(world, site, line);
  return sitesOf(site, historyOf(world, site, line).slice(-since));
}

/** Ids of the generations in a site's own history. */
export function tenuresOf(world: World, site: string, line: Line): readonly string[] {
  return historyOf(world, site, line).map(({ id }) => id);
}

/**
 * A site begins a reign that was primary, or followed one, where the line never went: what its image holds of that is of no
 * point of the line's history. Nobody has joined the two since, and a promotion there promises nothing of the line.
 */
export function isApart(world: World, site: string, line: Line): boolean {
  const before = tenuresOf(world, site, line).slice(0, -1);
  return !before.includes(line.tenure) && before.some((id) => !line.ancestry.has(id));
}

function historyOf(world: World, site: string, line: Line): GroupRecord["history"] {
  const found = world.inspector(site, line).record("current");
  return found.kind === "found" ? found.record.history : [];
}

function sitesOf(site: string, history: GroupRecord["history"]): readonly string[] {
  return [...new Set([site, ...history.map((tenure) => tenure.site)])];
}

/** The invariant that a loss breaks at the beginning of a reign. */
export function lostIdOf(claim: Claim, restart: boolean): string {
  if (claim.sets !== undefined) return "I6";
  if (claim.powerLostAt >= 0) return "N1";
  return restart ? "I2" : "I3";
}
