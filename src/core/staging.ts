import { assert, must, unreachable } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { at, drain, peek, push, shift } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { countOf } from "./entry.ts";
import { costOfSet, inOrder } from "./set-tracker.ts";
import { acknowledgeSynced, takeBatch } from "./staging-intake.ts";
import { becomeReady, forgetBelow, forgetIncomplete, movePurge } from "./staging-purge.ts";
import {
  addRecord,
  isCovering,
  nextAfter,
  pin,
  pointOf,
  receivedLsn,
  unpin,
} from "./staging-state.ts";
import type { Flag, StagedSet, Staging, StagingEffect, StagingEvent } from "./staging-state.ts";

// The machine of an asynchronous copy's staging. Entries come in any order, over several lanes; a set becomes complete when it
// is whole and a sync has answered for its data and its flag, which lie in the log in this order; complete sets are applied
// one after the other, each whole, by `covers.from`; and the log forgets a set when the images have it, synced, and that is
// on record. So whatever a crash leaves, the log has every set that was called complete and is not in the images (I20, I21).
//
// A flag whose data is not whole says nothing: that set is not complete, and is forgotten like every set without a flag.

type Event<Held, Kind> = Extract<StagingEvent<Held>, { kind: Kind }>;
type Out<Held> = StagingEffect<Held>[];

/** Moves the machine by one event. Effects are appended to `out`, to be performed in order. */
export function stepStaging<Held>(
  staging: Staging<Held>,
  event: StagingEvent<Held>,
  out: Out<Held>,
): void {
  if (staging.stage === "settled") {
    // Whoever asks again is told again: what hindered it then, hinders it still.
    if (event.kind === "settle") return tellSettled(staging, out);
    if (event.kind !== "opened" && event.kind !== "drain") return;
  }
  switch (event.kind) {
    case "start":
      break;
    case "tick":
      staging.nowMs = event.nowMs;
      if (staging.ticket > staging.syncedTicket) staging.isSyncDue = true;
      break;
    case "opened":
      openSession(staging, event, out);
      break;
    case "lost":
      endSession(staging);
      break;
    case "batch":
      arrived(staging, event, out);
      break;
    case "mark":
      noteMark(staging, event.set);
      break;
    case "whole":
      noteWhole(staging, event.set);
      break;
    case "staged":
      staged(staging, event.ticket, event.place);
      break;
    case "stageFailed":
      failStaging(staging, `staging here cannot be written: ${event.failure.message}`, out);
      break;
    case "synced":
      synced(staging, event, out);
      break;
    case "applied":
      applied(staging, event, out);
      break;
    case "imagesSynced":
      imagesSynced(staging, event.failure, out);
      break;
    case "appliedRecorded":
      appliedRecorded(staging, event.failure, out);
      break;
    case "drain":
      beginDrain(staging, out);
      break;
    case "settle":
      endSession(staging);
      staging.stage = "settling";
      break;
    default:
      return unreachable(event);
  }
  goOn(staging, out);
}

function goOn<Held>(staging: Staging<Held>, out: Out<Held>): void {
  movePurge(staging, out);
  beginSync(staging, out);
  endStart(staging, out);
  beginApply(staging, out);
  tellConsistent(staging, out);
  moveBase(staging, out);
  beginImageSync(staging, out);
  endDrain(staging, out);
  endSettle(staging, out);
  forgetRecords(staging, out);
  tellProgress(staging, out);
}

// --------------------------------------------------------------------------------------- session

