import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Connection, ConnectionEvents, DialFailure } from "#ports/transport.ts";
import { transportSuite, type TransportWorld } from "../../test/acceptance/transport-suite.ts";
import { settle } from "../../test/support/settle.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { joinSmall } from "./connection.ts";
import { listen } from "./listen.ts";
import { createTransport } from "./transport.ts";

const ignore: ConnectionEvents = { onData: () => {}, onDrain: () => {}, onClose: () => {} };

transportSuite("TCP over IPv4", (onConnection) => tcpWorld("127.0.0.1:0", onConnection));
transportSuite("TCP over IPv6", (onConnection) => tcpWorld("[::1]:0", onConnection));
transportSuite("Unix sockets", async (onConnection) => {
  const temp = makeTempFolder();
  const address = `unix:${join(temp, "peer.sock")}`;
  const listener = await listen({ address, onConnection, onTrouble: assert.fail });
  return {
    transport: createTransport(),
    address,
    vacantAddress: `unix:${join(temp, "nobody.sock")}`,
    settle,
    async end() {
      await listener.close();
      removeTempFolder(temp);
    },
  };
});

async function tcpWorld(
  address: string,
  onConnection: (connection: Connection) => ConnectionEvents,
): Promise<TransportWorld> {
  const listener = await listen({ address, onConnection, onTrouble: assert.fail });
  const vacant = await listen({ address, onConnection, onTrouble: assert.fail });
  await vacant.close();
  return {
    transport: createTransport(),
    address: listener.address,
    vacantAddress: vacant.address,
    settle,
    end: () => listener.close(),
  };
}

test("small neighbours are joined, large chunks stay as they are, and no byte moves", () => {
  const small = Uint8Array.of(1, 2);
  const large = new Uint8Array(limits.sendJoinBytesMax + 1).fill(3);
  const batch = joinSmall([small, small, large, small, large, large, small, small, small]);
  assert.deepEqual(
    batch.map((chunk) => chunk.length),
    [4, large.length, 2, large.length, large.length, 6],
  );
  assert.equal(batch[1], large);
  assert.equal(batch[2], small, "alone, it is not copied either");
  const many = Array.from({ length: 1000 }, () => new Uint8Array(limits.sendJoinBytesMax));
  assert.ok(joinSmall(many).every((chunk) => chunk.length <= limits.sendJoinedBytesMax));
});

test("a dial that is not answered in time fails as unreachable, once", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const listener = await listen({
    address: "127.0.0.1:0",
    onConnection: () => ignore,
    onTrouble: assert.fail,
  });
  t.after(() => listener.close());
  const failures: DialFailure[] = [];
  createTransport().dial(listener.address, 50, {
    onOpen: () => assert.fail("opened after it had failed"),
    onFail: (failure) => void failures.push(failure),
  });
  // The answer is on its way, and can only be seen in a later turn than this.
  t.mock.timers.tick(50);
  assert.deepEqual(
    failures.map(({ kind }) => kind),
    ["unreachable"],
  );
  let turns = 0;
  await settle(() => ++turns > 100);
  assert.equal(failures.length, 1);
});

test("a dial to something that is not an address fails, later and with words", async () => {
  const failures: DialFailure[] = [];
  createTransport().dial("nonsense", 1_000, {
    onOpen: () => assert.fail("opened"),
    onFail: (failure) => void failures.push(failure),
  });
  assert.equal(failures.length, 0);
  await settle(() => failures.length > 0);
  assert.match(failures[0]?.message ?? "", /nonsense/);
});

test("a name that stands for several addresses is refused when all refuse", async () => {
  const server = net.createServer().listen({ host: "::", port: 0 });
  await settle(() => server.listening);
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  const isClosed = Promise.withResolvers<void>();
  server.close(() => isClosed.resolve());
  await isClosed.promise;
  const failures: DialFailure[] = [];
  createTransport().dial(`localhost:${bound.port}`, 5_000, {
    onOpen: () => assert.fail("opened"),
    onFail: (failure) => void failures.push(failure),
  });
  await settle(() => failures.length > 0);
  assert.equal(failures[0]?.kind, "refused");
});

