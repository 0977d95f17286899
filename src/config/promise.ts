import { limits } from "#base/limits.ts";
import { isLocal, parseAddress } from "./addresses.ts";
import { isFedFromLog } from "./rules.ts";
import type { Config, CopyConfig, GroupConfig } from "./types.ts";
import { formatDuration, formatSize } from "./units.ts";

/**
 * What a group promises its hosts, in one line: when a write is acked, what the loss of the primary costs (RPO), and
 * what a lost copy does to the hosts (SPEC decisions 1 and 2).
 */
export function describePromise(group: GroupConfig): string {
  const copies = [...group.copies.values()];
  if (copies.length === 0) {
    return `${group.name}: acked by ${group.primary} alone (${ackWords(group)}); no copy, so losing ${group.primary} loses everything`;
  }
  const mirrors = copies.filter(({ mode }) => mode === "sync");
  const followers = copies.filter(isFedFromLog);
  const bunkers = copies.filter(({ mode }) => mode === "bunker");
  const sites = ackedBy(group);
  const have = sites.length > 1 ? "have" : "has";
  const words = [
    `${group.name}: acked when ${sites.join(" and ")} ${have} it (${ackWords(group)})${switchWords(followers)}`,
    ...(mirrors.length === 0 ? [] : ["RPO 0 while synchronized"]),
    ...mirrors.map(lossWords),
    ...bunkers.map(lossWords),
    ...bunkers.flatMap(replayWords),
    ...followers.map((copy) => followWords(group, copy)),
  ];
  return words.join("; ");
}

/** Sites whose ack a host's write waits for while all is well. */
export function ackedBy(group: GroupConfig): readonly string[] {
  const waitedFor = [...group.copies.values()].filter(
    ({ mode, onLoss }) => mode === "sync" || (mode === "bunker" && onLoss !== "off"),
  );
  return [group.primary, ...waitedFor.map(({ site }) => site)];
}

// All sets of a group end when the most impatient copy wants it: the shortest cycle bounds the wait.
function switchWords(followers: readonly CopyConfig[]): string {
  if (!followers.some(({ ackAt }) => ackAt === "switch")) return "";
  const everyMs = Math.min(...followers.map(({ seal }) => seal.everyMs));
  return `, at the end of its cycle of ${formatDuration(everyMs)}`;
}

function followWords(group: GroupConfig, copy: CopyConfig): string {
  const { everyMs, bytesMax, onFlush } = copy.seal;
  const units = copy.mode === "cycle" ? "cycles" : "sets";
  const sealed =
    onFlush === "only"
      ? "that end with a host's flush"
      : `of at most ${formatDuration(everyMs)} or ${formatSize(bytesMax)}`;
  const objective = copy.rpoMs === undefined ? "" : `, objective ${formatDuration(copy.rpoMs)}`;
  const full = {
    trip: "the copy is given up and resynced later",
    stall: "host writes wait",
    fail: "host writes fail",
  };
  const way = copy.through === undefined ? "" : ` through ${copy.through}`;
  return (
    `${copy.site} follows${way} in ${units} ${sealed}, RPO is its lag${objective}; ` +
    `${formatSize(group.journal.bytesMax)} of journal bridge its absence, then ${full[group.journal.overflow]}`
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
    case "override":
      return `${when}: hosts go on without its log, and RPO is the lag of the copies until it is back${objective}`;
    case "off":
      return `${copy.site} keeps the log and follows by at most ${formatSize(limits.bunkerLagBytesMax)}: beyond it host writes wait${objective}`;
    case "fail":
      return `${when}: host writes fail until it is back${objective}`;
  }
}

function replayWords({ site, replayAfterMs }: CopyConfig): readonly string[] {
  if (replayAfterMs === undefined) return [];
  const when = `once its primary has been silent for ${formatDuration(replayAfterMs)}, at ${site} too`;
  return [`${site} brings a copy up by itself ${when}; promote stays yours`];
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
    warnings.push(...describeLongCycles(group), ...describeReplays(group));
    const without = [...group.copies.values()].filter(
      ({ preserveBytesMax }) => preserveBytesMax === 0,
    );
    if (without.length === 0) continue;
    const sites = without.map(({ site }) => site).join(", ");
    warnings.push(
      `group ${group.name}: preserve.bytesMax is 0, so during a resync ${sites} has no consistent image`,
    );
  }
  return warnings;
}

// What takes the log from a primary that would have come back, or that lives where nobody hears it.
function describeReplays({ name, primary, copies }: GroupConfig): readonly string[] {
  const timeoutMs = Math.max(...[...copies.values()].map((copy) => copy.timeoutMs));
  return [...copies.values()].flatMap(({ site, replayAfterMs, onLoss }) => {
    if (replayAfterMs === undefined) return [];
    const after = `group ${name}: ${site} brings a copy up by itself after ${formatDuration(replayAfterMs)}`;
    const short =
      replayAfterMs < timeoutMs
        ? [
            `${after}, less than the ${formatDuration(timeoutMs)} in which a site is found to be silent`,
          ]
        : replayAfterMs < limits.replayAfterShortMs
          ? [`${after}: a primary that is merely started again finds its log taken, and is demoted`]
          : [];
    const alone = `group ${name}: ${primary}, cut off from all others, goes on alone (${site}, onLoss: ${onLoss}), and is demoted when it is back after a replay that began by itself; onLoss: fail stops its hosts instead`;
    return onLoss === "fail" ? short : [...short, alone];
  });
}

// Hosts give a disk that does not answer up after about half a minute, and file systems feel far shorter waits.
function describeLongCycles({ name, copies }: GroupConfig): readonly string[] {
  return [...copies.values()]
    .filter(({ ackAt, seal }) => ackAt === "switch" && seal.everyMs > limits.cycleAckedMsMax)
    .map(({ site, seal }) => {
      const wait = `every host write waits up to ${formatDuration(seal.everyMs)} for the end of its cycle`;
      return `group ${name}: ${wait} (copy ${site}); ackAt: journal acks at once`;
    });
}
