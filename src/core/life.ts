import type { HostRequest } from "#ports/host-request.ts";
import { areDevicesCovered, isCovered } from "./device-volume.ts";
import { fracture, goOnOnceRecorded } from "./dirty-maps.ts";
import { roundLegDone, wantRound } from "./flush.ts";
import { generationCounter } from "./history.ts";
import {
  handoverOnRecord,
  handoverStoodStill,
  isOffered,
  leaveHandover,
  whyWaiting,
} from "./handover.ts";
import { failWaiting } from "./legs.ts";
import { mapOf } from "./member-maps.ts";
import { appendGathered, seal, sealLeftOpen, sealWaiting } from "./journal.ts";
import { isFed, isInJournal, keepsLog, mustHave, takesSets } from "./member-state.ts";
import { loseMember } from "./members.ts";
import { closeGranules, orOpenInto } from "./open-map.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { EndedEffect, Member, Primary, RecordAction } from "./primary-state.ts";
import { askRecord } from "./records.ts";
import { copyOf } from "./region-map.ts";
import { refuseReplies, releaseReplies, reply } from "./replies.ts";
import { reserve } from "./reserves.ts";
import { takeStanding } from "./switch.ts";
import { noteUnjournaled, noteTenureEnd } from "./tenure-end.ts";

// The life of a primary: its start, which is also its recovery; standing still; draining; and learning that somebody
// else has become primary.

/** Begins a new incarnation (decision 5) on whatever the last one left. */
export function startPrimary(primary: Primary, out: PrimaryEffect[]): void {
  const { record } = primary;
  record.role = "primary";
  record.image = "synchronized";
  record.incarnation += 1;
  record.cleanStop = false;
  record.toldOfFracture = undefined;
  noteUnjournaled(primary);
  // Whoever has been primary has held a whole image.
  const generation = generationCounter(record.history);
  record.syncedAt ??= { lsn: primary.nextLsn - 1, generation };
  // A copy that takes sets goes on behind what it has: the journal has the rest, unless a power cut took some of it.
  const isFollowing = (member: Member): boolean =>
    (primary.isJournalWhole && isInJournal(member)) || keepsLog(member);
  const toResolve = primary.members.filter(
    (member) => member.record.phase !== "blank" && !isFollowing(member),
  );
  // A first sync that was interrupted goes on from its dirty map, which must mark these granules too.
  const toMark = primary.members.filter(
    (member) => toResolve.includes(member) || member.dirty !== undefined,
  );
  for (const volume of primary.volumes) {
    primary.openGranules += volume.open.size;
    if (volume.open.size === 0) continue;
    for (const member of toMark) {
      orOpenInto(mapOf(primary, member, volume.index, out), volume);
      if (member.record.phase === "synchronized") member.record.phase = "dirty";
    }
    if (toResolve.length > 0) volume.unresolved = copyOf(volume.openMap);
  }
  primary.contactDeadlineMs = primary.nowMs + contactMs(primary);
  handoverOnRecord(primary);
  reserve(primary, out);
  askRecord(primary, { kind: "started" }, out);
}

function contactMs(primary: Primary): number {
  return Math.max(0, ...primary.members.map((member) => member.policy.timeoutMs));
}

/**
 * Serves once every member was reached or is known to be down: one of them may have been promoted while we were away.
 */
export function maybeServe(primary: Primary, out: PrimaryEffect[]): void {
  if (primary.stage !== "starting" && !primary.suspended) return;
  if (primary.lsnReserved === 0) return; // The start itself is not on record yet.
  if (primary.handover !== undefined && isOffered(primary)) {
    primary.why = whyWaiting(primary.handover.to);
    return;
  }
  const late = primary.nowMs >= primary.contactDeadlineMs;
  for (const member of primary.members) {
    if (member.contact !== "unknown") continue;
    if (!late) return;
    member.contact = "down";
  }
  const wasSuspended = primary.suspended;
  primary.suspended = false;
  primary.why = "";
  for (const member of primary.members) goOnAfterSuspension(primary, member, out);
  releaseReplies(primary, out);
  if (primary.stage === "starting") primary.stage = "serving";
  if (!wasSuspended) out.push({ kind: "served" });
  primary.recheckResolved = true;
  primary.recheckHeld = true;
}

