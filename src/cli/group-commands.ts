import { AppError } from "#base/errors.ts";
import { groupOfPathBunker } from "#base/path-bunker.ts";
import type { CommandOutcome, SiteCommand } from "#site/api.ts";
import { commandGroup } from "./client.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import type { Aim, FoundGroup } from "./find-site.ts";
import { findGroup, findPrimary } from "./find-site.ts";
import { exitCodeOf, exitCodes, say, sayError, sayJson } from "./output.ts";
import { waitFor } from "./wait.ts";

export type CopyOptions = GlobalOptions & {
  readonly copy?: string;
  readonly full?: boolean;
  readonly wait?: boolean;
  readonly timeout?: number;
};

export type RepairOptions = GlobalOptions & {
  readonly volume: string;
  readonly from?: string;
  readonly timeout?: number;
};

type CopyVerb = "pause" | "resume" | "resync";

/**
 * `antipode pause`, `resume` and `resync`: at the group's primary, about one copy; `--wait` waits until it is at its
 * best.
 */
export async function commandCopy(
  verb: CopyVerb,
  group: string,
  options: CopyOptions,
): Promise<number> {
  const aim = aimOf(options);
  const found = await findPrimary(aim, group);
  const copy = chooseCopy(found, options.copy);
  const command: SiteCommand =
    verb === "resync"
      ? { kind: verb, group, copy, full: options.full ?? false }
      : { kind: verb, group, copy };
  const outcome = await commandGroup(found.api, command, options.timeout);
  if (options.wait !== true || !outcome.ok)
    return tell(outcome, `${verb}: ${group}, copy ${copy}`, options);
  const state = verb === "pause" ? "paused" : undefined;
  const reached = await waitFor(aim, group, { copy, state }, options.timeout);
  const now = reached.copies.find(({ site }) => site === copy)?.state ?? "gone";
  return tell(outcome, `${verb}: ${group}, copy ${copy} is ${now}`, options);
}

/** `antipode repair`: at the site of `--site`, or at the group's primary. */
export async function repair(group: string, options: RepairOptions): Promise<number> {
  if (options.from !== undefined) {
    throw new AppError("usage", "--from is not in this version", {
      hint: "leave it out: a repaired volume is filled from the group's own copies",
    });
  }
  const found = await findGroup(aimOf(options), group);
  const known = found.group.volumes.map(({ name }) => name);
  // A bunker, which may be the only one that answers, has none, and says that it is not the primary.
  if (known.length > 0 && !known.includes(options.volume)) {
    throw new AppError("usage", `${group} has no volume ${JSON.stringify(options.volume)}`, {
      hint: `volumes: ${known.join(", ")}`,
    });
  }
  const command: SiteCommand = { kind: "repair", group, volume: options.volume };
  const outcome = await commandGroup(found.api, command, options.timeout);
  return tell(outcome, `${group}/${options.volume} is in use at ${found.status.site}`, options);
}

/** Tells how a command ended, with its plan, and gives the exit code. */
export function tell(outcome: CommandOutcome, done: string, options: GlobalOptions): number {
  if (options.json === true) sayJson(outcome);
  else for (const sentence of outcome.plan) say(`- ${sentence}`);
  if (!outcome.ok) {
    sayError(outcome.message, outcome.hint);
    return exitCodeOf(outcome.code);
  }
  if (options.json !== true) say(done);
  return exitCodes.done;
}

/** What is said at the end of a command that may have been a dry run. */
export function doneLine(options: { readonly dryRun?: boolean }, done: string): string {
  return options.dryRun === true ? "nothing was done (--dry-run)" : done;
}

/** The copy that was named, or the only one that there is. */
export function chooseCopy({ group }: FoundGroup, named: string | undefined): string {
  const sites = group.copies.map(({ site }) => site);
  const [only] = sites;
  if (named === undefined && sites.length === 1 && only !== undefined) return only;
  if (named !== undefined && sites.includes(named)) return named;
  const what =
    named === undefined
      ? "which copy? name it with --copy"
      : `${group.name} has no copy at ${named}`;
  throw new AppError("usage", what, {
    hint: `copies of ${group.name}: ${sites.join(", ") || "none"}`,
  });
}

/** The sites that hold a group, by the cluster file. A second log on a path is a member, and no site that could be asked. */
export function membersOf({ config }: Aim, name: string): readonly string[] {
  const group = config.groups.get(name);
  if (group === undefined) return [];
  const copies = [...group.copies.keys()];
  return [group.primary, ...copies.filter((site) => groupOfPathBunker(site) === undefined)];
}
