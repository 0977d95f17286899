import type { GroupRecord, MemberRecord } from "./group-record.ts";
import { compareHistories, successorOf } from "./history.ts";
import type { History } from "./history.ts";

// Two branches of one history (U57): who has one, and whether the operator has settled it.

/** Sites that lack writes which this site acked as primary, or may lack such as earlier primaries acked (`mayLackEarlier`). */
export function aloneTowards({ members }: Pick<GroupRecord, "members">): string[] {
  return Object.keys(members).filter((site) => isAlone(members[site]));
}

function isAlone(member: MemberRecord | undefined): boolean {
  return member !== undefined && (member.alone || member.mayLackEarlier === true);
}

/**
 * Whether a site has written what another history does not have (decision 9): it has a tenure that the other lacks, or acked
 * writes alone before the other went on.
 */
export function isSplit(own: Pick<GroupRecord, "history" | "members">, other: History): boolean {
  switch (compareHistories(own.history, other)) {
    case "diverged":
      return true;
    case "behind": {
      const successor = successorOf(own.history, other);
      return successor !== undefined && isAlone(own.members[successor.site]);
    }
    default:
      return false;
  }
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
