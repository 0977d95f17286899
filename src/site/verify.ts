import { limits } from "#base/limits.ts";
import { keepsLog } from "#core/member-state.ts";
import type { Primary } from "#core/primary-state.ts";
import { markedBytes, nextMarked, runLength } from "#core/region-map.ts";
import type { Verify } from "#core/verify.ts";
import type { CommandOutcome, CopyStatus, VerifyStatus } from "./api.ts";
import type { Group } from "./group.ts";
import { notPrimary, refused } from "./refusals.ts";

/** `verify`: begins the walk, which goes on by itself; the copy's status tells of it. */
export function runVerify(
  group: Group,
  command: { readonly copy: string; readonly repair: boolean },
  done: (outcome: CommandOutcome) => void,
): void {
  const { run, name } = group;
  if (run === undefined) return done(notPrimary(group));
  const member = run.primary.members.find(({ site }) => site === command.copy);
  if (member === undefined) {
    const known = run.primary.members.map(({ site }) => site).join(", ");
    return done(
      refused("usage", `${name} has no copy at ${command.copy}`, `its copies are: ${known}`),
    );
  }
  if (keepsLog(member))
    return done(
      refused("usage", `${command.copy} is a bunker: it keeps the log of ${name}, and no volume`),
    );
  if (member.stage !== "synchronized" || run.primary.stage !== "serving")
    return done(
      refused(
        "failed",
        `${command.copy} is not at its best: what it lacks would be found to differ`,
        `antipode wait ${name} --copy ${command.copy}`,
      ),
    );
  if (member.verify?.isRunning === true)
    return done(
      refused("failed", `a verify of ${command.copy} is running`, "wait until it has ended"),
    );
  run.submit({ kind: "verify", member: member.index, isRepairing: command.repair });
  const plan = ["every region is compared by hash, while hosts write on; nothing is changed"];
  if (command.repair)
    plan[0] = `every region is compared by hash, while hosts write on; what differs is copied from ${group.context.site} to ${command.copy}`;
  done({ ok: true, plan });
}

/** What a walk has found, as a copy's status tells it. */
export function verifyStatus(
  primary: Primary,
  verify: Verify | undefined,
): Pick<CopyStatus, "verify"> {
  if (verify === undefined) return {};
  const { isRunning, why, isRepairing, totalBytes, comparedBytes, differing } = verify;
  return {
    verify: {
      isRunning,
      why,
      repairs: isRepairing,
      totalBytes,
      comparedBytes,
      differingRegions: differing.reduce((sum, map) => sum + map.count, 0),
      differingBytes: differing.reduce((sum, map) => sum + markedBytes(map), 0),
      ranges: rangesOf(primary, verify),
    },
  };
}

function rangesOf(primary: Primary, { differing }: Verify): VerifyStatus["ranges"] {
  const ranges: VerifyStatus["ranges"][number][] = [];
  for (const [index, map] of differing.entries()) {
    const { name = "", bytes = 0 } = primary.volumes[index] ?? {};
    for (let unit = nextMarked(map, 0); unit !== -1;) {
      if (ranges.length >= limits.verifyRangesToldMax) return ranges;
      const units = runLength(map, unit, map.units);
      const offset = unit * map.unitBytes;
      ranges.push({
        volume: name,
        offset,
        length: Math.min(units * map.unitBytes, bytes - offset),
      });
      unit = nextMarked(map, unit + units);
    }
  }
  return ranges;
}
