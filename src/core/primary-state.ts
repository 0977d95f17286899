import { createFifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import type { Fifo } from "#base/fifo.ts";
import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import type { VolumeDevice } from "./device-volume.ts";
import type { GroupRecord, MemberPhase, MemberRecord } from "./group-record.ts";
import type { Journal } from "./journal.ts";
import type { LogPosition } from "./log-position.ts";
import type { MemberPolicy } from "./policy.ts";
import type { ByteRange } from "./ranges.ts";
import type { RegionMap } from "./region-map.ts";
import { unknownLog } from "./relay.ts";
import type { MemberLog } from "./relay.ts";
import type { Check, Verify } from "./verify.ts";

// The state of a group's primary. `primary-events.ts` has what moves it and what it asks for, `primary.ts` joins the machine,
// and the SPECs beside this file tell the rules, SPEC-mirror.md first.

export type Primary = {
  readonly record: GroupRecord;
  readonly volumes: readonly Volume[];
  readonly members: Member[];
  /** Members that there ever were: each has a number of its own, which is never given again. */
  membersMade: number;
  /** `write`: every write is treated as one with FUA (decision 1). */
  durability: "flush" | "write";
  stage: PrimaryStage;
  /** The record was made at this start: nobody was ever served or fed from this disk. */
  isFirstStart: boolean;
  /** Why requests are held or refused, for people; "" while serving. */
  why: string;
  nowMs: number;
  /** The wall clock at the last tick: for people only (U58). */
  wallMs: number;
  /** By the clock that never jumps. */
  readonly startedMs: number;
  /** Undefined while no copy needs one. */
  journal: Journal | undefined;
  /** The last stop left journal and page cache as they were: copies that stream lack nothing but what the journal has. */
  readonly isJournalWhole: boolean;
  /** While `starting`: when we stop waiting for members that neither answered nor are known to be down. */
  contactDeadlineMs: number;
  nextLsn: number;
  /** The first that this start gave, or will: the numbers before it were reserved, and not all of them used. */
  readonly firstLsn: number;
  /** LSNs below this are durably reserved. */
  lsnReserved: number;
  /** The highest LSN of a write that a host has been told of since this start. */
  ackedLsn: number;
  /** Every write up to this LSN is synced here and at all who take part. */
  syncedLsn: number;
  ticket: number;
  /** Writes whose image write has not answered, in LSN order. */
  readonly writing: Set<HostRequest>;
  /** Requests that wait for a granule, a region lock, a member or the start. In the order of arrival. */
  held: HostRequest[];
  /** The journal is full, or was a moment ago (core/journal-spell.ts). */
  fullSpell: FullSpell | undefined;
  /** Cold granules that gather, and those whose bits are being made durable. */
  gathering: ColdBatch | undefined;
  opening: ColdBatch | undefined;
  openGranules: number;
  /** Granules that are open for copies behind alone: they cost no host anything, and count by themselves. */
  retainedGranules: number;
  /** What to do when a record is durable, in the order of tickets. */
  readonly recordActions: {
    readonly ticket: number;
    readonly action: RecordAction;
    /** Of the members, by index, as this record has them at least. */
    readonly phases: ReadonlyMap<number, MemberPhase>;
  }[];
  /** Regions that a copier is reading: writes to them wait, so that no read is half old and half new. */
  readonly locks: Set<ResyncItem>;
  /** Chunks that a verify has read and a copy that takes sets has not compared: a write to one makes it prove nothing. */
  readonly checks: Set<ResyncItem>;
  /** LSN and time at the last ticks, newest last: tells which granules have been idle for a while. */
  readonly marks: { readonly atMs: number; readonly lsn: number }[];
  roundAtMs: number;
  /** Requests admitted and not answered. */
  inFlight: number;
  /**
   * This process stood still longer than a peer waits before it gives us up: somebody may have been promoted meanwhile.
   * Nothing is answered until every member has answered a probe or is known to be lost; the replies gather here.
   */
  suspended: boolean;
  /** When the last standstill was noticed: nobody else's silence is counted from before it. */
  awakeSinceMs: number;
  readonly heldReplies: { readonly request: HostRequest; readonly outcome: HostOutcome }[];
  /** Something that held requests, or unresolved granules, wait for has changed; looked at when the step ends. */
  recheckHeld: boolean;
  recheckResolved: boolean;
  /** What follows `draining`. */
  drain:
    | { readonly next: "demote" | "stop"; phase: "requests" | "sets" | "sync" | "record" }
    | undefined;
  /** The role is being handed to a member, or was offered to one before this start (core/handover.ts). */
  handover: Handover | undefined;
  /** What hosts are answered that ask an ended machine. */
  outcomeAtEnd: "gone" | "moved";
  /** The machine has ended, and says so once the image writes under way have answered. */
  endsAs: EndedEffect | undefined;
  /** It has said so. */
  isOver: boolean;
};

/** Of a full journal: since when, how long writes waited in it, how many were refused, and what has been told of it. */
export type FullSpell = {
  readonly sinceMs: number;
  lastMs: number;
  waitedMs: number;
  refused: number;
  told: "room" | "stalling" | "refusing";
};

export type Handover = {
  /** -1 when it is no member any more. */
  readonly member: number;
  readonly to: string;
  readonly timeoutMs: number;
  readonly deadlineMs: number;
  phase: "approach" | "requests" | "sets" | "sync" | "record" | "offered" | "back";
  /** Of the record that the offer waited for: answers to an earlier one do not count. */
  ticket: number;
  whyKept: string;
  /** This process stood still after the offer was on its way. */
  stoodStill: boolean;
};

/** The machine has ended: `demoted` goes on as a secondary. */
export type EndedEffect = {
  readonly kind: "ended";
  readonly how: "demoted" | "stopped" | "failed";
  readonly why: string;
};

/**
 * `starting`: nobody is served until every member was reached or is known to be down. `serving`. `handing`: hosts wait while
 * the role is handed over. `draining`: demote or stop was asked, what is under way ends. `ended`: refuses everything.
 */
export type PrimaryStage = "starting" | "serving" | "handing" | "draining" | "ended";

export type Volume = {
  readonly index: number;
  readonly name: string;
  bytes: number;
  state: "ok" | "failed";
  /** A failed sync may have lost acked writes here, which copies still have: more than a repair can mend. */
  hasLostSync: boolean;
  /** Persistent form of the open map. */
  readonly openMap: RegionMap;
  /** The same granules, with what the running machine knows of each. */
  readonly open: Map<number, OpenGranule>;
  /** Granules open since before this start, not yet resolved (U24); undefined when there are none. */
  unresolved: RegionMap | undefined;
  lastLsn: number;
  /** The last write that a full disk refused and the journal has; and up to where a start leaves such writes out, on record. */
  refusedLsn: number;
  redoneLsn: number;
  /** Image writes answered since the start; a round covers all answered before it began. */
  completions: number;
  lastWriteMs: number;
  readonly flush: FlushQueue;
  /** Set where it lies on a device behind a link. */
  readonly device: VolumeDevice | undefined;
};

/** `isRetained`: synced wherever hosts wait, and open only because a copy that is behind may still lack it. */
export type OpenGranule = { lastLsn: number; durable: boolean; isRetained: boolean };

export type ColdBatch = {
  readonly ticket: number;
  readonly granules: OpenGranule[];
  readonly requests: HostRequest[];
};

export type FlushQueue = {
  running: FlushRound | undefined;
  /** Requests that the running round does not cover. */
  waiting: HostRequest[];
  /** A round is wanted although no request asks for one. */
  wanted: boolean;
  /** When the last round began; rounds that only close granules keep a distance. */
  startedMs: number;
  /** `completions` that the last closing covered: nothing more can close until there are others. */
  closedCompletions: number;
  /** Granules without a write after this LSN have been closed, but for those that copies of sets still need. */
  closedLsn: number;
  /** `completions` when the last good round began; -1 before the first. */
  coveredCompletions: number;
  /** All writes of the volume up to this LSN are synced at the primary and at every member that took part. */
  coveredLsn: number;
};

export type FlushRound = {
  readonly ticket: number;
  readonly volume: Volume;
  startCompletions: number;
  /** Every write up to this LSN was in the image and on its way to all fed members when the round began. */
  readonly coverLsn: number;
  /** Granules with no write after this LSN may be cleared when the round is done. */
  readonly clearLsn: number;
  /** Legs that the round's hosts still wait for: the image here and every ack participant. */
  legs: number;
  /** Legs that must answer before granules close: the hosts' part as one, and every member that is fed. */
  closeLegs: number;
  readonly requests: HostRequest[];
  failure: HostOutcome;
};

export type MemberStage =
  /** No session. */
  | "none"
  /** The session is open; the member's open map is on its way, or the record that must precede BEGIN. */
  | "opening"
  /** Fed with writes and regions; not an ack participant (but see `MemberPolicy.loss`). */
  | "resync"
  /** Has everything; new writes wait for it; SYNCHRONIZED is on its way. */
  | "joining"
  | "synchronized";

export type Member = {
  readonly index: number;
  readonly site: string;
  policy: MemberPolicy;
  /** The terms that hold once it has caught up so far (core/reconfigure.ts). */
  modeChange: { readonly policy: MemberPolicy; readonly untilLsn: number } | undefined;
  /** Those terms hold once it is on record what it lacks; until then it is not fed. */
  isTurning: boolean;
  /** It is no member any more, once that is on record. */
  isLeaving: boolean;
  readonly record: MemberRecord;
  /** As the last durable record has it: until a loss is on record, what the member lacks is kept for it (trap 1). */
  phaseOnDisk: MemberPhase;
  stage: MemberStage;
  /** Whether anything was heard since `starting` began. */
  contact: "unknown" | "reached" | "down";
  epoch: number;
  /** Sequence of the last frame sent that ACK answers, and of the last answered. */
  sequence: number;
  ackedSequence: number;
  readonly outstanding: Fifo<Outstanding>;
  outstandingBytes: number;
  /** Of writes that a member which keeps the log was not sent since it was last fed: with those outstanding, its lag. */
  unfedBytes: number;
  /** By ticket of the session, oldest first: what is to be done when the member has synced. */
  readonly flushes: Map<number, AskedFlush>;
  flushTicket: number;
  /** Since when we wait for the member's next word, while `opening` or `joining`. */
  stageAtMs: number;
  /** When an ACK last took something off what is outstanding. */
  progressMs: number;
  /** Flush rounds of a strict member that wait until it is synchronized. */
  readonly flushWaits: FlushRound[];
  /** Requests that wait for the durable record that we go on without this member. */
  fracturing:
    | { readonly ticket: number; readonly requests: HostRequest[]; readonly rounds: FlushRound[] }
    | undefined;
  /** Writes and rounds that waited for the member when it was lost during a standstill of ours. */
  readonly lostWhileSuspended: HostRequest[];
  readonly roundsWhileSuspended: FlushRound[];
  /** Writes that a lost `stall` member had not acked: sent again first when it is back. */
  resend: HostRequest[];
  dirty: readonly RegionMap[] | undefined;
  readonly resync: Resync;
  /** The last walk that an operator asked for, running or over. */
  verify: Verify | undefined;
  /** With a journal: what the copy has said of its sets, durable there; and where it was at the last BEGIN. */
  readonly sets: MemberSets;
  /** Of a member that keeps the log: what is known of that. */
  log: MemberLog;
  /** Highest LSN acked, and sent. */
  ackedLsn: number;
  sentLsn: number;
  /** Frames sent at the last ticks: tells how long the oldest has waited. */
  readonly sendMarks: { readonly atMs: number; readonly sequence: number }[];
  /** Lost as `slow`: probes under half of `ackTimeout` still wanted before it may come back. */
  slowProbes: number;
  /** Its history and ours fork, by its last word to an inquiry: why no session would be let in; "" where they do not. */
  heardSplit: string;
  /** Resyncs in a row that a full journal has ended (decision 10). */
  overflows: number;
  mustRewrite: boolean;
  sentBytes: number;
  comparedBytes: number;
  why: string;
  /** The state that was last told of, by an event or at the start. */
  toldState: string;
  lostAtMs: number;
  /** With `resume: manual`: the operator has allowed the resync. */
  resumed: boolean;
};

/** How far a copy that takes sets has come: complete and durable, in its image, and synced there. */
export type MemberSets = {
  /** It has said since this start how far it is; before that the rest of this is nothing that anybody knows. */
  isTold: boolean;
  completeSet: number;
  completeLsn: number;
  appliedSet: number;
  appliedLsn: number;
  syncedLsn: number;
  /** The wall clock of the primary when the complete set was sealed. */
  stampMs: number;
  /** The first set of the present session. */
  firstSet: number;
  /** The last session whose BEGIN the copy has on record: before that nothing of a resync may reach its image. */
  begunEpoch: number;
  /** Once complete up to here the copy has caught up with what was acked without it. */
  catchUpLsn: number;
};

export type Resync = {
  /** Regions that nobody has read yet, per volume; undefined when no resync runs. */
  pending: readonly RegionMap[] | undefined;
  /** A first sync copies; every other compares first. */
  compare: boolean;
  /** Regions that a host waits for: they come first. */
  readonly wanted: { readonly volume: number; readonly region: number }[];
  cursorVolume: number;
  cursorRegion: number;
  /** Ranges found different, to be read again and sent. */
  readonly differing: ByteRange[];
  inFlightBytes: number;
  /** How much may be in flight now. */
  windowBytes: number;
  /** Ranges that the member has, to be cleared once it has synced them. */
  done: ByteRange[];
  doneBytes: number;
  flushing: boolean;
  /** Bytes that the ceiling still allows in this tick. */
  allowanceBytes: number;
};

export type ResyncItem = ByteRange & {
  readonly kind: "compare" | "region";
  readonly member: number;
  readonly epoch: number;
  readonly regionBytes: number;
  /** When it was taken into the window. */
  readonly askedMs: number;
  /** For a compare: which of its regions differ. */
  differs: boolean[] | undefined;
  /** Of a verify, and no resync. */
  readonly check?: Check;
};

/** What a frame of a session is about, in the order sent: ACK(s) takes all up to s. */
export type Outstanding = HostRequest | ResyncItem | Unawaited;
export type Unawaited = {
  readonly kind: "unawaited";
  readonly lsn: number;
  readonly length: number;
};

/** What an answer to a flush of a member is for. */
export type MemberFlush = (
  | { readonly kind: "round"; readonly round: FlushRound; readonly participates: boolean }
  /** The ranges that a resync has brought over: they are no longer dirty once synced. */
  | { readonly kind: "resync"; readonly done: readonly ByteRange[] }
  | { readonly kind: "joining"; readonly coverLsn: number }
  /** What a relay has synced, for which nobody waits. */
  | { readonly kind: "log" }
) & { readonly atMs: number };

/** With where its log ended when it was asked: up to there it is synced, once that is answered. */
export type AskedFlush = MemberFlush & { readonly told: LogPosition };

export type RecordAction =
  | { readonly kind: "started" }
  | { readonly kind: "reserved"; readonly through: number }
  | { readonly kind: "tripped" }
  | { readonly kind: "fractured"; readonly member: Member; readonly ticket: number }
  | { readonly kind: "begin"; readonly member: Member; readonly epoch: number }
  | {
      readonly kind: "whole";
      readonly member: Member;
      readonly epoch: number;
      readonly lsn: number;
    }
  | { readonly kind: "synchronized"; readonly member: Member; readonly epoch: number }
  | { readonly kind: "clear"; readonly volume: Volume; readonly round: FlushRound }
  | { readonly kind: "failWrite"; readonly request: HostRequest }
  | { readonly kind: "redone"; readonly lsns: readonly number[] }
  | { readonly kind: "failRound"; readonly round: FlushRound }
  | { readonly kind: "newMode"; readonly member: Member }
  | { readonly kind: "forget"; readonly member: Member }
  | { readonly kind: "drained" }
  | { readonly kind: "handover" }
  | { readonly kind: "keptRole" }
  | { readonly kind: "demoted"; readonly why: string }
  | { readonly kind: "stopped" }
  | { readonly kind: "none" };

export function createMember(index: number, policy: MemberPolicy, record: MemberRecord): Member {
  return {
    index,
    site: policy.site,
    policy,
    modeChange: undefined,
    isTurning: false,
    isLeaving: false,
    record,
    phaseOnDisk: record.phase,
    stage: "none",
    contact: "unknown",
    epoch: 0,
    sequence: 0,
    ackedSequence: 0,
    outstanding: createFifo(),
    outstandingBytes: 0,
    unfedBytes: 0,
    flushes: new Map(),
    flushTicket: 0,
    stageAtMs: 0,
    progressMs: 0,
    flushWaits: [],
    fracturing: undefined,
    lostWhileSuspended: [],
    roundsWhileSuspended: [],
    resend: [],
    dirty: undefined,
    resync: idleResync(),
    verify: undefined,
    sets: {
      isTold: false,
      completeSet: 0,
      completeLsn: 0,
      appliedSet: 0,
      appliedLsn: 0,
      syncedLsn: 0,
      stampMs: 0,
      firstSet: 0,
      begunEpoch: 0,
      catchUpLsn: 0,
    },
    log: unknownLog(),
    ackedLsn: 0,
    sentLsn: 0,
    sendMarks: [],
    slowProbes: 0,
    heardSplit: "",
    overflows: 0,
    mustRewrite: false,
    toldState: "",
    sentBytes: 0,
    comparedBytes: 0,
    why: "",
    lostAtMs: 0,
    resumed: false,
  };
}

export function idleResync(): Resync {
  return {
    pending: undefined,
    compare: true,
    wanted: [],
    cursorVolume: 0,
    cursorRegion: 0,
    differing: [],
    inFlightBytes: 0,
    windowBytes: limits.resyncWindowFirstBytes,
    done: [],
    doneBytes: 0,
    flushing: false,
    allowanceBytes: Number.POSITIVE_INFINITY,
  };
}

/** A chunk to compare with what the member has, or to bring over to it, as it is taken into the window. */
export function createResyncItem(
  primary: Primary,
  member: Member,
  kind: ResyncItem["kind"],
  { volume, offset, length }: ByteRange,
): ResyncItem {
  return {
    kind,
    volume,
    offset,
    length,
    member: member.index,
    epoch: member.epoch,
    regionBytes: primary.record.regionBytes,
    askedMs: primary.nowMs,
    differs: undefined,
  };
}

/** The member of this number; undefined once it has left the group. */
export function memberOf(primary: Primary, index: number): Member | undefined {
  return primary.members.find((member) => member.index === index);
}

/** In place of a volume's index: all of them. */
export const allVolumesIndex = -1;
