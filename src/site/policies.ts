import type { GroupConfig } from "#config/types.ts";
import { lossTable, policyTable } from "#core/policy.ts";
import type { MemberPolicy } from "#core/policy.ts";

/** Every other site that holds the group's volumes, or its log, is a member for a primary here. */
export function policiesOf(config: GroupConfig, site: string): MemberPolicy[] {
  const policies: MemberPolicy[] = [];
  const sites = new Set([config.primary, ...config.copies.keys()]);
  sites.delete(site);
  for (const member of sites) {
    // After a role change the first primary is a copy like the others, on the terms of the copy that replaced it.
    const copy = config.copies.get(member) ?? config.copies.get(site);
    // A bunker feeds nobody as a primary does.
    if (copy === undefined || config.copies.get(site)?.mode === "bunker") continue;
    // A relay stands at the side of the primary that the file names.
    if (copy.isRelay === true && site !== config.primary) continue;
    policies.push({
      site: member,
      mode: policyTable[copy.mode],
      through: site === config.primary && copy.mode === "cycle" ? copy.through : undefined,
      loss: lossTable[copy.onLoss],
      ackTimeoutMs: copy.ackTimeoutMs,
      autoResume: copy.resume === "auto",
      timeoutMs: copy.timeoutMs,
      rateBytesPerSecond: copy.rateBytesPerSecond,
      connections: policyTable[copy.mode].ordered ? 1 : copy.connections,
      compress: copy.compress,
    });
  }
  return policies;
}
