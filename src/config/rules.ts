import { limits } from "#base/limits.ts";
import { relaysOf } from "./build.ts";
import type { Place } from "./locate.ts";
import { nearest } from "./nearest.ts";
import type { RawCopy, RawFile, RawGroup } from "./schema.ts";
import type { PlacedProblem } from "./shape.ts";
import { formatDuration, formatSize } from "./units.ts";
import { defaults } from "./defaults.ts";
import { isDeviceUri, parseDeviceUri } from "./device-uri.ts";

// What the keys of the cluster file must fulfil beyond their own shape: names, references, numbers, combinations.
// Addresses and paths have rules of their own, in places.ts.

type CopyOption = keyof RawCopy;

/** Options that only some modes know (INTERFACE, table of the copy's options). */
const optionModes = new Map<CopyOption, readonly string[]>([
  ["onLoss", ["sync", "bunker"]],
  ["ackTimeout", ["sync", "bunker"]],
  ["preserve", ["sync", "async", "cycle"]],
  ["seal", ["async"]],
  ["staging", ["async"]],
  ["every", ["cycle"]],
  ["ackAt", ["cycle"]],
  ["through", ["cycle"]],
  ["connections", ["async", "cycle"]],
  ["compress", ["async", "cycle"]],
  ["replay", ["bunker"]],
  ["replayAfter", ["bunker"]],
]);

const lossPolicies = new Map([
  ["sync", ["continue", "stall", "fail"]],
  ["bunker", ["override", "fail", "off"]],
]);

const nameForm = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** A site's data folder holds one folder per group beside these files of the site itself. */
const reservedGroupNames = ["lock", "events.jsonl", "events.jsonl.1"];

/** Every rule that the file breaks. */
export function checkRules(file: RawFile): readonly PlacedProblem[] {
  const sites = Object.keys(file.sites);
  const groups = Object.entries(file.groups ?? {});
  return [
    ...checkName(["cluster"], file.cluster),
    ...sites.flatMap((site) => checkName(["sites", site], site)),
    ...checkCount(["sites"], sites.length, 1, limits.sitesMax),
    ...checkCount(["groups"], groups.length, 0, limits.groupsMax),
    ...Object.entries(file.sites).flatMap(([name, site]) =>
      Object.keys(site.reach ?? {}).flatMap((peer) =>
        peer === name
          ? [
              problem(
                ["sites", name, "reach", peer],
                "a site does not dial itself",
                "name another site",
              ),
            ]
          : checkSite(["sites", name, "reach", peer], peer, sites),
      ),
    ),
    ...groups.flatMap(([name, group]) => checkGroup(["groups", name], group, sites)),
  ];
}

function checkGroup(place: Place, group: RawGroup, sites: readonly string[]): PlacedProblem[] {
  const name = String(place.at(-1));
  const copies = Object.entries(group.copies ?? {});
  const volumes = Object.entries(group.volumes);
  // A misspelt primary is one mistake: every site then passes for a member.
  const isPrimaryKnown = sites.includes(group.primary);
  const members = isPrimaryKnown ? [group.primary, ...copies.map(([site]) => site)] : sites;
  const problems = [
    ...checkName(place, name),
    ...checkSite([...place, "primary"], group.primary, sites),
    ...checkCount([...place, "volumes"], volumes.length, 1, limits.volumesPerGroupMax),
    ...checkCount([...place, "copies"], copies.length, 0, copiesMax(group)),
    ...checkRegion([...place, "region"], group.region),
    ...checkJournal([...place, "journal", "size"], group.journal?.size),
  ];
  if (reservedGroupNames.includes(name)) {
    problems.push(
      problem(
        place,
        `a site keeps a file of its own under the name ${name}`,
        "choose another name",
      ),
    );
  }
  for (const [volume, { size, at }] of volumes) {
    const where = [...place, "volumes", volume];
    problems.push(...checkName(where, volume), ...checkVolumeSize([...where, "size"], size));
    for (const site of Object.keys(at ?? {})) {
      problems.push(...checkMember([...where, "at", site], site, { sites, members }));
    }
  }
  problems.push(...checkBunkers(place, group), ...checkPathBunker(place, group));
  problems.push(...checkDevices(place, group));
  for (const [site, copy] of copies) {
    const at = [...place, "copies", site];
    problems.push(...checkSite(at, site, sites), ...checkCopy(at, copy));
    problems.push(...checkRelay([...at, "through"], copy, group, sites));
    if (site === group.primary) {
      problems.push(
        problem(at, `${site} is the primary and cannot be its own copy`, "name another site"),
      );
    }
  }
  return problems;
}

