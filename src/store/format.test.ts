import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { bitsPerPage, createRegionMap, isMarked, mark, mapPageBytes } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import type { File } from "#ports/file.ts";
import { fixture } from "../../test/support/fixture.ts";
import { formatHash } from "../../test/support/format-hash.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { writeRecord } from "../../test/support/write-record.ts";
import { mapFileVersion, mapKind, readMapFile, readMapIdentity } from "./map-file.ts";
import { writeMapHeader, writeMapPages } from "./map-file.ts";
import type { MapIdentity } from "./map-file.ts";
import { openRecordFile, recordFileVersion, recordMagic } from "./record-file.ts";

/** The fingerprint of each version of the two files, for ever. */
const mapHashOfVersion: Readonly<Record<number, string>> = {
  1: "a83b9b6ea06961dd75027b8108cc251ec31ab5e0f33bdc76bb3f5e94a41b57e4",
};
const recordHashOfVersion: Readonly<Record<number, string>> = {
  1: "648f09096c19e7cadd64f038fdd4ba9137b1dd63abc6cf5ab6ba3c0dd783b27f",
};

function advice(version: string): string {
  return (
    `the format has changed: raise ${version}, tell its history at the head of the file, ` +
    "add the new hash here, and keep reading what old builds wrote"
  );
}

test("the map file does not change without a new version", () => {
  const values = { mapKind, mapPageBytes, bitsPerPage };
  const hash = formatHash(new URL("map-file.ts", import.meta.url), values);
  assert.equal(hash, mapHashOfVersion[mapFileVersion], advice("mapFileVersion"));
});

test("the record file does not change without a new version", () => {
  // The fields of the record are part of the format: an old record must have what a new build reads of it.
  const record = sampleRecord();
  const values = {
    magic: recordMagic,
    slotBytes: limits.recordSlotBytes,
    fields: Object.keys(record).toSorted(),
    memberFields: Object.keys(record.members["west"] ?? {}).toSorted(),
  };
  const hash = formatHash(new URL("slot.ts", import.meta.url), values);
  assert.equal(hash, recordHashOfVersion[recordFileVersion], advice("recordFileVersion"));
});

function open(bytes: Uint8Array): File {
  const file = createMemoryFolder(new Map([["file", bytes]])).open("file");
  return isFailure(file) ? assert.fail(file.message) : file;
}

const identity: MapIdentity = {
  kind: mapKind.dirty,
  mapId: 0xdecade,
  unitBytes: 64 * 1024,
  volumeBytes: 9_000 * 64 * 1024,
};
const markedUnits = [0, 7, 8, 3_967, 3_968, 8_999];

function mapBytes(): Uint8Array {
  const folder = createMemoryFolder();
  const file = folder.open("map");
  if (isFailure(file)) assert.fail(file.message);
  const map = createRegionMap(identity.volumeBytes, identity.unitBytes);
  for (const unit of markedUnits) mark(map, unit, unit);
  assert.equal(writeMapHeader(file, identity), undefined);
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  return folder.bytesOf("map");
}

test("F12: a map file that version 1 wrote is read, and written the same today", () => {
  const bytes = fixture("v1/dirty.map", mapBytes);
  const loaded = readMapFile(open(bytes), identity);
  if ("code" in loaded) assert.fail(loaded.message);
  assert.deepEqual(loaded.damage, []);
  assert.equal(loaded.map.count, markedUnits.length);
  for (const unit of markedUnits) assert.ok(isMarked(loaded.map, unit));
  assert.deepEqual(readMapIdentity(open(bytes)), identity);
  if (mapFileVersion === 1) assert.deepEqual(mapBytes(), bytes);
});

function recordBytes(): Uint8Array {
  const folder = createMemoryFolder();
  const file = folder.open("record");
  if (isFailure(file)) assert.fail(file.message);
  const opened = openRecordFile(file);
  if (!opened.ok) assert.fail(opened.error);
  writeRecord(opened.value.store, sampleRecord(), (failure) => assert.equal(failure, undefined));
  return folder.bytesOf("record");
}

test("F12: a record file that version 1 wrote is read, and written the same today", () => {
  const bytes = fixture("v1/group.record", recordBytes);
  const opened = openRecordFile(open(bytes));
  if (!opened.ok) assert.fail(opened.error);
  assert.equal(opened.value.store.revision, 1);
  const { preservedPoint: _, ...stored } = sampleRecord();
  const { toldOfFracture: __, ...record } = stored;
  const west = record.members["west"] ?? assert.fail();
  const { replicaId: ___, ...member } = west;
  assert.deepEqual(opened.value.record, { ...record, members: { west: member } });
  if (recordFileVersion === 1) assert.deepEqual(recordBytes(), bytes);
});
