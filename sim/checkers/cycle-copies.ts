import type { TraceLine } from "#ports/events.ts";
import type { CycleSession } from "../cycle-session.ts";
import type { Line } from "../line.ts";
import { logsOf } from "../log-view.ts";
import type { Machine } from "../machine.ts";
import type { World } from "../world.ts";

/** What a copy has taken in since its last purge. It outlives the copy's process: a restart finds nothing else, either. */
type Taken = {
  readonly generation: number;
  readonly epoch: number;
  readonly purgedSet: number;
  /** Each line that has come in this session. */
  readonly lines: Set<string>;
  /** What the primary has been seen to send since then, once it has heard PURGED. */
  sent: CycleSession | undefined;
};

/**
 * Copies of cycles, by their own traces and staging logs: what PURGED has given up is gone from the log, durably, and
 * nothing of it is applied, whoever restarts (I23, A3); nothing above R is applied before R (I24).
 */
export function createCycleCopies(world: World) {
  const taken = new Map<string, Taken>();

  return { onTrace, noteResent };

  function onTrace(machine: Machine, line: Line, fields: TraceLine): void {
    const key = `${line.group.name} ${machine.name}`;
    const { dir, kind } = fields;
    if (dir === "out" && kind === "purged") {
      taken.set(key, takenSince(fields));
      return judgePurged(machine, line, fields);
    }
    const known = taken.get(key);
    if (known === undefined) return;
    const isOfIt = known.epoch === fields.epoch && known.generation === fields.generation;
    // A primary that was started again counts its sessions anew: the same number is another session.
    if (dir === "in" && kind === "begin") taken.delete(key);
    else if (dir === "in" && isOfIt && (fields.set ?? 0) > 0) known.lines.add(nameOf(fields));
    else if (kind === "applied") judgeApplied(machine, line, known, fields.set ?? 0);
  }

  /** The primary has heard PURGED, and what it had sent before that is to come as one set. */
  function noteResent(
    line: Line,
    { copy, generation, epoch }: TraceLine,
    sent: CycleSession,
  ): void {
    const known = taken.get(`${line.group.name} ${copy}`);
    if (known === undefined || known.generation !== generation || known.epoch !== epoch) return;
    known.sent = sent;
  }

  function judgePurged(machine: Machine, line: Line, { set = 0, index = 0 }: TraceLine): void {
    world.count("checks:I23");
    if (index > 0) world.count("situations:cycles given up in part");
    for (const view of ["current", "durable"] as const) {
      const log = logsOf(world, line)(machine.name, "staging", view);
      const left = log.entries.find((entry) => entry.set > set);
      if (left === undefined) continue;
      const when = view === "durable" ? "would find after a power loss" : "has";
      world.report(
        "I23",
        `${machine.name} says PURGED above set ${set}, and ${when} something of set ${left.set} in its staging log`,
      );
      return;
    }
  }

  function judgeApplied(machine: Machine, line: Line, known: Taken, set: number): void {
    const { purgedSet, sent, epoch, lines } = known;
    if (set <= purgedSet) return;
    world.count("checks:I23");
    const resentSet = sent?.resentSet;
    if (resentSet !== undefined && set !== resentSet)
      world.report(
        "I24",
        `${machine.name} applies set ${set} before all that was sent before, up to set ${resentSet}, has come as one`,
      );
    known.sent = undefined;
    const { entries } = logsOf(world, line)(machine.name, "staging", "current");
    const volumes = line.group.volumes.map(({ name }) => name);
    const alien = entries.find(
      (entry) =>
        entry.set === set &&
        entry.kind !== "seal" &&
        !lines.has(nameOf({ ...entry, volume: volumes[entry.volume] })),
    );
    if (alien !== undefined)
      world.report(
        "I23",
        `${machine.name} applies set ${set} with lsn ${alien.lsn}, index ${alien.index}, which did not come in epoch ${epoch}, after the purge`,
      );
  }
}

function takenSince({ generation = 0, epoch = 0, set = 0 }: TraceLine): Taken {
  return {
    generation,
    epoch,
    purgedSet: set,
    lines: new Set(),
    sent: undefined,
  };
}

type Named = {
  readonly set?: number;
  readonly index?: number;
  readonly lsn?: number;
  readonly volume?: string | undefined;
  readonly offset?: number;
  readonly length?: number;
};

function nameOf({ set, index, lsn, volume, offset, length }: Named): string {
  return `${set} ${index} ${lsn} ${volume} ${offset} ${length}`;
}
