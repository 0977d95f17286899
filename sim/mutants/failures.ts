import type { Mutant } from "./mutant.ts";

/** Planted bugs of who watches the primary (SPEC B7): its failure is not raised, or never taken back. */
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
];
