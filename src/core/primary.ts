import { must, unreachable } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import { fractured } from "./dirty-maps.ts";
import type { DeviceFound } from "./device-volume.ts";
import {
  closeIdle,
  deviceSynced,
  imageSynced,
  journalSynced,
  loseSync,
  roundLegDone,
} from "./flush.ts";
import { blankMember } from "./group-record.ts";
import { growPrimary } from "./grow.ts";
import type { GroupRecord } from "./group-record.ts";
import {
  beginHandover,
  checkHandover,
  keepRole,
  keptRole,
  meetSuccessor,
  offer,
  offerRefused,
  offerUnanswered,
} from "./handover.ts";
import { sendSynchronized, synchronized, synchronizedRecorded } from "./joining.ts";
import { legDone } from "./legs.ts";
import {
  beginDrain,
  checkDrained,
  endDrain,
  foundBlank,
  lateImageDone,
  lifeEvent,
  maybeServe,
  outranked,
  startPrimary,
  storeFailed,
  suspend,
} from "./life.ts";
import { appendGathered, noteFigures, sealDue } from "./journal.ts";
import { releaseJournal } from "./journal-room.ts";
import { tickJournal } from "./journal-tick.ts";
import type { Journal } from "./journal.ts";
import { logBegun, logCaughtUp, logLocated, logOverflowed, logged } from "./log-members.ts";
import { keepsLog, mustHave, noteStates, shownState } from "./member-state.ts";
import {
  acked,
  begin,
  flushed,
  loseMember,
  markDiffering,
  memberGivenUp,
  memberOpenMap,
  memberOpenMapEnd,
  sessionOpened,
  stopMember,
} from "./members.ts";
import { closeGranules, opened, openGathered } from "./open-map.ts";
import { pauseMember, resumeMember, resyncMemberFull } from "./operator.ts";
import { arrive, imageDone, readmit, readmitHeld, relieve } from "./order.ts";
import type { MemberPolicy } from "./policy.ts";
import { createMember, memberOf } from "./primary-state.ts";
import type { PrimaryEffect, PrimaryEvent } from "./primary-events.ts";
import type { Member, OpenGranule, Primary, RecordAction, Volume } from "./primary-state.ts";
import { changeModesDue, forgetMember, reconfigure, turn } from "./reconfigure.ts";
import { askRecord } from "./records.ts";
import { nextMarked } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";
import { noteRedone } from "./refused.ts";
import { pump, regionRead, releaseResolved, startResync } from "./resync.ts";
import { begun, progress, purged, repaired, trip } from "./set-members.ts";
import { appended } from "./switch.ts";
import { beginVerify, pumpVerify } from "./verify.ts";
import { checkSlow, mayConnect, noteProbe } from "./slow.ts";

// The machine of a group's primary: `step(state, event, out)`, synchronous and pure. Whatever takes time or may fail
// comes back as an event, so the order "recorded, then acked" can be read in order.ts and dirty-maps.ts, and a simulator
// can run it.

export type PrimaryOptions = {
  readonly record: GroupRecord;
  readonly policies: readonly MemberPolicy[];
  readonly durability: "flush" | "write";
  /** The open map of each volume as found on disk, by index. */
  readonly openMaps: readonly RegionMap[];
  /** Dirty maps found on disk, by site. */
  readonly dirtyMaps: ReadonlyMap<string, readonly RegionMap[]>;
  readonly nowMs: number;
  readonly wallMs: number;
  readonly journal: Journal | undefined;
  readonly isJournalWhole: boolean;
  /** By volume: those on devices behind a link. */
  readonly devices?: readonly (DeviceFound | undefined)[];
};

