import { must } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { CopyConfig } from "#config/types.ts";
import { createJournal } from "#core/journal.ts";
import type { Journal, SealPolicy } from "#core/journal.ts";
import { policyTable } from "#core/policy.ts";
import type { GroupContext } from "./group-context.ts";
import { diskOf } from "./journal-disk.ts";
import { bytesMaxOf } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// What a group's configuration says of its journal, as the machine of a primary needs it.

/** The journal as the machine of a primary has it; `isReplayed`: everything in it is in the images, synced. */
export function machineJournal(
  context: GroupContext,
  journal: JournalRun,
  isReplayed: boolean,
): Journal {
  const sets = must(setsOf(context), "a group with a journal has a copy that takes sets");
  const bytesMax = bytesMaxOf(journal);
  const { segmentBytes } = journal.log.options;
  return createJournal(
    { ...sets, bytesMax, segmentBytes, disk: diskOf(context, journal.log) },
    { ...journal.found, isReplayed },
    context.ports.clock.nowMs(),
  );
}

/** How sets are sealed, and what a full journal does; undefined where no copy of the configuration takes sets. */
export function setsOf({ config }: GroupContext): Pick<Journal, "policy" | "overflow"> | undefined {
  const fed = [...config.copies.values()].filter(({ mode }) => policyTable[mode].journal);
  // A bunker takes the sets as they are; it has no wish how they end.
  const applying = fed.filter(({ mode }) => policyTable[mode].unit === "set");
  const takers = applying.length > 0 ? applying : fed;
  if (takers.length === 0) return undefined;
  return { policy: tightest(takers), overflow: config.journal.overflow };
}

// All copies of a group get the same sets: the most impatient of them decides when those end, and the strictest when hosts
// are answered.
function tightest(copies: readonly CopyConfig[]): SealPolicy {
  const [first, ...others] = copies.map(({ mode, seal, ackAt }) => ({
    ...seal,
    countMax: policyTable[mode].folds ? limits.cycleEntriesMax : limits.setEntriesMax,
    acksAtSwitch: ackAt === "switch",
  }));
  let policy: SealPolicy = must(first, "a group with a journal has a copy that takes sets");
  for (const { everyMs, bytesMax, onFlush, countMax, acksAtSwitch } of others) {
    policy = {
      everyMs: Math.min(policy.everyMs, everyMs),
      bytesMax: Math.min(policy.bytesMax, bytesMax),
      onFlush: policy.onFlush === onFlush ? onFlush : true,
      countMax: Math.min(policy.countMax, countMax),
      acksAtSwitch: policy.acksAtSwitch || acksAtSwitch,
    };
  }
  return policy;
}
