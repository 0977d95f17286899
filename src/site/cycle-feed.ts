import { must } from "#base/assert.ts";
import { crc32c } from "#base/checksum.ts";
import { createFifo, peek, push, shift } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { costOf, coversFrom, digestStep } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import { fold } from "#core/fold.ts";
import type { Folded } from "#core/fold.ts";
import { endOf, placeOf } from "#store/log-places.ts";
import type { Log, LogPlace } from "#store/log.ts";
import { afterRecord, readRecords } from "#store/log-read.ts";
import type { LogRead, LogRecord } from "#store/log-read.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { placeOfSet } from "./journal-run.ts";
import type { AppendedBatch } from "./journal-run.ts";
import { dispatch, mayFeed } from "./sender-state.ts";
import type { Sender } from "./sender-state.ts";

// Feeds a copy with cycles (SPEC-cycle.md). A set is gathered until its SEAL is in the journal: nothing of it travels before.
// Then it is folded, and what is left is read back from the journal and sent under new indexes. What had been sent before the
// session, and is not complete, is gathered as one.

export type CycleFeed = {
  /** Sets up to this one go as one, at first. */
  readonly mergeThrough: number;
  /** The first set that is not gathered. */
  fromSet: number;
  gathering: Gathering | undefined;
  /** Gathered and folded; the first is being sent, or the next to be. */
  readonly cycles: Fifo<Cycle>;
  isGathering: boolean;
  isReading: boolean;
};

type Gathering = { readonly from: LogPlace; readonly entries: Entry[]; coversFrom: number };

type Cycle = {
  /** In the order of LSNs, as the journal has them; and what folding leaves of each. */
  readonly entries: readonly Entry[];
  readonly folded: Folded;
  /** The SEAL of the last set in it, and the first set that it speaks for. */
  readonly seal: Entry;
  readonly coversFrom: number;
  /** Where to read on, and what comes next there. */
  next: LogPlace;
  cursor: number;
  /** Of what was sent: the last index, and the digest up to it. */
  index: number;
  digest: number;
  isBegun: boolean;
};

/** `sentSet`: the last set of which anything was sent before this session. */
export function createCycleFeed(fromSet: number, sentSet: number): CycleFeed {
  return {
    mergeThrough: sentSet,
    fromSet,
    gathering: undefined,
    cycles: createFifo(),
    isGathering: false,
    isReading: false,
  };
}

/** This has just been appended: where all before it is gathered, it need not be read for that. */
export function noteAppended(sender: Sender, feed: CycleFeed, batch: AppendedBatch): void {
  const { next } = sender;
  if (feed.isGathering || isFull(feed) || next?.number !== batch.number) return;
  if (!gather(sender, feed, next, batch.entries)) return;
  sender.next = endOf(sender.journal.log);
}

/** Gathers, reads on and sends as far as window and connections allow. */
export function pumpCycles(sender: Sender, feed: CycleFeed): void {
  gatherMore(sender, feed);
  sendMore(sender, feed);
}

// ----------------------------------------------------------------------------------------- gathering

// A copy that is far behind is fed from a journal of any length: what is gathered ahead is bounded.
function isFull({ cycles }: CycleFeed): boolean {
  return cycles.count >= limits.cyclesGatheredMax;
}

function gatherMore(sender: Sender, feed: CycleFeed): void {
  if (feed.isGathering || isFull(feed)) return;
  const { log } = sender.journal;
  sender.next ??= placeOfSet(sender.journal, feed.fromSet);
  // What was complete at the copy when it said so, the journal may have let go before it was read.
  sender.next = sender.next === undefined ? undefined : placeNow(log, sender.next);
  if (sender.next === undefined || sender.next.number > log.lastRecord) return;
  feed.isGathering = true;
  readRecords(log, sender.next, limits.senderReadBytes, (read) => {
    feed.isGathering = false;
    if (sender.isEnded) return;
    if ("code" in read) return sender.owner.onUnreadable(read.message);
    for (const record of read.records) {
      const entries = entriesOf(sender, record);
      if (entries === undefined) return;
      if (!gather(sender, feed, record.place, entries)) return;
    }
    sender.next = read.next;
    pumpCycles(sender, feed);
  });
}

