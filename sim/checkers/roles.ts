import type { EventRecord } from "#ports/events.ts";
import type { GroupStatus } from "#site/api.ts";
import { keyOf, recordOf } from "../branches.ts";
import type { Checker, ImageWrite } from "../checker.ts";
import { sectorBytes } from "../disk-state.ts";
import type { Line } from "../line.ts";
import type { Machine } from "../machine.ts";
import { describe } from "../oracle.ts";
import { alignedBytes, readStamp } from "../stamp.ts";
import type { World } from "../world.ts";

/**
 * Who may act (I28, I29, N4): one site acks in a generation; nobody goes back to a lower one; nothing of a generation
 * that was given up reaches a site that knows of a newer one; diverged data is not overwritten by itself.
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function roleChecker(world: World): Checker {
  const ackers = new Map<string, string>();
  /** Ids of generations, by the life of the process that serves and the counter. */
  const tenures = new Map<string, string>();
  const highest = highestTenures(world);

  /** The site has durably seen the generation in which the line goes on. */
  function hasSeenLine(write: ImageWrite): boolean {
    const found = world.inspector(write.machine.name, write.line).record("durable");
    return found.kind === "found" && found.record.history.at(-1)?.id === write.line.tenure;
  }

  /** The operator has chosen an older state of this very site, by force: whatever was given up since may be in it. */
  function goesBack(write: ImageWrite): boolean {
    const found = world.inspector(write.machine.name, write.line).record("current");
    if (found.kind !== "found") return false;
    const { preservedPoint, branch } = found.record;
    return preservedPoint?.phase === "undoing" || branch?.phase === "undoing";
  }

  /** What is about to be written, judged by the first sector that carries a stamp. */
  function judgeContent(write: ImageWrite): void {
    const { oracle } = write.line;
    if (write.chunks === undefined || write.lengthBytes % sectorBytes !== 0) return;
    const bytes = alignedBytes(write.chunks, write.lengthBytes);
    const knowsBetter = hasSeenLine(write);
    for (let at = 0; at < bytes.length; at += sectorBytes) {
      const sector = (write.offset + at) / sectorBytes;
      const held = readStamp(bytes, at, { volume: write.volume, sector }, false);
      if (held.kind === "alien" || held.id === 0) continue;
      const made = oracle.writes[held.id];
      if (made === undefined) continue;
      const madeIn = made.reign < 0 ? 0 : (oracle.generations[made.reign] ?? 0);
      const givenUp = made.reign < 0 || oracle.isLost(made, sector);
      world.count("checks:N4");
      if (
        !givenUp ||
        !knowsBetter ||
        madeIn >= write.line.generation ||
        write.machine.name === made.site
      )
        continue;
      world.report(
        "N4",
        `${write.machine.name} knows of generation ${write.line.generation} and applies ${describe(made)}, which was given up`,
      );
      return;
    }
  }

  return {
    ids: ["I28", "I29", "N4"],
    onWriteAcked(write, ack) {
      const serving = `${ack.line.group.name} ${write.life} ${ack.status.generation}`;
      let tenure = tenures.get(serving);
      if (tenure === undefined)
        tenures.set(serving, (tenure = world.tenureOf(ack.machine, ack.line, ack.status)));
      const key = `${ack.line.group.name} ${tenure}`;
      const other = ackers.get(key);
      world.count("checks:I28");
      ackers.set(key, ack.machine.name);
      if (!ack.onLine) world.count("situations:acked off the line");
      if (other === undefined || other === ack.machine.name) return;
      world.report(
        "I28",
        `${describe(write)} was acked at ${ack.machine.name} in generation ${ack.status.generation}, in which ${other} acks too`,
      );
    },
    onEvent: highest.noteWord,
    onStatus: highest.judge,
    onImageWrite(write) {
      const { line, machine, life } = write;
      if (line.oracle.reign.number === 0 || goesBack(write)) return;
      // Fed by whoever was promoted, also before that one serves.
      const tenure = recordOf(world, line, machine.name, "durable")?.history.at(-1)?.id ?? "";
      if (life !== line.oracle.reign.life && line.mustStop(machine.name, tenure)) {
        const status = world.status(machine, line.group.name);
        world.count("checks:I29");
        if (status !== undefined && status.role !== "primary") {
          world.report(
            "I29",
            `${machine.name} has acked writes that the line lacks, and is overwritten without a word of the operator`,
          );
        }
      }
      judgeContent(write);
    },
  };
}

