import { limits } from "#base/limits.ts";
import type { Branch, GroupRecord, ReplayedRecord, RevertedPoint } from "./group-record.ts";
import { generationCounter } from "./history.ts";
import { force, go, refuse } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { describePoint, inMiB } from "./point.ts";

/** A generation that this site does not have: its number, who began it, and a site that is of it, which may be another one. */
export type Successor = {
  readonly site: string;
  readonly primary: string;
  readonly generation: number;
};

/** What a site knows when it is asked to become the primary. */
export type PromotionFacts = {
  readonly record: GroupRecord;
  /** The site that this one holds for the primary, or "" when it never had one. */
  readonly primary: string;
  /** What the asking has brought: it serves, does not say yet what it is, is not the primary any more, or is silent. */
  readonly primaryState: "serves" | "starting" | "demoted" | "silent";
  /** Why the primary, which answers, cannot go on, as it says itself; "" where it does not say so. */
  readonly primaryFailed: string;
  readonly successor: Successor | undefined;
  /** Sites of the group that did not answer. */
  readonly silentSites: readonly string[];
  /** What the primary last said of itself, and how long ago that was. */
  readonly primaryLsn: number;
  /** The set that was open there then, 0 where it has none. */
  readonly primarySet: number;
  /** Writes and bytes that this site lacked of all that, at most, as the primary said. */
  readonly lackedWrites: number | undefined;
  readonly lackedBytes: number | undefined;
  readonly heardMsAgo: number | undefined;
  /** The last LSN in the image; undefined where a mirror was not fed since its process started, and so cannot tell. */
  readonly appliedLsn: number | undefined;
  /** With sets: what a promotion keeps, the highest LSN known of, and the last before an orderly demotion, if there was one. */
  readonly sets:
    | {
        readonly completeLsn: number;
        readonly completeSet: number;
        readonly knownLsn: number;
        readonly endedLsn: number | undefined;
      }
    | undefined;
  /** Bunkers that answer: their logs may have what this copy lacks. */
  readonly bunkers: readonly BunkerFacts[];
  readonly wallMs: number;
  /** Bytes of the image that going back to the preserved point undoes, where there is one. */
  readonly undoneBytes: number;
  /** Bytes of the image that were open in volumes of which a sync has failed. */
  readonly failedBytes: number;
  /** The policy under which the primary feeds this copy lets it ack alone. */
  readonly mayAckAlone: boolean;
};

/** `endLsn`: what it last said of where its log ends, in the generation that is held here; 0: unknown. */
export type BunkerFacts = { readonly site: string; readonly endLsn: number };

/** Decision 7: when a copy may become the primary, and what that would lose. */
export function planPromotion(facts: PromotionFacts): Plan {
  const { branch, discarding, group, site } = facts.record;
  const ofImage = planForImage(facts);
  if (ofImage.verdict === "refuse") return ofImage;
  const plan = isInDoubt(facts.record) ? doubtfulPlan(facts, ofImage) : ofImage;
  if (branch !== undefined) return branchPlan(facts, branch, plan);
  if (discarding === undefined) return plan;
  const why = `what ${site} wrote by itself has been given up, in favour of another site's`;
  return force(
    [...plan.lines, "takes that word back: what was given up here is served again"],
    why,
    `leave it to its resync, or antipode discard ${group} --site ${site} --undo; --force serves it`,
  );
}

// What was written since a point is written back and synced when the image goes back: that is in no doubt.
function isInDoubt({ failedVolumes, preservedPoint }: GroupRecord): boolean {
  return failedVolumes.length > 0 && preservedPoint === undefined;
}

