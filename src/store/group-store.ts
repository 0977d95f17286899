// The folder of a group at one site:
//
//    group.record                 who this site is and what it knows of the others     store/record-file.ts
//    open-<volume>.map            granules not known synced at every member            store/map-file.ts
//    dirty-<site>-<volume>.map    regions that <site> lacks; there only while it does
//    journal-<id>-<n>.log         at a primary with copies that are fed from it          store/log-format.ts
//    staging-<id>-<n>.log         at a copy that takes sets: what has come of them       store/log-format.ts
//    bunker-<id>-<n>.log          at a bunker, which has neither maps nor images: the group's log
//    log.owner                    beside a bunker's log on a path: whose that is         store/owner-file.ts
//    preserve-<id>-<n>.log        what a resync overwrote here                           store/preserve-log.ts
//    branch-<id>-<n>.log          what was overwritten of a side that was given up       store/preserve-log.ts
//    group.reserve                room for dirty maps, given up when the disk is full    store/reserve.ts
//    <volume>.img                 the image, unless the configuration places it elsewhere
//
// A dirty map counts only under the id that the record names. What the record names and the folder lacks counts as
// marked throughout, and is reported: over-marking costs a comparison.

import { must } from "#base/assert.ts";
import { hex, viewOf } from "#base/bytes.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { growMap } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import {
  allocateMap,
  createFullMap,
  mapKind,
  readMapFile,
  writeMapHeader,
  writeMapPages,
} from "./map-file.ts";
import type { MapIdentity } from "./map-file.ts";
import { mismatchOf } from "./record-mismatch.ts";
import { encodeRecord, openRecordFile, writeEncoded } from "./record-file.ts";
import type { RecordFile } from "./record-file.ts";

type Done = (failure: IoFailure | undefined) => void;

export type GroupStore = {
  readonly folder: Folder;
  readonly recordFile: RecordFile;
  readonly record: GroupRecord;
  readonly openMaps: readonly MapOnDisk[];
  /** By site, then by volume index. */
  readonly dirtyMaps: Map<string, readonly MapOnDisk[]>;
  /** Places found damaged at start, in words. */
  readonly damage: readonly string[];
  readonly randomId: () => number;
  /** Room that is held for maps that a full disk would have none for (store/reserve.ts), and why there is less than wanted. */
  reservedBytes: number;
  noReserve?: IoFailure | undefined;
  /** A file came or went since the folder was last synced. */
  isFolderDirty: boolean;
  isSaving: boolean;
  readonly saveWaiters: Done[];
};

export type MapOnDisk = {
  readonly file: File;
  readonly map: RegionMap;
  readonly mapId: number;
  /** Times that pages or the header were handed to the file, and how many of them a finished sync covers. */
  writes: number;
  syncedWrites: number;
};

export type StoreOptions = {
  readonly folder: Folder;
  readonly randomBytes: (count: number) => Uint8Array;
  /** What the record is when there is none yet; map ids are filled in here, and a `replicaId` that is not given. */
  readonly fresh: Omit<GroupRecord, "replicaId" | "openMapIds"> &
    Partial<Pick<GroupRecord, "replicaId">>;
  /**
   * Told which volumes there are, and whether that is on record: what the record says of their sizes counts, and not what
   * `fresh` does. Nothing has been made yet: what it answers, other than nothing, is why nothing is to be.
   */
  readonly onVolumes?: (volumes: GroupRecord["volumes"], isOnRecord: boolean) => string | undefined;
};

export type OpenedStore =
  | { readonly ok: true; readonly value: GroupStore }
  | {
      readonly ok: false;
      readonly error: string;
      /** There was nothing yet, and it could not be made: by a later try nobody loses anything. */
      readonly notMade?: IoFailure;
    };

const recordName = "group.record";
const openName = (volume: string): string => `open-${volume}.map`;
const dirtyName = (site: string, volume: string): string => `dirty-${site}-${volume}.map`;
/** What is made only once a record is durable, so that it tells of one that is gone. */
const madeLater = /^(?:dirty-.+\.map|(?:journal|staging|bunker|preserve|branch)-.+\.log)$/;

