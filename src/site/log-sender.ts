import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { isBehind, isSamePosition, noPosition, positionOf } from "#core/log-position.ts";
import type { LogPosition } from "#core/log-position.ts";
import { endOf, placeOf } from "#store/log-places.ts";
import type { LogPlace } from "#store/log.ts";
import { readRecords } from "#store/log-read.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { placeOfSet } from "./journal-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { feedRecord } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";

// Feeds a member that keeps the log: every record of the journal, in its order, over one connection. What was just
// appended goes out from memory in the same turn; a member that is behind gets it read back.

/** A place in the journal, and the entry before it. */
export type LogStart = { readonly place: LogPlace; readonly follows: LogPosition };

/**
 * Looks for the record that ends with this entry. `done` gets the place behind it, nothing where the journal has no
 * such record, or why it could not be read.
 */
export function locateRecord(
  journal: JournalRun,
  end: LogPosition,
  done: (found: LogStart | undefined | IoFailure) => void,
): void {
  const from = end.set === 0 ? undefined : placeOfSet(journal, end.set);
  if (from === undefined) return done(undefined);
  const next = (place: LogPlace): void => {
    readRecords(journal.log, place, limits.journalReadBytes, (read) => {
      if ("code" in read) return done(read);
      for (const [i, { table, payload }] of read.records.entries()) {
        const last = lastOf(table, payload.length);
        if (last === undefined) return done(notABatch);
        if (isSamePosition(last, end))
          return done({ place: read.records[i + 1]?.place ?? read.next, follows: last });
        if (isBehind(end, last)) return done(undefined);
      }
      if (read.records.length === 0) done(undefined);
      else next(read.next);
    });
  };
  next(from);
}

const notABatch: IoFailure = {
  code: "EBADMSG",
  message: "the journal holds a record that is no batch",
};

function lastOf(table: Uint8Array, payloadBytes: number): LogPosition | undefined {
  const entries = decodeTable(table, payloadBytes);
  const last = entries.ok ? entries.value.at(-1) : undefined;
  return last === undefined ? undefined : positionOf(last);
}

/** The journal's first record: for a log that begins anew. */
export function firstRecord({ log }: JournalRun): LogStart {
  const place = must(placeOf(log, log.firstRecord), "a log begins somewhere");
  return { place, follows: noPosition };
}

export type LogSenderOwner = {
  /** What comes next cannot be read from the journal. */
  onUnreadable(why: string): void;
  /** There is nothing that was not sent. Told once. */
  onCaughtUp(): void;
  onSent(entries: readonly Entry[]): void;
};

export type LogSender = {
  readonly journal: JournalRun;
  readonly wire: SessionWire;
  readonly owner: LogSenderOwner;
  /** The place of the next record, and the entry before it. */
  next: LogPlace;
  follows: LogPosition;
  isReading: boolean;
  isCaughtUp: boolean;
  isEnded: boolean;
};

export function startLogSender(
  journal: JournalRun,
  wire: SessionWire,
  start: LogStart,
  owner: LogSenderOwner,
): LogSender {
  const sender: LogSender = {
    journal,
    wire,
    owner,
    next: start.place,
    follows: start.follows,
    isReading: false,
    isCaughtUp: false,
    isEnded: false,
  };
  wire.peer.onDrain = () => pumpLog(sender);
  pumpLog(sender);
  return sender;
}

export function endLogSender(sender: LogSender): void {
  sender.isEnded = true;
  sender.wire.peer.onDrain = () => undefined;
}

/** This has just been appended: it is sent in this very turn where all before it was, or else read back later. */
export function offerRecord(sender: LogSender, batch: AppendedBatch): void {
  if (sender.isEnded || sender.isReading) return;
  const { journal, wire } = sender;
  const isNext = sender.next.number === batch.number;
  if (!isNext || wire.peer.connection.queuedBytes() >= limits.bunkerFreshBytesMax)
    return pumpLog(sender);
  sender.next = endOf(journal.log);
  send(sender, batch.entries, batch.table, batch.payload);
}

/** Reads on and sends, as long as the connection has little enough to send. */
function pumpLog(sender: LogSender): void {
  const { journal, wire, owner } = sender;
  const isBusy = wire.peer.connection.queuedBytes() >= limits.laneQueueBytesMax;
  if (sender.isEnded || sender.isReading || isBusy) return;
  if (sender.next.number > journal.log.lastRecord) {
    if (sender.isCaughtUp) return;
    sender.isCaughtUp = true;
    return owner.onCaughtUp();
  }
  sender.isReading = true;
  readRecords(journal.log, sender.next, limits.senderReadBytes, (read) => {
    sender.isReading = false;
    if (sender.isEnded) return;
    if ("code" in read) return owner.onUnreadable(read.message);
    for (const { table, payload } of read.records) {
      const entries = decodeTable(table, payload.length);
      if (!entries.ok) return owner.onUnreadable(notABatch.message);
      send(sender, entries.value, table, [payload]);
    }
    sender.next = read.next;
    wire.peer.connection.giveBack([read.memory]);
    pumpLog(sender);
  });
}

function send(
  sender: LogSender,
  entries: readonly Entry[],
  table: Uint8Array,
  payload: readonly Uint8Array[],
): void {
  feedRecord(sender.wire, sender.follows, table, payload);
  sender.follows = positionOf(must(entries.at(-1), "a batch has an entry"));
  sender.owner.onSent(entries);
}
