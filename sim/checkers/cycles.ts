import { limits } from "#base/limits.ts";
import { coversFrom } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import type { EventRecord, TraceLine } from "#ports/events.ts";
import type { Checker } from "../checker.ts";
import { createCycleSession, differenceOf, paint } from "../cycle-session.ts";
import type { CyclePart, CycleSession, Painting } from "../cycle-session.ts";
import { relayFor } from "../line.ts";
import type { Line } from "../line.ts";
import { logsOf } from "../log-view.ts";
import type { Machine } from "../machine.ts";
import { placeOf } from "../sector-key.ts";
import type { World } from "../world.ts";
import { createCycleAcks } from "./cycle-acks.ts";
import { createCycleCopies } from "./cycle-copies.ts";

const resyncStates: readonly string[] = ["init-sync", "resync"];

/** What one process has sent to one copy, in all of its sessions of a generation. */
type Peer = {
  generation: number;
  sentSet: number;
  session: CycleSession | undefined;
  /** The copy was tripped in this step of the world: nothing of the session is sent later. */
  trippedStep: number;
};

/**
 * Cycles, as a trace and the logs show them: nothing of a number is sent or acked while it stands (I7, I9), what is sent of it
 * overlaps nowhere and is the newest of everything (A5, U6), and after a loss: purge, R, the rest (I23, I24).
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function cycleChecker(world: World): Checker {
  const peers = new Map<string, Peer>();
  /** Sessions by the primary that has them, by group, copy, generation and epoch: a relay may feed them. */
  const begun = new Map<string, CycleSession>();
  const overflows = createOverflows(world);
  const acks = createCycleAcks(world);
  const copies = createCycleCopies(world);

  function peerOf(machine: Machine, { group, copy, generation = 0 }: TraceLine): Peer {
    const key = `${machine.process?.life} ${group} ${copy}`;
    let peer = peers.get(key);
    if (peer === undefined || peer.generation !== generation) {
      peer = { generation, sentSet: 0, session: undefined, trippedStep: Infinity };
      peers.set(key, peer);
    }
    return peer;
  }

  return {
    ids: ["I7", "I9", "I10", "I11", "I15", "I23", "I24", "I25"],
    onWriteAcked: acks.onWriteAcked,
    onEvent(machine, event) {
      acks.onEvent(machine, event);
      if (event.kind !== "copy") return;
      overflows.onCopyEvent(machine, event);
      if (event.to !== "tripped") return;
      const peer = peers.get(`${machine.process?.life} ${event.group} ${event.copy}`);
      if (peer !== undefined) peer.trippedStep = world.scheduler.steps;
    },
    onTrace(machine, fields) {
      const line = world.lines.get(fields.group);
      if (line === undefined || fields.copy === undefined) return;
      if (fields.dir === "in" && fields.kind === "feed") return fedAnew(machine, line, fields);
      if (fields.copy === machine.name) return copies.onTrace(machine, line, fields);
      const { dir, kind } = fields;
      if (isRelay(line, machine, fields.copy)) return relayed(machine, line, fields);
      const peer = peerOf(machine, fields);
      if (dir === "out" && kind === "begin") begin(peer, machine, line, fields);
      else if (dir === "in" && kind === "purged") purged(peer, machine, line, fields);
      else if (dir === "out" && (fields.set ?? 0) > 0) {
        if (kind !== "write" && kind !== "zero" && kind !== "seal") return;
        judgeSent({ world, machine, line, peer }, fields);
        peer.sentSet = Math.max(peer.sentSet, fields.set ?? 0);
      }
    },
  };

  /**
   * A relay is asked to feed a copy in the session of this epoch, which ends what it fed in one of the same number: a primary
   * that was started again counts its sessions anew.
   */
  function fedAnew(machine: Machine, line: Line, { group, index: epoch }: TraceLine): void {
    for (const copy of line.sites) {
      const peer = peers.get(relayKey(machine, group, copy));
      if (peer !== undefined && peer.session?.epoch === epoch) peer.session = undefined;
    }
  }

  /** What comes from a relay belongs to the session that the primary has with the copy. */
  function relayed(machine: Machine, line: Line, fields: TraceLine): void {
    const { dir, kind, copy, generation, epoch, set = 0 } = fields;
    if (dir !== "out" || set === 0) return;
    if (kind !== "write" && kind !== "zero" && kind !== "seal") return;
    const key = relayKey(machine, fields.group, copy);
    const peer = peers.get(key) ?? {
      generation: 0,
      sentSet: 0,
      session: undefined,
      trippedStep: Infinity,
    };
    peers.set(key, peer);
    if (peer.session?.epoch !== epoch || peer.session?.generation !== generation) {
      const primary = begun.get(`${fields.group} ${copy} ${generation} ${epoch}`);
      peer.session = primary && createCycleSession(fields);
      const purgedSet = primary?.purgedSet;
      if (purgedSet !== undefined) purged(peer, machine, line, { ...fields, set: purgedSet });
    }
    world.count("situations:sent by a relay");
    judgeSent({ world, machine, line, peer }, fields);
    peer.sentSet = Math.max(peer.sentSet, set);
  }

  function begin(peer: Peer, machine: Machine, line: Line, fields: TraceLine): void {
    const copy = world
      .status(machine, line.group.name)
      ?.copies.find(({ site }) => site === fields.copy);
    peer.session = copy?.mode === "cycle" ? createCycleSession(fields) : undefined;
    peer.trippedStep = Infinity;
    const { group, generation, epoch } = fields;
    if (peer.session !== undefined)
      begun.set(`${group} ${fields.copy} ${generation} ${epoch}`, peer.session);
  }

  function purged(peer: Peer, machine: Machine, line: Line, fields: TraceLine): void {
    const { session, sentSet } = peer;
    const { set = 0, epoch } = fields;
    if (session === undefined || session.epoch !== epoch) return;
    session.purgedSet = set;
    if (sentSet <= set) return;
    // A relay gathers what it has sent itself. What the primary sent when it fed the copy by itself comes number by number.
    if (relayFor(line, machine.name, fields.copy ?? "") !== undefined) return;
    world.count("situations:cycles sent and not complete");
    const { entries } = logsOf(world, line)(machine.name, logKind(line, machine), "current");
    const merged = entries.filter((entry) => set < entry.set && entry.set <= sentSet);
    const writes = merged.filter(({ kind }) => kind !== "seal").length;
    if (writes >= limits.cycleEntriesMax) {
      session.unknownThrough = sentSet;
      return world.count("situations:more was sent than one number may hold");
    }
    session.resentSet = sentSet;
    if (merged.length - writes > 1) world.count("situations:several numbers to be sent as one");
    copies.noteResent(line, fields, session);
  }
}

