import { coversFrom } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import { gapBefore, positionOf } from "#core/log-position.ts";
import type { MemberRecord } from "#core/group-record.ts";
import type { Ack, Checker } from "../checker.ts";
import type { View } from "../disk-state.ts";
import { bunkersOf, takesSets } from "../line.ts";
import type { Line } from "../line.ts";
import type { Machine } from "../machine.ts";
import { logDiskOf } from "../log-path.ts";
import { readLog } from "../log-view.ts";
import { describe } from "../oracle.ts";
import type { WriteRecord } from "../oracle.ts";
import type { World } from "../world.ts";

/**
 * What a bunker promises (SPEC 1B): an ack rests on its log too, or on a record that says that it does not (I5), and on its log
 * alone where nothing may be acked without it (I4); its log has no gap, and lets go nothing that a copy lacks (I26).
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function bunkerChecker(world: World): Checker {
  /** Since when the present process of a site is known to run, by the number of its life. */
  const knownUs = new Map<number, number>();

  // By force a bunker is freed of a copy that does not answer; the copy itself says what it wants.
  function judgeFreed(bunker: Machine, line: Line, site: string): void {
    const copy = world.machine(site);
    const { process } = copy;
    const { nowUs } = world.scheduler;
    for (const { command, site: by } of world.commands)
      if (command.kind === "replay" && command.cancel === true && by === site) return;
    world.count("checks:I27");
    const { network } = world;
    const links = [network.link(bunker.name, site), network.link(site, bunker.name)];
    if (process === undefined || process.paused || links.some(({ down }) => down)) return;
    const sinceUs = Math.max(
      knownUs.get(process.life) ?? Infinity,
      process.releasedUs,
      bunker.process?.releasedUs ?? Infinity,
      knownUs.get(bunker.process?.life ?? -1) ?? Infinity,
      ...links.map(({ changedUs }) => changedUs),
    );
    const { timeoutMs = 0, probeMs = 0 } = line.group.copies.get(bunker.name) ?? {};
    if (nowUs - sinceUs <= (timeoutMs + 2 * probeMs) * 1000) return;
    world.report("I27", `${bunker.name} was freed of the copy at ${site}, which answers`);
  }

  // Where the log says that its primary had lost power, it leads no copy on that has not been compared since (B17).
  function judgeBegun(copy: Machine, line: Line, from: string): void {
    const own = world.status(copy, line.group.name)?.copies[0];
    for (const { command, site } of world.commands)
      if (command.kind === "replay" && site === copy.name && command.until !== undefined) return;
    if (own?.mode !== "async") return;
    world.count("checks:I27");
    const { state } = logDiskOf(world, from);
    const { entries } = readLog(state, line.group.name, "bunker", "current");
    const lsn = brokenAt(entries);
    if (lsn > own.complete)
      world.report(
        "I27",
        `a replay to ${copy.name}, which has everything up to LSN ${own.complete}, goes over a gap in the log of ${from} at LSN ${lsn}`,
      );
  }

  function mustHold(ack: Ack, write: WriteRecord, view: View): void {
    const lsn = write.request?.lsn ?? 0;
    // What an earlier primary acked is in the images: a log of this generation begins with this generation.
    const { generations } = ack.line.oracle;
    if ((generations[write.reign] ?? 0) < ack.status.generation) return;
    // Two blind promotions share a number: what the other one acked was in a log that an operator has given up.
    if (write.site !== ack.machine.name) return;
    // The power cut that took it from the primary was settled when that served again.
    if (ack.line.oracle.isLost(write, write.sector)) return;
    for (const { site, onLoss } of bunkersOf(ack.line.group)) {
      if (onLoss === "off" || site === ack.machine.name || lsn === 0) continue;
      const member = memberOf(ack, site);
      const isStrict = onLoss === "fail" && member?.paused !== true;
      if (!isStrict && (member === undefined || member.phase !== "synchronized" || member.alone)) {
        world.count("situations:acked without the bunker");
        continue;
      }
      if (ack.line.forgetful.has(site)) continue;
      world.count(isStrict ? "checks:I4" : "checks:I5");
      const { entries } = readLog(
        logDiskOf(world, site).state,
        ack.line.group.name,
        "bunker",
        view,
      );
      if (has(entries, lsn)) continue;
      const how = view === "durable" ? "would lose it with its power" : "lacks it";
      const record = isStrict ? "" : ", and no record says so";
      world.report(
        isStrict ? "I4" : "I5",
        `${describe(write)} was answered, and the bunker ${site} ${how}${record}`,
      );
      return;
    }
  }

  function memberOf({ machine, line }: Ack, site: string): MemberRecord | undefined {
    const found = world.inspector(machine.name, line).record("durable");
    return found.kind === "found" ? found.record.members[site] : undefined;
  }

  return {
    ids: ["I4", "I5", "I26", "I27"],
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (event.kind === "deactivated" && line !== undefined && event.copy !== undefined)
        judgeFreed(machine, line, event.copy);
      const isBegun = event.kind === "replay" && event.why.startsWith("begun ");
      if (isBegun && line !== undefined && event.copy !== undefined)
        judgeBegun(machine, line, event.copy);
      if (event.to === "streaming" && event.copy !== undefined)
        world.lines.get(event.group)?.forgetful.delete(event.copy);
    },
    onWriteAcked(write, ack) {
      if (!ack.onLine) return;
      mustHold(ack, write, "current");
      if (ack.forced) mustHold(ack, write, "durable");
    },
    onFlushAcked(_flush, covered, ack) {
      for (const write of covered) mustHold(ack, write, "durable");
    },
    onSample() {
      for (const { process } of world.machines.values())
        if (process !== undefined && !knownUs.has(process.life))
          knownUs.set(process.life, world.scheduler.nowUs);
      for (const line of world.lines.values()) {
        if (line.oracle.reign.number === 0) continue;
        for (const { site } of bunkersOf(line.group)) judgeLog(world, line, site);
      }
    },
  };
}