/** Opens what the folder holds, or makes it. `done` gets the store once it is durable, or why it cannot be had. */
export function openGroupStore(options: StoreOptions, done: (result: OpenedStore) => void): void {
  const { folder } = options;
  const isNew = !folder.exists(recordName);
  const left = folder.list().find((name) => madeLater.test(name));
  if (isNew && left !== undefined) return done(recordGone(folder, left));
  const file = folder.open(recordName);
  if (isFailure(file)) return done(isNew ? notMade(file) : { ok: false, error: file.message });
  const opened = openRecordFile(file);
  if (!opened.ok) return done(opened);
  const randomId = (): number => viewOf(options.randomBytes(4)).getUint32(0, true);
  const { store: recordFile, record } = opened.value;
  const mismatch = record && mismatchOf(record, options.fresh);
  if (mismatch !== undefined) return done({ ok: false, error: `${folder.path}: ${mismatch}` });
  if (record === undefined && left !== undefined) return done(recordGone(folder, left));
  const { volumes } = record ?? options.fresh;
  const refused = options.onVolumes?.(volumes, record !== undefined);
  if (refused !== undefined) return done({ ok: false, error: refused });
  if (record === undefined) return createStore(options, recordFile, randomId, done);
  const loaded = loadStore(folder, recordFile, record, randomId);
  if (loaded.ok) syncWhatIsThere(loaded.value, done);
  else done(loaded);
}

/**
 * What was found may lie in the page cache alone, when the last process was killed between a write and its sync. Nothing may
 * rest on it before it is synced: not a write into a granule that looks open, not a generation that others are told.
 */
function syncWhatIsThere(store: GroupStore, done: (result: Result<GroupStore>) => void): void {
  const maps = [...store.openMaps, ...[...store.dirtyMaps.values()].flat()];
  syncFiles(maps, (failure) => {
    if (failure !== undefined) return done({ ok: false, error: failure.message });
    store.recordFile.file.sync((notSynced) => {
      if (notSynced === undefined) done({ ok: true, value: store });
      else done({ ok: false, error: notSynced.message });
    });
  });
}

// Made anew it would be of another history, and what the others know of this site would be of a disk that is not here.
function recordGone({ path }: Folder, left: string): OpenedStore {
  const back = `put ${recordName} back, as it was when ${left} was last written`;
  const anew =
    "if it is lost: promote a copy, move this folder away, and this site begins anew as a blank copy";
  return {
    ok: false,
    error: `${path}: ${recordName} is gone, or empty, and ${left} is there: ${back}; ${anew}`,
  };
}

function notMade(failure: IoFailure): OpenedStore {
  return { ok: false, error: failure.message, notMade: failure };
}

function createStore(
  options: StoreOptions,
  recordFile: RecordFile,
  randomId: () => number,
  done: (result: OpenedStore) => void,
): void {
  const { folder, fresh } = options;
  const record: GroupRecord = {
    ...fresh,
    replicaId: fresh.replicaId ?? hex(options.randomBytes(16)),
    // Who keeps no volume has nothing open.
    openMapIds: fresh.role === "bunker" ? [] : fresh.volumes.map(randomId),
  };
  const openMaps: MapOnDisk[] = [];
  for (const [index, volume] of record.openMapIds.length === 0 ? [] : fresh.volumes.entries()) {
    const created = createMap(folder, openName(volume.name), {
      kind: mapKind.open,
      mapId: record.openMapIds[index] ?? 0,
      unitBytes: limits.openGranuleBytes,
      volumeBytes: volume.bytes,
    });
    if ("code" in created) return done({ ok: false, error: created.message });
    openMaps.push(created);
  }
  const store = newStore({ folder, recordFile, record, openMaps, randomId });
  store.isFolderDirty = true;
  syncOpenMaps(store, (failure) => {
    if (failure !== undefined) return done({ ok: false, error: failure.message });
    saveRecord(store, (notSaved) => {
      done(notSaved === undefined ? { ok: true, value: store } : notMade(notSaved));
    });
  });
}

function newStore(
  parts: Pick<GroupStore, "folder" | "recordFile" | "record" | "openMaps" | "randomId">,
  damage: readonly string[] = [],
  dirtyMaps: GroupStore["dirtyMaps"] = new Map(),
): GroupStore {
  // A map that was missing has been made anew: its name is to be synced.
  const isFolderDirty = damage.length > 0;
  const saving = { isSaving: false, saveWaiters: [] };
  return { ...parts, damage, dirtyMaps, reservedBytes: 0, isFolderDirty, ...saving };
}

function loadStore(
  folder: Folder,
  recordFile: RecordFile,
  record: GroupRecord,
  randomId: () => number,
): Result<GroupStore> {
  const damage: string[] = [];
  const openMaps = loadMaps(
    folder,
    record,
    { kind: mapKind.open, ids: record.openMapIds, nameOf: openName, randomId },
    damage,
  );
  if (!openMaps.ok) return openMaps;
  const dirtyMaps: GroupStore["dirtyMaps"] = new Map();
  for (const [site, member] of Object.entries(record.members)) {
    if (member.dirtyMapIds.length === 0) continue;
    const nameOf = (volume: string): string => dirtyName(site, volume);
    const maps = loadMaps(
      folder,
      record,
      { kind: mapKind.dirty, ids: member.dirtyMapIds, nameOf, randomId },
      damage,
    );
    if (!maps.ok) return maps;
    dirtyMaps.set(site, maps.value);
  }
  return {
    ok: true,
    value: newStore(
      { folder, recordFile, record, openMaps: openMaps.value, randomId },
      damage,
      dirtyMaps,
    ),
  };
}

