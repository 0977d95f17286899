import { hasSets } from "./sets.ts";
import { limits } from "#base/limits.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { compareHistories } from "#core/history.ts";
import { anyMarked, isMarked } from "#core/region-map.ts";
import type { Ack, Checker } from "../checker.ts";
import type { View } from "../disk-state.ts";
import { differences } from "../image-view.ts";
import { isCovered } from "../inspect.ts";
import { coversSector, logsOf } from "../log-view.ts";
import type { Line } from "../line.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import { keyOf } from "../sector-key.ts";
import type { World } from "../world.ts";

/** Which crash the maps must be right for: how the primary and the copy would be found. */
const findings: readonly { readonly primary: View; readonly copy: View }[] = [
  { primary: "current", copy: "current" },
  { primary: "current", copy: "durable" },
  { primary: "durable", copy: "current" },
  { primary: "durable", copy: "durable" },
];

type SoundLegs = {
  readonly here: number;
  readonly there: number;
  readonly takesSets: boolean;
  readonly isCompared: boolean;
};

/**
 * No false clean (I16, I18, I19, N3): wherever two images differ, a map that lies on a disk says so. Read through the
 * production readers from the disks as a kill, or a power loss, would leave them at this instant.
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function mapChecker(world: World): Checker {
  const rng = world.rng.fork("maps");
  /** Legs in which every difference was marked, as the two disks were then. */
  const sound = new Map<string, SoundLegs>();

  function recordOf(site: string, line: Line, view: View): GroupRecord | undefined {
    const found = world.inspector(site, line).record(view);
    return found.kind === "found" ? found.record : undefined;
  }

  /** A write acked without a copy: the loss must be on record, and the place marked, before the ack (F4, M4). */
  function mustBeMarked(ack: Ack, write: WriteRecord, copy: string): void {
    const here = world.inspector(ack.machine.name, ack.line);
    const member = recordOf(ack.machine.name, ack.line, "durable")?.members[copy];
    // A copy that was lost after it had synced the write lacks nothing of it.
    const isThere =
      ack.line.oracle.lacks(world.imagesOf(copy, ack.line, "durable"), write) === undefined;
    // One that answered and then lost its power took part: the primary still has the write (decision 1). So did one whose
    // operator brought its branch back then: it is no copy any more.
    const { powerLostAt, wentBackAt } = ack.line.of(copy);
    const hasForgotten = powerLostAt >= 0 || wentBackAt >= 0;
    if (member === undefined || isThere || hasForgotten) return;
    // What a copy of sets lacks is in the journal (sets.ts), until it is on record that it is not.
    if (ack.line.takesSets(ack.machine.name, copy) && member.phase === "synchronized") return;
    world.count("checks:I19");
    if (member.phase === "synchronized") {
      // On its way back, a copy is on record as whole a moment before status says so, and writes wait for it already.
      if (ack.line.oracle.lacks(world.imagesOf(copy, ack.line), write) === undefined) return;
      world.report(
        "I19",
        `${describe(write)} was acked without ${copy}, and no record on the disk of ${ack.machine.name} says that it is lost`,
      );
      return;
    }
    if (member.phase === "blank") return;
    world.count("checks:I16");
    for (let i = 0; i < write.sectors; i += 1) {
      const sector = write.sector + i;
      if (isCovered(here.dirty("durable", copy, write.volume), sector)) continue;
      if (isCovered(here.open("durable", write.volume), sector)) continue;
      world.report(
        "I16",
        `${describe(write)} was acked without ${copy}, and no map on the disk of ${ack.machine.name} marks sector ${sector}`,
      );
      return;
    }
  }

  /** Whether the two have anything to compare. */
  function compareLegs(
    line: Line,
    primary: string,
    copy: string,
    views: (typeof findings)[number],
  ): boolean {
    const here = world.inspector(primary, line);
    const there = world.inspector(copy, line);
    const member = recordOf(primary, line, views.primary)?.members[copy];
    // A copy that never had a whole image is dirty throughout, and needs no map to say so.
    const ourHistory = recordOf(primary, line, views.primary)?.history ?? [];
    const itsHistory = recordOf(copy, line, views.copy)?.history ?? [];
    if (member === undefined || member.phase === "blank" || itsHistory.length === 0) return false;
    // Between two branches no map is kept: nothing is copied from one to the other without an operator's word.
    if (compareHistories(ourHistory, itsHistory) === "diverged") return false;
    world.count("checks:N3");
    const first = { disk: world.machine(primary).disk.state, view: views.primary };
    const second = { disk: world.machine(copy).disk.state, view: views.copy };
    // Where sets are taken, what differs may be on its way: in the journal here, or complete and not applied there.
    // What is complete there is applied also when the copy has become a mirror meanwhile.
    const differing = differences(first, second, line.group, 4000);
    if (differing.length === 0) return true;
    const logs = [
      ...(line.takesSets(primary, copy)
        ? [logsOf(world, line)(primary, "journal", views.primary)]
        : []),
      ...(hasSets(line) ? [logsOf(world, line)(copy, "staging", views.copy)] : []),
    ];
    for (const { volume, sector } of differing) {
      const marked =
        line.rotten.has(keyOf(volume, sector)) ||
        logs.some((log) => coversSector(log, volume, sector)) ||
        isCovered(here.open(views.primary, volume), sector) ||
        isCovered(here.dirty(views.primary, copy, volume), sector) ||
        isCovered(there.open(views.copy, volume), sector) ||
        isCovered(there.dirty(views.copy, primary, volume), sector);
      if (marked) continue;
      const id = views.primary === "current" && views.copy === "current" ? "I16" : "N3";
      world.report(
        id,
        `${primary} (${views.primary}) and ${copy} (${views.copy}) differ in volume ${volume} sector ${sector}, ` +
          `and no map on their disks marks it`,
      );
      break;
    }
    return true;
  }

  /** What was right is still right while neither disk has changed. */
  function judgeLegs(
    line: Line,
    primary: string,
    copy: string,
    views: (typeof findings)[number],
  ): void {
    const here = world.machine(primary).disk.state.changes;
    const there = world.machine(copy).disk.state.changes;
    const takesSets = line.takesSets(primary, copy);
    const key = `${line.group.name} ${primary} ${copy} ${views.primary} ${views.copy}`;
    const known = sound.get(key);
    if (known?.here === here && known.there === there && known.takesSets === takesSets) {
      if (known.isCompared) world.count("checks:N3");
      return;
    }
    const isCompared = compareLegs(line, primary, copy, views);
    if (!world.failed()) sound.set(key, { here, there, takesSets, isCompared });
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
      const map = world.inspector(write.machine.name, write.line).open("durable", write.volume);
      if (map === undefined) return;
      world.count("checks:I18");
      const first = Math.floor(write.offset / limits.openGranuleBytes);
      const last = Math.floor((write.offset + write.lengthBytes - 1) / limits.openGranuleBytes);
      for (let granule = first; granule <= last; granule += 1) {
        if (isMarked(map, granule)) continue;
        world.report(
          "I18",
          `${write.machine.name} writes into granule ${granule} of volume ${write.volume}, whose bit is not on its disk`,
        );
        return;
      }
    },
    onSample() {
      for (const line of world.lines.values()) {
        const { site: primary } = line.oracle.reign;
        if (line.oracle.reign.number === 0) continue;
        const views = rng.pick(findings);
        for (const copy of line.sites) if (copy !== primary) judgeLegs(line, primary, copy, views);
      }
    },
    onRest() {
      for (const line of world.lines.values()) {
        const { site: primary } = line.oracle.reign;
        for (const [copy, member] of Object.entries(
          recordOf(primary, line, "durable")?.members ?? {},
        )) {
          if (member.phase === "synchronized" && member.dirtyMapIds.length > 0) {
            world.report("I19", `${copy} is synchronized, and ${primary} keeps a dirty map for it`);
          }
        }
        for (const volume of line.group.volumes.keys()) {
          const map = world.inspector(primary, line).open("current", volume);
          const isOpen = map !== undefined && anyMarked(map, 0, map.units - 1);
          if (isOpen && isWhole(world, line))
            world.report("I31", `at rest, ${primary} keeps granules of volume ${volume} open`);
        }
      }
    },
  };
}

/** Every copy has everything: where one has another history, what it may lack stays open until the operator has decided. */
function isWhole(world: World, line: Line): boolean {
  const { site: primary } = line.oracle.reign;
  // Bunkers have no image, and so are not among the line's sites.
  const status = world.rawStatus(world.machine(primary), line.group.name);
  if (status?.copies.some(({ state }) => state === "split-brain") === true) return false;
  return line.sites.every((site) => site === primary || line.of(site).well);
}
