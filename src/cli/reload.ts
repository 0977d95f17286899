import { AppError } from "#base/errors.ts";
import type { CommandOutcome } from "#site/api.ts";
import { commandGroup } from "./client.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import type { Aim } from "./find-site.ts";
import { askSite, checkGroupName, findPrimary } from "./find-site.ts";
import { membersOf } from "./group-commands.ts";
import { exitCodeOf, exitCodes, say, sayError, sayJson, warn } from "./output.ts";

export type ReloadOptions = GlobalOptions & {
  readonly dryRun?: boolean;
  readonly timeout?: number;
};

/** A site that is to take its file's changes for a group. */
type Target = { readonly group: string; readonly site: string; readonly api: string };

type Reloaded = Target & { readonly outcome: CommandOutcome };

/**
 * `antipode reload`: each group's primary takes the changes of its file, then the group's other sites what is their own. With
 * `--site` only that site does. Everything is planned first; where any plan is refused nothing is done anywhere.
 */
export async function reload(name: string | undefined, options: ReloadOptions): Promise<number> {
  const aim = aimOf(options);
  if (name !== undefined) checkGroupName(aim.config, name);
  const targets = await targetsOf(aim, name);
  const planned = await tellAll(targets, true, options);
  const refused = planned.find(({ outcome }) => !outcome.ok);
  if (refused !== undefined || options.dryRun === true) return show(planned, options);
  return show(await tellAll(targets, false, options), options);
}

async function targetsOf(aim: Aim, name: string | undefined): Promise<Target[]> {
  if (aim.site !== undefined) {
    const { api, status } = await askSite(aim.config, aim.site);
    const groups = status.groups.map((group) => group.name);
    if (name !== undefined && !groups.includes(name))
      throw new AppError("usage", `site ${aim.site} does not hold group ${name}`);
    const chosen = name === undefined ? groups : [name];
    return chosen.map((group) => ({ group, site: status.site, api }));
  }
  const targets: Target[] = [];
  for (const group of name === undefined ? aim.config.groups.keys() : [name]) {
    if (name === undefined && (await isNew(aim, group))) {
      warn(`no site runs ${group} yet: it begins when its sites are started again`);
      continue;
    }
    const { api, status } = await findPrimary(aim, group);
    targets.push({ group, site: status.site, api }, ...(await othersOf(aim, group, status.site)));
  }
  return targets;
}

// Every site of it answers, and none knows it: that must not keep the other groups from their changes.
async function isNew(aim: Aim, group: string): Promise<boolean> {
  for (const site of membersOf(aim, group)) {
    try {
      const { status } = await askSite(aim.config, site);
      if (status.groups.some(({ name }) => name === group)) return false;
    } catch (error: unknown) {
      if (!(error instanceof AppError)) throw error;
      return false;
    }
  }
  return true;
}

// A site that cannot be reached hears of the revision by its primary, and reads its file when it starts.
async function othersOf(aim: Aim, group: string, primary: string): Promise<Target[]> {
  const others: Target[] = [];
  for (const site of membersOf(aim, group)) {
    if (site === primary) continue;
    try {
      const { api, status } = await askSite(aim.config, site);
      if (status.groups.some(({ name }) => name === group)) others.push({ group, site, api });
      else warn(`site ${site} does not run ${group} yet: start it again`);
    } catch (error: unknown) {
      if (!(error instanceof AppError)) throw error;
      warn(`site ${site} was not told: ${error.message}`);
    }
  }
  return others;
}

async function tellAll(
  targets: readonly Target[],
  dryRun: boolean,
  options: ReloadOptions,
): Promise<Reloaded[]> {
  const told: Reloaded[] = [];
  for (const target of targets) {
    const command = { kind: "reload", group: target.group, dryRun } as const;
    const outcome = await commandGroup(target.api, command, options.timeout);
    told.push({ ...target, outcome });
    // The primary comes first: what it could not take must not be taken by halves.
    if (!dryRun && !outcome.ok) break;
  }
  return told;
}

function show(told: readonly Reloaded[], options: ReloadOptions): number {
  const failed = told.find(({ outcome }) => !outcome.ok);
  if (options.json === true) {
    const sites = told.map(({ group, site, outcome }) => ({ group, site, ...outcome }));
    sayJson({ ok: failed === undefined, dryRun: options.dryRun ?? false, sites });
  } else {
    for (const { group, site, outcome } of told)
      for (const sentence of outcome.plan) say(`- ${group} at ${site}: ${sentence}`);
  }
  if (failed !== undefined && !failed.outcome.ok) {
    sayError(`${failed.group} at ${failed.site}: ${failed.outcome.message}`, failed.outcome.hint);
    return exitCodeOf(failed.outcome.code);
  }
  if (options.json !== true)
    say(options.dryRun === true ? "nothing was done (--dry-run)" : "reloaded");
  return exitCodes.done;
}