/** The kernel may have dropped what it could not write, which was acked: only another site can tell (F15, trap 8). */
function doubtfulPlan(facts: PromotionFacts, plan: Plan): Plan {
  const { failedVolumes, site } = facts.record;
  const names = failedVolumes.join(", ");
  const amount = `up to ${inMiB(facts.failedBytes)}`;
  return force(
    [
      ...plan.lines.filter((line) => !/nothing (acked until then )?is lost/.test(line)),
      `may lack ${amount} that hosts wrote to ${names}: a sync of it has failed here; what it reads there is written again`,
    ],
    plan.refusal === ""
      ? `a sync of ${names} has failed at ${site}: ${amount} that hosts wrote may not be on its disk`
      : plan.refusal,
    plan.hint === ""
      ? `bring ${facts.primary} back, which brings this copy up, or promote another one; --force serves what is here`
      : plan.hint,
  );
}

/** Hosts that write here would overwrite what only the branch's log could tell from before. */
function branchPlan(facts: PromotionFacts, branch: Branch, plan: Plan): Plan {
  const { record } = facts;
  const name = `the branch at ${describePoint(branch)}`;
  const command = `antipode discard ${record.group} --site ${record.site}`;
  if (record.image === "synchronizing" && record.preservedPoint === undefined)
    return refuse(
      `${name} is being overwritten: the image here is of different ages`,
      `${command} --undo takes it back to the branch, which can then be promoted`,
    );
  return force(
    [...plan.lines, `gives up ${name}, which is kept here`],
    plan.refusal === "" ? `${name} is kept here, and a promotion would give it up` : plan.refusal,
    `${command} --drop-branch lets it go, --undo brings it back; --force gives it up` +
      (plan.hint === "" ? "" : `; ${plan.hint}`),
  );
}

function planForImage(facts: PromotionFacts): Plan {
  const { record, primary } = facts;
  if (facts.primaryState === "serves") {
    // It takes no command any more, and no host's write; whatever it has acked it may bring back.
    if (facts.primaryFailed !== "")
      return refuse(
        `${primary} is the primary, answers, and has failed: ${facts.primaryFailed}`,
        `stop site ${primary}: mended, it serves again as soon as it is started; left stopped, this copy can be promoted`,
      );
    return refuse(
      `${primary} is the primary and answers`,
      `demote it first (antipode demote ${record.group} --site ${primary}), or stop it`,
    );
  }
  if (record.history.length >= limits.generationsMax) {
    return refuse(
      `the group has been through ${record.history.length} generations, the most that can be told apart`,
      "make a new group from this image",
    );
  }
  if (record.syncedAt === undefined) {
    return refuse(
      "this site never held a whole image of the group",
      `bring ${primary === "" ? "the primary" : primary} back, or promote another copy`,
    );
  }
  const lines = [`becomes primary in generation ${nextCounter(record)}`, ...backLines(facts)];
  if (facts.primaryState === "starting") return startingPlan(primary, lines);
  if (facts.successor !== undefined) return succeededPlan(facts.successor, lines);
  switch (record.image) {
    case "synchronized":
      return go([...lines, ...synchronizedLines(facts)]);
    case "consistent":
      if (record.reverted !== undefined) return pointPlan(facts, record.reverted, lines);
      return facts.sets === undefined || record.toldOfFracture !== undefined
        ? consistentPlan(facts, lines)
        : setsPlan(facts, facts.sets, lines);
    default:
      if (record.preservedPoint !== undefined)
        return pointPlan(facts, record.preservedPoint, lines);
      return force(
        [
          ...lines,
          `the image is ${record.image}: regions of different ages, no state the host ever saw`,
        ],
        `the image here is ${record.image}`,
        "wait until the resync has ended, or promote another copy; --force serves it as it is",
      );
  }
}

function backLines(facts: PromotionFacts): string[] {
  const { preservedPoint: point, reverted } = facts.record;
  if (point === undefined)
    return reverted === undefined
      ? []
      : [`starts at the preserved point that it went back to: ${describePoint(reverted)}`];
  return [
    `goes back to the preserved point: ${describePoint(point)}, of ${ageOf(point, facts)}`,
    `undoes what a resync has written here since: ${inMiB(facts.undoneBytes)}`,
  ];
}

