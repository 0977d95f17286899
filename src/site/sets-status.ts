import { shownState, takesSets } from "#core/member-state.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import { completeBytes } from "#core/staging-lag.ts";
import { viewSets, watermarksOf } from "#core/staging-state.ts";
import { limits } from "#base/limits.ts";
import type { CopyStatus } from "./api.ts";
import { lagWritesOf } from "./lag.ts";
import { bytesBehind, firstSetKnown } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import type { StagingRun } from "./staging-run.ts";

// The figures of copies that take sets, at the primary and at the copy itself. All lags are upper bounds (I33): what is on its
// way counts as lacking until the copy has said otherwise.

/** Highest LSN of which that is true at the copy. */
type Watermark = "received" | "staged" | "complete" | "applied";

type Figures = Pick<
  CopyStatus,
  | Watermark
  | "lagBytes"
  | "lagWrites"
  | "isLagCounted"
  | "lagSeconds"
  | "applyLagBytes"
  | "applyLagWrites"
  | "sets"
>;

/** What a member has: of one that takes sets also where the journal is not open, as in a group that has failed. */
export function heldBy(member: Member): Pick<CopyStatus, Watermark> {
  const { ackedLsn, record, sets } = member;
  const has = takesSets(member) ? sets.completeLsn : ackedLsn;
  const applied = takesSets(member) ? sets.appliedLsn : record.syncedLsn;
  return { received: has, staged: has, complete: has, applied };
}

/** What the primary knows of such a member. */
export function memberFigures(
  primary: Primary,
  member: Member,
  journal: JournalRun,
  dirtyBytes: number,
): Omit<Figures, Watermark> {
  const { sets, record } = member;
  const isDirty = record.phase !== "synchronized";
  const completeLsn = isDirty ? Math.min(sets.completeLsn, record.syncedLsn) : sets.completeLsn;
  const lag = lagWritesOf(primary, completeLsn, () =>
    Math.max(behind(primary, member, journal), dirtyBytes),
  );
  const { lagWrites } = lag;
  const behindBytes = lagWrites === 0 ? 0 : behind(primary, member, journal);
  return {
    lagBytes: Math.max(behindBytes, dirtyBytes),
    ...lag,
    lagSeconds: lagWrites === 0 ? 0 : lagMs(primary, member) / 1000,
    applyLagBytes:
      sets.appliedSet >= sets.completeSet
        ? 0
        : Math.max(0, bytesBehind(journal, sets.appliedSet) - behindBytes),
    applyLagWrites: Math.max(0, sets.completeLsn - sets.appliedLsn),
    sets: [],
  };
}

// What was let go here before this start, since its relay has it, is open at least.
function behind(
  { openGranules, retainedGranules }: Primary,
  { sets, policy }: Member,
  journal: JournalRun,
): number {
  const bytes = bytesBehind(journal, sets.completeSet);
  if (policy.through === undefined || firstSetKnown(journal) <= sets.completeSet + 1) return bytes;
  return Math.max(bytes, (openGranules + retainedGranules) * limits.openGranuleBytes);
}

/**
 * For how long such a member lacks something: since its complete set was sealed. A stamp of another tenure is of another clock,
 * and one from the future tells that ours was set back: either counts as the start of this primary.
 */
function lagMs(primary: Primary, { sets, record }: Member): number {
  // Nothing of this tenure was ever complete there: its promotion began with 0.
  const isForeign = record.syncedLsn === 0;
  const isKnown = sets.stampMs > 0 && !isForeign && sets.stampMs <= primary.wallMs;
  if (isKnown) return primary.wallMs - sets.stampMs;
  return Math.max(primary.nowMs - primary.startedMs, aloneMs(primary, { record }));
}

/** For how long hosts have been answered without the member, over restarts; 0 where that is not on record. */
export function aloneMs({ wallMs }: Primary, { record }: Pick<Member, "record">): number {
  const { alone, aloneSinceMs = wallMs } = record;
  return alone ? Math.max(0, wallMs - aloneSinceMs) : 0;
}

/** What a copy knows of itself. `heard`: the newest that its primary has told of, and how much of that was lacking here. */
export function ownFigures(
  staging: StagingRun,
  heard: {
    readonly lsn: number;
    readonly lackedBytes: number;
    readonly lackedWrites: number;
    readonly msAgo: number | undefined;
  },
): Figures {
  const { received, staged, complete, applied } = watermarksOf(staging.staging);
  const lagWrites = Math.min(Math.max(0, heard.lsn - complete), heard.lackedWrites);
  return {
    received,
    staged,
    complete,
    applied,
    lagBytes: lagWrites === 0 ? 0 : heard.lackedBytes,
    lagWrites,
    lagSeconds: (heard.msAgo ?? 0) / 1000,
    applyLagBytes: completeBytes(staging.staging),
    applyLagWrites: Math.max(0, complete - applied),
    sets: viewSets(staging.staging, limits.setsShownMax),
  };
}

/** Why such a member, though it is fed, is not at its best, or "". */
export function whyBehind(primary: Primary, member: Member): string {
  if (shownState(member) !== "replaying") return "";
  const { completeLsn } = member.sets;
  if (completeLsn < primary.firstLsn - 1) return "catching up from the journal";
  return `catching up from the journal, ${primary.nextLsn - 1 - completeLsn} writes behind`;
}
