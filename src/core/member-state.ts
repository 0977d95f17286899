import { push } from "#base/fifo.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Outstanding, Primary } from "./primary-state.ts";

// What a member's stage means to the rest of the machine.

/** Frames go to this member: it has a session that has begun. */
export function isFed(member: Member): boolean {
  return member.stage === "resync" || member.stage === "joining" || member.stage === "synchronized";
}

/** A host write waits for this member's ack. */
export function waitsFor(member: Member): boolean {
  const { mode, loss } = member.policy;
  if (!mode.participates || !loss.takesPart) return false;
  if (member.stage === "joining" || member.stage === "synchronized") return true;
  return member.stage === "resync" && mustHave(member);
}

/** It is fed with sets, from the journal; otherwise with the writes themselves, one by one. */
export function takesSets(member: Member): boolean {
  return member.policy.mode.unit === "set";
}

/** It keeps the records of the journal, and no volume (SPEC-bunker.md): nothing is ever dirty towards it. */
export function keepsLog(member: Member): boolean {
  return member.policy.mode.unit === "record";
}

/** It takes sets, and everything that it lacks is in the journal: nothing of it is dirty. */
export function isInJournal(member: Member): boolean {
  return takesSets(member) && member.record.phase === "synchronized";
}

/** A resync reads the images, all of which must work; the journal has what it has whether they do or not. */
export function mayFeed(primary: Primary, member: Member): boolean {
  if (keepsLog(member) || isInJournal(member)) return true;
  return primary.volumes.every(({ state }) => state === "ok");
}

/** The journal and what is open are kept for it: the record on disk still says that it goes on from there. */
export function isKeptInJournal(member: Member): boolean {
  return isInJournal(member) || (takesSets(member) && member.phaseOnDisk === "synchronized");
}

/** What it lacks of the sets is kept, here or elsewhere, until it has it. */
export function needsSets(member: Member): boolean {
  return isKeptInJournal(member) || (takesSets(member) && isFed(member));
}

/** A strict member takes part in every state, once it has been a copy at all (I4). */
export function mustHave(member: Member): boolean {
  return !member.policy.loss.mayAckAlone && !member.record.paused;
}

/** With `resume: manual`: what it lacks is brought over once an operator says so, and nobody connects before that. */
export function awaitsResume({ policy, record, resumed }: Member): boolean {
  return !policy.autoResume && record.phase === "dirty" && !resumed;
}

/** Gives the next frame its sequence and remembers what it is about. */
export function queue(member: Member, item: Outstanding): void {
  member.sequence += 1;
  member.outstandingBytes += item.length;
  push(member.outstanding, item);
}

/** The state that INTERFACE shows for this copy. */
export function shownState(member: Member): string {
  const { record, policy } = member;
  if (record.splitBrain) return "split-brain";
  if (record.paused) return "paused";
  if (record.stoppedWhy !== "") return "stopped";
  if (isHeardSplit(member)) return "split-brain";
  if (member.stage === "synchronized")
    return policy.mode.journal && record.alone ? "replaying" : policy.mode.stateWell;
  if (record.phase === "blank") return "init-sync";
  // Nothing is fed before a session has begun, and it may be refused yet.
  if (member.stage === "none" || member.stage === "opening")
    return takesSets(member) && record.phase === "dirty" ? "tripped" : policy.mode.stateLost;
  return keepsLog(member) ? "replaying" : "resync";
}

/** An inquiry says so, and no session that has begun says otherwise: one that waits for a relay may never be opened. */
function isHeardSplit({ heardSplit, stage }: Member): boolean {
  return heardSplit !== "" && (stage === "none" || stage === "opening");
}

/** Why it is shown as `split-brain`; undefined where it is not. */
export function splitWhy(member: Member): string | undefined {
  if (shownState(member) !== "split-brain") return undefined;
  return member.record.splitBrain ? member.record.stoppedWhy : member.heardSplit;
}

/** Tells of what a step has changed without a word of its own: events alone must tell what `status` shows. */
export function noteStates(primary: Primary, out: PrimaryEffect[]): void {
  // Who gives its role up says that, once.
  if (primary.stage === "draining" || primary.stage === "ended") return;
  for (const member of primary.members) noteState(member, stateWhy(member), out);
}

/** Why a member is in the state that is shown, where nobody has a better word for it. */
function stateWhy(member: Member): string {
  const { record, why } = member;
  return splitWhy(member) ?? (record.stoppedWhy === "" ? why : record.stoppedWhy);
}

/** Tells of a change of the state that is shown, since it was told of last. */
export function noteState(member: Member, why: string, out: PrimaryEffect[]): void {
  if (shownState(member) !== member.toldState) tellState(member, why, out);
}

/** Tells of the state that is shown, and why: the same one for another reason included. */
export function tellState(member: Member, why: string, out: PrimaryEffect[]): void {
  const from = member.toldState;
  const to = shownState(member);
  member.toldState = to;
  out.push({ kind: "event", event: { kind: "copy", copy: member.site, from, to, why } });
}
