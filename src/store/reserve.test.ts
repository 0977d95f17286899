import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "#base/limits.ts";
import { blankMember } from "#core/group-record.ts";
import { createRegionMap } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { count } from "../../test/support/claims.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { createLogWorld } from "../../test/support/log-world.ts";
import type { LogWorld } from "../../test/support/log-world.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { createDirtyMaps, openGroupStore, saveRecord } from "./group-store.ts";
import type { GroupStore, OpenedStore } from "./group-store.ts";
import { createFullMap } from "./map-file.ts";
import { dropReserve, keepReserve, orFromReserve } from "./reserve.ts";

function openStore(world: LogWorld, folder = world.folder()): GroupStore {
  let drawn = 0;
  const randomBytes = (bytes: number): Uint8Array => {
    drawn += 1;
    return new Uint8Array(bytes).fill(drawn);
  };
  const members = { west: blankMember(), north: blankMember() };
  const fresh = sampleRecord({ members, volumes: [{ name: "data", bytes: 4096 * MiB }] });
  const opened = world.run<OpenedStore>((done) =>
    openGroupStore({ folder, randomBytes, fresh }, done),
  );
  return opened.ok ? opened.value : assert.fail(opened.error);
}

function fullMaps({ record }: GroupStore): RegionMap[] {
  return record.volumes.map(({ bytes }) => createFullMap(bytes, record.regionBytes));
}

test("row 40, I16: on a full disk every copy gets its dirty map, whole and durable, from what was held for it, and a revision as well", () => {
  const world = createLogWorld();
  const store = openStore(world);
  const { disk } = world;
  keepReserve(store);
  assert.equal(store.noReserve, undefined);
  disk.behaviour.spaceBytes = disk.usedBytes();
  for (const site of ["west", "north"]) {
    const make = () => createDirtyMaps(store, site, fullMaps(store));
    assert.equal(orFromReserve(store, make), undefined, site);
    assert.equal(
      world.run<unknown>((done) => saveRecord(store, done)),
      undefined,
    );
    assert.equal(store.noReserve, undefined, "what the first left is enough");
  }
  assert.ok(disk.failures >= 1, "the disk was full");
  count("row 40", { faultsInjected: 2, effectsSeen: 2 });
});

test("row 40: without room nothing is held, which is said, and asked for again; other failures cost no reserve", () => {
  const world = createLogWorld();
  const store = openStore(world);
  const { disk } = world;
  disk.behaviour.spaceBytes = disk.usedBytes();
  keepReserve(store);
  assert.equal(store.noReserve?.code, "ENOSPC");
  const make = () => createDirtyMaps(store, "west", fullMaps(store));
  assert.equal(orFromReserve(store, make)?.code, "ENOSPC", "there is nothing to give");
  disk.behaviour.spaceBytes = Infinity;
  keepReserve(store);
  assert.equal(store.noReserve, undefined);
  const held = store.reservedBytes;
  assert.equal(orFromReserve(store, () => ({ code: "EIO", message: "broken" }))?.code, "EIO");
  assert.equal(store.reservedBytes, held);
});

test("row 40, I16: behind a restart on a full disk, what is held is for whom it is enough, though it is less than wanted by now", () => {
  const world = createLogWorld();
  const before = openStore(world);
  keepReserve(before);
  before.record.members["south"] = blankMember();
  assert.equal(
    world.run<unknown>((done) => saveRecord(before, done)),
    undefined,
  );
  world.disk.behaviour.spaceBytes = world.disk.usedBytes();
  world.kill();
  const store = openStore(world);
  keepReserve(store);
  assert.equal(store.noReserve?.code, "ENOSPC");
  const make = () => createDirtyMaps(store, "west", fullMaps(store));
  assert.equal(orFromReserve(store, make), undefined);
  assert.equal(
    world.run<unknown>((done) => saveRecord(store, done)),
    undefined,
  );
});

test("row 40: who is no primary any more holds nothing", () => {
  const world = createLogWorld();
  const store = openStore(world);
  const used = world.disk.usedBytes();
  keepReserve(store);
  assert.ok(world.disk.usedBytes() > used);
  dropReserve(store);
  assert.equal(world.disk.usedBytes(), used);
  keepReserve(store);
  assert.ok(world.disk.usedBytes() > used, "and holds it again as soon as it is one");
});

test("where the disk takes no room ahead, nothing is held, and nothing is said", () => {
  const world = createLogWorld();
  const store = openStore(world, createMemoryFolder());
  keepReserve(store);
  assert.equal(store.noReserve, undefined);
  const maps = store.record.volumes.map(({ bytes }) =>
    createRegionMap(bytes, store.record.regionBytes),
  );
  assert.equal(
    orFromReserve(store, () => createDirtyMaps(store, "west", maps)),
    undefined,
  );
});
