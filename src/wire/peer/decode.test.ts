import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { joined, viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import { encodeFrames, headerOf, sampleFrames } from "../../../test/support/peer-samples.ts";
import type { SampleFrame } from "../../../test/support/peer-samples.ts";
import { cut } from "../../../test/support/cut.ts";
import {
  createFrameDecoder,
  decodeJson,
  landedInFrame,
  landingOfFrame,
  pushChunk,
  stopDecoder,
} from "./decode.ts";
import { createHeaderPool, encodeHeader, encodeJson } from "./encode.ts";
import { emptyHeader, frameHeaderBytes, frameType, hasTable } from "./messages.ts";
import type { Frame, FrameHeader, FrameType } from "./messages.ts";

type Heard = { readonly frames: Frame[]; readonly malformed: string[] };

function decode(chunks: readonly Uint8Array[]): Heard {
  const heard: Heard = { frames: [], malformed: [] };
  const decoder = createFrameDecoder(
    (frame) => heard.frames.push(frame),
    (rule) => heard.malformed.push(rule),
  );
  for (const chunk of chunks) pushChunk(decoder, chunk);
  return heard;
}

function assertHeard(frames: readonly Frame[], sent: readonly SampleFrame[]): void {
  assert.deepEqual(
    frames.map(({ header, body }) => ({ header, body: joined(body) })),
    sent.map((sample) => ({ header: headerOf(sample), body: sample.body })),
  );
}

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u64 = fc.nat(Number.MAX_SAFE_INTEGER);
const someFrame: fc.Arbitrary<SampleFrame> = fc
  .record({
    type: fc.constantFrom<FrameType>(...Object.values(frameType)),
    fields: fc.record({
      flags: fc.nat(255),
      lsn: u64,
      set: u64,
      index: u32,
      volume: fc.nat(0xffff),
      source: fc.nat(0xffff),
      offset: u64,
      length: u32,
      generation: u32,
      epoch: u32,
      sequence: u32,
    }),
    body: fc.uint8Array({ maxLength: 80 }),
  })
  .map((frame) =>
    frame.type === frameType.batch
      ? {
          ...frame,
          fields: { ...frame.fields, length: frame.fields.length % (limits.peerBodyBytesMax + 1) },
        }
      : frame,
  );
/** A frame whose own checksums guard all of its body: what lies behind a table, the table's entries guard. */
const someGuardedFrame = someFrame.map((frame) => {
  const index = Math.max(frame.fields.index ?? 0, frame.body.length);
  return hasTable(frame.type) ? { ...frame, fields: { ...frame.fields, index } } : frame;
});
const somePlaces = fc.array(fc.nat(10_000), { maxLength: 30 });

test("every type of frame has a sample", () => {
  const types = sampleFrames.map((sample) => sample.type);
  assert.deepEqual(
    types.toSorted((a, b) => a - b),
    Object.values(frameType).toSorted((a, b) => a - b),
  );
});

test("frames come out as they went in, however the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(someFrame, { maxLength: 6 }), somePlaces, (sent, places) => {
      const { frames, malformed } = decode(cut(encodeFrames(sent), places));
      assert.deepEqual(malformed, []);
      assertHeard(frames, sent);
    }),
    { numRuns: 300 },
  );
  const bytes = encodeFrames(sampleFrames);
  assertHeard(decode(cut(bytes, [...bytes.keys()])).frames, sampleFrames);
});

test("I34: whatever bit flips, the frame and all behind it are not delivered, those before are", () => {
  const sent = sampleFrames.filter(({ type }) =>
    [frameType.ack, frameType.write, frameType.flush].some((wanted) => wanted === type),
  );
  const bytes = encodeFrames(sent);
  const starts = sent.map((_, i) => encodeFrames(sent.slice(0, i)).length);
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const at = bit >>> 3;
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    const { frames, malformed } = decode([bytes.slice()]);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    const whole = starts.findLastIndex((start) => start <= at);
    assert.equal(malformed.length, 1, `bit ${bit}`);
    assertHeard(frames, sent.slice(0, whole));
  }
});

