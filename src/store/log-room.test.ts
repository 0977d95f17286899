import assert from "node:assert/strict";
import { test } from "node:test";
import { KiB } from "#base/limits.ts";
import { createPrng } from "../../sim/prng.ts";
import { count } from "../../test/support/claims.ts";
import {
  createLogWorld,
  firstPlace,
  mustAppend,
  mustSync,
  opened,
  pieceOf,
  readAll,
  rest,
} from "../../test/support/log-world.ts";
import type { LogWorld, Piece } from "../../test/support/log-world.ts";
import { append, bytesOfFull, lastSegment, reclaim } from "./log.ts";
import type { Log } from "./log.ts";
import { diskRoom, giveSpare, keepRoom } from "./log-room.ts";

const recordBytesMax = 12 * KiB;
const usual = { bytes: 24 * KiB, stepBytes: 8 * KiB, marginBytes: recordBytesMax };
const settings = { segmentBytes: 64 * KiB, bytesMax: 8 * 64 * KiB, ahead: usual };

function openKept(world: LogWorld, ahead = usual): Log {
  const log = opened(world, { ...settings, ahead });
  keepRoom(log);
  return log;
}

/** What a machine would let in: records up to the longest, while there is room for one more. */
function hasRoom(log: Log): boolean {
  return (diskRoom(log)?.aheadBytes ?? recordBytesMax) >= recordBytesMax;
}

function fillDisk({ disk }: LogWorld): void {
  disk.behaviour.spaceBytes = disk.usedBytes();
}

test("row 40: whatever a disk gives and takes, an append within what is told meets no full disk, and the log is what was appended", () => {
  let refused = 0;
  for (let seed = 1; seed <= 50; seed += 1) {
    const world = createLogWorld(seed);
    const { behaviour } = world.disk;
    const rng = createPrng(`room ${seed}`);
    const ahead = {
      ...usual,
      bytes: recordBytesMax + rng.below(40) * KiB,
      stepBytes: rng.between(1, 16) * KiB,
    };
    const twin: Piece[] = [];
    let log = openKept(world, ahead);
    for (let step = 0; step < 150; step += 1) {
      switch (rng.pick(["fill", "more", "free", "reclaim", "kill", "give", "append", "append"])) {
        case "fill":
          fillDisk(world);
          break;
        case "more":
          if (behaviour.spaceBytes < Infinity) behaviour.spaceBytes += rng.below(40) * KiB;
          keepRoom(log, true);
          break;
        case "free":
          behaviour.spaceBytes = Infinity;
          keepRoom(log, true);
          assert.equal(diskRoom(log), undefined);
          break;
        case "reclaim":
          mustSync(world, log);
          assert.equal(reclaim(log, Math.max(1, twin.length - rng.below(9))), undefined);
          rest(world);
          break;
        case "kill":
          if (rng.chance(0.7)) break;
          world.kill();
          log = openKept(world, ahead);
          break;
        case "give":
          if (rng.chance(0.2)) giveSpare(log);
          break;
        default:
          for (let many = rng.below(8); many > 0; many -= 1) {
            const piece = pieceOf(twin.length + 1, rng.below(recordBytesMax - KiB));
            if (!hasRoom(log)) {
              refused += 1;
              break;
            }
            const place = append(log, piece.kind, piece.table, [piece.payload]);
            if (place === "full") {
              assert.ok(bytesOfFull(log) + settings.segmentBytes > settings.bytesMax, "by file");
              break;
            }
            assert.ok("byte" in place, "no failure");
            twin.push(piece);
            keepRoom(log);
          }
      }
      // As its owner does whenever it tells how the log is.
      keepRoom(log);
      assert.equal(log.failure, undefined);
      if (!log.isRemoving) {
        const files = log.options.folder.list().length;
        assert.ok(files * settings.segmentBytes <= settings.bytesMax, `${files} files`);
      }
      const names = log.spares.map(({ name }) => name);
      assert.equal(new Set(names).size, names.length, "each waits once");
    }
    const there = readAll(world, log, firstPlace(log)).pieces;
    assert.deepEqual(there, twin.slice(log.firstRecord - 1));
  }
  assert.ok(refused > 100, `${refused} were not let in`);
  count("row 40", { faultsInjected: refused, effectsSeen: refused });
});

test("row 40: a full disk is told with the file and what is left, and is not asked again before somebody says so", () => {
  const world = createLogWorld();
  const log = openKept(world);
  fillDisk(world);
  let number = 0;
  while (diskRoom(log) === undefined) {
    number += 1;
    mustAppend(log, pieceOf(number, 4 * KiB));
    keepRoom(log);
  }
  const room = diskRoom(log);
  assert.match(room?.why ?? "", /no space/);
  assert.ok(room !== undefined && room.aheadBytes < 24 * KiB);
  const asked = world.disk.failures;
  mustAppend(log, pieceOf(number + 1, 4 * KiB));
  keepRoom(log);
  assert.equal(world.disk.failures, asked);
  const less = diskRoom(log)?.aheadBytes ?? 0;
  assert.ok(less < room.aheadBytes, "what is left is less");
  keepRoom(log, true);
  assert.ok(world.disk.failures > asked && diskRoom(log) !== undefined);
  world.disk.behaviour.spaceBytes = Infinity;
  keepRoom(log, true);
  assert.equal(diskRoom(log), undefined);
});

