import { joined, totalBytes } from "#base/bytes.ts";
import { createFifo, peek, push, shift } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import type { Entry } from "#core/entry.ts";
import type { Packing } from "#ports/packing.ts";
import { choosePacking, notePacked } from "./pack-choice.ts";
import type { PackChoice, Way } from "./pack-choice.ts";
import { feedBatch, feedPackedBatch } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";

// One connection of a sender. What is to be packed takes its time; what comes behind it waits for it, so that each connection
// carries batches in the order in which it was given them.

/** What all connections of a sender share. */
export type Packer = {
  readonly packing: Packing;
  readonly choice: PackChoice;
  onSent(lane: SessionWire, entries: readonly Entry[]): void;
};

export type SenderLane = {
  readonly wire: SessionWire;
  readonly waiting: Fifo<Waiting>;
  /** Payloads and tables that wait. */
  waitingBytes: number;
  isEnded: boolean;
};

type Waiting = {
  readonly entries: readonly Entry[];
  readonly table: Uint8Array;
  readonly payload: Uint8Array;
  /** What it was packed to, where that is less. */
  packed: Uint8Array | undefined;
  isReady: boolean;
};

export function createSenderLane(wire: SessionWire): SenderLane {
  return { wire, waiting: createFifo(), waitingBytes: 0, isEnded: false };
}

/** What the connection has not sent yet, packed or not. */
export function queuedBytes(lane: SenderLane): number {
  return lane.waitingBytes + lane.wire.peer.connection.queuedBytes();
}

/** Sends a batch. It is nobody's but the caller's again once this returns and the network has taken what it was given. */
export function sendBatch(
  packer: Packer,
  lane: SenderLane,
  way: Way,
  batch: {
    readonly entries: readonly Entry[];
    readonly table: Uint8Array;
    readonly payload: readonly Uint8Array[];
  },
): void {
  const { entries, table, payload } = batch;
  const isPacked = choosePacking(packer.choice, totalBytes(payload), way);
  if (!isPacked && lane.waiting.count === 0) {
    feedBatch(lane.wire, table, payload);
    return packer.onSent(lane.wire, entries);
  }
  const waiting: Waiting = {
    entries,
    // The caller's memory may be written over before its turn comes.
    table: table.slice(),
    payload: copied(payload),
    packed: undefined,
    isReady: !isPacked,
  };
  push(lane.waiting, waiting);
  lane.waitingBytes += waitingBytesOf(waiting);
  if (isPacked) pack(packer, lane, waiting);
}

function copied(payload: readonly Uint8Array[]): Uint8Array {
  const whole = joined(payload);
  return whole === payload[0] ? whole.slice() : whole;
}

function pack(packer: Packer, lane: SenderLane, waiting: Waiting): void {
  const { payload } = waiting;
  packer.packing.pack(payload, (packed) => {
    if (lane.isEnded) return;
    // What cannot be packed goes as it is.
    const packedBytes = packed.ok ? packed.value.length : payload.length;
    notePacked(packer.choice, payload.length, packedBytes);
    if (packed.ok && packedBytes < payload.length) waiting.packed = packed.value;
    waiting.isReady = true;
    sendReady(packer, lane);
  });
}

function sendReady(packer: Packer, lane: SenderLane): void {
  for (let next = peek(lane.waiting); next?.isReady === true; next = peek(lane.waiting)) {
    shift(lane.waiting);
    lane.waitingBytes -= waitingBytesOf(next);
    const { table, payload, packed } = next;
    if (packed === undefined) feedBatch(lane.wire, table, [payload]);
    else feedPackedBatch(lane.wire, table, packed, payload.length);
    packer.onSent(lane.wire, next.entries);
  }
}

function waitingBytesOf({ table, payload }: Waiting): number {
  return table.length + payload.length;
}