/** Only what the point has is kept, and that is never all that is known of: a resync had begun. */
function pointPlan(facts: PromotionFacts, point: RevertedPoint, lines: readonly string[]): Plan {
  const { primary, record } = facts;
  const { lsn } = point;
  const missing = Math.max(0, facts.primaryLsn - lsn);
  const known =
    missing === 0
      ? "the writes after it"
      : `${missing} writes known, LSN ${lsn + 1} to ${lsn + missing},`;
  const name = describePoint(point);
  const image =
    record.preservedPoint === undefined
      ? "the image here was taken back to a preserved point"
      : `the image here is ${record.image}`;
  return force(
    [
      ...lines,
      `lacks ${known} and whatever ${primary} acked since we last heard of it (${ago(facts.heardMsAgo)})`,
    ],
    `${image}; ${name}, of ${ageOf(point, facts)}, can be promoted, and lacks ${known} and more that is unknown`,
    `bring ${primary} back, so that the resync goes on; --force promotes ${name} and gives the rest up`,
  );
}

// A mirror's point has no clock of its own; it is not newer than the resync that began then.
function ageOf(point: RevertedPoint, { wallMs }: PromotionFacts): string {
  return ago(Math.max(0, wallMs - (point.stampMs > 0 ? point.stampMs : point.keptSinceMs)));
}

function startingPlan(primary: string, lines: readonly string[]): Plan {
  return force(
    [
      ...lines,
      `${primary} lives; if it is the primary it goes on acking writes until it hears of this promotion`,
    ],
    `${primary} answers, and does not say yet what it is: it is starting`,
    "try again when it has started; --force may give up what it has acked",
  );
}

function succeededPlan({ site, primary, generation }: Successor, lines: readonly string[]): Plan {
  const follows = site === primary ? "" : `, and ${site} has followed it`;
  return force(
    [...lines, `gives up everything that ${primary} acked as primary of generation ${generation}`],
    `${primary} has been primary in generation ${generation}, which this site does not have${follows}`,
    `promote ${site} instead; --force makes two histories, of which one must be given up`,
  );
}

function synchronizedLines(facts: PromotionFacts): string[] {
  const { primary, primaryState, mayAckAlone } = facts;
  if (primaryState === "demoted")
    return [`${primary} was demoted and handed everything over; nothing is lost`];
  const lsn = facts.appliedLsn === undefined ? "" : ` (LSN ${facts.appliedLsn})`;
  const held = `held everything until ${ago(facts.heardMsAgo)}${lsn}`;
  if (!mayAckAlone)
    return [`${held}; the policy let nothing be acked without this copy: nothing is lost`];
  return [
    `${held}; nothing acked until then is lost`,
    `writes that ${primary} acked alone after that, if it lived on, would be lost: how many is unknown`,
  ];
}

function consistentPlan(facts: PromotionFacts, lines: readonly string[]): Plan {
  const { record, primary } = facts;
  // A primary that was demoted here or there handed over a finished image; nobody wrote since, as far as anyone knows.
  if (record.toldOfFracture === undefined) {
    const silent = facts.silentSites.join(", ");
    const doubt = `whether another site was promoted since is unknown (no answer: ${silent})`;
    // What an earlier promotion gave up is not said again: nobody here knows how much that was.
    const kept = `everything acked in generation ${nextCounter(record) - 1} is here`;
    return go([...lines, silent === "" ? kept : doubt]);
  }
  const { lsn, why } = record.toldOfFracture;
  // It was the primary itself: all that it may lack is what a successor has acked, if there was one.
  if (primary === record.site)
    return force(
      [
        ...lines,
        `takes back the role that it gave up at LSN ${lsn}: it has all that it acked until then`,
        "gives up what another site has acked since, if one was promoted",
      ],
      `${primary} gave its role up, for another site to take it (${why})`,
      `antipode status ${record.group} at the other sites tells whether one has; --force takes the role back here, and gives up what that one acked`,
    );
  const known = knownToLack(facts);
  return force(
    [
      ...lines,
      `lacks ${known} and whatever ${primary} acked since we last heard of it (${ago(facts.heardMsAgo)})`,
    ],
    `${primary} went on without this copy from LSN ${lsn} (${why})`,
    `bring ${primary} back; --force gives up ${known} and more that is unknown`,
  );
}

