import { must } from "#base/assert.ts";
import { createFifo, peek, push, shift } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { costOf } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import type { Packing } from "#ports/packing.ts";
import { endOf, placeOf } from "#store/log.ts";
import type { LogPlace } from "#store/log.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogRecord } from "#store/log-read.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { placeOfSet } from "./journal-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { createPackChoice } from "./pack-choice.ts";
import { createSenderLane, queuedBytes, sendBatch } from "./sender-lane.ts";
import type { Packer, SenderLane } from "./sender-lane.ts";
import { createSendWindow, deliveredPerMs, noteDelivered, noteRoundTrip } from "./send-window.ts";
import type { SendWindow } from "./send-window.ts";
import type { SessionWire } from "./session-wire.ts";

// Feeds one copy: hands each batch to the connection that has least to send. A copy that keeps up gets them as they are
// appended; for one that is behind they are read back from the journal, in large pieces. What a copy has not applied is
// bounded by a window; beyond it the journal keeps the rest, not the memory.

/** A batch on its way, as it counts in the bounds of the copy. */
type Sent = {
  readonly lastSet: number;
  readonly bytes: number;
  readonly seals: number;
  /** The last set whose SEAL is in it; 0 for none. */
  readonly sealed: number;
};

export type SenderOwner = {
  readonly packing: Packing;
  /** Which batches the copy is sent packed. */
  readonly compress: "on" | "auto" | undefined;
  /** What comes next cannot be read from the journal. */
  onUnreadable(why: string): void;
  nowMs(): number;
  /** These have been handed to this connection. */
  onSent(lane: SessionWire, entries: readonly Entry[]): void;
};

export type Sender = {
  readonly journal: JournalRun;
  /** Connections of the session; the first also carries everything else. */
  readonly lanes: SenderLane[];
  readonly owner: SenderOwner;
  readonly packer: Packer;
  /** Where to read next; undefined when that is what will be appended next. */
  next: LogPlace | undefined;
  /** Sets below this the copy has. */
  readonly fromSet: number;
  isReading: boolean;
  isEnded: boolean;
  readonly window: SendWindow;
  /** Batches sent and not applied there, oldest first. */
  readonly inFlight: Fifo<Sent>;
  inFlightBytes: number;
  inFlightSeals: number;
  appliedSet: number;
  sentSet: number;
  /** The last set whose SEAL was sent. */
  sentSealed: number;
};

/** Begins to feed a copy that has all sets below `fromSet`. */
export function startSender(
  journal: JournalRun,
  wire: SessionWire,
  fromSet: number,
  owner: SenderOwner,
): Sender {
  const sender: Sender = {
    journal,
    lanes: [],
    owner,
    packer: {
      packing: owner.packing,
      choice: createPackChoice(owner.compress),
      onSent: (lane, entries) => owner.onSent(lane, entries),
    },
    next: placeOfSet(journal, fromSet),
    fromSet,
    isReading: false,
    isEnded: false,
    window: createSendWindow(owner.nowMs()),
    inFlight: createFifo(),
    inFlightBytes: 0,
    inFlightSeals: 0,
    appliedSet: fromSet - 1,
    sentSet: fromSet - 1,
    sentSealed: fromSet - 1,
  };
  addLane(sender, wire);
  return sender;
}

/** One more connection of the session. */
export function addLane(sender: Sender, wire: SessionWire): void {
  const lane = createSenderLane(wire);
  sender.lanes.push(lane);
  wire.peer.onDrain = () => pumpSender(sender);
  pumpSender(sender);
}

export function endSender(sender: Sender): void {
  sender.isEnded = true;
  for (const lane of sender.lanes) {
    lane.isEnded = true;
    lane.wire.peer.onDrain = () => undefined;
  }
}

/** The copy's site has answered a probe. */
export function senderProbed(sender: Sender, roundTripMs: number): void {
  noteRoundTrip(sender.window, roundTripMs, sender.owner.nowMs());
}

/** The copy has everything up to this set in its images. */
export function senderApplied(sender: Sender, set: number): void {
  sender.appliedSet = Math.max(sender.appliedSet, set);
  const before = sender.inFlightBytes;
  for (
    let oldest = peek(sender.inFlight);
    oldest !== undefined && oldest.lastSet <= sender.appliedSet;
    oldest = peek(sender.inFlight)
  ) {
    shift(sender.inFlight);
    sender.inFlightBytes -= oldest.bytes;
    sender.inFlightSeals -= oldest.seals;
  }
  noteDelivered(sender.window, before - sender.inFlightBytes, sender.owner.nowMs());
  pumpSender(sender);
}

