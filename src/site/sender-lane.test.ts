import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { joined } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import type { Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import type { Packing } from "#ports/packing.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createFrameDecoder, pushChunk } from "#wire/peer/decode.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { wireTo } from "../../test/support/wire-to.ts";
import { createPackChoice } from "./pack-choice.ts";
import { createSenderLane, queuedBytes, sendBatch, type Packer } from "./sender-lane.ts";
import { createUnpacking, endUnpacking, passInOrder, type Unpacking } from "./unpacking.ts";

type Done = (result: Result<Uint8Array>) => void;

/** A packing of the last byte alone, which answers when and in which order it is told to. */
function heldPacking() {
  const held: (() => void)[] = [];
  const answer = (done: Done, value: Uint8Array): void => {
    held.push(() => done({ ok: true, value }));
  };
  const packing: Packing = {
    name: "held",
    pack: (bytes, done) => answer(done, bytes.slice(0, bytes.length - 1)),
    unpack: (packed, bytes, done) =>
      answer(done, joined([packed, packed.slice(0, bytes - packed.length)])),
  };
  return { packing, held };
}

/** Tells the answers, each time the one at the next of these places. */
function answerAll(held: (() => void)[], places: readonly number[]): void {
  for (let i = 0; held.length > 0; i += 1) {
    const [answer] = held.splice((places[i % places.length] ?? 0) % held.length, 1);
    answer?.();
  }
}

function lineOf(lsn: number, payload: Uint8Array): Entry {
  const { length } = payload;
  return sampleEntry({ set: 1, index: lsn, lsn, length, payloadCrc: crc32c(payload) });
}

const places = fc.array(fc.nat(20), { minLength: 1, maxLength: 10 });
const lengths = fc.array(fc.constantFrom(4, 100, limits.packBytesMin, 3_000), { maxLength: 20 });

test("S2: packed or not, a connection brings batches as they were and in the order in which it was given them", () => {
  fc.assert(
    fc.property(lengths, places, places, (sizes, packOrder, unpackOrder) => {
      const { packing, held } = heldPacking();
      const unpacking = createUnpacking();
      const arrived: Uint8Array[] = [];
      let packedFrames = 0;
      const decoder = createFrameDecoder(
        ({ header, body }) => {
          const whole = joined(body);
          if (header.length > 0) packedFrames += 1;
          const wrong = passInOrder(unpacking, packing, {
            lane: 0,
            payload: [whole.subarray(header.index)],
            unpackedBytes: header.length,
            take: (payload) => arrived.push(joined([whole.slice(0, header.index), ...payload])),
            fail: (why) => assert.fail(why),
          });
          assert.equal(wrong, undefined);
        },
        (rule) => assert.fail(rule),
      );
      const lane = createSenderLane(wireTo("west", (bytes) => pushChunk(decoder, bytes)));
      const sent: number[] = [];
      const packer: Packer = {
        packing,
        choice: createPackChoice("on"),
        onSent: (_, entries) => sent.push(...entries.map(({ lsn }) => lsn)),
      };
      const given = sizes.map((size, i) => {
        const payload = new Uint8Array(size).fill(i + 1);
        const entries = [lineOf(i + 1, payload)];
        const table = encodeTable(entries);
        const copy = joined([table.slice(), payload.slice()]);
        sendBatch(
          packer,
          lane,
          { isBehind: true, bytesPerMs: undefined },
          { entries, table, payload: [payload] },
        );
        return { copy, table, payload };
      });
      // The journal's memory is read into again while batches of before wait.
      const isHeld = queuedBytes(lane) > 0;
      if (isHeld)
        for (const { table, payload } of given) [table, payload].forEach((bytes) => bytes.fill(0));
      answerAll(held, packOrder);
      assert.equal(queuedBytes(lane), 0);
      answerAll(held, unpackOrder);
      assert.deepEqual(
        sent,
        given.map((_, i) => i + 1),
      );
      assert.deepEqual(
        arrived,
        given.map(({ copy }) => copy),
      );
      assert.equal(packedFrames, sizes.filter((size) => size >= limits.packBytesMin).length);
      assert.equal(unpacking.waitingBytes, 0);
    }),
  );
});

test("I28: what a session that has ended was unpacking is handed to nobody", () => {
  const { packing, held } = heldPacking();
  const unpacking = createUnpacking();
  pass(unpacking, packing, 10);
  const broken: Packing = {
    ...packing,
    unpack: (_packed, _bytes, done) => held.push(() => done({ ok: false, error: "damaged" })),
  };
  pass(unpacking, broken, 10);
  endUnpacking(unpacking);
  assert.equal(held.length, 2);
  answerAll(held, [0]);
});

test("a copy holds packed batches up to what its staging would take, and no more", () => {
  const { packing } = heldPacking();
  const unpacking = createUnpacking();
  const half = limits.stagingBytesMax / 2;
  assert.equal(pass(unpacking, packing, half - 4 * limits.entryCostBytes), undefined);
  assert.equal(pass(unpacking, packing, half - 4 * limits.entryCostBytes), undefined);
  assert.match(pass(unpacking, packing, half) ?? "", /that are not unpacked/);
});

function pass(unpacking: Unpacking, packing: Packing, unpackedBytes: number): string | undefined {
  const fail = (): never => assert.fail("it is over");
  return passInOrder(unpacking, packing, {
    lane: 0,
    payload: [new Uint8Array(9)],
    unpackedBytes,
    take: fail,
    fail,
  });
}
