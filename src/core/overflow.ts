import { limits } from "#base/limits.ts";
import { stopMember } from "./members.ts";
import { linkTooSlow } from "./operator.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { trip } from "./set-members.ts";

// What a full journal costs a copy, and when that has happened often enough.

/**
 * The journal, or a relay's log, is full, and this copy holds its tail. In the midst of a resync that will not be better the
 * next time: what hosts write meanwhile is more than the link carries. The third time in a row the copy is left alone until an
 * operator says otherwise.
 */
export function overflowed(
  primary: Primary,
  member: Member,
  why: string,
  out: PrimaryEffect[],
): void {
  const isInResync = member.stage === "resync" || member.stage === "joining";
  member.overflows = isInResync ? member.overflows + 1 : 0;
  trip(primary, member, `${why} and this copy is the furthest behind`, out);
  if (member.overflows < limits.resyncOverflowsMax) return;
  member.overflows = 0;
  stopMember(primary, member, { why: linkTooSlow, splitBrain: false }, out);
}
