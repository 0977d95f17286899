import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { must } from "#base/assert.ts";
import { KiB, MiB } from "#base/limits.ts";
import type { Connection, ConnectionEvents, DialFailure, Transport } from "#ports/transport.ts";

/** A network with one machine that listens, and what the suite needs around it. */
export type TransportWorld = {
  readonly transport: Transport;
  /** Where the machine listens. */
  readonly address: string;
  /** An address of that machine where nobody listens. */
  readonly vacantAddress: string;
  /** Lets time pass until the condition holds. */
  settle(condition: () => boolean): Promise<void>;
  end(): Promise<void>;
};

/** One end of a connection and all that happened there. */
type Party = {
  connection: Connection;
  readonly received: Uint8Array[];
  receivedBytes: number;
  drains: number;
  readonly closes: string[];
  /** Places in the stream for which it offers room of its own, and what came there. */
  readonly wants: { readonly from: number; readonly bytes: number }[];
  landedBytes: number;
  /** Things told after `onClose`, of which there must be none. */
  late: number;
};

type Pair = { readonly dialer: Party; readonly listener: Party };

const DIAL_MS_MAX = 5_000;

/**
 * What every `Transport` must do, whoever implements it. `start` makes a world whose listener hands each connection to
 * `onConnection`.
 */
export function transportSuite(
  name: string,
  start: (onConnection: (connection: Connection) => ConnectionEvents) => Promise<TransportWorld>,
): void {
  describe(`Transport: ${name}`, () => {
    for (const [what, run] of Object.entries(cases)) {
      test(what, async (t: TestContext) => {
        const accepted: Party[] = [];
        const world = await start((connection) => {
          const party = newParty(connection);
          accepted.push(party);
          return eventsOf(party);
        });
        t.after(() => world.end());
        await run(world, accepted);
        for (const party of accepted) assert.equal(party.late, 0, "told after onClose");
      });
    }
  });
}

const cases: Readonly<Record<string, (world: TransportWorld, accepted: Party[]) => Promise<void>>> =
  {
    "bytes arrive both ways, whole and in order, whatever the chunks": async (world, accepted) => {
      const { dialer, listener } = await connected(world, accepted);
      const sent = chunksOf([1, 64, 4096, 0, 3, 70_000, 1, 1, 2 * MiB, 17, 512 * KiB, 5]);
      for (let from = 0; from < sent.length; from += 3)
        dialer.connection.send(sent.slice(from, from + 3));
      listener.connection.send(sent);
      const bytes = total(sent);
      await world.settle(() => dialer.receivedBytes >= bytes && listener.receivedBytes >= bytes);
      const expected = Buffer.concat(sent);
      assert.ok(Buffer.concat(listener.received).equals(expected));
      assert.ok(Buffer.concat(dialer.received).equals(expected));
    },

    "what an owner has room for lands there, and all else comes in chunks": async (
      world,
      accepted,
    ) => {
      const { dialer, listener } = await connected(world, accepted);
      const sent = chunksOf([40, 700_000, 5, 90_000, 2 * MiB, 100]);
      listener.wants.push({ from: 40, bytes: 700_000 }, { from: 790_005, bytes: 2 * MiB });
      for (const chunk of sent) dialer.connection.send([chunk]);
      const expected = Buffer.concat(sent);
      await world.settle(() => listener.receivedBytes === expected.length);
      assert.ok(Buffer.concat(listener.received).equals(expected));
      assert.ok(listener.landedBytes > 500_000, `${listener.landedBytes} bytes landed`);
    },

    "the queue counts what was sent, and drains": async (world, accepted) => {
      const { dialer, listener } = await connected(world, accepted);
      assert.equal(dialer.connection.queuedBytes(), 0);
      dialer.connection.send([new Uint8Array(100), new Uint8Array(28)]);
      assert.equal(dialer.connection.queuedBytes(), 128);
      await world.settle(() => dialer.drains > 0 && listener.receivedBytes === 128);
      assert.equal(dialer.connection.queuedBytes(), 0);
    },

    "while the other end pauses, bytes stay with the sender; then all arrive": async (
      world,
      accepted,
    ) => {
      const { dialer, listener } = await connected(world, accepted);
      listener.connection.pause();
      // More than any network holds by itself: the sender must be left with some of it.
      const sentBytes = 64 * MiB;
      dialer.connection.send(Array.from({ length: 64 }, () => new Uint8Array(1 * MiB)));
      let turns = 0;
      await world.settle(() => ++turns > 100);
      assert.ok(dialer.connection.queuedBytes() > 0);
      assert.equal(listener.receivedBytes, 0);
      listener.connection.resume();
      await world.settle(() => listener.receivedBytes === sentBytes);
      assert.equal(dialer.connection.queuedBytes(), 0);
    },

    "end sends what is queued first; both ends hear of the end once": async (world, accepted) => {
      const pair = await connected(world, accepted);
      const { dialer, listener } = pair;
      dialer.connection.send([new Uint8Array(3 * MiB), Uint8Array.of(1)]);
      dialer.connection.end("the test has ended it");
      dialer.connection.send([Uint8Array.of(2)]);
      await bothClosed(world, pair);
      assert.equal(listener.receivedBytes, 3 * MiB + 1);
      assert.equal(listener.received.at(-1)?.at(-1), 1);
    },

    "close drops everything; both ends hear of it once, and nothing after": async (
      world,
      accepted,
    ) => {
      const pair = await connected(world, accepted);
      const { dialer, listener } = pair;
      listener.connection.send([new Uint8Array(8 * MiB)]);
      dialer.connection.send([new Uint8Array(8 * MiB)]);
      dialer.connection.close("enough");
      dialer.connection.close("again");
      dialer.connection.send([Uint8Array.of(1)]);
      assert.equal(dialer.closes.length, 0, "onClose follows, it does not come within close");
      await bothClosed(world, pair);
      assert.deepEqual(dialer.closes, ["enough"]);
      assert.notEqual(listener.closes[0], "");
      assert.equal(dialer.late, 0);
    },

    "a dial to where nobody listens is refused": async (world) => {
      const failure = await failedDial(world, world.vacantAddress);
      assert.equal(failure.kind, "refused");
      assert.notEqual(failure.message, "");
    },

    "one machine takes many connections and keeps them apart": async (world, accepted) => {
      const pairs: Pair[] = [];
      for (let i = 0; i < 8; i++) pairs.push(await connected(world, accepted));
      for (const [i, pair] of pairs.entries()) pair.dialer.connection.send([Uint8Array.of(i)]);
      await world.settle(() => pairs.every(({ listener }) => listener.receivedBytes === 1));
      const got = pairs.map(({ listener }) => listener.received[0]?.[0]);
      assert.deepEqual(got, [0, 1, 2, 3, 4, 5, 6, 7]);
    },
  };

