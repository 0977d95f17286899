import type { ErrorCode } from "#base/errors.ts";
import type { CommandOutcome } from "./api.ts";
import { knownRecord, primaryOf } from "./group.ts";
import type { Group } from "./group.ts";

/** A command that was not carried out; `plan` is what it would have done. */
export function refused(
  code: ErrorCode,
  message: string,
  hint?: string,
  plan: readonly string[] = [],
): CommandOutcome {
  return { ok: false, code, message, hint, plan };
}

/** This site is the group's primary and cannot go on with it before it is started again. */
export function hasFailedHere(group: Group): boolean {
  return group.failedWhy !== "" && knownRecord(group).role === "primary";
}

/** The command is for the group's primary, and here that has failed: nothing that is asked of it would be done. */
export function failedPrimary({ name, context, failedWhy }: Group): CommandOutcome {
  const { site } = context;
  return refused(
    "failed",
    `${name} has failed at ${site}, its primary: ${failedWhy}`,
    `mend that, then stop site ${site} and start it again; antipode why ${name} --site ${site}`,
  );
}

/** The command is for the group's primary. */
export function notPrimary(group: Group): CommandOutcome {
  const { site } = group.context;
  return refused(
    "failed",
    `${site} is not the primary of ${group.name}`,
    `ask the primary: --site ${primaryOf(group)}`,
  );
}
