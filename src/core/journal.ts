import { crc32cChunks } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import { keepsLog, takesSets } from "./member-state.ts";
import type { HostRequest } from "#ports/host-request.ts";
import type { Entry } from "./entry.ts";
import { digestStep } from "./entry.ts";
import { createForecast } from "./forecast.ts";
import type { Forecast } from "./forecast.ts";
import { journalSizeOf } from "./journal-size.ts";
import type { JournalSize } from "./journal-size.ts";
import { createPace, notePaced, setPaceRoom } from "./pace.ts";
import type { Pace } from "./pace.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";
import { reserve } from "./reserves.ts";

// The journal at the primary, as its machine sees it: writes get their set and index with their LSN, gather for a turn, are
// appended as one batch, and go to the image after that (SPEC-async.md). A group whose copies are all mirrors has none.

/** When the open set is sealed (decision 15). `only`: at a host's FLUSH, so that a transaction lies in one set. */
export type SealPolicy = {
  readonly everyMs: number;
  readonly bytesMax: number;
  readonly onFlush: boolean | "only";
  readonly countMax: number;
  /** A write is answered once its set is sealed and not before (A19): so no write depends on another one of its set. */
  readonly acksAtSwitch: boolean;
};

/** The disk under the journal is full, or nearly. */
export type DiskRoom = {
  /** What can be appended all the same. */
  readonly aheadBytes: number;
  /** What the disk said, and of which file. */
  readonly why: string;
  /** A dirty map would find room nevertheless: a copy may be tripped. */
  readonly mayTrip: boolean;
};

export type Journal = {
  policy: SealPolicy;
  overflow: "trip" | "stall" | "fail";
  /** As configured: what it may have is `roomBytesMax`. */
  readonly bytesMax: number;
  /** What follows from that. */
  readonly size: JournalSize;
  /** Undefined while the disk has room. */
  disk: DiskRoom | undefined;
  /** How fast hosts are let in while it fills. */
  readonly pace: Pace;
  /** When it will be full. */
  readonly forecast: Forecast;
  /** All that was ordered when the images were last to be synced for it. Bytes. */
  imagesAskedBytes: number;
  bytesUsed: number;
  /** It has everything from this set on; and up to where nobody needs anything any more. */
  firstSet: number;
  releasedLsn: number;
  /** The start has brought everything up to here into the images, and synced them; 0 where a device may lack some. */
  readonly replayedLsn: number;
  /** The highest LSN of a write that this start has found in it. */
  readonly foundWriteLsn: number;
  /** The first set whose number this incarnation gives. */
  readonly ownSet: number;
  releasedSet: number;
  /** Up to where it may forget: what a relay has synced it need not keep. */
  keptLsn: number;
  keptSet: number;
  /** It was full, and copies are tripped until enough is free. */
  isTripping: boolean;
  /** The open set: what its SEAL will say. */
  set: number;
  coversFrom: number;
  count: number;
  digest: number;
  setBytes: number;
  /** The last LSN in the order, up to which a SEAL speaks. */
  lastLsn: number;
  /** What the last SEAL spoke of. */
  sealedLsn: number;
  /** When its first write came, and when the last set was sealed. */
  openedMs: number;
  sealedMs: number;
  /** Numbers from here on were never used. */
  nextSet: number;
  /** Writes of the open set that wait for its end; and those whose SEAL is not in the journal yet, oldest set first. */
  standing: HostRequest[];
  readonly switching: { readonly set: number; readonly requests: readonly HostRequest[] }[];
  /** What this turn has brought, not yet appended. */
  gathered: Entry[];
  gatheredBytes: number;
  gatheredRequests: HostRequest[];
  /** What appends take that were asked for and are not answered: one step may ask for many. */
  appendingBytes: number;
};

