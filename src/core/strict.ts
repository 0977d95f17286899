import { isFed, mustHave } from "./member-state.ts";
import type { Member, Primary } from "./primary-state.ts";

// The members without whom nothing may be acked (`onLoss: stall | fail`): what a host's write gets while one is away.

export function strictVerdict(primary: Primary): "go" | "wait" | "fail" {
  const missing = missingStrict(primary);
  return missing === undefined ? "go" : verdictOf(missing);
}

/** Why hosts cannot write, in words; "" while no such member is missing. */
export function whyStrict(primary: Primary): string {
  const missing = missingStrict(primary);
  if (missing === undefined) return "";
  const { site, policy } = missing;
  const what = verdictOf(missing) === "wait" ? "writes wait" : "writes are refused";
  return `${what} until copy ${site} is back (onLoss: ${policy.loss.waits ? "stall" : "fail"})`;
}

function missingStrict({ members }: Primary): Member | undefined {
  for (const member of members) if (mustHave(member) && !isFed(member)) return member;
  return undefined;
}

// A session that is being opened settles it within moments, and is waited for.
function verdictOf({ policy, stage }: Member): "wait" | "fail" {
  return policy.loss.waits || stage === "opening" ? "wait" : "fail";
}
