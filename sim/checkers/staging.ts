import type { Checker } from "../checker.ts";
import type { World } from "../world.ts";

/**
 * A staging log whose sync failed is not trusted again (I20, PROOF §2.5): when its copy says that it is well, another one is
 * durably on record.
 */
export function stagingChecker(world: World): Checker {
  /** By site and group: the log that could not be synced. */
  const lost = new Map<string, number>();
  return {
    ids: ["I20"],
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (event.kind !== "staging" || line === undefined) return;
      const key = `${machine.name} ${event.group}`;
      const found = world.inspector(machine.name, line).record("durable");
      const stagingId = found.kind === "found" ? found.record.stagingId : undefined;
      const before = lost.get(key);
      lost.delete(key);
      if (event.to === "failed" && event.why.startsWith("fdatasync") && stagingId !== undefined)
        lost.set(key, stagingId);
      if (event.to !== "ok" || before === undefined) return;
      world.count("situations:staging log replaced");
      if (stagingId === before)
        world.report("I20", `${machine.name} goes on with a staging log that could not be synced`);
    },
  };
}
