import { isLocal, parseAddress } from "./addresses.ts";
import type { Config, CopyConfig, GroupConfig } from "./types.ts";
import { formatDuration } from "./units.ts";

/**
 * What a group promises its hosts, in one line: when a write is acked, what the loss of the primary costs (RPO), and
 * what a lost copy does to the hosts (SPEC decisions 1 and 2).
 */
export function describePromise(group: GroupConfig): string {
  const copies = [...group.copies.values()];
  if (copies.length === 0) {
    return `${group.name}: acked by ${group.primary} alone (${ackWords(group)}); no copy, so losing ${group.primary} loses everything`;
  }
  const sites = copies.map(({ site }) => site).join(" and ");
  const losses = copies.map(lossWords).join("; ");
  return (
    `${group.name}: acked when ${group.primary} and ${sites} have it (${ackWords(group)}); ` +
    `RPO 0 while synchronized; ${losses}`
  );
}

function ackWords(group: GroupConfig): string {
  return group.durability === "write"
    ? "on stable storage at each"
    : "in memory or beyond, on stable storage after a flush";
}

function lossWords(copy: CopyConfig): string {
  const when = `${copy.site} silent for ${formatDuration(copy.timeoutMs)} or slower than ${formatDuration(copy.ackTimeoutMs)}`;
  const objective = copy.rpoMs === undefined ? "" : `, objective ${formatDuration(copy.rpoMs)}`;
  switch (copy.onLoss) {
    case "continue":
      return `${when}: hosts go on without it, and RPO grows until it is back${objective}`;
    case "stall":
      return `${when}: host writes wait until it is back${objective}`;
    case "fail":
      return `${when}: host writes fail until it is back${objective}`;
  }
}

/** What is allowed and still worth knowing before relying on it. */
export function describeWarnings(config: Config): readonly string[] {
  const warnings: string[] = [];
  for (const site of config.sites.values()) {
    const open = site.nbd.filter((text) => {
      const parsed = parseAddress(text);
      return parsed.ok && !isLocal(parsed.address);
    });
    for (const address of open) {
      warnings.push(
        `site ${site.name} exports on ${address} to everybody who reaches it: NBD has no TLS in this version`,
      );
    }
  }
  if (config.insecure && config.secretPath === undefined) {
    warnings.push(
      "insecure: true without a secret: whoever reaches a peer address can pose as a site",
    );
  }
  for (const group of config.groups.values()) {
    const kept = [...group.copies.values()].filter(
      ({ preserveBytesMax }) => (preserveBytesMax ?? 1) > 0,
    );
    if (kept.length === 0) continue;
    const sites = kept.map(({ site }) => site).join(", ");
    warnings.push(
      `group ${group.name}: the preserved point is not kept yet in this version, so during a resync ${sites} has no consistent image`,
    );
  }
  return warnings;
}
