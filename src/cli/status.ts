import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { formatDuration, formatSize } from "#config/units.ts";
import { missedObjectives, objectivesOf } from "#control/objectives.ts";
import { describeWrote } from "#core/discard.ts";
import { describePoint } from "#core/point.ts";
import { isPrimaryRole } from "#site/api.ts";
import type { BranchStatus, CopyStatus, GroupStatus } from "#site/api.ts";
import type {
  PreservedStatus,
  PrimaryFailureStatus,
  SiteStatus,
  SplitStatus,
  VolumeStatus,
} from "#site/api.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import type { Aim } from "./find-site.ts";
import { askSite, findGroup, findSite } from "./find-site.ts";
import { describeLoss, isCutOff } from "./loss.ts";
import { describeAutoReplay, takeoverOf } from "./lost-primary.ts";
import { exitCodes, highlight, say, sayError, sayJson, warn } from "./output.ts";
import { formatTable } from "./table.ts";

export type StatusOptions = GlobalOptions & {
  readonly watch?: boolean;
  readonly check?: boolean;
  readonly all?: boolean;
};

const watchMs = 1_000;

/**
 * `antipode status`: one look, or one each second with `--watch`; `--check` ends in 1 when a group is worse than its
 * objective.
 */
export async function status(group: string | undefined, options: StatusOptions): Promise<number> {
  const aim = aimOf(options);
  if (options.all === true) return statusOfAll(aim, group, options);
  if (options.watch === true) return watch(aim, group, options);
  const { seen, askedAt } = await look(aim, group, options.check === true);
  show(seen, options, askedAt);
  if (options.check !== true) return exitCodes.done;
  const complaints = missedObjectives(seen, objectivesOf(aim.config));
  for (const { group: name, why } of complaints)
    sayError(`${name}: ${why}`, `antipode why ${name}`);
  return complaints.length === 0 ? exitCodes.done : exitCodes.failed;
}

/** `antipode status --all`: every group at every site that answers; those that do not are named. */
async function statusOfAll(
  aim: Aim,
  group: string | undefined,
  options: StatusOptions,
): Promise<number> {
  const other = options.watch === true ? "--watch" : options.check === true ? "--check" : group;
  if (other !== undefined)
    throw new AppError("usage", `--all shows everything once, and does not go with ${other}`);
  const sites: SiteStatus[] = [];
  const silent: { site: string; why: string }[] = [];
  for (const site of aim.config.sites.keys()) {
    try {
      sites.push((await askSite(aim.config, site)).status);
    } catch (error: unknown) {
      if (!(error instanceof AppError)) throw error;
      silent.push({ site, why: error.message });
    }
  }
  if (options.json === true) sayJson({ sites, silent });
  else {
    for (const seen of sites) {
      show(seen, options);
      say("");
    }
  }
  for (const { why } of silent) warn(why);
  if (sites.length > 0) return exitCodes.done;
  throw new AppError("unreachable", "no site answers", {
    hint: "start one with: antipode serve --site NAME",
  });
}

async function watch(aim: Aim, group: string | undefined, options: StatusOptions): Promise<number> {
  // Ends by a signal, or when whoever reads has gone.
  for (;;) {
    try {
      const { seen } = await look(aim, group, false);
      if (process.stdout.isTTY) process.stdout.write("\u001b[H\u001b[2J");
      if (options.json === true) say(JSON.stringify(seen));
      else show(seen, options);
    } catch (error: unknown) {
      // Who watches wants to see a site come back, too.
      sayError(error instanceof Error ? error.message : String(error), undefined);
    }
    await sleep(watchMs);
  }
}

/**
 * What the command is about: one group where it is best known, or all that a site tells. To judge objectives without
 * `--site`, each group is asked for at its primary, as only that one knows its copies.
 */
