import type { Checker } from "../checker.ts";
import type { World } from "../world.ts";

/** After a clean stop nothing is left: no timer, no connection, no sync that somebody waits for (N7). */
export function leakChecker(world: World): Checker {
  return {
    ids: ["N7"],
    onStopped() {
      for (const machine of world.machines.values()) {
        const { process } = machine;
        if (process === undefined) continue;
        world.count("checks:N7");
        if (process.timers > 0)
          world.report(
            "N7",
            `${machine.name} has stopped, and ${process.timers} of its timers run on`,
          );
        const open = world.network.connectionsOf(process).length;
        if (open > 0)
          world.report("N7", `${machine.name} has stopped with ${open} connections open`);
        if (machine.disk.syncsInFlight > 0)
          world.report("N7", `${machine.name} has stopped with a sync under way`);
      }
      if (world.commands.size > 0)
        world.report("N7", `${world.commands.size} commands were never answered`);
    },
  };
}
