import { limits } from "#base/limits.ts";
import { keyOf, noteDown, recordOf } from "../branches.ts";
import type { Checker, ImageWrite } from "../checker.ts";
import type { DiskState } from "../disk-state.ts";
import { differences, unitOfImage } from "../image-view.ts";
import type { Line } from "../line.ts";
import { savedOnDisk } from "../points.ts";
import type { World } from "../world.ts";

/**
 * The branch of a site whose own writes were given up: what overwrites it, resync or mirrored write, finds the old content on
 * the platter and as it was; and one that is brought back is, byte for byte, the image that was given up (I29, I30).
 */
export function branchChecker(world: World): Checker {
  const unitBytes = limits.preserveUnitBytes;

  function judgeUnit(write: ImageWrite, disk: DiskState, offset: number): string | undefined {
    const { machine, line, volume } = write;
    const key = `${volume}:${offset}`;
    const logs = savedOnDisk(machine.disk.state, line.group.name, { prefix: "branch-", unitBytes });
    const log = logs.find((units) => units.has(key));
    if (log === undefined) return "before what it held is in the branch on its disk";
    const was = unitOfImage(disk, line.group, { volume, offset, length: unitBytes });
    const saved = log.get(key) ?? new Uint8Array(unitBytes);
    return Buffer.compare(saved, was.subarray(0, saved.length)) === 0
      ? undefined
      : "and what the branch has of it is not what it held";
  }

  function judgeBack(line: Line, site: string, was: DiskState): void {
    world.count("situations:discard undone, and judged");
    const now = world.machine(site).disk.state;
    for (const view of ["current", "durable"] as const) {
      const before = { disk: was, view: "current" } as const;
      const [first] = differences(before, { disk: now, view }, line.group, 1);
      if (first === undefined) continue;
      const where = `volume ${first.volume} sector ${first.sector} (${view})`;
      world.report("I30", `${site} took its discard back, and ${where} is not what was given up`);
    }
  }

  function judgeAllKept(): void {
    for (const line of world.lines.values())
      for (const site of line.sites) judgeKept(world, line, site);
  }

  return {
    ids: ["I29", "I30"],
    onImageWrite(write) {
      const { machine, line } = write;
      const branch = recordOf(world, line, machine.name, "current")?.branch;
      const disk = world.givenUp.get(keyOf(line, machine.name))?.disk;
      if (branch?.phase !== "kept" || disk === undefined) return;
      world.count("checks:I30");
      const first = Math.floor(write.offset / unitBytes);
      const last = Math.floor((write.offset + write.lengthBytes - 1) / unitBytes);
      for (let unit = first; unit <= last; unit += 1) {
        const why = judgeUnit(write, disk, unit * unitBytes);
        if (why === undefined) continue;
        world.report(
          "I30",
          `${machine.name} overwrites unit ${unit} of volume ${write.volume} ${why}`,
        );
        return;
      }
    },
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (line === undefined || event.kind !== "image") return;
      if (!event.why.startsWith("the branch is back")) return;
      const disk = world.givenUp.get(keyOf(line, machine.name))?.disk;
      if (disk !== undefined) judgeBack(line, machine.name, disk);
    },
    onSample: judgeAllKept,
    onRest: judgeAllKept,
    onDown(machine) {
      for (const line of world.lines.values())
        if (line.sites.includes(machine.name)) noteDown(world, line, machine);
    },
  };
}

/** Once it is on record, a branch stays there until an operator says otherwise. */
function judgeKept(world: World, line: Line, site: string): void {
  const given = world.givenUp.get(keyOf(line, site));
  // A disk that fails may take the log with it.
  if (given === undefined || world.hadDiskErrors) return;
  const branch = recordOf(world, line, site, "durable")?.branch;
  if (given.isKept && branch === undefined)
    world.report("I30", `${site} has lost the branch of what it gave up`);
  const isBeingTold = [...world.commands].some((pending) => pending.site === site);
  // Killed in the midst of letting it go, a site may have written that, and the platter has not got it yet.
  const isInBoth = [branch, recordOf(world, line, site, "current")?.branch].every(
    (found) => found?.phase === "kept",
  );
  given.isKept = isInBoth && !isBeingTold;
}
