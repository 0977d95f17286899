import type { Mutant } from "./mutant.ts";

/** Bugs in planned changes of role. */
export const handoverMutants: readonly Mutant[] = [
  {
    name: "taken-while-handing",
    file: "src/core/order.ts",
    find: '  if (primary.stage === "starting" || primary.stage === "handing") return hold(primary, request);',
    replace: '  if (primary.stage === "starting") return hold(primary, request);',
    ids: ["I28", "I33", "I32", "I3"],
    note: "requests that come while the role is handed over are taken, and acked after the successor has it",
  },
  {
    name: "unanswered-offer-taken-back",
    file: "src/core/handover.ts",
    find: '  out.push({ kind: "closeSession", member: handover.member, why: handover.whyKept });',
    replace: "  keepRole(primary, handover.whyKept, out);",
    ids: ["I28"],
    note: "an offer that was not answered counts as refused: both sites serve when the successor took it and died, or the link did",
  },
  {
    name: "offer-forgotten-by-restart",
    isSeldom: true,
    file: "src/core/life.ts",
    find: "  if (primary.handover !== undefined && isOffered(primary)) {",
    replace: "  if (primary.handover !== undefined && primary.volumes.length === 0) {",
    ids: ["I28", "I31"],
    note: "a primary that is started again with an offer on record serves hosts before the successor has spoken",
  },
  {
    name: "role-kept-and-not-served",
    file: "src/core/handover.ts",
    find: '  if (primary.stage === "handing") primary.stage = "serving";',
    replace: "",
    ids: ["I31"],
    note: "a handover is given up, and hosts wait for ever",
  },
];