function openSession<Held>(
  staging: Staging<Held>,
  told: Event<Held, "opened">,
  out: Out<Held>,
): void {
  endSession(staging);
  const why = refusalOf(staging, told);
  if (why !== undefined) return failSession(staging, why, out);
  const { epoch, incarnation, firstSet, resync } = told;
  const { stampMs } = staging.complete;
  const lsn = Math.max(told.lsn, staging.complete.lsn);
  staging.session = {
    epoch,
    incarnation,
    isResyncing: resync,
    markedSet: firstSet - 1,
    rebase: resync ? { set: firstSet - 1, lsn, stampMs } : undefined,
    purge: told.purge === true && !resync ? { ticket: "waiting", entries: 0 } : undefined,
    isReady: false,
  };
  // A bunker ends a set where its log ends: of that set more may have come here, and is none of it.
  if (told.isReplay === true) forgetIncomplete(staging, out);
  // What is not complete is dirty at the primary, and the regions bring it.
  if (resync) {
    forgetIncomplete(staging, out);
    staging.wholeSet = undefined;
  } else if (staging.session.purge === undefined) becomeReady(staging.session, out);
}

function refusalOf<Held>(staging: Staging<Held>, told: Event<Held, "opened">): string | undefined {
  const { stage, complete } = staging;
  const why = unfitness(staging);
  if (why !== undefined) return why;
  if (stage === "starting") return "this copy is reading its staging log";
  if (told.resync && told.firstSet <= complete.set)
    return `a resync that begins with set ${told.firstSet}, where set ${complete.set} is complete`;
  if (!told.resync && told.firstSet > complete.set + 1)
    return `sets from ${told.firstSet} on, where those behind ${complete.set} are missing`;
  return undefined;
}

// Why no session can be had here, whatever it brings.
function unfitness({ stagingFailure, imageFailure, stage }: Staging<unknown>): string | undefined {
  const isEnding = stage === "settling" || stage === "settled";
  return imageFailure ?? stagingFailure ?? (isEnding ? "this copy is being promoted" : undefined);
}

// Staged sets stay: the next session of the same primary goes on with them (decision 15). Its lanes count anew.
function endSession(staging: Staging<unknown>): void {
  staging.session = undefined;
  staging.told = undefined;
  staging.lanes.clear();
}

function failSession<Held>(staging: Staging<Held>, why: string, out: Out<Held>): void {
  endSession(staging);
  out.push({ kind: "failSession", why });
}

function failStaging<Held>(staging: Staging<Held>, why: string, out: Out<Held>): void {
  const isFirst = staging.stagingFailure === undefined;
  staging.stagingFailure ??= why;
  failSession(staging, staging.stagingFailure, out);
  if (!isFirst) return;
  out.push({ kind: "stagingFailed", why });
  // Nothing of what a restart found will be known synced; whoever waits for that need not wait.
  if (staging.stage !== "starting") return;
  staging.stage = "running";
  out.push({ kind: "started" });
}

function failImage<Held>(staging: Staging<Held>, why: string, out: Out<Held>): void {
  staging.imageFailure ??= why;
  // Nobody answers for them any more. The next start applies them anew.
  drain(staging.applying);
  failSession(staging, staging.imageFailure, out);
}

function noteMark(staging: Staging<unknown>, set: number): void {
  const { session } = staging;
  if (session !== undefined) session.markedSet = Math.max(session.markedSet, set);
}

function noteWhole(staging: Staging<unknown>, set: number): void {
  const { session } = staging;
  if (session === undefined) return;
  session.isResyncing = false;
  staging.wholeSet = set;
}

// That holds however the session ends: every region is here, and every set up to this one.
function tellConsistent<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const { wholeSet, applied: point } = staging;
  if (wholeSet === undefined || wholeSet > point.set) return;
  staging.wholeSet = undefined;
  out.push({ kind: "consistent", point });
}

/**
 * A resync lets the sets begin anew. Before any region is written, what was called complete is in the images, since it is not
 * dirty at the primary; and where the sets begin is on record, so that a restart finds those that follow.
 */
function moveBase<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const rebase = staging.session?.rebase;
  if (rebase === undefined || staging.complete === rebase) return;
  const { ready, applying, imageSync } = staging;
  if (ready.count + applying.count > 0 || imageSync !== undefined) return;
  staging.complete = rebase;
  staging.applied = rebase;
  staging.received = rebase;
  staging.stagedLsn = rebase.lsn;
  syncImages(staging, out);
}