/**
 * The end of a segment is as good a place for the first record of the next one, until that segment goes: the copy has
 * all of it, and not what comes next.
 */
function placeNow(log: Log, place: LogPlace): LogPlace | undefined {
  const [oldest] = log.segments;
  if (oldest === undefined || place.segment >= oldest.number) return place;
  return placeOf(log, Math.max(place.number, log.firstRecord));
}

function entriesOf(sender: Sender, { table, payload }: LogRecord): readonly Entry[] | undefined {
  const entries = decodeTable(table, payload.length);
  if (entries.ok) return entries.value;
  sender.owner.onUnreadable("the journal holds a record that is no batch");
  return undefined;
}

// What is left of a set gets indexes of its own: one whose beginning is not in the log would look whole at the copy.
function gather(
  sender: Sender,
  feed: CycleFeed,
  place: LogPlace,
  entries: readonly Entry[],
): boolean {
  for (const entry of entries) {
    if (entry.set < feed.fromSet) continue;
    if (feed.gathering === undefined && entry.index !== 1) {
      sender.owner.onUnreadable(`the beginning of set ${entry.set} is not there any more`);
      return false;
    }
    feed.gathering ??= { from: place, entries: [], coversFrom: 0 };
    const { gathering } = feed;
    if (entry.kind !== "seal") {
      gathering.entries.push(entry);
      continue;
    }
    gathering.coversFrom ||= coversFrom(entry);
    // More than a set may count is not merged: what follows keeps its own number, as if it had not been sent.
    const isMerged = entry.set < feed.mergeThrough;
    if (isMerged && gathering.entries.length < limits.cycleEntriesMax) continue;
    push(feed.cycles, cycleOf(gathering, entry));
    feed.gathering = undefined;
    feed.fromSet = entry.set + 1;
  }
  return true;
}

function cycleOf({ from, entries, coversFrom: first }: Gathering, seal: Entry): Cycle {
  return {
    entries,
    folded: foldWithin(entries),
    seal,
    coversFrom: first,
    next: from,
    cursor: 0,
    index: 0,
    digest: 0,
    isBegun: false,
  };
}

// Pieces may be more than a set can number, where a journal has sets from before the copy took cycles: those go as they are.
function foldWithin(entries: readonly Entry[]): Folded {
  const folded = fold(entries);
  let count = 0;
  for (const pieces of folded) count += pieces?.length ?? 1;
  return count <= limits.setEntriesMax ? folded : entries.map(() => undefined);
}

// ------------------------------------------------------------------------------------------- sending

/** What is made ready of one stretch of the journal, until it fills a batch. */
type Batch = { entries: Entry[]; payload: Uint8Array[]; bytes: number };

function sendMore(sender: Sender, feed: CycleFeed): void {
  for (let cycle = peek(feed.cycles); cycle !== undefined; cycle = peek(feed.cycles)) {
    if (feed.isReading || !maySend(sender, cycle)) return;
    cycle.isBegun = true;
    if (cycle.cursor < cycle.entries.length) return readOn(sender, feed, cycle);
    // Empty: its SEAL moves the recovery point.
    endCycle(sender, feed, cycle, emptyBatch());
  }
}

// All that is under way must fit into one set: after a loss it goes as one.
function maySend(sender: Sender, cycle: Cycle): boolean {
  if (!mayFeed(sender, limits.laneQueueBytesMax)) return false;
  const { inFlightMerged } = sender;
  if (cycle.isBegun || inFlightMerged === 0) return true;
  return inFlightMerged + cycle.entries.length <= limits.cycleEntriesMax;
}