function loadMaps(
  folder: Folder,
  record: GroupRecord,
  which: {
    readonly kind: MapIdentity["kind"];
    /** The record's own list: a map that must be made anew gets a new id there, which counts once the record is saved. */
    readonly ids: number[];
    readonly nameOf: (volume: string) => string;
    readonly randomId: () => number;
  },
  damage: string[],
): Result<MapOnDisk[]> {
  const maps: MapOnDisk[] = [];
  if (record.role === "bunker") return { ok: true, value: maps };
  for (const [index, volume] of record.volumes.entries()) {
    const identity: MapIdentity = {
      kind: which.kind,
      mapId: which.ids[index] ?? 0,
      unitBytes: which.kind === mapKind.open ? limits.openGranuleBytes : record.regionBytes,
      volumeBytes: volume.bytes,
    };
    const name = which.nameOf(volume.name);
    const loaded =
      loadMap(folder, name, identity, damage) ?? replaceMap(folder, name, identity, which);
    which.ids[index] = "code" in loaded ? identity.mapId : loaded.mapId;
    if ("code" in loaded) return { ok: false, error: loaded.message };
    maps.push(loaded);
  }
  return { ok: true, value: maps };
}

// Undefined when there is no such map, or one that is not ours: it must be made anew.
function loadMap(
  folder: Folder,
  name: string,
  identity: MapIdentity,
  damage: string[],
): MapOnDisk | IoFailure | undefined {
  if (!folder.exists(name)) {
    damage.push(`${folder.path}/${name} is missing; every region of it counts as marked`);
    return undefined;
  }
  const file = folder.open(name);
  if (isFailure(file)) return file;
  const loaded = readMapFile(file, identity);
  if ("code" in loaded) return loaded;
  damage.push(...loaded.damage);
  // One that was made before files were allocated; where there is no room, its pages look for theirs as they did.
  void allocateMap(file, identity);
  if (loaded.isForeign) {
    file.close();
    return undefined;
  }
  return { file, map: loaded.map, mapId: identity.mapId, writes: 1, syncedWrites: 0 };
}

// Under a new id: a power cut that keeps the new header and loses the marks must not leave an empty map that counts.
function replaceMap(
  folder: Folder,
  name: string,
  identity: MapIdentity,
  which: { readonly randomId: () => number },
): MapOnDisk | IoFailure {
  const created = createMap(folder, name, { ...identity, mapId: which.randomId() });
  if ("code" in created) return created;
  return { ...created, map: createFullMap(identity.volumeBytes, identity.unitBytes) };
}

function createMap(folder: Folder, name: string, identity: MapIdentity): MapOnDisk | IoFailure {
  if (folder.exists(name)) {
    const failure = folder.remove(name);
    if (failure !== undefined) return failure;
  }
  const file = folder.open(name);
  if (isFailure(file)) return file;
  const failure = allocateMap(file, identity) ?? writeMapHeader(file, identity);
  const loaded = failure ?? readMapFile(file, identity);
  if (!("code" in loaded))
    return { file, map: loaded.map, mapId: identity.mapId, writes: 1, syncedWrites: 0 };
  // An open file keeps its room, whoever removes its name to try again.
  file.close();
  return loaded;
}

/**
 * A volume has become larger: record and maps say so from now on, and on the disk once the record is saved. The maps' files
 * need nothing: what they have no marks for is not marked.
 */
export function growVolume(store: GroupStore, index: number, bytes: number): void {
  const { record } = store;
  record.volumes = record.volumes.map((volume, i) => (i === index ? { ...volume, bytes } : volume));
  for (const maps of [store.openMaps, ...store.dirtyMaps.values()]) {
    const onDisk = maps[index];
    if (onDisk === undefined) continue;
    growMap(onDisk.map, bytes);
    void allocateMap(onDisk.file, { volumeBytes: bytes, unitBytes: onDisk.map.unitBytes });
  }
}

// --------------------------------------------------------------------------------------- open maps

