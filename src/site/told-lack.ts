import type { GroupView } from "#wire/peer/probe.ts";
import type { Group } from "./group.ts";
import { memberStatus } from "./member-status.ts";

/** What a primary's probe tells a member, so that this one knows what it lacks when the primary is gone (decision 7). */
export function toldLack(
  group: Group,
  site: string,
): Pick<GroupView, "set" | "lackedBytes" | "lackedWrites"> {
  const primary = group.run?.primary;
  const member = primary?.members.find((one) => one.site === site);
  if (primary === undefined || member === undefined) return { set: 0 };
  const { lagBytes, lagWrites, dirtyBytes } = memberStatus(group, primary, member);
  return {
    set: primary.journal?.set ?? 0,
    lackedBytes: Math.max(lagBytes, dirtyBytes),
    lackedWrites: lagWrites,
  };
}
