import { must } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { coversFrom, digestStep } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import type { JournalFound } from "#core/journal.ts";
import { journalSizeOf } from "#core/journal-size.ts";
import type { JournalSize } from "#core/journal-size.ts";
import { noPosition, positionOf } from "#core/log-position.ts";
import type { LogPosition } from "#core/log-position.ts";
import { placeOf } from "#store/log-places.ts";
import {
  append,
  bytesOfFull,
  closeLog,
  figuresOf,
  lastSegment,
  reclaim,
  sync,
} from "#store/log.ts";
import type { Log, LogPlace } from "#store/log.ts";
import { logName } from "#store/log-files.ts";
import type { LogKind } from "#store/log-files.ts";
import { openLog } from "#store/log-open.ts";
import { keepRoom } from "#store/log-room.ts";
import type { OpenedLog } from "#store/log-open.ts";
import { decodeTable, payloadIsSound } from "#wire/batch/decode.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import type { Folder } from "#ports/file.ts";

// A log of batches: the journal of a group's primary, or what a bunker keeps of it. What an opening finds in it, where each set
// lies, what is appended and what may go.

/** Kind of the log's records: a batch of entries. */
const batchKind = 1;

/** A stretch of the journal, about a MiB: enough to find a set, and to tell what may go. */
type Stretch = {
  readonly firstRecord: number;
  bytes: number;
  /** Of the volumes that its entries change: zeroed ranges count, though the journal has no bytes of them. */
  changedBytes: number;
  /** Whoever has all sets below this one finds everything else from here on. */
  firstSet: number;
  /** The set that begins it, when it begins with that set's first entry. */
  readonly beginsSet: number | undefined;
  lastSet: number;
  lastLsn: number;
};

export type JournalRun = {
  readonly log: Log;
  /** Oldest first. */
  readonly stretches: Stretch[];
  /** Those before, of which a copy may lack something that its relay has. */
  readonly gone: Stretch[];
  readonly stretchBytesMax: number;
  lastSealedSet: number;
  /** The last entry; before the first, all 0. */
  end: LogPosition;
  /** Appended since a sync was last asked for here. */
  unsyncedBytes: number;
  /** What follows from the size with which it was opened. */
  readonly size: JournalSize;
  readonly found: JournalFound;
  /** Whether it ends where the last primary left it: no power cut, and nothing was cut off. */
  readonly isWhole: boolean;
};

export type LogWhere = {
  readonly folder: Folder;
  readonly kind: LogKind;
  readonly logId: number;
  readonly bytesMax: number;
};

/** With `trouble`, a call to the disk has failed, and a later try may do better; with `sync`, that was a sync. */
export type OpenedJournal =
  | Extract<Result<JournalRun>, { ok: true }>
  | Extract<OpenedLog, { ok: false }>;

/** Opens the log, or makes it, and finds where its sets lie. */
export function openJournalLog(
  { folder, kind, logId, bytesMax }: LogWhere,
  known: { readonly isWhole: boolean; readonly reserved: number },
  done: (result: OpenedJournal) => void,
): void {
  const size = journalSizeOf(bytesMax);
  const { segmentBytes } = size;
  const scan = createScan(segmentBytes);
  openLog(
    {
      folder,
      name: logName(kind, logId),
      logId,
      segmentBytes,
      bytesMax,
      ...(kind === "journal" ? { ahead: size.ahead } : {}),
      knownThrough: 0,
      verifyPayload: (table, payload) => payloadIsSound(table, [payload]),
      visit: ({ number, table, payloadBytes }) => visit(scan, number, table, payloadBytes),
    },
    (opened) => {
      if (!opened.ok) return done(opened);
      if (scan.broken !== "") return done({ ok: false, error: scan.broken });
      const log = opened.value;
      keepRoom(log);
      const run: JournalRun = {
        log,
        stretches: scan.stretches,
        gone: [],
        stretchBytesMax: scan.stretchBytesMax,
        lastSealedSet: scan.lastSealedSet,
        end: scan.end,
        unsyncedBytes: 0,
        size,
        found: foundOf(scan, log, known.reserved),
        isWhole: known.isWhole && log.damage.length === 0,
      };
      done({ ok: true, value: run });
    },
  );
}

// ------------------------------------------------------------------------------------ what is found

type Scan = {
  readonly stretches: Stretch[];
  readonly stretchBytesMax: number;
  /** The set of the last entry, as its SEAL would have to close it. */
  set: number;
  count: number;
  digest: number;
  lastSealedSet: number;
  lastLsn: number;
  lastWriteLsn: number;
  end: LogPosition;
  broken: string;
};

function createScan(segmentBytes: number): Scan {
  return {
    stretches: [],
    // The last stretch is always kept: in a small journal too it is little beside a segment.
    stretchBytesMax: Math.min(limits.journalStretchBytes, Math.floor(segmentBytes / 4)),
    set: 0,
    count: 0,
    digest: 0,
    lastSealedSet: 0,
    lastLsn: 0,
    lastWriteLsn: 0,
    end: noPosition,
    broken: "",
  };
}

