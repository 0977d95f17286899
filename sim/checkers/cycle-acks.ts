import type { GroupConfig } from "#config/types.ts";
import type { EventRecord } from "#ports/events.ts";
import { decodeSettings } from "#site/settings.ts";
import type { Ack } from "../checker.ts";
import type { Line } from "../line.ts";
import { logsOf } from "../log-view.ts";
import type { Machine } from "../machine.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import type { World } from "../world.ts";
import { hasSets } from "./sets.ts";

/**
 * An ack: its tick, and the highest sets that were acked up to then: of all writes, and of those that waited for the
 * switch.
 */
type AckedSet = { readonly tick: number; readonly set: number; readonly switchedSet: number };

type Terms = {
  /** Hosts are answered at the switch: what was invoked from this tick on is. Undefined: they are not. */
  switchSince: number | undefined;
  readonly acked: AckedSet[];
};

/**
 * The sets of acked writes, by the primary's journal: whoever waited for an ack is in no earlier set, and where hosts are
 * answered at the switch, in a later one (I9), since nothing is acked while its number stands (I7).
 */
export function createCycleAcks(world: World) {
  /** By process and generation: each promotion numbers its sets anew, and whoever is promoted resyncs all copies. */
  const byReign = new Map<string, Terms>();
  /** Tick of a process's last reload: before it, writes went by other terms. */
  const reloadedAt = new Map<string, number>();

  function lifeOf({ name }: GroupConfig, { process }: Machine): string {
    return `${name} ${process?.life}`;
  }

  function termsOf({ machine, line, status }: Ack): Terms {
    const life = lifeOf(line.group, machine);
    const key = `${life} ${status.generation}`;
    let terms = byReign.get(key);
    if (terms === undefined) {
      // What it goes by from its start on, or from a reload before its first ack, it goes by for all of its writes.
      const since = (reloadedAt.get(life) ?? -1) + 1;
      terms = { switchSince: acksAtSwitch(world, machine, line) ? since : undefined, acked: [] };
      byReign.set(key, terms);
    } else if (!acksAtSwitch(world, machine, line)) terms.switchSince = undefined;
    else terms.switchSince ??= line.oracle.tick;
    return terms;
  }

  return {
    onEvent(machine: Machine, { kind, group }: EventRecord): void {
      const line = world.lines.get(group);
      if (kind !== "reload" || line === undefined) return;
      reloadedAt.set(lifeOf(line.group, machine), line.oracle.tick);
    },
    onWriteAcked(write: WriteRecord, ack: Ack): void {
      const { line, machine } = ack;
      const { lsn = 0 } = write.request ?? {};
      if (lsn === 0 || !hasSets(line)) return;
      const { switchSince = Infinity, acked } = termsOf(ack);
      const { entries } = logsOf(world, line)(machine.name, "journal", "current");
      const place = entries.findLastIndex((entry) => entry.kind !== "seal" && entry.lsn === lsn);
      const set = entries[place]?.set;
      // The journal has let it go while a mirror was waited for; or there is none any more.
      if (set === undefined) return;
      const last = acked.at(-1) ?? { tick: 0, set: 0, switchedSet: 0 };
      const isSwitched = write.invokedTick >= switchSince;
      if (isSwitched) {
        world.count("checks:I7");
        if (!entries.some((entry) => entry.kind === "seal" && entry.set === set))
          world.report(
            "I7",
            `${describe(write)} was acked at ${machine.name} while its number ${set} stood: its SEAL is not in the journal`,
          );
      }
      judgeOrder(write, set, acked);
      acked.push({
        tick: write.ackedTick,
        set: Math.max(set, last.set),
        switchedSet: isSwitched ? Math.max(set, last.switchedSet) : last.switchedSet,
      });
    },
  };

  function judgeOrder(write: WriteRecord, set: number, acked: readonly AckedSet[]): void {
    const before = acked.findLast(({ tick }) => tick < write.invokedTick);
    if (before === undefined) return;
    world.count("checks:I9");
    if (set < before.set)
      world.report(
        "I9",
        `${describe(write)} is in set ${set}, and a write that was acked before it was made is in set ${before.set}`,
      );
    else if (set === before.switchedSet)
      world.report(
        "I9",
        `${describe(write)} is in set ${set}, and so is a write that was acked at the switch before it was made`,
      );
  }
}

/** Both by the file that an operator has changed first and by the record that tells what holds: else it is being changed. */
function acksAtSwitch(world: World, machine: Machine, line: Line): boolean {
  const found = world.inspector(machine.name, line).record("current");
  const text = found.kind === "found" ? found.record.configuration?.settings : undefined;
  const settings = text === undefined ? undefined : decodeSettings(text);
  const file = machine.file.groups.get(line.group.name);
  return isAtSwitch(settings) && isAtSwitch(file);
}

function isAtSwitch(group: Pick<GroupConfig, "copies"> | undefined): boolean {
  return [...(group?.copies.values() ?? [])].some(({ ackAt }) => ackAt === "switch");
}
