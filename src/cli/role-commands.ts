import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { CommandOutcome, SiteCommand } from "#site/api.ts";
import { commandGroup } from "./client.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import { copyToFailBackTo, waitUntilWell } from "./failback.ts";
import type { Aim, FoundGroup } from "./find-site.ts";
import { askSite, checkGroupName, findPrimary } from "./find-site.ts";
import { doneLine, membersOf, tell } from "./group-commands.ts";
import { exitCodeOf, exitCodes, say, sayError, sayJson } from "./output.ts";
import { waitUntilServed } from "./served.ts";

export type RoleVerb = "promote" | "demote" | "switchover" | "failback";

export type RoleOptions = GlobalOptions & {
  readonly all?: boolean;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly timeout?: number;
  readonly to?: string;
};

/** A change of role of one group: at which site it is ordered, its plan, and the deed. */
type Change = {
  readonly group: string;
  /** What a person reads when it is done. */
  readonly done: string;
  readonly plan: () => Promise<CommandOutcome>;
  readonly carryOut: () => Promise<CommandOutcome>;
};

/** A group that the command passes over, and why. */
type Skipped = { readonly group: string; readonly skipped: string };

type Ended = { readonly group: string; readonly done: string; readonly outcome: CommandOutcome };

/**
 * `antipode promote`, `demote`, `switchover` and `failback`, of one group, or with `--all` of every group of the site. The
 * plan of all is told before anything is done; the exit code is that of the worst outcome.
 */
export async function changeRole(
  verb: RoleVerb,
  name: string | undefined,
  options: RoleOptions,
): Promise<number> {
  const aim = aimOf(options);
  if (options.to !== undefined && !aim.config.sites.has(options.to))
    throw new AppError("usage", `${options.config} has no site ${JSON.stringify(options.to)}`, {
      hint: `sites: ${[...aim.config.sites.keys()].join(", ")}`,
    });
  if (options.all === true) {
    if (name === undefined) return changeAll(verb, aim, options);
    throw new AppError("usage", `--all stands for every group, and ${name} is one`, {
      hint: `antipode ${verb} ${name}, or antipode ${verb} --all`,
    });
  }
  if (name === undefined)
    throw new AppError("usage", `${verb} needs a group, or --all`, {
      hint: `groups: ${[...aim.config.groups.keys()].join(", ")}`,
    });
  checkGroupName(aim.config, name);
  const change = await changeOf(verb, aim, name, options);
  const isPlan = options.dryRun === true;
  const outcome = await (isPlan ? change.plan() : change.carryOut());
  return tell(outcome, doneLine(options, change.done), options);
}

async function changeOf(
  verb: RoleVerb,
  aim: Aim,
  group: string,
  options: RoleOptions,
): Promise<Change> {
  switch (verb) {
    case "promote":
      return promotion(aim, group, options);
    case "demote": {
      const { api, status } = await findPrimary(aim, group);
      const order = (dryRun: boolean) =>
        commandGroup(api, { kind: "demote", group, dryRun }, options.timeout);
      return change(group, `demoted ${group} at ${status.site}`, order);
    }
    case "switchover":
      return switchover(await findPrimary(aim, group), group, options);
    case "failback":
      return failback(aim, group, options);
  }
}

/** Which site becomes primary is never guessed: a wrong guess costs data. */
async function promotion(aim: Aim, group: string, options: RoleOptions): Promise<Change> {
  if (aim.site === undefined) {
    throw new AppError("usage", "promote needs to know which site shall become primary", {
      hint: `antipode promote ${group} --site NAME, with one of: ${membersOf(aim, group).join(", ")}`,
    });
  }
  const { api } = await askSite(aim.config, aim.site);
  const { force = false, timeout } = options;
  const order = (dryRun: boolean) =>
    commandGroup(api, { kind: "promote", group, force, dryRun }, timeout);
  return change(group, `promoted ${group} at ${aim.site}`, order);
}

function switchover(found: FoundGroup, group: string, options: RoleOptions): Change {
  const to = target(options);
  const timeoutMs = options.timeout ?? limits.handoverMsDefault;
  const { site } = found.status;
  const order = async (dryRun: boolean): Promise<CommandOutcome> => {
    const command: SiteCommand = { kind: "switchover", group, to, timeoutMs, dryRun };
    const outcome = await handOver(found.api, command, site);
    if (outcome.ok && !dryRun) await waitUntilServed(aimOf(options), group, to);
    return outcome;
  };
  return change(group, `${to} is the primary of ${group}`, order);
}

// Who orders it learns how it ended, or how to learn it.
async function handOver(
  api: string,
  command: Extract<SiteCommand, { kind: "switchover" }>,
  site: string,
): Promise<CommandOutcome> {
  const patienceMs = command.timeoutMs + limits.handoverAnswerMs + limits.cliAnswerMsMax;
  try {
    return await commandGroup(api, command, patienceMs);
  } catch (error: unknown) {
    if (!(error instanceof AppError) || error.code === "usage") throw error;
    const { group, to } = command;
    const message = `${site} went away before it said whether ${to} is the primary of ${group} now: ${error.message}`;
    throw new AppError(error.code, message, {
      hint: `nothing is lost either way; antipode status ${group} tells who it is, and the same command again settles it`,
      cause: error,
    });
  }
}