function visit(scan: Scan, record: number, table: Uint8Array, payloadBytes: number): void {
  const entries = decodeTable(table, payloadBytes);
  if (!entries.ok) {
    scan.broken = `the journal's record ${record} is sound and is no batch: ${entries.error}`;
    return;
  }
  noteStretch(scan, record, entries.value, table.length + payloadBytes);
  for (const entry of entries.value) {
    if (entry.kind !== "seal" || scan.lastWriteLsn === 0) scan.lastWriteLsn = entry.lsn;
    if (entry.kind === "seal") {
      scan.count = 0;
      scan.digest = 0;
      continue;
    }
    scan.set = entry.set;
    // The beginning of the set may have gone: a copy has told that it is complete, and a power cut took the SEAL from here.
    scan.count = entry.index;
    scan.digest = digestStep(scan.digest, entry);
  }
  const last = must(entries.value.at(-1), "a batch has an entry");
  scan.lastLsn = last.lsn;
  scan.end = positionOf(last);
}

function noteStretch(
  known: Pick<JournalRun, "stretches" | "stretchBytesMax" | "lastSealedSet">,
  record: number,
  entries: readonly Entry[],
  bytes: number,
): void {
  const first = must(entries[0], "a batch has an entry");
  const last = must(entries.at(-1), "a batch has an entry");
  let current = known.stretches.at(-1);
  if (current === undefined || current.bytes >= known.stretchBytesMax) {
    const isBeginning = first.index === 1;
    const before = known.lastSealedSet === 0 ? first.set : known.lastSealedSet + 1;
    current = {
      firstRecord: record,
      bytes: 0,
      changedBytes: 0,
      firstSet: isBeginning ? before : first.set + 1,
      beginsSet: isBeginning ? first.set : undefined,
      lastSet: 0,
      lastLsn: 0,
    };
    known.stretches.push(current);
  }
  for (const entry of entries) {
    if (entry.kind !== "seal") continue;
    if (entry.set === current.beginsSet) current.firstSet = coversFrom(entry);
    known.lastSealedSet = entry.set;
  }
  current.bytes += bytes;
  for (const { length } of entries) current.changedBytes += length;
  current.lastSet = last.set;
  current.lastLsn = last.lsn;
}

function foundOf(scan: Scan, log: Log, reserved: number): JournalFound {
  const { set, count, digest, lastSealedSet, lastLsn, lastWriteLsn } = scan;
  const isOpen = count > 0 && set > lastSealedSet;
  return {
    nextSet: Math.max(1, reserved, lastSealedSet + 1, set + 1),
    openSet: isOpen ? { set, count, digest } : undefined,
    lastSealedSet,
    bytesUsed: bytesTaken(log),
    firstSet: scan.stretches[0]?.firstSet ?? lastSealedSet + 1,
    lastLsn,
    lastWriteLsn,
  };
}

// ------------------------------------------------------------------------------------- while it runs

/** A batch that has just been appended: its bytes are the host's still, until the host is answered. */
export type AppendedBatch = {
  /** The last entry before it. */
  readonly follows: LogPosition;
  /** Of its record in the log. */
  readonly number: number;
  readonly entries: readonly Entry[];
  readonly table: Uint8Array;
  readonly payload: readonly Uint8Array[];
};

type UnplacedRecord = Pick<AppendedBatch, "entries" | "table" | "payload">;

/** With where its record begins. */
export type PlacedBatch = AppendedBatch & { readonly place: LogPlace };

/** Appends a turn's entries as one batch. */
export function appendBatch(
  run: JournalRun,
  entries: readonly Entry[],
  payload: readonly Uint8Array[],
): PlacedBatch | IoFailure {
  const table = encodeTable(entries);
  const follows = run.end;
  const place = appendAt(run, { entries, table, payload });
  if (place === "full") return { code: "ENOSPC", message: "the journal has no room left" };
  if ("code" in place) return place;
  return { place, number: place.number, follows, entries, table, payload };
}

/** Appends a record as it is. Gives its number in this log. */
export function appendRecord(run: JournalRun, record: UnplacedRecord): number | "full" | IoFailure {
  const place = appendAt(run, record);
  return place === "full" || "code" in place ? place : place.number;
}

function appendAt(run: JournalRun, record: UnplacedRecord): LogPlace | "full" | IoFailure {
  const { entries, table, payload } = record;
  const place = append(run.log, batchKind, table, payload);
  if (place === "full" || "code" in place) return place;
  const bytes = table.length + totalBytes(payload);
  noteStretch(run, place.number, entries, bytes);
  run.end = positionOf(must(entries.at(-1), "a batch has an entry"));
  syncEarly(run, bytes);
  keepRoom(run.log);
  return place;
}

