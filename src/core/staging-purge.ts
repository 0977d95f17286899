import { addRecord, forgetSet, release } from "./staging-state.ts";
import type { Staging, StagingEffect, StagingSession } from "./staging-state.ts";

// What a copy gives up of its sets, and when a session that asks for it may go on (SPEC-cycle.md, Recovery).

type Out<Held> = StagingEffect<Held>[];

/** Everything that is not contiguous and complete goes, even what is complete behind a gap (U50). */
export function forgetIncomplete<Held>(staging: Staging<Held>, out: Out<Held>): void {
  forgetBelow(staging, Number.POSITIVE_INFINITY, out);
  staging.received = staging.complete;
  staging.stagedLsn = staging.complete.lsn;
}

/** Sets below this number, of which something is here, never become complete. */
export function forgetBelow<Held>(staging: Staging<Held>, number: number, out: Out<Held>): void {
  const dropped: Held[] = [];
  for (const set of staging.sets.values()) if (set.set < number) forgetSet(staging, set, dropped);
  release(dropped, out);
}

/** BEGIN is to be answered: batches of this session count from here on. */
export function becomeReady<Held>(session: StagingSession, out: Out<Held>): void {
  session.isReady = true;
  out.push({ kind: "ready", epoch: session.epoch });
}

/**
 * What is whole here goes forward first: a sync that is under way, or owed to it, may call it complete. Then everything that
 * is not goes, and the log says so: a restart must not find again what the primary was told is gone (I23).
 */
export function movePurge<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const { session } = staging;
  const purge = session?.purge;
  if (session === undefined || purge === undefined) return;
  if (purge.ticket === "waiting") {
    if (staging.syncing !== undefined || staging.whole.length + staging.flagged.length > 0) return;
    for (const { tracker } of staging.sets.values())
      purge.entries += tracker.count + (tracker.seal === undefined ? 0 : 1);
    purge.ticket = staging.syncedTicket;
    if (staging.sets.size > 0 || staging.hasRemains) {
      const { ticket } = addRecord(staging);
      out.push({ kind: "purge", ticket, completeSet: staging.complete.set });
      forgetIncomplete(staging, out);
      staging.hasRemains = false;
      purge.ticket = ticket;
      staging.isSyncDue = true;
    }
  }
  if (purge.ticket > staging.syncedTicket) return;
  session.purge = undefined;
  out.push({ kind: "purged", complete: staging.complete, entries: purge.entries });
  becomeReady(session, out);
}