function has(entries: readonly Entry[], lsn: number): boolean {
  const [first] = entries;
  // What nobody needs any more was let go. A SEAL has the LSN of the last write before it.
  if (first !== undefined && (lsn < first.lsn || (first.kind === "seal" && lsn === first.lsn)))
    return true;
  return (
    entries.some((entry) => entry.kind !== "seal" && entry.lsn === lsn) || lsn <= brokenAt(entries)
  );
}

/**
 * The LSN up to which the last set speaks that follows none before it: the primary had lost power, its images may hold what its
 * journal lost, and copies get that by comparison. So the log itself says that it may lack what was acked before (B17): no
 * replay goes over that place.
 */
function brokenAt(entries: readonly Entry[]): number {
  let sealedSet = Infinity;
  let lsn = 0;
  for (const entry of entries) {
    if (entry.kind !== "seal") continue;
    if (coversFrom(entry) > sealedSet + 1) lsn = entry.lsn;
    sealedSet = entry.set;
  }
  return lsn;
}

function judgeLog(world: World, line: Line, site: string): void {
  const disk = logDiskOf(world, site);
  const files = [...(disk.state.folders.get(line.group.name)?.names.keys() ?? [])];
  const ids = new Set(
    files.filter((name) => /^bunker-.*\.log$/.test(name)).map((name) => name.slice(0, 15)),
  );
  // The old log is there until the new one is on record.
  if (ids.size !== 1) return;
  const { entries } = readLog(disk.state, line.group.name, "bunker", "current");
  world.count("checks:I26");
  for (const [i, entry] of entries.entries()) {
    const before = entries[i - 1];
    const gap = before === undefined ? undefined : gapBefore(positionOf(before), entry);
    if (gap === undefined) continue;
    world.report("I26", `the log of the bunker ${site} has a gap: ${gap}`);
    return;
  }
  judgeReclaimed(world, line, site, entries[0]);
}

// While its primary calls both well, whatever is behind the copy's last set is in the bunker's log.
function judgeReclaimed(world: World, line: Line, site: string, first: Entry | undefined): void {
  const primary = world.machines.get(line.oracle.reign.site);
  const status = primary === undefined ? undefined : world.rawStatus(primary, line.group.name);
  const isWell = status?.copies.some((copy) => copy.site === site && copy.state === "streaming");
  if (first === undefined || isWell !== true || line.forgetful.has(site)) return;
  for (const copy of status?.copies ?? []) {
    if (!takesSets(copy.mode) || copy.state !== "streaming") continue;
    const machine = world.machine(copy.site);
    const theirs = world.status(machine, line.group.name);
    const own = theirs?.copies[0];
    // Who has just taken the role over is no copy any more, and tells of none until it serves.
    if (theirs?.role !== "secondary") continue;
    // Between a session's first word and its BEGIN a copy does not know that it takes sets, and tells of its image alone.
    if (own === undefined || own.site !== copy.site || !takesSets(own.mode)) continue;
    for (const write of line.oracle.writes) {
      const lsn = write?.request?.lsn ?? 0;
      if (write === undefined || write.reign !== line.oracle.reign.number) continue;
      if (write.ackedTick === Infinity || lsn <= own.complete || lsn >= first.lsn) continue;
      world.report(
        "I26",
        `${describe(write)} is not complete at ${copy.site}, and the bunker ${site} has let it go: its log begins with LSN ${first.lsn}`,
      );
      return;
    }
  }
}
