import { limits } from "#base/limits.ts";
import { areDevicesCovered } from "./device-volume.ts";
import { wantRound } from "./flush.ts";
import { compareHistories } from "./history.ts";
import { appendGathered, seal } from "./journal.ts";
import { takesSets } from "./member-state.ts";
import type { HandoverEnd, MemberHello, PrimaryEffect } from "./primary-events.ts";
import { memberOf } from "./primary-state.ts";
import type { Handover, Member, Primary } from "./primary-state.ts";
import { askRecord } from "./records.ts";

// A planned change of role, driven by the primary: it loses nothing, or it changes nothing (INTERFACE, `switchover`).
//
// | phase    | hosts  | what happens                                 | a kill or a cut link now                  |
// |----------|--------|----------------------------------------------|-------------------------------------------|
// | approach | served | a copy that takes sets comes close           | nothing has changed                       |
// | requests | wait   | those admitted end, new ones are held        | nothing has changed                       |
// | sets     | wait   | the last set is sealed, and complete there   | nothing has changed                       |
// | sync     | wait   | a flush round of every volume                | nothing has changed                       |
// | record   | wait   | it goes on record to whom the role goes      | as `offered`                              |
// | offered  | wait   | the offer goes out; the successor takes it   | nobody serves before the successor speaks |
// | back     | wait   | the record forgets it; then hosts are served | as `offered`                              |
//
// The one durable step that changes who is the primary is the successor's record of its generation. From `offered` on this
// site serves nobody, also after a restart, until the successor has said which it was: it holds a higher generation (then this
// site is demoted), it has refused the offer, or it lets in a new session of ours. That proves that it is no primary, and
// never will be by this offer: an offer names the session in which it was made, and a new session ends the old
// (site/switchover.ts). Up to the deadline the role is kept by itself; later only the successor, or force, can give it back.

/** Begins to hand the role to a member, which has to have everything by the deadline. */
export function beginHandover(
  primary: Primary,
  asked: { readonly to: number; readonly timeoutMs: number },
  out: PrimaryEffect[],
): void {
  const member = memberOf(primary, asked.to);
  if (member === undefined || primary.stage !== "serving" || primary.handover !== undefined) {
    const why = "it does not serve hosts now";
    out.push({ kind: "handoverEnded", outcome: "kept", why });
    return;
  }
  primary.handover = {
    member: member.index,
    to: member.site,
    timeoutMs: asked.timeoutMs,
    deadlineMs: primary.nowMs + asked.timeoutMs,
    phase: "approach",
    ticket: 0,
    whyKept: "",
    stoodStill: false,
  };
  out.push({
    kind: "event",
    event: { kind: "switchover", copy: member.site, to: "begun", why: "asked by an operator" },
  });
}

/** What a start finds on record: an earlier process had made, or was about to make, an offer. */
export function handoverOnRecord(primary: Primary): void {
  const { handover } = primary.record;
  if (handover === undefined) return;
  const member = primary.members.find(({ site }) => site === handover.to);
  primary.handover = {
    member: member?.index ?? -1,
    to: handover.to,
    timeoutMs: 0,
    deadlineMs: Number.NEGATIVE_INFINITY,
    phase: "offered",
    ticket: 0,
    whyKept: "",
    stoodStill: false,
  };
}

/** Nobody may be served here before the successor has said whether it took the role. */
export function isOffered(primary: Primary): boolean {
  const phase = primary.handover?.phase;
  return phase === "offered" || phase === "back";
}

function isRevocable({ phase }: Handover): boolean {
  return phase === "approach" || phase === "requests" || phase === "sets" || phase === "sync";
}

