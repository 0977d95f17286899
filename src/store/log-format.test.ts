import assert from "node:assert/strict";
import { test } from "node:test";
import { viewOf } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import { writeInode } from "../../sim/disk-state.ts";
import { formatHash } from "../../test/support/format-hash.ts";
import {
  createLogWorld,
  opened,
  pieceOf,
  readAll,
  segmentFile,
} from "../../test/support/log-world.ts";
import {
  decodeRecordHead,
  decodeSegmentHeader,
  encodeRecordHead,
  encodeSegmentHeader,
  highestSyncedIn,
  logVersion,
  recordHeadBytes,
  segmentHeaderBytes,
  segmentName,
  segmentOfName,
} from "./log-format.ts";
import type { RecordHead } from "./log-format.ts";
import { placeOf } from "./log-places.ts";

/** The fingerprint of each version, for ever. */
const hashOfVersion: Readonly<Record<number, string>> = {
  1: "7aa47f353b0e798ecf47d90638204b401b91b7a47e1ef8033b41b89b82217027",
  2: "8a279faab9a8d5dffec60164a92937718c36dba2efa6370c47aa22632b257d7c",
};

test("the log does not change without a new version", () => {
  const values = { segmentHeaderBytes, recordHeadBytes, name: segmentName("x", 0xabcdef) };
  const hash = formatHash(new URL("log-format.ts", import.meta.url), values);
  const advice =
    "the format has changed: raise logVersion, tell its history at the head of the file, " +
    "add the new hash here, and keep reading what old builds wrote";
  assert.equal(hash, hashOfVersion[logVersion], advice);
});

/** Two segments as version 1 wrote them: three records, one in the second segment, synced after the second. */
const writtenByVersion1: readonly (readonly string[])[] = [
  [
    "41504c530100000077ee99100100000001000000000000000000000000000000",
    "00000000000000000000000000000000000000000000000000000000972dad76",
    "41504c5277ee9910010000004000000001000000000000000000000000000000",
    "1000000028000000a794437a00000000010000000000000000000000286b3e8b",
    "a282706e01000000000000000000000041504c52525d68737e89949faab5c0cb",
    "d6e1ecf7020d18232e39444f5a65707b86919ca7b2bdc8d341504c5277ee9910",
    "01000000b8000000020000000000000000000000000000001400000096000000",
    "3fccf216286b3e8b0200000000000000000000008f310768beb31ca702000000",
    "00000000000000000000000041504c5277828d98a3aeb9c4cfdae5f0fb06111c",
    "27323d48535e69747f8a95a0abb6c1ccd7e2edf8030e19242f3a45505b66717c",
    "87929da8b3bec9d4dfeaf5000b16212c37424d58636e79848f9aa5b0bbc6d1dc",
    "e7f2fd08131e29343f4a55606b76818c97a2adb8c3ced9e4effa05101b26313c",
    "47525d68737e89949faab5c0cbd6e1ecf7020d18232e39444f5a65707b86919c",
    "a7b2",
  ],
  [
    "41504c530100000077ee99100200000003000000000000000200000000000000",
    "8f310768000000000000000000000000000000000000000000000000b36cf23d",
    "41504c5277ee9910020000004000000003000000000000000200000000000000",
    "0c0000003c000000a5f06d598f31076803000000000000000000000045f66eef",
    "9a3e65e1030000000000000041504c529ca7b2bdc8d3dee9f4ff0a15202b3641",
    "4c57626d78838e99a4afbac5d0dbe6f1fc07121d28333e49545f6a75808b96a1",
    "acb7c2cdd8e3eef9",
  ],
];

const settings = { segmentBytes: 512, bytesMax: 4_096 };
const samples = [pieceOf(1, 40), pieceOf(2, 150), pieceOf(3, 60)];

test("F12: a log that version 1 wrote is read", () => {
  const world = createLogWorld();
  for (const [index, lines] of writtenByVersion1.entries()) {
    const file = world.folder().open(segmentFile(index + 1));
    if ("code" in file) assert.fail(file.message);
    const text = lines.join("");
    const bytes = Uint8Array.from({ length: text.length / 2 }, (_, at) =>
      Number.parseInt(text.slice(2 * at, 2 * at + 2), 16),
    );
    writeInode(world.disk.state, world.inode(index + 1), 0, [bytes]);
  }
  const log = opened(world, settings);
  assert.deepEqual(log.damage, []);
  const { pieces } = readAll(world, log, placeOf(log, 1) ?? assert.fail());
  assert.deepEqual(pieces, samples);
});

const place = { logId: 0xfedcba98, segment: 0x12345678, byte: 0x87654321 };
const head: RecordHead = {
  number: Number.MAX_SAFE_INTEGER,
  syncedThrough: 2 ** 52 + 1,
  kind: 255,
  tableBytes: limits.logTableBytesMax,
  payloadBytes: limits.logPayloadBytesMax,
  tableCrc: 0xffffffff,
  chain: 0x80000000,
};

