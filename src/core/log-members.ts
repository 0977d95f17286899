import { assert } from "#base/assert.ts";
import { peek, shift } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { recordAlone } from "./dirty-maps.ts";
import { appendGathered } from "./journal.ts";
import { join } from "./joining.ts";
import { releasableLsn } from "./journal-room.ts";
import { legDone } from "./legs.ts";
import { isBehind } from "./log-position.ts";
import type { LogPosition } from "./log-position.ts";
import { isFed, keepsLog, mustHave, noteState, queue, waitsFor } from "./member-state.ts";
import { overflowed } from "./overflow.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Outstanding, Primary } from "./primary-state.ts";
import { heldByCopyOf, unknownLog } from "./relay.ts";

// Members that keep the log, as the primary sees them (SPEC-bunker.md): they are fed from the journal, in its order, over one
// connection, and answer with the LSN up to which they have it. What such a member lacks is in the journal, or of no use to
// anybody any more; nothing is ever dirty towards it.

/** A write has its LSN: does this member have to have it before the host is answered? */
export function deliverRecord(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  member.sentLsn = request.lsn;
  if (waitsFor(member)) {
    request.legs += 1;
    return queue(member, request);
  }
  assert(!mustHave(member), "a write was admitted although a strict member is away");
  const { takesPart } = member.policy.loss;
  const { lsn, length } = request;
  if (!isFed(member)) member.unfedBytes += length;
  else if (!takesPart) queue(member, { kind: "unawaited", lsn, length });
  // Where hosts wait for it, what is acked without it must be on record first. Where none ever does (`off`), a member that is
  // behind by no more than what is on its way needs no such record.
  const follows = member.stage === "joining" || member.stage === "synchronized";
  if (takesPart || !follows) recordAlone(primary, member, request, out);
}

/** No host waits for this member, but what it lacks is bounded: new writes wait until it has come on (`onLoss: off`). */
export function isBehindBound(member: Member): boolean {
  if (!keepsLog(member) || member.policy.loss.takesPart || member.record.paused) return false;
  return lagBytesOf(member) > limits.bunkerLagBytesMax;
}

/** Bytes of the volumes, acked since this start and not known to be there. What it lacked before is in the journal. */
export function lagBytesOf(member: Member): number {
  return member.outstandingBytes + member.unfedBytes;
}

/**
 * The end of the member's log has been looked for in the journal. Where it is not there, what the member has does not lead to
 * what is here: it begins anew with the journal's first record.
 */
export function logLocated(
  primary: Primary,
  member: Member,
  located: { readonly epoch: number; readonly isFound: boolean },
  out: PrimaryEffect[],
): void {
  const { journal } = primary;
  if (member.stage !== "opening" || member.epoch !== located.epoch || journal === undefined) return;
  member.stage = "resync";
  member.why = "";
  // What it had synced it may have lost with its disk: nothing rests on it before it has told, and synced, what it has by now.
  member.log = unknownLog();
  out.push({
    kind: "sendBegin",
    member: member.index,
    lsn: primary.nextLsn - 1,
    resync: false,
    firstSet: 0,
    log: {
      anew: !located.isFound,
      releasedLsn: journal.releasedLsn,
      releasedSet: journal.releasedSet,
    },
  });
  const why = located.isFound ? "the journal has what it lacks" : "its log begins anew";
  noteState(member, why, out);
  primary.recheckHeld = true;
}

/** The member has BEGIN on record: from here on it gets the journal. */
export function logBegun(member: Member, out: PrimaryEffect[]): void {
  if (isFed(member)) out.push({ kind: "sendLog", member: member.index });
}

/**
 * It has been sent all there is, from this set on: from now on new writes wait for it, and it syncs what it has (decision 8).
 */
export function logCaughtUp(
  primary: Primary,
  member: Member,
  firstSet: number,
  out: PrimaryEffect[],
): void {
  if (member.stage !== "resync") return;
  member.unfedBytes = 0;
  member.log.firstSet = firstSet;
  // What has its place in the order already is waited for by nobody: it must be sent before the member is asked to sync.
  appendGathered(primary, out);
  join(primary, member, out);
  primary.recheckHeld = true;
}

/** Everything up to this entry is in the member's log, in its page cache at least. */
export function logged(
  primary: Primary,
  member: Member,
  told: LogPosition,
  out: PrimaryEffect[],
): void {
  const { lsn } = told;
  if (!isFed(member)) return;
  if (lsn >= primary.nextLsn) {
    const why = `it has LSN ${lsn}, which was never given`;
    return void out.push({ kind: "closeSession", member: member.index, why });
  }
  const wasCrowded =
    isBehindBound(member) || member.outstandingBytes > limits.sessionOutstandingBytesMax;
  member.progressMs = primary.nowMs;
  for (let item = peek(member.outstanding); isUpTo(item, lsn); item = peek(member.outstanding)) {
    shift(member.outstanding);
    member.ackedSequence += 1;
    member.outstandingBytes -= item.length;
    if (item.kind !== "unawaited") legDone(primary, item, out);
  }
  member.ackedLsn = Math.max(member.ackedLsn, lsn);
  if (isBehind(member.log.told, told)) member.log.told = told;
  if (wasCrowded) primary.recheckHeld = true;
}

/** INVALIDATE: its log is full. The copy that it is full for is tripped, where it is the one that feeds that copy. */
export function logOverflowed(primary: Primary, relay: Member, out: PrimaryEffect[]): void {
  const holder = heldByCopyOf(primary, relay, releasableLsn(primary));
  if (holder === undefined) return;
  overflowed(primary, holder, `the log of its relay ${relay.site} is full`, out);
}

type Logged = Exclude<Outstanding, { kind: "compare" | "region" }>;

function isUpTo(item: Outstanding | undefined, lsn: number): item is Logged {
  return item !== undefined && "lsn" in item && item.lsn <= lsn;
}
