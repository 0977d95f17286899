import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits, MiB } from "#base/limits.ts";
import type { Result } from "#base/errors.ts";
import { createPacking } from "./packing.ts";

const packing = createPacking();

function pack(bytes: Uint8Array): Promise<Result<Uint8Array>> {
  return new Promise((done) => packing.pack(bytes, done));
}

function unpack(packed: Uint8Array, bytes: number): Promise<Result<Uint8Array>> {
  return new Promise((done) => packing.unpack(packed, bytes, done));
}

async function packed(bytes: Uint8Array): Promise<Uint8Array> {
  const result = await pack(bytes);
  assert.ok(result.ok);
  return result.value;
}

test("what was packed unpacks to the same bytes, whatever they are", async () => {
  const some = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 3_000 }),
    fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 300_000 })).map(([byte, length]) => {
      return new Uint8Array(length).fill(byte);
    }),
  );
  await fc.assert(
    fc.asyncProperty(some, async (bytes) => {
      const unpacked = await unpack(await packed(bytes), bytes.length);
      assert.ok(unpacked.ok);
      assert.ok(Buffer.from(bytes).equals(unpacked.value));
    }),
  );
});

test("I34: what unpacks to more or less than was said is refused, however little it takes on the wire", async () => {
  const bomb = await packed(new Uint8Array(64 * MiB));
  assert.ok(bomb.length < MiB / 64, `${bomb.length} bytes`);
  for (const bytes of [1, 4096, MiB]) {
    const refused = await unpack(bomb, bytes);
    // Node's words for its bound, beyond which it takes no memory; ours would come when all was unpacked.
    assert.match(refused.ok ? "" : refused.error, new RegExp(`larger than ${bytes} bytes`));
  }
  const short = await unpack(await packed(new Uint8Array(4095)), 4096);
  assert.deepEqual(short, { ok: false, error: "it unpacks to 4095 bytes instead of 4096" });
});

test("I34: a frame that wants a large memory to look back over is refused", async () => {
  // RFC 8878: magic number, a frame that says neither its size nor a checksum, its window, and one raw block of three bytes.
  const frame = (windowLog: number): Uint8Array =>
    Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, (windowLog - 10) << 3, 0x19, 0, 0, 1, 2, 3);
  const most = await unpack(frame(limits.zstdWindowLogMax), 3);
  assert.ok(most.ok);
  assert.equal((await unpack(frame(limits.zstdWindowLogMax + 1), 3)).ok, false);
});

test("I34: any bytes unpack to as many as was said or to an error, never to an exception", async () => {
  const sound = await packed(Uint8Array.from({ length: 2_000 }, (_, i) => (i * i) >> 3));
  const damaged = fc.tuple(fc.nat(sound.length - 1), fc.nat(255)).map(([at, byte]) => {
    const bytes = sound.slice();
    bytes[at] = byte;
    return bytes;
  });
  const cut = fc.nat(sound.length - 1).map((length) => sound.subarray(0, length));
  await fc.assert(
    fc.asyncProperty(fc.oneof(damaged, cut, fc.uint8Array({ maxLength: 300 })), async (bytes) => {
      const result = await unpack(bytes, 2_000);
      if (result.ok) assert.equal(result.value.length, 2_000);
      else assert.notEqual(result.error, "");
    }),
  );
});

test("what came first is answered though more is asked for than runs at a time", async () => {
  const many = Array.from({ length: 20 }, (_, i) => new Uint8Array(100_000).fill(i));
  let hasReturned = false;
  const answers = many.map((bytes) =>
    pack(bytes).then((result) => {
      assert.ok(hasReturned && result.ok);
      return unpack(result.value, bytes.length);
    }),
  );
  hasReturned = true;
  for (const [i, result] of (await Promise.all(answers)).entries())
    assert.ok(result.ok && result.value.every((byte) => byte === i));
});