function encoded(changes: Partial<RecordHead> = {}): Uint8Array {
  const bytes = new Uint8Array(recordHeadBytes).fill(0xee);
  encodeRecordHead(bytes, place, { ...head, ...changes });
  return bytes;
}

test("heads and headers are read as they were written, up to the largest numbers", () => {
  const bytes = encoded();
  const crc = viewOf(bytes).getUint32(60, true);
  assert.deepEqual(decodeRecordHead(bytes, place), { ...head, crc });
  assert.equal(
    encodeRecordHead(bytes, place, head),
    crc,
    "what is answered is the next one's chain",
  );
  const header = {
    logId: 0xffffffff,
    segment: 0xfffffffe,
    firstRecord: Number.MAX_SAFE_INTEGER,
    syncedThrough: Number.MAX_SAFE_INTEGER - 1,
    chain: 0xfffffff0,
    isReused: true,
  };
  assert.deepEqual(decodeSegmentHeader(encodeSegmentHeader(header)), {
    version: logVersion,
    ...header,
  });
});

test("I34, row 47: a head or header with any bit flipped, or read anywhere else, is none", () => {
  const bytes = encoded();
  const header = encodeSegmentHeader({
    logId: 1,
    segment: 2,
    firstRecord: 3,
    syncedThrough: 2,
    chain: 5,
    isReused: true,
  });
  for (let bit = 0; bit < 8 * recordHeadBytes; bit += 1) {
    for (const one of [bytes, header]) one[bit >>> 3] = (one[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(typeof decodeRecordHead(bytes, place), "string", `bit ${bit}`);
    assert.equal(typeof decodeSegmentHeader(header), "string", `bit ${bit}`);
    for (const one of [bytes, header]) one[bit >>> 3] = (one[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
  }
  for (const other of [{ logId: 1 }, { segment: 1 }, { byte: 1 }]) {
    assert.equal(
      decodeRecordHead(bytes, { ...place, ...other }),
      "its head belongs to another place",
    );
  }
});

test("lengths beyond the limits, and numbers that no log has, are refused before anything is made of them", () => {
  for (const changes of [
    { tableBytes: limits.logTableBytesMax + 1 },
    { payloadBytes: limits.logPayloadBytesMax + 1 },
    { tableBytes: 0xffffffff, payloadBytes: 0xffffffff },
  ]) {
    assert.match(whyNot(encoded(changes)), /longer than a record can be/);
  }
  assert.match(whyNot(encoded({ number: 7, syncedThrough: 7 })), /numbers/);
  const huge = encoded();
  viewOf(huge).setUint32(20, 0xffffffff, true);
  viewOf(huge).setUint32(60, crc32c(huge.subarray(0, 60)), true);
  assert.match(whyNot(huge), /numbers/);
});

test("the chain tells two records apart: it is no checksum over a checksum, which is always the same", () => {
  const one = encoded({ number: 5, syncedThrough: 1 });
  const other = encoded({ number: 6, syncedThrough: 1 });
  assert.equal(crc32c(one), crc32c(other), "which would prove nothing");
  assert.notEqual(viewOf(one).getUint32(60, true), viewOf(other).getUint32(60, true));
});

test("heads are found wherever they lie wholly, by their own words, and copies of them elsewhere are not", () => {
  for (const at of [0, 1, 37, 136]) {
    const bytes = new Uint8Array(200).fill(0x41);
    encodeRecordHead(
      bytes.subarray(at, at + recordHeadBytes),
      { ...place, byte: 1_000 + at },
      { ...head, number: 50, syncedThrough: 40 },
    );
    assert.equal(highestSyncedIn(bytes, { ...place, byte: 1_000 }), 40);
    assert.equal(highestSyncedIn(bytes, { ...place, byte: 1_001 }), -1);
    assert.equal(highestSyncedIn(bytes, { ...place, byte: 1_000, logId: 1 }), -1);
    assert.equal(highestSyncedIn(bytes.subarray(0, at + 63), { ...place, byte: 1_000 }), -1);
  }
});

test("a segment's name tells its number and no other name does", () => {
  for (const number of [1, 0xab, 0xffffffff]) {
    assert.equal(segmentOfName("staging", segmentName("staging", number)), number);
  }
  for (const name of [
    "staging-00000000.log",
    "staging-000000AB.log",
    "staging-1.log",
    "staging-000000001.log",
    "staging-00000001.log2",
    "journal-00000001.log",
    "staging_00000001.log",
    "",
  ]) {
    assert.equal(segmentOfName("staging", name), undefined, name);
  }
});

/** Why no head lies in these bytes; the test fails where one does. */
function whyNot(bytes: Uint8Array): string {
  const head = decodeRecordHead(bytes, place);
  return typeof head === "string" ? head : assert.fail(`record ${head.number} was taken`);
}
