// Room that is held on the disk of a primary for what it has to write when the disk is full: the dirty maps of a copy that is
// tripped are made before the journal drops a byte (I16, row 40). It is a file without content, `group.reserve`, whose blocks
// are taken; it goes when a map finds no room, and is made again once there is some.

import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { isFailure, isNoRoom } from "#ports/file.ts";
import type { GroupStore } from "./group-store.ts";
import { mapFileBytes } from "./map-file.ts";

const reserveName = "group.reserve";

/** Holds what the dirty maps of all members take that have none; `noReserve` of the store says where there is no room. */
export function keepReserve(store: GroupStore): void {
  const wanted = reserveFor(store);
  if (store.reservedBytes >= wanted) {
    store.noReserve = undefined;
    return;
  }
  const file = store.folder.open(reserveName);
  if (isFailure(file)) {
    store.noReserve = file;
    return;
  }
  const failure = file.allocate(0, wanted);
  file.close();
  // Where the disk takes no room ahead, maps look for theirs as they are made.
  if (failure === "unsupported") store.reservedBytes = Number.POSITIVE_INFINITY;
  else if (failure === undefined) store.reservedBytes = wanted;
  store.noReserve = failure === "unsupported" ? undefined : failure;
}

/** Does what may find no room, once more with the reserve given up. */
export function orFromReserve(
  store: GroupStore,
  write: () => IoFailure | undefined,
): IoFailure | undefined {
  const failure = write();
  if (failure === undefined || !isNoRoom(failure)) return failure;
  // One that is smaller than wanted by now, as behind a restart on a full disk, may be enough for this one.
  if (!store.folder.exists(reserveName) || !Number.isFinite(store.reservedBytes)) return failure;
  store.reservedBytes = 0;
  store.noReserve = failure;
  const again = store.folder.remove(reserveName) ?? write();
  // What was not needed is for the next member, and for nobody who comes first.
  if (again === undefined) keepReserve(store);
  return again;
}

/** Who is no primary trips nobody. */
export function dropReserve(store: GroupStore): void {
  store.reservedBytes = 0;
  store.noReserve = undefined;
  // One that stays behind costs space, and goes with the next start.
  if (store.folder.exists(reserveName)) store.folder.remove(reserveName);
}

function reserveFor({ record, dirtyMaps }: GroupStore): number {
  const members = Math.max(0, Object.keys(record.members).length - dirtyMaps.size);
  let bytes = 0;
  for (const volume of record.volumes) bytes += mapFileBytes(volume.bytes, record.regionBytes);
  return limits.storeReserveBytes + members * bytes;
}