function readOn(sender: Sender, feed: CycleFeed, cycle: Cycle): void {
  const { log } = sender.journal;
  feed.isReading = true;
  readRecords(log, placeNow(log, cycle.next) ?? cycle.next, limits.senderReadBytes, (read) => {
    feed.isReading = false;
    if (sender.isEnded) return;
    if ("code" in read) return sender.owner.onUnreadable(read.message);
    if (!sendRead(sender, feed, cycle, read)) return;
    // All connections of a process share what they know of memory that is being sent.
    sender.lanes[0]?.wire.peer.connection.giveBack([read.memory]);
    pumpCycles(sender, feed);
  });
}

function sendRead(sender: Sender, feed: CycleFeed, cycle: Cycle, read: LogRead): boolean {
  const batch = emptyBatch();
  for (const record of read.records) {
    const entries = entriesOf(sender, record);
    if (entries === undefined) return false;
    takeRecord(sender, cycle, batch, { entries, payload: record.payload });
    cycle.next = afterRecord(record);
    if (cycle.cursor < cycle.entries.length) continue;
    endCycle(sender, feed, cycle, batch);
    return true;
  }
  sendBatchOf(sender, batch, 0);
  return true;
}

function takeRecord(
  sender: Sender,
  cycle: Cycle,
  batch: Batch,
  record: { readonly entries: readonly Entry[]; readonly payload: Uint8Array },
): void {
  let at = 0;
  for (const entry of record.entries) {
    const bytes = record.payload.subarray(at, at + (entry.kind === "write" ? entry.length : 0));
    at += bytes.length;
    // Beside it the record may have the end of the set before, and the beginning of the next.
    if (entry.kind === "seal" || entry.lsn !== cycle.entries[cycle.cursor]?.lsn) continue;
    const pieces = cycle.folded[cycle.cursor];
    cycle.cursor += 1;
    if (pieces === undefined) add(sender, cycle, batch, { entry, bytes });
    for (const { offset, length } of pieces ?? []) {
      const start = offset - entry.offset;
      const part = bytes.subarray(start, start + length);
      const payloadCrc = entry.kind === "write" ? crc32c(part) : 0;
      const piece = { ...entry, offset, length, payloadCrc };
      add(sender, cycle, batch, { entry: piece, bytes: part });
    }
  }
}

function add(
  sender: Sender,
  cycle: Cycle,
  batch: Batch,
  { entry, bytes }: { readonly entry: Entry; readonly bytes: Uint8Array },
): void {
  const isFullBatch =
    batch.bytes + costOf(entry) > limits.batchBytesMax ||
    batch.entries.length >= limits.batchEntriesMax - 1;
  if (batch.entries.length > 0 && isFullBatch) sendBatchOf(sender, batch, 0);
  cycle.index += 1;
  const { set } = cycle.seal;
  const line: Entry = { ...entry, set, index: cycle.index };
  cycle.digest = digestStep(cycle.digest, line);
  batch.entries.push(line);
  if (bytes.length > 0) batch.payload.push(bytes);
  batch.bytes += costOf(entry);
}

function endCycle(sender: Sender, feed: CycleFeed, cycle: Cycle, batch: Batch): void {
  const { seal, index, digest, coversFrom: first } = cycle;
  batch.entries.push({ ...seal, index: index + 1, offset: first, payloadCrc: digest });
  sendBatchOf(sender, batch, cycle.entries.length);
  must(shift(feed.cycles), "a cycle ends that was not sent");
}

function emptyBatch(): Batch {
  return { entries: [], payload: [], bytes: 0 };
}

function sendBatchOf(sender: Sender, batch: Batch, merged: number): void {
  const { entries, payload } = batch;
  if (entries.length === 0) return;
  batch.entries = [];
  batch.payload = [];
  batch.bytes = 0;
  dispatch(sender, { entries, table: encodeTable(entries), payload }, merged);
}