export function createPrimary(options: PrimaryOptions): Primary {
  const { record, nowMs } = options;
  const members = options.policies.map((policy, index) => {
    const memberRecord = (record.members[policy.site] ??= blankMember());
    const member = createMember(index, policy, memberRecord);
    member.dirty = options.dirtyMaps.get(policy.site);
    member.toldState = shownState(member);
    return member;
  });
  return {
    record,
    members,
    membersMade: members.length,
    volumes: record.volumes.map((volume, index) =>
      createVolume(index, volume, {
        openMap: must(options.openMaps[index], "a volume has no open map"),
        hasLostSync: record.failedVolumes.includes(volume.name),
        // What is open was written before our first: by which of those LSNs, only a copy that takes sets would ask.
        lastLsn: options.journal === undefined ? 0 : Math.max(1, record.lsnReserved) - 1,
        device: options.devices?.[index],
      }),
    ),
    durability: options.durability,
    stage: "starting",
    isFirstStart: record.incarnation === 0,
    why: "starting",
    nowMs,
    wallMs: options.wallMs,
    startedMs: nowMs,
    journal: options.journal,
    isJournalWhole: options.isJournalWhole,
    contactDeadlineMs: Number.POSITIVE_INFINITY,
    nextLsn: Math.max(1, record.lsnReserved),
    firstLsn: Math.max(1, record.lsnReserved),
    lsnReserved: 0,
    ackedLsn: 0,
    syncedLsn: 0,
    ticket: 0,
    writing: new Set(),
    held: [],
    fullSpell: undefined,
    gathering: undefined,
    opening: undefined,
    openGranules: 0,
    retainedGranules: 0,
    recordActions: [],
    locks: new Set(),
    checks: new Set(),
    marks: [],
    roundAtMs: nowMs,
    inFlight: 0,
    suspended: false,
    awakeSinceMs: nowMs,
    heldReplies: [],
    drain: undefined,
    handover: undefined,
    outcomeAtEnd: "gone",
    endsAs: undefined,
    isOver: false,
    recheckHeld: false,
    recheckResolved: false,
  };
}

function createVolume(
  index: number,
  volume: { readonly name: string; readonly bytes: number },
  found: {
    readonly openMap: RegionMap;
    readonly hasLostSync: boolean;
    readonly lastLsn: number;
    readonly device: DeviceFound | undefined;
  },
): Volume {
  const { openMap, hasLostSync, lastLsn, device } = found;
  const open = new Map<number, OpenGranule>();
  for (let unit = nextMarked(openMap, 0); unit !== -1; unit = nextMarked(openMap, unit + 1)) {
    open.set(unit, { lastLsn, durable: true, isRetained: false });
  }
  return {
    index,
    name: volume.name,
    bytes: volume.bytes,
    state: hasLostSync ? "failed" : "ok",
    hasLostSync,
    openMap,
    open,
    unresolved: undefined,
    lastLsn: device?.lastLsn ?? 0,
    refusedLsn: 0,
    redoneLsn: 0,
    completions: 0,
    lastWriteMs: 0,
    flush: {
      running: undefined,
      waiting: [],
      wanted: false,
      startedMs: 0,
      closedCompletions: -1,
      closedLsn: device?.coveredLsn ?? 0,
      coveredCompletions: -1,
      coveredLsn: device?.coveredLsn ?? 0,
    },
    device: device === undefined ? undefined : { rounds: [], hasFlushed: false },
  };
}

/** Moves the machine by one event. Effects are appended to `out`, to be performed in order. */
export function step(primary: Primary, event: PrimaryEvent, out: PrimaryEffect[]): void {
  // An ended machine refuses what hosts still ask, and hears how its last record went and of the image writes that were
  // under way; everything else came too late.
  if (primary.stage === "ended" && event.kind === "imageDone")
    return lateImageDone(primary, event.request, out);
  if (primary.stage === "ended" && !isHeardAtTheEnd(event)) return;
  if (event.kind === "request") {
    arrive(primary, event.request, out);
  } else if ("member" in event) {
    stepMember(primary, event, out);
  } else {
    stepGroup(primary, event, out);
  }
  while (primary.recheckResolved || primary.recheckHeld) {
    if (primary.recheckResolved) releaseResolved(primary);
    if (primary.recheckHeld) readmitHeld(primary, out);
  }
  if (primary.handover !== undefined) checkHandover(primary, primary.handover, out);
  if (primary.recheckHeld) readmitHeld(primary, out);
  if (primary.drain !== undefined) checkDrained(primary, out);
  noteStates(primary, out);
}

function isHeardAtTheEnd({ kind }: PrimaryEvent): boolean {
  return kind === "request" || kind === "recorded" || kind === "storeFailed";
}

type MemberEvent = Extract<PrimaryEvent, { member: number }>;
type GroupEvent = Exclude<PrimaryEvent, MemberEvent | { kind: "request" }>;