// We are still the primary: what a member was lost with is now acked alone, once that is on record.
function goOnAfterSuspension(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const requests = member.lostWhileSuspended.splice(0);
  const rounds = member.roundsWhileSuspended.splice(0);
  if (requests.length > 0 || (keepsLog(member) && rounds.length > 0))
    fracture(primary, member, true, out);
  goOnOnceRecorded(primary, member, { requests, rounds }, out);
}

// Whether we still are the primary will not be known: what a member was lost with may not be acked alone.
function refuseAfterSuspension(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const requests = member.lostWhileSuspended.splice(0);
  const rounds = member.roundsWhileSuspended.splice(0);
  failWaiting(primary, { requests, rounds }, "gone", out);
}

/** See `Primary.suspended`. Requests are held, reads too, and so are the replies that are due. */
export function suspend(
  primary: Primary,
  standstill: { readonly why: string; readonly nowMs: number },
  out: PrimaryEffect[],
): void {
  const { why, nowMs } = standstill;
  handoverStoodStill(primary, why, out);
  if (primary.stage !== "serving" || primary.members.length === 0) return;
  // The machine's own time is that of the last tick before the standstill: all waiting begins now.
  primary.nowMs = nowMs;
  primary.awakeSinceMs = nowMs;
  primary.suspended = true;
  primary.stage = "starting";
  primary.why = why;
  primary.contactDeadlineMs = primary.nowMs + contactMs(primary);
  for (const member of primary.members) {
    member.contact = "unknown";
    member.sendMarks.length = 0;
  }
  out.push({ kind: "event", event: { kind: "suspended", why } });
}

// ---------------------------------------------------------------------------------------- draining

/** Takes no more requests, ends those under way, syncs everything everywhere, then records what follows. */
export function beginDrain(primary: Primary, next: "demote" | "stop", out: PrimaryEffect[]): void {
  if (primary.stage === "ended" || primary.drain !== undefined) return;
  const why = next === "demote" ? "it is being demoted" : "this site is stopping";
  leaveHandover(primary, { outcome: "gone", why }, out);
  primary.stage = "draining";
  primary.why = next === "demote" ? "being demoted" : "stopping";
  primary.drain = { next, phase: "requests" };
  refuseReplies(primary, out);
  primary.suspended = false;
  for (const member of primary.members) refuseAfterSuspension(primary, member, out);
  for (const request of primary.held.splice(0)) reply(primary, request, "gone", out);
  for (const member of primary.members) {
    if (!mustHave(member) || isFed(member)) continue;
    const [requests, rounds] = [member.resend.splice(0), member.flushWaits.splice(0)];
    failWaiting(primary, { requests, rounds }, "gone", out);
  }
}

/** Called after every step while draining. */
export function checkDrained(primary: Primary, out: PrimaryEffect[]): void {
  const { drain: draining } = primary;
  if (draining === undefined || primary.stage === "ended") return;
  if (draining.phase === "requests" && primary.inFlight === 0 && primary.writing.size === 0) {
    draining.phase = "sets";
  }
  if (draining.phase === "sets" && areSetsHandedOver(primary, draining.next, out)) {
    draining.phase = "sync";
    for (const member of primary.members) {
      // Who does not take part in the last rounds is dirty wherever something is open.
      if (member.stage !== "synchronized") settleAbsent(primary, member, out);
    }
    for (const volume of primary.volumes) {
      if (volume.state === "ok") wantRound(primary, volume, out);
    }
  }
  if (draining.phase === "sync" && areVolumesSynced(primary, draining.next)) {
    draining.phase = "record";
    // What absent members lack must be durable in their dirty maps before the open map forgets it (I16).
    if (primary.members.every((member) => member.dirty === undefined)) endDrain(primary, out);
    else askRecord(primary, { kind: "drained" }, out);
  }
}

// Who stops goes on from his journal when he is back. Who gives the role up has his devices only: they must have it all.
function areVolumesSynced(primary: Primary, next: "demote" | "stop"): boolean {
  const isRunning = primary.volumes.some((volume) => volume.flush.running !== undefined);
  return !isRunning && (next === "stop" || areDevicesCovered(primary));
}

/** Nothing is under way, and whatever anybody lacks is on record. */
export function endDrain(primary: Primary, out: PrimaryEffect[]): void {
  const { drain } = primary;
  if (drain === undefined) return;
  for (const volume of primary.volumes) {
    // What was not resolved since the start (U24) stays open, for whoever is primary here next.
    if (volume.device !== undefined && !isCovered(volume)) continue;
    if (volume.state === "ok" && volume.unresolved === undefined)
      closeGranules(primary, volume, primary.nextLsn, out);
  }
  endOnRecord(primary, drain.next, out);
}