function tellProgress<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const { session, told, complete, synced: inImages } = staging;
  if (session?.isReady !== true) return;
  const isNews =
    told?.complete !== complete || told.applied !== staging.applied || told.synced !== inImages;
  if (!isNews) return;
  staging.told = { complete, applied: staging.applied, synced: inImages };
  out.push({ kind: "progress", ...staging.told });
}

// ---------------------------------------------------------------------------------- completeness

function arrived<Held>(staging: Staging<Held>, event: Event<Held, "batch">, out: Out<Held>): void {
  const broken = takeBatch(staging, event, out);
  if (broken !== undefined) failSession(staging, broken.why, out);
}

function staged(staging: Staging<unknown>, ticket: number, place: number): void {
  if (staging.stagingFailure !== undefined) return;
  assert(
    ticket === staging.stagedTicket + 1,
    `record ${ticket} of the log was answered out of order`,
  );
  staging.stagedTicket = ticket;
  // Everything older than the oldest record that is kept was forgotten, and that one is known by its ticket.
  const oldest = must(peek(staging.records), "a record was forgotten before it was appended");
  const record = must(at(staging.records, ticket - oldest.ticket), "a record is missing");
  record.place = place;
}

// One sync at a time, for whatever was appended before it, and for the flags of all sets that are whole by then (decision 15).
function beginSync<Held>(staging: Staging<Held>, out: Out<Held>): void {
  if (staging.syncing !== undefined || staging.stagingFailure !== undefined) return;
  const hasSets = staging.whole.length + staging.flagged.length > 0;
  const isFull = staging.unsyncedBytes >= limits.stagingUnsyncedBytesMax;
  const isLate = staging.isSyncDue && staging.ticket > staging.syncedTicket;
  if (!hasSets && !isFull && !isLate) return;
  flagWhole(staging, out);
  const lsn = staging.mode === "durable" ? receivedLsn(staging) : 0;
  staging.syncing = { ticket: staging.ticket, sets: staging.flagged, receivedLsn: lsn };
  staging.flagged = [];
  staging.unsyncedBytes = 0;
  staging.isSyncDue = false;
  out.push({ kind: "sync", ticket: staging.ticket });
}

function flagWhole<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const whole = staging.whole.filter(({ phase }) => phase === "whole");
  staging.whole = [];
  if (whole.length === 0) return;
  const record = addRecord(staging);
  const flags: Flag[] = [];
  for (const set of whole) {
    const seal = must(set.tracker.seal, "a whole set lacks its SEAL");
    flags.push({ set: set.set, count: countOf(seal), digest: seal.payloadCrc });
    set.phase = "flagged";
    pin(set, record);
    staging.flagged.push(set);
  }
  out.push({ kind: "flag", ticket: record.ticket, flags });
}

// What a restart found is complete once a sync has answered: a kill may have left it in the page cache alone.
function endStart<Held>(staging: Staging<Held>, out: Out<Held>): void {
  if (staging.stage !== "starting" || staging.syncing !== undefined) return;
  staging.stage = "running";
  out.push({ kind: "started" });
}

function synced<Held>(
  staging: Staging<Held>,
  { ticket, failure }: Event<Held, "synced">,
  out: Out<Held>,
): void {
  // A log that could not be written proves nothing by a sync.
  if (staging.stagingFailure !== undefined) return;
  if (failure !== undefined)
    return failStaging(staging, `fdatasync of staging here failed: ${failure.message}`, out);
  const syncing = must(staging.syncing, "a sync answered that was not asked for");
  assert(syncing.ticket === ticket && ticket <= staging.stagedTicket, "a sync before its appends");
  staging.syncing = undefined;
  staging.syncedTicket = ticket;
  for (const set of syncing.sets) if (set.phase === "flagged") set.phase = "complete";
  advanceComplete(staging, out);
  staging.stagedLsn = Math.max(staging.stagedLsn, syncing.receivedLsn, staging.complete.lsn);
  acknowledgeSynced(staging, out);
}

