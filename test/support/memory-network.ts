import { joined } from "#base/bytes.ts";
import type { Connection, ConnectionEvents, Transport } from "#ports/transport.ts";

/** One end of a connection, and how it ended. */
export type MemoryEnd = {
  readonly connection: Connection;
  readonly closes: string[];
  readonly sent: Uint8Array[];
};

/** A network in memory that delivers only when told, in pieces of any size. */
export type MemoryNetwork = {
  readonly transport: Transport;
  /** Delivers until nothing is under way, `pieceBytes` at a time. */
  settle(pieceBytes?: number): void;
  /** Both ends of the last connection that was dialled; the dialler's first. */
  ends(): readonly [MemoryEnd, MemoryEnd];
};

type Side = MemoryEnd & {
  events: ConnectionEvents;
  readonly inbox: Uint8Array[];
  /** Why this end has ended; told by itself, or once it has read all that the other sent before it ended. */
  ending: string | undefined;
  isLeft: boolean;
  isClosed: boolean;
};

/** `accept` is what listens, at every address. */
export function createMemoryNetwork(
  accept: (connection: Connection) => ConnectionEvents,
): MemoryNetwork {
  const sides: [Side, Side][] = [];
  const pendingDials: (() => void)[] = [];
  return {
    transport: {
      dial(_address, _timeoutMs, { onOpen }) {
        pendingDials.push(() => {
          const pair = createPair();
          sides.push(pair);
          pair[0].events = onOpen(pair[0].connection);
          pair[1].events = accept(pair[1].connection);
        });
      },
    },
    settle(pieceBytes = 1 << 20) {
      for (let dial = pendingDials.shift(); dial; dial = pendingDials.shift()) dial();
      let isMoving = true;
      while (isMoving) {
        isMoving = false;
        for (const side of sides.flat()) isMoving = deliver(side, pieceBytes) || isMoving;
      }
    },
    ends: () => sides[sides.length - 1] ?? fail("nothing was dialled"),
  };
}

function createPair(): [Side, Side] {
  const dialer = createSide("listener", () => listener);
  const listener = createSide("dialer", () => dialer);
  return [dialer, listener];
}

function createSide(remote: string, other: () => Side): Side {
  const side: Side = {
    connection: {
      remote,
      send(chunks) {
        if (side.isClosed || side.ending !== undefined) return;
        side.sent.push(...chunks);
        other().inbox.push(joined(chunks));
      },
      queuedBytes: () => 0,
      pause: () => undefined,
      resume: () => undefined,
      take: (bytes) => new Uint8Array(bytes),
      giveBack: () => undefined,
      end: (why) => end(side, other(), why),
      close: (why) => end(side, other(), why),
    },
    closes: [],
    sent: [],
    events: { onData: noEvents, onClose: noEvents, onDrain: noEvents },
    inbox: [],
    ending: undefined,
    isLeft: false,
    isClosed: false,
  };
  return side;
}

const noEvents = (): never => fail("an end has no owner");

// The other end reads what is on its way before it hears of the end.
function end(side: Side, other: Side, why: string): void {
  if (side.isClosed || side.ending !== undefined) return;
  side.inbox.length = 0;
  side.ending = why;
  other.isLeft = true;
}

function deliver(side: Side, pieceBytes: number): boolean {
  if (side.isClosed) return false;
  const chunk = side.inbox.shift();
  if (chunk !== undefined) {
    if (chunk.length > pieceBytes) side.inbox.unshift(chunk.subarray(pieceBytes));
    if (chunk.length > 0) side.events.onData(chunk.subarray(0, pieceBytes));
    return true;
  }
  if (side.isLeft) side.ending ??= "the other side has ended the connection";
  if (side.ending === undefined) return false;
  side.isClosed = true;
  side.closes.push(side.ending);
  side.events.onClose(side.ending);
  return true;
}

function fail(message: string): never {
  throw new Error(message);
}
