import type { Checker } from "../checker.ts";
import type { World } from "../world.ts";

/**
 * The events of a copy lead on from each other: none of its states is left out, so that whoever reads them alone knows what
 * `status` shows (I33).
 */
export function eventChecker(world: World): Checker {
  const states = new Map<string, string>();
  return {
    ids: ["I33"],
    onEvent(machine, { kind, group, copy, from, to }) {
      const run = `${machine.name} ${machine.process?.life} ${group} `;
      // Another run of the primary begins with what its record says.
      if (kind === "role" || kind === "serving" || kind === "reload")
        for (const key of states.keys()) if (key.startsWith(run)) states.delete(key);
      if (kind !== "copy" || from === undefined || to === undefined) return;
      const key = run + copy;
      const last = states.get(key);
      world.count("checks:I33");
      if (last !== undefined && last !== from)
        world.report(
          "I33",
          `${machine.name} said that copy ${copy} is ${last}, and then that it is ${to} after ${from}`,
        );
      states.set(key, to);
    },
  };
}
