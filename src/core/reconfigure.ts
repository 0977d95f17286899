import { leaveJournal } from "./dirty-maps.ts";
import { blankMember } from "./group-record.ts";
import { appendGathered } from "./journal.ts";
import type { Journal } from "./journal.ts";
import { failWaiting, legDone } from "./legs.ts";
import {
  isFed,
  isInJournal,
  keepsLog,
  mustHave,
  noteState,
  shownState,
  takesSets,
} from "./member-state.ts";
import { loseMember } from "./members.ts";
import { goOnWithout, pauseMember } from "./operator.ts";
import type { MemberPolicy } from "./policy.ts";
import { createMember } from "./primary-state.ts";
import type { PrimaryEffect, Reconfiguration } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { askRecord } from "./records.ts";
import { reserve } from "./reserves.ts";
import { takeStanding } from "./switch.ts";
import { forgetUnjournaled, noteNewJournal } from "./tenure-end.ts";
import { forgetRounds } from "./terms.ts";

// A running primary takes another configuration (ARCHITECTURE.md, Reload): members come, go, and are fed on other terms. Nobody
// whose terms stay the same notices. A member whose unit changes is lost and found again, as by a cut of its link: what is
// open is dirty towards it, is compared, and only what differs is copied.

/** Takes the new configuration, as one step. It is on record, with all that follows from it, before anything rests on it. */
export function reconfigure(primary: Primary, change: Reconfiguration, out: PrimaryEffect[]): void {
  primary.durability = change.durability;
  forgetUnjournaled(primary, change.policies);
  if (change.journal !== undefined) beginJournal(primary, change.journal, out);
  if (primary.journal !== undefined && change.sets !== undefined)
    Object.assign(primary.journal, change.sets);
  for (const member of primary.members) {
    if (!change.policies.some(({ site }) => site === member.site)) leave(primary, member, out);
  }
  for (const policy of change.policies) {
    const member = primary.members.find(({ site }) => site === policy.site);
    if (member === undefined) addMember(primary, policy);
    else changePolicy(primary, member, policy, out);
  }
  askRecord(primary, { kind: "none" }, out);
  endJournal(primary, out);
  primary.recheckHeld = true;
}

/** At each tick: members that were to catch up before their mode changes have done so, or will not. */
export function changeModesDue(primary: Primary, out: PrimaryEffect[]): void {
  if (primary.stage !== "serving") return;
  for (const member of primary.members) {
    const { modeChange } = member;
    if (modeChange === undefined || member.isTurning || !takesSets(member)) continue;
    if (isCatchingUp(member, modeChange.untilLsn)) continue;
    changeMode(primary, member, modeChange.policy, out);
  }
}

// ------------------------------------------------------------------------------------- the journal

// Writes that have their place in the order already are in the image alone: the member that is to take sets gets them by the
// regions of its resync. The numbers of its sets must be reserved before the first is sealed.
function beginJournal(primary: Primary, journal: Journal, out: PrimaryEffect[]): void {
  primary.journal = journal;
  journal.lastLsn = primary.nextLsn - 1;
  noteNewJournal(primary);
  reserve(primary, out);
}

// Nobody is fed from it any more. A host's FLUSH was answered when the image had synced, too, so nothing rests on it.
function endJournal(primary: Primary, out: PrimaryEffect[]): void {
  if (primary.journal === undefined || primary.members.some(needsJournal)) return;
  // Before devices it stays: they may lack what it has.
  if (primary.volumes.some(({ device }) => device !== undefined)) return;
  appendGathered(primary, out);
  // Nobody takes sets any more: the open one ends here, and nobody waits for that.
  for (const request of takeStanding(primary.journal)) legDone(primary, request, out);
  primary.journal = undefined;
  delete primary.record.journalId;
  askRecord(primary, { kind: "none" }, out);
  out.push({ kind: "closeJournal" });
  primary.recheckHeld = true;
}

function needsJournal(member: Member): boolean {
  return takesSets(member) || keepsLog(member) || member.modeChange?.policy.mode.unit === "set";
}

// ------------------------------------------------------------------------------- members come and go

function addMember(primary: Primary, policy: MemberPolicy): void {
  const record = (primary.record.members[policy.site] ??= blankMember());
  const member = createMember(primary.membersMade, policy, record);
  member.toldState = shownState(member);
  primary.members.push(member);
  primary.membersMade += 1;
}

// First nobody waits for it any more, on record; then it is forgotten.
function leave(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  if (member.isLeaving) return;
  member.isLeaving = true;
  pauseMember(primary, member, out);
  askRecord(primary, { kind: "forget", member }, out);
}

/** That nobody waits for this member any more is on record. */
export function forgetMember(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const place = primary.members.indexOf(member);
  if (place === -1) return;
  primary.members.splice(place, 1);
  delete primary.record.members[member.site];
  askRecord(primary, { kind: "none" }, out);
  out.push({ kind: "forgetMember", member: member.index, site: member.site });
  endJournal(primary, out);
  primary.recheckResolved = true;
  primary.recheckHeld = true;
}

