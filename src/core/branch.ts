import type { GroupRecord, MemberRecord } from "./group-record.ts";
import { compareHistories, currentGeneration } from "./history.ts";
import type { History } from "./history.ts";

// Two branches of one history (U57): who has one, and whether the operator has settled it.

type Own = Pick<GroupRecord, "history" | "members" | "tenureEnd">;

/** Sites that lack writes which this site acked as primary, or may lack such as earlier primaries acked (`mayLackEarlier`). */
export function aloneTowards({ members }: Pick<GroupRecord, "members">): string[] {
  return Object.keys(members).filter((site) => isAlone(members[site]));
}

/** The same, as it is told to who follows this history: without a successor that has everything that was acked here. */
export function aloneBefore(own: Own, other: History): string[] {
  const overtakers = overtakersIn(own.history, other);
  const isHeld = wasHeld(own, overtakers);
  return aloneTowards(own).filter((site) => !isHeld || site !== overtakers[0]?.site);
}

function isAlone(member: MemberRecord | undefined): boolean {
  return member !== undefined && (member.alone || member.mayLackEarlier === true);
}

/**
 * The tenures after `older` in a history that goes on from it which began with no more than their sites had as copies of its
 * last primary: the first one, and later ones whose image was not whole, such as that of a preserved point.
 */
export function overtakersIn(older: History, newer: History): History {
  return followersIn(older, newer).filter(({ isWhole }, place) => place === 0 || isWhole !== true);
}

/** Who has been primary since in a history that goes on from ours: what it lacked of ours, whoever feeds us may lack. */
export function sitesSince(older: History, newer: History): Set<string> {
  return new Set(followersIn(older, newer).map(({ site }) => site));
}

function followersIn(older: History, newer: History): History {
  return compareHistories(older, newer) === "behind" ? newer.slice(older.length) : [];
}

/** Whether all that was acked here is known to be there: the first tenure that followed had it, and so has every later one. */
function wasHeld({ history, members, tenureEnd }: Own, overtakers: History): boolean {
  const [successor, ...older] = overtakers;
  if (successor === undefined || older.length > 0) return false;
  if (members[successor.site]?.mayLackEarlier === true) return false;
  if (tenureEnd === undefined || tenureEnd.id !== currentGeneration(history)?.id) return false;
  const { heldLsn } = successor;
  return heldLsn !== undefined && tenureEnd.lsn <= heldLsn;
}

/**
 * Whether a site has written what another history does not have (decision 9): it has a tenure that the other lacks, or acked
 * writes alone before the other went on, and not all of them are known to be there.
 */
export function isSplit(own: Own, other: History): boolean {
  const alone = aloneBefore(own, other);
  const isOvertaken = overtakersIn(own.history, other).some(({ site }) => alone.includes(site));
  return isOvertaken || compareHistories(own.history, other) === "diverged";
}

/** A branch is given up in favour of any history that has one of these generations. */
export function isFavoured(discards: readonly string[], history: History): boolean {
  return history.some(({ id }) => discards.includes(id));
}

/**
 * Whether the maps of a site mark all that it wrote by itself: it was the last primary of its branch, has been fed by nobody
 * since, and has not gone back to an older image. Otherwise everything is compared.
 */
export function knowsItsWrites(record: GroupRecord): boolean {
  const { history, members, site, reverted, image } = record;
  const isLastPrimary = history.at(-1)?.site === site && Object.keys(members).length > 0;
  const isMirrored = Object.values(members).every(({ phase }) => phase !== "blank");
  return isLastPrimary && isMirrored && reverted === undefined && image !== "synchronizing";
}