// What a bunker keeps is of use to copies that take sets alone; and it has no image that could lie anywhere.
function checkBunkers(place: Place, { copies = {}, volumes }: RawGroup): PlacedProblem[] {
  const bunkers = Object.keys(copies).filter((site) => copies[site]?.mode === "bunker");
  const [bunker] = bunkers;
  if (bunker === undefined) return [];
  const problems: PlacedProblem[] = [];
  const at = [...place, "copies", bunker];
  if (!Object.values(copies).some(isFedFromLog)) {
    const reason =
      "a bunker keeps the log for copies that are fed from it, and this group has none";
    problems.push(problem(at, reason, "add a copy with mode: async or cycle"));
  }
  for (const [volume, { at: images }] of Object.entries(volumes)) {
    for (const site of bunkers.filter((one) => images?.[one] !== undefined)) {
      const where = [...place, "volumes", volume, "at", site];
      problems.push(problem(where, `${site} is a bunker and keeps no volume`, "leave it out"));
    }
  }
  return problems;
}

// The second log of the journal is a member like a bunker, and so is a relay.
function copiesMax(group: RawGroup): number {
  const onPath = group.journal?.mirror === undefined ? 0 : 1;
  return limits.copiesPerGroupMax - onPath - relaysOf(group).size;
}

// A relay keeps the log at the primary's side, and no volume.
function checkRelay(
  place: Place,
  { through }: RawCopy,
  { primary, copies = {} }: RawGroup,
  sites: readonly string[],
): PlacedProblem[] {
  if (through === undefined) return [];
  const hint = "name a site that holds nothing else of this group, or a bunker of it";
  const unknown = checkSite(place, through, sites);
  if (unknown.length > 0) return unknown;
  if (through === primary)
    return [problem(place, `${through} is the primary, which feeds copies without a relay`, hint)];
  const mode = copies[through]?.mode;
  if (mode === undefined || mode === "bunker") return [];
  return [problem(place, `${through} holds the volumes, and a relay holds none`, hint)];
}

function checkPathBunker(place: Place, { copies = {}, journal }: RawGroup): PlacedProblem[] {
  if (journal?.replay === "auto") {
    const reason = "a log on a path has no process that could hear whether the primary lives";
    const hint =
      "replay: auto belongs to a copy with mode: bunker; antipode replay --from PATH begins it here";
    return [problem([...place, "journal", "replay"], reason, hint)];
  }
  if (journal?.mirror === undefined) return [];
  const [automatic] = Object.entries(copies).find(([, { replay }]) => replay === "auto") ?? [];
  if (automatic !== undefined) {
    const reason =
      "of two logs the longer one is replayed, and nobody is there to say how long that of journal.mirror is";
    const hint = "leave journal.mirror out, or let an operator begin replays (replay: manual)";
    return [problem([...place, "copies", automatic, "replay"], reason, hint)];
  }
  if (Object.values(copies).some(isFedFromLog)) return [];
  const reason =
    "a second log is kept for copies that are fed from the journal, and this group has none";
  const hint = "add a copy with mode: async or cycle";
  return [problem([...place, "journal", "mirror"], reason, hint)];
}

