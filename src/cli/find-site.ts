import { AppError } from "#base/errors.ts";
import { nearest } from "#config/nearest.ts";
import type { Config } from "#config/types.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { GroupStatus, SiteStatus } from "#site/api.ts";
import { readStatus } from "./client.ts";

/** A site that answered, and what it said. */
export type FoundSite = { readonly api: string; readonly status: SiteStatus };

export type FoundGroup = FoundSite & { readonly group: GroupStatus };

/** Which site a command is for: the one of `--site`, or whichever the command's rule finds. */
export type Aim = { readonly config: Config; readonly site: string | undefined };

/** The site of `--site`, or without it the first site of the file that answers (INTERFACE, "Commands"). */
export async function findSite(aim: Aim): Promise<FoundSite> {
  if (aim.site !== undefined) return askSite(aim.config, aim.site);
  const failures: string[] = [];
  for (const { name, api } of aim.config.sites.values()) {
    try {
      return { api, status: await askStatus(api) };
    } catch (error: unknown) {
      failures.push(`${name} (${error instanceof Error ? error.message : String(error)})`);
    }
  }
  throw new AppError("unreachable", `no site answers: ${failures.join("; ")}`, {
    hint: "start one with: antipode serve --site NAME",
  });
}

/**
 * A group where it is best known: at the site of `--site`, or else at its primary, or, where that does not answer, at
 * the first site that has the group.
 */
export async function findGroup(aim: Aim, name: string): Promise<FoundGroup> {
  checkGroupName(aim.config, name);
  if (aim.site !== undefined) return pick(await askSite(aim.config, aim.site), name);
  const first = await firstWithGroup(aim.config, name);
  if (isPrimaryRole(first.group.role)) return first;
  const next = await tryPrimary(aim.config, first.group);
  return next ?? first;
}

/** A group at its primary, or at the site of `--site`. Rejects when the primary does not answer. */
export async function findPrimary(aim: Aim, name: string): Promise<FoundGroup> {
  const found = await findGroup(aim, name);
  if (aim.site !== undefined || isPrimaryRole(found.group.role)) return found;
  const told = `site ${found.status.site} holds ${found.group.primary} for it, which does not answer as primary`;
  throw new AppError("unreachable", `the primary of ${name} cannot be reached: ${told}`, {
    hint: `see antipode why ${name}; antipode status ${name} --site ${found.status.site} shows what that site has`,
  });
}

/**
 * The site's own answer. A wrong site behind the address is refused: api addresses are loopback and may repeat on
 * machines.
 */
export async function askSite(config: Config, name: string): Promise<FoundSite> {
  const site = config.sites.get(name);
  if (site === undefined) {
    const near = nearest(name, [...config.sites.keys()]);
    const hint =
      near === undefined
        ? `sites: ${[...config.sites.keys()].join(", ")}`
        : `did you mean ${near}?`;
    throw new AppError("usage", `${config.path} has no site ${JSON.stringify(name)}`, { hint });
  }
  const status = await askStatus(site.api, `site ${name}`);
  if (status.site !== name) {
    throw new AppError(
      "unreachable",
      `${site.api} is site ${status.site} on this machine, not ${name}`,
      {
        hint: `run the command on the machine of site ${name}`,
      },
    );
  }
  return { api: site.api, status };
}

/** Refuses a group that the file does not know. */
export function checkGroupName(config: Config, name: string): void {
  if (config.groups.has(name)) return;
  const known = [...config.groups.keys()];
  const near = nearest(name, known);
  const hint =
    near === undefined ? `groups: ${known.join(", ") || "none"}` : `did you mean ${near}?`;
  throw new AppError("usage", `${config.path} has no group ${JSON.stringify(name)}`, { hint });
}

async function askStatus(api: string, who = api): Promise<SiteStatus> {
  try {
    return await readStatus(api);
  } catch (error: unknown) {
    if (!(error instanceof AppError) || error.code === "failed") throw error;
    throw new AppError(
      "unreachable",
      who === api ? error.message : `${who} cannot be reached: ${error.message}`,
      {
        hint: "is it running? see antipode serve",
        cause: error,
      },
    );
  }
}

async function firstWithGroup(config: Config, name: string): Promise<FoundGroup> {
  const failures: string[] = [];
  let answers = 0;
  for (const site of config.sites.values()) {
    try {
      const status = await askStatus(site.api);
      answers += 1;
      const group = status.groups.find((candidate) => candidate.name === name);
      if (group !== undefined) return { api: site.api, status, group };
      failures.push(`${site.name} does not hold it`);
    } catch (error: unknown) {
      failures.push(`${site.name} (${error instanceof Error ? error.message : String(error)})`);
    }
  }
  throw new AppError("unreachable", `no site tells about ${name}: ${failures.join("; ")}`, {
    hint:
      answers === config.sites.size
        ? "it is new in the file: it begins when its sites are started again"
        : "start one with: antipode serve --site NAME",
  });
}

async function tryPrimary(config: Config, group: GroupStatus): Promise<FoundGroup | undefined> {
  if (!config.sites.has(group.primary)) return undefined;
  try {
    const found = pick(await askSite(config, group.primary), group.name);
    return isPrimaryRole(found.group.role) ? found : undefined;
  } catch {
    // Whether that is an error is for the caller: many commands make do with what another site knows.
    return undefined;
  }
}

function pick(found: FoundSite, name: string): FoundGroup {
  const group = found.status.groups.find((candidate) => candidate.name === name);
  if (group !== undefined) return { ...found, group };
  throw new AppError("usage", `site ${found.status.site} does not hold group ${name}`, {
    hint: "leave --site out to ask the group's primary",
  });
}
