import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { bitsPerPage, createRegionMap, isMarked, mark, mapPageBytes } from "#core/region-map.ts";
import { nextMarked, unmark } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import type { File } from "#ports/file.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import type { MemoryFolder } from "../../test/support/memory-folder.ts";
import { createFullMap, mapKind, readMapFile, readMapIdentity } from "./map-file.ts";
import { writeMapHeader, writeMapPages } from "./map-file.ts";
import type { MapIdentity, MapLoaded } from "./map-file.ts";

const units = 9_000; // Three pages, the last one in part.
const unitBytes = 4096;
const identity: MapIdentity = {
  kind: mapKind.dirty,
  mapId: 0xc0ffee,
  unitBytes,
  volumeBytes: units * unitBytes - 512,
};
const lastPageUnits = units - 2 * bitsPerPage;

type OnDisk = { readonly folder: MemoryFolder; readonly file: File; readonly map: RegionMap };

function newMap(which: MapIdentity = identity): OnDisk {
  const folder = createMemoryFolder();
  const file = folder.open("map");
  if (isFailure(file)) assert.fail(file.message);
  assert.equal(writeMapHeader(file, which), undefined);
  return { folder, file, map: createRegionMap(which.volumeBytes, which.unitBytes) };
}

/** A map with marks in all three pages, written. */
function writtenMap(): OnDisk {
  const made = newMap();
  mark(made.map, 3, 17);
  mark(made.map, bitsPerPage + 100, bitsPerPage + 100);
  mark(made.map, units - 1, units - 1);
  assert.equal(writeMapPages(made.file, made.map, identity.mapId), undefined);
  return made;
}

function load(file: File, which: MapIdentity = identity): MapLoaded {
  const loaded = readMapFile(file, which);
  if ("code" in loaded) assert.fail(loaded.message);
  return loaded;
}

function marked(map: RegionMap): number[] {
  const found: number[] = [];
  for (let unit = nextMarked(map, 0); unit !== -1; unit = nextMarked(map, unit + 1)) {
    found.push(unit);
  }
  assert.equal(map.count, found.length, "the count is that of the marks");
  return found;
}

function assertSuperset(loaded: RegionMap, of: RegionMap): void {
  for (const unit of marked(of)) assert.ok(isMarked(loaded, unit), `unit ${unit} was forgotten`);
}

test("F12: a map that is read back has exactly the marks of a set of numbers", () => {
  const change = fc.record({
    isMark: fc.boolean(),
    first: fc.nat(units - 1),
    length: fc.integer({ min: 1, max: 5_000 }),
    isWritten: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
      const { file, map } = newMap();
      const twin = new Set<number>();
      for (const { isMark, first, length, isWritten } of changes) {
        const last = Math.min(units - 1, first + length - 1);
        if (isMark) mark(map, first, last);
        else unmark(map, first, last);
        for (let unit = first; unit <= last; unit += 1) {
          if (isMark) twin.add(unit);
          else twin.delete(unit);
        }
        if (isWritten) assert.equal(writeMapPages(file, map, identity.mapId), undefined);
      }
      assert.equal(writeMapPages(file, map, identity.mapId), undefined);
      const { map: loaded, damage } = load(file);
      assert.deepEqual(damage, []);
      assert.deepEqual(
        marked(loaded),
        [...twin].toSorted((a, b) => a - b),
      );
      assert.equal(loaded.unwritten.size, 0);
    }),
    { numRuns: 60 },
  );
});

test("a map longer than one read at start is read to its end", () => {
  const pages = limits.mapReadChunkPages + 2;
  const long: MapIdentity = { ...identity, volumeBytes: pages * bitsPerPage * unitBytes };
  const { file, map } = newMap(long);
  const edge = limits.mapReadChunkPages * bitsPerPage;
  for (const unit of [0, edge - 1, edge, map.units - 1]) mark(map, unit, unit);
  assert.equal(writeMapPages(file, map, long.mapId), undefined);
  const loaded = load(file, long);
  assert.deepEqual(marked(loaded.map), [0, edge - 1, edge, map.units - 1]);
  assert.deepEqual(loaded.damage, []);
});

