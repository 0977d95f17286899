import type { GroupRecord, MemberRecord } from "./group-record.ts";
import { compareHistories, currentGeneration, successorOf } from "./history.ts";
import type { Generation, History } from "./history.ts";

// Two branches of one history (U57): who has one, and whether the operator has settled it.

type Own = Pick<GroupRecord, "history" | "members" | "tenureEnd">;

/** Sites that lack writes which this site acked as primary, or may lack such as earlier primaries acked (`mayLackEarlier`). */
export function aloneTowards({ members }: Pick<GroupRecord, "members">): string[] {
  return Object.keys(members).filter((site) => isAlone(members[site]));
}

/** The same, as it is told to who follows this history: without a successor that has everything that was acked here. */
export function aloneBefore(own: Own, other: History): string[] {
  const successor = successorAmong(own, other);
  return aloneTowards(own).filter((site) => site !== successor?.site || lacksAcked(own, successor));
}

function isAlone(member: MemberRecord | undefined): boolean {
  return member !== undefined && (member.alone || member.mayLackEarlier === true);
}

/** Whether the tenure that follows ours may lack what was acked here: not where it held all up to our last ack (decision 9). */
function lacksAcked({ history, members, tenureEnd }: Own, successor: Generation): boolean {
  const member = members[successor.site];
  if (member?.mayLackEarlier === true) return true;
  if (member?.alone !== true) return false;
  const { heldLsn } = successor;
  if (tenureEnd === undefined || tenureEnd.id !== currentGeneration(history)?.id) return true;
  return heldLsn === undefined || tenureEnd.lsn > heldLsn;
}

function successorAmong({ history }: Own, other: History): Generation | undefined {
  return compareHistories(history, other) === "behind" ? successorOf(history, other) : undefined;
}

/**
 * Whether a site has written what another history does not have (decision 9): it has a tenure that the other lacks, or acked
 * writes alone before the other went on, and not all of them are known to be there.
 */
export function isSplit(own: Own, other: History): boolean {
  switch (compareHistories(own.history, other)) {
    case "diverged":
      return true;
    case "behind": {
      const successor = successorAmong(own, other);
      return successor !== undefined && lacksAcked(own, successor);
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