/** The last tenure in which a site was primary. */
type Tenure = {
  readonly generation: number;
  readonly id: string;
  /** The operator has given it up there, and that word has not come to nothing since. */
  isGivenUp: boolean;
  /** Ids of the tenures in whose favour, once that was seen on record. */
  favours: readonly string[] | undefined;
};

type HighestTenures = {
  noteWord(machine: Machine, event: EventRecord): void;
  judge(machine: Machine, line: Line, status: GroupStatus): void;
};

/**
 * No site goes back behind a generation in which it was primary, but for one case: the operator has given up that very tenure
 * there, and the word is on record, or the site has left for a history that it favours. That one may well be the shorter of
 * the two. The event tells of a word before the site is demoted for it: until then it still shows itself as the primary of
 * what it gives up. A word that is undone, or that a crash keeps from the record, is void.
 */
function highestTenures(world: World): HighestTenures {
  const served = new Map<string, Tenure>();

  /** Between the event and the answer the word need not be on record. */
  function isBeingTold(machine: Machine, line: Line): boolean {
    return [...world.commands].some(
      ({ site, command }) =>
        site === machine.name && command.kind === "discard" && command.group === line.group.name,
    );
  }

  function mayBeBehind(machine: Machine, line: Line, tenure: Tenure): boolean {
    const record = recordOf(world, line, machine.name, "durable");
    const isOf = (ids: readonly string[]): boolean =>
      record?.history.some(({ id }) => ids.includes(id)) === true;
    if (record?.discarding !== undefined) tenure.favours = record.discarding.favours;
    else if (isOf([tenure.id])) {
      tenure.isGivenUp &&= isBeingTold(machine, line);
      return false;
    }
    // Fed before anybody could ask it, a site was never seen with the word on record.
    const { favours, isGivenUp } = tenure;
    const isFollowing = record?.discarding !== undefined || favours === undefined || isOf(favours);
    return isGivenUp && isFollowing;
  }

  return {
    noteWord(machine, { kind, group, why }) {
      const line = world.lines.get(group);
      if (line === undefined || kind !== "discard" || !why.startsWith("gives up ")) return;
      const tenure = served.get(keyOf(line, machine.name));
      if (tenure === undefined) return;
      const { history = [] } = recordOf(world, line, machine.name, "durable") ?? {};
      tenure.isGivenUp ||= history.some(({ id }) => id === tenure.id);
      tenure.favours = undefined;
    },
    judge(machine, line, status) {
      const { generation, role } = status;
      const key = keyOf(line, machine.name);
      const before = served.get(key);
      const isExcused = before?.isGivenUp === true && mayBeBehind(machine, line, before);
      // Whoever acts in a generation must have it on its disk; a copy shows the one that it is about to record.
      // A site whose record could not be written says so, and what it then says of its generation is of no account.
      if (before !== undefined && generation < before.generation && !world.hadDiskErrors) {
        world.count("checks:I28");
        if (!isExcused)
          world.report(
            "I28",
            `${machine.name} went back from generation ${before.generation} to ${generation}`,
          );
      }
      if (role !== "primary") return;
      // What was given up may be followed by a tenure of the same number.
      if (before?.generation === generation && !before.isGivenUp) return;
      const id = world.tenureOf(machine, line, status);
      if (before?.id !== id)
        served.set(key, { generation, id, isGivenUp: false, favours: undefined });
    },
  };
}
