import { limits } from "#base/limits.ts";
import { generationCounter } from "#core/history.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { nextMarked, runLength } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import { mapKind, readMapFile, readMapIdentity } from "./map-file.ts";
import { openRecordFile } from "./record-file.ts";

// What `antipode inspect` reads from a group's record and maps while no site runs; cli/inspect-logs.ts reads its logs.
// Nothing is changed, not even what is damaged.

export type InspectReport = {
  readonly record: GroupRecord | string;
  readonly generation: number;
  /** One entry for each map file, whether the record names it or not. */
  readonly maps: readonly InspectedMap[];
  /** Runs of marked units of every map: the dirty regions and the open granules. */
  readonly bitmap: readonly InspectedRun[];
  /** Runs beyond `limits.inspectRunsMax`. */
  readonly bitmapNotShown: number;
};

/** What is listed up to a limit, and how much more there is. */
export type Listed<T> = { readonly items: T[]; notShown: number };

export type InspectedMap = {
  readonly file: string;
  readonly kind: "open" | "dirty" | "unreadable";
  readonly unitBytes: number;
  readonly marked: number;
  readonly markedBytes: number;
  /** The group's record names this very file. */
  readonly counts: boolean;
  readonly damage: string;
};

export type InspectedRun = {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
};

/** Reads a group's folder as it lies on the disk. */
export function inspectGroupFolder(folder: Folder): InspectReport {
  const record = readRecord(folder);
  const names = folder.list().filter((name) => name.endsWith(".map"));
  const bitmap: Listed<InspectedRun> = { items: [], notShown: 0 };
  const maps = names.toSorted().map((name) => inspectMap(folder, name, record, bitmap));
  return {
    record,
    generation: typeof record === "string" ? 0 : generationCounter(record.history),
    maps,
    bitmap: bitmap.items,
    bitmapNotShown: bitmap.notShown,
  };
}

function readRecord(folder: Folder): GroupRecord | string {
  if (!folder.exists("group.record")) return "there is no group record in this folder";
  const file = folder.open("group.record");
  if (isFailure(file)) return file.message;
  const opened = openRecordFile(file);
  file.close();
  if (!opened.ok) return opened.error;
  return opened.value.record ?? "the group record was never completed";
}

function inspectMap(
  folder: Folder,
  name: string,
  record: GroupRecord | string,
  bitmap: Listed<InspectedRun>,
): InspectedMap {
  const file = folder.open(name);
  if (isFailure(file)) return unreadable(name, file.message);
  const report = inspectMapFile(file, name, record, bitmap);
  file.close();
  return report;
}

function inspectMapFile(
  file: File,
  name: string,
  record: GroupRecord | string,
  bitmap: Listed<InspectedRun>,
): InspectedMap {
  const identity = readMapIdentity(file);
  if (identity === undefined) return unreadable(name, "its header is damaged");
  if ("code" in identity) return unreadable(name, identity.message);
  // Its header says how large the volume was when the map was made.
  const volumeBytes = Math.max(identity.volumeBytes, bytesOf(record, identity.mapId));
  const loaded = readMapFile(file, { ...identity, volumeBytes });
  if ("code" in loaded) return unreadable(name, loaded.message);
  listRuns(name, loaded.map, bitmap);
  return {
    file: name,
    kind: identity.kind === mapKind.open ? "open" : "dirty",
    unitBytes: identity.unitBytes,
    marked: loaded.map.count,
    markedBytes: loaded.map.count * identity.unitBytes,
    counts: bytesOf(record, identity.mapId) > 0,
    damage: loaded.damage.join("; "),
  };
}

function unreadable(file: string, damage: string): InspectedMap {
  const nothing = { unitBytes: 0, marked: 0, markedBytes: 0, counts: false };
  return { file, kind: "unreadable", ...nothing, damage };
}

/** Of the volume whose map this is; 0 where the record names no such map. */
function bytesOf(record: GroupRecord | string, mapId: number): number {
  if (typeof record === "string") return 0;
  const dirty = Object.values(record.members).map((member) => member.dirtyMapIds);
  const ids = [record.openMapIds, ...dirty].find((some) => some.includes(mapId));
  return ids === undefined ? 0 : (record.volumes[ids.indexOf(mapId)]?.bytes ?? 0);
}

function listRuns(file: string, map: RegionMap, bitmap: Listed<InspectedRun>): void {
  let unit = nextMarked(map, 0);
  while (unit !== -1) {
    const units = runLength(map, unit, map.units);
    if (bitmap.items.length === limits.inspectRunsMax) bitmap.notShown += 1;
    else bitmap.items.push({ file, offset: unit * map.unitBytes, length: units * map.unitBytes });
    unit = nextMarked(map, unit + units);
  }
}
