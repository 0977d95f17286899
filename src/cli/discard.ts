import { AppError } from "#base/errors.ts";
import type { SiteCommand } from "#site/api.ts";
import { commandGroup } from "./client.ts";
import { aimOf } from "./context.ts";
import { askSite, checkGroupName } from "./find-site.ts";
import type { RoleOptions } from "./role-commands.ts";
import { doneLine, membersOf, tell } from "./group-commands.ts";

export type DiscardOptions = RoleOptions & {
  readonly undo?: boolean;
  readonly dropBranch?: boolean;
};

/**
 * `antipode discard`: gives up what the site of `--site` wrote by itself in a split brain; or takes that back, or lets
 * the branch go that was kept of it. Whose writes are given up is never guessed.
 */
export async function discard(group: string, options: DiscardOptions): Promise<number> {
  const aim = aimOf(options);
  checkGroupName(aim.config, group);
  const { undo = false, dropBranch = false, force = false, dryRun = false, timeout } = options;
  if (undo && dropBranch)
    throw new AppError("usage", "--undo and --drop-branch exclude each other", {
      hint: "a branch that is let go cannot be brought back",
    });
  const { site } = aim;
  if (site === undefined) {
    throw new AppError("usage", "discard needs to know whose writes shall be given up", {
      hint: `antipode discard ${group} --site NAME --dry-run, with one of: ${membersOf(aim, group).join(", ")}`,
    });
  }
  const { api } = await askSite(aim.config, site);
  const what = undo ? "undo" : dropBranch ? "drop-branch" : "give-up";
  const command: SiteCommand = { kind: "discard", group, what, force, dryRun };
  const outcome = await commandGroup(api, command, timeout);
  const isBunker = aim.config.groups.get(group)?.copies.get(site)?.mode === "bunker";
  const lines = (isBunker ? logLines : doneLines)(group, site);
  return tell(outcome, doneLine(options, lines[what]), options);
}

function logLines(group: string, site: string) {
  return {
    "give-up": `the log of ${group} at ${site} is given up; antipode wait ${group} waits until it has begun anew`,
    undo: `the log of ${group} at ${site} is not given up any more`,
    "drop-branch": `${site} keeps no branch of ${group}`,
  } as const;
}

function doneLines(group: string, site: string) {
  return {
    "give-up": `what ${site} wrote by itself is given up in ${group}; antipode wait ${group} waits for its resync`,
    undo: `${group} at ${site} is what it was before its writes were given up`,
    "drop-branch": `${site} keeps no branch of ${group} any more`,
  } as const;
}
