import { limits } from "#base/limits.ts";
import { anyMarked, isMarked } from "#core/region-map.ts";
import type { Ack, Checker } from "../checker.ts";
import type { View } from "../disk-state.ts";
import { differences } from "../image-view.ts";
import { Inspector, isCovered } from "../inspect.ts";
import type { FoundGroup } from "../inspect.ts";
import type { Line } from "../line.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import type { World } from "../world.ts";

/** Which crash the maps must be right for: how the primary and the copy would be found. */
const findings: readonly { readonly primary: View; readonly copy: View }[] = [
  { primary: "current", copy: "current" },
  { primary: "current", copy: "durable" },
  { primary: "durable", copy: "current" },
  { primary: "durable", copy: "durable" },
];

/**
 * No false clean (I16, I18, I19, N3): wherever two images differ, a map that lies on a disk says so. Read through the
 * production readers from the disks as a kill, or a power loss, would leave them at this instant.
 */
export function mapChecker(world: World): Checker {
  const inspector = new Inspector();
  const rng = world.rng.fork("maps");

  function found(site: string, line: Line, view: View): FoundGroup | undefined {
    const group = inspector.inspect(site, world.machine(site).disk.state, line.group, view);
    if (group !== undefined && "refused" in group) {
      world.report("N5", `${site} would not start after a crash now: ${group.refused}`);
      return undefined;
    }
    return group;
  }

  /** A write acked without a copy: the loss must be on record, and the place marked, before the ack (F4, M4). */
  function mustBeMarked(ack: Ack, write: WriteRecord, copy: string): void {
    const here = found(ack.machine.name, ack.line, "durable");
    const member = here?.record.members[copy];
    if (here === undefined || member === undefined) return;
    world.count("checks:I19");
    if (member.phase === "synchronized") {
      // On its way back, a copy is on record as whole a moment before status says so, and writes wait for it already.
      if (ack.line.oracle.lacks(world.imagesOf(copy, ack.line), write) === undefined) return;
      world.report("I19", `${describe(write)} was acked without ${copy}, and no record on the disk of ${ack.machine.name} says that it is lost`);
      return;
    }
    if (member.phase === "blank") return;
    world.count("checks:I16");
    for (let i = 0; i < write.sectors; i += 1) {
      const sector = write.sector + i;
      if (isCovered(here.dirty.get(copy)?.[write.volume], sector)) continue;
      if (isCovered(here.open[write.volume], sector)) continue;
      world.report("I16", `${describe(write)} was acked without ${copy}, and no map on the disk of ${ack.machine.name} marks sector ${sector}`);
      return;
    }
  }

  function compareLegs(line: Line, primary: string, copy: string, views: (typeof findings)[number]): void {
    const here = found(primary, line, views.primary);
    const there = found(copy, line, views.copy);
    const member = here?.record.members[copy];
    if (here === undefined || there === undefined || member === undefined) return;
    // A copy that never had a whole image is dirty throughout, and needs no map to say so.
    if (member.phase === "blank" || there.record.history.length === 0) return;
    world.count("checks:N3");
    const first = { disk: world.machine(primary).disk.state, view: views.primary };
    const second = { disk: world.machine(copy).disk.state, view: views.copy };
    for (const { volume, sector } of differences(first, second, line.group, 4000)) {
      const marked =
        isCovered(here.open[volume], sector) ||
        isCovered(here.dirty.get(copy)?.[volume], sector) ||
        isCovered(there.open[volume], sector) ||
        isCovered(there.dirty.get(primary)?.[volume], sector);
      if (marked) continue;
      const id = views.primary === "current" && views.copy === "current" ? "I16" : "N3";
      world.report(
        id,
        `${primary} (${views.primary}) and ${copy} (${views.copy}) differ in volume ${volume} sector ${sector}, ` +
          `and no map on their disks marks it`,
      );
      return;
    }
  }

  return {
    ids: ["I16", "I18", "I19", "N3"],
    onWriteAcked(write, ack) {
      if (!ack.onLine) return;
      for (const site of ack.line.sites) {
        if ((ack.line.of(site).bit & ack.participants) === 0) mustBeMarked(ack, write, site);
      }
    },
    onImageWrite(write) {
      const here = found(write.machine.name, write.line, "durable");
      const map = here?.open[write.volume];
      if (map === undefined || write.line.oracle.reign.life !== write.life) return;
      world.count("checks:I18");
      const first = Math.floor(write.offset / limits.openGranuleBytes);
      const last = Math.floor((write.offset + write.lengthBytes - 1) / limits.openGranuleBytes);
      for (let granule = first; granule <= last; granule += 1) {
        if (isMarked(map, granule)) continue;
        world.report("I18", `${write.machine.name} writes into granule ${granule} of volume ${write.volume}, whose bit is not on its disk`);
        return;
      }
    },
    onSample() {
      for (const line of world.lines.values()) {
        const { site: primary } = line.oracle.reign;
        if (line.oracle.reign.number === 0) continue;
        const views = rng.pick(findings);
        for (const copy of line.sites) if (copy !== primary) compareLegs(line, primary, copy, views);
      }
    },
    onRest() {
      for (const line of world.lines.values()) {
        const { site: primary } = line.oracle.reign;
        const here = found(primary, line, "durable");
        for (const [copy, member] of Object.entries(here?.record.members ?? {})) {
          if (member.phase === "synchronized" && member.dirtyMapIds.length > 0) {
            world.report("I19", `${copy} is synchronized, and ${primary} keeps a dirty map for it`);
          }
        }
        for (const [volume, map] of (found(primary, line, "current")?.open ?? []).entries()) {
          const marked = anyMarked(map, 0, map.units - 1);
          if (marked) world.report("I31", `at rest, ${primary} keeps granules of volume ${volume} open`);
        }
      }
    },
  };
}