// --------------------------------------------------------------------------------------- other terms

function changePolicy(
  primary: Primary,
  member: Member,
  policy: MemberPolicy,
  out: PrimaryEffect[],
): void {
  const was = member.policy;
  member.modeChange = undefined;
  if (was.mode.unit === policy.mode.unit) {
    adopt(primary, member, policy, out);
    if (takesSets(member) && was.connections !== policy.connections)
      reopen(primary, member, "it gets another number of connections", out);
    else if (takesSets(member) && was.compress !== policy.compress)
      reopen(primary, member, "what it is sent is packed another way", out);
    else if (takesSets(member) && was.through !== policy.through)
      reopen(primary, member, `it is fed ${wayOf(policy)} from now on`, out);
    else if (takesSets(member) && was.mode.folds !== policy.mode.folds)
      reopen(primary, member, `its mode changes from ${was.mode.name} to ${policy.mode.name}`, out);
    return;
  }
  const untilLsn = primary.nextLsn - 1;
  if (!isCatchingUp(member, untilLsn)) return changeMode(primary, member, policy, out);
  // Until then it is fed as before, but as patiently as it will be.
  const { mode, through, loss, connections, compress } = was;
  adopt(primary, member, { ...policy, mode, through, loss, connections, compress }, out);
  member.modeChange = { policy, untilLsn };
}

function wayOf({ through }: MemberPolicy): string {
  return through === undefined ? "by the primary itself" : `through ${through}`;
}

/**
 * A copy that takes sets, and is to become a mirror, first gets what it lacks by its sets: its image stays a state that the
 * host could have seen for as long as that takes. One that is not fed, or dirty, has nothing to wait for.
 */
function isCatchingUp(member: Member, untilLsn: number): boolean {
  return (
    member.stage === "synchronized" && isInJournal(member) && member.sets.completeLsn < untilLsn
  );
}

// The maps come before whatever asks for a record: a record that says `dirty` never stands without them (trap 1). Until it says
// so, open map and journal are kept for the member as for one that goes on from there.
function changeMode(
  primary: Primary,
  member: Member,
  policy: MemberPolicy,
  out: PrimaryEffect[],
): void {
  const why = `its mode changes from ${member.policy.mode.name} to ${policy.mode.name}`;
  const tookSets = takesSets(member);
  member.modeChange = { policy, untilLsn: 0 };
  if (member.record.phase !== "blank") leaveJournal(primary, member, out);
  endSession(primary, member, why, out);
  member.why = why;
  if (!tookSets) return turn(primary, member, out);
  member.isTurning = true;
  askRecord(primary, { kind: "newMode", member }, out);
}

/** What the member lacks is on record: from now on it is fed by its new unit. */
export function turn(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { modeChange } = member;
  if (modeChange === undefined || !primary.members.includes(member)) return;
  member.modeChange = undefined;
  member.isTurning = false;
  const { policy } = modeChange;
  const isStricter = !policy.loss.mayAckAlone && member.policy.loss.mayAckAlone;
  adopt(primary, member, isStricter ? { ...policy, loss: member.policy.loss } : policy, out);
  // Hosts must not be refused for as long as it takes to feed it again (core/terms.ts).
  if (isStricter) member.modeChange = modeChange;
  member.resumed = true;
  askRecord(primary, { kind: "none" }, out);
  noteState(member, member.why, out);
  endJournal(primary, out);
  primary.recheckHeld = true;
}

function endSession(primary: Primary, member: Member, why: string, out: PrimaryEffect[]): void {
  if (member.stage === "none") return;
  const lsn = primary.nextLsn - 1;
  // A mirror must not hold itself for current from here on.
  if (!takesSets(member)) out.push({ kind: "sendFractured", member: member.index, lsn, why });
  reopen(primary, member, why, out);
}

// The journal, or a dirty map, has what it lacks; the driver dials again at once.
function reopen(primary: Primary, member: Member, why: string, out: PrimaryEffect[]): void {
  if (member.stage === "none") return;
  out.push({ kind: "closeSession", member: member.index, why });
  loseMember(primary, member, why, out);
}

/** From now on these terms hold. Whoever waits for a member that need not be waited for any more goes on. */
function adopt(primary: Primary, member: Member, policy: MemberPolicy, out: PrimaryEffect[]): void {
  const wasStrict = mustHave(member);
  member.policy = policy;
  if (policy.rateBytesPerSecond === undefined)
    member.resync.allowanceBytes = Number.POSITIVE_INFINITY;
  if (!wasStrict && mustHave(member)) forgetRounds(primary);
  if (!wasStrict) return;
  const isWaitedFor = member.resend.length + member.flushWaits.length > 0;
  if (!mustHave(member)) {
    // Its loss was on no record, since nothing was acked without it: from now on something may be.
    if (isWaitedFor || !isFed(member)) goOnWithout(primary, member, out);
  } else if (!policy.loss.waits && !isFed(member)) {
    const [requests, rounds] = [member.resend.splice(0), member.flushWaits.splice(0)];
    failWaiting(primary, { requests, rounds }, "io", out);
  }
}