/** What an earlier incarnation left: the sets that its journal holds, the last of which it may not have sealed. */
export type JournalFound = {
  /** The next set to be given a number: above everything that was reserved. */
  readonly nextSet: number;
  /** The set that the journal ends in without its SEAL, or the last sealed one, with what its SEAL has to say. */
  readonly openSet:
    | { readonly set: number; readonly count: number; readonly digest: number }
    | undefined;
  readonly lastSealedSet: number;
  readonly bytesUsed: number;
  readonly firstSet: number;
  readonly lastLsn: number;
  /** The highest LSN of a write; where only SEALs are left, what the first of them says of those before it. */
  readonly lastWriteLsn: number;
};

export function createJournal(
  {
    segmentBytes,
    ...options
  }: Pick<Journal, "policy" | "overflow" | "bytesMax"> & {
    readonly segmentBytes: number;
    readonly disk?: DiskRoom | undefined;
  },
  found: JournalFound & { readonly isReplayed?: boolean },
  nowMs: number,
): Journal {
  const { openSet } = found;
  const { bytesMax } = options;
  const size = journalSizeOf(bytesMax);
  const room = { bytes: bytesMax - size.marginBytes, segmentBytes };
  return {
    ...options,
    size,
    disk: options.disk,
    imagesAskedBytes: found.bytesUsed,
    pace: createPace({ lsn: found.lastLsn, bytes: found.bytesUsed }, room),
    forecast: createForecast(found.bytesUsed),
    bytesUsed: found.bytesUsed,
    firstSet: found.firstSet,
    releasedLsn: 0,
    replayedLsn: found.isReplayed === false ? 0 : found.lastLsn,
    foundWriteLsn: found.lastWriteLsn,
    ownSet: found.nextSet,
    releasedSet: 0,
    keptLsn: 0,
    keptSet: 0,
    isTripping: false,
    set: openSet?.set ?? found.nextSet,
    coversFrom: found.lastSealedSet + 1,
    count: openSet?.count ?? 0,
    digest: openSet?.digest ?? 0,
    setBytes: 0,
    lastLsn: found.lastLsn,
    sealedLsn: 0,
    openedMs: nowMs,
    sealedMs: nowMs,
    nextSet: found.nextSet,
    standing: [],
    switching: [],
    gathered: [],
    gatheredBytes: 0,
    gatheredRequests: [],
    appendingBytes: 0,
  };
}

/** The write has its LSN: it gets its place in a set, and goes to the image once it is in the journal. */
export function journalWrite(
  primary: Primary,
  journal: Journal,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  const isWrite = request.kind === "write";
  if (journal.count === 0) {
    journal.openedMs = primary.nowMs;
    if (journal.policy.onFlush !== "only")
      out.push({ kind: "awaitSeal", set: journal.set, afterMs: journal.policy.everyMs });
  }
  journal.count += 1;
  journal.lastLsn = request.lsn;
  const entry: Entry = {
    kind: isWrite ? "write" : "zero",
    mayPunch: request.mayPunch,
    source: 0,
    incarnation: primary.record.incarnation,
    lsn: request.lsn,
    set: journal.set,
    index: journal.count,
    volume: request.volume,
    offset: request.offset,
    length: request.length,
    payloadCrc: isWrite ? crc32cChunks(request.payload) : 0,
    stampMs: 0,
  };
  const payloadBytes = payloadBytesOf(request);
  if (journal.gatheredBytes + payloadBytes > journal.size.batchBytesMax)
    appendGathered(primary, out);
  journal.digest = digestStep(journal.digest, entry);
  journal.setBytes += request.length;
  notePaced(journal.pace, payloadBytes);
  gather(primary, journal, entry, out);
  if (journal.policy.acksAtSwitch) {
    request.legs += 1;
    journal.standing.push(request);
  }
  journal.gatheredRequests.push(request);
  journal.gatheredBytes += payloadBytes;
  if (isSetFull(journal)) seal(primary, journal, out);
}

/** What a request adds to the payload of its batch. Bytes. */
function payloadBytesOf({ kind, length }: HostRequest): number {
  return kind === "write" ? length : 0;
}

/** The open set has all that it may have: between two events that is so only while it cannot be sealed (`seal`). */
export function isSetFull(journal: Journal): boolean {
  const { policy, size, setBytes, count } = journal;
  const ordinary = Math.min(policy.bytesMax, size.setBytesMax);
  const bytesMax = policy.onFlush === "only" ? size.bracketBytesMax : ordinary;
  return setBytes >= bytesMax || count >= policy.countMax;
}

