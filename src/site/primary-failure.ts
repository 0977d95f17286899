import { raised } from "#ports/events.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { emit } from "./group-context.ts";
import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { linkDownFor } from "./inquiry.ts";

// Detection (SPEC B7) at who is not the primary: its node answers no inquiry any more, or it says that a volume has failed.
// Each is told once, and its end once.

/** What is wrong with the primary, as this site knows it, until that is over. */
export type PrimaryFailure = {
  readonly site: string;
  /** What the inquiry came to; undefined while the node answers. */
  nodeWhy: string | undefined;
  volumes: readonly string[];
};

/** A site answers no inquiry any more. One that was not heard since this process started may never have been there. */
export function nodeFailed(group: Group, site: string, why: string): void {
  if (group.run !== undefined) {
    tellLink(group, site, why);
    return group.run.siteDown(site, why);
  }
  group.bunker?.siteDown(site, why);
  raiseNode(group, site, why);
}

/**
 * A site still answers no inquiry. Where it had not been heard when that was found, and has asked us meanwhile, nobody has been
 * told: its end is when it does not ask any more either.
 */
export function nodeStillDown(
  group: Group,
  site: string,
  why: string,
  silentBeforeMs: number,
): void {
  if (group.run !== undefined || group.heard === undefined) return;
  if (group.heard.atMs <= silentBeforeMs) raiseNode(group, site, why);
}

function raiseNode(group: Group, site: string, why: string): void {
  if (group.heard?.site !== site || primaryOf(group) !== site) return;
  const failure = failureOf(group, site);
  if (failure.nodeWhy !== undefined) return;
  failure.nodeWhy = why;
  emit(group.context, {
    kind: raised.nodeFailed,
    why: `${site}, the primary, does not answer: ${why}`,
  });
}

/**
 * A site has answered an inquiry, and its view is heard. What it says in inquiries of its own may have been under way for long,
 * and is not gone by here.
 */
export function nodeAnswered(group: Group, site: string, roundTripMs: number): void {
  if (group.run !== undefined) tellLink(group, site, undefined);
  group.run?.siteAnswered(site, roundTripMs);
  group.bunker?.siteAnswered(site, roundTripMs);
  const failure = group.primaryFailure;
  if (failure?.site === site && failure.nodeWhy !== undefined) {
    failure.nodeWhy = undefined;
    emit(group.context, { kind: raised.recovered, why: `${site} answers again` });
  }
  const view = group.views.get(site)?.view;
  if (view !== undefined && group.heard?.view === view) hearVolumes(group, site, view);
  const { nodeWhy, volumes = [] } = group.primaryFailure ?? {};
  if (nodeWhy === undefined && volumes.length === 0) group.primaryFailure = undefined;
}

// The way to a site, as the primary sees it, by name and class (A12): devices have links of their own (core/gateway.ts).
function tellLink(group: Group, site: string, why: string | undefined): void {
  const { context, linksDown, run } = group;
  // A neighbour of another group is no business of this one's.
  if (run === undefined || !run.primary.members.some((member) => member.site === site)) return;
  const was = linksDown.get(site);
  if ((why === undefined) === (was === undefined)) return;
  const down = linkDownFor(why ?? "");
  const address = context.addressOf(site);
  if (why === undefined) linksDown.delete(site);
  else linksDown.set(site, down);
  // What was never reached since this start was never up.
  const isFirst = context.inquiries.of(site).lastAnswerMs === undefined;
  const lost = isFirst ? { to: down } : { from: "up", to: down };
  const state = why === undefined ? { from: was ?? down, to: "up" } : lost;
  const words = `WAN_LINK ${address}: ${why ?? `${site} answers again`}`;
  emit(context, { kind: "link", copy: site, ...state, why: words });
}

function hearVolumes(group: Group, site: string, { failedVolumes = [] }: GroupView): void {
  if (failedVolumes.length === 0 && group.primaryFailure?.site !== site) return;
  const failure = failureOf(group, site);
  for (const volume of failedVolumes) {
    if (failure.volumes.includes(volume)) continue;
    const why = `${site}, the primary, says that it has failed there`;
    emit(group.context, { kind: raised.volumeFailed, volume, why });
  }
  for (const volume of failure.volumes) {
    if (failedVolumes.includes(volume)) continue;
    const why = `${site}, the primary, serves it again`;
    emit(group.context, { kind: raised.recovered, volume, why });
  }
  failure.volumes = failedVolumes;
}

// Of an earlier primary nothing is of interest any more: its successor has the group.
function failureOf(group: Group, site: string): PrimaryFailure {
  if (group.primaryFailure?.site !== site)
    group.primaryFailure = { site, nodeWhy: undefined, volumes: [] };
  return group.primaryFailure;
}
