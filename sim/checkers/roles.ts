import { recordOf } from "../branches.ts";
import type { Checker, ImageWrite } from "../checker.ts";
import { sectorBytes } from "../disk-state.ts";
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
  const generations = new Map<string, number>();

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
    onEvent(machine, event) {
      // Whose own writes are given up follows a generation that may have a lower number.
      if (event.kind === "discard") generations.delete(`${event.group} ${machine.name}`);
    },
    onStatus(machine, line, status) {
      const key = `${line.group.name} ${machine.name}`;
      const before = generations.get(key) ?? 0;
      // Whoever acts in a generation must have it on its disk; a copy shows the one that it is about to record.
      // A site whose record could not be written says so, and what it then says of its generation is of no account.
      if (status.generation < before && !world.hadDiskErrors) {
        world.report(
          "I28",
          `${machine.name} went back from generation ${before} to ${status.generation}`,
        );
      }
      if (status.role === "primary") generations.set(key, status.generation);
    },
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
