import { groupOfPathBunker } from "#base/path-bunker.ts";
import type { LinkState } from "#core/states.ts";
import { otherSites } from "./ask-all.ts";
import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { linkDownFor } from "./inquiry.ts";

// What a copy or a bunker can say of the way to its primary: its session when it has one, else what the inquiry came to. That
// the other site answers is no session, and that there is none is no link that is down.

/** The way to who feeds this site, or should. */
export function ownLink(group: Group, isFed: boolean): LinkState {
  if (isFed) return "up";
  const inquiries = sitesToAsk(group).map((site) => group.context.inquiries.of(site));
  if (inquiries.some(({ isUp }) => isUp)) return "up";
  const isAbsent = inquiries.every(({ why }) => linkDownFor(why) === "peer-down");
  return inquiries.length > 0 && isAbsent ? "peer-down" : "wan-down";
}

// Who gave its role up, and knows of no successor, hears of one from whoever answers.
function sitesToAsk(group: Group): string[] {
  const primary = primaryOf(group);
  if (primary !== group.context.site) return [primary];
  return otherSites(group).filter((site) => groupOfPathBunker(site) === undefined);
}

/** Why the primary cannot feed anybody, as it says itself; "" where it does not answer, or does not say so. */
export function primaryTrouble(group: Group): string {
  const primary = primaryOf(group);
  const view = group.views.get(primary)?.view;
  const { isUp } = group.context.inquiries.of(primary);
  return isUp && view?.role === "primary" ? (view.failed ?? "") : "";
}

/** Why nobody feeds this site, as far as can be known here. */
export function whyNoSession(group: Group): string {
  const { context, heard, views } = group;
  const primary = primaryOf(group);
  const { isUp, why } = context.inquiries.of(primary);
  const failed = primaryTrouble(group);
  if (failed !== "") return `${primary}, the primary, has failed: ${failed}`;
  if (isUp) {
    const role = views.get(primary)?.view.role;
    const is = role === undefined || role === "primary" ? "" : ` and is ${role}`;
    return `no session with ${primary}, which answers${is}`;
  }
  const since =
    heard === undefined
      ? "since this process started"
      : `for ${((context.ports.clock.nowMs() - heard.atMs) / 1000).toFixed(1)} s`;
  return `no session with ${primary}; nothing heard ${since}${why === "" ? "" : `: ${why}`}`;
}