// A device behind a link goes away and forgets what was not flushed: the journal has to have it until then (decision 17).
function checkDevices(place: Place, { copies = {}, volumes }: RawGroup): PlacedProblem[] {
  const hasJournal = Object.values(copies).some(isFedFromLog);
  return Object.entries(volumes).flatMap(([volume, { at = {}, trustDevice }]) => {
    const where = [...place, "volumes", volume];
    const devices = Object.entries(at).filter(([, place]) => isDeviceUri(place));
    if (devices.length === 0 && trustDevice !== undefined) {
      const reason = "trustDevice belongs to a volume on an NBD server, and this one is on none";
      return [problem([...where, "trustDevice"], reason, "leave it out")];
    }
    return devices.flatMap(([site, uri]) => {
      const at = [...where, "at", site];
      const parsed = parseDeviceUri(uri);
      if (!parsed.ok) return [problem(at, parsed.reason, parsed.hint)];
      if (hasJournal) return [];
      const reason =
        "a volume on an NBD server needs the journal in front of it, and this group keeps none";
      const hint = "add a copy with mode: async or cycle, or name a file or a block device";
      return [problem(at, reason, hint)];
    });
  });
}

/** Its sets come from the journal, so that a log of it helps. The policy table says so elsewhere: config imports no core. */
export function isFedFromLog({ mode }: { readonly mode: string }): boolean {
  return mode === "async" || mode === "cycle";
}

function checkJournal(place: Place, bytes: number | undefined): PlacedProblem[] {
  const { journalBytesMin, journalBytesMax } = limits;
  if (bytes === undefined || (bytes >= journalBytesMin && bytes <= journalBytesMax)) return [];
  const range = `${formatSize(journalBytesMin)} to ${formatSize(journalBytesMax)}`;
  return [problem(place, `a journal of ${formatSize(bytes)} cannot be kept`, `${range} fit`)];
}

function checkCopy(place: Place, copy: RawCopy): PlacedProblem[] {
  const problems: PlacedProblem[] = [];
  for (const [option, modes] of optionModes) {
    if (copy[option] === undefined || modes.includes(copy.mode)) continue;
    const reason = `${option} belongs to mode ${modes.join(" and ")}, and this copy is ${copy.mode}`;
    problems.push(problem([...place, option], reason, "leave it out"));
  }
  const policies = lossPolicies.get(copy.mode);
  if (copy.onLoss !== undefined && policies !== undefined && !policies.includes(copy.onLoss)) {
    const reason = `a ${copy.mode} copy knows no onLoss: ${copy.onLoss}`;
    problems.push(problem([...place, "onLoss"], reason, `expected ${policies.join(", ")}`));
  }
  const probeMs = copy.probe ?? defaults.probeMs;
  const timeoutMs = copy.timeout ?? defaults.timeoutMs;
  if (probeMs < limits.tickMs) {
    const reason = `a probe each ${formatDuration(probeMs)} is more often than the site's own clock ticks`;
    problems.push(
      problem([...place, "probe"], reason, `give it ${formatDuration(limits.tickMs)} or more`),
    );
  }
  if (timeoutMs < 2 * probeMs) {
    const silence = `a silence of ${formatDuration(timeoutMs)}`;
    const reason = `${silence} is not told from one late probe (probe: ${formatDuration(probeMs)})`;
    const wrong = copy.timeout === undefined ? "probe" : "timeout";
    problems.push(problem([...place, wrong], reason, "let timeout be at least twice probe"));
  }
  if (copy.ackTimeout !== undefined && copy.ackTimeout < limits.tickMs) {
    const reason = `${formatDuration(copy.ackTimeout)} would lose the copy at the first hiccup`;
    problems.push(
      problem([...place, "ackTimeout"], reason, `give it ${formatDuration(limits.tickMs)} or more`),
    );
  }
  if (
    copy.every !== undefined &&
    (copy.every < limits.cycleMsMin || copy.every > limits.cycleMsMax)
  ) {
    const range = `${formatDuration(limits.cycleMsMin)} to ${formatDuration(limits.cycleMsMax)}`;
    const reason = `a cycle of ${formatDuration(copy.every)} cannot be kept`;
    problems.push(problem([...place, "every"], reason, `${range} fit`));
  }
  for (const [key, value, least] of [
    ["every", copy.seal?.every, "1ms"],
    ["bytes", copy.seal?.bytes, "1"],
  ] as const) {
    if (value !== 0) continue;
    const reason = "a set of nothing would never be sent";
    const hint = `give it ${least} or more: each write is then a set of its own`;
    problems.push(problem([...place, "seal", key], reason, hint));
  }
  problems.push(...checkReplay(place, copy));
  if (copy.rate !== undefined && copy.rate < limits.rateBytesPerSecondMin) {
    const reason = `${copy.rate} bytes per second would never bring a copy up`;
    const hint = `give it ${formatSize(limits.rateBytesPerSecondMin)} or more, or leave it out`;
    problems.push(problem([...place, "rate"], reason, hint));
  }
  return problems;
}

