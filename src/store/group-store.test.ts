import assert from "node:assert/strict";
import { test } from "node:test";
import type { Result } from "#base/errors.ts";
import { limits, MiB } from "#base/limits.ts";
import { blankMember } from "#core/group-record.ts";
import { createRegionMap, isMarked, mark, unmark } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import type { MemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { createDirtyMaps, eraseDirtyMaps, openGroupStore, saveRecord } from "./group-store.ts";
import {
  closeGroupStore,
  growVolume,
  syncOpenMaps,
  writeDirtyMaps,
  writeOpenMaps,
} from "./group-store.ts";
import type { GroupStore, StoreOptions } from "./group-store.ts";

/** Randomness that never gives the same twice, also over several openings. */
let drawn = 0;
function randomBytes(count: number): Uint8Array {
  drawn += 1;
  return Uint8Array.from({ length: count }, (_, i) => (drawn * 31 + i * 7) & 0xff);
}

type Fresh = StoreOptions["fresh"];

function tryOpen(folder: MemoryFolder, changes: Partial<Fresh> = {}): Result<GroupStore> {
  let result: Result<GroupStore> | undefined;
  openGroupStore({ folder, randomBytes, fresh: sampleRecord(changes) }, (opened) => {
    assert.equal(result, undefined, "answered once");
    result = opened;
  });
  return result ?? assert.fail("not answered");
}

function errorOf(opened: Result<GroupStore>): string {
  return opened.ok ? "" : opened.error;
}

function open(folder: MemoryFolder): GroupStore {
  const opened = tryOpen(folder);
  return opened.ok ? opened.value : assert.fail(opened.error);
}

function newDirtyMaps(store: GroupStore): RegionMap[] {
  const { regionBytes } = store.record;
  return store.record.volumes.map((volume) => createRegionMap(volume.bytes, regionBytes));
}

/** Gives west dirty maps with region 5 of `data` marked, and puts them on record. */
function fracture(store: GroupStore): RegionMap {
  const maps = newDirtyMaps(store);
  const data = maps[0] ?? assert.fail();
  mark(data, 5, 5);
  const member = store.record.members["west"] ?? assert.fail();
  member.phase = "dirty";
  assert.equal(createDirtyMaps(store, "west", maps), undefined);
  save(store);
  return data;
}

function save(store: GroupStore): void {
  let answers = 0;
  saveRecord(store, (failure) => {
    assert.equal(failure, undefined);
    answers += 1;
  });
  assert.equal(answers, 1);
}

function openMap(store: GroupStore, volume: number): RegionMap {
  return store.openMaps[volume]?.map ?? assert.fail();
}

function dirtyMap(store: GroupStore, volume: number): RegionMap {
  return store.dirtyMaps.get("west")?.[volume]?.map ?? assert.fail();
}

test("F12: a folder made anew survives a power cut the moment it is handed over", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  assert.match(store.record.replicaId, /^[0-9a-f]{32}$/);
  assert.notDeepEqual(store.record.openMapIds, [11, 12], "ids are drawn, not taken over");
  const again = open(folder.powerCut());
  assert.deepEqual(again.damage, []);
  assert.deepEqual(again.record, JSON.parse(JSON.stringify(store.record)));
  closeGroupStore(again);
});

test("row 50, row 52: a power cut between any two steps of the making leaves a folder that opens", () => {
  const cuts: MemoryFolder[] = [];
  const folder = createMemoryFolder();
  folder.onOp = () => cuts.push(folder.powerCut());
  open(folder);
  assert.ok(cuts.length > 12);
  for (const cut of cuts) {
    const isMade = cut.exists("group.record") && cut.bytesOf("group.record").length > 0;
    const store = open(cut);
    assert.deepEqual(store.damage, []);
    if (!isMade) continue;
    for (const name of ["open-data.map", "open-log.map"]) assert.ok(cut.exists(name), name);
  }
});

test("F13, I19: marks of open and dirty maps that were saved are there after a power cut", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  mark(openMap(store, 1), 3, 4);
  const data = fracture(store);
  mark(data, 900, 901);
  save(store);
  mark(data, 700, 700); // Neither written nor saved: nothing rests on it yet.
  const again = open(folder.powerCut());
  assert.deepEqual(again.damage, []);
  assert.equal(openMap(again, 1).count, 2);
  assert.equal(dirtyMap(again, 0).count, 3);
  assert.ok(isMarked(dirtyMap(again, 0), 5) && isMarked(dirtyMap(again, 0), 901));
  assert.equal(dirtyMap(again, 1).count, 0);
});

