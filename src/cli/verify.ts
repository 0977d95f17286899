import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { formatSize } from "#config/units.ts";
import type { VerifyStatus } from "#site/api.ts";
import { commandGroup } from "./client.ts";
import { aimOf } from "./context.ts";
import type { Aim } from "./find-site.ts";
import { findPrimary } from "./find-site.ts";
import { chooseCopy, tell } from "./group-commands.ts";
import type { CopyOptions } from "./group-commands.ts";
import { createProgress, exitCodes, say, sayError, sayJson } from "./output.ts";
import { waitFor } from "./wait.ts";

const pollMs = 100;

export type VerifyOptions = CopyOptions & { readonly repair?: boolean };

/** `antipode verify`: compares a copy online and says what differs: exit 1 where something does, and is not repaired. */
export async function verify(group: string, options: VerifyOptions): Promise<number> {
  const aim = aimOf(options);
  const found = await findPrimary(aim, group);
  const copy = chooseCopy(found, options.copy);
  const isRepairing = options.repair ?? false;
  const command = { kind: "verify", group, copy, repair: isRepairing } as const;
  const outcome = await commandGroup(found.api, command, options.timeout);
  if (!outcome.ok) return tell(outcome, "", options);
  const endMs = options.timeout === undefined ? Infinity : performance.now() + options.timeout;
  const seen = await ended(aim, { group, copy, endMs });
  if (options.json === true) sayJson({ group, copy, ...seen });
  else for (const line of describeVerify(copy, seen)) say(line);
  if (seen.why !== "") {
    sayError(`the walk ended early: ${seen.why}`, `antipode why ${group}`);
    return exitCodes.failed;
  }
  if (seen.differingBytes === 0) return exitCodes.done;
  if (!isRepairing) {
    const from = found.status.site;
    sayError(
      `${copy} differs from ${from} in ${seen.differingRegions} regions`,
      `antipode verify ${group} --copy ${copy} --repair takes what ${from} has; if that is wrong, switch over first`,
    );
    return exitCodes.failed;
  }
  const leftMs = Number.isFinite(endMs) ? Math.max(1, endMs - performance.now()) : undefined;
  await waitFor(aim, group, { copy, state: undefined }, leftMs);
  if (options.json !== true) say(`${copy}: what differed has been brought over`);
  return exitCodes.done;
}

async function ended(
  aim: Aim,
  walk: { readonly group: string; readonly copy: string; readonly endMs: number },
): Promise<VerifyStatus> {
  const progress = createProgress();
  try {
    for (;;) {
      const { group } = await findPrimary(aim, walk.group);
      const seen = group.copies.find(({ site }) => site === walk.copy)?.verify;
      if (seen === undefined)
        throw new AppError("unreachable", `nobody knows how the verify of ${walk.copy} has ended`, {
          hint: "the primary was started again, or is another site by now: ask once more",
        });
      if (!seen.isRunning) return seen;
      const done = `${formatSize(seen.comparedBytes)} of ${formatSize(seen.totalBytes)} compared`;
      if (performance.now() >= walk.endMs)
        throw new AppError("timeout", `the verify of ${walk.copy} runs on: ${done}`, {
          hint: `antipode status ${walk.group} --json tells how far it is`,
        });
      progress.show(`${walk.group}: ${done}, ${seen.differingRegions} regions differ`);
      await sleep(Math.max(1, Math.min(pollMs, walk.endMs - performance.now())));
    }
  } finally {
    progress.done();
  }
}

/** What a walk has found, for people. */
function describeVerify(copy: string, seen: VerifyStatus): readonly string[] {
  const { comparedBytes, totalBytes, differingRegions, differingBytes, ranges } = seen;
  const told = ranges.reduce((sum, { length }) => sum + length, 0);
  const found =
    differingRegions === 0
      ? "no region differs"
      : `${differingRegions} regions differ, ${formatSize(differingBytes)}`;
  return [
    `${copy}: ${formatSize(comparedBytes)} of ${formatSize(totalBytes)} compared; ${found}`,
    ...ranges.map(({ volume, offset, length }) => `  ${volume} at ${offset}, ${length} bytes`),
    ...(told < differingBytes ? [`  and ${formatSize(differingBytes - told)} more`] : []),
  ];
}