test("I16, I34, row 18: any bit that flips in a page marks the whole page and is reported", () => {
  const { folder, file, map } = writtenMap();
  const bytes = folder.bytesOf("map");
  const start = 2 * mapPageBytes;
  for (let bit = 0; bit < mapPageBytes * 8; bit += 1) {
    const at = start + (bit >>> 3);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    const loaded = load(file);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    assertSuperset(loaded.map, map);
    assert.equal(loaded.map.count, 15 + bitsPerPage + 1, `bit ${bit}`);
    assert.deepEqual(loaded.damage, ["memory/map: page 1 is damaged; its regions count as marked"]);
    assert.deepEqual([...loaded.map.unwritten], [1], "the page will be written anew");
  }
});

test("I16, I34: any bit that flips in the header marks everything and is reported", () => {
  const { folder, file } = writtenMap();
  const bytes = folder.bytesOf("map");
  for (let bit = 0; bit < mapPageBytes * 8; bit += 1) {
    const at = bit >>> 3;
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    const loaded = load(file);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
    assert.equal(loaded.map.count, units, `bit ${bit}`);
    assert.equal(loaded.damage.length, 1);
    assert.match(loaded.damage[0] ?? "", /^memory\/map: .*; every region counts as marked$/);
  }
});

test("I16: what came over from a damaged page is whole again once it was written", () => {
  const { folder, file } = writtenMap();
  folder.bytesOf("map")[3 * mapPageBytes + 20] = 0xff;
  const { map: loaded } = load(file);
  assert.equal(loaded.count, 16 + lastPageUnits);
  assert.equal(writeMapPages(file, loaded, identity.mapId), undefined);
  const again = load(file);
  assert.deepEqual(again.damage, []);
  assert.deepEqual(marked(again.map), marked(loaded));
});

test("a page that was never written has no marks: it is zeros, or lies beyond the end", () => {
  const { folder, file, map } = newMap();
  mark(map, 2 * bitsPerPage, 2 * bitsPerPage);
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  assert.deepEqual(marked(load(file).map), [2 * bitsPerPage]);
  folder.put("map", folder.bytesOf("map").subarray(0, 2 * mapPageBytes));
  const shorter = folder.open("map");
  if (isFailure(shorter)) assert.fail(shorter.message);
  assert.deepEqual(load(shorter), load(newMap().file));
  assert.deepEqual(load(shorter).damage, []);
});

test("row 18: a page or header torn in its middle is never taken for a page", () => {
  for (const [cut, damage] of [
    [100, /header/],
    [mapPageBytes + 18, /page 0/],
  ] as const) {
    const { folder, map } = writtenMap();
    folder.put("map", folder.bytesOf("map").subarray(0, cut));
    const file = folder.open("map");
    if (isFailure(file)) assert.fail(file.message);
    const loaded = load(file);
    assert.match(loaded.damage.join(), damage);
    for (let unit = 3; unit <= 17; unit += 1) assert.ok(isMarked(loaded.map, unit));
    if (cut < mapPageBytes) assertSuperset(loaded.map, map);
  }
});

test("row 47: a page in another page's place, or of another file, marks its units", () => {
  const misplaced = writtenMap();
  const bytes = misplaced.folder.bytesOf("map");
  bytes.copyWithin(3 * mapPageBytes, mapPageBytes, 2 * mapPageBytes);
  const loaded = load(misplaced.file);
  assertSuperset(loaded.map, misplaced.map);
  assert.equal(loaded.map.count, 16 + lastPageUnits);
  assert.match(loaded.damage.join(), /page 2 is damaged/);

  const stale = writtenMap();
  mark(stale.map, 5_000, 5_000);
  assert.equal(writeMapPages(stale.file, stale.map, identity.mapId + 1), undefined);
  assert.match(load(stale.file).damage.join(), /page 1 is damaged/);
});

