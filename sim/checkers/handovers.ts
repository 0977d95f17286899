import type { Checker } from "../checker.ts";
import { describe } from "../oracle.ts";
import type { World } from "../world.ts";

/**
 * A planned change of role loses nothing: everything acked when the successor takes the role must be there when it serves (I33,
 * judged in serving.ts), and from then on the old primary acks nothing any more (I28).
 */
export function handoverChecker(world: World): Checker {
  /** Who has handed its role to whom, by group and the old primary; until an operator takes it back by force. */
  const given = new Map<string, { readonly to: string; readonly generations: number }>();

  return {
    ids: ["I28", "I33"],
    onEvent(machine, event) {
      if (event.kind !== "promote") return;
      const { group, why } = event;
      // What was begun with an earlier offer has not come about, or this promotion would not be.
      for (const [key, { to }] of given)
        if (to === machine.name && key.startsWith(`${group}@`)) given.delete(key);
      const [, from] = /^(\S+) hands over everything/.exec(why) ?? [];
      if (from === undefined) {
        given.delete(`${group}@${machine.name}`);
        return;
      }
      const line = world.line(group);
      const record = world.inspector(machine.name, line).record("current");
      const generations = record.kind === "found" ? record.record.history.length : 0;
      given.set(`${group}@${from}`, { to: machine.name, generations });
      world.lossless.set(`${group}@${machine.name}`, line.oracle.next());
    },
    onWriteAcked(write, { line, machine }) {
      const key = `${line.group.name}@${machine.name}`;
      const handover = given.get(key);
      if (handover === undefined) return;
      world.count("checks:I28");
      const mine = world.inspector(machine.name, line).record("current");
      const its = world.inspector(handover.to, line).record("durable");
      if (mine.kind !== "found" || its.kind !== "found") return;
      // It has been fed, or promoted, since.
      if (mine.record.history.length > handover.generations) given.delete(key);
      else if (its.record.history.length > handover.generations)
        world.report(
          "I28",
          `${describe(write)} was acked by ${machine.name}, which has handed its role to ${handover.to}`,
        );
    },
  };
}
