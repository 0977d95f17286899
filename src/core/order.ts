import { assert, must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isNoRoom } from "#ports/file.ts";
import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import { fracture, markAbsent, recordAlone, recordBuffering } from "./dirty-maps.ts";
import { doubtVolume, failVolume, isMapCrowded, joinFlush, wantRound } from "./flush.ts";
import type { HeldUp } from "./held-up.ts";
import { isSetFull, journalWrite, sealAtFlush } from "./journal.ts";
import { journalRoom, noRoom } from "./journal-room.ts";
import { noteFull } from "./journal-spell.ts";
import { legDone } from "./legs.ts";
import { mapOf } from "./member-maps.ts";
import { isFed, isInJournal, keepsLog, mustHave, takesSets, waitsFor } from "./member-state.ts";
import { deliverRecord, isBehindBound } from "./log-members.ts";
import { sendWrite } from "./members.ts";
import { isUnresolved, openFor, roomToOpen, touch } from "./open-map.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary, Volume } from "./primary-state.ts";
import { overlaps } from "./ranges.ts";
import { askRecord } from "./records.ts";
import { noteRefused } from "./refused.ts";
import { reserve } from "./reserves.ts";
import { allMarked, markBytes, unitOf } from "./region-map.ts";
import { reply } from "./replies.ts";
import { wantRegions } from "./resync.ts";
import { heldUpByStrict, strictVerdict } from "./strict.ts";
import { noteStale } from "./verify.ts";

// The way of a host's request through the primary: admitted, its granules open, its LSN, the image, the members, the
// reply. Reading this file from top to bottom is reading a write's way in time.

/** A request has come from a host. It is answered exactly once, now or later. */
export function arrive(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  primary.inFlight += 1;
  admit(primary, request, out);
}

function admit(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  const volume = primary.volumes[request.volume];
  assert(volume !== undefined, "a front has let a request to an unknown volume through");
  if (primary.stage === "ended" || primary.stage === "draining")
    return reply(primary, request, primary.outcomeAtEnd, out);
  if (volume.state === "failed") return reply(primary, request, "io", out);
  if (primary.stage === "starting" || primary.stage === "handing") return hold(primary, request);
  switch (request.kind) {
    case "read":
      return admitRead(primary, volume, request, out);
    case "flush":
      return admitFlush(primary, request, out);
    default:
      return admitWrite(primary, volume, request, out);
  }
}

function admitRead(
  primary: Primary,
  volume: Volume,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  if (isUnresolved(volume, request.offset, request.length)) {
    wantRegions(primary, volume, request);
    return hold(primary, request);
  }
  // A read changes nothing, so nothing waits for it: the image answers the host by itself.
  primary.inFlight -= 1;
  out.push({ kind: "read", request });
}

function admitFlush(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  const verdict = strictVerdict(primary);
  if (verdict === "fail") return reply(primary, request, "io", out);
  if (verdict === "wait") return hold(primary, request);
  sealAtFlush(primary, out);
  joinFlush(primary, request, out);
}

function admitWrite(
  primary: Primary,
  volume: Volume,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  const verdict = strictVerdict(primary);
  if (verdict === "fail") return reply(primary, request, "io", out);
  if (verdict === "wait") return hold(primary, request);
  if (isUnresolved(volume, request.offset, request.length)) {
    wantRegions(primary, volume, request);
    return hold(primary, request);
  }
  if (isLocked(primary, request) || isCongested(primary) || !roomToOpen(primary, request)) {
    return hold(primary, request);
  }
  const room = journalRoom(primary);
  if (room !== "go") noteFull(primary, room, out);
  if (room === "wait") return hold(primary, request);
  if (room === "fail") return reply(primary, request, "full", out);
  if (openFor(primary, request, out)) issue(primary, volume, request, out);
}

/** What hosts of a primary that serves have to wait for before it takes their writes again; what is read needs none of it. */
export function writesHeldUp(primary: Primary): HeldUp | undefined {
  return noRoom(primary) ?? heldUpByStrict(primary);
}

function isLocked(primary: Primary, request: HostRequest): boolean {
  for (const lock of primary.locks) if (overlaps(lock, request)) return true;
  return false;
}

function isCongested(primary: Primary): boolean {
  for (const member of primary.members) {
    if (member.outstandingBytes > limits.sessionOutstandingBytesMax) return true;
    if (isBehindBound(member)) return true;
  }
  const { journal } = primary;
  if (journal !== undefined && isSetFull(journal)) return true;
  // LSNs beyond the reserve must not be used: they could be given out again after a crash (trap 5).
  return primary.nextLsn >= primary.lsnReserved;
}

function hold(primary: Primary, request: HostRequest): void {
  primary.held.push(request);
}

/** Something that requests may wait for has changed. */
export function readmitHeld(primary: Primary, out: PrimaryEffect[]): void {
  primary.recheckHeld = false;
  if (primary.held.length === 0 || primary.stage === "starting" || primary.stage === "handing")
    return;
  const waiting = primary.held;
  primary.held = [];
  // Who still waits says again what for.
  for (const member of primary.members) member.resync.wanted.length = 0;
  for (const request of waiting) admit(primary, request, out);
}

