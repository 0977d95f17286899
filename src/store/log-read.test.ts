import assert from "node:assert/strict";
import { test } from "node:test";
import type { IoFailure } from "#base/errors.ts";
import { KiB, limits } from "#base/limits.ts";
import { count } from "../../test/support/claims.ts";
import {
  appendMany,
  createLogWorld,
  firstPlace,
  mustAppend,
  mustSync,
  opened,
  pieceOf,
  read,
  readAll,
  rest,
  segmentFile,
} from "../../test/support/log-world.ts";
import { recordHeadBytes, segmentHeaderBytes } from "./log-format.ts";
import { endOf, placeOf } from "./log-places.ts";
import { reclaim } from "./log.ts";
import { readRecords } from "./log-read.ts";
import type { LogRead } from "./log-read.ts";

// Reading a log: over the ends of segments, of any length at once, of what was reclaimed, and of what was damaged.

test("a record never lies in two segments, and reading goes over from one to the next", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces = appendMany(log, 1, 30);
  assert.ok(log.segments.length > 4);
  for (const segment of log.segments) {
    assert.ok(segment.endByte <= 2_048 && world.inode(segment.number).bytes === segment.endByte);
  }
  for (const bytesMax of [1, 400, 100_000]) {
    assert.deepEqual(readAll(world, log, firstPlace(log), bytesMax).pieces, pieces);
  }
  // What stopped at the end goes on from there, also when the next record begins a segment.
  const last = log.segments.at(-1)?.number ?? 0;
  let next = endOf(log);
  while (endOf(log).segment === last) {
    appendMany(log, log.lastRecord + 1, log.lastRecord + 1);
    const result = read(world, log, next, 1);
    if ("code" in result) assert.fail(result.message);
    assert.deepEqual(
      result.records.map(({ number }) => number),
      [log.lastRecord],
    );
    next = result.next;
  }
});

test("a record longer than is asked for at once is read whole, an empty one is a record too", () => {
  const world = createLogWorld();
  const log = opened(world, { segmentBytes: 256 * KiB, bytesMax: 512 * KiB });
  const pieces = [pieceOf(1, 0), pieceOf(2, 200_000), pieceOf(3, 1), pieceOf(4, 0)];
  for (const piece of pieces) mustAppend(log, piece);
  assert.deepEqual(readAll(world, log, firstPlace(log), 10), { pieces, failure: undefined });
});

test("a read of long records ends with one of them, and brings no part of the next", () => {
  const world = createLogWorld();
  const bytes = limits.logIndexBytes + 7;
  const log = opened(world, { segmentBytes: 16 * bytes, bytesMax: 64 * bytes });
  appendMany(log, 1, 6, bytes);
  const first = read(world, log, firstPlace(log), 3.5 * bytes);
  if ("code" in first) assert.fail(first.message);
  assert.deepEqual(
    first.records.map(({ number }) => number),
    [1, 2, 3],
  );
  assert.equal(first.memory.length, first.next.byte - firstPlace(log).byte);
});

test("row 45, I22: the end of a segment that was reclaimed is where the oldest one begins: nothing is missing there", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces = appendMany(log, 1, 12);
  mustSync(world, log);
  const [oldest, following] = log.segments;
  assert.ok(oldest !== undefined && following !== undefined);
  const end = { number: following.firstRecord, segment: oldest.number, byte: oldest.endByte };
  const before = { ...end, number: end.number - 1 };
  reclaim(log, following.firstRecord);
  rest(world);
  assert.equal(log.segments[0], following);
  assert.deepEqual(readAll(world, log, end).pieces, pieces.slice(following.firstRecord - 1));
  assert.ok("code" in read(world, log, before, 700), "what was given up is gone");
});

test("a place in a segment that was reclaimed is answered in words, one that was read from meanwhile is read", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces = appendMany(log, 1, 12);
  mustSync(world, log);
  const start = firstPlace(log);
  const result = world.run<LogRead | IoFailure>((done) => {
    readRecords(log, start, 700, done);
    reclaim(log, 12);
  });
  if ("code" in result) assert.fail(result.message);
  assert.deepEqual(result.records[0]?.payload, pieces[0]?.payload);
  assert.ok(log.firstRecord > 1);
  assert.equal(placeOf(log, 1), undefined);
  const gone = read(world, log, start);
  assert.match("code" in gone ? gone.message : "", /record 1 of the journal was given up/);
});

test("row 45, I34: a bit that flips anywhere in the middle of a log is found by the read, and nothing is skipped", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces = appendMany(log, 1, 10, 200);
  mustSync(world, log);
  const [segment] = log.segments;
  const victim = 3;
  const piece = pieces[victim - 1] ?? assert.fail();
  const start = segmentHeaderBytes + 2 * (recordHeadBytes + 200) + 16 + 20;
  const length = recordHeadBytes + piece.table.length + 200;
  const file = segment?.file ?? assert.fail();
  const byte = new Uint8Array(1);
  for (let at = 0; at < length; at += 1) {
    assert.equal(file.read(start + at, byte), undefined);
    const was = byte[0] ?? 0;
    file.write(start + at, [Uint8Array.of(was ^ (1 << (at % 8)))]);
    const { pieces: good, failure } = readAll(world, log, firstPlace(log), 10_000);
    assert.deepEqual(good, pieces.slice(0, victim - 1), `byte ${at}`);
    assert.match(
      failure?.message ?? "",
      new RegExp(`^bank/${segmentFile(1)}: record 3 at byte ${start}: `),
    );
    file.write(start + at, [Uint8Array.of(was)]);
  }
  count("row 45", { faultsInjected: length, effectsSeen: length });
});

test("row 47: a record that lies in another one's place is not taken for it", () => {
  const world = createLogWorld();
  const log = opened(world);
  appendMany(log, 1, 8, 200);
  const places = [2, 5].map((number) => {
    let place = firstPlace(log);
    while (place.number < number) {
      const result = read(world, log, place, 1);
      if ("code" in result) assert.fail(result.message);
      place = result.next;
    }
    return place;
  });
  const [second, fifth] = places;
  const file = log.segments[0]?.file ?? assert.fail();
  const bytes = new Uint8Array(recordHeadBytes + 20 + 200);
  assert.ok(second !== undefined && fifth !== undefined);
  const other = read(world, log, { ...second, number: 3 });
  assert.match("code" in other ? other.message : "", /record 3 .*: it is record 2/);
  file.read(fifth.byte, bytes);
  file.write(second.byte, [bytes]);
  const result = read(world, log, second);
  assert.match(
    "code" in result ? result.message : "",
    /record 2 .*: its head belongs to another place/,
  );
  count("row 47", { faultsInjected: 1, effectsSeen: 1 });
});

test("a failed read is answered and ends nothing", () => {
  const world = createLogWorld();
  const log = opened(world);
  appendMany(log, 1, 2);
  world.disk.behaviour.failReads = 1;
  const failed = read(world, log, firstPlace(log));
  assert.equal("code" in failed ? failed.code : "", "EIO");
  assert.equal(readAll(world, log, firstPlace(log)).pieces.length, 2);
});
