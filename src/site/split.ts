import { must } from "#base/assert.ts";
import { isFavoured, isSplit, knowsItsWrites, overtakersIn } from "#core/branch.ts";
import type { Divergence } from "#core/group-record.ts";
import { compareHistories, forkOf } from "#core/history.ts";
import { mark, markedBytes, orInto } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { knownRecord } from "./group.ts";
import type { Group } from "./group.ts";

// A split brain as a site sees it: with whom, and what each side wrote by itself since their histories forked.

export type Split = {
  readonly site: string;
  readonly view: GroupView;
  /** What this site wrote by itself, at most; what the other says of itself. */
  readonly wrote: Divergence;
  readonly theirs: Divergence | undefined;
};

/**
 * Every site whose branch of the history differs from the one here, and that no operator has settled. Copies that only follow
 * one of them are left out where their primary is known.
 */
export function splitsOf(group: Group): Split[] {
  const splits: Split[] = [];
  for (const site of group.views.keys()) {
    const split = splitFrom(group, site);
    if (split !== undefined) splits.push(split);
  }
  const leaders = splits.filter(({ site, view }) => view.history.at(-1)?.site === site);
  return leaders.length > 0 ? leaders : splits;
}

export function splitFrom(group: Group, site: string): Split | undefined {
  const view = group.views.get(site)?.view;
  if (view === undefined || !hasSplit(group, site, view)) return undefined;
  return { site, view, wrote: wroteHere(group, site, view), theirs: view.wrote };
}

function hasSplit(group: Group, site: string, view: GroupView): boolean {
  const record = knownRecord(group);
  if (record.discarding !== undefined && isFavoured(record.discarding.favours, view.history))
    return false;
  if (isFavoured(view.discards ?? [], record.history)) return false;
  if (isSplit(record, view.history)) return true;
  // Whom it acked without before it was demoted, the other has told when it was asked to be fed.
  return (
    group.run?.primary.members.some(
      (member) => member.site === site && member.record.splitBrain,
    ) === true
  );
}

/** Regions that may differ for what was written here: those that the other lacks, or all, where that is not known. */
function wroteHere(group: Group, site: string, view: GroupView): Divergence {
  const record = knownRecord(group);
  const maps =
    group.run === undefined && !knowsItsWrites(record) ? undefined : lackedBy(group, site);
  let regions = 0;
  let bytes = 0;
  record.volumes.forEach((volume, index) => {
    const map = maps?.[index];
    const marked = map === undefined ? volume.bytes : Math.min(markedBytes(map), volume.bytes);
    regions += Math.ceil(marked / record.regionBytes);
    bytes += marked;
  });
  const sinceMs = beganAtMs(group, view);
  return { regions, bytes, ...(sinceMs === undefined ? {} : { sinceMs }) };
}

/** What a member lacks of this site's writes: its dirty maps, and what is open here where the journal has the rest. */
function lackedBy({ context }: Group, site: string): readonly RegionMap[] {
  const { record, openMaps, dirtyMaps } = context.store;
  const dirty = dirtyMaps.get(site);
  return record.volumes.map((_, index) => {
    const lacked = dirty?.[index]?.map;
    if (lacked !== undefined) return lacked;
    return must(openMaps[index], `volume ${index} has no open map`).map;
  });
}

// The first tenure that the other lacks; or, where it was promoted behind the last one here, the first ack without it.
function beganAtMs(group: Group, { history }: GroupView): number | undefined {
  const record = knownRecord(group);
  const fork = forkOf(record.history, history);
  if (compareHistories(record.history, history) !== "behind") return record.history[fork]?.atMs;
  const lacking = overtakersIn(record.history, history).map(({ site }) => record.members[site]);
  return lacking.find((member) => member?.alone === true)?.aloneSinceMs;
}

/** Everything here that may differ from any other site: for who gives up what was written here. */
export function markOwnWrites(group: Group): void {
  const { record, openMaps, dirtyMaps } = group.context.store;
  const knows = knowsItsWrites(record);
  for (const [index, open] of openMaps.entries()) {
    if (!knows) mark(open.map, 0, open.map.units - 1);
    for (const maps of dirtyMaps.values()) {
      const map = maps[index]?.map;
      if (map !== undefined) orInto(open.map, map);
    }
  }
}
