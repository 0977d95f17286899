import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { coversFrom, digestStep } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogPlace } from "#store/log.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import type { ReplayRange } from "#wire/peer/documents.ts";
import { placeOfSet } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// What a log has for a copy, counted before anything of it is sent: so a plan says exactly what will be there, and what
// will not.

export type LogSurvey = {
  /** All behind the copy's last set; and as much of it as ends with a set at or before the LSN that was named. */
  readonly has: ReplayRange;
  readonly sends: ReplayRange;
  /** The set that the log ends in without its SEAL, and what that has to say. */
  readonly open: OpenSet | undefined;
  /** A gap that the copy cannot be brought over, if all were sent that was asked for (B17). */
  readonly gap: LogGap | undefined;
  /**
   * The copy's last set has more here, up to this LSN: another log's end was its end there, and nothing brings the rest
   * (B17).
   */
  readonly cutShort: { readonly set: number; readonly lsn: number } | undefined;
};

/** A set that follows none before it (`breakChain`), and the LSN up to which the copy can be brought. */
export type LogGap = { readonly set: number; readonly untilLsn: number };

export type OpenSet = {
  readonly set: number;
  readonly count: number;
  readonly digest: number;
  readonly last: Entry;
};

type Counting = {
  readonly completeSet: number;
  readonly completeLsn: number;
  readonly untilLsn: number;
  has: ReplayRange;
  sends: ReplayRange;
  open: OpenSet | undefined;
  gap: LogGap | undefined;
  cutShort: LogSurvey["cutShort"];
  /** The last SEAL behind the copy's last set. */
  sealedSet: number;
  sealedLsn: number;
};

/** Reads the log from the copy's last set on. */
export function surveyLog(
  run: JournalRun,
  from: {
    readonly completeSet: number;
    /** Where the copy's last set ended for it; a copy of an earlier version does not say. */
    readonly completeLsn?: number;
    readonly untilLsn: number | null;
  },
  done: (survey: LogSurvey | IoFailure) => void,
): void {
  const { completeSet, completeLsn = Number.POSITIVE_INFINITY } = from;
  const none: ReplayRange = { set: 0, lsn: 0, writes: 0, bytes: 0 };
  const untilLsn = from.untilLsn ?? Number.POSITIVE_INFINITY;
  const counting: Counting = {
    completeSet,
    completeLsn,
    untilLsn,
    has: none,
    sends: none,
    open: undefined,
    gap: undefined,
    cutShort: undefined,
    sealedSet: 0,
    sealedLsn: 0,
  };
  const next = (place: LogPlace): void => {
    readRecords(run.log, place, limits.journalReadBytes, (read) => {
      if ("code" in read) return done(read);
      for (const { table, payload, number } of read.records) {
        const entries = decodeTable(table, payload.length);
        if (!entries.ok)
          return done({ code: "EBADMSG", message: `record ${number}: ${entries.error}` });
        for (const entry of entries.value) count(counting, entry);
      }
      if (read.records.length > 0) return next(read.next);
      done(ended(counting));
    });
  };
  // Of the copy's last set itself nothing may be left here: who has it was told of, and it was let go.
  const place = placeOfSet(run, completeSet) ?? placeOfSet(run, completeSet + 1);
  if (place === undefined) done(ended(counting));
  else next(place);
}

function count(counting: Counting, entry: Entry): void {
  const { has, open, completeSet, completeLsn } = counting;
  const { set, lsn } = entry;
  if (set === completeSet && entry.kind !== "seal" && lsn > completeLsn)
    counting.cutShort = { set, lsn };
  if (set <= completeSet) return;
  if (entry.kind === "seal") {
    const before = Math.max(counting.completeSet, counting.sealedSet);
    if (coversFrom(entry) > before + 1) counting.gap ??= { set, untilLsn: counting.sealedLsn };
    counting.sealedSet = set;
    counting.sealedLsn = lsn;
    counting.has = { ...has, set, lsn: Math.max(has.lsn, lsn) };
    if (counting.gap === undefined && lsn <= counting.untilLsn) counting.sends = counting.has;
    counting.open = undefined;
    return;
  }
  const { writes, bytes } = has;
  counting.has = { set, lsn, writes: writes + 1, bytes: bytes + entry.length };
  const known = open?.set === set ? open : { count: 0, digest: 0 };
  counting.open = {
    set,
    count: known.count + 1,
    digest: digestStep(known.digest, entry),
    last: entry,
  };
}

// The set that has no SEAL yet gets one where the log ends.
function ended({ has, sends, open, gap, untilLsn, cutShort }: Counting): LogSurvey {
  const isWhole = gap === undefined && has.lsn <= untilLsn;
  const isInTheWay = gap !== undefined && untilLsn > gap.untilLsn;
  return { has, sends: isWhole ? has : sends, open, gap: isInTheWay ? gap : undefined, cutShort };
}
