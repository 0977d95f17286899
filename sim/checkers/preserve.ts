import { limits } from "#base/limits.ts";
import type { Checker, ImageWrite } from "../checker.ts";
import { unitOfImage } from "../image-view.ts";
import { differsFromPoint, pointOnRecord, savedOnDisk } from "../points.ts";
import type { KeptPoint } from "../points.ts";
import type { Line } from "../line.ts";
import type { World } from "../world.ts";

/**
 * The preserved point (I30, decision 11): what a resync overwrites is on the platter first, and as it was; an image that went
 * back is the image that was; and a copy that was whole once has a point, or is whole, at every moment.
 */
export function preserveChecker(world: World): Checker {
  const unitBytes = limits.preserveUnitBytes;

  function judgeUnit(write: ImageWrite, point: KeptPoint, offset: number): string | undefined {
    const { machine, line, volume } = write;
    const key = `${volume}:${offset}`;
    const logs = savedOnDisk(machine.disk.state, line.group.name, {
      prefix: "preserve-",
      unitBytes,
    });
    const log = logs.find((units) => units.has(key));
    if (log === undefined) return "before what it held is on its disk";
    const was = unitOfImage(point.disk, line.group, { volume, offset, length: unitBytes });
    const saved = log.get(key) ?? new Uint8Array(unitBytes);
    if (Buffer.compare(saved, was.subarray(0, saved.length)) === 0) return undefined;
    return "and what is saved of it is not what it held";
  }

  return {
    ids: ["I30"],
    onImageWrite(write) {
      const { machine, line } = write;
      const found = world.inspector(machine.name, line).record("current");
      const phase = found.kind === "found" ? found.record.preservedPoint?.phase : undefined;
      const point = phase === "kept" ? pointOnRecord(world, line, machine.name) : undefined;
      if (point === undefined) return;
      world.count("checks:I30");
      const first = Math.floor(write.offset / unitBytes);
      const last = Math.floor((write.offset + write.lengthBytes - 1) / unitBytes);
      for (let unit = first; unit <= last; unit += 1) {
        const why = judgeUnit(write, point, unit * unitBytes);
        if (why === undefined) continue;
        const where = `unit ${unit} of volume ${write.volume}`;
        world.report("I30", `${machine.name} overwrites ${where} ${why}`);
        return;
      }
    },
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (line === undefined) return;
      if (event.kind === "preserve") world.count(`situations:${wordsOf(event.why)}`);
      if (event.kind !== "image" || !event.why.startsWith("back at")) return;
      const point = world.points.get(`${event.group}@${machine.name}`);
      world.count("situations:went back to a preserved point");
      if (point === undefined) return;
      for (const view of ["current", "durable"] as const) {
        const why = differsFromPoint(point, machine.disk.state, line, view);
        if (why !== undefined) world.report("I30", `${machine.name} went back, and ${why}`);
      }
    },
    onSample() {
      for (const line of world.lines.values())
        for (const site of line.sites) judgeKept(world, line, site);
    },
  };
}

/** A copy that was whole once, and is not now, keeps a point. */
function judgeKept(world: World, line: Line, site: string): void {
  const terms = line.group.copies.get(site);
  const keeps = terms !== undefined && terms.preserveBytesMax !== 0;
  // A disk that fails may take the point with it, and the operator may have given it up.
  if (!keeps || world.hadDiskErrors || world.withoutPoints.has(site)) return;
  const found = world.inspector(site, line).record("durable");
  if (found.kind !== "found") return;
  const { role, image, syncedAt, preservedPoint, branch } = found.record;
  if (role === "primary" || image !== "synchronizing" || syncedAt === undefined) return;
  world.count("checks:I30");
  // Of what was given up, the branch is kept instead.
  if (preservedPoint === undefined && branch === undefined)
    world.report("I30", `${site} is ${image} and keeps no point to go back to`);
}

function wordsOf(why: string): string {
  if (/fills the/.test(why)) return "preserve log full";
  if (/given up/.test(why)) return "preserved point given up";
  return "preserve log failed";
}
