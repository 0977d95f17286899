import { MiB } from "#base/limits.ts";
import { isoTime } from "#base/time.ts";
import type { Divergence, GroupRecord } from "./group-record.ts";
import { describeGeneration } from "./history.ts";
import { force, go, refuse } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { describePoint, inMiB } from "./point.ts";

// The way out of a split brain, as plans: the operator gives up what one site wrote by itself, takes that back, or lets the
// branch go that was kept of it. SPEC-branch.md tells it whole.

/** A site whose branch of the history is not the one here. */
export type Opponent = {
  readonly site: string;
  /** It has just answered, and is the primary of its branch. */
  readonly isPrimary: boolean;
  readonly answers: boolean;
  readonly wrote: Divergence | undefined;
};

export type DiscardFacts = {
  readonly record: GroupRecord;
  readonly wrote: Divergence;
  readonly opponents: readonly Opponent[];
  /** Hosts are, or may be, served here. */
  readonly isPrimary: boolean;
  readonly knowsItsWrites: boolean;
  /** Room for what is overwritten; 0: nothing is kept. */
  readonly bytesMax: number;
  /** At a bunker, which has written nothing by itself: what is given up is the log that it keeps of one side. */
  readonly log?: KeptLog;
};

export type KeptLog = {
  readonly endLsn: number;
  /** For whom it is kept by now, in words; "" where its primary may feed it. */
  readonly activation: string;
};

/** What giving up this site's own writes costs, and whether it may be done now. */
export function planDiscard(facts: DiscardFacts): Plan {
  const { record, opponents, log } = facts;
  const { group, site, branch } = record;
  const what = log === undefined ? `what ${site} wrote` : `the log that ${site} keeps`;
  const command = `antipode discard ${group} --site ${site}`;
  if (record.discarding !== undefined) return go([`${what} is given up already`]);
  if (opponents.length === 0)
    return refuse(
      `${site} has no part in a split brain of ${group}: no site that was heard has another history`,
      `antipode status ${group} --site ${site} shows what it knows`,
    );
  const lines = discardLines(facts);
  const keepers = opponents.filter(({ isPrimary }) => isPrimary);
  if (keepers.length === 0) {
    const { site: other, answers } = opponents[0] ?? { site: "", answers: false };
    return refuse(
      answers
        ? `${other} is not primary: nobody would serve what ${other} wrote, and bring it here`
        : `${other} does not answer: what it wrote cannot be brought here now`,
      answers
        ? `${facts.isPrimary ? `antipode demote ${group} --site ${site}, ` : ""}antipode promote ${group} --site ${other} --force, then this again; or discard ${other}`
        : `start ${other}, or mend the network to it`,
      lines,
    );
  }
  if (branch !== undefined)
    return refuse(
      `${site} keeps a branch already, of ${describePoint(branch)}`,
      `${command} --drop-branch lets it go`,
      lines,
    );
  const dangers = [
    ...(facts.isPrimary ? [`${site} is primary, and serves hosts`] : []),
    ...(whyNotKept(facts) === "" ? [] : [`nothing can be kept aside: ${whyNotKept(facts)}`]),
    ...(log === undefined || log.activation === "" ? [] : [log.activation]),
  ];
  if (dangers.length === 0) return go(lines);
  const others = keepers.map((keeper) => keeper.site).join(" or ");
  return force(
    lines,
    dangers.join("; "),
    `--force gives up ${what} all the same; --site ${others} would give up the other side`,
  );
}

function discardLines(facts: DiscardFacts): string[] {
  const { record, opponents, wrote, isPrimary, bytesMax, log } = facts;
  const { group, site } = record;
  if (log !== undefined) return logLines(facts, log);
  const why = whyNotKept(facts);
  const kept =
    why === ""
      ? `keeps what is overwritten here as a branch, in up to ${inMiB(bytesMax)} (preserve.bytesMax); ` +
        `antipode discard ${group} --site ${site} --undo brings it back, --drop-branch lets it go`
      : `keeps nothing aside, so that this cannot be undone: ${why}`;
  return [
    `gives up ${describeWrote(wrote, site)}`,
    ...opponents.map(keptLine),
    ...(isPrimary ? [`${site} stops serving hosts and is demoted`] : []),
    facts.knowsItsWrites
      ? "compares by hash what either side may have written, and brings over what differs"
      : "compares everything by hash, since no map tells what was written here, and brings over what differs",
    kept,
  ];
}

function logLines({ record, opponents }: DiscardFacts, { endLsn }: KeptLog): string[] {
  const { group, site, history } = record;
  return [
    `gives up the log of ${describeGeneration(history)} that ${site} keeps, up to LSN ${endLsn}`,
    ...opponents.map(keptLine),
    `is fed no more by ${history.at(-1)?.site ?? "its primary"}; begins anew with the log of the side that is kept`,
    `keeps nothing aside; until it begins anew, antipode discard ${group} --site ${site} --undo takes this back`,
  ];
}

function keptLine({ site, wrote }: Opponent): string {
  return wrote === undefined
    ? `keeps what ${site} wrote: how much that is is unknown`
    : `keeps ${describeWrote(wrote, site)}`;
}

function whyNotKept({ record, bytesMax, log }: DiscardFacts): string {
  if (log !== undefined) return "a log begins anew with an empty one";
  if (bytesMax === 0) return "preserve.bytesMax is 0";
  if (record.failedVolumes.length > 0) return "a sync of the image here has failed";
  if (record.image === "synchronized" || record.image === "consistent") return "";
  return `the image here is ${record.image}, and no state of its hosts'`;
}

/** "up to 12 regions, 0.8 MiB, that east wrote by itself since 2026-01-02T03:04:05.006Z". */
export function describeWrote({ regions, bytes, sinceMs }: Divergence, site: string): string {
  const since = sinceMs === undefined ? "" : ` since ${isoTime(sinceMs)}`;
  const size = bytes > 0 && bytes < MiB / 10 ? `${Math.ceil(bytes / 1024)} KiB` : inMiB(bytes);
  return `up to ${regions} regions, ${size}, that ${site} wrote by itself${since}`;
}

/** Takes the operator's word back: what it would bring back, and what it costs. */
export function planUndo(
  { group, site, branch, discarding, bunker }: GroupRecord,
  savedBytes: number,
): Plan {
  if (discarding !== undefined)
    return go([
      bunker === undefined
        ? `${describeWrote(discarding.wrote, site)} are not given up: the split brain stands`
        : `the log that ${site} keeps is not given up: the split brain stands`,
    ]);
  if (branch === undefined) return noBranch(group, site);
  return go([
    `takes the image of ${site} back to the branch: ${describePoint(branch)}, with ${describeWrote(branch.wrote, site)}`,
    `undoes what has been written here since: ${inMiB(savedBytes)}`,
    `${site} is no copy of the other side from then on: the split brain stands again`,
    `once no other site is primary, antipode promote ${group} --site ${site} --force serves the branch`,
  ]);
}

export function planDrop({ group, site, branch }: GroupRecord, usedBytes: number): Plan {
  if (branch === undefined) return noBranch(group, site);
  const wrote = describeWrote(branch.wrote, site);
  return go([
    `lets the branch at ${site} go: ${describePoint(branch)}, with ${wrote}; it cannot be brought back then`,
    `frees ${inMiB(usedBytes)}`,
  ]);
}

function noBranch(group: string, site: string): Plan {
  return refuse(
    `${site} keeps no branch of ${group}`,
    `antipode status ${group} --site ${site} shows what it keeps`,
  );
}
