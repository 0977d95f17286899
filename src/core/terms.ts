import type { Member, Primary } from "./primary-state.ts";

/**
 * The member is fed again after its mode has changed: its terms may be the stricter ones of its new mode from now on. Before,
 * hosts would have been refused until it was back.
 */
export function holdTerms(primary: Primary, member: Member): void {
  const { modeChange, isTurning } = member;
  if (modeChange === undefined || isTurning) return;
  if (modeChange.policy.mode.unit !== member.policy.mode.unit) return;
  member.policy = modeChange.policy;
  member.modeChange = undefined;
  forgetRounds(primary);
}

/**
 * A member without whom nothing may be acked had no part in the rounds before, unless it was synchronized: a host's next FLUSH
 * rests on none of them.
 */
export function forgetRounds(primary: Primary): void {
  for (const { flush } of primary.volumes) {
    flush.coveredCompletions = -1;
    if (flush.running !== undefined) flush.running.startCompletions = -1;
  }
}
