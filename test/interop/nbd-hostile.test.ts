import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { limits } from "#base/limits.ts";
import { createMemoryVolume, type MemoryVolume } from "../support/memory-volume.ts";
import { type NbdBench, startNbdBench } from "../support/nbd-bench.ts";
import {
  clientFlags,
  connectRaw,
  encodeGo,
  encodeOption,
  encodeRequest,
  enterRaw,
  number32,
  type RawNbdClient,
  readSimple,
} from "../support/raw-nbd-client.ts";
import { until } from "../support/until.ts";

const MiB = 1 << 20;
const name = "bank/data";
const [read, write, disconnect, flush, trim] = [0, 1, 2, 3, 4];
const [einval, eshutdown] = [22, 108];

async function start(
  t: TestContext,
): Promise<NbdBench & { volume: MemoryVolume; good: RawNbdClient }> {
  const volume = createMemoryVolume("bank", "data", 64 * MiB);
  const bench = await startNbdBench(t, [volume]);
  const good = await enterRaw({ path: bench.socket }, name);
  t.after(() => good.socket.destroy());
  return { ...bench, volume, good };
}

/** A write and its answer, by a client that has done nothing wrong. */
async function assertServed(client: RawNbdClient): Promise<void> {
  client.send(encodeRequest({ type: write, cookie: 77, offset: 9, length: 3 }), Buffer.from("abc"));
  assert.deepEqual(await readSimple(client), { error: 0, cookie: 77 });
}

test("row 56: bytes that are no request end their own connection and no other", async (t) => {
  const { socket, good, errors } = await start(t);
  const bad = await enterRaw({ path: socket }, name);
  bad.send(Buffer.alloc(100, "garbage"));
  await bad.closed;
  await until("it was reported", () => errors.length === 1);
  assert.match(errors[0] ?? "", /not an NBD request/);
  await assertServed(good);
});

test("row 56: garbage instead of a handshake, and options of 64 KiB and of 4 GiB", async (t) => {
  const { port, good } = await start(t);
  const noise = connectRaw({ port });
  noise.send(Buffer.alloc(5000, "GET / HTTP/1.1\r\n"));
  await noise.closed;
  const wordy = connectRaw({ port });
  wordy.send(
    clientFlags,
    encodeOption(7, Buffer.alloc(64 * 1024)),
    encodeOption(2, Buffer.alloc(0)),
  );
  const replies = await wordy.read(18 + 20);
  assert.equal(replies.readUInt32BE(18 + 12), 0x80000009, "NBD_REP_ERR_TOO_BIG");
  await wordy.closed;
  const endless = connectRaw({ port });
  endless.send(clientFlags, Buffer.from("IHAVEOPT"), number32(7), number32(0xffff_ffff));
  await endless.closed;
  await assertServed(good);
});

test("row 56: a write of 4 GiB is read past without being kept", async (t) => {
  const { socket, good, server } = await start(t);
  const bad = await enterRaw({ path: socket }, name);
  bad.send(encodeRequest({ type: write, length: 0xffff_ffff }));
  const chunk = Buffer.alloc(MiB);
  for (let index = 0; index < 48; index++) {
    if (!bad.socket.write(chunk)) await once(bad.socket, "drain");
  }
  assert.equal(server.counters().heldBytes, 0);
  await assertServed(good);
  bad.socket.destroy();
});

test("NBD: a write that is too long is refused when its payload has passed, and the next is served", async (t) => {
  const { good } = await start(t);
  const length = limits.hostRequestBytesMax + 1;
  good.send(encodeRequest({ type: write, cookie: 5, length }), Buffer.alloc(length));
  assert.deepEqual(await readSimple(good), { error: einval, cookie: 5 });
  await assertServed(good);
});

test("row 56: half a header and then silence holds nobody up, and close ends it", async (t) => {
  const { socket, good } = await start(t);
  const half = await enterRaw({ path: socket }, name);
  half.send(encodeRequest({ type: flush, length: 0 }).subarray(0, 13));
  const payload = await enterRaw({ path: socket }, name);
  payload.send(encodeRequest({ type: write, length: 1000 }), Buffer.alloc(999));
  await assertServed(good);
  for (const client of [half, payload]) client.socket.destroy();
});

test("row 56: a thousand idle connections, in and before an export, leave another to work", async (t) => {
  const { socket, port, good, server } = await start(t);
  const idle = Array.from({ length: 500 }, () => connectRaw({ port }));
  const entered = await Promise.all(
    Array.from({ length: 500 }, () => enterRaw({ path: socket }, name)),
  );
  await Promise.all(idle.map((client) => client.read(18)));
  assert.equal(server.counters().connections, 1001);
  for (let index = 0; index < 100; index++) await assertServed(good);
  for (const client of [...idle, ...entered]) client.socket.destroy();
  await until("they are gone", () => server.counters().connections === 1);
});

