import { must } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { coversFrom, digestStep } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import type { JournalFound } from "#core/journal.ts";
import { isMarked, unitOf } from "#core/region-map.ts";
import { append, closeLog, figuresOf, placeOf, reclaim, sync } from "#store/log.ts";
import type { Log, LogPlace } from "#store/log.ts";
import { openLog } from "#store/log-open.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogRecord } from "#store/log-read.ts";
import { decodeTable, payloadIsSound } from "#wire/batch/decode.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { syncImages } from "./sync-images.ts";
import type { Folder } from "#ports/file.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";

// The journal of a group's primary: batches in a log, where each set lies, and what a start finds and does again.

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
  readonly stretchBytesMax: number;
  lastSealedSet: number;
  /** Appended since a sync was last asked for here. */
  unsyncedBytes: number;
  readonly found: JournalFound;
  /** Whether it ends where the last primary left it: no power cut, and nothing was cut off. */
  readonly isWhole: boolean;
};

/** A small journal has four segments, a very large one longer ones: a log counts its segments. */
function segmentBytesOf(bytesMax: number): number {
  const usual = Math.min(limits.journalSegmentBytes, Math.floor(bytesMax / 4));
  return Math.max(usual, Math.ceil(bytesMax / limits.logSegmentsMax));
}

/** A log's files carry its id: those of an earlier tenure are told apart, and go. */
export function logName(kind: "journal" | "staging", logId: number): string {
  return `${kind}-${logId.toString(16).padStart(8, "0")}`;
}

/** Logs that the record does not name are of an earlier tenure, or of a start that did not get far. */
export function removeOtherLogs(folder: Folder, kind: "journal" | "staging", logId: number): void {
  for (const name of folder.list()) {
    // One that stays behind costs space, and is removed by the next start.
    if (isLogFile(name, kind) && !name.startsWith(logName(kind, logId))) folder.remove(name);
  }
}

/** The record names no such log: whatever is there is of the past. */
export function removeLogs(folder: Folder, kind: "journal" | "staging"): void {
  for (const name of folder.list()) if (isLogFile(name, kind)) folder.remove(name);
}

function isLogFile(name: string, kind: "journal" | "staging"): boolean {
  return name.startsWith(`${kind}-`) && /\.log(\.spare)?$/.test(name);
}

export type JournalOptions = {
  readonly context: GroupContext;
  readonly bytesMax: number;
  readonly isPowerLost: boolean;
};