function knownToLack(facts: PromotionFacts): string {
  const { primaryLsn, appliedLsn } = facts;
  // It may have lacked some for long when it was told.
  if (appliedLsn === undefined)
    return primaryLsn === 0 ? "the writes after that" : `some writes up to LSN ${primaryLsn}`;
  const missing = missingWrites(facts, appliedLsn, primaryLsn);
  if (missing === 0) return "the writes after that";
  return `${missing} writes known, LSN ${appliedLsn + 1} to ${primaryLsn}${bytesKnown(facts)},`;
}

// A start of the primary leaves LSNs out: then the primary's own count is the lower one.
function missingWrites(facts: PromotionFacts, heldLsn: number, knownLsn: number): number {
  const { lackedWrites = Number.POSITIVE_INFINITY, primaryLsn } = facts;
  const since = Math.max(0, knownLsn - primaryLsn);
  return Math.min(Math.max(0, knownLsn - heldLsn), lackedWrites + since);
}

/** The primary told it with its last probe; what came after that is counted by its LSNs alone. */
function amountKnown(
  facts: PromotionFacts,
  { completeSet, knownLsn, endedLsn }: NonNullable<PromotionFacts["sets"]>,
): string {
  const { primarySet, primaryLsn } = facts;
  const bytes = bytesKnown(facts);
  const of = bytes === "" || (endedLsn ?? knownLsn) <= primaryLsn ? "" : ` up to LSN ${primaryLsn}`;
  const sets = primarySet <= completeSet ? "" : `, sets ${completeSet + 1} to ${primarySet}`;
  return `${sets}${bytes}${of}`;
}

function bytesKnown({ lackedBytes = 0 }: PromotionFacts): string {
  return lackedBytes === 0 ? "" : `, at most ${lackedBytes} bytes`;
}

/** A copy that takes sets is a state of the past: it is promoted as it is, unless it is known to lack writes. */
function setsPlan(
  facts: PromotionFacts,
  sets: NonNullable<PromotionFacts["sets"]>,
  lines: readonly string[],
): Plan {
  const { primary } = facts;
  const { completeLsn, endedLsn } = sets;
  const lastLsn = endedLsn ?? sets.knownLsn;
  const missing =
    endedLsn === undefined
      ? missingWrites(facts, completeLsn, lastLsn)
      : Math.max(0, lastLsn - completeLsn);
  const known = `${missing} writes known, LSN ${completeLsn + 1} to ${lastLsn}${amountKnown(facts, sets)}`;
  if (endedLsn !== undefined && missing === 0)
    return go([...lines, `${primary} was demoted and handed everything over; nothing is lost`]);
  const replayed = replayedBy(facts.record, completeLsn);
  const unread = facts.bunkers.filter((bunker) => !isCovered(bunker, replayed));
  if (replayed !== undefined && replayed.lsn < replayed.endLsn)
    return cutShortPlan(replayed, lines);
  if (unread.length > 0) return unreadPlan(facts, unread, lines);
  if (replayed?.isWhole === true) return replayedPlan(facts, replayed, lines);
  const since = `whatever ${primary} acked since we last heard of it (${ago(facts.heardMsAgo)})`;
  if (missing > 0) {
    const lost = endedLsn === undefined ? `${known}, and ${since}` : known;
    return force(
      [...lines, `lacks ${lost}`],
      `this copy lacks ${known}`,
      `bring ${primary} back; --force gives up ${endedLsn === undefined ? `${known}, and more that is unknown` : known}`,
    );
  }
  return go([
    ...lines,
    `has everything that is known of, up to LSN ${completeLsn}`,
    `lacks ${since}: how much that is is unknown`,
  ]);
}

