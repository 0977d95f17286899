import { currentGeneration } from "./history.ts";
import type { MemberPolicy } from "./policy.ts";
import type { Primary } from "./primary-state.ts";

// Up to where a primary has acked, on record when its tenure ends: whoever has succeeded it says up to where it held that
// tenure, and so both know whether anything lies above the fork (decision 9, SPEC-branch.md).

/** A start: what the journal has lost, or may never have had, lies below the numbers of this start. */
export function noteUnjournaled({ record, journal, isJournalWhole, nextLsn }: Primary): void {
  const { incarnation, unjournaled } = record;
  delete record.tenureEnd;
  // A build that notes nothing of this may have started in between.
  const isKnown = isJournalWhole && unjournaled?.incarnation === incarnation - 1;
  if (journal === undefined) delete record.unjournaled;
  else record.unjournaled = { lsn: isKnown ? unjournaled.lsn : nextLsn - 1, incarnation };
}

/** Everything that was acked before has not been in a journal, or not in this one. */
export function noteNewJournal({ record, nextLsn }: Primary): void {
  record.unjournaled = { lsn: nextLsn - 1, incarnation: record.incarnation };
}

/** A configuration with which the journal ends: on record before anything is acked without one. */
export function forgetUnjournaled({ record }: Primary, policies: readonly MemberPolicy[]): void {
  if (!policies.some(({ mode }) => mode.journal)) delete record.unjournaled;
}

/** The tenure is over: nothing is acked any more. Goes on record with that. */
export function noteTenureEnd({ record, journal, ackedLsn }: Primary): void {
  const id = currentGeneration(record.history)?.id;
  const { unjournaled } = record;
  delete record.tenureEnd;
  if (id === undefined || journal === undefined || unjournaled === undefined) return;
  // What earlier starts acked is in the journal that this one found; what it found may be more than was acked, never less.
  record.tenureEnd = { id, lsn: Math.max(ackedLsn, journal.foundWriteLsn, unjournaled.lsn) };
}