/** A batch of granules is durable: the requests that waited for it go on. */
export function readmit(
  primary: Primary,
  requests: readonly HostRequest[],
  out: PrimaryEffect[],
): void {
  for (const request of requests) admit(primary, request, out);
}

// The write has its granules open: it gets its place in the order (decision 25) and goes to the image.
function issue(primary: Primary, volume: Volume, request: HostRequest, out: PrimaryEffect[]): void {
  const lsn = primary.nextLsn;
  primary.nextLsn = lsn + 1;
  if (primary.nextLsn + limits.lsnReserveMargin === primary.lsnReserved) reserve(primary, out);
  request.lsn = lsn;
  request.legs = 1;
  volume.lastLsn = lsn;
  volume.lastWriteMs = primary.nowMs;
  touch(primary, request);
  if (primary.checks.size > 0) noteStale(primary, request);
  primary.writing.add(request);
  // The members first: what is on the wire travels while the image is written. LSN order is wire order.
  for (const member of primary.members) deliver(primary, member, request, out);
  // With a journal, the image comes behind it: what the image has, the journal has.
  if (primary.journal === undefined) out.push({ kind: "image", request });
  else journalWrite(primary, primary.journal, request, out);
}

function deliver(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  if (takesSets(member)) return deliverSet(primary, member, request, out);
  if (keepsLog(member)) return deliverRecord(primary, member, request, out);
  if (!isFed(member)) {
    assert(!mustHave(member), "a write was admitted although a strict member is away");
    return markAbsent(primary, member, request, out);
  }
  if (waitsFor(member)) {
    request.legs += 1;
  } else {
    recordAlone(primary, member, request, out);
    // A region that the copier has not read yet goes over later as a whole, this write included (trap 3).
    if (isPending(member, request)) return;
  }
  sendWrite(member, request, out);
}

// A copy that takes sets is fed from the journal. While it is not fed, the host is answered without it, which goes on record
// first (decision 9); what it lacks stands in the journal, or in its dirty map.
function deliverSet(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  if (isFed(member)) return;
  if (member.record.phase === "synchronized") recordBuffering(primary, member, request, out);
  else markAbsent(primary, member, request, out);
}

function isPending(member: Member, request: HostRequest): boolean {
  const map = member.resync.pending?.[request.volume];
  if (map === undefined) return false;
  return allMarked(
    map,
    unitOf(map, request.offset),
    unitOf(map, request.offset + request.length - 1),
  );
}

/** The image write has answered. */
export function imageDone(
  primary: Primary,
  request: HostRequest,
  failure: IoFailure | undefined,
  out: PrimaryEffect[],
): void {
  const volume = primary.volumes[request.volume];
  assert(volume !== undefined, "an image write of an unknown volume was answered");
  primary.writing.delete(request);
  volume.completions += 1;
  if (failure === undefined) legDone(primary, request, out);
  else imageFailed(primary, request, failure, out);
}

/** F15: the host gets an error, and what the image now holds is unknown: dirty towards every member, durably, first. */
function imageFailed(
  primary: Primary,
  request: HostRequest,
  failure: IoFailure,
  out: PrimaryEffect[],
): void {
  const volume = must(
    primary.volumes[request.volume],
    "an image write of an unknown volume failed",
  );
  request.failure = outcomeOf(failure);
  for (const member of primary.members) {
    // The journal has the write, and so has whoever is fed from it. A full disk fails this write alone, and no repair follows.
    if (keepsLog(member) || (request.failure === "io" && isInJournal(member))) continue;
    markBytes(mapOf(primary, member, volume.index, out), request.offset, request.length);
    if (member.record.phase === "synchronized") member.record.phase = "dirty";
    if (isFed(member)) {
      out.push({
        kind: "closeSession",
        member: member.index,
        why: `a write to ${volume.name} failed here: ${failure.message}`,
      });
    } else {
      fracture(primary, member, member.record.alone, out);
    }
  }
  if (request.failure === "io") {
    failVolume(primary, volume, failure.message, out);
    doubtVolume(primary, volume, out);
  } else if (primary.journal !== undefined) {
    noteRefused(volume, request.lsn);
    wantRound(primary, volume, out);
  }
  askRecord(primary, { kind: "failWrite", request }, out);
}

/** A full disk fails the one write; anything else fails the volume (DESIGN §5, row 41). */
function outcomeOf(failure: IoFailure): HostOutcome {
  return isNoRoom(failure) ? "full" : "io";
}

/** So many granules are open that rounds are to close some. */
export function relieve(primary: Primary, out: PrimaryEffect[]): void {
  if (!isMapCrowded(primary)) return;
  for (const volume of primary.volumes) {
    if (volume.flush.running === undefined && volume.open.size > 0) {
      wantRound(primary, volume, out);
    }
  }
}