/** Called after every step while the role is being handed over. */
export function checkHandover(primary: Primary, handover: Handover, out: PrimaryEffect[]): void {
  if (primary.stage === "ended" || !isRevocable(handover)) return;
  const member = memberOf(primary, handover.member);
  const why = obstacle(primary, handover, member);
  if (member === undefined || why !== undefined)
    return keepRole(primary, why ?? `${handover.to} is no copy any more`, out);
  if (handover.phase === "approach" && writesBehind(primary, member) <= limits.handoverWritesMax) {
    handover.phase = "requests";
    primary.stage = "handing";
  }
  if (handover.phase === "requests" && hasEndedAll(primary)) handover.phase = "sets";
  if (handover.phase === "sets" && hasEverySet(primary, member, out)) {
    handover.phase = "sync";
    for (const volume of primary.volumes) wantRound(primary, volume, out);
  }
  if (
    handover.phase === "sync" &&
    primary.volumes.every(({ flush }) => flush.running === undefined) &&
    areDevicesCovered(primary)
  ) {
    handover.phase = "record";
    primary.record.handover = { to: handover.to };
    handover.ticket = askRecord(primary, { kind: "handover" }, out);
  }
  primary.why = `being handed over to ${handover.to}: ${waitsFor(primary, handover, member)}`;
}

function obstacle(
  primary: Primary,
  handover: Handover,
  member: Member | undefined,
): string | undefined {
  if (member === undefined) return undefined;
  if (member.stage !== "synchronized")
    return `${member.site} was lost${member.why === "" ? "" : `: ${member.why}`}`;
  const failed = primary.volumes.find(({ state }) => state !== "ok");
  if (failed !== undefined) return `${failed.name} has failed here`;
  if (primary.nowMs < handover.deadlineMs) return undefined;
  const waited = `after ${handover.timeoutMs / 1000} s the group`;
  return `${waited} was still waiting for ${waitsFor(primary, handover, member)}`;
}

function waitsFor(primary: Primary, { phase }: Handover, { site }: Member): string {
  switch (phase) {
    case "approach":
    case "sets":
      return `${site} to complete what it lacks`;
    case "requests":
      return `${primary.inFlight - primary.held.length} requests under way to end`;
    case "sync":
      return areDevicesCovered(primary)
        ? "a last sync of every volume"
        : "the devices to take what the journal has for them";
    case "record":
    case "back":
      return "the record here";
    case "offered":
      return `the word of ${site}`;
  }
}

// The role does not change while a copy has much to catch up: hosts would wait all that time.
function writesBehind(primary: Primary, member: Member): number {
  return takesSets(member) ? primary.nextLsn - 1 - member.sets.completeLsn : 0;
}

// Those that are held were never begun; everything else that was admitted has been answered.
function hasEndedAll(primary: Primary): boolean {
  return primary.inFlight === primary.held.length && primary.writing.size === 0;
}

// Copies other than the successor are not waited for: what they lack is open at the successor too (decision 4).
function hasEverySet(primary: Primary, member: Member, out: PrimaryEffect[]): boolean {
  const { journal } = primary;
  if (journal === undefined) return true;
  if (journal.count > 0 || journal.sealedLsn < primary.nextLsn - 1) {
    seal(primary, journal, out);
    appendGathered(primary, out);
  }
  // What was acked without it once must be off the record too, or it would be taken for a split brain (decision 9).
  return (
    !takesSets(member) || (member.sets.completeLsn >= primary.nextLsn - 1 && !member.record.alone)
  );
}

/** It is on record to whom the role is being handed: from now on only the successor can tell who has it. */
export function offer(primary: Primary, out: PrimaryEffect[]): void {
  const { handover } = primary;
  if (handover?.phase !== "record") return;
  const member = memberOf(primary, handover.member);
  if (member?.stage !== "synchronized")
    return keepRole(primary, `${handover.to} was lost: ${member?.why ?? ""}`, out);
  handover.phase = "offered";
  primary.why = whyWaiting(handover.to);
  const { ticket } = handover;
  out.push({ kind: "offerRole", member: member.index, ticket, lsn: primary.nextLsn - 1 });
}