// Who hands over loses nothing by it: copies that are fed with sets get the last of them first. One that is stopped goes
// on from its journal when it is back.
function areSetsHandedOver(
  primary: Primary,
  next: "demote" | "stop",
  out: PrimaryEffect[],
): boolean {
  const { journal } = primary;
  if (journal === undefined || next === "stop") return true;
  if (journal.count > 0 || journal.sealedLsn < primary.nextLsn - 1) {
    seal(primary, journal, out);
    appendGathered(primary, out);
  }
  return primary.members.every((member) => {
    const isWaitedFor = takesSets(member) && member.stage === "synchronized";
    return !isWaitedFor || member.sets.completeLsn >= primary.nextLsn - 1;
  });
}

function settleAbsent(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (member.stage !== "none") {
    out.push({ kind: "closeSession", member: member.index, why: "the primary is stopping" });
    loseMember(primary, member, "the primary is stopping", out);
  }
  for (const round of member.flushWaits.splice(0)) roundLegDone(primary, round, out);
  fracture(primary, member, member.record.alone, out);
}

function endOnRecord(primary: Primary, next: "demote" | "stop", out: PrimaryEffect[]): void {
  const { record } = primary;
  record.cleanStop = primary.volumes.every((volume) => volume.state === "ok");
  record.lsnReserved = primary.nextLsn;
  if (next === "demote") {
    record.role = "demoted";
    record.image = "consistent";
    delete record.handover;
    noteTenureEnd(primary);
    askRecord(primary, { kind: "demoted", why: "demoted by an operator" }, out);
  } else {
    askRecord(primary, { kind: "stopped" }, out);
  }
}

// ----------------------------------------------------------------------------------------- the end

/**
 * A member has answered with a higher generation: a refusal, not a loss (decision 6). Nothing is acked any more,
 * whatever `onLoss` says, and this site goes on as a demoted one.
 */
export function outranked(
  primary: Primary,
  { by, successor }: { readonly by: string; readonly successor?: string },
  out: PrimaryEffect[],
): void {
  if (primary.stage === "ended") return;
  const why = `${by}; this site is not the primary any more`;
  const isTaken = successor !== undefined && successor === primary.handover?.to;
  leaveHandover(primary, { outcome: isTaken ? "taken" : "gone", why }, out);
  // Whatever still waits here was held, and never begun.
  if (isTaken) primary.outcomeAtEnd = "moved";
  endNow(primary, why, out);
  delete primary.record.handover;
  primary.record.role = "demoted";
  noteTenureEnd(primary);
  // What a device lacks the journal alone has, which ends with the role: all of it is open, and compared.
  primary.record.image = areDevicesCovered(primary) ? "consistent" : "synchronizing";
  // Somebody else has gone on: this image is of the past, and must not be promoted as if it were current.
  primary.record.toldOfFracture = { lsn: primary.nextLsn - 1, why: by };
  askRecord(primary, { kind: "demoted", why }, out);
}

/**
 * This disk is new, and another site has held the group before: what the file calls the first primary has lost its disk. It
 * becomes a copy with nothing on it, which nobody fills before an operator says so (row 53).
 */
export function foundBlank(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const why = `the disk here is blank, and ${member.site} has held the group before`;
  endNow(primary, why, out);
  const { record } = primary;
  record.role = "secondary";
  record.history = [];
  record.image = "out-of-sync";
  record.syncedAt = undefined;
  record.members = {};
  askRecord(primary, { kind: "demoted", why }, out);
}

/** Our own metadata cannot be made durable: nothing may be acked any more (PROOF §2.5). */
export function storeFailed(primary: Primary, what: string, out: PrimaryEffect[]): void {
  // The record of an end that is under way could not be made: that end does not come, and this one does.
  if (primary.stage === "ended")
    return tellEnd(primary, { kind: "ended", how: "failed", why: what }, out);
  endNow(primary, what, out);
  if (primary.journal !== undefined) {
    // The kernel may drop what it could not write, though it is up: the next start takes the journal as after a power cut.
    primary.record.bootId = "";
    askRecord(primary, { kind: "none" }, out);
  }
  tellEnd(primary, { kind: "ended", how: "failed", why: what }, out);
}

