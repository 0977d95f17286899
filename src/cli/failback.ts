import { AppError } from "#base/errors.ts";
import { formatSize } from "#config/units.ts";
import { awaitsResumeWords, isPrimaryRole } from "#site/api.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";
import { findBlockers } from "./blockers.ts";
import type { Aim, FoundGroup } from "./find-site.ts";
import { waitFor } from "./wait.ts";

// `antipode failback` waits until a site that has returned has everything, and hands the role to it like `switchover`.

/** The copy that shall be the primary again, with what is to come before that; or that there is nothing to do. */
export function copyToFailBackTo(
  { group, status }: FoundGroup,
  to: string,
): { readonly copy: CopyStatus | undefined; readonly lines: readonly string[] } {
  if (status.site === to && isPrimaryRole(group.role))
    return { copy: undefined, lines: [`${to} is the primary of ${group.name} already`] };
  const copy = group.copies.find(({ site }) => site === to);
  if (copy === undefined) {
    const known = group.copies.map(({ site }) => site).join(", ");
    throw new AppError("usage", `${group.name} has no copy at ${to}`, {
      hint: `its copies are: ${known || "none"}`,
    });
  }
  refuseHopeless(group, status.site, to);
  const rest =
    copy.dirtyBytes > 0 ? `, ${formatSize(copy.dirtyBytes)} to compare or bring over` : "";
  const isWell = copy.state === "synchronized" || copy.state === "streaming";
  const first = isWell
    ? `${to} is ${copy.state}`
    : `waits until ${to} has everything (now ${copy.state}${rest}); ${status.site} serves hosts meanwhile`;
  return { copy, lines: [first, `hands the role of ${status.site} to ${to}: nothing is lost`] };
}

/** Waits, for as long as it takes or so long, and shows how far it is. Refuses as soon as only somebody's word can help. */
export async function waitUntilWell(
  aim: Aim,
  wanted: {
    readonly group: string;
    readonly to: string;
    readonly timeoutMs: number | undefined;
  },
): Promise<void> {
  const { group, to, timeoutMs } = wanted;
  const check = (seen: GroupStatus): void => refuseHopeless(seen, seen.primary, to);
  await waitFor(aim, group, { copy: to, state: undefined, check }, timeoutMs);
}

/** A copy in one of these states is not brought up by itself. */
const hopeless: ReadonlySet<CopyStatus["state"]> = new Set(["paused", "split-brain", "stopped"]);

/** `resume: manual`, and it is there to be fed. */
function isManual({ why }: CopyStatus): boolean {
  return why.endsWith(awaitsResumeWords);
}

function refuseHopeless(group: GroupStatus, site: string, to: string): void {
  const copy = group.copies.find((one) => one.site === to);
  if (copy === undefined || !(hopeless.has(copy.state) || isManual(copy))) return;
  const [blocker] = findBlockers({ ...group, volumes: [], copies: [copy] }, site);
  const why = copy.why === "" ? "" : `: ${copy.why}`;
  throw new AppError("unsafe", `${to} is ${copy.state}, and is not brought up by itself${why}`, {
    hint: blocker?.help ?? `antipode why ${group.name}`,
  });
}
