import { limits } from "#base/limits.ts";
import { awaitsResume, isInJournal, mayFeed } from "./member-state.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { lacksRelay } from "./relay.ts";

/** A write unanswered for `ackTimeout` loses the member with reason `slow`, though its probes answer. */
export function checkSlow(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { sendMarks } = member;
  if (member.stage === "none") {
    sendMarks.length = 0;
    return;
  }
  if (member.sequence > member.ackedSequence) {
    sendMarks.push({ atMs: primary.nowMs, sequence: member.sequence });
  }
  while ((sendMarks[0]?.sequence ?? Number.POSITIVE_INFINITY) <= member.ackedSequence) {
    sendMarks.shift();
  }
  const sinceMs = Math.max(oldestQuestionMs(primary, member), primary.awakeSinceMs);
  if (primary.nowMs - sinceMs < member.policy.ackTimeoutMs) return;
  member.slowProbes = limits.quickProbesMin;
  sendMarks.length = 0;
  out.push({
    kind: "closeSession",
    member: member.index,
    why: `slow: nothing answered for ${member.policy.ackTimeoutMs} ms`,
  });
}

// Since when the member owes us an answer: to a write or region, to a flush, or its next word of a handshake.
function oldestQuestionMs(primary: Primary, member: Member): number {
  let oldestMs = member.sendMarks[0]?.atMs ?? primary.nowMs;
  for (const flush of member.flushes.values()) {
    oldestMs = Math.min(oldestMs, flush.atMs);
    break; // A map keeps the order of insertion: the first is the oldest.
  }
  // Over a narrow link a window of regions takes its time: while ACKs come, no host waits for this member, and it is not lost.
  if (member.stage === "resync") return Math.max(oldestMs, member.progressMs);
  const isAsked = member.stage === "opening" || member.stage === "joining";
  return isAsked ? Math.min(oldestMs, member.stageAtMs) : oldestMs;
}

/** A probe of ours was answered by the member's site. */
export function noteProbe(primary: Primary, member: Member, roundTripMs: number): void {
  if (member.slowProbes > 0) {
    member.slowProbes =
      roundTripMs < member.policy.ackTimeoutMs / 2 ? member.slowProbes - 1 : limits.quickProbesMin;
  }
  // The answer to a question from before the standstill says nothing of what happened meanwhile.
  if (primary.suspended && roundTripMs < member.policy.timeoutMs) member.contact = "reached";
}

/** Whether the site may dial this member for a session now. */
export function mayConnect(primary: Primary, member: Member): boolean {
  const { record } = member;
  if (member.isTurning) return false;
  if (primary.stage === "ended" || primary.drain !== undefined || member.stage !== "none")
    return false;
  // Only its word tells who has the role.
  if (primary.handover?.phase === "offered" && primary.handover.member === member.index)
    return true;
  if (record.paused || record.splitBrain || member.slowProbes > 0) return false;
  if (record.stoppedWhy !== "" && !record.fullConfirmed) return false;
  if (!mayFeed(primary, member)) return false;
  // Before hosts are served everybody is asked who has the role, a copy whose relay is away too. So is one of which nobody
  // knows how far it is: what a full log may cost it rests on that (`isRelayAlone`).
  const isAsked = primary.stage === "starting" || (isInJournal(member) && !member.sets.isTold);
  if (!isAsked && lacksRelay(primary, member)) return false;
  return !awaitsResume(member);
}
