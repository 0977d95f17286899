import type { IoFailure } from "#base/errors.ts";
import type { File, Folder } from "#ports/file.ts";
import type { GroupStore, StoreOptions } from "./group-store.ts";

const noReplica = "";

/** Nothing of the group is on the disk yet. */
export function isUnmade({ record }: GroupStore): boolean {
  return record.replicaId === noReplica;
}

/**
 * What a group has whose folder could not be made, for want of room: its record as it would be, and nothing on the disk.
 * Whatever is to be kept there is refused with the same failure.
 */
export function createUnmadeStore(fresh: StoreOptions["fresh"], failure: IoFailure): GroupStore {
  const refuse = (): IoFailure => failure;
  const file: File = {
    path: "",
    bytes: () => 0,
    read: refuse,
    readLater: (_offset, _into, done) => done(failure),
    write: refuse,
    allocate: refuse,
    sync: (done) => done(failure),
    close: () => undefined,
  };
  const folder: Folder = {
    path: "",
    list: () => [],
    open: refuse,
    exists: () => false,
    remove: refuse,
    rename: refuse,
    sync: (done) => done(failure),
  };
  return {
    folder,
    recordFile: { file, revision: 0, writing: false, next: undefined, failure },
    record: { ...fresh, replicaId: noReplica, openMapIds: [] },
    openMaps: [],
    dirtyMaps: new Map(),
    damage: [],
    randomId: () => 0,
    reservedBytes: 0,
    isFolderDirty: false,
    isSaving: false,
    saveWaiters: [],
  };
}
