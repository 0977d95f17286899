import { needsSets, keepsLog, takesSets } from "./member-state.ts";
import { noPosition } from "./log-position.ts";
import type { LogPosition } from "./log-position.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Journal } from "./journal.ts";
import type { Member, Primary } from "./primary-state.ts";

// A relay, as the primary sees it (SPEC-relay.md): a member that keeps the log, and feeds copies from it in the primary's
// place. What it has synced the journal here need not keep for them.

/** Of a member that keeps the log: what the primary knows of it. */
export type MemberLog = {
  /** It has everything from this set on, as long as nobody who needs less lets it go. */
  firstSet: number;
  /** Its last entry, as it told; in its page cache at least. */
  told: LogPosition;
  /** Everything up to this entry is synced there. */
  synced: LogPosition;
};

/** Nothing is known of a log. */
export function unknownLog(): MemberLog {
  return { firstSet: Number.POSITIVE_INFINITY, told: noPosition, synced: noPosition };
}

/** The relay that feeds this copy; undefined where the primary does. */
export function relayOf(primary: Primary, { policy }: Member): Member | undefined {
  if (policy.through === undefined) return undefined;
  return primary.members.find((member) => member.site === policy.through && keepsLog(member));
}

/** This member is a relay by now: a copy is fed through it. */
export function feedsCopies(primary: Primary, member: Member): boolean {
  return keepsLog(member) && primary.members.some(({ policy }) => policy.through === member.site);
}

/** The copy is fed through a relay, which cannot feed it now. */
export function lacksRelay(primary: Primary, member: Member): boolean {
  if (member.policy.through === undefined || !takesSets(member)) return false;
  return relayOf(primary, member)?.stage !== "synchronized";
}

/** The set from which on whoever feeds this copy has everything. */
export function firstSetFor(primary: Primary, journal: Journal, member: Member): number {
  if (member.policy.through === undefined) return journal.firstSet;
  return relayOf(primary, member)?.log.firstSet ?? Number.POSITIVE_INFINITY;
}

/** A relay is lost: whoever it feeds is lost with it, and waits for it. */
export function endFedBy(primary: Primary, relay: Member, why: string, out: PrimaryEffect[]): void {
  if (!keepsLog(relay)) return;
  for (const member of primary.members) {
    if (member.policy.through !== relay.site || member.stage === "none") continue;
    out.push({
      kind: "closeSession",
      member: member.index,
      why: `its relay ${relay.site}: ${why}`,
    });
  }
}

/** Up to where a copy lets the journal go. */
export type Held = { readonly lsn: number; readonly set: number };

/** What the copy has itself. */
export function hadBy({ sets }: Member): Held {
  return { lsn: sets.completeLsn, set: sets.completeSet };
}

/** Whether `b` is behind `a`: sets without writes have the LSN of the one before. */
export function isBehindOf(a: Held, b: Held): boolean {
  return b.lsn < a.lsn || (b.lsn === a.lsn && b.set < a.set);
}

/**
 * What the copy has; and what its relay has synced, where that leads on from what the copy has. Where a full journal must not
 * cost a copy anything (`stall`, `fail`) it keeps everything itself: then it is full before the relay's log is.
 */
export function heldFor(primary: Primary, { overflow }: Journal, member: Member): Held {
  const own = hadBy(member);
  const { lsn, set } = own;
  const log = overflow === "trip" ? relayOf(primary, member)?.log : undefined;
  if (log === undefined || !leadsOn(log, member)) return own;
  // Of the set in which the log was synced it may lack the end.
  const { synced } = log;
  return synced.set - 1 > set && synced.lsn > lsn ? { lsn: synced.lsn, set: synced.set - 1 } : own;
}

/**
 * The log goes on where the copy ends. Of a copy that nobody has heard since this start it is taken for granted: the log has
 * let go of nothing that the copy lacked (A2), and where it began anew since, the journal has no more than it, and the copy is
 * compared, whoever keeps what. So a primary that starts while the copy cannot be reached need not keep for it what it does
 * not know.
 */
function leadsOn({ firstSet }: MemberLog, { sets }: Member): boolean {
  return sets.isTold ? firstSet <= sets.completeSet + 1 : Number.isFinite(firstSet);
}

/** Its relay has everything that the copy lacks, and lets go of it here by each sync. */
export function awaitsRelay(primary: Primary, member: Member): boolean {
  const relay = relayOf(primary, member);
  if (relay === undefined || lacksRelay(primary, member)) return false;
  return leadsOn(relay.log, member);
}

/**
 * The journal let go of what this copy lacks while a full one might trip it; it may be that a reload has forbidden that since.
 * What a relay alone has, the journal cannot hold hosts for: a full log trips that copy still, until it has come so far.
 */
export function isRelayAlone({ firstSet }: Journal, { policy, sets }: Member): boolean {
  return policy.through !== undefined && sets.isTold && firstSet > sets.completeSet + 1;
}

/** The copy that is the furthest behind, whoever keeps what it lacks: it holds the logs of all who keep one. */
export function furthestBehind(primary: Primary): Member | undefined {
  let last: Member | undefined;
  for (const member of primary.members) {
    if (!needsSets(member)) continue;
    if (last === undefined || isBehindOf(hadBy(last), hadBy(member))) last = member;
  }
  return last;
}

/**
 * INVALIDATE: the relay's log is full. The copy that it is full for, where that is one of the relay's own and nothing but the
 * copy needs what is oldest there (decision 13).
 */
export function heldByCopyOf(
  primary: Primary,
  relay: Member,
  imagesLsn: number,
): Member | undefined {
  const { journal } = primary;
  const last = furthestBehind(primary);
  if (journal === undefined || last?.policy.through !== relay.site) return undefined;
  if (journal.overflow !== "trip" && !isRelayAlone(journal, last)) return undefined;
  return last.sets.completeLsn < imagesLsn && last.fracturing === undefined ? last : undefined;
}