function endNow(primary: Primary, why: string, out: PrimaryEffect[]): void {
  primary.stage = "ended";
  primary.why = why;
  primary.drain = undefined;
  leaveHandover(primary, { outcome: "gone", why }, out);
  out.push({ kind: "dropExports" });
  refuseReplies(primary, out);
  primary.suspended = false;
  for (const request of everyRequest(primary)) reply(primary, request, primary.outcomeAtEnd, out);
  primary.gathering = undefined;
  primary.opening = undefined;
  for (const member of primary.members) {
    if (member.stage !== "none") {
      out.push({ kind: "closeSession", member: member.index, why });
      member.stage = "none";
    }
  }
}

/**
 * An image write that was under way when the primary ended. Its host is answered only now: before, it could have put
 * other bytes into the memory that was being written.
 */
export function lateImageDone(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  if (!primary.writing.delete(request)) return;
  reply(primary, request, "gone", out);
  if (primary.writing.size === 0 && primary.endsAs !== undefined)
    tellEnd(primary, primary.endsAs, out);
}

// Wherever a request may wait, once each, but for the image writes under way (`lateImageDone`).
function everyRequest(primary: Primary): Set<HostRequest> {
  const all = new Set<HostRequest>();
  const addAll = (requests: readonly HostRequest[]): void => {
    for (const request of requests) all.add(request);
  };
  addAll(primary.held.splice(0));
  if (primary.journal !== undefined) addAll(takeStanding(primary.journal));
  addAll(primary.gathering?.requests ?? []);
  addAll(primary.opening?.requests ?? []);
  for (const volume of primary.volumes) {
    addAll(volume.flush.waiting.splice(0));
    addAll(volume.flush.running?.requests ?? []);
  }
  for (const member of primary.members) {
    addAll(member.resend.splice(0));
    addAll(member.lostWhileSuspended.splice(0));
    addAll(member.fracturing?.requests ?? []);
    const { items, head, count } = member.outstanding;
    for (let i = 0; i < count; i += 1) {
      const item = items[(head + i) & (items.length - 1)];
      if (item?.kind === "write" || item?.kind === "zero") all.add(item);
    }
  }
  for (const { action } of primary.recordActions)
    if (action.kind === "failWrite") all.add(action.request);
  for (const request of primary.writing) all.delete(request);
  return all;
}

type LifeAction = Extract<RecordAction, { kind: "reserved" | "started" | "demoted" | "stopped" }>;

/** A record that a turn of this life waited for is durable. */
export function lifeEvent(primary: Primary, action: LifeAction, out: PrimaryEffect[]): void {
  switch (action.kind) {
    case "reserved":
      return reserved(primary, action.through, out);
    case "started":
      // Where everybody was heard of before, it serves since its reserve came on record.
      if (primary.stage === "starting")
        primary.why = "asking the copies whether one of them was promoted";
      return maybeServe(primary, out);
    case "demoted":
    case "stopped":
      if (primary.stage !== "ended") {
        primary.stage = "ended";
        out.push({ kind: "dropExports" });
      }
      return end(
        primary,
        {
          kind: "ended",
          how: action.kind,
          why: action.kind === "demoted" ? action.why : "stopped",
        },
        out,
      );
  }
}

// With the first of them the start is on record: hosts and members may come before anything else does. Whatever they bring
// must find sets of ours, and none that the last incarnation left open.
function reserved(primary: Primary, through: number, out: PrimaryEffect[]): void {
  const isFirst = primary.lsnReserved === 0;
  primary.lsnReserved = through;
  primary.recheckHeld = true;
  if (isFirst) sealLeftOpen(primary, out);
  else sealWaiting(primary, out);
}

// The next role must not find writes of this one under way in the image.
function end(primary: Primary, effect: EndedEffect, out: PrimaryEffect[]): void {
  if (primary.writing.size === 0) tellEnd(primary, effect, out);
  else primary.endsAs ??= effect;
}

// Once: whoever is outranked while his own demotion is being recorded has two records to wait for.
function tellEnd(primary: Primary, effect: EndedEffect, out: PrimaryEffect[]): void {
  primary.endsAs = undefined;
  if (primary.isOver) return;
  primary.isOver = true;
  out.push(effect);
}
