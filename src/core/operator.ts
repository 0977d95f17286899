import { fracture, goOnOnceRecorded } from "./dirty-maps.ts";
import { markAll } from "./member-maps.ts";
import { keepsLog, noteState } from "./member-state.ts";
import { loseMember } from "./members.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { askRecord } from "./records.ts";

// What an operator may ask of a running primary about one member. Each is on record before it is reported done.

/** Why a copy is left alone whose resyncs a full journal has ended over and over; the operator may have mended that. */
export const linkTooSlow =
  "link slower than writes: three resyncs in a row were ended by a full journal";

/** Stops feeding a member: an operator's fracture. The member is told, so that it never takes itself for current. */
export function pauseMember(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (member.record.paused) return;
  member.record.paused = true;
  member.resumed = false;
  if (member.stage !== "none") {
    const why = "paused by an operator";
    out.push({ kind: "sendFractured", member: member.index, lsn: primary.nextLsn - 1, why });
    out.push({ kind: "closeSession", member: member.index, why });
    loseMember(primary, member, why, out);
  }
  goOnWithout(primary, member, out);
  askRecord(primary, { kind: "none" }, out);
  noteState(member, "by an operator", out);
  primary.recheckHeld = true;
}

/** What waited for a strict member goes on without it, since the operator has taken it out; that is an ack alone. */
export function goOnWithout(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const requests = member.resend.splice(0);
  const rounds = member.flushWaits.splice(0);
  const isMissed = requests.length > 0 || (keepsLog(member) && rounds.length > 0);
  fracture(primary, member, member.record.alone || isMissed, out);
  goOnOnceRecorded(primary, member, { requests, rounds }, out);
}

export function resumeMember(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { record } = member;
  member.resumed = true;
  member.slowProbes = 0;
  const isGivenUp = record.stoppedWhy === linkTooSlow;
  if (!record.paused && !isGivenUp) return;
  record.paused = false;
  if (isGivenUp) record.stoppedWhy = "";
  askRecord(primary, { kind: "none" }, out);
  noteState(member, "resumed by an operator", out);
}

/** Doubts everything: all regions are compared, and a disk that we do not know may be filled. */
export function resyncMemberFull(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  member.record.fullConfirmed = true;
  member.record.stoppedWhy = "";
  member.record.splitBrain = false;
  member.record.syncedLsn = 0;
  member.resumed = true;
  if (!keepsLog(member)) markAll(primary, member, out);
  if (member.record.phase === "synchronized") member.record.phase = "dirty";
  askRecord(primary, { kind: "none" }, out);
  if (member.stage !== "none") {
    out.push({ kind: "closeSession", member: member.index, why: "full resync asked for" });
  }
}
