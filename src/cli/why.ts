import { isPrimaryRole } from "#site/api.ts";
import type { Blocker } from "./blockers.ts";
import { findBlockers } from "./blockers.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import type { FoundGroup } from "./find-site.ts";
import { findGroup } from "./find-site.ts";
import { helpWithoutPrimary } from "./lost-primary.ts";
import { describeLoss } from "./loss.ts";
import { exitCodes, highlight, say, sayJson } from "./output.ts";

/** `antipode why`: names what keeps a group from its best state, what that waits for, and the command that helps. */
export async function why(name: string, options: GlobalOptions): Promise<number> {
  const aim = aimOf(options);
  const found = await findGroup(aim, name);
  const blockers = [
    ...(aim.site === undefined ? missingPrimary(found) : []),
    ...findBlockers(found.group, found.status.site),
  ];
  if (options.json === true) {
    sayJson({ group: name, site: found.status.site, role: found.group.role, blockers });
    return exitCodes.done;
  }
  if (blockers.length === 0)
    say(`nothing blocks ${name}: ${describeLoss(found.group, found.status.site)}`);
  for (const { what, waitsFor, help } of blockers) {
    say(what);
    say(`  waits for: ${waitsFor}`);
    say(`  helps:     ${highlight("bold", help)}`);
  }
  return exitCodes.done;
}

/** Where no primary answered, the site that did has been asked instead of it. */
function missingPrimary({ status, group }: FoundGroup): readonly Blocker[] {
  if (isPrimaryRole(group.role) || group.role === "demoted") return [];
  const { site } = status;
  return [
    {
      what: `${group.primary}, the primary of ${group.name}, does not answer; site ${site} was asked instead`,
      waitsFor: `site ${group.primary} to run and be reached`,
      help: helpWithoutPrimary(group, site),
    },
  ];
}
