import { joined } from "#base/bytes.ts";
import { createFifo, peek, push, shift } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import type { Packing } from "#ports/packing.ts";

// Batches of a session that came packed. Unpacking takes its time; what came behind on the same connection waits, since a copy
// counts the batches of each connection in the order in which they came.

export type Unpacking = {
  readonly lanes: Map<number, Fifo<Arrived>>;
  /** Bytes that the waiting batches come to. */
  waitingBytes: number;
  isEnded: boolean;
};

/** A batch that came. One of `take` and `fail` follows, unless the session ends before. */
export type Coming = {
  readonly lane: number;
  readonly payload: readonly Uint8Array[];
  /** What the payload unpacks to; 0: it is not packed. */
  readonly unpackedBytes: number;
  readonly take: (payload: readonly Uint8Array[]) => void;
  readonly fail: (why: string) => void;
};

type Arrived = {
  readonly coming: Coming;
  /** Undefined while it is being unpacked. */
  payload: readonly Uint8Array[] | undefined;
};

export function createUnpacking(): Unpacking {
  return { lanes: new Map(), waitingBytes: 0, isEnded: false };
}

/** The session has ended: nothing that waits is handed on. */
export function endUnpacking(unpacking: Unpacking): void {
  unpacking.isEnded = true;
  unpacking.lanes.clear();
}

/** Hands the batch on when it is unpacked and all before it on its connection were handed on; or says why it is not taken. */
export function passInOrder(
  unpacking: Unpacking,
  packing: Packing,
  coming: Coming,
): string | undefined {
  const { lane, payload, unpackedBytes } = coming;
  const queue = unpacking.lanes.get(lane) ?? createFifo<Arrived>();
  const isPacked = unpackedBytes > 0;
  if (!isPacked && queue.count === 0) {
    coming.take(payload);
    return undefined;
  }
  // Staging would refuse as much, and it hears of it only later.
  if (unpacking.waitingBytes + costOf(coming) > limits.stagingBytesMax)
    return `more than ${limits.stagingBytesMax} bytes that are not unpacked`;
  const arrived: Arrived = { coming, payload: isPacked ? undefined : payload };
  unpacking.lanes.set(lane, queue);
  unpacking.waitingBytes += costOf(coming);
  push(queue, arrived);
  if (!isPacked) return undefined;
  packing.unpack(joined(payload), unpackedBytes, (unpacked) => {
    if (unpacking.isEnded) return;
    if (!unpacked.ok) return coming.fail(`a packed batch: ${unpacked.error}`);
    arrived.payload = [unpacked.value];
    handOn(unpacking, queue);
  });
  return undefined;
}

// Whatever is handed on may end the session.
function handOn(unpacking: Unpacking, queue: Fifo<Arrived>): void {
  for (let next = peek(queue); next?.payload !== undefined; next = peek(queue)) {
    if (unpacking.isEnded) return;
    shift(queue);
    unpacking.waitingBytes -= costOf(next.coming);
    next.coming.take(next.payload);
  }
}

function costOf({ payload, unpackedBytes }: Coming): number {
  let bytes = limits.entryCostBytes + unpackedBytes;
  for (const chunk of payload) bytes += chunk.length;
  return bytes;
}
