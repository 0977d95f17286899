import type { IoFailure, Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { placeOf } from "#store/log-places.ts";
import { closeLog, figuresOf } from "#store/log.ts";
import { logName, removeOtherLogs } from "#store/log-files.ts";
import type { LogPlace } from "#store/log.ts";
import { segmentOfName } from "#store/log-format.ts";
import { readRecords } from "#store/log-read.ts";
import { keepReserve } from "#store/reserve.ts";
import type { LogRecord } from "#store/log-read.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { openJournalLog } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import type { GatewayRun } from "./gateway-run.ts";
import { openParts } from "./open-parts.ts";
import { syncImages } from "./sync-images.ts";

// What a primary's start does with its journal: opens it, takes back what a power cut took from it, and writes what it holds
// into the images again.

export type JournalOptions = {
  readonly context: GroupContext;
  readonly bytesMax: number;
  readonly isPowerLost: boolean;
  /** Asks whoever keeps the log for what a power cut took; `done` gets the number of records that were appended. */
  readonly takeBack?: TakeBack;
  /** By volume: devices behind a link are not written to here, but told what they may lack. */
  readonly gateways: readonly (GatewayRun | undefined)[];
};

export type TakeBack = (journal: JournalRun, done: (records: number) => void) => void;

/** Opens the journal that the record names, or makes one; `done` gets it when what it holds is in the images again. */
export function openJournal(
  options: JournalOptions,
  done: (result: Result<JournalRun>) => void,
): void {
  const { context, bytesMax } = options;
  const { record, folder, randomId } = context.store;
  keepReserve(context.store);
  const isExpected = record.journalId !== undefined;
  record.journalId ??= randomId();
  removeOtherLogs(folder, "journal", record.journalId);
  const name = logName("journal", record.journalId);
  // The images have what it had; what copies lack of that is still open, and is compared (I16).
  const isThere = folder.list().some((file) => segmentOfName(name, file) !== undefined);
  const isGone = isExpected && !isThere;
  if (isGone) {
    const why = `${folder.path}: the journal ${name} is gone; wherever anything is open, copies are compared`;
    emit(context, { kind: "damage", why });
  }
  const where = { folder, kind: "journal", logId: record.journalId, bytesMax } as const;
  const isWhole = !options.isPowerLost && !isGone;
  openJournalLog(where, { isWhole, reserved: record.lsnReserved }, (opened) => {
    if (!opened.ok) return done(opened);
    const journal = opened.value;
    const { takeBack } = options;
    if (journal.isWhole || takeBack === undefined) return redo(journal, options, done);
    takeBack(journal, (records) => {
      if (records === 0) return redo(journal, options, done);
      // What has come counts like what was found: looked at anew, and synced by that before anything rests on it.
      closeLog(journal.log);
      openJournalLog(where, { isWhole: false, reserved: record.lsnReserved }, (again) => {
        if (again.ok) redo(again.value, options, done);
        else done(again);
      });
    });
  });
}

/**
 * Writes what the journal holds into the images, in its order: what they have of it already they get again. Only into granules
 * that are open: wherever the map is closed the images have everything, synced, and are not touched without it (I18).
 */
function redo(
  run: JournalRun,
  options: Pick<JournalOptions, "context" | "gateways">,
  done: (result: Result<JournalRun>) => void,
): void {
  const { log } = run;
  const images = options.context.images.filter((_, i) => options.gateways[i] === undefined);
  // A round syncs what was written since the start: what was written here must not be let go by it (trap 15).
  const written = (): void => syncImages(images, ended);
  const next = (from: LogPlace | undefined): void => {
    if (from === undefined) return written();
    readRecords(log, from, limits.journalReadBytes, (read) => {
      if ("code" in read) return ended(read);
      if (read.records.length === 0) return written();
      applyRecords(options, read.records, (notWritten) => {
        if (notWritten === undefined) next(read.next);
        else ended(notWritten);
      });
    });
  };
  const ended = (failure: IoFailure | undefined): void => {
    if (failure === undefined) done({ ok: true, value: run });
    else done({ ok: false, error: `replaying the journal: ${failure.message}` });
  };
  next(placeOf(log, figuresOf(log).firstRecord));
}

function applyRecords(
  { context, gateways }: Pick<JournalOptions, "context" | "gateways">,
  records: readonly LogRecord[],
  done: (failure: IoFailure | undefined) => void,
): void {
  const { record } = context.store;
  const left = record.redone?.journalId === record.journalId ? (record.redone?.lsns ?? []) : [];
  let missing = 1;
  let failed: IoFailure | undefined;
  const answered = (_: undefined, failure: IoFailure | undefined): void => {
    failed ??= failure;
    missing -= 1;
    if (missing === 0) done(failed);
  };
  for (const { table, payload, place } of records) {
    const entries = decodeTable(table, payload.length);
    if (!entries.ok) {
      failed = { code: "EIO", message: `a record that was sound is no batch: ${entries.error}` };
      break;
    }
    for (const gateway of gateways) gateway?.found(place, entries.value);
    // The read has held the payloads against their checksums.
    let end = 0;
    for (const entry of entries.value) {
      const begin = end;
      if (entry.kind === "write") end += entry.length;
      const image = context.images[entry.volume];
      const map = context.store.openMaps[entry.volume]?.map;
      if (entry.kind === "seal" || image === undefined || map === undefined) continue;
      if (gateways[entry.volume] !== undefined) continue;
      if (entry.lsn <= (left[entry.volume] ?? 0)) continue;
      for (const { offset, length } of openParts(map, entry)) {
        missing += 1;
        const from = begin + offset - entry.offset;
        if (entry.kind === "zero") image.zero(offset, length, entry.mayPunch, undefined, answered);
        else image.write(offset, [payload.subarray(from, from + length)], undefined, answered);
      }
    }
  }
  answered(undefined, failed);
}