function relayKey({ process }: Machine, group: string, copy = ""): string {
  return `${process?.life} ${group} ${copy} through it`;
}

function logKind({ group }: Line, { name }: Machine): "journal" | "bunker" {
  return group.copies.get(name)?.mode === "bunker" ? "bunker" : "journal";
}

function isRelay({ group }: Line, { name }: Machine, copy: string): boolean {
  return group.copies.get(copy)?.through === name;
}

function isPacked({ group }: Line): boolean {
  return [...group.copies.values()].some(({ compress }) => compress !== undefined);
}

/** The third resync in a row that a full journal ends is the last, until an operator says otherwise (decision 10). */
function createOverflows(world: World) {
  /** Resyncs of a copy that a full journal has ended, one after the other. */
  const overflows = new Map<string, number>();

  return {
    onCopyEvent(machine: Machine, event: EventRecord): void {
      const { to, why } = event;
      if (to === "streaming" || to === "stopped" || to === "paused")
        overflows.delete(keyOf(machine, event));
      if (to !== "tripped") return;
      const isByRelay = why.startsWith("the log of its relay");
      if (isByRelay) world.count("situations:copy tripped by its relay's full log");
      if (isByRelay || why.startsWith("the journal is full")) overflowed(machine, event);
    },
  };

  function keyOf(machine: Machine, { group, copy }: EventRecord): string {
    return `${machine.process?.life} ${group} ${copy}`;
  }

  function overflowed(machine: Machine, event: EventRecord): void {
    const { group, copy, from = "" } = event;
    const found = world.status(machine, group)?.copies.find(({ site }) => site === copy);
    if (found?.mode === "cycle")
      world.count(`situations:copy of cycles tripped by a full journal while ${from}`);
    const key = keyOf(machine, event);
    const inRow = resyncStates.includes(from) ? (overflows.get(key) ?? 0) + 1 : 0;
    overflows.set(key, inRow);
    world.count("checks:I25");
    if (inRow === limits.resyncOverflowsMax) world.count("situations:third overflow in a row");
    if (inRow > limits.resyncOverflowsMax)
      world.report(
        "I25",
        `${machine.name} resyncs ${copy} again, though a full journal has ended ${inRow - 1} resyncs in a row`,
      );
  }
}

type Sent = {
  readonly world: World;
  readonly machine: Machine;
  readonly line: Line;
  readonly peer: Peer;
};

