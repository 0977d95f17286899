import type { Mutant } from "./mutant.ts";

/** Planted bugs of copies that take sets: journal, staging, application, resync beside sets, promotion. */
export const setMutants: readonly Mutant[] = [
  {
    name: "settled-once",
    isSeldom: true,
    file: "src/core/staging.ts",
    find: '    if (event.kind === "settle") return tellSettled(staging, out);\n',
    replace: '    if (event.kind === "settle") return;\n',
    ids: ["I31"],
    note: "a promotion that an image has hindered once is never answered again",
  },
  {
    name: "held-by-a-lost-session",
    file: "src/core/copy.ts",
    find: "  // What failed for the session held up what was behind it, and never answers again.\n  finishOldest(copy, out);\n",
    replace: "",
    ids: ["I31"],
    note: "a set behind a region that the image refused is never called applied",
  },
  {
    name: "complete-before-sync",
    file: "src/core/staging.ts",
    find: '  out.push({ kind: "flag", ticket: record.ticket, flags });',
    replace:
      '  out.push({ kind: "flag", ticket: record.ticket, flags });\n  for (const set of staging.flagged) set.phase = "complete";\n  advanceComplete(staging, out);',
    ids: ["I20", "I6"],
    note: "a set is called complete, and applied, when its flag is written and before the sync of it",
  },
  {
    name: "apply-over-a-gap",
    file: "src/core/staging-state.ts",
    find: "  const exact = staging.sets.get(after + 1);",
    replace: "  const exact = staging.sets.get(after + 1) ?? staging.sets.get(after + 2);",
    ids: ["I13", "I20", "I8", "I6", "I31", "I33", "I16"],
    note: "a set is applied though the one before it is missing",
  },
  {
    name: "count-and-digest-ignored",
    file: "src/core/set-tracker.ts",
    find: '  return tracker.seal !== undefined && tracker.count === countOf(tracker.seal);\n}\n\n/** Why a whole set is not the one that was sealed; undefined when it is. */\nexport function faultOf(tracker: SetTracker<unknown>): Broken | undefined {\n  const seal = must(tracker.seal, "a set without its SEAL is not whole");\n',
    replace:
      '  return tracker.seal !== undefined;\n}\n\nexport function faultOf(tracker: SetTracker<unknown>): Broken | undefined {\n  const seal = must(tracker.seal, "a set without its SEAL is not whole");\n  if (tracker.count < countOf(seal) && tracker.prefix === tracker.entries.length) return undefined;\n',
    ids: ["I20", "I31", "I8", "I33", "I16"],
    note: "a set is whole when its SEAL has come, whatever else has",
  },
  {
    name: "forgotten-before-complete",
    file: "src/core/journal-room.ts",
    find: "  const lsn = Math.min(\n    imagesLsn(primary, journal),\n    tail?.sets.completeLsn ?? Number.POSITIVE_INFINITY,\n  );\n  const set = tail?.sets.completeSet ?? journal.set - 1;",
    replace:
      "  const lsn = imagesLsn(primary, journal);\n  const set = tail === undefined ? journal.set - 1 : journal.set - 1;",
    ids: ["I17", "I22"],
    note: "the journal forgets what the images here have, though copies lack it",
  },
  {
    name: "kept-for-the-fastest",
    file: "src/core/journal-room.ts",
    find: "member.sets.completeLsn < holder.sets.completeLsn",
    replace: "member.sets.completeLsn > holder.sets.completeLsn",
    ids: ["I17", "I22"],
    note: "the journal is kept for the copy that is furthest ahead",
  },

  {
    name: "trip-without-marks",
    file: "src/core/set-members.ts",
    find: "  leaveJournal(primary, member, out);\n  fracture(primary, member, true, out);",
    replace:
      "  leaveJournal(primary, member, out);\n  member.record.alone = true;\n  for (const map of member.dirty ?? []) { map.pages.clear(); map.count = 0; }",
    ids: ["I16", "I17", "I22", "I31"],
    note: "a copy is tripped, and what is open is not dirty towards it",
  },
  {
    name: "replay-not-synced",
    file: "src/site/journal-start.ts",
    find: "      if (read.records.length === 0) return written();",
    replace: "      if (read.records.length === 0) return ended(undefined);",
    ids: ["N1", "I2"],
    note: "what a start writes from the journal is not synced, and yet the journal forgets it",
  },
  {
    name: "mark-ignored",
    file: "src/core/staging.ts",
    find: "  return set <= session.markedSet;",
    replace: "  return set <= session.markedSet || set > 0;",
    ids: ["I31", "I16", "I8", "I33"],
    note: "in a resync a set is applied ahead of regions that are older than it",
  },
  {
    name: "nothing-retained",
    file: "src/core/open-map.ts",
    find: "    if (!takesSets(member)) continue;\n    const { sets, stage } = member;",
    replace:
      "    if (!takesSets(member) || primary.nowMs >= 0) continue;\n    const { sets, stage } = member;",
    ids: ["I16", "I31"],
    note: "a granule is closed though a copy lacks a write of it that is in the journal alone",
  },
  {
    name: "staging-forgets-early",
    file: "src/core/staging.ts",
    find: "  push(staging.unsynced, { set: number, bytes, records: set.records });",
    replace:
      "  unpin(set.records);\n  push(staging.unsynced, { set: number, bytes, records: [] });",
    ids: ["I6", "I8", "I16", "N3"],
    note: "staging forgets a set when it is in the images, before they are synced",
  },
  {
    name: "applied-not-synced",
    file: "src/site/staging-run.ts",
    find: '    case "syncImages":\n      return owner.syncImages();',
    replace:
      '    case "syncImages":\n      return submitStaging(run, { kind: "imagesSynced", failure: undefined });',
    ids: ["I6", "I8", "I16", "N3"],
    note: "what is applied goes on record without a sync of the images",
  },
  {
    name: "open-set-abandoned",
    file: "src/core/journal.ts",
    find: "    set: openSet?.set ?? found.nextSet,",
    replace: "    set: found.nextSet,",
    ids: ["I31", "I8", "I33"],
    note: "the set that a crash left open gets no SEAL, and what is in it no copy",
  },
  {
    name: "complete-shown-as-applied",
    file: "src/site/copy-sets.ts",
    find: "    appliedLsn: applied.lsn,",
    replace: "    appliedLsn: complete.lsn,",
    ids: ["I33"],
    note: "a copy reports as applied what is only complete",
  },
  {
    name: "journal-not-replayed",
    file: "src/site/journal-start.ts",
    find: "  next(placeOf(log, figuresOf(log).firstRecord));\n}\n",
    replace: "  next(undefined);\n}\n",
    ids: ["I16", "I31", "I8", "I2", "I33"],
    note: "a start does not write what is in the journal into the images",
  },
  {
    name: "power-loss-unnoticed",
    file: "src/site/group.ts",
    find: "  const isPowerLost = !record.cleanStop && !isSameBoot;",
    replace: "  const isPowerLost = !record.cleanStop && !isSameBoot && record.incarnation < 0;",
    ids: ["I16", "I31", "I17", "I22", "I33", "N8"],
    note: "a journal that may have lost its end in a power cut is taken for whole",
  },
  {
    name: "sets-before-ready",
    file: "src/core/set-members.ts",
    find: "  sets.firstSet = firstSet;\n",
    replace:
      '  sets.firstSet = firstSet;\n  out.push({ kind: "sendSets", member: member.index, fromSet: firstSet });\n',
    ids: ["I31"],
    note: "sets are sent before the copy knows the session that they are of",
  },
  {
    name: "lag-of-sets-hidden",
    file: "src/site/sets-status.ts",
    find: "  const lagWrites = Math.max(0, lsn - completeLsn);",
    replace: "  const lagWrites = Math.min(0, lsn - completeLsn);",
    ids: ["N8", "I31"],
    note: "status says that a copy of sets is never behind",
  },
  {
    name: "appending-not-counted",
    isSeldom: true,
    file: "src/core/journal.ts",
    find: "  return bytesUsed + gatheredBytes + appendingBytes + limits.journalMarginBytes > bytesMax;",
    replace:
      "  return bytesUsed + gatheredBytes + 0 * appendingBytes + limits.journalMarginBytes > bytesMax;",
    ids: ["I31"],
    note: "what one step lets into the journal is counted once it is appended, and not before",
  },
];
