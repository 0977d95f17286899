import type { Machine } from "./machine.ts";
import type { World } from "./world.ts";

/** Runs a world until a site serves a group, for so long at the most. True when it serves at the end. */
export function runUntilServing(
  world: World,
  machine: Machine,
  group: string,
  durationUs: number,
): boolean {
  const ask = (): boolean => world.status(machine, group)?.serving === true;
  let asked: Machine["process"];
  let turns = -1;
  let serves = false;
  world.runFor(durationUs, () => {
    const { process } = machine;
    // A status is dear, and this is asked after every event of anybody: the answer changes with the site's own events only.
    if (process !== asked || process?.turns !== turns) {
      asked = process;
      turns = process?.turns ?? -1;
      serves = ask();
    }
    return serves;
  });
  return ask();
}