function judgeSent(sent: Sent, fields: TraceLine): void {
  const { world, machine, line, peer } = sent;
  const { session } = peer;
  const { set = 0, index = 0, epoch, copy, kind } = fields;
  if (session === undefined || session.epoch !== epoch) return;
  if (peer.trippedStep < world.scheduler.steps)
    world.report("I11", `${machine.name} goes on to send to ${copy}, which was tripped`);
  const { resentSet } = session;
  // Batches that are packed on several connections pass each other; the copy applies R first all the same.
  const mayFollow = session.isResent || isPacked(line);
  if (resentSet !== undefined && set !== resentSet && (set < resentSet || !mayFollow)) {
    world.report(
      "I24",
      `${machine.name} sends ${kind} of set ${set} to ${copy}, before all that was sent before has come as set ${resentSet}`,
    );
  }
  let part = session.parts.get(set);
  if (part === undefined) {
    judgeSwitched(sent, fields);
    part = { painting: new Map(), lines: 0, count: undefined };
    session.parts.set(set, part);
  }
  if (kind === "seal") part.count = index - 1;
  else judgeApart(sent, session, part, fields);
  // They pass each other within a set as well.
  if (part.count !== part.lines) return;
  if (set === resentSet) session.isResent = true;
  session.parts.delete(set);
  judgeWhole(sent, session, part.painting, fields);
}

/** The first that is sent of a set: its SEAL is in the journal (I7, A19, A20). */
function judgeSwitched({ world, machine, line }: Sent, { set, copy }: TraceLine): void {
  const { entries } = logsOf(world, line)(machine.name, logKind(line, machine), "current");
  world.count("checks:I7");
  if (!entries.some((entry) => entry.kind === "seal" && entry.set === set))
    world.report(
      "I7",
      `${machine.name} sends something of set ${set} to ${copy} while the number stands: its SEAL is not in the journal`,
    );
}

/** No two lines of a set overlap (A5, U6): then their order is nobody's business. */
function judgeApart(
  { world, machine, line }: Sent,
  session: CycleSession,
  part: CyclePart,
  fields: TraceLine,
): void {
  const { set = 0, lsn = 0, offset = 0, length = 0, copy } = fields;
  const volume = line.group.volumes.findIndex(({ name }) => name === fields.volume);
  const under = paint(part.painting, { volume, offset, length, lsn });
  part.lines += 1;
  world.count("checks:I15");
  if (under === undefined) return;
  // Sets of the time before the copy took cycles may have more writes than folding can number.
  const { entries } = logsOf(world, line)(machine.name, logKind(line, machine), "current");
  if (writesOf(entries, spanOf(session, entries, set)).length > limits.cycleEntriesMax) return;
  world.report(
    "I15",
    `${machine.name} sends lsn ${lsn} to ${copy}, which overlaps lsn ${under} of the same set ${set}`,
  );
}

type Span = { readonly from: number; readonly to: number };

/** The numbers that are sent as this set: what was sent before the session as one, all others by themselves (U4, U5). */
function spanOf(session: CycleSession, entries: readonly Entry[], set: number): Span {
  if (set === session.resentSet) return { from: (session.purgedSet ?? 0) + 1, to: set };
  const seal = entries.findLast((entry) => entry.kind === "seal" && entry.set === set);
  return { from: seal === undefined ? set : coversFrom(seal), to: set };
}

function writesOf(entries: readonly Entry[], { from, to }: Span): readonly Entry[] {
  return entries.filter(({ kind, set }) => kind !== "seal" && from <= set && set <= to);
}

/** What was sent as this set is the newest of everything of its numbers, and nothing else. */
function judgeWhole(
  { world, machine, line }: Sent,
  session: CycleSession,
  painting: Painting,
  { set = 0, copy }: TraceLine,
): void {
  if (set <= session.unknownThrough) return;
  const { entries } = logsOf(world, line)(machine.name, logKind(line, machine), "current");
  const span = spanOf(session, entries, set);
  const id = set === session.resentSet ? "I24" : "I10";
  world.count(`checks:${id}`);
  const difference = differenceOf(newestOf(entries, span), painting);
  if (difference === undefined) return;
  const { key, found, wanted } = difference;
  const [volume, sector] = placeOf(key);
  world.report(
    id,
    `${machine.name} has sent numbers ${span.from}..${span.to} to ${copy}, with lsn ${found ?? "-"} in sector ${sector} of volume ${volume}, where lsn ${wanted ?? "-"} is the newest`,
  );
}

function newestOf(entries: readonly Entry[], span: Span): Painting {
  const painting: Painting = new Map();
  const writes = writesOf(entries, span).toSorted((a, b) => a.lsn - b.lsn);
  for (const write of writes) paint(painting, write);
  return painting;
}
