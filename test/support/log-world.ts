import assert from "node:assert/strict";
import { viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import type { IoFailure } from "#base/errors.ts";
import type { Folder } from "#ports/file.ts";
import { placeOf } from "#store/log-places.ts";
import { append, sync } from "#store/log.ts";
import type { Log, LogPlace } from "#store/log.ts";
import { openLog } from "#store/log-open.ts";
import type { OpenedLog, OpenOptions } from "#store/log-open.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogRead } from "#store/log-read.ts";
import { openSimFolder } from "../../sim/disk-files.ts";
import { cloneDiskState, inodeAt } from "../../sim/disk-state.ts";
import type { DiskState, Inode, Keep } from "../../sim/disk-state.ts";
import { SimDisk } from "../../sim/disk.ts";
import { createPrng } from "../../sim/prng.ts";
import type { Process } from "../../sim/process.ts";
import { quietDisk } from "../../sim/disk.ts";
import { smallWorld } from "../../sim/testing/small-world.ts";
import { createOwner } from "../../sim/scheduler.ts";

/** What a test appends: its table says what payload to expect. */
export type Piece = {
  readonly kind: number;
  readonly table: Uint8Array;
  readonly payload: Uint8Array;
};

export type Settings = Partial<
  Pick<OpenOptions, "segmentBytes" | "bytesMax" | "knownThrough" | "logId" | "ahead">
>;

/** A machine with a simulated disk, a folder for one log on it, and one process that may be replaced by the next. */
export type LogWorld = {
  readonly disk: SimDisk;
  process: Process;
  folder(): Folder;
  /** Lets virtual time pass until what was begun has answered. */
  run<T>(begin: (done: (value: T) => void) => void): T;
  /** What was found is in `found` of the answer, in order. */
  open(settings?: Settings): OpenedLog & { readonly found: readonly (readonly [number, number])[] };
  /** The process ends and another takes its place; the page cache stays. */
  kill(): void;
  inode(segment: number): Inode;
};

export const logName = "journal";
export const logId = 0x10_99_ee_77;

export function createLogWorld(seed: number | string = 1, state?: DiskState): LogWorld {
  const small = smallWorld(seed);
  const disk = new SimDisk({
    site: "east",
    scheduler: small.scheduler,
    rng: createPrng(`${seed} disk`),
    behaviour: { ...quietDisk },
    boot: createOwner("kernel", 0, (error) => {
      throw error;
    }),
    ...(state === undefined ? {} : { state }),
  });
  const world: LogWorld = {
    disk,
    process: small.newProcess("east"),
    folder: () => openSimFolder(disk, world.process, "bank"),
    run(begin) {
      const answers: Parameters<Parameters<typeof begin>[0]>[0][] = [];
      begin((value) => answers.push(value));
      small.scheduler.run(small.scheduler.nowUs + 3_600e6, () => answers.length > 0);
      assert.equal(answers.length, 1, "answered, and once");
      return answers[0] as (typeof answers)[number];
    },
    open(settings = {}) {
      const found: (readonly [number, number])[] = [];
      const options: OpenOptions = {
        folder: world.folder(),
        name: logName,
        logId,
        segmentBytes: 2_048,
        bytesMax: 64 * 2_048,
        knownThrough: 0,
        verifyPayload,
        ...settings,
        visit: ({ number, payloadBytes }) => found.push([number, payloadBytes]),
      };
      return { ...world.run<OpenedLog>((done) => openLog(options, done)), found };
    },
    kill() {
      world.process.alive = false;
      world.process = small.newProcess("east");
    },
    inode: (segment) =>
      inodeAt(disk.state, "bank", segmentFile(segment), "current") ?? assert.fail("no segment"),
  };
  return world;
}

export function segmentFile(segment: number): string {
  return `${logName}-${segment.toString(16).padStart(8, "0")}.log`;
}

/** The same disk in another world, after a power loss that kept what `keep` says. */
export function afterPowerLoss(state: DiskState, keep: Keep, seed: number | string): LogWorld {
  const world = createLogWorld(seed, cloneDiskState(state));
  world.disk.losePower(keep);
  return world;
}

export function opened(world: LogWorld, settings: Settings = {}): Log {
  const result = world.open(settings);
  return result.ok ? result.value : assert.fail(result.error);
}

export function whyRefused(world: LogWorld, settings: Settings = {}): string {
  const result = world.open(settings);
  return result.ok ? assert.fail("the log was opened") : result.error;
}

/** A piece whose content follows from its number, and whose payload begins with what looks like a head. */
export function pieceOf(number: number, payloadBytes: number): Piece {
  const payload = Uint8Array.from({ length: payloadBytes }, (_, at) => number * 37 + at * 11 + 1);
  payload.set([0x41, 0x50, 0x4c, 0x52].slice(0, payloadBytes));
  const table = new Uint8Array(12 + (number % 3) * 4);
  viewOf(table).setUint32(0, crc32c(payload), true);
  viewOf(table).setUint32(4, number, true);
  return { kind: number % 5, table, payload };
}

function verifyPayload(table: Uint8Array, payload: Uint8Array): boolean {
  return viewOf(table).getUint32(0, true) === crc32c(payload);
}

export function mustAppend(log: Log, piece: Piece): LogPlace {
  const half = piece.payload.length >>> 1;
  const payload = [piece.payload.subarray(0, half), piece.payload.subarray(half)];
  const place = append(log, piece.kind, piece.table, payload);
  if (place === "full") assert.fail("the log is full");
  if ("code" in place) assert.fail(place.message);
  return place;
}

export function mustSync(world: LogWorld, log: Log): void {
  assert.equal(
    world.run<IoFailure | undefined>((done) => sync(log, done)),
    undefined,
  );
}

export function read(
  world: LogWorld,
  log: Log,
  from: LogPlace,
  bytesMax = 700,
): LogRead | IoFailure {
  return world.run((done) => readRecords(log, from, bytesMax, done));
}

/** Everything from a place on, or up to the damage that stops the reading. */
export function readAll(
  world: LogWorld,
  log: Log,
  start: LogPlace,
  bytesMax = 700,
): { readonly pieces: Piece[]; readonly failure: IoFailure | undefined } {
  const pieces: Piece[] = [];
  for (let from = start; ;) {
    const result = read(world, log, from, bytesMax);
    if ("code" in result) return { pieces, failure: result };
    if (result.records.length === 0) return { pieces, failure: undefined };
    for (const { number, kind, table, payload, place } of result.records) {
      assert.equal(number, start.number + pieces.length, "no record is skipped");
      assert.equal(place.number, number);
      pieces.push({ kind, table, payload });
    }
    from = result.next;
  }
}

export function appendMany(log: Log, first: number, last: number, bytes = 300): Piece[] {
  const pieces: Piece[] = [];
  for (let number = first; number <= last; number += 1) pieces.push(pieceOf(number, bytes));
  for (const piece of pieces) mustAppend(log, piece);
  return pieces;
}

export function firstPlace(log: Log) {
  return placeOf(log, log.firstRecord) ?? assert.fail("the first record has a place");
}

/** Lets what was begun in the background come to its end. */
export function rest(world: LogWorld): void {
  const { scheduler } = world.disk;
  scheduler.run(scheduler.nowUs + 1e6, () => false);
}
