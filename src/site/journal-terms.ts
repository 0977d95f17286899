import { must } from "#base/assert.ts";
import { createJournal } from "#core/journal.ts";
import type { Journal, SealPolicy } from "#core/journal.ts";
import { policyTable } from "#core/policy.ts";
import type { GroupContext } from "./group-context.ts";
import { bytesMaxOf } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// What a group's configuration says of its journal, as the machine of a primary needs it.

/** The journal as the machine of a primary has it. */
export function machineJournal(context: GroupContext, journal: JournalRun): Journal {
  const sets = must(setsOf(context), "a group with a journal has a copy that takes sets");
  const bytesMax = bytesMaxOf(journal);
  return createJournal({ ...sets, bytesMax }, journal.found, context.ports.clock.nowMs());
}

/** How sets are sealed, and what a full journal does; undefined where no copy of the configuration takes sets. */
export function setsOf({ config }: GroupContext): Pick<Journal, "policy" | "overflow"> | undefined {
  const takers = [...config.copies.values()].filter(({ mode }) => policyTable[mode].journal);
  if (takers.length === 0) return undefined;
  return { policy: tightest(takers.map(({ seal }) => seal)), overflow: config.journal.overflow };
}

// All copies of a group get the same sets: the most impatient of them decides when those end.
function tightest(seals: readonly SealPolicy[]): SealPolicy {
  const [first, ...others] = seals;
  let policy = must(first, "a group with a journal has a copy that takes sets");
  for (const { everyMs, bytesMax, onFlush } of others) {
    policy = {
      everyMs: Math.min(policy.everyMs, everyMs),
      bytesMax: Math.min(policy.bytesMax, bytesMax),
      onFlush: policy.onFlush === onFlush ? onFlush : true,
    };
  }
  return policy;
}
