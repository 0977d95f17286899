import { resolve } from "node:path";
import { AppError } from "#base/errors.ts";
import { groupOfPathBunker } from "#base/path-bunker.ts";
import type { GroupConfig } from "#config/types.ts";
import { commandGroup } from "./client.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import { askSite, checkGroupName } from "./find-site.ts";
import { doneLine, tell } from "./group-commands.ts";

export type ReplayOptions = GlobalOptions & {
  readonly from?: string;
  readonly until?: number;
  readonly stopAfter?: number;
  readonly cancel?: boolean;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly timeout?: number;
};

/** `antipode replay`: at the site of `--site`, whose copy is brought up from a bunker's log. */
export async function replay(group: string, options: ReplayOptions): Promise<number> {
  const aim = aimOf(options);
  checkGroupName(aim.config, group);
  const known = aim.config.groups.get(group) ?? { name: group, copies: new Map() };
  if (options.from === undefined) throw withoutSource(known, options);
  if (aim.site === undefined) {
    throw new AppError("usage", "replay needs to know which copy shall be brought up", {
      hint: `antipode replay ${group} --from ${options.from} --site NAME`,
    });
  }
  const { api } = await askSite(aim.config, aim.site);
  const { until, stopAfter: stopAfterMs, dryRun = false, timeout } = options;
  const { cancel = false, force = false } = options;
  // A path is the site's, which need not have our working folder.
  const from = options.from.includes("/") ? resolve(options.from) : options.from;
  if (cancel && (until !== undefined || stopAfterMs !== undefined))
    throw new AppError("usage", "--cancel calls a replay off: it has no end");
  if (force && !cancel)
    throw new AppError("usage", "a replay needs no --force, which belongs to --cancel");
  const end = { until, stopAfterMs } as const;
  const command = { kind: "replay", group, from, ...end, cancel, force, dryRun } as const;
  const outcome = await commandGroup(api, command, timeout);
  const done = cancel
    ? `called the replay of ${group} from ${from} off`
    : `replayed ${group} from ${from} to ${aim.site}`;
  return tell(outcome, doneLine(options, done), options);
}

/** `replay` without `--from`: the command with a log of the group's, and which others there are. */
export function withoutSource(
  group: Pick<GroupConfig, "name" | "copies">,
  { cancel = false, site = "NAME" }: Pick<ReplayOptions, "cancel" | "site">,
): AppError {
  const bunkers = [...group.copies].filter(([, { mode }]) => mode === "bunker");
  const sources = bunkers.map(([at]) => (groupOfPathBunker(at) === undefined ? at : "PATH"));
  const [first = "", ...others] = sources;
  const command = `antipode replay ${group.name}${cancel ? " --cancel" : ""} --from ${first} --site ${site}`;
  const more = others.length === 0 ? "" : `; or --from ${others.join(", ")}`;
  const path = sources.includes("PATH") ? "; PATH is that of journal.mirror, at that site" : "";
  return new AppError("usage", `replay needs to know whose log ${cancel ? "it was" : "to use"}`, {
    hint: first === "" ? `${group.name} has no bunker` : `${command}${more}${path}`,
  });
}