function gather(primary: Primary, journal: Journal, entry: Entry, out: PrimaryEffect[]): void {
  if (journal.gathered.length >= journal.size.batchEntriesMax) appendGathered(primary, out);
  if (journal.gathered.length === 0) out.push({ kind: "awaitTurnEnd" });
  journal.gathered.push(entry);
}

/** Closes the open set where it stands in the order. It may be empty: then it moves the recovery point on. */
export function seal(primary: Primary, journal: Journal, out: PrimaryEffect[]): void {
  // A number beyond the reserve could be given out again after a crash: the set stays open until more are on record, and once
  // it is full, writes wait for that.
  if (journal.nextSet + 1 >= primary.lsnReserved) return;
  const entry: Entry = {
    kind: "seal",
    mayPunch: false,
    source: 0,
    incarnation: primary.record.incarnation,
    // Every LSN that was given is of a write in this set or one before: an empty set moves the recovery point up to here.
    lsn: journal.count > 0 ? journal.lastLsn : primary.nextLsn - 1,
    set: journal.set,
    index: journal.count + 1,
    volume: 0,
    offset: journal.coversFrom,
    length: 0,
    payloadCrc: journal.digest,
    stampMs: primary.wallMs,
  };
  gather(primary, journal, entry, out);
  if (journal.standing.length > 0) {
    journal.switching.push({ set: journal.set, requests: journal.standing });
    journal.standing = [];
  }
  journal.sealedLsn = entry.lsn;
  for (const member of primary.members) {
    const isResyncing = member.stage === "resync" || member.stage === "joining";
    if (isResyncing && takesSets(member))
      out.push({ kind: "sendMark", member: member.index, set: journal.set });
  }
  journal.coversFrom = journal.set + 1;
  // An incarnation ends the set that the last one left open, and then begins above all numbers that may have been used.
  journal.set = Math.max(journal.set + 1, journal.nextSet);
  journal.nextSet = journal.set;
  if (journal.nextSet + limits.lsnReserveMargin === primary.lsnReserved) reserve(primary, out);
  journal.count = 0;
  journal.digest = 0;
  journal.setBytes = 0;
  journal.sealedMs = primary.nowMs;
}

/** The set that the last incarnation left open gets its SEAL, and ours begin. */
export function sealLeftOpen(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined) return;
  if (journal.set < journal.nextSet) seal(primary, journal, out);
  if (!primary.isJournalWhole && primary.openGranules > 0) breakChain(primary, journal, out);
  appendGathered(primary, out);
}

/**
 * The images may hold what a power cut took from the journal: whoever has all sets before ours may lack it, and gets it by
 * comparison alone. So our first set follows none of those, and a bunker's log says so before it says anything else (B17).
 */
function breakChain(primary: Primary, journal: Journal, out: PrimaryEffect[]): void {
  if (journal.set === journal.coversFrom) journal.set += 1;
  journal.nextSet = Math.max(journal.nextSet, journal.set);
  journal.coversFrom = journal.set;
  if (primary.members.some(keepsLog)) seal(primary, journal, out);
}

/** More numbers are on record: a full set that had to wait for them is sealed. */
export function sealWaiting(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined || !isSetFull(journal)) return;
  seal(primary, journal, out);
  appendGathered(primary, out);
}

/** A host's FLUSH stands at its place in the order; it never waits for a copy (decision 15). */
export function sealAtFlush(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined || journal.policy.onFlush === false || journal.count === 0) return;
  seal(primary, journal, out);
}

/** The time of a set is over, unless it was sealed before. */
export function sealDue(primary: Primary, set: number, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined || journal.set !== set || journal.count === 0) return;
  seal(primary, journal, out);
  appendGathered(primary, out);
  // The reserve was not on record: hosts that wait for the switch must not wait for a bracket's end.
  if (journal.set === set) out.push({ kind: "awaitSeal", set, afterMs: journal.policy.everyMs });
}

