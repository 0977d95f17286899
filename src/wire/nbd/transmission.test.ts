import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import type { HostVolume } from "#ports/host-request.ts";
import { createRequestDecoder, type RequestDecoder } from "./decode-request.ts";
import { command, commandFlag, nbdError } from "./messages.ts";
import { createRequest, partsOf, refusalOf, refusalOfOutcome, runsOf } from "./transmission.ts";

const volumeBytes = 100_000_000;
const structured = { volumeBytes, structured: true, allocation: true };
const simple = { volumeBytes, structured: false, allocation: false };
const { fua, noHole, df, reqOne, fastZero } = commandFlag;
const { invalid, noSpace, overflow } = nbdError;
const long = limits.hostRequestBytesMax + 1;

/** command, flags, offset, length, error with structured replies, error without. */
const rows: readonly (readonly [keyof typeof command, number, number, number, number, number])[] = [
  ["read", 0, 0, 1, 0, 0],
  ["read", fua, volumeBytes - 1, 1, 0, 0],
  ["read", df, 0, 65_536, 0, invalid],
  ["read", noHole, 0, 1, invalid, invalid],
  ["read", 0, 0, 0, invalid, invalid],
  ["read", 0, volumeBytes, 1, invalid, invalid],
  ["read", 0, 2 ** 64 - 1, 1, invalid, invalid],
  ["read", 0, 0, long, overflow, invalid],
  ["read", 0, 0, long - 1, 0, 0],
  ["write", fua, 0, 1, 0, 0],
  ["write", df, 0, 1, invalid, invalid],
  ["write", 0, volumeBytes - 1, 2, noSpace, noSpace],
  ["write", 0, 0, 0, invalid, invalid],
  ["write", 0, 0, long, invalid, invalid],
  ["writeZeroes", fua | noHole, 0, long, 0, 0],
  ["writeZeroes", fastZero, 0, 1, invalid, invalid],
  ["writeZeroes", 0, 0, 0xffff_ffff, noSpace, noSpace],
  ["trim", fua, 0, long, 0, 0],
  ["trim", noHole, 0, 1, invalid, invalid],
  ["trim", 0, 0, 0xffff_ffff, invalid, invalid],
  ["flush", fua, 0, 0, 0, 0],
  ["flush", 0, 0, 1, invalid, invalid],
  ["flush", 0, 1, 0, invalid, invalid],
  ["blockStatus", reqOne, 0, 1, 0, invalid],
  ["blockStatus", fua | df, 0, 1, invalid, invalid],
  ["blockStatus", 0, volumeBytes, 1, invalid, invalid],
  ["cache", 0, 0, 1, invalid, invalid],
];

for (const [type, flags, offset, length, withStructured, withSimple] of rows) {
  test(`NBD: ${type} with flags ${flags}, offset ${offset}, length ${length}`, () => {
    const request = {
      ...createRequestDecoder(allocate),
      type: command[type],
      flags,
      offset,
      length,
    };
    assert.equal(refusalOf(structured, request)?.error ?? 0, withStructured);
    assert.equal(refusalOf(simple, request)?.error ?? 0, withSimple);
  });
}

test("NBD: a command of the future is refused", () => {
  assert.equal(
    refusalOf(structured, { ...createRequestDecoder(allocate), type: 99 })?.error,
    invalid,
  );
});

test("NBD: only WRITE_ZEROES without NO_HOLE and TRIM let the range lose its space", () => {
  const punch = (type: number, flags: number): boolean =>
    request({ type, flags, length: 1 }).mayPunch;
  assert.equal(punch(command.writeZeroes, 0), true);
  assert.equal(punch(command.writeZeroes, noHole), false);
  assert.equal(punch(command.trim, fua), true);
  assert.equal(punch(command.write, 0), false);
  assert.equal(request({ type: command.trim, flags: fua, length: 1 }).fua, true);
  assert.equal(request({ type: command.read, flags: fua, length: 1 }).fua, false);
});

test("NBD: a TRIM of 4 GiB becomes parts that the engine takes, without gap or overlap", () => {
  const parts = partsOf(
    { type: command.trim, offset: 5, length: 0xffff_ffff, payload: [] },
    limits.hostRequestBytesMax,
  );
  let at = 5;
  for (const part of parts) {
    assert.equal(part.offset, at);
    assert.ok(part.length > 0 && part.length <= limits.hostRequestBytesMax);
    assert.equal(part.split.partsLeft, parts.length);
    at += part.length;
  }
  assert.equal(at, 5 + 0xffff_ffff);
});

test("NBD: a long WRITE becomes parts that end at whole multiples of their length, with its bytes in their order", () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(pieces, fc.nat(20_000), fc.integer({ min: 1, max: 4 }), (sizes, offset, blocks) => {
      let next = 0;
      const payload = sizes.map((size) => Uint8Array.from({ length: size }, () => (next += 1)));
      const whole = Buffer.concat(payload);
      const partMax = blocks * 4096;
      const cut = { type: command.write, offset, length: whole.length, payload };
      const parts = partsOf(cut, partMax);
      let at = offset;
      for (const part of parts) {
        assert.equal(part.offset, at);
        assert.ok(part.length > 0 && part.length <= partMax);
        at += part.length;
        assert.ok(at % partMax === 0 || part === parts.at(-1));
        assert.equal(Buffer.concat(part.payload).length, part.length);
        assert.ok(part.split === parts[0]?.split && part.split.partsLeft === parts.length);
      }
      assert.equal(at, offset + whole.length);
      assert.deepEqual(Buffer.concat(parts.flatMap((part) => part.payload)), whole);
    }),
  );
});

test("NBD: how the engine's outcomes look to a client", () => {
  assert.equal(refusalOfOutcome("ok"), undefined);
  assert.equal(refusalOfOutcome("io")?.error, nbdError.io);
  assert.equal(refusalOfOutcome("full")?.error, nbdError.noSpace);
  assert.equal(refusalOfOutcome("gone")?.error, nbdError.shutdown);
});

test("NBD BLOCK_STATUS: runs tell what the extents say, joined, and nothing beyond the range", () => {
  const extent = fc.record({ length: fc.nat(5), hole: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(extent),
      fc.integer({ min: 1, max: 40 }),
      fc.boolean(),
      (extents, length, one) => {
        const runs = runsOf(extents, length, one);
        const flat = extents
          .flatMap((each) => Array<boolean>(each.length).fill(each.hole))
          .slice(0, length);
        const told = runs.flatMap((each) => Array<boolean>(each.length).fill(each.hole));
        if (flat.length === 0) return assert.deepEqual(runs, [{ length, hole: false }]);
        assert.deepEqual(told, one ? flat.slice(0, told.length) : flat);
        assert.ok(runs.every((run, index) => run.length > 0 && run.hole !== runs[index - 1]?.hole));
        if (one) assert.equal(runs.length, 1);
      },
    ),
  );
});

const allocate = (bytes: number): Uint8Array => new Uint8Array(bytes);

function request(fields: Partial<RequestDecoder>) {
  const volume: HostVolume = {
    group: "g",
    name: "v",
    index: 3,
    bytes: volumeBytes,
    writeBytesMax: limits.hostRequestBytesMax,
    submit: () => undefined,
    extents: () => undefined,
  };
  return createRequest({ ...createRequestDecoder(allocate), ...fields }, volume, () => undefined);
}
