import type { Mutant } from "./mutant.ts";

/** Planted bugs of the preserved point: what is saved, when, for how long, and how an image goes back to it. */
export const preserveMutants: readonly Mutant[] = [
  {
    name: "overwrite-before-saved",
    file: "src/store/preserve-log.ts",
    find: '  else if ("code" in place) done(place);\n  else sync(log, done);',
    replace: '  else if ("code" in place) done(place);\n  else done(undefined);',
    ids: ["I30"],
    note: "a resync overwrites when the old content is appended, before it is synced",
  },
  {
    name: "saved-again",
    file: "src/core/preserve.ts",
    find: "    const isWanted = unit <= last && gathered < room && !isMarked(saved, unit);",
    replace: "    const isWanted = unit <= last && gathered < room;",
    ids: ["I30"],
    note: "what a unit holds when it is overwritten again takes the place of what it held at the point",
  },
  {
    name: "point-dropped-early",
    file: "src/core/preserve-copy.ts",
    find: "  if (copy.preserve === undefined || copy.record.preservedPoint !== undefined) return;",
    replace: "  if (copy.preserve === undefined) return;",
    ids: ["I30"],
    note: "the preserve log goes when the next session begins, and not when the image is whole",
  },
  {
    name: "undo-not-synced",
    file: "src/site/preserve-run.ts",
    find: "  const { store } = context;\n  syncImages(context.images, (notSynced) => {",
    replace:
      "  const { store } = context;\n  ((images, then) => then(undefined))(context.images, (notSynced) => {",
    ids: ["I30"],
    note: "the record says that the image is back at its point before that is synced",
  },
  {
    name: "point-in-mid-set",
    isSeldom: true,
    file: "src/site/copy-sets.ts",
    find: '  sets.pendingBegin = work;\n  submitStaging(sets.host.staging, { kind: "drain" });',
    replace: '  sets.host.submit({ kind: "work", work });',
    ids: ["I30", "I8", "I10", "I6"],
    note: "the point is made while complete sets are still being applied",
  },
];