/** It is full: the margin is for what is on its way already. */
export function isCrowded(journal: Journal): boolean {
  const { bytesUsed, appendingBytes, bytesMax, size } = journal;
  if (isDiskCrowded(journal)) return true;
  return bytesUsed + gatheredCost(journal) + appendingBytes + size.marginBytes > bytesMax;
}

/** The same where it is for want of room on the disk. */
export function isDiskCrowded(journal: Journal): boolean {
  const { disk, appendingBytes, size } = journal;
  if (disk === undefined) return false;
  return gatheredCost(journal) + appendingBytes + size.ahead.marginBytes > disk.aheadBytes;
}

function gatheredCost({ gathered, gatheredBytes, size }: Journal): number {
  return gatheredBytes + gathered.length * size.entryBytes;
}

/** An append was answered: it takes what it takes by now. */
export function noteAppended(journal: Journal, requests: readonly HostRequest[]): void {
  for (const request of requests)
    journal.appendingBytes -= payloadBytesOf(request) + journal.size.entryBytes;
}

/** What it may hold: the smaller of what the configuration says and what the disk gives. */
export function roomBytesMax({ bytesUsed, bytesMax, disk }: Journal): number {
  return disk === undefined ? bytesMax : Math.min(bytesMax, bytesUsed + disk.aheadBytes);
}

/** Seals that no write asks for: the heartbeat of an idle group, and a bracket that takes too long. */
export function sealIdle(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined || primary.stage !== "serving") return;
  // A journal that stays full for days must not be filled up by empty sets: beyond the margin the group would have failed.
  const isDue = primary.nowMs - journal.sealedMs >= limits.emptySealMs && !isCrowded(journal);
  const isIdle = journal.count === 0 && isDue;
  const isLate = journal.count > 0 && primary.nowMs - journal.openedMs >= limits.bracketMsMax;
  if (!isIdle && !isLate) return;
  seal(primary, journal, out);
  appendGathered(primary, out);
}

/** The turn's writes are all in, or somebody must not wait: one append for all of them. */
export function appendGathered(primary: Primary, out: PrimaryEffect[]): void {
  const { journal } = primary;
  if (journal === undefined || journal.gathered.length === 0) return;
  const { gathered: entries, gatheredRequests: requests } = journal;
  out.push({ kind: "append", entries, requests });
  journal.gathered = [];
  journal.gatheredRequests = [];
  // A SEAL is nobody's request, and what it takes is for the margin.
  journal.appendingBytes += journal.gatheredBytes + requests.length * journal.size.entryBytes;
  journal.gatheredBytes = 0;
}

export type JournalFigures = {
  readonly bytesUsed: number;
  readonly firstSet: number;
  readonly disk?: DiskRoom | undefined;
};

/** What the log says of itself after entries have gone or come. */
export function noteFigures(primary: Primary, figures: JournalFigures): void {
  const { journal } = primary;
  if (journal === undefined) return;
  // Hosts that waited for room are looked at again: segments go a while after they were let go, and the disk's room comes back.
  const hadBytes = journal.disk?.aheadBytes ?? Number.POSITIVE_INFINITY;
  const hasMore = (figures.disk?.aheadBytes ?? Number.POSITIVE_INFINITY) > hadBytes;
  if (figures.bytesUsed < journal.bytesUsed || hasMore) primary.recheckHeld = true;
  journal.disk = figures.disk;
  journal.bytesUsed = figures.bytesUsed;
  journal.firstSet = figures.firstSet;
  if (Number.isFinite(hadBytes) || journal.disk !== undefined) paceByDisk(journal);
}

/** Who is slowed down before the journal is full, is so before its disk is. */
function paceByDisk(journal: Journal): void {
  setPaceRoom(journal.pace, fullBytes(journal));
}

/** What it has in it when it counts as full. */
export function fullBytes(journal: Journal): number {
  const { marginBytes, ahead } = journal.size;
  const byFile = journal.bytesMax - marginBytes;
  if (journal.disk === undefined) return byFile;
  return Math.min(byFile, roomBytesMax(journal) - ahead.marginBytes);
}
