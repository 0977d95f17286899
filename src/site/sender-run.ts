import { must } from "#base/assert.ts";
import { createFifo, peek, shift } from "#base/fifo.ts";
import { firstBytes } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { endOf, placeOf } from "#store/log-places.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogRecord } from "#store/log-read.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { batchLineBytes } from "#wire/batch/messages.ts";
import { placeOfSet } from "./journal-run.ts";
import type { AppendedBatch, JournalRun } from "./journal-run.ts";
import { createPackChoice } from "./pack-choice.ts";
import { createCycleFeed, noteAppended, pumpCycles } from "./cycle-feed.ts";
import { createSenderLane } from "./sender-lane.ts";
import { createSendWindow, noteDelivered, noteRoundTrip } from "./send-window.ts";
import { dispatch, mayFeed } from "./sender-state.ts";
import type { Sender, SenderOwner } from "./sender-state.ts";
import type { SessionWire } from "./session-wire.ts";

// Feeds one copy: hands each batch to the connection that has least to send. A copy that keeps up gets them as they are
// appended; for one that is behind they are read back from the journal, in large pieces. What a copy has not applied is
// bounded by a window; beyond it the journal keeps the rest, not the memory.

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
      onSent: (lane, entries) => noteSent(sender, lane, entries),
    },
    next: placeOfSet(journal, fromSet),
    fromSet,
    isReading: false,
    isEnded: false,
    cycles: owner.foldsFrom === undefined ? undefined : createCycleFeed(fromSet, owner.foldsFrom),
    window: createSendWindow(owner.nowMs()),
    inFlight: createFifo(),
    inFlightBytes: 0,
    inFlightSeals: 0,
    inFlightMerged: 0,
    appliedSet: fromSet - 1,
    takenSet: fromSet - 1,
    sentSet: fromSet - 1,
    sentSealed: fromSet - 1,
  };
  addLane(sender, wire);
  return sender;
}

function noteSent(sender: Sender, lane: SessionWire, entries: readonly Entry[]): void {
  const last = must(entries.at(-1), "a batch has an entry");
  sender.sentSet = Math.max(sender.sentSet, last.set);
  sender.owner.onSent(lane, entries);
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
    sender.inFlightMerged -= oldest.merged;
  }
  noteDelivered(sender.window, before - sender.inFlightBytes, sender.owner.nowMs());
  pumpSender(sender);
}

/**
 * This has just been appended. Whoever has sent all before it sends it from where it lies in memory, as long as a connection
 * has little enough to send; whoever has not finds it in the journal. Either way no write is held for a copy longer than until
 * the network has taken it.
 */
export function offerBatch(sender: Sender, batch: AppendedBatch): void {
  const { number, entries, table, payload } = batch;
  if (sender.cycles !== undefined) {
    noteAppended(sender, sender.cycles, batch);
    return pumpSender(sender);
  }
  const isNext = !sender.isReading && sender.next?.number === number;
  if (sender.isEnded || !isNext || !mayFeed(sender, limits.laneFreshBytesMax))
    return pumpSender(sender);
  sender.next = endOf(sender.journal.log);
  send(sender, entries, table, payload);
}

/** Reads on and sends as far as window and connections allow. To be called when anything of that has changed. */
function pumpSender(sender: Sender): void {
  if (sender.isEnded) return;
  if (sender.cycles !== undefined) return pumpCycles(sender, sender.cycles);
  if (sender.isReading || !mayFeed(sender, limits.laneQueueBytesMax)) return;
  const { log } = sender.journal;
  sender.next ??= placeOfSet(sender.journal, sender.takenSet + 1);
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
  sender.takenSet = Math.max(sender.takenSet, last.set);
  if (last.set < sender.fromSet) return;
  const { untilSet = Number.POSITIVE_INFINITY } = sender.owner;
  if (last.set > untilSet) return sendUntil(sender, entries, untilSet, { table, payload });
  dispatch(sender, { entries, table, payload });
}

// A record may hold the end of the last set, and more behind it.
function sendUntil(
  sender: Sender,
  entries: readonly Entry[],
  untilSet: number,
  record: { readonly table: Uint8Array; readonly payload: readonly Uint8Array[] },
): void {
  const kept = entries.filter(({ set }) => set <= untilSet);
  if (kept.length === 0) return;
  let payloadBytes = 0;
  for (const entry of kept) if (entry.kind === "write") payloadBytes += entry.length;
  const table = record.table.subarray(0, kept.length * batchLineBytes);
  send(sender, kept, table, firstBytes(record.payload, payloadBytes));
}