function stepGroup(primary: Primary, event: GroupEvent, out: PrimaryEffect[]): void {
  switch (event.kind) {
    case "start":
      return startPrimary(primary, out);
    case "tick":
      return tick(primary, event, out);
    case "turnEnd":
      appendGathered(primary, out);
      return openGathered(primary, out);
    case "appended":
      return appended(primary, event, out);
    case "grown":
      return growPrimary(primary, event);
    case "deviceSynced":
      return deviceSynced(primary, event, out);
    case "journalSynced":
      return journalSynced(primary, event, out);
    case "sealDue":
      return sealDue(primary, event.set, out);
    case "reclaimed":
      return noteFigures(primary, event);
    case "openMapDurable":
      readmit(primary, opened(primary, event.ticket, out), out);
      return relieve(primary, out);
    case "imageDone":
      imageDone(primary, event.request, event.failure, out);
      return pumpAll(primary, out);
    case "imageSynced":
      return imageSynced(primary, event, out);
    case "recorded":
      return recorded(primary, event.ticket, out);
    case "storeFailed":
      return storeFailed(primary, event.what, out);
    case "regionRead":
      regionRead(primary, event, out);
      return pumpAll(primary, out);
    case "suspend":
      return suspend(primary, event, out);
    case "repaired":
      return repaired(primary, must(primary.volumes[event.volume], "no such volume"), out);
    case "syncLost":
      loseSync(primary, must(primary.volumes[event.volume], "an unknown volume lost a sync"));
      askRecord(primary, { kind: "none" }, out);
      return;
    case "reconfigure":
      return reconfigure(primary, event, out);
    case "drain":
      return beginDrain(primary, event.next, out);
    case "outranked":
      return outranked(primary, event, out);
    case "handover":
      return beginHandover(primary, event, out);
    case "offerRefused":
      return offerRefused(primary, event, out);
    case "offerUnanswered":
      return offerUnanswered(primary, event, out);
    case "keepRole":
      return keepRole(primary, event.why, out);
    default:
      return unreachable(event);
  }
}

function stepMember(primary: Primary, event: MemberEvent, out: PrimaryEffect[]): void {
  const member = memberOf(primary, event.member);
  // Of one that has left the group nothing is of interest any more.
  if (member === undefined) return;
  switch (event.kind) {
    case "sessionOpened":
      if (primary.handover !== undefined) {
        meetSuccessor(primary, member, event.hello, out);
        // It was dialled for its word alone.
        if (!mayConnect(primary, member)) return closeUnwanted(member, out);
      }
      sessionOpened(primary, member, event, out);
      return maybeServe(primary, out);
    case "sessionLost":
      if (member.stage !== "none" && event.epoch !== member.epoch) return;
      loseMember(primary, member, event.why, out);
      return maybeServe(primary, out);
    case "memberDown":
      if (member.stage === "none" && event.mayLive !== true) member.contact = "down";
      // The latest reason helps most; that it was lost as slow must stay to be read while it is kept away for that.
      if (member.slowProbes === 0) member.why = event.why;
      return maybeServe(primary, out);
    case "begun":
      return keepsLog(member) ? logBegun(member, out) : begun(primary, member, out);
    case "purged":
      return purged(member, event, out);
    case "logLocated":
      return logLocated(primary, member, event, out);
    case "logCaughtUp":
      return logCaughtUp(primary, member, event.firstSet, out);
    case "logged":
      return logged(primary, member, event.through, out);
    case "logOverflowed":
      return logOverflowed(primary, member, out);
    case "journalUnreadable":
      return trip(primary, member, event.why, out);
    case "progress":
      return progress(primary, member, event.sets, out);
    case "acked":
      return acked(primary, member, event.sequence, out);
    case "flushed":
      return flushed(primary, member, event.ticket, out);
    case "differs":
      return markDiffering(member, event.sequence, event.bits);
    case "memberOpenMap":
      return memberOpenMap(primary, member, event, out);
    case "memberOpenMapEnd":
      return memberOpenMapEnd(primary, member, out);
    case "synchronizedRecorded":
      return synchronizedRecorded(primary, member, out);
    case "probeAnswered":
      noteProbe(primary, member, event.roundTripMs);
      return maybeServe(primary, out);
    case "splitBrain":
      return foundDiverged(primary, member, event.why, out);
    case "heardSplit":
      if (primary.stage === "serving") member.heardSplit = event.why;
      return;
    case "givenUp":
      return memberGivenUp(member, event.why, out);
    case "pause":
      return pauseMember(primary, member, out);
    case "resume":
      return resumeMember(primary, member, out);
    case "verify":
      return beginVerify(primary, member, event.isRepairing, out);
    case "resyncFull":
      return resyncMemberFull(primary, member, out);
    default:
      return unreachable(event);
  }
}

