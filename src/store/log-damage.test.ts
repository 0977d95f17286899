import assert from "node:assert/strict";
import { test } from "node:test";
import { hex, viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import { cloneDiskState, readInode, writeInode } from "../../sim/disk-state.ts";
import { count } from "../../test/support/claims.ts";
import { appendUpTo, everything, goOn } from "../../test/support/log-life.ts";
import {
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
import { placeOf } from "./log-places.ts";
import { closeLog } from "./log.ts";
import type { LogPlace } from "./log.ts";

// Opening a log that is damaged: what is no torn end is refused in words that name it, and left as it is.

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
