import { limits } from "#base/limits.ts";
import type { GroupConfig } from "#config/types.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { isMarked } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import type { File } from "#ports/file.ts";
import { createFullMap, mapKind, readMapFile } from "#store/map-file.ts";
import type { MapIdentity } from "#store/map-file.ts";
import { readRecordText } from "#store/record-file.ts";
import { viewFolder } from "./disk-files.ts";
import { inodeAt, sectorBytes } from "./disk-state.ts";
import type { DiskState, View } from "./disk-state.ts";

/** A group's record as it lies on a disk, read by the production reader. */
export type FoundRecord =
  | { readonly kind: "none" }
  /** The engine would refuse to start from this. */
  | { readonly kind: "refused"; readonly why: string }
  | { readonly kind: "found"; readonly revision: number; readonly record: GroupRecord };

/** What was read from a file, and which file in which state that was; without an id it was not there. */
type Parsed = {
  readonly id: number | undefined;
  readonly version: number | undefined;
  readonly mapId: number;
  readonly value: unknown;
};

/**
 * Reads the files of one site and group as they are, or as a power loss would leave them, with the engine's own readers. Every
 * file is parsed anew only when it has changed.
 */
export class Inspector {
  readonly #disk: () => DiskState;
  readonly #group: GroupConfig;
  #newest: { readonly text: string; readonly record: GroupRecord } | undefined;
  readonly #parsed = { current: new Map<string, Parsed>(), durable: new Map<string, Parsed>() };

  constructor(disk: () => DiskState, group: GroupConfig) {
    this.#disk = disk;
    this.#group = group;
  }

  record(view: View): FoundRecord {
    return this.#parse("group.record", view, 0, (file) => this.#readRecord(file));
  }

  /** The open map of a volume; undefined while there is no record. */
  open(view: View, volume: number): RegionMap | undefined {
    const found = this.record(view);
    const config = this.#group.volumes[volume];
    if (found.kind !== "found" || config === undefined) return undefined;
    return this.#map(view, `open-${config.name}.map`, {
      kind: mapKind.open,
      mapId: found.record.openMapIds[volume] ?? 0,
      unitBytes: limits.openGranuleBytes,
      volumeBytes: found.record.volumes[volume]?.bytes ?? config.bytes,
    });
  }

  /** The dirty map towards a site, or undefined when the record names none. */
  dirty(view: View, site: string, volume: number): RegionMap | undefined {
    const found = this.record(view);
    const config = this.#group.volumes[volume];
    const mapId =
      found.kind === "found" ? found.record.members[site]?.dirtyMapIds[volume] : undefined;
    if (found.kind !== "found" || config === undefined || mapId === undefined) return undefined;
    return this.#map(view, `dirty-${site}-${config.name}.map`, {
      kind: mapKind.dirty,
      mapId,
      unitBytes: found.record.regionBytes,
      volumeBytes: found.record.volumes[volume]?.bytes ?? config.bytes,
    });
  }

  #readRecord(file: File | undefined): FoundRecord {
    const found = file === undefined ? undefined : readRecordText(file);
    if (found?.ok === false) return { kind: "refused", why: found.error };
    const { revision = 0, text } = found?.value ?? {};
    if (text === undefined) return { kind: "none" };
    // Each revision is written twice, and read in two views.
    if (this.#newest?.text !== text)
      this.#newest = { text, record: JSON.parse(text) as GroupRecord };
    return { kind: "found", revision, record: this.#newest.record };
  }

  #map(view: View, name: string, identity: MapIdentity): RegionMap {
    return this.#parse(name, view, identity.mapId, (file) => readMap(file, identity));
  }

  #parse<T>(name: string, view: View, mapId: number, read: (file: File | undefined) => T): T {
    const disk = this.#disk();
    const inode = inodeAt(disk, this.#group.name, name, view);
    const version = view === "current" ? inode?.version : inode?.durableVersion;
    const found = this.#parsed[view].get(name);
    if (found?.id === inode?.id && found?.version === version && found?.mapId === mapId)
      return found.value as T;
    const file = viewFolder(disk, this.#group.name, view).open(name);
    const value = read(isFailure(file) ? undefined : file);
    this.#parsed[view].set(name, { id: inode?.id, version, mapId, value });
    return value;
  }
}

/** Whether a map marks a sector. A map that is not there marks nothing. */
export function isCovered(map: RegionMap | undefined, sector: number): boolean {
  return map !== undefined && isMarked(map, Math.floor((sector * sectorBytes) / map.unitBytes));
}

// A map that the record names and that cannot be read counts as marked throughout, as it does for the engine.
function readMap(file: File | undefined, identity: MapIdentity): RegionMap {
  const loaded = file === undefined ? undefined : readMapFile(file, identity);
  if (loaded === undefined || "code" in loaded)
    return createFullMap(identity.volumeBytes, identity.unitBytes);
  return loaded.map;
}
