import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { allZero } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { KiB, limits } from "#base/limits.ts";
import { createPrng } from "../../sim/prng.ts";
import { count } from "../../test/support/claims.ts";
import {
  afterPowerLoss,
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
} from "../../test/support/log-world.ts";
import type { Piece } from "../../test/support/log-world.ts";
import { recordHeadBytes, segmentHeaderBytes } from "./log-format.ts";
import { endOf, placeOf } from "./log-places.ts";
import { append, closeLog, figuresOf, lastSegment, reclaim, sync } from "./log.ts";
import type { Log } from "./log.ts";
import { readRecords } from "./log-read.ts";

const someStep = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("append"), size: fc.nat(1_500) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("sync"), size: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("begin a sync"), size: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("reclaim"), size: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("kill"), size: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("close"), size: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("read"), size: fc.nat(2_000) }) },
);

test("I34, I36: a log equals its dumb twin, an array, after any appends, syncs, reclaims, reads and restarts", () => {
  fc.assert(
    fc.property(fc.array(someStep, { maxLength: 60 }), fc.nat(1_000), (steps, seed) => {
      const world = createLogWorld(seed);
      const settings = { bytesMax: 6 * 2_048 };
      const twin: Piece[] = [];
      let log = opened(world, settings);
      for (const { op, size } of steps) {
        switch (op) {
          case "append": {
            const piece = pieceOf(twin.length + 1, size);
            const place = append(log, piece.kind, piece.table, [piece.payload]);
            if (place === "full") assert.equal(log.segments.length, 6);
            else assert.ok("byte" in place && place.number === twin.push(piece));
            break;
          }
          case "sync":
            mustSync(world, log);
            assert.equal(log.syncedThrough, twin.length);
            break;
          case "begin a sync":
            sync(log, (failure) => assert.ok(failure === undefined || log.isClosed));
            break;
          case "reclaim":
            assert.equal(reclaim(log, Math.max(1, twin.length - size)), undefined);
            break;
          case "read": {
            const number = Math.min(twin.length + 1, log.firstRecord + (size % 7));
            const from = placeOf(log, number) ?? assert.fail("it is there");
            const { pieces, failure } = readAll(world, log, from, size);
            assert.equal(failure, undefined);
            assert.deepEqual(pieces, twin.slice(from.number - 1));
            break;
          }
          default: {
            if (op === "close") closeLog(log);
            world.kill();
            const { firstRecord } = log;
            log = opened(world, settings);
            assert.equal(log.firstRecord, firstRecord);
            assert.equal(log.syncedThrough, twin.length);
          }
        }
        assert.equal(log.lastRecord, twin.length);
        assert.ok(figuresOf(log).bytesUsed <= figuresOf(log).bytesMax);
      }
      assert.deepEqual(
        readAll(world, log, firstPlace(log)).pieces,
        twin.slice(log.firstRecord - 1),
      );
    }),
    { numRuns: 150 },
  );
});

test("the index in memory has one place in so many bytes, and each is at or before what is looked for", () => {
  const world = createLogWorld();
  const segmentBytes = 40 * limits.logIndexBytes;
  const log = opened(world, { segmentBytes, bytesMax: 2 * segmentBytes });
  const piece = pieceOf(1, 256 * KiB);
  const places = Array.from({ length: 90 }, () => mustAppend(log, piece));
  const check = (one: Log): void => {
    const [segment] = one.segments;
    assert.ok(segment !== undefined && segment.marks.length > 15 && segment.marks.length < 25);
    for (const place of places) {
      const near = placeOf(one, place.number) ?? assert.fail();
      assert.ok(near.number <= place.number && near.segment === place.segment);
      assert.ok(place.byte - near.byte < limits.logIndexBytes + 300 * KiB);
      assert.deepEqual(near, places[near.number - 1]);
    }
    assert.deepEqual(placeOf(one, 91), endOf(one));
    assert.throws(() => placeOf(one, 92), /not yet in the journal/);
  };
  check(log);
  world.kill();
  check(opened(world, { segmentBytes, bytesMax: 2 * segmentBytes }));
});

