import type { GroupConfig } from "#config/types.ts";
import { policyTable } from "#core/policy.ts";

// What a group's configuration says of its members, asked in more than one place.

/** Whoever keeps the group's log, its second log on a path included. */
export function bunkersOf(config: GroupConfig): string[] {
  return [...config.copies.keys()].filter((site) => isBunkerOf(config, site));
}

/** The site keeps the group's log, and no volume. */
export function isBunkerOf(config: GroupConfig, site: string): boolean {
  return config.copies.get(site)?.mode === "bunker";
}

/** Some copy of the group is fed from a journal. */
export function needsJournal(config: GroupConfig): boolean {
  return [...config.copies.values()].some(({ mode }) => policyTable[mode].journal);
}

/** Some copy of the group is fed with sets. */
export function takesSets(config: GroupConfig): boolean {
  return [...config.copies.values()].some(({ mode }) => policyTable[mode].unit === "set");
}

/** Some bunker brings copies up by itself: only then do sites tell each other what it takes to judge that. */
export function replaysByItself(config: GroupConfig): boolean {
  return [...config.copies.values()].some(({ replayAfterMs }) => replayAfterMs !== undefined);
}
