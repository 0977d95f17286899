import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hex, joined, totalBytes } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import type { Entry } from "#core/entry.ts";
import { cut } from "../../../test/support/cut.ts";
import { decodeTable, payloadIsSound, splitPayload } from "./decode.ts";
import { encodeTable } from "./encode.ts";
import { batchLineBytes } from "./messages.ts";

const u16 = fc.nat(0xffff);
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u64 = fc.nat(Number.MAX_SAFE_INTEGER);
const someLine = fc
  .record({
    kind: fc.constantFrom<Entry["kind"]>("write", "zero", "seal"),
    mayPunch: fc.boolean(),
    source: u16,
    incarnation: u32,
    lsn: u64,
    set: u64,
    index: u32,
    volume: u16,
    offset: fc.nat(2 ** 50),
    payload: fc.uint8Array({ minLength: 1, maxLength: 60 }),
    digest: u32,
    stampMs: u64,
  })
  .map(({ payload, digest, ...line }): { entry: Entry; payload: Uint8Array } => {
    const { length } = payload;
    if (line.kind === "write")
      return { entry: { ...line, length, payloadCrc: crc32c(payload) }, payload };
    const entry = { ...line, length: line.kind === "seal" ? 0 : length, payloadCrc: digest };
    return { entry, payload: new Uint8Array(0) };
  });

const someBatch = fc.array(someLine, { minLength: 1, maxLength: 12 }).map((lines) => ({
  entries: lines.map(({ entry }) => entry),
  payloads: lines.map(({ payload }) => payload),
}));

test("S2, S7: a batch is read as it was written, however its payload was cut", () => {
  fc.assert(
    fc.property(someBatch, fc.array(fc.nat(800)), (batch, places) => {
      const whole = joined(batch.payloads);
      const decoded = decodeTable(encodeTable(batch.entries), whole.length);
      assert.ok(decoded.ok);
      assert.deepEqual(decoded.value, batch.entries);
      const split = splitPayload(decoded.value, cut(whole, places));
      assert.deepEqual(split?.map(joined), batch.payloads);
    }),
  );
});

test("I34: a payload that does not match its line is never handed on", () => {
  fc.assert(
    fc.property(someBatch, fc.nat(), fc.nat(7), (batch, place, bit) => {
      const whole = joined(batch.payloads).slice();
      fc.pre(whole.length > 0);
      const table = encodeTable(batch.entries);
      assert.ok(payloadIsSound(table, [whole]));
      const at = place % whole.length;
      whole[at] = (whole[at] ?? 0) ^ (1 << bit);
      assert.equal(payloadIsSound(table, [whole]), false);
    }),
  );
});

test("I34: any bytes as a table are a batch or a broken rule, never an exception", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 5 * batchLineBytes }),
      fc.nat(2000),
      (bytes, payload) => {
        const decoded = decodeTable(bytes, payload);
        if (!decoded.ok) return assert.notEqual(decoded.error, "");
        const writes = decoded.value.filter(({ kind }) => kind === "write");
        assert.equal(
          writes.reduce((sum, { length }) => sum + length, 0),
          payload,
        );
      },
    ),
  );
});

test("a table that speaks of more or less than follows it is refused", () => {
  const payload = new Uint8Array(8).fill(7);
  const line: Entry = { ...sampleWrite, length: 8, payloadCrc: crc32c(payload) };
  const table = encodeTable([line]);
  assert.ok(decodeTable(table, 8).ok);
  for (const bytes of [0, 7, 9]) assert.equal(decodeTable(table, bytes).ok, false);
  assert.equal(payloadIsSound(table, [payload.subarray(1)]), false);
});

const sampleWrite: Entry = {
  kind: "write",
  mayPunch: false,
  source: 0,
  incarnation: 3,
  lsn: 77,
  set: 5,
  index: 2,
  volume: 1,
  offset: 4096,
  length: 4,
  payloadCrc: 0x1234_5678,
  stampMs: 0,
};

test("version 1: a line's bytes, for ever", () => {
  const seal: Entry = {
    ...sampleWrite,
    kind: "seal",
    index: 3,
    offset: 4,
    length: 0,
    stampMs: 1_700_000_000_000,
  };
  const table = encodeTable([sampleWrite, { ...sampleWrite, kind: "zero", mayPunch: true }, seal]);
  assert.equal(
    hex(table),
    [
      "010001000200000" +
        "04d00000000000000050000000000000000100000000000000400000078563412000000000300000000000000" +
        "00000000",
      "020101000200000" +
        "04d00000000000000050000000000000000100000000000000400000078563412000000000300000000000000" +
        "00000000",
      "030001000300000" +
        "04d00000000000000050000000000000004000000000000000000000078563412000000000300000000" +
        "68e5cf8b010000",
    ].join(""),
  );
  assert.equal(totalBytes([table]), 3 * batchLineBytes);
});