test("connections beyond the limit are closed and told of; the others do not notice", async (t) => {
  const troubles: string[] = [];
  const listener = await listen({
    address: "127.0.0.1:0",
    connectionsMax: 1,
    onConnection: () => ignore,
    onTrouble: (message) => void troubles.push(message),
  });
  t.after(() => listener.close());
  const closes: string[] = [];
  const open = (name: string): Promise<Connection> => dialled(listener.address, name, closes);
  await open("first");
  await open("second");
  await settle(() => closes.length > 0 && troubles.length > 0);
  assert.deepEqual(closes, ["second"]);
  assert.match(troubles[0] ?? "", /there are 1 already/);
});

test("an address in use is an error with a hint; a dead process's socket is not in use", async (t) => {
  const temp = makeTempFolder();
  t.after(() => removeTempFolder(temp));
  const address = `unix:${join(temp, "peer.sock")}`;
  const options = { address, onConnection: () => ignore, onTrouble: assert.fail };
  const first = await listen(options);
  await assert.rejects(listen(options), (error) => error instanceof AppError && !!error.hint);
  // The name of a socket that nobody listens on: bound, and moved away before its owner could unlink it.
  fs.renameSync(join(temp, "peer.sock"), join(temp, "moved.sock"));
  await first.close();
  const leftOver = `unix:${join(temp, "moved.sock")}`;
  const second = await listen({ ...options, address: leftOver });
  await dialled(second.address, "guest", []);
  await second.close();
  assert.equal(fs.existsSync(join(temp, "moved.sock")), false);
});

test("closing a listener closes what is connected to it", async () => {
  const closes: string[] = [];
  let accepted = 0;
  const listener = await listen({
    address: "127.0.0.1:0",
    onConnection() {
      accepted++;
      return { ...ignore, onClose: (why) => void closes.push(why) };
    },
    onTrouble: assert.fail,
  });
  const dialerCloses: string[] = [];
  await dialled(listener.address, "guest", dialerCloses);
  await settle(() => accepted === 1);
  await listener.close();
  assert.deepEqual(closes, ["this side is stopping"]);
  await settle(() => dialerCloses.length > 0);
});

test("row 31: a peer that resets is one closed connection with its reason, not an exception", async (t) => {
  const server = net.createServer((socket) => void socket.resetAndDestroy());
  server.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => server.close());
  await settle(() => server.listening);
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  const whys: string[] = [];
  createTransport().dial(`127.0.0.1:${bound.port}`, 5_000, {
    onOpen(connection) {
      connection.send([new Uint8Array(100)]);
      return { ...ignore, onClose: (why) => void whys.push(why) };
    },
    onFail: (failure) => void whys.push(failure.message),
  });
  await settle(() => whys.length > 0);
  assert.match(whys[0] ?? "", /ECONNRESET|EPIPE|ended/);
});

test("an ended connection does not wait for ever for a peer that does not end", async (t: TestContext) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const server = net.createServer({ allowHalfOpen: true }, (socket) => void socket.resume());
  const sockets: net.Socket[] = [];
  server.on("connection", (socket) => sockets.push(socket));
  server.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await settle(() => server.listening);
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  const closes: string[] = [];
  const connection = await dialled(`127.0.0.1:${bound.port}`, "ended", closes);
  connection.send([Uint8Array.of(1)]);
  connection.end("the test has ended it");
  await settle(() => sockets.some((socket) => socket.readableEnded));
  assert.deepEqual(closes, []);
  t.mock.timers.tick(limits.peerEndMsMax);
  await settle(() => closes.length > 0);
});

function dialled(address: string, name: string, closes: string[]): Promise<Connection> {
  const { promise, resolve, reject } = Promise.withResolvers<Connection>();
  createTransport().dial(address, 5_000, {
    onOpen(connection) {
      resolve(connection);
      return { ...ignore, onClose: () => void closes.push(name) };
    },
    onFail: (failure) => reject(new Error(failure.message)),
  });
  return promise;
}