function advanceComplete<Held>(staging: Staging<Held>, out: Out<Held>): void {
  for (let next = nextComplete(staging); next !== undefined; next = nextComplete(staging)) {
    noteComplete(staging, next, out);
  }
}

function nextComplete<Held>(staging: Staging<Held>): StagedSet<Held> | undefined {
  return nextAfter(staging, staging.complete.set, isComplete);
}

/** A contiguous set is complete and queues up to be applied. Sets that it jumps over never become complete. */
function noteComplete<Held>(staging: Staging<Held>, set: StagedSet<Held>, out: Out<Held>): void {
  staging.sets.delete(set.set);
  if (set.set > staging.complete.set + 1) forgetBelow(staging, set.set, out);
  if (isCovering(set)) staging.covering = staging.covering.filter((other) => other !== set);
  staging.complete = pointOf(set, staging.complete);
  push(staging.ready, set);
}

function isComplete({ phase }: StagedSet<unknown>): boolean {
  return phase === "complete";
}

// ----------------------------------------------------------------------------------- application

// A set that is complete, in its turn, and behind its MARK while regions come. Several may be under way; since the images
// are not looked at meanwhile, and since a restart applies them again, that shows nowhere (I10, I13).
function beginApply<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const { ready, applying } = staging;
  for (let next = peek(ready); next !== undefined; next = peek(ready)) {
    if (staging.imageFailure !== undefined || !isMarked(staging, next.set)) return;
    const bytes = costOfSet(next.tracker);
    const isMuch = staging.applyingBytes + bytes > limits.applyingBytesMax;
    if (applying.count > 0 && (isMuch || applying.count >= limits.applyingSetsMax)) return;
    shift(ready);
    push(applying, next);
    staging.applyingBytes += bytes;
    out.push({ kind: "apply", set: next.set, ...inOrder(next.tracker) });
  }
}

// Without a session no region comes that could be older than the set; and the next one's are read later than its SEAL.
function isMarked({ session }: Staging<unknown>, set: number): boolean {
  if (session === undefined || !session.isResyncing || !session.isReady) return true;
  return set <= session.markedSet;
}

function applied<Held>(
  staging: Staging<Held>,
  { set: number, failure }: Event<Held, "applied">,
  out: Out<Held>,
): void {
  // Behind a set that failed nothing counts, and each of its writes may tell of its own failure.
  if (staging.imageFailure !== undefined) return;
  if (failure !== undefined)
    return failImage(staging, `the image here cannot be written: ${failure.message}`, out);
  const set = must(shift(staging.applying), "a set was applied that was not asked for");
  assert(set.set === number, `set ${number} was applied out of order`);
  const bytes = costOfSet(set.tracker);
  staging.applyingBytes -= bytes;
  staging.waitingBytes -= bytes;
  staging.appliedBytes += bytes;
  staging.applied = pointOf(set, staging.applied);
  staging.appliedMs = staging.nowMs;
  if (staging.unsynced.count === 0) staging.unsyncedSinceMs = staging.nowMs;
  push(staging.unsynced, { set: number, bytes, records: set.records });
}

function beginImageSync<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const { unsynced, nowMs } = staging;
  if (staging.imageSync !== undefined || unsynced.count === 0) return;
  const isMuch =
    staging.appliedBytes >= limits.applyUnsyncedBytesMax ||
    unsynced.count >= limits.applyUnsyncedSetsMax;
  const isLate =
    nowMs - staging.appliedMs >= limits.applyIdleMs ||
    nowMs - staging.unsyncedSinceMs >= limits.applySyncMsMax;
  const isAwaited = staging.stage === "settling" || staging.isDraining;
  const isLast = isAwaited && isDrained(staging);
  if (isMuch || isLate || isLast) syncImages(staging, out);
}