test("I16, row 51: a map that is named and not there counts as marked throughout, and is reported", () => {
  for (const [name, volume] of [
    ["dirty-west-log.map", 1],
    ["open-data.map", 0],
  ] as const) {
    const folder = createMemoryFolder();
    fracture(open(folder));
    folder.remove(name);
    folder.sync(() => undefined);
    const store = open(folder);
    const map = name.startsWith("open") ? openMap(store, volume) : dirtyMap(store, volume);
    assert.equal(map.count, map.units);
    const why = `memory/${name} is missing; every region of it counts as marked`;
    assert.deepEqual(store.damage, [why]);
    // It is made anew, and durable with the next record.
    save(store);
    const again = open(folder.powerCut());
    assert.deepEqual(again.damage, []);
    const second = name.startsWith("open") ? openMap(again, volume) : dirtyMap(again, volume);
    assert.equal(second.count, second.units);
  }
});

test("row 49: a dirty map of an earlier fracture that comes back marks everything", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  fracture(store);
  const stale = folder.bytesOf("dirty-west-data.map").slice();
  eraseDirtyMaps(store, "west");
  fracture(store);
  folder.put("dirty-west-data.map", stale);
  const again = open(folder);
  const map = dirtyMap(again, 0);
  assert.equal(map.count, map.units);
  assert.match(again.damage.join(), /not the map that the group's record names/);
  assert.equal(dirtyMap(again, 1).count, 0);
});

test("I34, F13: a damaged page is reported, marked, and whole again after the next record", () => {
  const folder = createMemoryFolder();
  fracture(open(folder));
  const bytes = folder.bytesOf("dirty-west-data.map");
  bytes[520] = (bytes[520] ?? 0) ^ 1;
  const store = open(folder);
  const map = dirtyMap(store, 0);
  assert.equal(map.count, map.units);
  assert.equal(store.damage.length, 1);
  save(store);
  const again = open(folder.powerCut());
  assert.deepEqual(again.damage, []);
  assert.equal(dirtyMap(again, 0).count, map.units);
});

test("row 54: a folder of another cluster, group, site, region or other volumes is refused in words", () => {
  const folder = createMemoryFolder();
  open(folder);
  const [data] = sampleRecord().volumes;
  const volumes = [data ?? assert.fail(), { name: "logs", bytes: 16 * MiB }];
  const cases: readonly (readonly [Partial<Fresh>, RegExp])[] = [
    [{ cluster: "other" }, /belongs to the cluster "acme", the configuration is of "other"/],
    [{ group: "shop" }, /holds group "bank" of site "east"/],
    [{ site: "west" }, /holds group "bank" of site "east"/],
    [{ regionBytes: MiB }, /regions of 65536 bytes, the configuration says 1048576/],
    [{ volumes }, /was made with volumes data log, the configuration says data logs/],
    [{ volumes: volumes.toReversed() }, /the configuration says logs data/],
  ];
  folder.ops.length = 0;
  for (const [change, why] of cases) {
    const opened = tryOpen(folder, change);
    assert.match(opened.ok ? "" : opened.error, why);
  }
  assert.ok(
    folder.ops.every((op) => op === "open group.record"),
    "and left as it was",
  );
});

test("row 54: what a volume's size is the record says, and no file; grown, it keeps its marks", () => {
  const folder = createMemoryFolder();
  const [data, log] = sampleRecord().volumes;
  const store = open(folder);
  mark(openMap(store, 0), 1, 1);
  fracture(store);
  const bytes = 2 * (data?.bytes ?? 0);
  growVolume(store, 0, bytes);
  mark(openMap(store, 0), 100, 100);
  mark(dirtyMap(store, 0), 2_000, 2_000);
  assert.equal(writeOpenMaps(store), undefined);
  assert.equal(writeDirtyMaps(store, "west"), undefined);
  save(store);
  // The file that it is opened with says the size of before.
  const again = open(folder);
  assert.deepEqual(again.damage, []);
  assert.deepEqual(again.record.volumes, [{ name: "data", bytes }, log]);
  assert.deepEqual(
    [isMarked(openMap(again, 0), 1), isMarked(openMap(again, 0), 100), openMap(again, 0).units],
    [true, true, 128],
  );
  assert.ok(isMarked(dirtyMap(again, 0), 2_000));
});

