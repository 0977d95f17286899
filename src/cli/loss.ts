import { formatSize } from "#config/units.ts";
import { describePoint } from "#core/point.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";

/**
 * What would be lost if the group's primary died now, in one sentence. At the primary it judges all copies; at a copy,
 * which knows only itself, what promoting it would give.
 */
export function describeLoss(group: GroupStatus, site: string): string {
  const whatIf = isPrimaryRole(group.role) ? `If ${site} died now` : `If ${group.primary} died now`;
  if (group.copies.length === 0) {
    return isPrimaryRole(group.role) || group.role === "demoted"
      ? `${whatIf}, everything would be lost: the group has no copy.`
      : `${whatIf}, this site could not help: it knows of no copy here.`;
  }
  const best = bestCopy(group.copies);
  if (best === undefined) {
    const kept = group.copies.find(({ preserved }) => preserved !== undefined);
    if (kept?.preserved !== undefined)
      return `${whatIf}, ${kept.site} could go back to ${describePoint(kept.preserved)}, and all since then would be lost.`;
    const sites = group.copies.map((copy) => copy.site).join(", ");
    return `${whatIf}, everything could be lost: ${sites} has no consistent image yet.`;
  }
  if (best.state === "synchronized" || hasAll(best)) {
    return `${whatIf}, nothing that was acked would be lost: ${best.site} has it all.`;
  }
  const log = group.copies.find((copy) => copy.mode === "bunker" && hasAll(copy));
  if (log !== undefined && isPrimaryRole(group.role))
    return `${whatIf}, nothing that was acked would be lost: ${best.site} lacks ${describeLag(best)}, and a replay from ${log.site} brings it.`;
  return `${whatIf}, ${best.site} would lack ${describeLag(best)}.`;
}

/**
 * The lag of a copy in bytes, writes and seconds. A fractured copy counts regions, not writes; the larger figure bounds
 * the loss.
 */
export function describeLag(copy: CopyStatus): string {
  const bytes = formatSize(Math.max(copy.lagBytes, copy.dirtyBytes));
  const age = `the last ${round(copy.lagSeconds)} s`;
  if (copy.lagWrites === 0) return `at most ${bytes}, written in ${age}`;
  const writes = `${copy.lagWrites} ${copy.lagWrites === 1 ? "write" : "writes"}`;
  return `at most ${bytes} (${writes}) of ${age}`;
}

/** Promotable as it is: its image is one that the primary's once was. */
export function hasConsistentImage(copy: CopyStatus): boolean {
  return copy.image === "synchronized" || copy.image === "consistent";
}

function bestCopy(copies: readonly CopyStatus[]): CopyStatus | undefined {
  return copies
    .filter(hasConsistentImage)
    .toSorted(
      (a, b) =>
        a.lagSeconds - b.lagSeconds || a.lagBytes + a.dirtyBytes - (b.lagBytes + b.dirtyBytes),
    )[0];
}

function hasAll(copy: CopyStatus): boolean {
  return (
    copy.state === "streaming" &&
    copy.lagBytes === 0 &&
    copy.lagWrites === 0 &&
    copy.dirtyBytes === 0
  );
}

function round(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