/** Hands changed pages of the open maps to their files. */
export function writeOpenMaps(store: GroupStore): IoFailure | undefined {
  for (const open of store.openMaps) {
    const failure = writePages(open);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

/** Makes the open maps durable as they are now. */
export function syncOpenMaps(store: GroupStore, done: Done): void {
  const failure = writeOpenMaps(store);
  if (failure !== undefined) return done(failure);
  syncFiles(store.openMaps, done);
}

function writePages(onDisk: MapOnDisk): IoFailure | undefined {
  if (onDisk.map.unwritten.size === 0) return undefined;
  onDisk.writes += 1;
  return writeMapPages(onDisk.file, onDisk.map, onDisk.mapId);
}

function syncFiles(maps: readonly MapOnDisk[], done: Done): void {
  // What a sync under way covers is not durable yet: whoever comes meanwhile waits for a sync of his own.
  const unsynced = maps.filter((onDisk) => onDisk.syncedWrites < onDisk.writes);
  let missing = unsynced.length;
  let failure: IoFailure | undefined;
  if (missing === 0) return done(undefined);
  for (const onDisk of unsynced) {
    const covered = onDisk.writes;
    onDisk.file.sync((failed) => {
      failure ??= failed;
      if (failed === undefined) onDisk.syncedWrites = Math.max(onDisk.syncedWrites, covered);
      missing -= 1;
      if (missing === 0) done(failure);
    });
  }
}

// -------------------------------------------------------------------------------------- dirty maps

/**
 * Makes files for a member's dirty maps, which are new, and names them in the record. They count once the record is
 * saved.
 */
export function createDirtyMaps(
  store: GroupStore,
  site: string,
  maps: readonly RegionMap[],
): IoFailure | undefined {
  const { record } = store;
  const member = must(record.members[site], `the record knows no member ${site}`);
  member.dirtyMapIds = maps.map(store.randomId);
  for (const old of store.dirtyMaps.get(site) ?? []) old.file.close();
  const onDisk: MapOnDisk[] = [];
  for (const [index, map] of maps.entries()) {
    const volume = must(record.volumes[index], `there is no volume ${index}`);
    const created = createMap(store.folder, dirtyName(site, volume.name), {
      kind: mapKind.dirty,
      mapId: member.dirtyMapIds[index] ?? 0,
      unitBytes: record.regionBytes,
      volumeBytes: volume.bytes,
    });
    if ("code" in created) {
      for (const made of onDisk) made.file.close();
      return created;
    }
    onDisk.push({ ...created, map });
  }
  store.dirtyMaps.set(site, onDisk);
  store.isFolderDirty = true;
  return writeDirtyMaps(store, site);
}

/** Hands changed pages of a member's dirty maps to their files. */
export function writeDirtyMaps(store: GroupStore, site: string): IoFailure | undefined {
  for (const onDisk of store.dirtyMaps.get(site) ?? []) {
    const failure = writePages(onDisk);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

/** The record does not name these maps any more: their files go. That they may come back after a crash does no harm. */
export function eraseDirtyMaps(store: GroupStore, site: string): IoFailure | undefined {
  const maps = store.dirtyMaps.get(site);
  store.dirtyMaps.delete(site);
  let failure: IoFailure | undefined;
  for (const [index, onDisk] of (maps ?? []).entries()) {
    onDisk.file.close();
    failure ??= store.folder.remove(dirtyName(site, store.record.volumes[index]?.name ?? ""));
  }
  store.isFolderDirty = true;
  return failure;
}

// ------------------------------------------------------------------------------------------ record

/**
 * Makes the record durable as it is, and before it everything that it speaks of: dirty maps, open maps, names. So a
 * record that says `dirty` never stands without the map that says where (trap 1). One save runs at a time: a second one
 * that found the maps' syncs under way would otherwise write a record ahead of them. Calls that come meanwhile share
 * the next save.
 */
export function saveRecord(store: GroupStore, done: Done): void {
  store.saveWaiters.push(done);
  if (!store.isSaving) saveNext(store);
}

function saveNext(store: GroupStore): void {
  const waiters = store.saveWaiters.splice(0);
  store.isSaving = waiters.length > 0;
  if (!store.isSaving) return;
  save(store, (failure) => {
    for (const waiter of waiters) waiter(failure);
    saveNext(store);
  });
}

function save(store: GroupStore, done: Done): void {
  // As it is now: what comes while the maps are being synced may speak of maps that this save does not cover.
  const body = encodeRecord(store.record);
  const maps = [...store.openMaps, ...[...store.dirtyMaps.values()].flat()];
  for (const onDisk of maps) {
    const failure = writePages(onDisk);
    if (failure !== undefined) return done(failure);
  }
  syncFiles(maps, (failure) => {
    if (failure !== undefined) return done(failure);
    syncNames(store, (notSynced) => {
      if (notSynced !== undefined) return done(notSynced);
      writeEncoded(store.recordFile, body, done);
    });
  });
}

function syncNames(store: GroupStore, done: Done): void {
  if (!store.isFolderDirty) return done(undefined);
  store.isFolderDirty = false;
  store.folder.sync(done);
}

export function closeGroupStore(store: GroupStore): void {
  for (const open of store.openMaps) open.file.close();
  for (const maps of store.dirtyMaps.values()) for (const onDisk of maps) onDisk.file.close();
  store.recordFile.file.close();
}