test("trap 1: where the images are refused nothing is made, and what is on record is told", () => {
  const folder = createMemoryFolder();
  const told: boolean[] = [];
  const refuse = (_: Fresh["volumes"], isOnRecord: boolean): string => {
    told.push(isOnRecord);
    return "no such image";
  };
  const openWith = (onVolumes: typeof refuse): string => {
    let error = "";
    openGroupStore({ folder, randomBytes, fresh: sampleRecord(), onVolumes }, (opened) => {
      error = opened.ok ? "" : opened.error;
    });
    return error;
  };
  assert.equal(openWith(refuse), "no such image");
  assert.deepEqual(folder.list(), ["group.record"], "and that has nothing in it");
  open(folder);
  assert.equal(openWith(refuse), "no such image");
  assert.deepEqual(told, [false, true]);
});

test("I19, trap 1: every map and name is synced before the record that speaks of it is written", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  folder.ops.length = 0;
  mark(openMap(store, 0), 1, 1);
  fracture(store);
  const record = folder.ops.findIndex((op) => op.startsWith("write group.record"));
  const before = folder.ops.slice(0, record);
  for (const name of ["open-data.map", "dirty-west-data.map", "dirty-west-log.map"]) {
    const lastWrite = before.findLastIndex((op) => op.startsWith(`write ${name}`));
    assert.ok(lastWrite !== -1 && before.lastIndexOf(`synced ${name}`) > lastWrite, name);
  }
  assert.ok(before.includes("synced ."), "the new names");
  assert.ok(!before.includes("sync open-log.map"), "what did not change is not synced");
  // The record itself is synced before anybody is answered (save() asserts the answer), then copied.
  assert.ok(folder.ops.indexOf("synced group.record") > record);
});

test("F4: no power cut shows a record that says dirty without the map that says where", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  const cuts: MemoryFolder[] = [];
  folder.onOp = () => cuts.push(folder.powerCut());
  fracture(store);
  let dirty = 0;
  for (const cut of cuts) {
    const found = open(cut);
    assert.deepEqual(found.damage, []);
    if (found.record.members["west"]?.phase !== "dirty") continue;
    assert.ok(isMarked(dirtyMap(found, 0), 5));
    dirty += 1;
  }
  assert.ok(dirty > 0 && dirty < cuts.length);
});

test("F6: erased maps are gone after the record that no longer names them, whenever power is cut", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  fracture(store);
  const cuts: MemoryFolder[] = [];
  folder.onOp = () => cuts.push(folder.powerCut());
  const member = store.record.members["west"] ?? assert.fail();
  // The order of core/joining.ts: recorded first, erased after.
  member.phase = "synchronized";
  member.dirtyMapIds = [];
  save(store);
  assert.equal(eraseDirtyMaps(store, "west"), undefined);
  assert.deepEqual(
    folder.list().filter((name) => name.startsWith("dirty")),
    [],
  );
  for (const cut of cuts) {
    const found = open(cut);
    const isDirty = found.record.members["west"]?.phase === "dirty";
    assert.equal(found.dirtyMaps.has("west"), isDirty);
    assert.deepEqual(found.damage, []);
    if (isDirty) assert.ok(isMarked(dirtyMap(found, 0), 5));
  }
});

test("I18: marks set while a sync is under way are not taken for durable by that sync", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  folder.holdsSyncs = true;
  const durable: string[] = [];
  mark(openMap(store, 0), 1, 1);
  saveRecord(store, () => durable.push("record"));
  mark(openMap(store, 0), 2, 2);
  syncOpenMaps(store, () => {
    durable.push("open map");
    const found = open(folder.powerCut());
    assert.ok(isMarked(openMap(found, 0), 1) && isMarked(openMap(found, 0), 2));
  });
  assert.deepEqual(durable, []);
  folder.heldSyncs.shift()?.(); // The first sync covers only the first mark.
  assert.deepEqual(durable, []);
  while (folder.heldSyncs.length > 0) folder.heldSyncs.shift()?.();
  assert.deepEqual(durable, ["open map", "record"]);
});