test("row 40: a full log refuses, loses nothing by it, and goes on when something was reclaimed and synced", () => {
  const world = createLogWorld();
  const settings = { bytesMax: 3 * 2_048 };
  const log = opened(world, settings);
  const twin: Piece[] = [];
  let refusals = 0;
  for (let round = 0; round < 20; round += 1) {
    for (;;) {
      const piece = pieceOf(twin.length + 1, 300);
      const place = append(log, piece.kind, piece.table, [piece.payload]);
      if (place === "full") break;
      assert.ok("byte" in place);
      twin.push(piece);
    }
    refusals += 1;
    assert.equal(log.segments.length, 3);
    assert.equal(append(log, 0, pieceOf(0, 300).table, [new Uint8Array(300)]), "full");
    assert.equal(log.lastRecord, twin.length);
    // Nothing of it goes before it is synced: a power cut might bring half of it back.
    if (round === 0) reclaim(log, log.lastRecord);
    assert.equal(log.segments.length, 3);
    mustSync(world, log);
    reclaim(log, log.lastRecord);
    assert.ok(log.segments.length < 3);
    rest(world);
    assert.equal(log.segments.length, 1, "the last one stays");
  }
  assert.ok(log.firstRecord > 1 && log.firstRecord <= twin.length);
  world.kill();
  const again = opened(world, settings);
  assert.deepEqual(again.damage, []);
  assert.deepEqual(
    readAll(world, again, firstPlace(again)).pieces,
    twin.slice(again.firstRecord - 1),
  );
  count("row 40", { faultsInjected: refusals, effectsSeen: refusals });
});

test("row 51: whatever names of reclaimed segments a power cut brings back, the log has no gap", () => {
  let cameBack = 0;
  for (let seed = 0; seed < 60; seed += 1) {
    const world = createLogWorld(seed);
    const log = opened(world);
    const pieces = appendMany(log, 1, 40);
    mustSync(world, log);
    const { scheduler } = world.disk;
    reclaim(log, 36);
    // Stops in the midst of the removals, a different number of steps on each time.
    let steps = 0;
    scheduler.run(scheduler.nowUs + 1e6, () => steps++ >= seed % 20);
    const cut = afterPowerLoss(world.disk.state, "torn", seed);
    const again = opened(cut);
    assert.deepEqual(again.damage, []);
    assert.ok(again.firstRecord <= log.firstRecord, "at most one segment more");
    if (again.firstRecord < log.firstRecord) cameBack += 1;
    assert.deepEqual(
      readAll(cut, again, firstPlace(again)).pieces,
      pieces.slice(again.firstRecord - 1),
    );
    reclaim(again, 36);
    rest(cut);
    assert.ok(again.firstRecord > 30 && again.firstRecord <= 36);
  }
  assert.ok(cameBack > 5);
});

test("row 51: a reclaimed segment is written over, and nothing of what it held is taken for a record", () => {
  let reused = 0;
  for (let seed = 0; seed < 40; seed += 1) {
    const world = createLogWorld(seed);
    const log = opened(world, { bytesMax: 6 * 2_048 });
    const pieces: Piece[] = [];
    const sizes = createPrng(`sizes ${seed}`);
    while (pieces.length < 80) {
      const piece = pieceOf(pieces.length + 1, sizes.below(700));
      mustAppend(log, piece);
      pieces.push(piece);
      if (pieces.length % 4 > 0) continue;
      mustSync(world, log);
      reclaim(log, pieces.length - 6);
      rest(world);
      const files = world.folder().list();
      assert.ok(files.length <= 6, "spares are within the bounds of the log too");
      assert.ok(log.spares.every(({ name }) => files.includes(name)));
    }
    reused += log.segments.filter(({ isReused }) => isReused).length;
    world.kill();
    const again = opened(world, { bytesMax: 6 * 2_048 });
    assert.deepEqual(again.damage, [], "what was there before is no damage");
    assert.equal(again.lastRecord, pieces.length);
    assert.deepEqual(
      readAll(world, again, firstPlace(again)).pieces,
      pieces.slice(again.firstRecord - 1),
    );
    const last = lastSegment(again);
    const behind = new Uint8Array(Math.max(0, last.file.bytes() - last.endByte));
    last.file.read(last.endByte, behind);
    assert.ok(allZero(behind), "the next record is followed by nothing");
    assert.ok(
      world
        .folder()
        .list()
        .every((name) => name.endsWith(".log")),
      "spares are gone",
    );
  }
  assert.ok(reused > 40, `only ${reused}`);
});