// How long to wait for a primary is of no meaning where nobody begins a replay but an operator.
function checkReplay(place: Place, { mode, replay, replayAfter }: RawCopy): PlacedProblem[] {
  if (replayAfter === undefined || mode !== "bunker") return [];
  const at = [...place, "replayAfter"];
  if (replay !== "auto")
    return [
      problem(at, "replayAfter belongs to replay: auto", "write replay: auto, or leave it out"),
    ];
  const leastMs = limits.replayAfterMsMin;
  if (replayAfter >= leastMs) return [];
  const reason = `a silence of ${formatDuration(replayAfter)} is no loss of the primary`;
  return [problem(at, reason, `give it ${formatDuration(leastMs)} or more`)];
}

function checkName(place: Place, name: string): PlacedProblem[] {
  if (name.length > limits.nameBytesMax) {
    return [
      problem(place, `the name is longer than ${limits.nameBytesMax} characters`, "shorten it"),
    ];
  }
  if (nameForm.test(name)) return [];
  const hint = "use letters, digits, - _ and ., beginning with a letter or digit";
  return [problem(place, `${JSON.stringify(name)} cannot be a name`, hint)];
}

function checkSite(place: Place, site: string, sites: readonly string[]): PlacedProblem[] {
  if (sites.includes(site)) return [];
  const near = nearest(site, sites);
  const hint =
    near === undefined ? `sites of this file: ${sites.join(", ")}` : `did you mean ${near}?`;
  return [problem(place, `there is no site ${JSON.stringify(site)}`, hint)];
}

function checkMember(
  place: Place,
  site: string,
  known: { readonly sites: readonly string[]; readonly members: readonly string[] },
): PlacedProblem[] {
  const unknown = checkSite(place, site, known.sites);
  if (unknown.length > 0 || known.members.includes(site)) return unknown;
  const hint = `sites that hold it: ${known.members.join(", ")}`;
  return [problem(place, `site ${site} does not hold this group`, hint)];
}

function checkCount(place: Place, count: number, min: number, max: number): PlacedProblem[] {
  if (count < min) return [problem(place, "is empty", `it needs at least ${min}`)];
  if (count <= max) return [];
  return [problem(place, `${count} are too many`, `at most ${max} fit`)];
}

function checkVolumeSize(place: Place, bytes: number): PlacedProblem[] {
  const { sectorBytes, volumeBytesMax } = limits;
  if (bytes < sectorBytes || bytes % sectorBytes !== 0) {
    const next = Math.max(1, Math.ceil(bytes / sectorBytes)) * sectorBytes;
    return [
      problem(
        place,
        `${bytes} is no multiple of ${sectorBytes} bytes, a disk's unit`,
        `the next is ${next}`,
      ),
    ];
  }
  if (bytes <= volumeBytesMax) return [];
  return [
    problem(
      place,
      `${formatSize(bytes)} is too large`,
      `at most ${formatSize(volumeBytesMax)} fit`,
    ),
  ];
}

function checkRegion(place: Place, bytes: number | undefined): PlacedProblem[] {
  if (bytes === undefined) return [];
  const { regionBytesMin: min, regionBytesMax: max } = limits;
  if (bytes >= min && bytes <= max && Number.isInteger(Math.log2(bytes))) return [];
  const hint = `use a power of two from ${formatSize(min)} to ${formatSize(max)}`;
  return [problem(place, `${formatSize(bytes)} cannot be a region`, hint)];
}

function problem(place: Place, reason: string, hint: string): PlacedProblem {
  return { place, reason, hint };
}
