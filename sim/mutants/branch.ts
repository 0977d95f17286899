import type { Mutant } from "./mutant.ts";

/** Planted bugs of the way out of a split brain: what is kept of the side that was given up, and how it comes back. */
export const branchMutants: readonly Mutant[] = [
  {
    name: "earlier-acks-forgotten",
    file: "src/site/promote.ts",
    find: "      record.members[policy.site] = { ...member, mayLackEarlier: true };\n",
    replace: "      record.members[policy.site] = member;\n",
    ids: ["I29"],
    note: "who takes over does not put on record that a member may lack what was acked before, and is overwritten by it",
  },
  {
    name: "word-not-on-record",
    file: "src/site/discard.ts",
    find: "  saveRecord(group.context.store, (failure) => {\n    group.recordBefore = undefined;\n    goOn(",
    replace:
      "  const told = (then: (failure?: Error) => void): void => then();\n  told((failure) => {\n    group.recordBefore = undefined;\n    goOn(",
    ids: ["I28"],
    note: "a discard is answered before it is on record, and the site follows a lower generation without it",
  },
  {
    name: "branch-overwritten",
    file: "src/core/preserve-copy.ts",
    find: "  return branch === undefined || isSaved(branch, work);",
    replace: "  return branch === undefined || branch.stepBytes > 0;",
    ids: ["I30"],
    note: "what was given up is overwritten, and the branch has nothing of it",
  },
  {
    name: "branch-gone-when-whole",
    file: "src/core/copy.ts",
    find: "  record.preservedPoint = undefined;\n  delete record.reverted;",
    replace:
      "  record.preservedPoint = undefined;\n  delete record.branch;\n  delete record.reverted;",
    ids: ["I30"],
    note: "the branch goes when the resync ends, like a preserved point, and not when the operator drops it",
  },
  {
    name: "branch-back-not-synced",
    file: "src/site/branch-run.ts",
    find: "    syncImages(context.images, (notSynced) => {",
    replace: "    ((images, then) => then(undefined))(context.images, (notSynced) => {",
    ids: ["I30"],
    note: "the record says that the image is the branch again before that is synced",
  },
  {
    name: "branch-back-as-a-copy",
    file: "src/site/branch-run.ts",
    find: "  record.members = membersOf(branch);",
    replace: "  record.members = {};",
    ids: ["I29"],
    note: "a branch that was brought back does not say that it acked alone, and is overwritten again without a word",
  },
  {
    name: "surplus-not-compared",
    file: "src/core/branch.ts",
    find: "  return heldLsn !== undefined && tenureEnd.lsn <= heldLsn;",
    replace: "  return heldLsn !== undefined;",
    ids: ["I29"],
    note: "whoever says up to where it held the tenure before counts as if that were all that was acked in it",
  },
  {
    name: "held-and-not-believed",
    isSeldom: true,
    file: "src/site/copy-run.ts",
    find: "record.discarding === undefined ? aloneBefore(record, theirs) : [],",
    replace: "record.discarding === undefined ? aloneBefore(record, record.history) : [],",
    ids: ["I31"],
    note: "a former primary whose successor has all that it acked is in split brain with it all the same",
  },
  {
    name: "first-overtaker-alone",
    file: "src/core/branch.ts",
    find: "filter(({ isWhole }, place) => place === 0 || isWhole !== true);",
    replace: "filter((_, place) => place === 0);",
    ids: ["I29"],
    note: "a returning primary is judged by who succeeded it, though a later one began with an image from before",
  },
  {
    name: "every-image-whole",
    file: "src/core/promotion.ts",
    find: "  return isWhole && !isOlder && failedVolumes.length === 0;\n}",
    replace: "  return isWhole || isOlder || failedVolumes.length > 0;\n}",
    ids: ["I29"],
    note: "who begins at a preserved point says that its image is whole",
  },
];