// What nobody knows to be synced the next start reads, checks and writes again: a journal that no host flushes must not grow
// long before it is synced.
function syncEarly(run: JournalRun, bytes: number): void {
  run.unsyncedBytes += bytes;
  if (run.unsyncedBytes < run.size.unsyncedBytesMax) return;
  run.unsyncedBytes = 0;
  // A failure is the log's: the next append tells of it.
  sync(run.log, () => undefined);
}

/** What need not be kept of a journal. */
export type Unneeded = {
  /** Up to this LSN and set. */
  readonly lsn: number;
  readonly set: number;
  /** What is behind this set a copy may lack nevertheless: how much that is stays known. */
  readonly neededSet?: number;
  /** From this record on everything is kept, whatever LSN it has. */
  readonly keptFrom?: number;
};

/** Whole segments go, the rest when it fills one. */
export function reclaimThrough(run: JournalRun, unneeded: Unneeded): void {
  const { lsn, set, neededSet = set, keptFrom = Number.POSITIVE_INFINITY } = unneeded;
  const had = run.gone.findLastIndex(({ lastSet }) => lastSet <= neededSet);
  if (had !== -1) run.gone.splice(0, had + 1);
  const kept = run.stretches.findIndex((stretch) => stretch.lastLsn > lsn || stretch.lastSet > set);
  const gone = kept === -1 ? run.stretches.length - 1 : kept;
  if (gone <= 0) return;
  const { firstRecord } = must(run.stretches[gone], "there is a stretch");
  reclaim(run.log, Math.min(firstRecord, keptFrom));
  const first = figuresOf(run.log).firstRecord;
  while ((run.stretches[1]?.firstRecord ?? Number.POSITIVE_INFINITY) <= first) {
    const stretch = must(run.stretches.shift(), "there are two");
    if (stretch.lastSet > neededSet) run.gone.push(stretch);
  }
}

export function journalFigures(run: JournalRun): {
  readonly bytesUsed: number;
  readonly firstSet: number;
  readonly sealedSet: number;
} {
  const firstSet = run.stretches[0]?.firstSet ?? run.lastSealedSet + 1;
  return { bytesUsed: bytesTaken(run.log), firstSet, sealedSet: run.lastSealedSet };
}

/** Everything from this set on can be read: a stretch may have lost its beginning with a segment that went since. */
export function firstSetThere({ log, stretches, lastSealedSet }: JournalRun): number {
  const first = figuresOf(log).firstRecord;
  return stretches.find(({ firstRecord }) => firstRecord >= first)?.firstSet ?? lastSealedSet + 1;
}

/** What the log takes at most: whole segments. */
export function bytesMaxOf(run: JournalRun): number {
  const { segmentBytes, bytesMax } = run.log.options;
  return Math.floor(bytesMax / segmentBytes) * segmentBytes;
}

/** As the log counts its room: a segment that is no longer written to is full, whatever its last record left free. */
function bytesTaken(log: Log): number {
  const { segmentBytes } = log.options;
  return bytesOfFull(log) - segmentBytes + Math.min(lastSegment(log).endByte, segmentBytes);
}

/** Bytes of the volumes that were changed behind this set, at most: what a copy that has it all up to there lacks. */
export function bytesBehind(run: JournalRun, set: number): number {
  return bytesSince(run, ({ lastSet }) => lastSet <= set);
}

/** The same behind an LSN. */
export function bytesAfter(run: JournalRun, lsn: number): number {
  return bytesSince(run, ({ lastLsn }) => lastLsn <= lsn);
}

function bytesSince({ stretches, gone }: JournalRun, isHad: (stretch: Stretch) => boolean): number {
  let bytes = 0;
  for (const list of [stretches, gone]) {
    for (let i = list.length - 1; i >= 0; i -= 1) {
      const stretch = must(list[i], "there is a stretch");
      if (isHad(stretch)) return bytes;
      bytes += stretch.changedBytes;
    }
  }
  return bytes;
}

/** Nothing is known any more of what was changed before this set. */
export function firstSetKnown({ gone, stretches, lastSealedSet }: JournalRun): number {
  return (gone[0] ?? stretches[0])?.firstSet ?? lastSealedSet + 1;
}

/**
 * A place from which on everything of this set, and of all behind it, can be read, as far as it is there; undefined where it
 * is still to be appended. A stretch may have lost its beginning with a segment that went: whoever waited for that would
 * wait for ever.
 */
export function placeOfSet(run: JournalRun, set: number): LogPlace | undefined {
  const stretch = run.stretches.find(({ lastSet }) => lastSet >= set);
  if (stretch === undefined) return undefined;
  return placeOf(run.log, Math.max(stretch.firstRecord, figuresOf(run.log).firstRecord));
}

export function closeJournal(run: JournalRun): void {
  closeLog(run.log);
}