test("I34: any byte that changes in any frame, however cut, is malformed and said once", () => {
  fc.assert(
    fc.property(
      fc.array(someGuardedFrame, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      somePlaces,
      (sent, place, mask, places) => {
        const bytes = encodeFrames(sent);
        const at = place % bytes.length;
        bytes[at] = (bytes[at] ?? 0) ^ mask;
        const { frames, malformed } = decode(cut(bytes, places));
        assert.equal(malformed.length, 1);
        assert.ok(frames.length < sent.length);
        assertHeard(frames, sent.slice(0, frames.length));
      },
    ),
    { numRuns: 300 },
  );
});

test("a byte behind a batch's table is its entry's to guard: the frame itself is delivered", () => {
  const fields = { ...emptyHeader(frameType.record), index: 4 };
  const bytes = encodeFrames([{ type: frameType.record, fields, body: new Uint8Array(9) }]);
  const flipped = (at: number) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
  const inTable = decode([flipped(frameHeaderBytes + 3)]);
  assert.deepEqual([inTable.frames.length, inTable.malformed.length], [0, 1]);
  const behind = decode([flipped(frameHeaderBytes + 4)]);
  assert.deepEqual([behind.frames.length, behind.malformed.length], [1, 0]);
});

/** A header with true checksums that claims what an honest encoder never would. */
function forged(change: (view: DataView) => void, fields: Partial<FrameHeader> = {}): Uint8Array {
  const header = { ...emptyHeader(frameType.ack), ...fields };
  const bytes = encodeHeader(createHeaderPool(), header, []).slice();
  const view = viewOf(bytes);
  change(view);
  view.setUint32(60, crc32c(bytes.subarray(0, 60)), true);
  return bytes;
}

test("row 56: a body beyond its type's limit is refused at the header, before a byte of it is kept", () => {
  const claims: readonly (readonly [FrameType, number, boolean])[] = [
    [frameType.ack, limits.peerControlBytesMax, true],
    [frameType.ack, limits.peerControlBytesMax + 1, false],
    [frameType.greeting, 2 ** 32 - 1, false],
    [frameType.write, limits.peerBodyBytesMax, true],
    [frameType.write, limits.peerBodyBytesMax + 1, false],
    [frameType.region, 2 ** 32 - 1, false],
  ];
  for (const [type, bodyBytes, isTaken] of claims) {
    const malformed: string[] = [];
    const decoder = createFrameDecoder(
      () => assert.fail("nothing is whole yet"),
      (rule) => malformed.push(rule),
    );
    pushChunk(
      decoder,
      forged((view) => view.setUint32(4, bodyBytes, true), { type }),
    );
    const rule = `a frame of type ${type} claims ${bodyBytes} bytes of body`;
    assert.deepEqual(malformed, isTaken ? [] : [rule]);
    pushChunk(decoder, new Uint8Array(100));
    assert.equal(decoder.body.pieces.length, isTaken ? 1 : 0);
  }
});

test("I34: a long body is received where the decoder says, and is judged like any other", () => {
  const body = new Uint8Array(Buffer.alloc(3_000_000, "antipode"));
  const frames = [
    { type: frameType.write, fields: { sequence: 1 }, body },
    { type: frameType.ack, fields: { sequence: 2 }, body: new Uint8Array(0) },
  ];
  for (const isDamaged of [false, true]) {
    const wire = encodeFrames(frames);
    if (isDamaged) wire[2_000_000] = (wire[2_000_000] ?? 0) ^ 1;
    const heard: Heard = { frames: [], malformed: [] };
    const decoder = createFrameDecoder(
      (frame) => heard.frames.push(frame),
      (rule) => heard.malformed.push(rule),
    );
    pushChunk(decoder, wire.subarray(0, 10_000));
    let landed = 0;
    for (let at = 10_000; at < wire.length;) {
      const room = landingOfFrame(decoder);
      const read = wire.subarray(at, at + Math.min(room?.length ?? 70_000, 70_000));
      if (room === undefined) pushChunk(decoder, read);
      else room.set(read);
      if (room !== undefined) landedInFrame(decoder, read.length);
      if (room !== undefined) landed += read.length;
      at += read.length;
    }
    assert.ok(isDamaged || landed > 2_900_000, `${landed} bytes landed`);
    if (isDamaged) assert.match(heard.malformed.join(), /checksum of the body/);
    else assertHeard(heard.frames, frames);
  }
});

test("I34: types, numbers and magic that no build wrote are malformed, though the checksum is true", () => {
  const forgeries: readonly (readonly [(view: DataView) => void, RegExp])[] = [
    [(view) => view.setUint8(2, 99), /frame type 99 is unknown/],
    [(view) => view.setUint8(2, 0), /frame type 0 is unknown/],
    [(view) => view.setUint16(0, 0xffff), /magic/],
    [(view) => view.setUint32(12, 2 ** 21, true), /above 2\^53/],
    [(view) => view.setUint32(20, 2 ** 32 - 1, true), /above 2\^53/],
    [(view) => view.setUint32(36, 2 ** 21, true), /above 2\^53/],
  ];
  for (const [forge, why] of forgeries) {
    const { frames, malformed } = decode([forged(forge), encodeFrames(sampleFrames)]);
    assert.equal(frames.length, 0);
    assert.equal(malformed.length, 1);
    assert.match(malformed[0] ?? "", why);
  }
});

test("row 56: garbage is malformed or unfinished, and never throws", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (chunks) => {
      const { frames, malformed } = decode(chunks);
      assert.deepEqual(frames, []);
      assert.equal(malformed.length, joined(chunks).length >= frameHeaderBytes ? 1 : 0);
    }),
    { numRuns: 300 },
  );
});

