import type { Config } from "#config/types.ts";
import { formatDuration } from "#config/units.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { CopyStatus, GroupStatus, SiteStatus } from "#site/api.ts";

/**
 * The objective of each group's copies in milliseconds, as the cluster file gives it; plain data, so that it can change
 * threads.
 */
export type Objectives = ReadonlyMap<string, ReadonlyMap<string, number | undefined>>;

/** A group that is worse than its objective, and why. */
export type Complaint = { readonly group: string; readonly why: string };

export function objectivesOf(config: Config): Objectives {
  return new Map(
    [...config.groups].map(([name, group]) => [
      name,
      new Map([...group.copies].map(([site, copy]) => [site, copy.rpoMs])),
    ]),
  );
}

/**
 * What `status --check` and /healthz complain about (INTERFACE, option `rpo`): a copy whose lag exceeds its `rpo`;
 * where none is given, a copy that does not do what its mode promises; a volume that failed; hosts that get no answers.
 */
export function missedObjectives(status: SiteStatus, objectives: Objectives): readonly Complaint[] {
  return status.groups.flatMap((group) =>
    groupComplaints(group, objectives).map((why) => ({ group: group.name, why })),
  );
}

function groupComplaints(group: GroupStatus, objectives: Objectives): readonly string[] {
  const complaints = group.volumes
    .filter(({ state }) => state === "failed")
    .map(({ name }) => `volume ${name} failed`);
  // In a split brain the other side may serve them.
  if (group.role === "demoted" && (group.splits ?? []).length === 0)
    complaints.push(because("demoted: hosts are served nowhere", group.why));
  if (isPrimaryRole(group.role) && !group.serving) {
    complaints.push(because("hosts get no answers", group.why));
  }
  // Those who write feel it, however little a copy lacks.
  const diskFull = group.journal.diskFull ?? "";
  if (group.writesHeldUp !== undefined) complaints.push(because("hosts cannot write", group.why));
  else if (diskFull !== "")
    complaints.push(because("the disk under the journal is full", diskFull));
  const rpos = objectives.get(group.name);
  for (const copy of group.copies) {
    // After a takeover the file's primary is the copy, and the relation keeps the objective that the file gives it.
    const rpoMs = rpos?.get(copy.site) ?? rpos?.get(group.primary);
    const complaint = copyComplaint(copy, rpoMs);
    if (complaint !== undefined) complaints.push(because(complaint, copy.why));
  }
  return complaints;
}

function copyComplaint(copy: CopyStatus, rpoMs: number | undefined): string | undefined {
  if (copy.state === "split-brain") return `copy ${copy.site}: split brain`;
  const atBest = copy.state === "synchronized" || copy.state === "streaming";
  if (rpoMs === undefined) return atBest ? undefined : `copy ${copy.site} is ${copy.state}`;
  // A copy without a consistent image has no recovery point at all, whatever its lag.
  if (copy.image === "synchronizing" || copy.image === "out-of-sync") {
    return `copy ${copy.site} has no consistent image`;
  }
  if (copy.lagSeconds * 1000 <= rpoMs) return undefined;
  return `copy ${copy.site} lags ${copy.lagSeconds} s, over its rpo of ${formatDuration(rpoMs)}`;
}

function because(what: string, why: string): string {
  return why === "" ? what : `${what} (${why})`;
}
