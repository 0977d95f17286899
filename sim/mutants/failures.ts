import type { Mutant } from "./mutant.ts";

/** Planted bugs of failures: a primary's is not raised, or never taken back (SPEC B7); a staging log's counts for nothing. */
export const failureMutants: readonly Mutant[] = [
  {
    name: "dead-primary-not-raised",
    file: "src/site/primary-failure.ts",
    find: "  if (failure.nodeWhy !== undefined) return;",
    replace: "  if (failure.nodeWhy === undefined) return;",
    ids: ["I35"],
    note: "PRIMARY_NODE_FAILED is not raised when the primary's node answers no more",
  },
  {
    name: "failed-volume-not-raised",
    file: "src/site/primary-failure.ts",
    find: "    emit(group.context, { kind: raised.volumeFailed, volume, why });",
    replace: "    void why;",
    ids: ["I35"],
    note: "PRIMARY_VOLUME_FAILED is not raised when the primary says that a volume has failed",
  },
  {
    name: "recovery-not-raised",
    file: "src/site/primary-failure.ts",
    find: "  if (failure?.site === site && failure.nodeWhy !== undefined) {",
    replace: "  if (failure?.site === site && failure.nodeWhy !== undefined && roundTripMs < 0) {",
    ids: ["I35"],
    note: "that the primary's node answers again is never said",
  },
  {
    name: "promoted-without-its-staging",
    file: "src/core/staging.ts",
    find: "  if (failure !== undefined)\n    return failStaging(staging, `fdatasync of staging here failed: ${failure.message}`, out);",
    replace:
      '  if (failure !== undefined) {\n    for (const set of staging.syncing?.sets ?? []) if (set.phase === "flagged") set.phase = "complete";\n    advanceComplete(staging, out);\n    return failStaging(staging, failure.message, out);\n  }',
    ids: ["I1", "I2", "I16", "I20", "I33", "N1", "N2", "N3", "N8"],
    note: "a copy whose staging could not be synced counts as complete what that sync was for, and is promoted with it",
  },
  {
    name: "told-once-and-never-again",
    file: "src/site/inquiry.ts",
    find: "  if (link.isToldDown && link.awakeSinceMs <= silentBeforeMs)",
    replace: "  if (link.isToldDown && link.awakeSinceMs < 0)",
    ids: ["I35"],
    note: "a primary that was heard by in its own questions alone falls silent, and nobody is told",
  },
  {
    name: "full-disk-not-heeded",
    file: "src/core/journal.ts",
    find: "  if (disk === undefined) return false;\n",
    replace: "  if (disk === undefined || disk.aheadBytes >= 0) return false;\n",
    ids: ["I25"],
    note: "hosts are let in though the disk under the journal has no room, and the group fails for good",
  },
  {
    name: "room-not-asked-again",
    isSeldom: true,
    file: "src/site/journal-disk.ts",
    find: "  keepRoom(log, true);\n",
    replace: "  keepRoom(log);\n",
    ids: ["I31"],
    note: "hosts that wait for a full disk wait for ever, though there is room again",
  },
  {
    name: "refused-comes-back",
    file: "src/site/journal-start.ts",
    find: "      if (entry.lsn <= (left[entry.volume] ?? 0)) continue;",
    replace: "      if (entry.lsn < 0) continue;",
    ids: ["I31"],
    note: "a start writes into the image what a full disk had refused, and copies have been brought up since",
  },
  {
    name: "brought-up-before-refused-is-left-out",
    file: "src/core/refused.ts",
    find: "  return takesSets(member) && volumes.some(",
    replace: "  return member.index < 0 && volumes.some(",
    ids: ["I31"],
    note: "a copy is brought up from an image into which a start may still write what was refused",
  },
];
