import { push } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { costOf } from "#core/entry.ts";
import type { Entry } from "#core/entry.ts";
import type { Packing } from "#ports/packing.ts";
import { endOf } from "#store/log-places.ts";
import type { LogPlace } from "#store/log.ts";
import type { JournalRun } from "./journal-run.ts";
import type { CycleFeed } from "./cycle-feed.ts";
import { queuedBytes, sendBatch } from "./sender-lane.ts";
import type { Packer, SenderLane } from "./sender-lane.ts";
import { deliveredPerMs } from "./send-window.ts";
import type { SendWindow } from "./send-window.ts";
import type { SessionWire } from "./session-wire.ts";

// What a sender has in hand, and when it may hand more to the network.

/** A batch on its way, as it counts in the bounds of the copy. */
type Sent = {
  readonly lastSet: number;
  readonly bytes: number;
  readonly seals: number;
  /** The last set whose SEAL is in it; 0 for none. */
  readonly sealed: number;
  /** Of the cycle that ends in it: entries before they were folded. */
  readonly merged: number;
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
  /** The last set that the copy is sent; left out: whatever is appended. */
  readonly untilSet?: number;
  /** The copy gets folded cycles; what was sent before, up to this set, goes as one, unless it is complete there. */
  readonly foldsFrom?: number;
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
  /** With folding: the cycles that are gathered and sent. */
  readonly cycles: CycleFeed | undefined;
  readonly window: SendWindow;
  /** Batches sent and not applied there, oldest first. */
  readonly inFlight: Fifo<Sent>;
  inFlightBytes: number;
  inFlightSeals: number;
  inFlightMerged: number;
  appliedSet: number;
  /** The last set of which anything was taken from the journal to be sent. */
  takenSet: number;
  /** The last set of which anything has gone out: a batch that is being packed has not. */
  sentSet: number;
  /** The last set whose SEAL was sent. */
  sentSealed: number;
};

// A set that does not fit into the window is sent to its end nevertheless: it is applied whole or not at all.
export function mayFeed(sender: Sender, queuedBytesMax: number): boolean {
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

/** Hands a batch to the connection that has least to send. */
export function dispatch(
  sender: Sender,
  batch: {
    readonly entries: readonly Entry[];
    readonly table: Uint8Array;
    readonly payload: readonly Uint8Array[];
  },
  merged = 0,
): void {
  const lane = idlestLane(sender, Number.POSITIVE_INFINITY);
  if (lane === undefined) return;
  const sent = sentOf(batch.entries, merged);
  push(sender.inFlight, sent);
  sender.inFlightBytes += sent.bytes;
  sender.inFlightSeals += sent.seals;
  sender.inFlightMerged += sent.merged;
  sender.sentSealed = Math.max(sender.sentSealed, sent.sealed);
  const way = { isBehind: isBehind(sender), bytesPerMs: deliveredPerMs(sender.window) };
  sendBatch(sender.packer, lane, way, batch);
}

// Much of what was appended is not sent yet.
function isBehind({ journal, next }: Sender): boolean {
  if (next === undefined) return false;
  const { segment, byte } = endOf(journal.log);
  return next.segment < segment || byte - next.byte >= limits.packBehindBytesMin;
}

function sentOf(entries: readonly Entry[], merged: number): Sent {
  let bytes = 0;
  let lastSet = 0;
  let seals = 0;
  let sealed = 0;
  for (const entry of entries) {
    bytes += costOf(entry);
    lastSet = entry.set;
    if (entry.kind !== "seal") continue;
    seals += 1;
    sealed = entry.set;
  }
  return { lastSet, bytes, seals, sealed, merged };
}