test("NBD: bytes split anywhere, and requests sent with the last option, are served", async (t) => {
  const { port } = await start(t);
  const client = connectRaw({ port });
  const data = Buffer.from("split");
  const bytes = Buffer.concat([
    clientFlags,
    encodeGo(name),
    encodeRequest({ type: write, cookie: 1, offset: 100, length: 5 }),
    data,
    encodeRequest({ type: read, cookie: 2, offset: 99, length: 7 }),
  ]);
  for (const byte of bytes) {
    client.socket.write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  const ack = 20;
  await client.read(18 + (20 + 12) + ack);
  assert.deepEqual(await readSimple(client), { error: 0, cookie: 1 });
  assert.deepEqual(await readSimple(client), { error: 0, cookie: 2 });
  assert.equal((await client.read(7)).toString(), "\0split\0");
  client.socket.destroy();
});

test("NBD: the old EXPORT_NAME for a name that is not served hangs up and says why to the operator", async (t) => {
  const { port, errors, exports } = await start(t);
  exports.refused.set("shop/web", "group shop is secondary here");
  const client = connectRaw({ port });
  client.send(number32(0), encodeOption(1, Buffer.from("shop/web")));
  await client.closed;
  await until("it was reported", () => errors.length === 1);
  assert.match(errors[0] ?? "", /group shop is secondary here/);
});

test("NBD: the old EXPORT_NAME without NO_ZEROES is followed by 124 zeroes", async (t) => {
  const { port } = await start(t);
  const client = connectRaw({ port });
  client.send(
    number32(1),
    encodeOption(1, Buffer.from(name)),
    encodeRequest({ type: flush, cookie: 3, length: 0 }),
  );
  const reply = (await client.read(18 + 134)).subarray(18);
  assert.equal(Number(reply.readBigUInt64BE(0)), 64 * MiB);
  assert.ok(reply.subarray(10).every((byte) => byte === 0));
  assert.deepEqual(await readSimple(client), { error: 0, cookie: 3 });
  client.socket.destroy();
});

test("NBD: DISC lets requests under way end and be answered, then the server hangs up", async (t) => {
  const { volume, good } = await start(t);
  volume.held = true;
  good.send(
    encodeRequest({ type: trim, cookie: 1, length: 512 }),
    encodeRequest({ type: disconnect, length: 0 }),
    encodeRequest({ type: trim, cookie: 2, length: 512 }),
  );
  await until("the request is there", () => volume.waiting.length === 1);
  volume.release();
  assert.deepEqual(await readSimple(good), { error: 0, cookie: 1 });
  await good.closed;
  assert.equal(volume.seen.length, 1);
});

test("NBD: when a group is dropped, its hosts get ESHUTDOWN for what is under way and then the end", async (t) => {
  const { volume, good, exports, socket, events } = await start(t);
  volume.held = true;
  good.send(encodeRequest({ type: write, cookie: 4, length: 1 }), Buffer.from("x"));
  await until("the request is there", () => volume.waiting.length === 1);
  exports.drop("bank");
  volume.outcome = "gone";
  volume.release();
  assert.deepEqual(await readSimple(good), { error: eshutdown, cookie: 4 });
  await good.closed;
  await until("both ends were told", () => events.length === 2);
  assert.deepEqual(
    events.map((event) => event.kind),
    ["host-connected", "host-disconnected"],
  );
  const late = connectRaw({ path: socket });
  late.send(clientFlags, encodeOption(1, Buffer.from(name)));
  await late.closed;
});

test("NBD: a client that dies in the middle of its writes has its replies dropped, and the writes done", async (t) => {
  const { volume, good, port, server } = await start(t);
  const dying = await enterRaw({ port }, name);
  volume.held = true;
  dying.send(encodeRequest({ type: write, offset: 4096, length: 4 }), Buffer.from("kept"));
  await until("the request is there", () => volume.waiting.length === 1);
  dying.socket.resetAndDestroy();
  volume.release();
  await until("it is gone", () => server.counters().connections === 1);
  assert.equal(Buffer.from(volume.content.subarray(4096, 4100)).toString(), "kept");
  assert.equal(server.counters().heldBytes, 0);
  await assertServed(good);
});

test("row 56: a client that reads nothing is no longer read from, and another is served", async (t) => {
  const { socket, good, volume, server } = await start(t);
  const deaf = await enterRaw({ path: socket }, name);
  deaf.socket.pause();
  const requests = Array.from({ length: 200 }, (_, cookie) =>
    encodeRequest({ type: read, cookie, length: MiB }),
  );
  deaf.send(...requests);
  await until(
    "its replies pile up to the limit",
    () => server.counters().heldBytes >= limits.hostInFlightBytesMax - 2 * MiB,
  );
  await assertServed(good);
  const reads = volume.seen.filter((each) => each.kind === "read").length;
  assert.ok(reads < 200, `${reads} of 200 reads were made`);
  assert.ok(server.counters().heldBytes <= limits.hostInFlightBytesMax + MiB);
  deaf.socket.resume();
  for (let cookie = 0; cookie < 200; cookie++) {
    assert.deepEqual(await readSimple(deaf), { error: 0, cookie });
    await deaf.read(MiB);
  }
  deaf.socket.destroy();
});

test("row 56: more requests than may be in flight wait in the socket, not in memory", async (t) => {
  const { volume, good, server } = await start(t);
  volume.held = true;
  const count = 3 * limits.hostInFlightRequestsMax;
  for (let cookie = 0; cookie < count; cookie++)
    good.send(encodeRequest({ type: trim, cookie, length: 1 }));
  await until(
    "the limit is reached",
    () => volume.waiting.length === limits.hostInFlightRequestsMax,
  );
  await new Promise(setImmediate);
  assert.equal(server.counters().requestsInFlight, limits.hostInFlightRequestsMax);
  volume.release();
  for (let cookie = 0; cookie < count; cookie++) {
    assert.deepEqual(await readSimple(good), { error: 0, cookie });
  }
});
