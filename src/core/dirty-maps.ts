import type { HostRequest } from "#ports/host-request.ts";
import { roundLegDone } from "./flush.ts";
import { legDone } from "./legs.ts";
import { awaitLossRecord, noteAlone, noteLostLog } from "./loss-record.ts";
import { mapOf } from "./member-maps.ts";
import { isInJournal, keepsLog } from "./member-state.ts";
import { orOpenInto } from "./open-map.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { FlushRound, Member, Primary } from "./primary-state.ts";
import { markBytes } from "./region-map.ts";

// The fracture log: what a member lacks, by regions, from the moment it is lost until a resync has brought everything
// over.

/**
 * Puts on record that we go on without a member: everything open is dirty towards it. `alone` is recorded from the
 * first write that is acked without it; decision 9 rests on it.
 */
export function fracture(
  primary: Primary,
  member: Member,
  alone: boolean,
  out: PrimaryEffect[],
): void {
  if (isInJournal(member)) {
    if (!alone || member.record.alone) return;
    noteAlone(primary, member);
    return awaitLossRecord(primary, member, out);
  }
  if (keepsLog(member)) {
    if (!alone) return;
    // On record already or not: what waits for the member goes on when this record is durable.
    noteLostLog(primary, member);
    return awaitLossRecord(primary, member, out);
  }
  for (const volume of primary.volumes) {
    if (volume.open.size > 0) orOpenInto(mapOf(primary, member, volume.index, out), volume);
  }
  if (member.dirty === undefined && !alone) return;
  if (member.record.phase === "synchronized") member.record.phase = "dirty";
  if (alone) noteAlone(primary, member);
  awaitLossRecord(primary, member, out);
}

/**
 * A member that took sets lacks something that the journal has not, or soon will not have: it is dirty from now on, wherever
 * anything is open. Its maps are there also when nothing is, so that it is not fed from the journal as if it lacked nothing.
 */
export function leaveJournal(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  for (const volume of primary.volumes) {
    orOpenInto(mapOf(primary, member, volume.index, out), volume);
  }
  member.record.phase = "dirty";
}

/** What waited for a member goes on without it once its loss is on record; rounds at once where nothing has to be. */
export function goOnOnceRecorded(
  primary: Primary,
  { fracturing }: Member,
  waiting: { readonly requests: readonly HostRequest[]; readonly rounds: readonly FlushRound[] },
  out: PrimaryEffect[],
): void {
  if (fracturing !== undefined) {
    fracturing.requests.push(...waiting.requests);
    fracturing.rounds.push(...waiting.rounds);
    return;
  }
  for (const round of waiting.rounds) roundLegDone(primary, round, out);
}

/** The loss is on record: what waited for the member no longer does. */
export function fractured(
  primary: Primary,
  member: Member,
  ticket: number,
  out: PrimaryEffect[],
): void {
  const waiting = member.fracturing;
  if (waiting === undefined || waiting.ticket !== ticket) return;
  member.fracturing = undefined;
  for (const request of waiting.requests) legDone(primary, request, out);
  for (const round of waiting.rounds) roundLegDone(primary, round, out);
  primary.recheckResolved = true;
}

/** A write is about to go on without this member: mark what it misses, and see that the record allows the ack. */
export function markAbsent(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  const map = mapOf(primary, member, request.volume, out);
  if (markBytes(map, request.offset, request.length) > 0) {
    out.push({ kind: "writeDirtyMaps", member: member.index });
  }
  recordAlone(primary, member, request, out);
}

/**
 * This write will be acked without the member: the first such ack waits until that is on record, since decision 9 rests on
 * it. A member that never had a whole image is no candidate for a promotion, and needs none.
 */
export function recordAlone(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  const { record } = member;
  if (record.phase === "blank") return;
  if (!record.alone || record.phase === "synchronized") {
    noteAlone(primary, member);
    record.phase = "dirty";
    awaitLossRecord(primary, member, out);
  }
  if (member.fracturing !== undefined) {
    request.legs += 1;
    member.fracturing.requests.push(request);
  }
}

/** The same for a copy whose every missing write is in the journal: nothing is dirty, but the host is answered without it. */
export function recordBuffering(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  if (!member.record.alone) {
    noteAlone(primary, member);
    awaitLossRecord(primary, member, out);
  }
  if (member.fracturing === undefined) return;
  request.legs += 1;
  member.fracturing.requests.push(request);
}
