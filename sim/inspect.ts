import { limits } from "#base/limits.ts";
import type { GroupConfig } from "#config/types.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { anyMarked } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import type { Folder } from "#ports/file.ts";
import { createFullMap, mapKind, readMapFile } from "#store/map-file.ts";
import type { MapIdentity } from "#store/map-file.ts";
import { openRecordFile } from "#store/record-file.ts";
import { viewFolder } from "./disk-files.ts";
import { inodeAt, sectorBytes } from "./disk-state.ts";
import type { DiskState, View } from "./disk-state.ts";

/** What a site's own files say, read by the production readers from its disk as it is or as a power loss would leave it. */
export type FoundGroup = {
  readonly revision: number;
  readonly record: GroupRecord;
  readonly open: readonly RegionMap[];
  /** Dirty maps by site, as far as the record names any. */
  readonly dirty: ReadonlyMap<string, readonly RegionMap[]>;
};

/**
 * Reads a group's files. Undefined when there is no record yet. Throws nothing: what the engine itself would refuse is
 * `refused`.
 */
export function inspectGroup(
  disk: DiskState,
  group: GroupConfig,
  view: View,
): FoundGroup | { readonly refused: string } | undefined {
  const folder = viewFolder(disk, group.name, view);
  const file = folder.open("group.record");
  if (isFailure(file)) return undefined;
  const opened = openRecordFile(file);
  if (!opened.ok) return { refused: opened.error };
  const { record, store } = opened.value;
  if (record === undefined) return undefined;
  const open = group.volumes.map((volume, index) =>
    readMap(folder, `open-${volume.name}.map`, {
      kind: mapKind.open,
      mapId: record.openMapIds[index] ?? 0,
      unitBytes: limits.openGranuleBytes,
      volumeBytes: volume.bytes,
    }),
  );
  const dirty = new Map<string, readonly RegionMap[]>();
  for (const [site, member] of Object.entries(record.members)) {
    if (member.dirtyMapIds.length === 0) continue;
    dirty.set(
      site,
      group.volumes.map((volume, index) =>
        readMap(folder, `dirty-${site}-${volume.name}.map`, {
          kind: mapKind.dirty,
          mapId: member.dirtyMapIds[index] ?? 0,
          unitBytes: record.regionBytes,
          volumeBytes: volume.bytes,
        }),
      ),
    );
  }
  return { revision: store.revision, record, open, dirty };
}

/** Reads a group's files, unless nothing in its folder has changed since the last time. */
export class Inspector {
  readonly #found = new Map<string, { signature: string; result: ReturnType<typeof inspectGroup> }>();

  inspect(site: string, disk: DiskState, group: GroupConfig, view: View): ReturnType<typeof inspectGroup> {
    const key = `${site} ${group.name} ${view}`;
    const signature = signatureOf(disk, group.name, view);
    const known = this.#found.get(key);
    if (known?.signature === signature) return known.result;
    const result = inspectGroup(disk, group, view);
    this.#found.set(key, { signature, result });
    return result;
  }
}

export function isCovered(map: RegionMap | undefined, sector: number): boolean {
  if (map === undefined) return false;
  const unit = Math.floor((sector * sectorBytes) / map.unitBytes);
  return anyMarked(map, unit, unit);
}

/** A map that the record names and that cannot be read counts as marked throughout, as it does for the engine. */
function readMap(folder: Folder, name: string, identity: MapIdentity): RegionMap {
  const file = folder.open(name);
  const loaded = isFailure(file) ? file : readMapFile(file, identity);
  return "code" in loaded ? createFullMap(identity.volumeBytes, identity.unitBytes) : loaded.map;
}

function signatureOf(disk: DiskState, path: string, view: View): string {
  const folder = disk.folders.get(path);
  const names = (view === "current" ? folder?.names : folder?.durableNames) ?? new Map<string, number>();
  let signature = "";
  for (const name of names.keys()) {
    const inode = inodeAt(disk, path, name, view);
    if (inode === undefined) continue;
    signature += `${inode.id}.${view === "current" ? inode.version : inode.durableVersion} `;
  }
  return signature;
}