async function look(aim: Aim, name: string | undefined, judge: boolean): Promise<Seen> {
  const askedAt = new Map<string, string>();
  if (name !== undefined) {
    const { status: whole, group } = await findGroup(aim, name);
    return { seen: { ...whole, groups: [group] }, askedAt };
  }
  const { status: whole } = await findSite(aim);
  if (!judge || aim.site !== undefined) return { seen: whole, askedAt };
  const groups: GroupStatus[] = [];
  for (const configured of aim.config.groups.keys()) {
    const { status: asked, group } = await findGroup(aim, configured);
    groups.push(group);
    askedAt.set(configured, asked.site);
  }
  return { seen: { ...whole, groups }, askedAt };
}

/** What is shown; and of each group that another site than the one at the head told of, which that was. */
type Seen = { readonly seen: SiteStatus; readonly askedAt: ReadonlyMap<string, string> };

function show(
  seen: SiteStatus,
  options: GlobalOptions,
  askedAt: ReadonlyMap<string, string> = new Map(),
): void {
  if (options.json === true) {
    sayJson(seen);
    return;
  }
  say(`site ${highlight("bold", seen.site)}, antipode ${seen.version}`);
  if (seen.groups.length === 0) say("no groups here");
  for (const group of seen.groups) {
    say("");
    for (const line of describeGroup(group, askedAt.get(group.name) ?? seen.site)) say(line);
  }
}

/** Where a journal fills, how far it is, and what that costs hosts already. */
function journalLines({ journal }: GroupStatus): readonly string[] {
  const { bytesUsed, bytesMax, isPacing, overflowSeconds, diskFull } = journal;
  // A site of an earlier version does not speak of its disk.
  const disk =
    diskFull === undefined || diskFull === ""
      ? []
      : [`  the disk under the journal is full: ${diskFull}`];
  if (!isPacing && overflowSeconds === null) return disk;
  const used = `journal: ${formatSize(bytesUsed)} of ${formatSize(bytesMax)}`;
  const full =
    overflowSeconds === null
      ? ""
      : `, full in ${formatDuration(Math.ceil(overflowSeconds) * 1000)} as of late`;
  return [
    ...disk,
    `  ${used}${full}${isPacing ? "; hosts are slowed down to what the copies take" : ""}`,
  ];
}

/** A group for people: what it is, its volumes, its copies, and what would be lost. */
export function describeGroup(group: GroupStatus, site: string): readonly string[] {
  const serving = isPrimaryRole(group.role)
    ? group.serving
      ? ", serving"
      : ", not serving"
    : `, primary ${group.primary}`;
  const lines = [
    `${highlight("bold", group.name)}: ${group.role}${serving}, generation ${group.generation}, lsn ${group.lsn}`,
  ];
  if (group.why !== "") lines.push(`  why: ${group.why}`);
  if (group.primaryFailure !== undefined) lines.push(failureLine(group.primaryFailure));
  const autoReplay = describeAutoReplay(group, Date.now());
  if (autoReplay !== undefined) lines.push(`  ${autoReplay}`);
  for (const split of group.splits ?? []) lines.push(...splitLines(group, site, split));
  const { revision, differing } = group.configuration;
  if (differing.length > 0)
    lines.push(
      `  the file of ${differing.join(" and ")} differs from revision ${revision}, which rules`,
    );
  lines.push(
    ...formatTable(
      [
        ["VOLUME", "SIZE", "STATE", "URI"],
        ...group.volumes.map((volume) => [
          volume.name,
          formatSize(volume.bytes),
          colourVolume(volume.state),
          volume.uri,
        ]),
      ],
      "  ",
    ),
  );
  for (const volume of group.volumes)
    if (volume.device !== undefined) lines.push(`  ${describeDevice(volume)}`);
  if (group.copies.length > 0)
    lines.push(...formatTable([copyHead, ...group.copies.map(copyRow)], "  "));
  lines.push(...journalLines(group));
  for (const { site: copy, preserved } of group.copies)
    if (preserved !== undefined) lines.push(`  ${describePreserved(copy, preserved)}`);
  for (const { site: copy, branch } of group.copies)
    if (branch !== undefined) lines.push(`  ${describeBranch(group.name, copy, branch)}`);
  lines.push(`  ${describeLoss(group, site)}`);
  const mayTakeOver = group.role === "secondary" || group.role === "bunker";
  const takeover = mayTakeOver ? takeoverOf(group, site) : undefined;
  if (takeover !== undefined && group.copies.some(isCutOff))
    lines.push(`  If ${group.primary} is lost for good: ${takeover}`);
  return lines;
}