async function failback(aim: Aim, group: string, options: RoleOptions): Promise<Change> {
  const found = await findPrimary(aim, group);
  const to = target(options);
  const { copy, lines } = copyToFailBackTo(found, to);
  const done = `${to} is the primary of ${group}`;
  if (copy === undefined) return change(group, done, async () => ({ ok: true, plan: lines }));
  const plan = async (): Promise<CommandOutcome> => {
    const isWell = copy.state === "synchronized" || copy.state === "streaming";
    if (!isWell) return { ok: true, plan: lines };
    const planned = await switchover(found, group, options).plan();
    return { ...planned, plan: [...lines, ...planned.plan] };
  };
  const carryOut = async (): Promise<CommandOutcome> => {
    await waitUntilWell(aim, { group, to, timeoutMs: options.timeout });
    // It may have moved on while we waited.
    const now = await findPrimary(aim, group);
    const outcome = await switchover(now, group, options).carryOut();
    return { ...outcome, plan: [...lines, ...outcome.plan] };
  };
  return { group, done, plan, carryOut };
}

function change(
  group: string,
  done: string,
  order: (dryRun: boolean) => Promise<CommandOutcome>,
): Change {
  return { group, done, plan: () => order(true), carryOut: () => order(false) };
}

function target({ to }: RoleOptions): string {
  if (to === undefined)
    throw new AppError("usage", "--to names the site that shall be the primary");
  return to;
}

// --------------------------------------------------------------------------------------- every group

async function changeAll(verb: RoleVerb, aim: Aim, options: RoleOptions): Promise<number> {
  if (verb === "promote" && aim.site === undefined)
    throw new AppError("usage", "promote needs to know which site shall become primary", {
      hint: "antipode promote --all --site NAME",
    });
  const chosen = await chooseGroups(verb, aim, options);
  const skipped = chosen.filter((one) => "skipped" in one);
  const planned: Ended[] = [];
  const changes: Change[] = [];
  for (const one of chosen) {
    if ("skipped" in one) continue;
    if ("outcome" in one) {
      planned.push(one);
      continue;
    }
    planned.push(await end(one, one.plan));
    changes.push(one);
  }
  if (options.json !== true) tellPlan(verb, planned, skipped);
  if (options.dryRun === true) return tellEnd(planned, skipped, options);
  const ended = planned.filter(({ group }) => !changes.some((one) => one.group === group));
  for (const one of changes) ended.push(await end(one, one.carryOut));
  return tellEnd(ended, skipped, options);
}

/** The groups that the command is about; those in which the site has no part are passed over. */
async function chooseGroups(
  verb: RoleVerb,
  aim: Aim,
  options: RoleOptions,
): Promise<(Change | Ended | Skipped)[]> {
  const chosen: (Change | Ended | Skipped)[] = [];
  for (const group of aim.config.groups.keys()) {
    const part = options.to ?? aim.site;
    if (part !== undefined && !membersOf(aim, group).includes(part)) {
      chosen.push({ group, skipped: `${part} has no part in it` });
      continue;
    }
    try {
      const skipped = verb === "promote" ? undefined : await whoElseHasIt(verb, aim, group);
      chosen.push(
        skipped === undefined ? await changeOf(verb, aim, group, options) : { group, skipped },
      );
    } catch (error: unknown) {
      chosen.push({ group, done: "", outcome: outcomeOf(error) });
    }
  }
  return chosen;
}

// With --site the command is about what that site has to give.
async function whoElseHasIt(verb: RoleVerb, aim: Aim, group: string): Promise<string | undefined> {
  if (aim.site === undefined || verb === "failback") return undefined;
  const { status } = await askSite(aim.config, aim.site);
  const found = status.groups.find(({ name }) => name === group);
  if (found === undefined) return `${aim.site} does not run it`;
  return isPrimaryRole(found.role)
    ? undefined
    : `${aim.site} is not its primary, but ${found.role}`;
}

async function end(one: Change, deed: () => Promise<CommandOutcome>): Promise<Ended> {
  try {
    return { group: one.group, done: one.done, outcome: await deed() };
  } catch (error: unknown) {
    return { group: one.group, done: one.done, outcome: outcomeOf(error) };
  }
}

// The other groups are not given up for one that cannot be reached.
function outcomeOf(error: unknown): CommandOutcome {
  if (!(error instanceof AppError)) throw error;
  return { ok: false, code: error.code, message: error.message, hint: error.hint, plan: [] };
}

function tellPlan(verb: RoleVerb, planned: readonly Ended[], skipped: readonly Skipped[]): void {
  for (const { group, outcome } of planned) {
    for (const sentence of outcome.plan) say(`- ${group}: ${sentence}`);
    if (!outcome.ok) say(`- ${group}: cannot be done: ${outcome.message}`);
  }
  for (const { group, skipped: why } of skipped) say(`- ${group}: no ${verb}, ${why}`);
}

function tellEnd(
  ended: readonly Ended[],
  skipped: readonly Skipped[],
  options: RoleOptions,
): number {
  const codes = ended.map(({ outcome }) =>
    outcome.ok ? exitCodes.done : exitCodeOf(outcome.code),
  );
  const worst = codes.reduce<number>(worse, exitCodes.done);
  if (options.json === true) {
    const groups = [...ended.map(({ group, outcome }) => ({ group, ...outcome })), ...skipped];
    sayJson({ ok: worst === exitCodes.done, dryRun: options.dryRun ?? false, groups });
    return worst;
  }
  for (const { group, done, outcome } of ended) {
    if (!outcome.ok) sayError(`${group}: ${outcome.message}`, outcome.hint);
    else if (options.dryRun !== true) say(`${group}: ${done}`);
  }
  if (options.dryRun === true) say("nothing was done (--dry-run)");
  return worst;
}

// From the one that needs a person least to the one that needs one most.
const byWeight: readonly number[] = [
  exitCodes.done,
  exitCodes.timeout,
  exitCodes.usage,
  exitCodes.unsafe,
  exitCodes.failed,
];

function worse(one: number, other: number): number {
  return byWeight.indexOf(other) > byWeight.indexOf(one) ? other : one;
}
