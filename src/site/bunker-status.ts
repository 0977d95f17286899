import { activationOf } from "#core/bunker.ts";
import type { Bunker } from "#core/bunker.ts";
import type { CopyStatus } from "./api.ts";
import type { BunkerRun } from "./bunker-run.ts";
import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { ownLagWrites } from "./lag.ts";
import { ownLink, whyNoSession } from "./own-link.ts";
import { isFeederSilent } from "./primary-silence.ts";

// What `status` says at a bunker: the one element of `copies` is the site itself, and its log.

/** What a bunker knows of its own log. */
export function bunkerStatus(group: Group, run: BunkerRun): CopyStatus {
  const { bunker } = run;
  const { record } = bunker;
  const { heard, context } = group;
  const isFed = bunker.session?.isBegun === true && !isFeederSilent(group);
  const isWhole = record.bunker?.isWhole === true;
  const fedState = isWhole ? "streaming" : "replaying";
  const lostState = record.syncedAt === undefined ? "init-sync" : "buffering";
  // Fed and whole it lacks nothing that was acked: what it has heard of and not got is on its way.
  const lag = isFed && isWhole ? { lagWrites: 0 } : ownLagWrites(heard?.view, bunker.end.lsn);
  const msAgo = heard === undefined ? 0 : context.ports.clock.nowMs() - heard.atMs;
  return {
    site: context.site,
    mode: "bunker",
    state: isFed ? fedState : lostState,
    image: "none",
    received: bunker.end.lsn,
    staged: bunker.end.lsn,
    complete: bunker.end.lsn,
    applied: 0,
    lagBytes: lag.lagWrites === 0 ? 0 : (heard?.view.lackedBytes ?? 0),
    ...lag,
    lagSeconds: isFed ? 0 : msAgo / 1000,
    applyLagBytes: 0,
    applyLagWrites: 0,
    dirtyBytes: 0,
    sets: [],
    resyncSentBytes: 0,
    resyncComparedBytes: 0,
    isFed,
    link: ownLink(group, isFed),
    why: whyNotWhole(group, bunker, { isFed, isWhole }),
  };
}

function whyNotWhole(
  group: Group,
  { failure, record }: Bunker,
  { isFed, isWhole }: { readonly isFed: boolean; readonly isWhole: boolean },
): string {
  if (group.failedWhy !== "") return group.failedWhy;
  if (failure !== "") return failure;
  if (isFed && isWhole) return "";
  const { toldOfFracture } = record;
  const activation = activationOf(record);
  if (activation !== "")
    return `${activation}, and takes nothing from ${primaryOf(group)} any more`;
  if (isFed) return "catching up from the journal of the primary";
  if (record.discarding !== undefined)
    return "the log here is given up; waits for the other side's primary to feed it anew";
  if (toldOfFracture !== undefined)
    return `the primary went on without this bunker: ${toldOfFracture.why}`;
  return whyNoSession(group);
}