/** Why nobody is served while the successor has not spoken. */
export function whyWaiting(to: string): string {
  return `the role was offered to ${to}, which has not said whether it took it; hosts wait, and nothing is lost either way`;
}

/** The successor has refused: it is no primary, and did not begin to be one. */
export function offerRefused(
  primary: Primary,
  answer: { readonly ticket: number; readonly why: string },
  out: PrimaryEffect[],
): void {
  const { handover } = primary;
  if (handover?.phase !== "offered" || handover.ticket !== answer.ticket) return;
  keepRole(primary, `${handover.to} refused: ${answer.why}`, out);
}

/** No answer has come, which tells nothing. A new session of ours will (`meetSuccessor`), so the old one ends. */
export function offerUnanswered(
  primary: Primary,
  answer: { readonly ticket: number; readonly why: string },
  out: PrimaryEffect[],
): void {
  const { handover } = primary;
  if (handover?.phase !== "offered" || handover.ticket !== answer.ticket) return;
  handover.whyKept = `${handover.to} did not answer the offer: ${answer.why}`;
  out.push({ kind: "closeSession", member: handover.member, why: handover.whyKept });
}

/** The successor lets in a new session of ours: the offer was not taken, and cannot be any more. */
export function meetSuccessor(
  primary: Primary,
  member: Member,
  hello: MemberHello,
  out: PrimaryEffect[],
): void {
  const { handover } = primary;
  if (handover?.phase !== "offered" || handover.member !== member.index) return;
  // It would hold our tenures and one more.
  if (compareHistories(hello.history, primary.record.history) === "ahead") return;
  keepRole(primary, handover.whyKept || `${handover.to} had not taken the role`, out);
}

/** This site stays the primary. Hosts are served again at once, or when the offer is off the record. */
export function keepRole(primary: Primary, why: string, out: PrimaryEffect[]): void {
  const { handover } = primary;
  if (handover === undefined || handover.phase === "back") return;
  if (isRevocable(handover)) return serveAgain(primary, why, out);
  handover.phase = "back";
  handover.whyKept = why;
  delete primary.record.handover;
  handover.ticket = askRecord(primary, { kind: "keptRole" }, out);
}

/** The offer is off the record. Gives whether this process stood still meanwhile: then it must ask before it serves. */
export function keptRole(primary: Primary, out: PrimaryEffect[]): boolean {
  const { handover } = primary;
  if (handover?.phase !== "back") return false;
  serveAgain(primary, handover.whyKept, out);
  return handover.stoodStill;
}

function serveAgain(primary: Primary, why: string, out: PrimaryEffect[]): void {
  const { to, deadlineMs } = primary.handover ?? { to: "", deadlineMs: Number.POSITIVE_INFINITY };
  primary.handover = undefined;
  primary.recheckHeld = true;
  // A start still has to meet the other copies.
  if (primary.stage === "handing") primary.stage = "serving";
  if (primary.stage === "serving") primary.why = "";
  out.push({ kind: "event", event: { kind: "switchover", copy: to, to: "given up", why } });
  const outcome = primary.nowMs >= deadlineMs ? "late" : "kept";
  out.push({ kind: "handoverEnded", outcome, why });
}

/** This process stood still. What can be taken back is; the rest waits for the successor's word anyhow. */
export function handoverStoodStill(primary: Primary, why: string, out: PrimaryEffect[]): void {
  const { handover } = primary;
  if (handover === undefined) return;
  if (isRevocable(handover)) keepRole(primary, why, out);
  else handover.stoodStill = true;
}

/** The machine ends, or is about to. An offer stays on record, for the next start to find. */
export function leaveHandover(primary: Primary, end: HandoverEnd, out: PrimaryEffect[]): void {
  if (primary.handover === undefined) return;
  primary.handover = undefined;
  out.push({ kind: "handoverEnded", ...end });
}
