import assert from "node:assert/strict";
import { test } from "node:test";
import { hex, viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import { cloneDiskState, keeps, readInode, writeInode } from "../../sim/disk-state.ts";
import type { DiskState } from "../../sim/disk-state.ts";
import { createPrng } from "../../sim/prng.ts";
import { count } from "../../test/support/claims.ts";
import {
  afterPowerLoss,
  createLogWorld,
  logId,
  mustAppend,
  mustSync,
  opened,
  pieceOf,
  readAll,
  segmentFile,
  whyRefused,
} from "../../test/support/log-world.ts";
import type { LogWorld, Piece } from "../../test/support/log-world.ts";
import {
  decodeRecordHead,
  decodeSegmentHeader,
  encodeRecordHead,
  encodeSegmentHeader,
  recordHeadBytes,
  segmentHeaderBytes,
} from "./log-format.ts";
import { closeLog, placeOf, reclaim, sync } from "./log.ts";
import type { Log, LogPlace } from "./log.ts";

/** The disk at one instant, and what was promised by then. */
type Cut = {
  readonly state: DiskState;
  /** Highest record that a sync had answered for. */
  readonly synced: number;
  readonly appended: number;
  /** Records below it may be gone. */
  readonly unneededBelow: number;
};

function everything(world: LogWorld, log: Log): Piece[] {
  const { pieces, failure } = readAll(world, log, placeOf(log, log.firstRecord) ?? assert.fail());
  assert.equal(failure, undefined);
  return pieces;
}

function appendUpTo(log: Log, pieces: Piece[], last: number, bytes: (n: number) => number): void {
  while (pieces.length < last) {
    const piece = pieceOf(pieces.length + 1, bytes(pieces.length + 1));
    mustAppend(log, piece);
    pieces.push(piece);
  }
}

/** Appends, syncs and reclaims for a while; the disk as it was before and after each persistent step of it. */
function live(seed: number): { readonly cuts: Cut[]; readonly pieces: Piece[] } {
  const world = createLogWorld(seed);
  const rng = createPrng(`life ${seed}`);
  const cuts: Cut[] = [];
  const pieces: Piece[] = [];
  let synced = 0;
  let unneededBelow = 1;
  const { scheduler, behaviour } = world.disk;
  behaviour.syncUs = 300;
  world.disk.stepWatchers.add(() => {
    const state = cloneDiskState(world.disk.state);
    cuts.push({ state, synced, appended: pieces.length + 1, unneededBelow });
  });
  const log = opened(world);
  while (pieces.length < 45) {
    appendUpTo(log, pieces, pieces.length + rng.between(1, 4), () => rng.below(900));
    const through = pieces.length;
    if (rng.chance(0.5)) sync(log, () => (synced = Math.max(synced, through)));
    if (rng.chance(0.2) && synced > 0) {
      unneededBelow = Math.max(unneededBelow, synced - rng.below(6));
      reclaim(log, unneededBelow);
    }
    scheduler.run(scheduler.nowUs + rng.below(600), () => false);
  }
  return { cuts, pieces };
}

/** What is there is what was appended, without gaps, from what is still needed on and up to what was synced at least. */
function judge(world: LogWorld, log: Log, cut: Cut, pieces: readonly Piece[]): void {
  assert.ok(log.lastRecord >= cut.synced, "what was synced is there");
  assert.ok(log.lastRecord <= cut.appended);
  assert.ok(log.firstRecord <= Math.max(1, cut.unneededBelow), "what is needed is there");
  assert.deepEqual(everything(world, log), pieces.slice(log.firstRecord - 1, log.lastRecord));
  assert.equal(log.syncedThrough, log.lastRecord);
}

/** Appends more, other than before, and opens once again: nothing of what was cut off may come back. */
function goOn(world: LogWorld, log: Log): void {
  const before = everything(world, log);
  const more = [3, 4, 5].map((n) => pieceOf(1_000 + n, 100 * n));
  for (const piece of more) mustAppend(log, piece);
  mustSync(world, log);
  const again = opened(afterPowerLoss(world.disk.state, "none", "again"));
  assert.deepEqual(again.damage, []);
  world.kill();
  assert.deepEqual(everything(world, opened(world)), [...before, ...more]);
}

test("row 2, row 46: a power loss at any step leaves what was synced and a prefix of what was not, and the rest is cut", () => {
  let opens = 0;
  let torn = 0;
  for (let seed = 1; seed <= 4; seed += 1) {
    const { cuts, pieces } = live(seed);
    for (const [index, cut] of cuts.entries()) {
      for (const keep of keeps) {
        const world = afterPowerLoss(cut.state, keep, `${seed} ${index} ${keep}`);
        const log = opened(world);
        judge(world, log, cut, pieces);
        opens += 1;
        if (log.damage.length > 0) torn += 1;
        if (index % 5 === 0) goOn(world, log);
      }
    }
  }
  assert.ok(torn > 200, `only ${torn} of ${opens} were torn`);
  count("row 46", { faultsInjected: opens, effectsSeen: torn });
});

test("a kill at any step leaves everything that was appended", () => {
  const { cuts, pieces } = live(11);
  for (const [index, cut] of cuts.entries()) {
    const world = createLogWorld(index, cloneDiskState(cut.state));
    const log = opened(world);
    assert.deepEqual(log.damage, []);
    // The step may have been cut down before it took effect.
    assert.ok(log.lastRecord >= cut.appended - 1 - (log.lastRecord === 0 ? 1 : 0));
    judge(world, log, { ...cut, synced: 0 }, pieces);
  }
});

test("row 52: power losses during one opening after the other end in a log that opens, with all that was synced", () => {
  const rng = createPrng("double faults");
  let faults = 0;
  for (let seed = 21; seed <= 24; seed += 1) {
    const { cuts, pieces } = live(seed);
    for (const [index, cut] of cuts.entries()) {
      if (index % 7 !== 0) continue;
      let world = afterPowerLoss(cut.state, rng.pick(keeps), `${seed} ${index}`);
      for (let fault = 0; fault < 10; fault += 1) {
        const during = statesWhile(world, () => opened(world));
        world = afterPowerLoss(rng.pick(during), rng.pick(keeps), `${seed} ${index} ${fault}`);
        faults += 1;
      }
      const log = opened(world);
      judge(world, log, cut, pieces);
      goOn(world, log);
    }
  }
  count("row 52", { faultsInjected: faults, effectsSeen: faults });
});

function statesWhile(world: LogWorld, run: () => void): DiskState[] {
  const states = [cloneDiskState(world.disk.state)];
  const watch = (): void => void states.push(cloneDiskState(world.disk.state));
  world.disk.stepWatchers.add(watch);
  run();
  world.disk.stepWatchers.delete(watch);
  return states;
}

test("I1: what was found counts as durable when the log is handed over, and not before", () => {
  for (let seed = 31; seed <= 33; seed += 1) {
    const { cuts } = live(seed);
    for (const [index, { state }] of cuts.entries()) {
      if (index % 6 !== 0) continue;
      const world = afterPowerLoss(state, "torn", index);
      const log = opened(world);
      for (const keep of keeps) {
        const later = opened(afterPowerLoss(world.disk.state, keep, index));
        assert.equal(later.lastRecord, log.lastRecord);
        assert.deepEqual(later.damage, [], "and what was cut off is gone for good");
      }
    }
  }
});

test("row 38: what a failed sync left in the page cache alone is written again before it counts", () => {
  const world = createLogWorld();
  const log = opened(world);
  const pieces: Piece[] = [];
  appendUpTo(log, pieces, 3, () => 300);
  mustSync(world, log);
  // Into a second segment, so that its header is among what is lost.
  appendUpTo(log, pieces, 9, () => 300);
  world.disk.behaviour.failSyncs = 3;
  world.run((done) => sync(log, done));
  world.disk.behaviour.failSyncs = 0;
  const lost = opened(afterPowerLoss(world.disk.state, "all", 1));
  assert.equal(lost.lastRecord, 3, "the disk has not got them, and no sync will bring them there");
  closeLog(log);
  world.kill();
  const again = opened(world);
  assert.equal(again.lastRecord, 9);
  const after = afterPowerLoss(world.disk.state, "none", 2);
  assert.deepEqual(everything(after, opened(after)), pieces);
  count("row 38", { faultsInjected: 1, effectsSeen: 1 });
});

// ------------------------------------------------------------------------------------------ damage

/** A closed log in three segments. Records up to 9 are synced, as 10 says; nothing says so of 10, 11 and 12. */
type Marked = {
  readonly world: LogWorld;
  readonly pieces: Piece[];
  /** By number; the first is nobody's. */
  readonly places: LogPlace[];
  readonly bytes: number;
};

function marked(): Marked {
  const world = createLogWorld();
  const log = opened(world);
  const pieces: Piece[] = [];
  const places: LogPlace[] = [placeOf(log, 1) ?? assert.fail()];
  for (let number = 1; number <= 12; number += 1) {
    // All of one length, so that one fits into the other's place.
    const piece = { ...pieceOf(3 * number, 400), kind: number };
    places.push(mustAppend(log, piece));
    pieces.push(piece);
    if (number === 9) mustSync(world, log);
  }
  assert.deepEqual(
    log.segments.map(({ firstRecord }) => firstRecord),
    [1, 5, 9],
  );
  closeLog(log);
  world.kill();
  return { world, pieces, places, bytes: recordHeadBytes + 12 + 400 };
}

function overwrite(world: LogWorld, place: LogPlace, at: number, bytes: Uint8Array): void {
  writeInode(world.disk.state, world.inode(place.segment), place.byte + at, [bytes]);
}

function flip(world: LogWorld, place: LogPlace, at: number): void {
  const byte = bytesAt(world, place, at, 1)[0] ?? 0;
  overwrite(world, place, at, Uint8Array.of(byte ^ (1 << (at % 8))));
}

function bytesAt(world: LogWorld, place: LogPlace, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  readInode(world.inode(place.segment), "current", place.byte + at, bytes);
  return bytes;
}

/** Everything on the disk, to see that nothing was changed. */
function fingerprint(world: LogWorld): unknown {
  const names = world.folder().list();
  return names.map((name, index) => {
    const { bytes } = world.inode(index + 1);
    return [name, hex(bytesAt(world, { number: 0, segment: index + 1, byte: 0 }, 0, bytes))];
  });
}

test("row 46: a flip before the mark is refused loudly and named, one behind it is a torn end and is cut off", () => {
  const checkpoint = marked();
  let loud = 0;
  let cutOff = 0;
  for (let number = 1; number <= 12; number += 1) {
    for (let at = 0; at < checkpoint.bytes; at += 1 + (at > 90 ? 41 : 0)) {
      const world = createLogWorld(1, cloneDiskState(checkpoint.world.disk.state));
      const place = checkpoint.places[number] ?? assert.fail();
      flip(world, place, at);
      const where = `bank/${segmentFile(place.segment)}: record ${number} at byte ${place.byte}: `;
      const isPayload = at >= recordHeadBytes + 12;
      if (number > 9) {
        const log = opened(world);
        assert.equal(log.lastRecord, number - 1);
        assert.ok(log.damage.join().startsWith(where) && log.damage.length === 1);
        assert.deepEqual(everything(world, log), checkpoint.pieces.slice(0, number - 1));
        cutOff += 1;
        if (at % 8 === 0) goOn(world, log);
      } else if (isPayload) {
        // It was synced, so it is not read at the start; whoever reads it is told.
        const log = opened(world);
        const start = placeOf(log, 1) ?? assert.fail();
        const { pieces, failure } = readAll(world, log, start);
        assert.deepEqual(pieces, checkpoint.pieces.slice(0, number - 1));
        assert.ok(failure?.message.startsWith(where));
      } else {
        const before = fingerprint(world);
        const why = whyRefused(world);
        assert.ok(why.startsWith(where), why);
        assert.match(
          why,
          /all records up to 9 were synced, so this is no torn end, and nothing is cut$/,
        );
        assert.deepEqual(fingerprint(world), before, "everything is left as it is");
        loud += 1;
      }
    }
  }
  count("row 46", { faultsInjected: loud + cutOff, effectsSeen: loud + cutOff });
});

test("row 46: a damaged header of a segment is refused when records in it were synced", () => {
  for (const [segment, first] of [
    [1, 1],
    [2, 5],
    [3, 9],
  ] as const) {
    for (const at of [0, 4, 8, 12, 16, 24, 32, 50, 60]) {
      const { world } = marked();
      flip(world, { number: 0, segment, byte: 0 }, at);
      const why = whyRefused(world);
      assert.match(
        why,
        new RegExp(`${segmentFile(segment)}: .*, before record ${first}; all records up to 9`),
      );
    }
  }
  // Behind the mark it is a torn end: a segment begun and never synced.
  const world = createLogWorld();
  const log = opened(world);
  const pieces: Piece[] = [];
  appendUpTo(log, pieces, 4, () => 400);
  mustSync(world, log);
  appendUpTo(log, pieces, 6, () => 400);
  assert.equal(log.segments.length, 2);
  world.kill();
  flip(world, { number: 0, segment: 2, byte: 0 }, 17);
  const again = opened(world);
  assert.equal(again.lastRecord, 4);
  assert.match(
    again.damage.join(),
    /00000002.log: the checksum of its header does not match, before record 5/,
  );
  assert.deepEqual(world.folder().list(), [segmentFile(1)]);
  goOn(world, again);
});

test("row 51: a segment that is missing in the middle is refused with the range of its records", () => {
  const { world } = marked();
  world.folder().remove(segmentFile(2));
  const before = world.folder().list();
  const why = whyRefused(world);
  const missing = "bank/journal-00000002.log is missing, with the records 5 to 8";
  assert.ok(why.startsWith(`${missing}; all records up to 9 were synced`), why);
  assert.deepEqual(world.folder().list(), before);

  const long = createLogWorld();
  const log = opened(long);
  appendUpTo(log, [], 24, () => 400);
  mustSync(long, log);
  appendUpTo(log, [], 1, () => 400);
  long.kill();
  for (const segment of [3, 4, 5]) long.folder().remove(segmentFile(segment));
  assert.match(
    whyRefused(long),
    /bank\/journal-00000003.log to bank\/journal-00000005.log are missing, with the records 9 to 20;/,
  );
  count("row 51", { faultsInjected: 2, effectsSeen: 2 });
});

test("row 51, row 53: what the group's record knows of is missed, also at the end, or when all is gone", () => {
  const { world } = marked();
  assert.equal(opened(world, { knownThrough: 12 }).lastRecord, 12);
  assert.match(
    whyRefused(world, { knownThrough: 14 }),
    /00000003.log: the log ends with record 12, and the records 13 to 14, which were synced, are missing/,
  );
  world.folder().remove(segmentFile(3));
  assert.equal(opened(createLogWorld(1, cloneDiskState(world.disk.state))).lastRecord, 8);
  assert.match(
    whyRefused(world, { knownThrough: 9 }),
    /00000002.log: the log ends with record 8, and the records 9 to 9, which/,
  );
  for (const segment of [1, 2]) world.folder().remove(segmentFile(segment));
  assert.match(
    whyRefused(world, { knownThrough: 1 }),
    /^bank: the journal is gone, with all records up to 1 that were synced$/,
  );
  assert.deepEqual(world.folder().list(), []);
  assert.equal(opened(world).lastRecord, 0);
  // A torn end is none for who knows better.
  const torn = marked();
  flip(torn.world, torn.places[11] ?? assert.fail(), 0);
  assert.match(
    whyRefused(torn.world, { knownThrough: 11 }),
    /record 11 at byte .* all records up to 11/,
  );
  count("row 53", { faultsInjected: 1, effectsSeen: 1 });
});

test("row 47: a record that a disk wrote to another place is found by where it says that it lies", () => {
  for (const [from, to] of [
    [3, 2],
    [2, 6],
    [10, 7],
    [9, 5],
  ] as const) {
    const { world, places, bytes } = marked();
    const [source, target] = [places[from] ?? assert.fail(), places[to] ?? assert.fail()];
    overwrite(world, target, 0, bytesAt(world, source, 0, bytes));
    const why = whyRefused(world);
    assert.match(
      why,
      new RegExp(`record ${to} at byte ${target.byte}: its head belongs to another place`),
    );
  }
  // A whole segment that came back as another one.
  const { world } = marked();
  const second = bytesAt(world, { number: 0, segment: 2, byte: 0 }, 0, 1_968);
  overwrite(world, { number: 0, segment: 1, byte: 0 }, 0, second);
  assert.match(whyRefused(world), /00000001.log: it says that it is segment 2/);
  count("row 47", { faultsInjected: 5, effectsSeen: 5 });
});

test("row 48: a write that never reached the disk is found by the chain, whatever lies there instead", () => {
  for (let number = 1; number <= 9; number += 1) {
    // Zeros, as in a new file.
    const lost = marked();
    const place = lost.places[number] ?? assert.fail();
    overwrite(lost.world, place, 0, new Uint8Array(lost.bytes));
    const where = `bank/${segmentFile(place.segment)}: record ${number} at byte ${place.byte}: `;
    const why = whyRefused(lost.world);
    assert.ok(why.startsWith(where), why);
  }
  // What lay there before: a record of the same number, length and place that was cut off once. Its own checksums agree.
  const world = createLogWorld();
  const log = opened(world);
  mustAppend(log, pieceOf(1, 400));
  mustSync(world, log);
  const old = mustAppend(log, { ...pieceOf(3, 400), kind: 9 });
  mustAppend(log, pieceOf(3, 400));
  const stale = bytesAt(world, old, 0, recordHeadBytes + 12 + 400);
  closeLog(log);
  world.kill();
  overwrite(world, old, 0, new Uint8Array(2_000 - old.byte));
  const again = opened(world);
  assert.equal(again.lastRecord, 1);
  mustAppend(again, { ...pieceOf(6, 400), kind: 1 });
  mustAppend(again, pieceOf(3, 400));
  mustSync(world, again);
  mustAppend(again, pieceOf(4, 10));
  closeLog(again);
  world.kill();
  overwrite(world, old, 0, stale);
  assert.match(
    whyRefused(world),
    /record 3 at byte \d+: it does not follow the record 2 there; all records up to 3/,
  );
  count("row 48", { faultsInjected: 10, effectsSeen: 10 });
});

test("rows 47 and 48: numbers and chain are compared even where every checksum agrees", () => {
  const { world, places } = marked();
  const second = places[2] ?? assert.fail();
  const headBytes = bytesAt(world, second, 0, recordHeadBytes);
  const head = decodeRecordHead(headBytes, { logId, segment: 1, byte: second.byte });
  if (typeof head === "string") assert.fail(head);
  encodeRecordHead(headBytes, { logId, segment: 1, byte: second.byte }, { ...head, number: 3 });
  overwrite(world, second, 0, headBytes);
  assert.match(whyRefused(world), /record 2 at byte \d+: it is record 3; all records up to 9/);

  const other = marked();
  const start = { number: 0, segment: 2, byte: 0 };
  const header = decodeSegmentHeader(bytesAt(other.world, start, 0, segmentHeaderBytes));
  if (typeof header === "string") assert.fail(header);
  overwrite(other.world, start, 0, encodeSegmentHeader({ ...header, chain: header.chain ^ 1 }));
  assert.match(
    whyRefused(other.world),
    /00000002.log: it does not follow the record 4 of the segment before it; all records up to 9/,
  );
  count("row 48", { faultsInjected: 2, effectsSeen: 2 });
});

test("row 51: a file that was cut short in a payload that nobody reads at the start is noticed there", () => {
  const { world, places } = marked();
  const inode = world.inode(2);
  inode.bytes -= 100;
  const where = `record 8 at byte ${places[8]?.byte}: the file ends before it does`;
  assert.ok(whyRefused(world).includes(where));
});

test("row 46: a mark is found wherever it lies, also across two of the pieces that are read at once", () => {
  for (let before = 0; before <= recordHeadBytes; before += 1) {
    const world = createLogWorld();
    const settings = { segmentBytes: 2 * limits.logScanBytes, bytesMax: 8 * limits.logScanBytes };
    const log = opened(world, settings);
    const payloadBytes = limits.logScanBytes - before - segmentHeaderBytes - recordHeadBytes - 16;
    const payload = new Uint8Array(payloadBytes);
    const table = new Uint8Array(16);
    viewOf(table).setUint32(0, crc32c(payload), true);
    const first = mustAppend(log, { kind: 0, table, payload });
    mustSync(world, log);
    assert.equal(mustAppend(log, pieceOf(2, 10)).byte, limits.logScanBytes - before);
    world.kill();
    flip(world, first, 20);
    assert.match(whyRefused(world, settings), /record 1 at byte 64: .*; all records up to 1 /);
  }
});

test("row 50: without its name a new segment is not durable, and its records count only when the name is synced", () => {
  let lost = 0;
  for (let seed = 0; seed < 40; seed += 1) {
    const world = createLogWorld(seed);
    const log = opened(world);
    const pieces: Piece[] = [];
    appendUpTo(log, pieces, 4, () => 400);
    mustSync(world, log);
    appendUpTo(log, pieces, 14, () => 400);
    let isAnswered = false;
    sync(log, (failure) => (isAnswered = failure === undefined));
    const { scheduler } = world.disk;
    while (!isAnswered) {
      // The data of all segments may be durable by now; the names are not.
      const cut = afterPowerLoss(world.disk.state, "none", seed);
      const names = cut.folder().list().length;
      const again = opened(cut);
      if (names === 1) assert.equal(again.lastRecord, 4);
      assert.deepEqual(everything(cut, again), pieces.slice(0, again.lastRecord));
      lost += 1;
      let steps = 0;
      scheduler.run(scheduler.nowUs + 1e6, () => steps++ > 0);
    }
    const durable = opened(afterPowerLoss(world.disk.state, "none", seed));
    assert.equal(durable.lastRecord, 14);
    // Names in any other order: a later segment without the one before it is a torn end.
    const other = createLogWorld(seed);
    const unsynced = opened(other);
    appendUpTo(unsynced, [], 14, () => 400);
    const torn = afterPowerLoss(other.disk.state, "torn", seed);
    const found = opened(torn);
    goOn(torn, found);
  }
  count("row 50", { faultsInjected: lost, effectsSeen: lost });
});

test("row 49: a log that the group's record does not name is refused and left alone, and so is a later version", () => {
  const { world } = marked();
  const before = fingerprint(world);
  assert.match(
    whyRefused(world, { logId: logId + 1 }),
    /00000001.log: it is not of the log that the group's record names/,
  );
  assert.equal(troubleIn(world, { logId: logId + 1 }), undefined);
  assert.deepEqual(fingerprint(world), before);
  // Also where the stranger is a later segment, and where the log would otherwise be cut before it.
  const strange = createLogWorld();
  const log = opened(strange);
  appendUpTo(log, [], 6, () => 400);
  strange.kill();
  const start = { number: 0, segment: 2, byte: 0 };
  const header = bytesAt(strange, start, 0, segmentHeaderBytes);
  viewOf(header).setUint16(4, 3, true);
  viewOf(header).setUint32(60, crc32c(header.subarray(0, 60)), true);
  overwrite(strange, start, 0, header);
  flip(strange, { number: 0, segment: 1, byte: 100 }, 0);
  assert.match(whyRefused(strange), /00000002.log: its version 3 is unknown to this build/);
  assert.equal(strange.folder().list().length, 2);
});

test("files of other names, also of a log with a longer one, are not touched", () => {
  const world = createLogWorld();
  const others = [
    "journal-1.log",
    "journal-00000000.log",
    "journal-0000000G.log",
    "xjournal-00000001.log",
  ];
  for (const name of [...others, "journal-00000001.log.old", "journal-aa-00000001.log"]) {
    world.folder().open(name);
  }
  const log = opened(world);
  assert.equal(log.segments.length, 1);
  assert.equal(world.folder().list().length, 7);
});

test("row 40: a disk that has no room for the first segment, or fails a read, is answered in words", () => {
  const full = createLogWorld();
  full.disk.behaviour.spaceBytes = 0;
  assert.match(whyRefused(full), /no space left/);
  assert.equal(troubleIn(full), "io");
  full.disk.behaviour.spaceBytes = Infinity;
  assert.equal(opened(full).lastRecord, 0);
  for (let reads = 0; reads < 5; reads += 1) {
    const { world } = marked();
    let left = reads;
    const { readFailure } = world.disk;
    world.disk.readFailure = () => {
      left -= 1;
      return left < 0
        ? { code: "EIO", message: "the disk failed a read" }
        : readFailure.call(world.disk);
    };
    assert.match(whyRefused(world), /the disk failed a read/);
    left = reads;
    assert.equal(troubleIn(world), "io");
  }
  const failing = createLogWorld();
  failing.disk.behaviour.failSyncs = 1;
  assert.match(whyRefused(failing), /failed a sync/);
  failing.disk.behaviour.failSyncs = 1;
  assert.equal(troubleIn(failing), "sync");
});

/** What the disk did that the log cannot be had; undefined where the log itself is to blame. */
function troubleIn(world: LogWorld, settings: Parameters<LogWorld["open"]>[0] = {}) {
  const result = world.open(settings);
  return result.ok ? assert.fail("the log was opened") : result.trouble;
}
