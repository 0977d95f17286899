import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Result } from "#base/errors.ts";
import { KiB, limits } from "#base/limits.ts";
import { isMarked } from "#core/region-map.ts";
import { savedMaps } from "#core/preserve.ts";
import { formatHash } from "../../test/support/format-hash.ts";
import { afterPowerLoss, createLogWorld } from "../../test/support/log-world.ts";
import type { LogWorld } from "../../test/support/log-world.ts";
import { closeLog } from "./log.ts";
import type { Log } from "./log.ts";
import {
  bytesWith,
  encodeStep,
  makePreserveLog,
  openPreserveLog,
  preserveLogVersion,
  readSaved,
  saveStep,
} from "./preserve-log.ts";
import type { SavedRange } from "./preserve-log.ts";

const unitBytes = limits.preserveUnitBytes;
const id = 0xab_cd;
/** The second one ends in the midst of a unit. */
const volumes = [{ bytes: 16 * unitBytes }, { bytes: 5 * unitBytes + 512 }];

const hashOfVersion: Readonly<Record<number, string>> = {
  1: "1c70ae45dee77d7da916484f4c7a2dea6360482bed0a54d6a1f1573de89493a8",
};

test("the preserve log does not change without a new version", () => {
  const ranges: SavedRange[] = [
    { volume: 1, offset: 8192, length: 4096, bytes: new Uint8Array(4096).fill(3) },
    { volume: 0, offset: 0, length: 65_536, bytes: undefined },
  ];
  const { table } = encodeStep(ranges);
  const hash = formatHash(new URL("preserve-log.ts", import.meta.url), [...table]);
  assert.equal(
    hash,
    hashOfVersion[preserveLogVersion],
    "the format has changed: raise preserveLogVersion, and keep reading what old builds wrote",
  );
});

function must<T>(result: Result<T>): T {
  return result.ok ? result.value : assert.fail(result.error);
}

function make(world: LogWorld): Log {
  const options = {
    folder: world.folder(),
    kind: "preserve" as const,
    id,
    bytesMax: 64 * KiB,
    volumes,
  };
  return must(world.run<Result<Log>>((done) => makePreserveLog(options, done)));
}

function open(world: LogWorld) {
  const saved = savedMaps(volumes);
  const options = {
    folder: world.folder(),
    kind: "preserve" as const,
    id,
    bytesMax: 64 * KiB,
    volumes,
  };
  const opened = world.run<Result<Log>>((done) => openPreserveLog(options, saved, done));
  return { opened, saved };
}

function save(world: LogWorld, log: Log, ranges: readonly SavedRange[]): void {
  const step = encodeStep(ranges);
  const failure = world.run((done: (failure: unknown) => void) => saveStep(log, step, done));
  assert.equal(failure, undefined);
}

/** What the log has, by `volume:offset` of each sector. */
function contentOf(world: LogWorld, log: Log): Map<string, number> {
  const content = new Map<string, number>();
  world.run<boolean>((done) =>
    readSaved(
      log,
      (ranges, next) => {
        if (ranges.length === 0) return done(true);
        for (const { volume, offset, length, bytes } of ranges) {
          for (let at = 0; at < length; at += 512) {
            assert.ok(!content.has(`${volume}:${offset + at}`), "a sector is there twice");
            content.set(`${volume}:${offset + at}`, bytes?.[at] ?? 0);
          }
        }
        next();
      },
      ({ message }) => assert.fail(message),
    ),
  );
  return content;
}

const someStep = fc.array(
  fc.record({
    volume: fc.nat(1),
    unit: fc.nat(15),
    fill: fc.nat(3),
    count: fc.integer({ min: 1, max: 3 }),
  }),
  { minLength: 1, maxLength: 4 },
);