/** Opens the journal that the record names, or makes one; `done` gets it when what it holds is in the images again. */
export function openJournal(
  options: JournalOptions,
  done: (result: Result<JournalRun>) => void,
): void {
  const { context, bytesMax } = options;
  const { record, folder, randomId } = context.store;
  const isExpected = record.journalId !== undefined;
  record.journalId ??= randomId();
  removeOtherLogs(folder, "journal", record.journalId);
  const name = logName("journal", record.journalId);
  // The images have what it had; what copies lack of that is still open, and is compared (I16).
  const isGone = isExpected && !folder.list().some((file) => file.startsWith(name));
  if (isGone) {
    const why = `${folder.path}: the journal ${name} is gone; wherever anything is open, copies are compared`;
    emit(context, { kind: "damage", why });
  }
  const segmentBytes = segmentBytesOf(bytesMax);
  const scan = createScan(segmentBytes);
  openLog(
    {
      folder,
      name,
      logId: record.journalId,
      segmentBytes,
      bytesMax,
      knownThrough: 0,
      verifyPayload: (table, payload) => payloadIsSound(table, [payload]),
      visit: ({ number, table, payloadBytes }) => visit(scan, number, table, payloadBytes),
    },
    (opened) => {
      if (!opened.ok) return done(opened);
      if (scan.broken !== "") return done({ ok: false, error: scan.broken });
      const log = opened.value;
      const run: JournalRun = {
        log,
        stretches: scan.stretches,
        stretchBytesMax: scan.stretchBytesMax,
        lastSealedSet: scan.lastSealedSet,
        unsyncedBytes: 0,
        found: foundOf(scan, log, record.lsnReserved),
        isWhole: !options.isPowerLost && !isGone && log.damage.length === 0,
      };
      replay(run, context, done);
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
    if (entry.kind === "seal") {
      scan.count = 0;
      scan.digest = 0;
      continue;
    }
    scan.set = entry.set;
    scan.count += 1;
    scan.digest = digestStep(scan.digest, entry);
  }
  scan.lastLsn = entries.value.at(-1)?.lsn ?? scan.lastLsn;
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
  const { set, count, digest, lastSealedSet, lastLsn } = scan;
  const isOpen = count > 0 && set > lastSealedSet;
  return {
    nextSet: Math.max(1, reserved, lastSealedSet + 1, set + 1),
    openSet: isOpen ? { set, count, digest } : undefined,
    lastSealedSet,
    bytesUsed: bytesTaken(log),
    firstSet: scan.stretches[0]?.firstSet ?? lastSealedSet + 1,
    lastLsn,
  };
}

/**
 * Writes what the journal holds into the images, in its order: what they have of it already they get again. Only into granules
 * that are open: wherever the map is closed the images have everything, synced, and are not touched without it (I18).
 */
function replay(
  run: JournalRun,
  context: GroupContext,
  done: (result: Result<JournalRun>) => void,
): void {
  const { log } = run;
  // A round syncs what was written since the start: what was written here must not be let go by it (trap 15).
  const written = (): void => syncImages(context.images, ended);
  const next = (from: LogPlace | undefined): void => {
    if (from === undefined) return written();
    readRecords(log, from, limits.journalReadBytes, (read) => {
      if ("code" in read) return ended(read);
      if (read.records.length === 0) return written();
      applyRecords(context, read.records, (notWritten) => {
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
  context: GroupContext,
  records: readonly LogRecord[],
  done: (failure: IoFailure | undefined) => void,
): void {
  let missing = 1;
  let failed: IoFailure | undefined;
  const answered = (_: undefined, failure: IoFailure | undefined): void => {
    failed ??= failure;
    missing -= 1;
    if (missing === 0) done(failed);
  };
  for (const { table, payload } of records) {
    const entries = decodeTable(table, payload.length);
    if (!entries.ok) {
      failed = { code: "EIO", message: `a record that was sound is no batch: ${entries.error}` };
      break;
    }
    // The read has held the payloads against their checksums.
    let end = 0;
    for (const entry of entries.value) {
      const begin = end;
      if (entry.kind === "write") end += entry.length;
      const image = context.images[entry.volume];
      if (entry.kind === "seal" || image === undefined) continue;
      for (const { offset, length } of openParts(context, entry)) {
        missing += 1;
        const from = begin + offset - entry.offset;
        if (entry.kind === "zero") image.zero(offset, length, entry.mayPunch, undefined, answered);
        else image.write(offset, [payload.subarray(from, from + length)], undefined, answered);
      }
    }
  }
  answered(undefined, failed);
}

/** The parts of a write or zeroed range that lie in open granules. */
function openParts(
  context: GroupContext,
  entry: Entry,
): { readonly offset: number; readonly length: number }[] {
  const map = context.store.openMaps[entry.volume]?.map;
  const parts: { offset: number; length: number }[] = [];
  const end = entry.offset + entry.length;
  if (map === undefined) return parts;
  for (let offset = entry.offset; offset < end;) {
    const granule = unitOf(map, offset);
    const until = Math.min(end, (granule + 1) * map.unitBytes);
    const last = parts.at(-1);
    const isOpen = isMarked(map, granule);
    if (isOpen && last !== undefined && last.offset + last.length === offset)
      last.length += until - offset;
    else if (isOpen) parts.push({ offset, length: until - offset });
    offset = until;
  }
  return parts;
}

// ------------------------------------------------------------------------------------- while it runs

/** A batch that has just been appended: its bytes are the host's still, until the host is answered. */
export type AppendedBatch = {
  /** Of its record in the log. */
  readonly number: number;
  readonly entries: readonly Entry[];
  readonly table: Uint8Array;
  readonly payload: readonly Uint8Array[];
};

/** Appends a turn's entries as one batch. */
export function appendBatch(
  run: JournalRun,
  entries: readonly Entry[],
  payload: readonly Uint8Array[],
): AppendedBatch | IoFailure {
  const table = encodeTable(entries);
  const place = append(run.log, batchKind, table, payload);
  if (place === "full") return { code: "ENOSPC", message: "the journal has no room left" };
  if ("code" in place) return place;
  const { number } = place;
  const bytes = table.length + totalBytes(payload);
  noteStretch(run, number, entries, bytes);
  syncEarly(run, bytes);
  return { number, entries, table, payload };
}

// What nobody knows to be synced the next start reads, checks and writes again: a journal that no host flushes must not grow
// long before it is synced.
function syncEarly(run: JournalRun, bytes: number): void {
  run.unsyncedBytes += bytes;
  if (run.unsyncedBytes < limits.journalUnsyncedBytesMax) return;
  run.unsyncedBytes = 0;
  // A failure is the log's: the next append tells of it.
  sync(run.log, () => undefined);
}

/** Nobody needs what is up to this LSN and set. Whole segments go, the rest when it fills one. */
export function reclaimThrough(run: JournalRun, lsn: number, set: number): void {
  const kept = run.stretches.findIndex((stretch) => stretch.lastLsn > lsn || stretch.lastSet > set);
  const gone = kept === -1 ? run.stretches.length - 1 : kept;
  if (gone <= 0) return;
  reclaim(run.log, must(run.stretches[gone], "there is a stretch").firstRecord);
  const first = figuresOf(run.log).firstRecord;
  while ((run.stretches[1]?.firstRecord ?? Number.POSITIVE_INFINITY) <= first)
    run.stretches.shift();
}

export function journalFigures(run: JournalRun): {
  readonly bytesUsed: number;
  readonly firstSet: number;
} {
  const firstSet = run.stretches[0]?.firstSet ?? run.lastSealedSet + 1;
  return { bytesUsed: bytesTaken(run.log), firstSet };
}

/** What the log takes at most: whole segments. */
export function bytesMaxOf(run: JournalRun): number {
  const { segmentBytes, bytesMax } = run.log.options;
  return Math.floor(bytesMax / segmentBytes) * segmentBytes;
}

/** As the log counts its room: a segment that is no longer written to is full, whatever its last record left free. */
function bytesTaken(log: Log): number {
  const { segmentBytes } = log.options;
  const last = must(log.segments.at(-1), "a log has a segment");
  let bytes = last.endByte;
  for (const segment of log.segments)
    if (segment !== last) bytes += Math.max(segment.endByte, segmentBytes);
  return bytes;
}

/** Bytes of the volumes that were changed behind this set, at most: what a copy that has it all up to there lacks. */
export function bytesBehind(run: JournalRun, set: number): number {
  let bytes = 0;
  for (let i = run.stretches.length - 1; i >= 0; i -= 1) {
    const stretch = must(run.stretches[i], "there is a stretch");
    if (stretch.lastSet <= set) break;
    bytes += stretch.changedBytes;
  }
  return bytes;
}

/** A place from which on everything of this set, and of all behind it, can be read. */
export function placeOfSet(run: JournalRun, set: number): LogPlace | undefined {
  const stretch = run.stretches.find(({ lastSet }) => lastSet >= set);
  return stretch === undefined ? undefined : placeOf(run.log, stretch.firstRecord);
}

export function closeJournal(run: JournalRun): void {
  closeLog(run.log);
}