test("row 51: a segment that is being read when it is reclaimed is not written over", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces = appendMany(log, 1, 12);
  mustSync(world, log);
  world.disk.behaviour.imageUs = 1e6;
  const got: Piece["payload"][] = [];
  readRecords(log, firstPlace(log), 700, (answer) => {
    assert.ok("records" in answer);
    got.push(...answer.records.map(({ payload }) => payload));
  });
  reclaim(log, 9);
  const { scheduler } = world.disk;
  scheduler.run(scheduler.nowUs + 1e3, () => false);
  assert.ok(log.firstRecord > 1 && !log.spares.some(({ name }) => name.includes("00000001")));
  appendMany(log, 13, 30);
  rest(world);
  scheduler.run(scheduler.nowUs + 60e6, () => got.length > 0);
  assert.deepEqual(
    got,
    pieces.slice(0, got.length).map(({ payload }) => payload),
  );
});

test("row 50: a segment stays until its successor is durable, and goes then by itself", () => {
  let isStartNew = 0;
  for (let seed = 0; seed < 40; seed += 1) {
    const world = createLogWorld(seed);
    const log = opened(world);
    const pieces = appendMany(log, 1, 4, 400);
    mustSync(world, log);
    pieces.push(...appendMany(log, 5, 6, 400));
    reclaim(log, 7);
    assert.equal(log.segments.length, 2, "a power cut might take the name of the second one");
    const { scheduler } = world.disk;
    sync(log, (failure) => assert.equal(failure, undefined));
    for (let step = 0; step < 6; step += 1) {
      const cut = afterPowerLoss(world.disk.state, "torn", `${seed} ${step}`);
      const again = opened(cut);
      assert.ok(again.lastRecord >= Math.max(4, log.syncedThrough));
      assert.deepEqual(
        readAll(cut, again, firstPlace(again)).pieces,
        pieces.slice(again.firstRecord - 1, again.lastRecord),
      );
      if (again.firstRecord === 5) isStartNew += 1;
      let steps = 0;
      scheduler.run(scheduler.nowUs + 1e6, () => steps++ > 0);
    }
    assert.equal(log.firstRecord, 5);
  }
  assert.ok(isStartNew > 20);
});

test("I1: a sync answers for all that was appended before it, waiters share, and none is answered early", () => {
  const world = createLogWorld();
  const log = opened(world);
  world.disk.behaviour.syncUs = 5_000;
  const answers: number[] = [];
  let syncs = 0;
  world.disk.stepWatchers.add((_, kind, phase) => {
    if (kind === "sync" && phase === "after") syncs += 1;
  });
  const ask = (until: number): void => {
    appendMany(log, log.lastRecord + 1, until, 100);
    sync(log, (failure) => {
      assert.equal(failure, undefined);
      answers.push(until);
      const cut = afterPowerLoss(world.disk.state, "none", 1);
      assert.ok(opened(cut).lastRecord >= until, `record ${until} is durable`);
      assert.ok(log.syncedThrough >= until);
    });
  };
  ask(2);
  for (const until of [3, 5, 8, 9]) ask(until);
  assert.deepEqual(answers, []);
  rest(world);
  assert.deepEqual(answers, [2, 3, 5, 8, 9]);
  assert.equal(syncs, 2, "the second one is for four");
  let isIdle = true;
  sync(log, () => (isIdle = false));
  assert.equal(isIdle, false, "nothing was left to do");
});

test("row 38: a failed sync is final, for those who wait, for those who come later, and for appends", () => {
  for (const names of [false, true]) {
    const world = createLogWorld();
    const log = opened(world);
    appendMany(log, 1, names ? 12 : 2);
    // Of the two syncs that a new segment takes, the one of the names is begun last.
    let syncsBefore = 0;
    if (names) {
      const folder = log.options.folder;
      const { sync: syncNames } = folder;
      Object.assign(folder, {
        sync: (done: (failure: IoFailure | undefined) => void) => {
          syncsBefore += 1;
          world.disk.behaviour.failSyncs = 1;
          syncNames(done);
        },
      });
    } else world.disk.behaviour.failSyncs = 1;
    const told: (string | undefined)[] = [];
    sync(log, (failure) => told.push(failure?.message));
    sync(log, (failure) => told.push(failure?.message));
    rest(world);
    sync(log, (failure) => told.push(failure?.message));
    assert.equal(told.length, 3);
    for (const why of told) assert.match(why ?? "", /failed a sync; nothing more is appended/);
    assert.equal(syncsBefore, names ? 1 : 0);
    const refused = append(log, 1, new Uint8Array(4), []);
    assert.ok(refused !== "full" && "code" in refused && refused.code === "EIO");
    assert.equal(log.syncedThrough, 0);
    assert.equal(log.hasLostSync, true);
    count("row 38", { faultsInjected: 1, effectsSeen: 1 });
  }
});

