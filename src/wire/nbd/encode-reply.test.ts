import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import {
  addBlockStatus,
  addErrorChunk,
  addSimpleRead,
  addSimpleReply,
  addStructuredRead,
  createReplyBatch,
  takeReplies,
} from "./encode-reply.ts";
import { nbdError } from "./messages.ts";

const cookie = { cookieHigh: 0x01020304, cookieLow: -1 };
const cookieHex = "01020304ffffffff";

test("NBD: each reply is, byte for byte, what the protocol's text draws", () => {
  const batch = createReplyBatch((bytes) => new Uint8Array(bytes));
  const at = { ...cookie, offset: 2 ** 33 + 5 };
  addSimpleReply(batch, cookie, nbdError.io);
  addSimpleRead(batch, cookie, Uint8Array.of(0xaa, 0xbb));
  addStructuredRead(batch, at, Uint8Array.of(0xcc));
  addErrorChunk(batch, cookie, nbdError.invalid, "no");
  addBlockStatus(batch, cookie, 1, [
    { length: 4096, hole: true },
    { length: 1, hole: false },
  ]);
  const expected = [
    `67446698 00000005 ${cookieHex}`,
    `67446698 00000000 ${cookieHex} aabb`,
    `668e33ef 0001 0001 ${cookieHex} 00000009 0000000200000005 cc`,
    `668e33ef 0001 8001 ${cookieHex} 00000008 00000016 0002 6e6f`,
    `668e33ef 0001 0005 ${cookieHex} 00000014 00000001 00001000 00000003 00000001 00000000`,
  ];
  const bytes = batch.bytes;
  const sent = Buffer.concat(takeReplies(batch));
  assert.equal(sent.toString("hex"), expected.join("").replaceAll(" ", ""));
  assert.equal(sent.length, bytes);
  assert.equal(batch.bytes, 0);
});

test("NBD: a turn's replies keep their order, and bytes handed to the socket are never written again", () => {
  const reads = fc.array(fc.nat(3 * limits.nbdReplyCopyBytesMax), { maxLength: 30 });
  fc.assert(
    fc.property(fc.array(reads, { maxLength: 5 }), (turns) => {
      const batch = createReplyBatch((bytes) => new Uint8Array(bytes));
      const sent: Uint8Array[] = [];
      const copies: Buffer[] = [];
      const expected: Buffer[] = [];
      for (const lengths of turns) {
        for (const length of lengths) {
          const bytes = new Uint8Array(length).fill(length % 256);
          addSimpleRead(batch, { cookieHigh: 0, cookieLow: length }, bytes);
          expected.push(simpleRead(length, bytes));
        }
        for (const chunk of takeReplies(batch)) {
          sent.push(chunk);
          copies.push(Buffer.from(chunk));
        }
      }
      assert.ok(Buffer.concat(sent).equals(Buffer.concat(expected)));
      assert.ok(Buffer.concat(sent).equals(Buffer.concat(copies)));
    }),
    { numRuns: 50 },
  );
});

test("NBD: whatever is copied into a block fits into one", () => {
  assert.ok(limits.nbdReplyCopyBytesMax + 64 <= limits.nbdReplyBlockBytes);
});

test("NBD: a hundred small replies of a turn are one piece, and a large payload is not copied", () => {
  const batch = createReplyBatch((bytes) => new Uint8Array(bytes));
  for (let index = 0; index < 100; index++) addSimpleReply(batch, cookie, nbdError.none);
  const large = new Uint8Array(limits.nbdReplyCopyBytesMax + 1);
  addSimpleRead(batch, cookie, large);
  const chunks = takeReplies(batch);
  assert.equal(chunks.length, 2);
  assert.equal(chunks[0]?.length, 101 * 16);
  assert.equal(chunks[1], large);
});

function simpleRead(cookieLow: number, bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(0x67446698, 0);
  header.writeUInt32BE(cookieLow, 12);
  return Buffer.concat([header, bytes]);
}