function newParty(connection: Connection): Party {
  return {
    connection,
    received: [],
    receivedBytes: 0,
    drains: 0,
    closes: [],
    wants: [],
    landedBytes: 0,
    late: 0,
  };
}

const rooms = new Map<Party, Uint8Array>();

/** The same memory until something has landed there. */
function roomFor(party: Party): Uint8Array | undefined {
  const known = rooms.get(party);
  if (known !== undefined) return known;
  const at = party.receivedBytes;
  const want = party.wants.find(({ from, bytes }) => at >= from && at < from + bytes);
  if (want === undefined) return undefined;
  const room = party.connection.take(want.from + want.bytes - at);
  rooms.set(party, room);
  return room;
}

function eventsOf(party: Party): ConnectionEvents {
  const told = (): void => {
    if (party.closes.length > 0) party.late++;
  };
  return {
    onData(chunk) {
      told();
      party.received.push(chunk);
      party.receivedBytes += chunk.length;
    },
    landing: {
      room: () => roomFor(party),
      landed(bytes) {
        told();
        const room = must(roomFor(party), "what lands was asked for");
        party.received.push(room.subarray(0, bytes));
        party.receivedBytes += bytes;
        party.landedBytes += bytes;
        rooms.delete(party);
      },
    },
    onDrain() {
      told();
      party.drains++;
    },
    onClose(why) {
      told();
      party.closes.push(why);
    },
  };
}

async function connected(world: TransportWorld, accepted: Party[]): Promise<Pair> {
  const before = accepted.length;
  const dialled: Party[] = [];
  world.transport.dial(world.address, DIAL_MS_MAX, {
    onOpen(connection) {
      const party = newParty(connection);
      dialled.push(party);
      return eventsOf(party);
    },
    onFail: (failure) => assert.fail(failure.message),
  });
  assert.equal(dialled.length, 0, "nothing is called before dial has returned");
  await world.settle(() => dialled.length > 0 && accepted.length > before);
  return { dialer: must(dialled[0], "dialled"), listener: must(accepted[before], "accepted") };
}

async function failedDial(world: TransportWorld, address: string): Promise<DialFailure> {
  const failures: DialFailure[] = [];
  world.transport.dial(address, DIAL_MS_MAX, {
    onOpen: () => assert.fail(`somebody listens on ${address}`),
    onFail: (failure) => void failures.push(failure),
  });
  assert.equal(failures.length, 0, "nothing is called before dial has returned");
  await world.settle(() => failures.length > 0);
  return must(failures[0], "failed");
}

async function bothClosed(world: TransportWorld, { dialer, listener }: Pair): Promise<void> {
  await world.settle(() => dialer.closes.length > 0 && listener.closes.length > 0);
  assert.equal(dialer.closes.length, 1);
  assert.equal(listener.closes.length, 1);
}

/** Chunks of the given lengths whose bytes tell where they belong. */
function chunksOf(lengths: readonly number[]): Uint8Array[] {
  let counter = 0;
  return lengths.map((length) => Uint8Array.from({ length }, () => (counter++ * 31) & 0xff));
}

function total(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}