test("I30: what was saved and synced is there after any crash, as it was; zeros take no payload (property)", () => {
  fc.assert(
    fc.property(
      fc.array(someStep, { maxLength: 8 }),
      fc.constantFrom("kill", "none", "subset", "torn" as const),
      fc.nat(1_000),
      (steps, crash, seed) => {
        let world = createLogWorld(seed);
        let log = make(world);
        const twin = new Map<string, number>();
        const taken = new Set<string>();
        for (const step of steps) {
          const ranges: SavedRange[] = [];
          for (const { volume, unit, fill, count } of step) {
            const bytesMax = volumes[volume]?.bytes ?? 0;
            for (let one = unit; one < unit + count && one * unitBytes < bytesMax; one += 1) {
              if (taken.has(`${volume} ${one}`)) continue;
              taken.add(`${volume} ${one}`);
              const offset = one * unitBytes;
              const length = Math.min(unitBytes, bytesMax - offset);
              ranges.push({ volume, offset, length, bytes: new Uint8Array(length).fill(fill) });
              for (let at = 0; at < length; at += 512) twin.set(`${volume}:${offset + at}`, fill);
            }
          }
          if (ranges.length > 0) save(world, log, ranges);
        }
        const zeros = encodeStep([
          { volume: 0, offset: 0, length: 8192, bytes: new Uint8Array(8192) },
        ]);
        assert.equal(zeros.payload.length, 0);
        assert.ok(bytesWith(log, zeros) < log.bytesUsed + 256);
        if (crash === "kill") world.kill();
        else world = afterPowerLoss(world.disk.state, crash, seed);
        const { opened, saved } = open(world);
        log = must(opened);
        assert.deepEqual(contentOf(world, log), twin);
        for (const [volume, { bytes }] of volumes.entries())
          for (let unit = 0; unit * unitBytes < bytes; unit += 1)
            assert.equal(
              isMarked(saved[volume] ?? assert.fail(), unit),
              taken.has(`${volume} ${unit}`),
            );
        closeLog(log);
      },
    ),
    { numRuns: 120 },
  );
});

test("a range is taken apart where it is zero, unit by unit, and comes back whole", () => {
  const bytes = new Uint8Array(5 * unitBytes + 512);
  bytes.fill(9, unitBytes, 2 * unitBytes);
  bytes[3 * unitBytes + 5] = 1;
  bytes.fill(7, 5 * unitBytes);
  const world = createLogWorld();
  const log = make(world);
  save(world, log, [{ volume: 1, offset: 0, length: bytes.length, bytes }]);
  const found: SavedRange[] = [];
  world.run<boolean>((done) =>
    readSaved(
      log,
      (ranges, next) => {
        found.push(...ranges);
        if (ranges.length === 0) done(true);
        else next();
      },
      ({ message }) => assert.fail(message),
    ),
  );
  assert.deepEqual(
    found.map((range) => [range.offset / unitBytes, range.length, range.bytes !== undefined]),
    [
      [0, unitBytes, false],
      [1, unitBytes, true],
      [2, unitBytes, false],
      [3, unitBytes, true],
      [4, unitBytes, false],
      [5, 512, true],
    ],
  );
  const again = new Uint8Array(bytes.length);
  for (const range of found) if (range.bytes !== undefined) again.set(range.bytes, range.offset);
  assert.deepEqual(again, bytes);
});

test("a log that is gone, of other volumes, or with a unit again is refused: its point cannot be claimed", () => {
  const world = createLogWorld();
  const gone = open(world).opened;
  assert.match(gone.ok ? "" : gone.error, /is gone/);
  const log = make(world);
  const unit = {
    volume: 0,
    offset: 0,
    length: unitBytes,
    bytes: new Uint8Array(unitBytes).fill(1),
  };
  save(world, log, [unit]);
  closeLog(log);
  const others = {
    folder: world.folder(),
    kind: "preserve" as const,
    id,
    bytesMax: 64 * KiB,
    volumes: volumes.slice(0, 1),
  };
  const wrong = world.run<Result<Log>>((done) => openPreserveLog(others, savedMaps(volumes), done));
  assert.match(wrong.ok ? "" : wrong.error, /of other volumes/);
  const reopened = must(open(world).opened);
  save(world, reopened, [unit]);
  closeLog(reopened);
  const twice = open(world).opened;
  assert.match(twice.ok ? "" : twice.error, /has a unit again/);
});
