import type { EventRecord } from "#ports/events.ts";
import { isBegunByItself } from "../auto-replays.ts";
import type { Checker } from "../checker.ts";
import type { Line } from "../line.ts";
import type { Machine } from "../machine.ts";
import type { World } from "../world.ts";

/** A site looks at its clock only once a tick. */
const slackMs = 400;
/** Clocks of machines may be off by one part in a hundred. */
const rateMost = 1.02;

/**
 * A replay that no operator has asked for begins only where the primary has been silent for the time that is configured, for
 * the copy as well as for the bunker, which would otherwise take the log from a primary that lives (I27; U32, decision 6).
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function autoReplayChecker(world: World): Checker {
  /** When a site was last known to hear the primary for certain, by group and site. */
  const heardUs = new Map<string, { readonly atUs: number; readonly primary: string }>();

  function observe(line: Line): void {
    for (const name of line.sites) {
      const primary = world.machine(name);
      const status = world.rawStatus(primary, line.group.name);
      if (status?.role !== "primary" || status.why !== "") continue;
      for (const other of [...line.sites, ...line.group.copies.keys()]) {
        const machine = world.machines.get(other);
        if (machine === undefined || machine === primary) continue;
        if (!surelyHears(line, machine, primary)) continue;
        const theirs = world.rawStatus(machine, line.group.name);
        if (theirs?.generation !== status.generation || theirs.primary !== name) continue;
        heardUs.set(`${line.group.name}@${other}`, { atUs: world.scheduler.nowUs, primary: name });
      }
    }
  }

  // Both have been up, and nothing has been in the way, for as long as it takes to find each other again.
  function surelyHears(line: Line, machine: Machine, primary: Machine): boolean {
    const { network, scheduler } = world;
    const links = [
      network.link(machine.name, primary.name),
      network.link(primary.name, machine.name),
    ];
    const copies = [...line.group.copies.values()];
    const foundMs = Math.max(
      ...copies.map(({ timeoutMs, probeMs }) => 2 * timeoutMs + 3 * probeMs),
    );
    const sinceUs = scheduler.nowUs - (foundMs + slackMs) * 1000;
    const isAwake = [machine, primary].every(
      ({ process, started }) =>
        started && process !== undefined && !process.paused && process.releasedUs < sinceUs,
    );
    return (
      isAwake &&
      [machine, primary].every((one) => bornUs(one) < sinceUs) &&
      links.every(({ down, changedUs, delayUs }) => !down && changedUs < sinceUs && delayUs < 20e3)
    );
  }

  const births = new Map<number, number>();
  function bornUs({ process }: Machine): number {
    return births.get(process?.life ?? -1) ?? Infinity;
  }

  function judge(copy: Machine, line: Line, event: EventRecord): void {
    const from = event.copy ?? "";
    const afterMs = line.group.copies.get(from)?.replayAfterMs;
    const primary = world.rawStatus(copy, line.group.name)?.primary;
    world.count("checks:I27");
    if (afterMs === undefined)
      return world.report("I27", `${from} brings ${copy.name} up by itself, and nobody wants that`);
    for (const site of [copy.name, from]) {
      const heard = heardUs.get(`${line.group.name}@${site}`);
      if (heard === undefined || heard.primary !== primary) continue;
      const silentMs = (world.scheduler.nowUs - heard.atUs) / 1000;
      if (silentMs * rateMost >= afterMs) continue;
      world.report(
        "I27",
        `${from} brings ${copy.name} up by itself, though ${site} has heard ${primary} ${Math.round(silentMs)} ms ago, which is to be silent for ${afterMs} ms`,
      );
    }
  }

  return {
    ids: ["I27"],
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (line !== undefined && isBegunByItself(event)) judge(machine, line, event);
    },
    onSample() {
      for (const { process } of world.machines.values())
        if (process !== undefined && !births.has(process.life))
          births.set(process.life, world.scheduler.nowUs);
      for (const line of world.lines.values()) if (isAutomatic(line)) observe(line);
    },
  };
}

function isAutomatic({ group }: Line): boolean {
  return [...group.copies.values()].some(({ replayAfterMs }) => replayAfterMs !== undefined);
}
