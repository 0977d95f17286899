import type { HeldUpByCopy } from "./held-up.ts";
import { isFed, mustHave } from "./member-state.ts";
import type { Member, Primary } from "./primary-state.ts";

// The members without whom nothing may be acked (`onLoss: stall | fail`): what a host's write gets while one is away.

export function strictVerdict(primary: Primary): "go" | "wait" | "fail" {
  const missing = missingStrict(primary);
  return missing === undefined ? "go" : verdictOf(missing);
}

/** Why hosts cannot write; undefined while no such member is missing. */
export function heldUpByStrict(primary: Primary): HeldUpByCopy | undefined {
  const missing = missingStrict(primary);
  if (missing === undefined) return undefined;
  const { site: copy, policy } = missing;
  const onLoss = policy.loss.waits ? "stall" : "fail";
  return { by: "copy", copy, onLoss, verdict: verdictOf(missing) };
}

function missingStrict({ members }: Primary): Member | undefined {
  for (const member of members) if (mustHave(member) && !isFed(member)) return member;
  return undefined;
}

// A session that is being opened settles it within moments, and is waited for.
function verdictOf({ policy, stage }: Member): "wait" | "fail" {
  return policy.loss.waits || stage === "opening" ? "wait" : "fail";
}