test("I18: who asks for the open maps while they are being synced is not answered before they are", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  folder.holdsSyncs = true;
  mark(openMap(store, 0), 1, 1);
  saveRecord(store, () => undefined);
  let isDurable = false;
  syncOpenMaps(store, () => {
    isDurable = true;
    assert.ok(isMarked(openMap(open(folder.powerCut()), 0), 1));
  });
  assert.equal(isDurable, false);
  while (folder.heldSyncs.length > 0) folder.heldSyncs.shift()?.();
  assert.equal(isDurable, true);
});

test("I18: nothing is synced when nothing changed, and marks taken away are not waited for", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  mark(openMap(store, 0), 1, 1);
  syncOpenMaps(store, () => undefined);
  folder.ops.length = 0;
  let answers = 0;
  syncOpenMaps(store, () => (answers += 1));
  assert.equal(answers, 1);
  assert.deepEqual(folder.ops, []);
  const maps = newDirtyMaps(store);
  mark(maps[0] ?? assert.fail(), 0, 9);
  createDirtyMaps(store, "west", maps);
  save(store);
  folder.ops.length = 0;
  unmark(maps[0] ?? assert.fail(), 0, 8);
  assert.equal(writeDirtyMaps(store, "west"), undefined);
  assert.deepEqual(folder.ops, ["write dirty-west-data.map 512+512"]);
});

test("N5: saves asked for while one runs share the next, which begins when the first has ended", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  folder.holdsSyncs = true;
  folder.ops.length = 0;
  const answered: string[] = [];
  mark(openMap(store, 0), 0, 0);
  saveRecord(store, () => answered.push("first"));
  mark(openMap(store, 1), 0, 0);
  store.record.members["vault"] = blankMember();
  saveRecord(store, () => answered.push("second"));
  saveRecord(store, () => answered.push("third"));
  while (folder.heldSyncs.length > 0 && answered.length === 0) folder.heldSyncs.shift()?.();
  assert.deepEqual(answered, ["first"]);
  while (folder.heldSyncs.length > 0) folder.heldSyncs.shift()?.();
  assert.deepEqual(answered, ["first", "second", "third"]);
  const found = open(folder.powerCut());
  assert.equal(openMap(found, 1).count, 1);
  assert.ok(found.record.members["vault"]);
});

test("row 38: a map that cannot be synced keeps the record from being written", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  mark(openMap(store, 0), 0, 0);
  folder.failSyncs("open-data.map");
  folder.ops.length = 0;
  const told: (string | undefined)[] = [];
  saveRecord(store, (failure) => told.push(failure?.code));
  assert.deepEqual([...told], ["EIO"]);
  assert.ok(!folder.ops.some((op) => op.includes("group.record")));
  mark(openMap(store, 0), 1, 1);
  saveRecord(store, (failure) => told.push(failure?.code));
  syncOpenMaps(store, (failure) => told.push(failure?.code));
  assert.deepEqual(told, ["EIO", "EIO", "EIO"]);
});

test("row 46: a record that is gone, or empty, is not made anew where something tells that there was one", () => {
  for (const left of ["journal-1f-00000001.log", "dirty-west-data.map"]) {
    const folder = createMemoryFolder();
    save(open(folder));
    const other = folder.open(left);
    if ("code" in other) assert.fail(other.message);
    folder.remove("group.record");
    folder.ops.length = 0;
    const opened = tryOpen(folder);
    assert.match(errorOf(opened), new RegExp(`group\\.record is gone.* ${left} is`));
    assert.deepEqual(folder.ops, [], "nothing is changed");
    const empty = folder.open("group.record");
    if ("code" in empty) assert.fail(empty.message);
    assert.match(errorOf(tryOpen(folder)), /group\.record is gone, or empty/);
  }
});

test("row 46: a folder whose record is damaged is refused and not made anew", () => {
  const folder = createMemoryFolder();
  const store = open(folder);
  save(store);
  const bytes = folder.bytesOf("group.record");
  for (const at of [50, limits.recordSlotBytes + 50]) bytes[at] = (bytes[at] ?? 0) ^ 1;
  folder.ops.length = 0;
  const opened = tryOpen(folder);
  assert.match(opened.ok ? "" : opened.error, /both copies of the group's record are damaged/);
  assert.deepEqual(folder.ops, ["open group.record"]);
});
