import { limits } from "#base/limits.ts";
import type { Checker, Refusal } from "../checker.ts";
import { isWellState, takesSets } from "../line.ts";
import type { World } from "../world.ts";

/** Clocks of machines run apart, and a gateway looks at its own once a tick. */
const clockRateMax = 0.02;

/**
 * No host hears of trouble with a device (A7, A16): its gateway's journal takes what is written, and a read that needs the
 * device waits for it. An error is right where the site's own disk has failed, where a member is away without whom nothing
 * may be acked (`onLoss: fail`), where a copy holds up a full journal (`overflow: fail`), and for a read that has waited
 * `deviceTimeout` (decision 17).
 */
export function gatewayChecker(world: World): Checker {
  return {
    ids: ["A16"],
    onRefused(refused) {
      const { machine, line, kind, outcome, waitedMs } = refused;
      const { group } = line;
      const isOnDevice = ({ name }: { name: string }): boolean =>
        machine.devices.has(`${group.name}/${name}`);
      if (!group.volumes.some(isOnDevice)) return;
      world.count("checks:A16");
      if (machine.disk.failures > 0) return;
      if (kind === "read" && waitedMs >= patienceMs() && isOnDevice(volumeOf(refused))) return;
      if (kind !== "read" && (outcome === "io" ? lacksStrict(refused) : mayBeFull(refused))) return;
      world.report(
        "A16",
        `${machine.name}, whose own disk is sound, has answered a ${kind} of ${volumeOf(refused).name} with "${outcome}" ` +
          `after ${Math.round(waitedMs)} ms`,
      );
    },
  };
}

function patienceMs(): number {
  return (limits.deviceTimeoutMs - 2 * limits.tickMs) * (1 - clockRateMax);
}

function volumeOf({ line, volume }: Refusal): { readonly name: string } {
  const found = line.group.volumes[volume];
  if (found === undefined) throw new RangeError(`no volume ${volume} in ${line.group.name}`);
  return found;
}

/** The journal is kept for a copy: what a device alone holds it for is waited for, whatever the policy says (decision 13). */
function mayBeFull({ line, status }: Refusal): boolean {
  const isHeld = status.copies.some(({ mode, lagWrites, state }) => {
    return takesSets(mode) && (lagWrites > 0 || !isWellState(state));
  });
  return line.group.journal.overflow === "fail" && isHeld;
}

/** A member without whom nothing may be acked is not there: hosts get an error by its policy. */
function lacksStrict({ line, status }: Refusal): boolean {
  return status.copies.some(
    ({ site, state }) => line.group.copies.get(site)?.onLoss === "fail" && !isWellState(state),
  );
}
