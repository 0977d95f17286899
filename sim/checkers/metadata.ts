import type { Checker } from "../checker.ts";
import type { View } from "../disk-state.ts";
import type { Line } from "../line.ts";
import type { Machine } from "../machine.ts";
import type { World } from "../world.ts";

/**
 * Records are totally ordered (N5): the newest valid one on a disk is never older than the last that anybody awaited,
 * and there is always one that the engine's own reader accepts.
 */
export function metadataChecker(world: World): Checker {
  /** Highest revision seen durable, per site and group. */
  const durable = new Map<string, number>();

  function look(machine: Machine, line: Line, view: View): void {
    const found = world.inspector(machine.name, line).record(view);
    const key = `${line.group.name} ${machine.name}`;
    world.count("checks:N5");
    if (found.kind === "refused") {
      world.report("N5", `${machine.name}: ${found.why}`);
      return;
    }
    const revision = found.kind === "found" ? found.revision : 0;
    const before = durable.get(key) ?? 0;
    if (revision < before) {
      world.report(
        "N5",
        `${machine.name} had revision ${before} of its record on disk, and now finds ${revision}`,
      );
    }
    if (view === "durable") durable.set(key, Math.max(before, revision));
  }

  return {
    ids: ["N5"],
    onDown(machine) {
      for (const line of world.lines.values()) look(machine, line, "current");
    },
    onStatus(machine, line) {
      look(machine, line, "durable");
    },
  };
}