test("a decoder that is stopped in the middle of a chunk says no more", () => {
  const seen: number[] = [];
  const decoder = createFrameDecoder(
    ({ header }) => {
      seen.push(header.type);
      stopDecoder(decoder);
    },
    () => assert.fail("a stopped decoder judges nothing"),
  );
  pushChunk(decoder, joined([encodeFrames(sampleFrames), new Uint8Array(200)]));
  assert.deepEqual(seen, [frameType.greeting]);
});

test("bodies are views of what was received, and headers of what was sent stay as they were", () => {
  const payload = Uint8Array.of(9, 8, 7);
  const pool = createHeaderPool();
  const headers = Array.from({ length: 600 }, (_, i) =>
    encodeHeader(pool, { ...emptyHeader(frameType.write), sequence: i }, [payload]),
  );
  const { frames } = decode(headers.flatMap((header) => [header, payload]));
  assert.deepEqual(
    frames.map((frame) => frame.header.sequence),
    Array.from({ length: 600 }, (_, i) => i),
  );
  for (const { body } of frames) assert.equal(body[0]?.buffer, payload.buffer);
});

test("a control message that is not UTF-8 or not JSON is refused in words, and never throws", () => {
  const json = (body: Uint8Array) =>
    decodeJson({ header: emptyHeader(frameType.probe), body: [body] });
  assert.match(errorOf(json(Uint8Array.of(0xff, 0xfe))), /not UTF-8/);
  assert.match(errorOf(json(new TextEncoder().encode("{"))), /not JSON/);
  assert.match(errorOf(json(new Uint8Array(0))), /not JSON/);
  fc.assert(
    fc.property(fc.uint8Array(), (body) => {
      const decoded = json(body);
      assert.equal(typeof decoded.ok, "boolean");
    }),
  );
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 2 }), somePlaces, (value, places) => {
      const { frames } = decode(
        cut(joined(encodeJson(createHeaderPool(), frameType.probe, value)), places),
      );
      const frame = frames[0] ?? assert.fail();
      assert.deepEqual(decodeJson(frame), { ok: true, value: JSON.parse(JSON.stringify(value)) });
    }),
    { numRuns: 50 },
  );
});

function errorOf(result: { ok: boolean; error?: string }): string {
  return result.ok ? "" : (result.error ?? "");
}

test("I34: a batch that would unpack to more than any batch may hold is refused by its header alone", () => {
  const pool = createHeaderPool();
  const header = (length: number): Uint8Array =>
    encodeHeader(pool, { ...emptyHeader(frameType.batch), index: 1, length }, [
      Uint8Array.of(1, 2),
    ]);
  assert.deepEqual(decode([header(limits.peerBodyBytesMax)]).malformed, []);
  const { malformed } = decode([header(limits.peerBodyBytesMax + 1)]);
  assert.deepEqual(malformed, [`a batch claims to unpack to ${limits.peerBodyBytesMax + 1} bytes`]);
});
