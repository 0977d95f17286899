import { policyTable } from "#core/policy.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";
import type { Checker, ImageWrite } from "../checker.ts";
import { sectorBytes } from "../disk-state.ts";
import { isCovered } from "../inspect.ts";
import { relayFor } from "../line.ts";
import type { Line } from "../line.ts";
import { logsOf } from "../log-view.ts";
import type { FoundLog } from "../log-view.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import { alignedBytes, readStamp } from "../stamp.ts";
import type { World } from "../world.ts";

/** States in which the journal has everything that a copy lacks. */
const inJournal: readonly string[] = ["streaming", "replaying", "buffering"];
/** Segments that a log keeps though nobody needs them: the one that is written, and those whose successor is not synced yet. */
const restSegmentsMax = 3;

/**
 * Copies that take sets: the journal keeps what they lack (I16, I17, I22), a set is applied whole, complete, durable and in
 * order (I13, I20), what is called applied is in the image (I33), logs stay in bounds and are reclaimed (I25, I36, I31).
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function setChecker(world: World): Checker {
  /** Highest LSN written into an image by a process that is a copy, and the reign whose it is. */
  const newest = new Map<string, { readonly reign: number; readonly lsn: number }>();
  /** Copies whose staging is in trouble: they begin anew, and write once more what is staged. */
  const anew = new Set<string>();

  function judgeRetention(line: Line, primary: string, copy: CopyStatus): void {
    const { oracle } = line;
    const here = world.inspector(primary, line);
    const record = here.record("durable");
    if (record.kind !== "found" || record.record.members[copy.site]?.phase !== "synchronized")
      return;
    const completeLsn = copy.complete;
    // A primary that has started anew does not know yet what the copy has said before.
    if (completeLsn === 0) return;
    const missing = missingWrites(line, completeLsn);
    if (missing.length === 0) return;
    const journal = logsOf(world, line)(primary, "journal", "current");
    const kept = new Set(journal.entries.map(({ lsn }) => lsn));
    // What its relay has, synced, the journal need not keep: then what is open here tells of it, below.
    const relay = relayFor(line, primary, copy.site);
    const there = relay === undefined ? undefined : logsOf(world, line)(relay, "bunker", "durable");
    for (const { lsn } of there?.entries ?? []) kept.add(lsn);
    for (const write of missing) {
      world.count("checks:I17");
      const { lsn = 0 } = write.request ?? {};
      const isAtRelay = relay !== undefined && line.forgetful.has(relay);
      if (!kept.has(lsn) && !isAtRelay) {
        const id = oracle.reign.number === write.reign ? "I17" : "I22";
        world.report(
          id,
          `${copy.site} (${copy.state}) is complete up to lsn ${completeLsn}, and the journal of ${primary} has forgotten ${describe(write)}`,
        );
        return;
      }
      for (let sector = write.sector; sector < write.sector + write.sectors; sector += 1) {
        if (oracle.isLost(write, sector)) continue;
        if (isCovered(here.open("durable", write.volume), sector)) continue;
        if (isCovered(here.dirty("durable", copy.site, write.volume), sector)) continue;
        world.report(
          "I16",
          `${copy.site} is complete up to lsn ${completeLsn}, and no map on the disk of ${primary} marks sector ${sector} of ${describe(write)}`,
        );
        return;
      }
    }
  }

  /** Acked in this generation, and above what the copy has; the newest few hundred. */
  function missingWrites(line: Line, completeLsn: number): WriteRecord[] {
    const { oracle, generation } = line;
    const missing: WriteRecord[] = [];
    for (let id = oracle.writes.length - 1; id > 0 && missing.length < 300; id -= 1) {
      const write = oracle.writes[id];
      // Two blind promotions share a number: what the other one acked is none of this journal's.
      if (write?.outcome !== "ok" || write.reign < 1 || write.site !== oracle.reign.site) continue;
      if (oracle.generations[write.reign] !== generation || oracle.isGivenUp(write)) continue;
      if ((write.request?.lsn ?? 0) > completeLsn) missing.push(write);
    }
    return missing;
  }

  function judgeApplied(line: Line, copy: CopyStatus): void {
    const { oracle } = line;
    const machine = world.machine(copy.site);
    if (copy.state === "buffering" || !machine.isUp() || line.of(copy.site).powerLostAt >= 0)
      return;
    // Somebody else feeds it already, and the primary of the line is about to hear of it.
    const record = world.inspector(copy.site, line).record("current");
    if (record.kind !== "found" || record.record.history.at(-1)?.id !== line.tenure) return;
    const image = world.imagesOf(copy.site, line);
    for (let id = oracle.writes.length - 1, left = 100; id > 0 && left > 0; id -= 1) {
      const write = oracle.writes[id];
      if (write === undefined || write.outcome !== "ok" || write.reign !== oracle.reign.number)
        continue;
      if ((write.request?.lsn ?? 0) > copy.applied) continue;
      left -= 1;
      world.count("checks:I33");
      const missing = oracle.lacks(image, write);
      if (missing === undefined) continue;
      world.report(
        "I33",
        `${copy.site} (${copy.state}) has applied everything up to lsn ${copy.applied}, as status says, and lacks ${describe(write)} in sector ${missing.sector}`,
      );
      return;
    }
  }

  /** A write into the image of a copy that no resync is writing to: it is of a set, and comes in its turn. */
  function judgeApply(write: ImageWrite): void {
    const { line, machine, life } = write;
    const { oracle } = line;
    if (write.chunks === undefined || oracle.reign.life === life) return;
    if (!line.takesSets(oracle.reign.site, machine.name)) return;
    const record = world.inspector(machine.name, line).record("current");
    if (record.kind !== "found" || record.record.role !== "secondary") return;
    if (record.record.image !== "consistent" || record.record.history.at(-1)?.id !== line.tenure)
      return;
    const made = madeBy(line, write);
    const lsn = made?.request?.lsn ?? 0;
    if (made === undefined || lsn === 0 || made.reign < 1) return;
    world.count("checks:I13");
    const key = `${line.group.name} ${life}`;
    const last = anew.has(key) ? undefined : newest.get(key);
    if (last?.reign === made.reign && lsn < last.lsn) {
      world.report("I13", `${machine.name} applies ${describe(made)} after lsn ${last.lsn}`);
    }
    newest.set(key, { reign: made.reign, lsn });
    judgeComplete(machine.name, line, made);
  }

  function judgeComplete(site: string, line: Line, made: WriteRecord): void {
    const lsn = made.request?.lsn ?? 0;
    const staging = logsOf(world, line)(site, "staging", "durable");
    const staged = staging.entries.findLast((entry) => entry.kind !== "seal" && entry.lsn === lsn);
    world.count("checks:I12");
    world.count("checks:I20");
    const why = staged === undefined ? "is not on its disk" : incompleteness(staging, staged.set);
    if (why === "") return;
    // Commit safety, which is a copy's own affair (decision 12), rests on the flag.
    for (const id of ["I12", "I20"])
      world.report(id, `${site} applies ${describe(made)}, whose set ${staged?.set ?? ""} ${why}`);
  }

  function judgeRest(line: Line): void {
    const kept = muchKept(world, line);
    if (kept === undefined) return;
    const { site, kind, segments, bytes } = kept;
    world.report(
      "I31",
      `at rest, the ${kind} of ${site} keeps ${segments} segments, ${bytes} bytes`,
    );
  }

  function judgeBounds(line: Line, status: GroupStatus, primary: string): void {
    const { bytesMax } = line.group.journal;
    const { bytes } = logsOf(world, line)(primary, "journal", "current");
    world.count("checks:I25");
    if (bytes <= bytesMax && status.journal.bytesUsed <= bytesMax) return;
    world.report("I36", `the journal of ${primary} takes ${bytes} bytes, ${bytesMax} are allowed`);
  }

  return {
    ids: ["I12", "I13", "I16", "I17", "I20", "I22", "I25", "I31", "I33", "I36"],
    onImageWrite: judgeApply,
    onEvent(machine, event) {
      const key = `${event.group} ${machine.process?.life ?? 0}`;
      if (event.kind === "staging" && event.to === "failed") anew.add(key);
      if (event.kind === "staging" && event.to === "ok") anew.delete(key);
      // New terms may let a copy begin anew, and so does a branch that is let go.
      if (event.kind === "configuration" || event.kind === "branch") newest.delete(key);
    },
    onWriteAcked(_write, ack) {
      const { journal } = ack.line.group;
      if (journal.overflow === "trip" || !hasSets(ack.line)) return;
      world.count("checks:I25");
      const { bytesUsed, bytesMax } = ack.status.journal;
      if (bytesUsed > bytesMax)
        world.report("I25", `acked while the journal is full: ${bytesUsed} of ${bytesMax} bytes`);
    },
    onSample() {
      for (const line of world.lines.values()) {
        const { reign } = line.oracle;
        const machine = world.machines.get(reign.site);
        if (machine?.process?.life !== reign.life || machine.process.paused) continue;
        const status = world.status(machine, line.group.name);
        if (status?.role !== "primary" || !status.serving || !hasSets(line)) continue;
        judgeBounds(line, status, reign.site);
        for (const copy of status.copies) {
          if (!line.takesSets(reign.site, copy.site) || !inJournal.includes(copy.state)) continue;
          judgeRetention(line, reign.site, copy);
          judgeApplied(line, copy);
        }
      }
    },
    onRest() {
      for (const line of world.lines.values()) if (hasSets(line)) judgeRest(line);
    },
  };
}

