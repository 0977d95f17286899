import type { Place } from "#config/locate.ts";
import type { PlacedProblem } from "#config/shape.ts";
import type { Config, CopyConfig, GroupConfig } from "#config/types.ts";
import { policyTable } from "#core/policy.ts";

// What a reload would change, and what it cannot change. Pure: two configurations in, sentences and refusals out.

/** How an option is told of; `when` where it does not hold at once. */
type Option = {
  readonly name: string;
  readonly show: (copy: CopyConfig) => string;
  readonly when?: string;
};

const none = (value: number | undefined, unit: string): string =>
  value === undefined ? "none" : `${value} ${unit}`;

/** Options of a copy beside its mode, in the order of INTERFACE's table. */
const options: readonly Option[] = [
  { name: "onLoss", show: ({ onLoss }) => onLoss },
  { name: "ackTimeout", show: ({ ackTimeoutMs }) => `${ackTimeoutMs} ms` },
  { name: "resume", show: ({ resume }) => resume },
  { name: "preserve", show: ({ preserveBytesMax }) => none(preserveBytesMax, "bytes") },
  { name: "rpo", show: ({ rpoMs }) => none(rpoMs, "ms") },
  {
    name: "seal",
    show: ({ seal }) => `${seal.everyMs} ms, ${seal.bytesMax} bytes, onFlush ${seal.onFlush}`,
  },
  { name: "ackAt", show: ({ ackAt }) => ackAt ?? "none" },
  {
    name: "through",
    show: ({ through }) => through ?? "none",
    when: "it is fed anew; what is open is compared where not all that it lacks is there",
  },
  { name: "only a relay", show: ({ isRelay }) => (isRelay === true ? "yes" : "no") },
  { name: "staging", show: ({ staging }) => staging, when: "it is fed anew, from the journal" },
  {
    name: "replay",
    show: ({ replayAfterMs: ms }) => (ms === undefined ? "manual" : `auto after ${ms} ms`),
  },
  { name: "connections", show: ({ connections }) => `${connections}`, when: "it is fed anew" },
  { name: "compress", show: ({ compress }) => compress ?? "off", when: "it is fed anew" },
  { name: "probe", show: ({ probeMs }) => `${probeMs} ms` },
  { name: "timeout", show: ({ timeoutMs }) => `${timeoutMs} ms` },
  { name: "rate", show: ({ rateBytesPerSecond }) => none(rateBytesPerSecond, "bytes per second") },
];

/** What is known of a copy where its group is served. */
export type CopyFacts = {
  readonly behindWrites: number;
  readonly openBytes: number;
  readonly volumeBytes: number;
  /** It is fed, and so hears of its new terms before anything rests on them. */
  readonly isFed: boolean;
};

/** One sentence for each change of the group's settings; none when they are the same. */
export function describeChanges(
  before: GroupConfig,
  after: GroupConfig,
  factsOf: (site: string) => CopyFacts,
): string[] {
  const lines: string[] = [];
  for (const site of before.copies.keys()) {
    if (!after.copies.has(site))
      lines.push(`${site} is no copy any more: it is not fed, and what it lacks is forgotten`);
  }
  for (const [site, copy] of after.copies) {
    const was = before.copies.get(site);
    const facts = factsOf(site);
    if (was === undefined) {
      lines.push(
        copy.mode === "bunker"
          ? `${site} keeps the log from now on: no volume is brought to it`
          : `${site} is a new copy (${copy.mode}): ${facts.volumeBytes} bytes are brought to it`,
      );
    } else {
      if (was.mode !== copy.mode) lines.push(modeLine(was, copy, facts));
      lines.push(...optionLines(was, copy));
      if (was.onLoss !== "continue" && copy.onLoss === "continue" && !facts.isFed)
        lines.push(
          `${site} cannot be told: until it is, it would be promoted as if nothing had been acked without it`,
        );
    }
  }
  if (before.durability !== after.durability)
    lines.push(`durability: ${before.durability} -> ${after.durability}`);
  const { journal: was } = before;
  const { journal: now } = after;
  if (was.overflow !== now.overflow)
    lines.push(`journal: overflow ${was.overflow} -> ${now.overflow}${untilHad(before, after)}`);
  if (was.bytesMax !== now.bytesMax)
    lines.push(
      `journal: size ${was.bytesMax} -> ${now.bytesMax} bytes, when the journal is next opened`,
    );
  return lines;
}

// What the journal has let go for a relay, it cannot hold hosts for (SPEC-relay.md).
function untilHad({ journal }: GroupConfig, { copies }: GroupConfig): string {
  const relayed = [...copies.values()].filter(({ through }) => through !== undefined);
  if (journal.overflow !== "trip" || relayed.length === 0) return "";
  const names = relayed.map(({ site, through }) => `${site} (${through})`).join(", ");
  return `; of what its relay alone has now, a full log still trips a copy: ${names}`;
}

function modeLine(was: CopyConfig, now: CopyConfig, facts: CopyFacts): string {
  const { site } = now;
  if (policyTable[was.mode].unit === policyTable[now.mode].unit)
    return `${site}: mode ${was.mode} -> ${now.mode}; it is fed anew, from the journal`;
  const compared = `what is open (at most ${facts.openBytes} bytes) is compared, and only what differs is copied`;
  const { behindWrites } = facts;
  const first =
    now.mode === "sync" ? "hosts wait for it from then on" : "hosts wait for it no more";
  const when =
    policyTable[was.mode].unit === "set" && behindWrites > 0
      ? `, once it has the ${behindWrites} writes that it lacks`
      : "";
  return `${site}: mode ${was.mode} -> ${now.mode}${when}; ${first}; ${compared}`;
}

