import { formatSize } from "#config/units.ts";
import { describePoint } from "#core/point.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";

/**
 * What would be lost if the group's primary died now, in one sentence. At the primary it judges all copies; at a copy,
 * which knows only itself, what promoting it would give.
 */
export function describeLoss(group: GroupStatus, site: string): string {
  if (group.role === "demoted" && group.primary === site && group.copies.length > 0)
    return `No site that ${site} has heard of is the primary; ${site} has all that it acked itself.`;
  const whatIf = isPrimaryRole(group.role) ? `If ${site} died now` : `If ${group.primary} died now`;
  if (group.copies.length === 0) {
    return isPrimaryRole(group.role) || group.role === "demoted"
      ? `${whatIf}, everything would be lost: the group has no copy.`
      : `${whatIf}, this site could not help: it knows of no copy here.`;
  }
  const [own] = group.copies;
  if (group.role === "bunker" && own !== undefined) return `${whatIf}, ${describeLog(group, own)}.`;
  const best = bestCopy(group.copies);
  if (best === undefined) {
    const kept = group.copies.find(({ preserved }) => preserved !== undefined);
    if (kept?.preserved !== undefined)
      return `${whatIf}, ${kept.site} could go back to ${describePoint(kept.preserved)}, and all since then would be lost.`;
    const trouble = group.copies
      .filter(({ mode }) => mode !== "bunker")
      .map(({ site: at, state }) =>
        state === "stopped" ? `${at} is stopped` : `${at} has no consistent image yet`,
      );
    return `${whatIf}, everything could be lost: ${trouble.join(", ")}.`;
  }
  if (best.state === "synchronized" || hasAll(best)) {
    return `${whatIf}, nothing that was acked would be lost: ${best.site} has it all.`;
  }
  if (!isPrimaryRole(group.role) && isCutOff(best))
    return `${whatIf}, ${best.site} would lack what was written since ${sinceContact(best)}.`;
  const log = group.copies.find((copy) => copy.mode === "bunker" && hasAll(copy));
  if (log !== undefined && isPrimaryRole(group.role))
    return `${whatIf}, nothing that was acked would be lost: ${best.site} lacks ${describeLag(best)}, and a replay from ${log.site} brings it.`;
  return `${whatIf}, ${best.site} would lack ${describeLag(best)}.`;
}

/**
 * The lag of a copy in bytes, writes and seconds. A fractured copy counts regions, not writes; the larger figure bounds
 * the loss.
 */
function describeLag(copy: CopyStatus): string {
  const bytes = formatSize(Math.max(copy.lagBytes, copy.dirtyBytes));
  const age = `the last ${round(copy.lagSeconds)} s`;
  // Of how many writes that is nobody has kept count.
  if (copy.lagWrites === 0 || copy.isLagCounted === false)
    return `at most ${bytes}, written in ${age}`;
  const writes = `${copy.lagWrites} ${copy.lagWrites === 1 ? "write" : "writes"}`;
  return `at most ${bytes} (${writes}) of ${age}`;
}

// A bunker has no image to lose or to serve: it says what its log would bring to a copy.
function describeLog({ name, lsn }: GroupStatus, own: CopyStatus): string {
  if (own.state === "init-sync") return `the log here could bring nothing: it has not begun yet`;
  const replay = `antipode replay ${name} --from ${own.site} --site COPY`;
  const upTo = `the log here brings a copy up to LSN ${lsn} (${replay})`;
  if (hasAll(own) && !isCutOff(own)) return `${upTo}: all that was acked`;
  return `${upTo}; it lacks what was written since ${sinceContact(own)}`;
}

// Who hears nothing of the primary cannot bound what that wrote, whatever it was told last (decision 7).
function sinceContact({ lagSeconds }: CopyStatus): string {
  const when =
    lagSeconds === 0 ? "it was last fed" : `it was last heard, ${round(lagSeconds)} s ago`;
  return `${when}: how much that is, is not known here`;
}

/** Nobody feeds it: of itself a copy knows that, and a primary takes whoever does not answer for one that is not fed. */
export function isCutOff({ isFed, link }: CopyStatus): boolean {
  return isFed === undefined ? link !== "up" : !isFed;
}

/** Promotable as it is: its image is one that the primary's once was. */
function hasConsistentImage(copy: CopyStatus): boolean {
  return copy.image === "synchronized" || copy.image === "consistent";
}

function bestCopy(copies: readonly CopyStatus[]): CopyStatus | undefined {
  return (
    copies
      // What a stopped copy has may be another disk's, and none of what it was fed.
      .filter((copy) => hasConsistentImage(copy) && copy.state !== "stopped")
      .toSorted(
        (a, b) =>
          a.lagSeconds - b.lagSeconds || a.lagBytes + a.dirtyBytes - (b.lagBytes + b.dirtyBytes),
      )[0]
  );
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
