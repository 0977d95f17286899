import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import {
  createRequestDecoder,
  isMidRequest,
  isUsedUp,
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
  const decoder = createRequestDecoder();
  const header = encode({
    flags: 0,
    type: command.write,
    cookie: 1n,
    offset: 0,
    data: new Uint8Array(0),
  });
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

test("NBD: payload is never copied: its pieces lie in the chunks that were received", () => {
  const decoder = createRequestDecoder();
  const data = new Uint8Array(200_000).fill(7);
  const wire = encode({ flags: 0, type: command.write, cookie: 1n, offset: 0, data });
  const chunks = [wire.subarray(0, 65_536), wire.subarray(65_536, 131_072), wire.subarray(131_072)];
  let last = "";
  for (const chunk of chunks) {
    pushRequests(decoder, chunk);
    last = nextRequest(decoder);
  }
  assert.equal(last, "request");
  assert.equal(decoder.payload.length, 3);
  assert.ok(decoder.payload.every((piece) => piece.buffer === wire.buffer));
});

test("NBD: a chunk that ends with a payload is let go, so that its memory may be given back", () => {
  const decoder = createRequestDecoder();
  const data = new Uint8Array(65_536);
  const wire = encode({ flags: 0, type: command.write, cookie: 1n, offset: 0, data });
  const header = wire.subarray(0, wire.length - data.length);
  pushRequests(decoder, header);
  assert.equal(nextRequest(decoder), "more");
  pushRequests(decoder, data);
  assert.equal(nextRequest(decoder), "request");
  data.buffer.transfer(0);
  pushRequests(decoder, header);
  assert.equal(nextRequest(decoder), "more");
});

test("row 56: a write sent byte by byte is gathered into few pieces", () => {
  const decoder = createRequestDecoder();
  const data = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
  const wire = encode({ flags: 0, type: command.write, cookie: 1n, offset: 0, data });
  let result = "more";
  for (let at = 0; at < wire.length; at++) {
    pushRequests(decoder, wire.subarray(at, at + 1));
    result = nextRequest(decoder);
  }
  assert.equal(result, "request");
  const blocks = Math.ceil(data.length / limits.nbdGatherBytes);
  assert.ok(decoder.payload.length <= limits.nbdPiecesUngathered + blocks);
  assert.deepEqual(new Uint8Array(Buffer.concat(decoder.payload)), data);
});

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
  const decoder = createRequestDecoder();
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