test("row 39: a failed write is final, and what it left is cut off at the next opening", () => {
  for (const bytes of [300, 1_900]) {
    const world = createLogWorld();
    const log = opened(world);
    appendMany(log, 1, 3);
    const half = log.segments[0]?.endByte ?? 0;
    world.disk.behaviour.failWrites = 1;
    const refused = append(log, 1, new Uint8Array(4), [new Uint8Array(bytes)]);
    assert.ok(refused !== "full" && "code" in refused);
    assert.match(refused.message, /failed a write; nothing more is appended to the journal/);
    assert.deepEqual(append(log, 1, new Uint8Array(4), []), refused);
    assert.equal(log.hasLostSync, false, "what was appended before may still be trusted");
    sync(log, (failure) => assert.deepEqual(failure, refused));
    // A part of it may have come to the disk.
    const file = log.segments[0]?.file ?? assert.fail();
    file.write(half, [new Uint8Array(40).fill(7)]);
    world.kill();
    const again = opened(world);
    assert.equal(again.lastRecord, 3);
    assert.equal(again.damage.length, 1);
    count("row 39", { faultsInjected: 1, effectsSeen: 1 });
  }
});

test("I36: a record that is longer than a segment has one of its own, which counts as one; and the log goes on behind it", () => {
  const world = createLogWorld();
  const settings = { segmentBytes: 2_048, bytesMax: 4 * 2_048 };
  const log = opened(world, settings);
  const [long, short] = [5_000, 300];
  const twin: Piece[] = [];
  const put = (one: Log, payloadBytes: number): boolean => {
    const piece = pieceOf(twin.length + 1, payloadBytes);
    const place = append(one, piece.kind, piece.table, [piece.payload]);
    if (place === "full") return false;
    assert.ok("byte" in place);
    return twin.push(piece) > 0;
  };
  for (const bytes of [short, long, short, long]) assert.ok(put(log, bytes));
  const starts = log.segments.map(({ firstRecord }) => firstRecord);
  assert.deepEqual(starts, [1, 2, 3, 4]);
  assert.ok(!put(log, long), "there are as many segments as there may be");
  assert.ok(put(log, short), "a SEAL has its place");
  while (put(log, short));
  assert.equal(log.segments.length, 5);
  mustSync(world, log);
  world.kill();
  const again = opened(world, settings);
  assert.deepEqual(readAll(world, again, firstPlace(again)).pieces, twin);
  assert.equal(reclaim(again, 4), undefined);
  rest(world);
  assert.equal(again.segments.length, 2);
  assert.ok(put(again, long) && put(again, short));
});

test("a record beyond the limits is a bug of the caller, and they leave room for any batch", () => {
  const world = createLogWorld();
  const log = opened(world);
  const table = new Uint8Array(limits.logTableBytesMax + 1);
  assert.throws(() => append(log, 0, table, []), /does not fit/);
  assert.ok(limits.hostRequestBytesMax <= limits.logPayloadBytesMax, "one write of a host");
  assert.ok(limits.logScanBytes > recordHeadBytes + segmentHeaderBytes);
});

test("a closed log answers everybody and does nothing more", () => {
  const world = createLogWorld();
  const log = opened(world);
  appendMany(log, 1, 3);
  const place = firstPlace(log);
  closeLog(log);
  closeLog(log);
  const refused = append(log, 0, new Uint8Array(0), []);
  assert.ok(refused !== "full" && "code" in refused && refused.code === "EBADF");
  sync(log, (failure) => assert.equal(failure?.code, "EBADF"));
  const result = read(world, log, place);
  assert.equal("code" in result ? result.code : "", "EBADF");
  assert.equal(reclaim(log, 3)?.code, "EBADF");
});
