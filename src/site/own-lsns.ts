import { watermarksOf } from "#core/staging-state.ts";
import { knownRecord } from "./group.ts";
import type { Group } from "./group.ts";
import type { StagingRun } from "./staging-run.ts";

/** Where sets are staged here: while a session takes them, or since the last one that did. */
export function stagingOf({ copy, context }: Group): StagingRun | undefined {
  const staging = copy?.staging;
  if (staging === undefined) return undefined;
  const { session } = copy?.copy ?? {};
  // Before it has begun, a session says nothing of what is here.
  if (session?.begun === true) return session.takesSets ? staging : undefined;
  const isHeld = context.store.record.applied !== undefined || staging.staging.complete.set > 0;
  return isHeld ? staging : undefined;
}

/** Up to where this site has everything: what it knows, or what was on record of it when its process started. */
export function ownLsns(group: Group): { received: number; applied: number; synced: number } {
  const record = knownRecord(group);
  // Who was demoted in order has all that it acked itself.
  if (record.role === "demoted" && record.cleanStop) {
    const lsn = record.lsnReserved - 1;
    return { received: lsn, applied: lsn, synced: lsn };
  }
  const staging = stagingOf(group);
  if (staging !== undefined) {
    const { received, applied, synced } = watermarksOf(staging.staging);
    return { received, applied, synced };
  }
  const { receivedLsn = 0, appliedLsn = 0, syncedLsn = 0 } = group.copy?.copy ?? {};
  return { received: receivedLsn, applied: appliedLsn, synced: syncedLsn };
}