test("row 49: a map that the record does not name, or of another shape, marks everything", () => {
  const strangers: readonly (readonly [Partial<MapIdentity>, RegExp])[] = [
    [{ mapId: 1 }, /not the map that the group's record names/],
    [{ kind: mapKind.open }, /a map of another kind/],
    [{ unitBytes: 8192 }, /a volume of another size or region/],
    [{ volumeBytes: identity.volumeBytes - unitBytes }, /a volume of another size or region/],
  ];
  for (const [change, why] of strangers) {
    const asked = { ...identity, ...change };
    const loaded = load(writtenMap().file, asked);
    assert.equal(loaded.map.count, loaded.map.units);
    assert.equal(loaded.isForeign, true);
    assert.match(loaded.damage.join(), why);
  }
  const { folder } = newMap();
  folder.put("map", new Uint8Array(0));
  const empty = folder.open("map");
  if (isFailure(empty)) assert.fail(empty.message);
  assert.equal(load(empty).map.count, units);
});

test("I16: a map of a volume that has grown keeps its marks, takes more, and has none in what is new", () => {
  const { file, map } = writtenMap();
  const before = marked(map);
  const larger = { ...identity, volumeBytes: identity.volumeBytes + 2 * bitsPerPage * unitBytes };
  const loaded = load(file, larger);
  assert.deepEqual(loaded.damage, []);
  assert.deepEqual(marked(loaded.map), before);
  const last = loaded.map.units - 1;
  assert.equal(last, units + 2 * bitsPerPage - 1);
  mark(loaded.map, last, last);
  assert.equal(writeMapPages(file, loaded.map, identity.mapId), undefined);
  assert.deepEqual(marked(load(file, larger).map), [...before, last]);
});

test("neighbouring pages go in one write, in order, and a page without marks as zeros", () => {
  const { folder, file, map } = newMap({ ...identity, volumeBytes: 8 * bitsPerPage * unitBytes });
  for (const page of [5, 1, 0, 2]) mark(map, page * bitsPerPage, page * bitsPerPage);
  folder.ops.length = 0;
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  assert.deepEqual(folder.ops, [
    `write map ${mapPageBytes}+${3 * mapPageBytes}`,
    `write map ${6 * mapPageBytes}+${mapPageBytes}`,
  ]);
  folder.ops.length = 0;
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  assert.deepEqual(folder.ops, [], "what is written already is not written again");
  unmark(map, bitsPerPage, bitsPerPage);
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  assert.deepEqual(folder.ops, [`write map ${2 * mapPageBytes}+${mapPageBytes}`]);
  const page = folder.bytesOf("map").subarray(2 * mapPageBytes, 3 * mapPageBytes);
  assert.ok(page.every((byte) => byte === 0));
  assert.equal(map.pages.has(1), false, "memory follows the marks");
});

test("row 39: pages that a failed write may not have written are written again", () => {
  const { folder, file, map } = newMap();
  mark(map, 0, 0);
  mark(map, units - 1, units - 1);
  folder.failWrites("map", { code: "EIO", message: "EIO" });
  assert.equal(writeMapPages(file, map, identity.mapId)?.code, "EIO");
  folder.failWrites("map", undefined);
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  assert.deepEqual(marked(load(file).map), [0, units - 1]);
});

test("U54: a full map marks every unit and no more, and is to be written", () => {
  const map = createFullMap(identity.volumeBytes, unitBytes);
  assert.equal(map.count, units);
  assert.equal(marked(map).length, units);
  assert.deepEqual([...map.unwritten], [0, 1, 2]);
});

test("a stranger reads from a map file what it is a map of", () => {
  const { folder, file } = writtenMap();
  assert.deepEqual(readMapIdentity(file), { ...identity, volumeBytes: units * unitBytes });
  const bytes = folder.bytesOf("map");
  bytes[9] = 1;
  assert.equal(readMapIdentity(file), undefined);
  bytes[0] = 0;
  assert.equal(readMapIdentity(file), undefined);
});
