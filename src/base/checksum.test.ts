import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c, crc32cChunks } from "./checksum.ts";

/** The dumb twin: one bit at a time, straight from the polynomial. */
function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

test("RFC 3720 B.4: CRC32C gives the published values", () => {
  assert.equal(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(new Uint8Array(0)), 0);
});

test("CRC32C equals the bit-wise definition, however the bytes are cut into chunks", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 }), (chunks) => {
      const whole = Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
      assert.equal(crc32cChunks(chunks), slowCrc32c(whole));
      assert.equal(crc32c(whole), slowCrc32c(whole));
    }),
  );
});

test("CRC32C reads exactly the view and not the buffer around it", () => {
  const around = new Uint8Array(64).fill(7);
  const view = around.subarray(3, 35);
  view.fill(0);
  assert.equal(crc32c(view), 0x8a9136aa);
});