function describeDevice({ name, device, link, why, deviceLagBytes = 0 }: VolumeStatus): string {
  const lag =
    deviceLagBytes === 0 ? "" : `; up to ${formatSize(deviceLagBytes)} are in the journal alone`;
  const state = link === "up" ? "up" : `${link}: ${why}`;
  return `${name} lies on ${device}, ${state}${lag}`;
}

/** What a copy can be taken back to while a resync writes to it. */
function describePreserved(copy: string, preserved: PreservedStatus): string {
  const { phase, stampMs, keptSinceMs, bytesUsed, bytesMax } = preserved;
  const at = new Date(stampMs > 0 ? stampMs : keptSinceMs).toISOString();
  const how = phase === "kept" ? "keeps" : "goes back to";
  return `${copy} ${how} a preserved point: ${describePoint(preserved)}, of ${at}; its log takes ${formatSize(bytesUsed)} of ${formatSize(bytesMax)}`;
}

function failureLine({ site, node, failed, volumes }: PrimaryFailureStatus): string {
  const words = [
    ...(node === undefined ? [] : [`it does not answer (${node})`]),
    ...(failed === undefined ? [] : [`it has failed, and serves and feeds nobody (${failed})`]),
    ...volumes.map((name) => `volume ${name} has failed there`),
  ];
  return `  ${highlight("red", `primary ${site}`)}: ${words.join("; ")}`;
}

function splitLines({ name }: GroupStatus, site: string, split: SplitStatus): string[] {
  const { site: other, wroteHere, wroteThere } = split;
  const theirs =
    wroteThere === undefined
      ? `what ${other} wrote by itself is unknown`
      : describeWrote(wroteThere, other);
  return [
    `  ${highlight("red", "split brain")} with ${other}: ${describeWrote(wroteHere, site)}; ${theirs}`,
    `  one side must be given up: antipode discard ${name} --site ${site} --dry-run, or --site ${other}`,
  ];
}

/** What a site can bring back of what it gave up. */
function describeBranch(group: string, copy: string, branch: BranchStatus): string {
  const { phase, keptSinceMs, bytesUsed, bytesMax, wrote } = branch;
  const how = phase === "kept" ? "keeps" : "goes back to";
  return (
    `${copy} ${how} a branch: ${describePoint(branch)}, with ${describeWrote(wrote, copy)}, given up ` +
    `${new Date(keptSinceMs).toISOString()}; its log takes ${formatSize(bytesUsed)} of ${formatSize(bytesMax)}; ` +
    `antipode discard ${group} --site ${copy} --undo brings it back, --drop-branch lets it go`
  );
}

const copyHead = ["COPY", "MODE", "STATE", "IMAGE", "LAG", "DIRTY", "LINK", "WHY"];

function copyRow(copy: CopyStatus): readonly string[] {
  return [
    copy.site,
    copy.mode,
    colourState(copy.state),
    copy.image,
    `${formatSize(copy.lagBytes)}/${copy.isLagCounted === false ? "?" : copy.lagWrites}w/${Math.round(copy.lagSeconds * 10) / 10}s`,
    formatSize(copy.dirtyBytes),
    copy.link,
    copy.why,
  ];
}

function colourState(state: CopyStatus["state"]): string {
  if (state === "synchronized" || state === "streaming") return highlight("green", state);
  return highlight(state === "split-brain" || state === "tripped" ? "red" : "yellow", state);
}

function colourVolume(state: string): string {
  return highlight(state === "ok" ? "green" : "red", state);
}