function syncImages<Held>(staging: Staging<Held>, out: Out<Held>): void {
  if (staging.imageFailure !== undefined) return;
  staging.imageSync = staging.applied;
  out.push({ kind: "syncImages" });
}

function imagesSynced<Held>(
  staging: Staging<Held>,
  failure: IoFailure | undefined,
  out: Out<Held>,
): void {
  const point = must(staging.imageSync, "a sync of the images answered that was not asked for");
  if (failure === undefined) return void out.push({ kind: "recordApplied", point });
  failImage(staging, `fdatasync of the image here failed: ${failure.message}`, out);
}

/** In the images, synced, and on record: so the log may forget it, and nothing else lets it. */
function appliedRecorded<Held>(
  staging: Staging<Held>,
  failure: IoFailure | undefined,
  out: Out<Held>,
): void {
  const point = must(staging.imageSync, "a record answered that was not asked for");
  if (failure !== undefined)
    return failImage(staging, `what is applied cannot be recorded: ${failure.message}`, out);
  staging.imageSync = undefined;
  staging.synced = point;
  staging.unsyncedSinceMs = staging.nowMs;
  for (let next = peek(staging.unsynced); next !== undefined; next = peek(staging.unsynced)) {
    if (next.set > point.set) break;
    shift(staging.unsynced);
    staging.appliedBytes -= next.bytes;
    unpin(next.records);
  }
  const { session } = staging;
  if (session === undefined || session.rebase !== point) return;
  session.rebase = undefined;
  becomeReady(session, out);
}

function forgetRecords<Held>(staging: Staging<Held>, out: Out<Held>): void {
  let through: number | undefined;
  for (let next = peek(staging.records); next !== undefined; next = peek(staging.records)) {
    if (next.users > 0 || next.place === undefined) break;
    through = next.place;
    shift(staging.records);
  }
  if (through !== undefined) out.push({ kind: "forget", through });
}

/** All that was whole is complete and applied, and on record; the rest is dropped, as if it had never come (U50). */
function endSettle<Held>(staging: Staging<Held>, out: Out<Held>): void {
  if (staging.stage !== "settling" || staging.applying.count > 0) return;
  if (!isAtRest(staging)) return;
  forgetIncomplete(staging, out);
  forgetRecords(staging, out);
  staging.stage = "settled";
  tellSettled(staging, out);
}

function tellSettled<Held>({ synced: point, imageFailure }: Staging<Held>, out: Out<Held>): void {
  out.push({ kind: "settled", point, why: imageFailure });
}

function beginDrain<Held>(staging: Staging<Held>, out: Out<Held>): void {
  const why = unfitness(staging);
  if (why === undefined) staging.isDraining = true;
  else failSession(staging, why, out);
}

function endDrain<Held>(staging: Staging<Held>, out: Out<Held>): void {
  if (!staging.isDraining || staging.applying.count > 0 || !isAtRest(staging)) return;
  staging.isDraining = false;
  // An image that cannot be brought to where its sets end is no point, and nothing to begin from.
  const { imageFailure } = staging;
  if (imageFailure !== undefined) return failSession(staging, imageFailure, out);
  out.push({ kind: "drained" });
}

/** Everything complete is applied, synced and on record, or it never will be. */
function isAtRest(staging: Staging<unknown>): boolean {
  const { imageFailure, imageSync, unsynced } = staging;
  const isOnRecord = imageSync === undefined && unsynced.count === 0;
  return imageFailure !== undefined || (isDrained(staging) && isOnRecord);
}

/** What is whole here is complete, as far as it can be, and what is complete in its turn is in the images. */
function isDrained(staging: Staging<unknown>): boolean {
  const { ready, applying, syncing, whole } = staging;
  const isStaged = staging.stagedTicket === staging.ticket && syncing === undefined;
  if (staging.stagingFailure === undefined && !(isStaged && whole.length === 0)) return false;
  return ready.count + applying.count === 0;
}