/**
 * This has just been appended. Whoever has sent all before it sends it from where it lies in memory, as long as a connection
 * has little enough to send; whoever has not finds it in the journal. Either way no write is held for a copy longer than until
 * the network has taken it.
 */
export function offerBatch(
  sender: Sender,
  { number, entries, table, payload }: AppendedBatch,
): void {
  const isNext = !sender.isReading && sender.next?.number === number;
  if (sender.isEnded || !isNext || !mayFeed(sender, limits.laneFreshBytesMax))
    return pumpSender(sender);
  sender.next = endOf(sender.journal.log);
  send(sender, entries, table, payload);
}

/** Reads on and sends as far as window and connections allow. To be called when anything of that has changed. */
export function pumpSender(sender: Sender): void {
  if (sender.isEnded || sender.isReading || !mayFeed(sender, limits.laneQueueBytesMax)) return;
  const { log } = sender.journal;
  sender.next ??= placeOfSet(sender.journal, sender.sentSet + 1);
  // What was staged before this session is complete by now, and the journal has let it go before it was read.
  const [oldest] = log.segments;
  if (sender.next !== undefined && oldest !== undefined && sender.next.segment < oldest.number)
    sender.next = placeOf(log, Math.max(sender.next.number, log.firstRecord));
  if (sender.next === undefined || sender.next.number > log.lastRecord) return;
  sender.isReading = true;
  readRecords(log, sender.next, limits.senderReadBytes, (read) => {
    sender.isReading = false;
    if (sender.isEnded) return;
    if ("code" in read) return sender.owner.onUnreadable(read.message);
    sender.next = read.next;
    for (const record of read.records) sendRecord(sender, record);
    // All connections of a process share what they know of memory that is being sent.
    sender.lanes[0]?.wire.peer.connection.giveBack([read.memory]);
    pumpSender(sender);
  });
}

// A set that does not fit into the window is sent to its end nevertheless: it is applied whole or not at all.
function mayFeed(sender: Sender, queuedBytesMax: number): boolean {
  if (idlestLane(sender, queuedBytesMax) === undefined) return false;
  const { inFlightBytes, inFlightSeals } = sender;
  // Nothing whole is on its way: the copy can apply nothing before more comes.
  if (sender.sentSealed <= sender.appliedSet) return true;
  return inFlightBytes < sender.window.bytes && inFlightSeals < limits.sessionSetsMax;
}

function idlestLane(sender: Sender, queuedBytesMax: number): SenderLane | undefined {
  let idlest: SenderLane | undefined;
  for (const lane of sender.lanes) {
    if (queuedBytes(lane) >= queuedBytesMax) continue;
    if (idlest === undefined || queuedBytes(lane) < queuedBytes(idlest)) idlest = lane;
  }
  return idlest;
}

function sendRecord(sender: Sender, { table, payload }: LogRecord): void {
  const entries = decodeTable(table, payload.length);
  if (entries.ok) send(sender, entries.value, table, [payload]);
  else sender.owner.onUnreadable("the journal holds a record that is no batch");
}

function send(
  sender: Sender,
  entries: readonly Entry[],
  table: Uint8Array,
  payload: readonly Uint8Array[],
): void {
  const last = must(entries.at(-1), "a batch has an entry");
  sender.sentSet = Math.max(sender.sentSet, last.set);
  if (last.set < sender.fromSet) return;
  const lane = idlestLane(sender, Number.POSITIVE_INFINITY);
  if (lane === undefined) return;
  const sent = sentOf(entries, last.set);
  push(sender.inFlight, sent);
  sender.inFlightBytes += sent.bytes;
  sender.inFlightSeals += sent.seals;
  sender.sentSealed = Math.max(sender.sentSealed, sent.sealed);
  const way = { isBehind: isBehind(sender), bytesPerMs: deliveredPerMs(sender.window) };
  sendBatch(sender.packer, lane, way, { entries, table, payload });
}

// Much of what was appended is not sent yet.
function isBehind({ journal, next }: Sender): boolean {
  if (next === undefined) return false;
  const { segment, byte } = endOf(journal.log);
  return next.segment < segment || byte - next.byte >= limits.packBehindBytesMin;
}

function sentOf(entries: readonly Entry[], lastSet: number): Sent {
  let bytes = 0;
  let seals = 0;
  let sealed = 0;
  for (const entry of entries) {
    bytes += costOf(entry);
    if (entry.kind !== "seal") continue;
    seals += 1;
    sealed = entry.set;
  }
  return { lastSet, bytes, seals, sealed };
}
