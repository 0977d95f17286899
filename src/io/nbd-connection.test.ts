import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { limits } from "#base/limits.ts";
import type { HostRequest, HostVolume } from "#ports/host-request.ts";
import { nbdError } from "#wire/nbd/messages.ts";
import { createHeldBytes, type HeldBytes } from "./held-bytes.ts";
import { NbdConnection } from "./nbd-connection.ts";
import { createPoller } from "./poll.ts";

const enter = Buffer.concat([
  Buffer.from([0, 0, 0, 3]),
  Buffer.from("IHAVEOPT"),
  Buffer.from([0, 0, 0, 1, 0, 0, 0, 3]),
  Buffer.from("g/v"),
]);
const sweepSoon = 1;

test("NBD: a client that enters no export in time is hung up on", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, violations } = await connected(t, createHeldBytes(1 << 20));
  const closed = hungUp(client);
  t.mock.timers.tick(limits.nbdHandshakeMsMax);
  await closed;
  assert.match(violations[0] ?? "", /no export was entered within/);
});

test("NBD: one that has entered may be idle for as long as it likes", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const held = createHeldBytes(0);
  const { client, connection } = await connected(t, held);
  client.write(enter);
  await received(client, 28);
  t.mock.timers.tick(10 * limits.nbdHandshakeMsMax);
  for (let index = 1; index < 4; index++) connection.sweep(performance.now() + index * 60_000);
  assert.equal(client.destroyed, false);
  assert.ok(held.isFull(), "even while memory is short, since it holds none");
});

test("row 56: while memory is short, who stands still in the middle of a write goes, and others go on", async (t) => {
  const held = createHeldBytes(50_000);
  const stuck = await connected(t, held);
  const other = await connected(t, held);
  for (const { client } of [stuck, other]) {
    client.write(enter);
    await received(client, 28);
  }
  stuck.client.write(Buffer.concat([writeHeader(100_000), Buffer.alloc(60_000)]));
  await turnsUntil(() => held.isFull());
  other.client.write(Buffer.concat([writeHeader(1), Buffer.alloc(1)]));
  for (let index = 0; index < 20; index++) await new Promise(setImmediate);
  assert.equal(other.requests.length, 0, "the other waits for room");
  const closed = hungUp(stuck.client);
  stuck.connection.sweep(sweepSoon);
  stuck.connection.sweep(sweepSoon);
  await closed;
  assert.match(stuck.violations[0] ?? "", /stood still/);
  await turnsUntil(() => other.requests.length === 1);
});

test("row 56: who makes us hold twice the budget goes at once", async (t) => {
  const held = createHeldBytes(50_000);
  const { client, violations } = await connected(t, held);
  client.write(enter);
  await received(client, 28);
  const closed = hungUp(client);
  client.write(Buffer.concat([writeHeader(1_000_000), Buffer.alloc(900_000)]));
  await closed;
  assert.match(violations[0] ?? "", /memory/);
  assert.equal(held.total(), 0);
});

test("NBD: a connection that has to end and cannot is cut off by the sweep", async (t) => {
  const held = createHeldBytes(1 << 20);
  const { client, connection, requests } = await connected(t, held);
  client.write(Buffer.concat([enter, writeHeader(3), Buffer.alloc(3)]));
  await turnsUntil(() => requests.length === 1);
  connection.drain();
  connection.sweep(performance.now());
  assert.equal(client.destroyed, false);
  const closed = hungUp(client);
  connection.sweep(performance.now() + limits.nbdDrainMsMax);
  await closed;
  assert.equal(held.total(), 3, "the engine still works on it");
  const [request] = requests;
  request?.onReply(request, "ok", undefined);
  assert.equal(held.total(), 0);
});

test("NBD: a WRITE that the volume takes in parts is answered once all are, with the first error that one met", async (t) => {
  const held = createHeldBytes(1 << 20);
  const { client, requests } = await connected(t, held, 4096);
  client.write(enter);
  await received(client, 28);
  client.write(Buffer.concat([writeHeader(10_000), Buffer.alloc(10_000, 7)]));
  await turnsUntil(() => requests.length === 3);
  assert.deepEqual(
    requests.map(({ offset, length }) => [offset, length]),
    [
      [0, 4096],
      [4096, 4096],
      [8192, 1808],
    ],
  );
  const replies: Buffer[] = [];
  client.on("data", (chunk: Buffer) => replies.push(chunk));
  const [first, second, third] = requests;
  second?.onReply(second, "full", undefined);
  third?.onReply(third, "io", undefined);
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  assert.equal(replies.length, 0, "one part is under way");
  first?.onReply(first, "ok", undefined);
  await turnsUntil(() => replies.length > 0);
  const reply = Buffer.concat(replies);
  assert.deepEqual([reply.length, reply.readUInt32BE(4)], [16, nbdError.noSpace]);
  assert.equal(held.total(), 0);
});

type Connected = {
  readonly client: Socket;
  readonly connection: NbdConnection;
  /** Submitted and never answered by themselves. */
  readonly requests: HostRequest[];
  readonly violations: string[];
};

async function connected(
  t: TestContext,
  held: HeldBytes,
  writeBytesMax: number = limits.hostRequestBytesMax,
): Promise<Connected> {
  const folder = mkdtempSync(join(tmpdir(), "nbd-"));
  const path = join(folder, "socket");
  const requests: HostRequest[] = [];
  const violations: string[] = [];
  const volume: HostVolume = {
    group: "g",
    name: "v",
    index: 0,
    bytes: 1 << 30,
    writeBytesMax,
    submit: (request) => void requests.push(request),
    extents: () => undefined,
  };
  const ports = {
    exports: {
      list: () => [],
      find: () => ({ kind: "served" as const, volume }),
      onDrop: () => undefined,
    },
    poller: createPoller({ openMicrosMax: 0, restMicrosMax: 0 }),
    held,
    memory: undefined,
  };
  const server = createServer({ allowHalfOpen: true });
  server.listen({ path });
  await once(server, "listening");
  const client = connect({ path });
  const [socket]: Socket[] = await once(server, "connection");
  assert.ok(socket !== undefined);
  const connection = new NbdConnection(socket, ports, {
    onServe: () => undefined,
    onClose(_, violation) {
      if (violation !== undefined) violations.push(violation);
    },
  });
  t.after(() => {
    client.destroy();
    connection.close(undefined);
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { client, connection, requests, violations };
}

async function received(client: Socket, count: number): Promise<void> {
  let seen = 0;
  while (seen < count) {
    const [chunk]: Buffer[] = await once(client, "data");
    seen += chunk?.length ?? 0;
  }
}

/** The greeting must be read away, or the end behind it is never seen. A reset is one way to end. */
function hungUp(client: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  client.on("error", () => undefined);
  client.on("close", () => resolve());
  client.resume();
  return promise;
}

async function turnsUntil(isTrue: () => boolean): Promise<void> {
  for (let index = 0; index < 100_000 && !isTrue(); index++) await new Promise(setImmediate);
  assert.ok(isTrue());
}

function writeHeader(length: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x25609513, 0);
  bytes.writeUInt16BE(1, 6);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}