function foundDiverged(primary: Primary, member: Member, why: string, out: PrimaryEffect[]): void {
  if (primary.stage === "starting" && primary.isFirstStart) return foundBlank(primary, member, out);
  // It has not gone on from our generation, so it did not take our offer.
  if (primary.handover?.phase === "offered" && primary.handover.member === member.index)
    keepRole(primary, why, out);
  stopMember(primary, member, { why, splitBrain: true, isOffOurs: true }, out);
  return maybeServe(primary, out);
}

function closeUnwanted(member: Member, out: PrimaryEffect[]): void {
  const why = "not to be fed now";
  out.push({ kind: "closeSession", member: member.index, why });
}

/** Records are durable in the order in which they were asked for, so one answer settles all earlier tickets too. */
function recorded(primary: Primary, ticket: number, out: PrimaryEffect[]): void {
  for (;;) {
    const next = primary.recordActions[0];
    if (next === undefined || next.ticket > ticket) return;
    primary.recordActions.shift();
    for (const member of primary.members)
      member.phaseOnDisk = next.phases.get(member.index) ?? member.phaseOnDisk;
    if (primary.stage !== "ended" || isOfLife(next.action)) afterRecord(primary, next.action, out);
  }
}

function isOfLife(action: RecordAction): boolean {
  return action.kind === "demoted" || action.kind === "stopped";
}

function afterRecord(primary: Primary, action: RecordAction, out: PrimaryEffect[]): void {
  switch (action.kind) {
    case "none":
      return;
    case "tripped":
      return releaseJournal(primary, out);
    case "fractured":
      return fractured(primary, action.member, action.ticket, out);
    case "begin":
      return begin(primary, action.member, action.epoch, out);
    case "whole":
      return sendSynchronized(primary, action.member, action, out);
    case "synchronized":
      return synchronized(primary, action.member, action.epoch, out);
    case "clear":
      closeGranules(primary, action.volume, action.round.clearLsn, out);
      primary.recheckHeld = true;
      return;
    case "newMode":
      return turn(primary, action.member, out);
    case "forget":
      return forgetMember(primary, action.member, out);
    case "drained":
      return endDrain(primary, out);
    case "handover":
      return offer(primary, out);
    case "keptRole": {
      const why = "this process stood still; asking the copies again";
      if (keptRole(primary, out)) suspend(primary, { why, nowMs: primary.nowMs }, out);
      return maybeServe(primary, out);
    }
    case "failWrite":
      return legDone(primary, action.request, out);
    case "redone":
      noteRedone(primary, action.lsns);
      for (const member of primary.members) startResync(primary, member, out);
      return;
    case "failRound":
      return roundLegDone(primary, action.round, out);
    default:
      return lifeEvent(primary, action, out);
  }
}

function pumpAll(primary: Primary, out: PrimaryEffect[]): void {
  for (const member of primary.members) {
    if (member.stage === "resync") pump(primary, member, out);
    if (member.verify !== undefined) pumpVerify(primary, member, out);
  }
}

function tick(
  primary: Primary,
  { nowMs, wallMs }: { readonly nowMs: number; readonly wallMs: number },
  out: PrimaryEffect[],
): void {
  const elapsedMs = nowMs - primary.nowMs;
  primary.nowMs = nowMs;
  primary.wallMs = wallMs;
  noteMark(primary);
  for (const member of primary.members) {
    checkSlow(primary, member, out);
    const rate = member.policy.rateBytesPerSecond;
    if (rate !== undefined) {
      const { resync } = member;
      const carried = Number.isFinite(resync.allowanceBytes)
        ? Math.min(0, resync.allowanceBytes)
        : 0;
      resync.allowanceBytes = carried + (rate * Math.min(elapsedMs, 1000)) / 1000;
    }
  }
  pumpAll(primary, out);
  maybeServe(primary, out);
  if (primary.stage === "serving" && !strictAbsent(primary)) closeIdle(primary, out);
  tickJournal(primary, elapsedMs, out);
  changeModesDue(primary, out);
}

// While a strict member is away, the open map is what remembers what it may lack: nothing is closed.
function strictAbsent(primary: Primary): boolean {
  return primary.members.some((member) => mustHave(member) && member.stage !== "synchronized");
}

function noteMark(primary: Primary): void {
  primary.marks.push({ atMs: primary.nowMs, lsn: primary.nextLsn - 1 });
  const second = primary.marks[1];
  // One mark older than what counts as hot is enough.
  if (second !== undefined && second.atMs <= primary.nowMs - limits.openHotMs)
    primary.marks.shift();
}
