import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import {
  createRequestDecoder,
  isMidRequest,
  isUsedUp,
  landedInRequest,
  landingOfRequest,
  nextRequest,
  partialBytes,
  pushRequests,
  type RequestDecoder,
} from "./decode-request.ts";
import { command, magic } from "./messages.ts";

type Sent = { flags: number; type: number; cookie: bigint; offset: number; data: Uint8Array };

test("NBD: every request arrives whole and with its own bytes, however they are split", () => {
  fc.assert(
    fc.property(fc.array(requests(), { maxLength: 10 }), cuts(), (sent, at) => {
      const { got, decoder } = decodeSplit(Buffer.concat(sent.map(encode)), at);
      assert.deepEqual(got, sent);
      assert.ok(isUsedUp(decoder) && !isMidRequest(decoder) && partialBytes(decoder) === 0);
    }),
  );
});

test("row 56: no bytes make the decoder throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), cuts(), (noise, framed, at) => {
      const begin = Buffer.from("25609513", "hex");
      const { got } = decodeSplit(framed ? Buffer.concat([begin, noise]) : Buffer.from(noise), at);
      assert.ok(got.length <= 400 / 28 + 1);
    }),
  );
});

test("row 56: a header of 4 GiB makes the decoder hold nothing", () => {
  const decoder = createRequestDecoder(allocate);
  const header = encode(write(new Uint8Array(0)));
  header.writeUInt32BE(0xffff_ffff, 24);
  pushRequests(decoder, header);
  assert.equal(nextRequest(decoder), "more");
  for (let index = 0; index < 16; index++) {
    pushRequests(decoder, new Uint8Array(1 << 20));
    assert.equal(nextRequest(decoder), "more");
  }
  assert.equal(decoder.payload.length, 0);
  assert.equal(partialBytes(decoder), 0);
});

test("NBD: a payload that lies whole in a chunk is not copied", () => {
  const decoder = createRequestDecoder(allocate);
  const wire = encode(write(new Uint8Array(10_000).fill(7)));
  pushRequests(decoder, wire);
  assert.equal(nextRequest(decoder), "request");
  assert.deepEqual(
    decoder.payload.map(({ buffer }) => buffer),
    [wire.buffer],
  );
});

test("NBD: the rest of a long payload is received into blocks of its own, whatever of it came before", () => {
  fc.assert(
    fc.property(fc.nat(70_000), fc.nat(3 << 20), fc.integer({ min: 1, max: 400_000 }), landsWhole),
  );
});

test("NBD: a chunk that ends with a payload is let go, so that its memory may be given back", () => {
  const decoder = createRequestDecoder(allocate);
  const data = new Uint8Array(65_536);
  const wire = encode(write(data));
  const header = wire.subarray(0, wire.length - data.length);
  pushRequests(decoder, header);
  assert.equal(nextRequest(decoder), "more");
  pushRequests(decoder, data);
  assert.equal(nextRequest(decoder), "request");
  data.buffer.transfer(0);
  pushRequests(decoder, header);
  assert.equal(nextRequest(decoder), "more");
});

test("row 56: a write sent byte by byte is gathered into one piece of its own length", () => {
  const decoder = createRequestDecoder(allocate);
  const data = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
  const wire = encode(write(data));
  let result = "more";
  for (let at = 0; at < wire.length; at++) {
    pushRequests(decoder, wire.subarray(at, at + 1));
    result = nextRequest(decoder);
  }
  assert.equal(result, "request");
  assert.deepEqual(decoder.payload, [data]);
});

/** The first bytes come as a chunk, the rest by reads of at most so many bytes; behind it all a second request. */
function landsWhole(inChunk: number, dataBytes: number, readBytes: number): void {
  const decoder = createRequestDecoder(allocate);
  const data = Buffer.alloc(dataBytes, "antipode");
  const wire = encode(write(data));
  pushRequests(decoder, wire.subarray(0, inChunk));
  let at = Math.min(inChunk, wire.length);
  let result = nextRequest(decoder);
  while (at < wire.length) {
    assert.equal(result, "more");
    const room = landingOfRequest(decoder);
    assert.equal(room !== undefined, isMidRequest(decoder) && isLong(wire.length - at, data, at));
    const count = Math.min(room?.length ?? readBytes, readBytes, wire.length - at);
    const read = wire.subarray(at, at + count);
    if (room === undefined) pushRequests(decoder, read);
    else room.set(read);
    if (room !== undefined) landedInRequest(decoder, count);
    at += count;
    result = nextRequest(decoder);
  }
  assert.equal(result, "request");
  assert.ok(Buffer.concat(decoder.payload).equals(data));
  assert.ok(decoder.payload.length <= Math.ceil(dataBytes / limits.landingBlockBytesMax) + 1);
  if (decoder.payload.length > 1)
    assert.ok(decoder.payload.every(({ length, buffer }) => length === buffer.byteLength));
  pushRequests(decoder, encode(write(new Uint8Array(0))));
  assert.equal(nextRequest(decoder), "request");
}

// Before the header is whole nobody knows that something long follows.
function isLong(missing: number, data: Uint8Array, at: number): boolean {
  return missing >= limits.landingBytesMin && at >= 28 && data.length > 0;
}

const allocate = (bytes: number): Uint8Array => new Uint8Array(bytes);

function write(data: Uint8Array): Sent {
  return { flags: 0, type: command.write, cookie: 1n, offset: 0, data };
}

function requests(): fc.Arbitrary<Sent> {
  const cookie = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const flags = fc.integer({ min: 0, max: 0xffff });
  const offset = fc.oneof(fc.nat(1 << 20), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));
  return fc.oneof(
    record({
      flags,
      type: fc.constant<number>(command.write),
      cookie,
      offset,
      data: fc.uint8Array({ maxLength: 300 }),
    }),
    record({
      flags,
      type: fc.integer({ min: 0, max: 0xffff }).filter((type) => type !== command.write),
      cookie,
      offset,
      data: fc.constant(new Uint8Array(0)),
    }),
  );
}

function encode(sent: Sent): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(magic.request, 0);
  header.writeUInt16BE(sent.flags, 4);
  header.writeUInt16BE(sent.type, 6);
  header.writeBigUInt64BE(sent.cookie, 8);
  header.writeBigUInt64BE(BigInt(sent.offset), 16);
  header.writeUInt32BE(sent.data.length, 24);
  return Buffer.concat([header, sent.data]);
}

function decodeSplit(
  bytes: Buffer,
  at: readonly number[],
): { got: Sent[]; decoder: RequestDecoder } {
  const decoder = createRequestDecoder(allocate);
  const got: Sent[] = [];
  const points = [...at.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let begin = 0;
  for (const end of points) {
    pushRequests(decoder, bytes.subarray(begin, end));
    begin = end;
    for (let result = nextRequest(decoder); result !== "more"; result = nextRequest(decoder)) {
      if (result === "malformed") return { got, decoder };
      got.push(taken(decoder));
    }
  }
  return { got, decoder };
}

function taken(decoder: RequestDecoder): Sent {
  const { flags, type, cookieHigh, cookieLow, offset, payload } = decoder;
  const cookie =
    (BigInt.asUintN(32, BigInt(cookieHigh)) << 32n) | BigInt.asUintN(32, BigInt(cookieLow));
  return { flags, type, cookie, offset, data: new Uint8Array(Buffer.concat(payload)) };
}

function cuts(): fc.Arbitrary<number[]> {
  return fc.array(fc.nat(4000), { maxLength: 20 });
}

/** Objects with the ordinary prototype, as the decoder makes them. */
function record<T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(fields, { noNullPrototype: true });
}
