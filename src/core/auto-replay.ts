import type { ReplayedRecord } from "./group-record.ts";

// Whether a copy's site begins a replay by itself (SPEC U32; SPEC-bunker.md, By itself): facts in, one of a few states out. The
// clock, the other sites' words and the replay itself are the caller's. It decides when to ask; the bunker judges by the same
// measure whether it may be had (`isSilentFor`), since it alone knows at that moment whether the primary still feeds it.

/** What a copy's site knows when it judges. */
export type AutoReplayFacts = {
  readonly site: string;
  /** The site that this one holds for the primary. */
  readonly primary: string;
  /** For how long this site has had no sign of it, in ms; 0 while it has one. */
  readonly silentMs: number;
  /** What the copy got from a bunker since a primary fed it last. */
  readonly replayed: ReplayedRecord | undefined;
  /** Why nothing is replayed to this copy now, whoever asks, or "". */
  readonly hindrance: string;
  /** What an operator has paused: the copy here, or a bunker; "" where nothing is. */
  readonly paused: string;
  /** A site of a generation that this one does not have, or undefined. */
  readonly successor: string | undefined;
  readonly bunkers: readonly BunkerHeard[];
  /** Other sites that answer, and for how long they have had no sign of the primary. */
  readonly others: readonly { readonly site: string; readonly silentMs: number }[];
  /** Copies before this one, in the order of the file, that answer. */
  readonly before: number;
  /** What each of them is given for its turn. */
  readonly turnMs: number;
};

/** A bunker of the group, as it says itself. */
export type BunkerHeard = {
  readonly site: string;
  /** Undefined: an operator begins replays from it. */
  readonly replayAfterMs: number | undefined;
  readonly answers: boolean;
  /** It keeps the log of the generation here. */
  readonly isSame: boolean;
  /** For how long it has had no sign of the primary; undefined where it does not say. */
  readonly silentMs: number | undefined;
  readonly endLsn: number;
  readonly activatedFor: string | undefined;
  readonly isCalledOff: boolean;
};

export type AutoReplay =
  /** Nothing is to be begun: nobody asks for it, the primary is there, or the log has been replayed. */
  | { readonly kind: "none" }
  /** It does not begin, until something has changed. */
  | {
      readonly kind: "barred";
      readonly from: string;
      readonly why: string;
      /** Otherwise it would have begun by now, as far as this site can tell. */
      readonly isTime: boolean;
    }
  /** It begins in so many ms, if all stays as it is. */
  | { readonly kind: "waits"; readonly from: string; readonly inMs: number }
  | { readonly kind: "due"; readonly from: string; readonly afterMs: number };

const none: AutoReplay = { kind: "none" };

/** Whether the primary has been silent for as long as the group's configuration asks, by the word of one site. */
export function isSilentFor(silentMs: number, afterMs: number): boolean {
  return silentMs > 0 && silentMs >= afterMs;
}

export function judgeAutoReplay(facts: AutoReplayFacts): AutoReplay {
  const { bunkers, silentMs, replayed, before, turnMs } = facts;
  const named = bunkers.find(({ replayAfterMs }) => replayAfterMs !== undefined);
  if (named === undefined || silentMs === 0) return none;
  if (isDone(replayed)) return none;
  const why = whyNot(facts);
  const isTime = isSilentFor(silentMs, named.replayAfterMs ?? 0);
  if (why !== "") return { kind: "barred", from: named.site, why, isTime };
  const chosen = longestOf(bunkers);
  if (typeof chosen === "string") return { kind: "barred", from: named.site, why: chosen, isTime };
  const { site: from, replayAfterMs: afterMs = 0 } = chosen;
  const said = [...bunkers, ...facts.others].map((one) => one.silentMs ?? 0);
  const leastMs = Math.min(silentMs - before * turnMs, ...said);
  return isSilentFor(leastMs, afterMs)
    ? { kind: "due", from, afterMs }
    : { kind: "waits", from, inMs: afterMs - leastMs };
}

/** How long to wait before it is tried again, after so many times that it was refused or cut short. */
export function nextTryMs(tries: number, leastMs: number, mostMs: number): number {
  return Math.min(leastMs * 2 ** Math.min(tries, 16), mostMs);
}

// What was replayed by an operator's word has the end that the operator gave it.
function isDone(replayed: ReplayedRecord | undefined): boolean {
  if (replayed === undefined || replayed.isCancelled === true) return false;
  return replayed.isAutomatic !== true || replayed.lsn >= replayed.endLsn;
}

type Bar = (facts: AutoReplayFacts) => string;

/** In this order: what an operator has said comes first, then what only an operator can settle, then what may pass. */
const bars: readonly Bar[] = [
  ({ replayed, bunkers }) => {
    const bunker = bunkers.find(({ isCalledOff }) => isCalledOff);
    if (replayed?.isCancelled !== true && bunker === undefined) return "";
    return "an operator has called a replay off, and no primary has come back since";
  },
  ({ paused }) => (paused === "" ? "" : `an operator has paused ${paused}`),
  ({ successor }) =>
    successor === undefined ? "" : `${successor} is of a generation that is not known here`,
  ({ hindrance }) => hindrance,
  ({ bunkers, primary }) => bunkers.map((one) => whyNotFrom(one, primary)).find(isSaid) ?? "",
  ({ others, primary }) => {
    const hearer = others.find(({ silentMs }) => silentMs === 0);
    return hearer === undefined ? "" : hears(hearer.site, primary);
  },
  ({ bunkers, site }) => {
    const taken = bunkers.find(({ activatedFor = site }) => activatedFor !== site);
    if (taken === undefined) return "";
    return `${taken.site} brings ${taken.activatedFor ?? ""} up, or has done so`;
  },
];

function whyNot(facts: AutoReplayFacts): string {
  return bars.map((bar) => bar(facts)).find(isSaid) ?? "";
}

function isSaid(why: string): boolean {
  return why !== "";
}

function hears(site: string, primary: string): string {
  return `${site} hears ${primary}, which lives: it would stop acking`;
}

function whyNotFrom({ site, answers, isSame, silentMs }: BunkerHeard, primary: string): string {
  if (!answers) return `${site} does not answer`;
  if (silentMs === undefined) return `${site} does not say whether it hears ${primary}`;
  if (silentMs === 0) return hears(site, primary);
  return isSame ? "" : `${site} keeps the log of another generation`;
}

// A set that a shorter log has ended is led on by no longer one: of several logs the longest is taken, or none.
function longestOf(bunkers: readonly BunkerHeard[]): BunkerHeard | string {
  const endLsn = Math.max(...bunkers.map((one) => one.endLsn));
  const longest = bunkers.filter((one) => one.endLsn === endLsn);
  const chosen = longest.find(({ replayAfterMs }) => replayAfterMs !== undefined);
  const [other] = longest;
  if (chosen !== undefined) return chosen;
  return `${other?.site ?? ""} has the longest log, and is replayed by an operator's word alone`;
}