export function hasSets(line: Line): boolean {
  return [...line.group.copies.values()].some(({ mode }) => policyTable[mode].unit === "set");
}

function madeBy(line: Line, write: ImageWrite): WriteRecord | undefined {
  if (write.lengthBytes < sectorBytes) return undefined;
  const bytes = alignedBytes(write.chunks ?? [], sectorBytes);
  const sector = write.offset / sectorBytes;
  const held = readStamp(bytes, 0, { volume: write.volume, sector }, false);
  return held.kind === "write" && held.id > 0 ? line.oracle.writes[held.id] : undefined;
}

/** What a set lacks to be complete in a log, in words; "" when it is. */
function incompleteness(log: FoundLog, set: number): string {
  const entries = log.entries.filter((entry) => entry.set === set);
  const seal = entries.findLast(({ kind }) => kind === "seal");
  if (seal === undefined) return "has no SEAL there";
  const indexes = new Set(entries.filter(({ kind }) => kind !== "seal").map(({ index }) => index));
  for (let index = 1; index < seal.index; index += 1)
    if (!indexes.has(index)) return `lacks index ${index} of ${seal.index - 1}`;
  return log.flagged.has(set) ? "" : "has no flag there";
}

/** A log of the group's that is longer than one at rest should be. */
export function muchKept(world: World, line: Line) {
  const { site: primary } = line.oracle.reign;
  if (line.sites.some((site) => site !== primary && !line.of(site).well)) return undefined;
  for (const site of line.sites) {
    const kind = site === primary ? "journal" : "staging";
    if (site !== primary && !line.takesSets(primary, site)) continue;
    const { segments, bytes } = logsOf(world, line)(site, kind, "current");
    if (segments > restSegmentsMax) return { site, kind, segments, bytes };
  }
  return undefined;
}