// A log that had everything acked has all that another one has up to the LSN that both reach.
function isCovered({ site, endLsn }: BunkerFacts, replayed: ReplayedRecord | undefined): boolean {
  if (replayed === undefined) return false;
  return site === replayed.from || (replayed.isWhole && endLsn > 0 && endLsn <= replayed.lsn);
}

// One that was cut short is on record as it began. After it was called off, the log may have got more.
function replayedBy({ replayed }: GroupRecord, completeLsn: number): ReplayedRecord | undefined {
  if (replayed === undefined || replayed.isCancelled === true) return undefined;
  return { ...replayed, lsn: Math.max(replayed.lsn, completeLsn) };
}

/** A log with what this copy may lack is within reach: it is replayed first, since afterwards it cannot be any more (U32). */
function unreadPlan(
  { record }: PromotionFacts,
  bunkers: readonly BunkerFacts[],
  lines: readonly string[],
): Plan {
  // The longest first: what one log has ended early, another cannot bring any more.
  const [longest, ...others] = [...bunkers].sort((one, other) => other.endLsn - one.endLsn);
  const { site: from = "", endLsn = 0 } = longest ?? {};
  const names = [from, ...others.map(({ site }) => site)].join(", ");
  const known = endLsn === 0 ? "" : ` (${from}: up to LSN ${endLsn})`;
  const lost = `gives up what the log of ${names} has that this copy lacks${known}`;
  return force(
    [...lines, lost],
    `${from} keeps the log of ${record.group} and answers; it has not been replayed here`,
    `antipode replay ${record.group} --from ${from} --site ${record.site}; --force ${lost}`,
  );
}

function cutShortPlan(replayed: ReplayedRecord, lines: readonly string[]): Plan {
  const { from, lsn, endLsn } = replayed;
  const lost = `LSN ${lsn + 1} to ${endLsn} of the log of ${from}`;
  return force(
    [...lines, `lacks ${lost}`],
    `the replay from ${from} was stopped early: this copy lacks ${lost}`,
    `replay the rest; --force gives up ${lost}`,
  );
}

/** Decision 7, c. */
function replayedPlan(
  { primary }: PromotionFacts,
  { from, lsn }: ReplayedRecord,
  lines: readonly string[],
): Plan {
  return go([
    ...lines,
    `was brought up to LSN ${lsn}, the end of the log of ${from}, which had everything when it last heard of ${primary}`,
    `writes that ${primary} acked without ${from} after that, if it lived on, would be lost: how many is unknown`,
  ]);
}

/**
 * Up to where a copy of sets that is being promoted has everything that the generation which it holds has acked; undefined
 * where it may lack some of it, or does not know. What is complete has been applied by then, synced.
 */
export function heldThrough(record: GroupRecord): number | undefined {
  return isWholeImage(record) ? record.applied?.lsn : undefined;
}

/** Whether a site that is being promoted has been brought up to its last generation, and is no older and in no doubt since. */
export function isWholeImage(record: GroupRecord): boolean {
  const { failedVolumes, image, preservedPoint, reverted } = record;
  const isWhole = image === "consistent" || image === "synchronized";
  const isOlder = preservedPoint !== undefined || reverted !== undefined;
  // A failed sync may have taken what it read from the disk before.
  return isWhole && !isOlder && failedVolumes.length === 0;
}

function nextCounter(record: GroupRecord): number {
  return generationCounter(record.history) + 1;
}

function ago(ms: number | undefined): string {
  if (ms === undefined) return "the last contact, before this process started";
  return `${(ms / 1000).toFixed(1)} s ago`;
}
