import type { Mutant } from "./mutant.ts";

/** Planted bugs of `verify`: what it overlooks, what it makes up, what it does not mend. */
export const verifyMutants: readonly Mutant[] = [
  {
    name: "verify-overlooks",
    file: "src/core/verify.ts",
    find: "    if (differs) markBytes(",
    replace: "    if (differs && region === 0) markBytes(",
    ids: ["I34"],
    note: "of a chunk that differs only the first region is noted",
  },
  {
    name: "verify-cries-wolf",
    file: "src/core/verify.ts",
    find: "    if (item.check !== undefined && overlaps(item, range)) item.check.isStale = true;",
    replace:
      "    if (item.check !== undefined && overlaps(item, range)) item.check.isStale = false;",
    ids: ["I34"],
    note: "what was written while a copy of sets was asked counts as a difference",
  },
  {
    name: "verify-of-what-is-not-applied",
    file: "src/core/verify.ts",
    find: "  if (takesSets(member) && member.sets.appliedLsn < check.atLsn) return;",
    replace: "",
    ids: ["I34"],
    note: "a copy of sets is compared before it has applied what was read here",
  },
  {
    name: "verify-mends-nothing",
    file: "src/core/verify.ts",
    find: "    orInto(mapOf(primary, member, volume, out), map);",
    replace: "    void map, orInto, mapOf(primary, member, volume, out);",
    ids: ["I31", "I16", "N3"],
    note: "a repair brings the copy back, and does not mark what differed",
  },
];
