import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { nearest } from "#config/nearest.ts";
import { formatDuration, formatSize } from "#config/units.ts";
import { copyStates } from "#site/api.ts";
import type { CopyState, GroupStatus } from "#site/api.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import type { Aim } from "./find-site.ts";
import { checkGroupName, findGroup } from "./find-site.ts";
import { createProgress, exitCodes, say, sayJson } from "./output.ts";

export type WaitOptions = GlobalOptions & {
  readonly copy?: string;
  readonly state?: string;
  readonly timeout: number;
};

const pollMs = 100;

/** What is waited for: copies, all of them or one, in a state, the best one of their mode unless named. */
export type WaitGoal = {
  readonly copy: string | undefined;
  readonly state: CopyState | undefined;
  /** Throws an `AppError` when the goal will not be reached without somebody's help. */
  readonly check?: (group: GroupStatus) => void;
};

/**
 * `antipode wait`: returns when the goal holds, or ends in 4. Sites that do not answer meanwhile are waited for, too.
 */
export async function wait(group: string, options: WaitOptions): Promise<number> {
  const aim = aimOf(options);
  checkGroupName(aim.config, group);
  const goal = { copy: options.copy, state: stateOption(options.state) };
  if (goal.copy !== undefined && !aim.config.sites.has(goal.copy)) {
    throw new AppError("usage", `there is no site ${goal.copy}`, {
      hint: `sites: ${[...aim.config.sites.keys()].join(", ")}`,
    });
  }
  const reached = await waitFor(aim, group, goal, options.timeout);
  if (options.json === true) sayJson(reached);
  else say(`${group}: ${summary(reached)}`);
  return exitCodes.done;
}

/**
 * Asks until the goal holds and returns the group as it was then. Rejects with code `timeout` when it is not in time.
 */
export async function waitFor(
  aim: Aim,
  name: string,
  goal: WaitGoal,
  timeoutMs: number | undefined,
): Promise<GroupStatus> {
  const progress = createProgress();
  const deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs;
  const late = timeoutMs === undefined ? undefined : sleep(timeoutMs);
  let last = "nobody answered";
  try {
    for (;;) {
      try {
        // A site that stands still answers late or never; the caller's time counts all the same.
        const found = await orLate(findGroup(aim, name), late);
        if (found === undefined) break;
        goal.check?.(found.group);
        if (holds(found.group, goal)) return found.group;
        last = summary(found.group);
      } catch (error: unknown) {
        if (
          !(error instanceof AppError) ||
          (error.code !== "unreachable" && error.code !== "timeout")
        )
          throw error;
        last = error.message;
      }
      if (performance.now() >= deadline) break;
      progress.show(`${name}: ${last}`);
      await sleep(Math.max(0, Math.min(pollMs, deadline - performance.now())));
    }
  } finally {
    progress.done();
  }
  throw new AppError(
    "timeout",
    `${name} is not there after ${formatDuration(timeoutMs ?? 0)}: ${last}`,
    {
      hint: `antipode why ${name}`,
    },
  );
}

function orLate<T>(asked: Promise<T>, late: Promise<void> | undefined): Promise<T | undefined> {
  return late === undefined ? asked : Promise.race([asked, late.then(() => undefined)]);
}

/** Whether the goal holds. A group without copies is there when it answers its hosts. */
export function holds(group: GroupStatus, goal: WaitGoal): boolean {
  const copies = group.copies.filter(({ site }) => goal.copy === undefined || goal.copy === site);
  if (copies.length === 0)
    return goal.copy === undefined && goal.state === undefined && group.serving;
  return copies.every(({ state }) =>
    goal.state === undefined
      ? state === "synchronized" || state === "streaming"
      : state === goal.state,
  );
}

function stateOption(text: string | undefined): CopyState | undefined {
  if (text === undefined) return undefined;
  const state = copyStates.find((known) => known === text);
  if (state !== undefined) return state;
  const near = nearest(text, copyStates);
  throw new AppError("usage", `${text} is no state of a copy`, {
    hint: near === undefined ? `states: ${copyStates.join(", ")}` : `did you mean ${near}?`,
  });
}

function summary(group: GroupStatus): string {
  if (group.copies.length === 0)
    return group.serving ? "serving" : `not serving ${group.why}`.trimEnd();
  return group.copies
    .map(({ site, state, dirtyBytes, why }) => {
      const rest = dirtyBytes > 0 ? `, ${formatSize(dirtyBytes)} to go` : "";
      return `${site} ${state}${rest}${why === "" ? "" : ` (${why})`}`;
    })
    .join("; ");
}