test("row 40: on a full disk a log goes round in what it has: reclaimed segments are written over", () => {
  const world = createLogWorld();
  const log = openKept(world);
  let number = 0;
  const write = (): void => {
    number += 1;
    mustAppend(log, pieceOf(number, 8 * KiB));
    keepRoom(log);
  };
  while (log.segments.length < 4) write();
  fillDisk(world);
  for (let round = 0; round < 40; round += 1) {
    mustSync(world, log);
    reclaim(log, number);
    rest(world);
    for (let i = 0; i < 6; i += 1) {
      assert.ok(hasRoom(log), `at record ${number}`);
      write();
    }
  }
  assert.ok(lastSegment(log).number > 20);
});

test("row 40: wherever a disk gets full, a log whose records are let go stands still for none of them", () => {
  let refused = 0;
  for (let many = 0; many < 16; many += 1) {
    const world = createLogWorld();
    const log = openKept(world);
    const write = (number: number): void => {
      mustAppend(log, pieceOf(number, 8 * KiB));
      keepRoom(log);
    };
    for (let number = 1; number <= many; number += 1) write(number);
    fillDisk(world);
    for (let number = many + 1; number <= many + 60; number += 1) {
      keepRoom(log, true);
      assert.ok(hasRoom(log), `full behind ${many} records: at record ${number}`);
      write(number);
      mustSync(world, log);
      reclaim(log, number);
      rest(world);
      keepRoom(log);
    }
    refused += world.disk.failures;
  }
  assert.ok(refused > 100, `${refused} times refused`);
  count("row 40", { faultsInjected: refused, effectsSeen: refused });
});

test("row 40: on a full disk a segment that is being read waits to be written over, and its room is not given away", () => {
  const world = createLogWorld();
  const log = openKept(world);
  fillDisk(world);
  let number = 0;
  const write = (): void => {
    mustAppend(log, pieceOf((number += 1), 8 * KiB));
    keepRoom(log, true);
  };
  while (log.segments.length < 2) write();
  assert.ok(diskRoom(log) !== undefined);
  const [oldest] = log.segments;
  assert.ok(oldest !== undefined);
  const used = world.disk.usedBytes();
  oldest.reads = 1;
  mustSync(world, log);
  assert.equal(reclaim(log, number), undefined);
  rest(world);
  assert.equal(log.options.folder.list().length, 2);
  assert.deepEqual(log.spares, [], "it is there still");
  oldest.reads = 0;
  keepRoom(log);
  rest(world);
  assert.ok(log.spares.length === 1 && world.disk.usedBytes() === used, "and waits");
});

test("row 40: a file for the next segment is had though somebody else has taken a block of its room", () => {
  const world = createLogWorld();
  const log = openKept(world);
  fillDisk(world);
  assert.ok(giveSpare(log));
  world.disk.behaviour.spaceBytes -= 4 * KiB;
  keepRoom(log, true);
  const [spare] = log.spares;
  assert.ok(spare !== undefined && spare.allocatedBytes > recordBytesMax);
  assert.ok(log.noRoom !== undefined, "the disk is full all the same");
});

test("I36: files that wait never make the log larger than it may be, however many segments are made meanwhile", () => {
  const world = createLogWorld();
  const { segmentBytes } = settings;
  const log = opened(world, { segmentBytes, bytesMax: 4 * segmentBytes });
  const append = (number: number): void => void mustAppend(log, pieceOf(number, 8 * KiB));
  let number = 0;
  while (log.segments.length < 2) append((number += 1));
  mustSync(world, log);
  assert.equal(reclaim(log, number), undefined);
  assert.ok(log.isRemoving, "its name is on its way");
  while (log.segments.length < 4) append((number += 1));
  rest(world);
  assert.equal(log.options.folder.list().length, 4);
  assert.equal(log.failure, undefined);
});

test("a failure of another kind ends the log", () => {
  const world = createLogWorld();
  const log = openKept(world);
  const { file } = lastSegment(log);
  Object.assign(file, { allocate: () => ({ code: "EIO", message: "the disk is broken" }) });
  for (let number = 1; log.failure === undefined; number += 1) {
    mustAppend(log, pieceOf(number, 8 * KiB));
    keepRoom(log);
  }
  assert.match(log.failure.message, /the disk is broken; nothing more is appended/);
});

test("where a disk takes no room ahead, a log grows as it is written, and says nothing of room", () => {
  const world = createLogWorld();
  const log = opened(world, settings);
  Object.assign(lastSegment(log).file, { allocate: () => "unsupported" });
  keepRoom(log);
  for (let number = 1; log.segments.length < 3; number += 1) {
    mustAppend(log, pieceOf(number, 8 * KiB));
    keepRoom(log);
  }
  assert.equal(diskRoom(log), undefined);
  assert.deepEqual(log.spares, []);
});