function optionLines(was: CopyConfig, now: CopyConfig): string[] {
  return options.flatMap(({ name, show, when }) => {
    const [from, to] = [show(was), show(now)];
    if (from === to) return [];
    // What belongs to a mode alone has no meaning in the other.
    const then = when === undefined || was.mode !== now.mode ? "" : ` (${when})`;
    return [`${now.site}: ${name} ${from} -> ${to}${then}`];
  });
}

/** What of the file cannot be taken while this site runs, for this group. */
export function refusalsOf(
  running: { readonly config: Config; readonly group: GroupConfig; readonly site: string },
  wanted: Config,
): readonly PlacedProblem[] {
  const { group, site } = running;
  const after = wanted.groups.get(group.name);
  if (after === undefined)
    return [
      refusal(
        ["groups"],
        `group ${group.name} is not there any more`,
        "a running group is not given up by a reload: put it back",
      ),
    ];
  return [...siteRefusals(running.config, wanted, site), ...groupRefusals(group, after, site)];
}

const atRestart = "put it back, or stop the site and start it again";

function siteRefusals(before: Config, after: Config, site: string): PlacedProblem[] {
  const problems: PlacedProblem[] = [];
  const fixed = (place: Place, was: string, now: string): void => {
    if (was !== now)
      problems.push(
        refusal(place, `${was || "nothing"} runs, and ${now || "nothing"} is written`, atRestart),
      );
  };
  fixed(["cluster"], before.cluster, after.cluster);
  fixed(["secret"], before.secretPath ?? "", after.secretPath ?? "");
  fixed(["insecure"], String(before.insecure), String(after.insecure));
  const own = before.sites.get(site);
  const now = after.sites.get(site);
  if (own === undefined || now === undefined) {
    problems.push(
      refusal(["sites"], `site ${site}, which runs, is not there any more`, "put it back"),
    );
    return problems;
  }
  fixed(["sites", site, "peer"], own.peer, now.peer);
  fixed(["sites", site, "api"], own.api, now.api);
  fixed(["sites", site, "nbd"], own.nbd.join(", "), now.nbd.join(", "));
  fixed(["sites", site, "data"], own.data, now.data);
  return problems;
}

function groupRefusals(before: GroupConfig, after: GroupConfig, site: string): PlacedProblem[] {
  const place: Place = ["groups", before.name];
  const problems: PlacedProblem[] = [];
  if (before.primary !== after.primary)
    problems.push(
      refusal(
        [...place, "primary"],
        `a reload moves no primary (${before.primary} -> ${after.primary}): the recorded role counts`,
        `put ${before.primary} back; antipode demote and promote move it`,
      ),
    );
  if (site !== after.primary && !after.copies.has(site))
    problems.push(
      refusal(
        [...place, "copies"],
        `site ${site} runs the group and has no part in it here`,
        "reload at another site that is its primary",
      ),
    );
  for (const [copy, { mode }] of after.copies) {
    const was = before.copies.get(copy)?.mode;
    if (was === undefined || was === mode || (was !== "bunker" && mode !== "bunker")) continue;
    problems.push(
      refusal(
        [...place, "copies", copy, "mode"],
        `a ${was} copy does not become a ${mode} one: a bunker keeps the log, the others keep volumes`,
        "put it back; take the copy out, empty its folder, and put it in again",
      ),
    );
  }
  if (before.regionBytes !== after.regionBytes)
    problems.push(
      refusal(
        [...place, "region"],
        `regions of ${before.regionBytes} bytes were chosen when the group was made`,
        "put it back",
      ),
    );
  const shape = (group: GroupConfig): string => group.volumes.map(({ name }) => name).join(", ");
  if (shape(before) !== shape(after)) {
    problems.push(
      refusal(
        [...place, "volumes"],
        `the group has ${shape(before)}, and ${shape(after)} is written`,
        "volumes neither come nor go in this version: put them back",
      ),
    );
    return problems;
  }
  after.volumes.forEach((volume, index) => {
    const was = before.volumes[index];
    if (was === undefined) return;
    const here = [...place, "volumes", volume.name];
    if (was.bytes !== volume.bytes)
      problems.push(
        refusal(
          [...here, "size"],
          `${was.bytes} bytes -> ${volume.bytes} bytes is no reload`,
          volume.bytes < was.bytes
            ? `write size: ${was.bytes}, which it has; volumes do not shrink`
            : `put it back; antipode resize ${after.name}/${volume.name} ${volume.bytes} grows it`,
        ),
      );
    if (was.at.get(site) !== volume.at.get(site) || was.trustDevice !== volume.trustDevice)
      problems.push(
        refusal([...here, "at"], `the image of ${volume.name} at ${site} is in use`, atRestart),
      );
  });
  return problems;
}

/** What changes of the ways to other sites. */
export function describeAddresses(
  site: string,
  addressBefore: (to: string) => string,
  after: { readonly sites: Iterable<string>; readonly addressOf: (to: string) => string },
): string[] {
  return [...after.sites].flatMap((to) => {
    const address = after.addressOf(to);
    return to === site || address === addressBefore(to)
      ? []
      : [`${site} dials ${to} at ${address} from now on`];
  });
}

/** What a site has to itself, and no revision tells of: what it runs when its role changes. */
export function describeHooks(
  site: string,
  before: GroupConfig["hooks"],
  after: GroupConfig["hooks"],
): string[] {
  return (["onPromote", "onDemote"] as const).flatMap((hook) =>
    before[hook] === after[hook]
      ? []
      : [`${site}: hooks.${hook} ${before[hook] ?? "none"} -> ${after[hook] ?? "none"}`],
  );
}

function refusal(place: Place, reason: string, hint: string): PlacedProblem {
  return { place, reason, hint };
}
