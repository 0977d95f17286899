// What is measured: the rows, in the order in which they run, and the floors that Antipode has to keep.

import { GiB, KiB, MiB } from "#base/limits.ts";

export type SocketKind = "unix" | "tcp";

/** Writes at random places, always `depth` of them under way. */
export type Load = { readonly name: string; readonly blockBytes: number; readonly depth: number };

/** What a stage's images are before it starts: every byte written with random data, or nothing written at all. */
export type Volume = {
  readonly bytes: number;
  readonly isFilled: boolean;
  /** The page cache lets go of it before the servers start, so that nothing is left there of how it was filled. */
  readonly isDropped: boolean;
};

export type ContenderName =
  | "antipode"
  | "antipode-mirror"
  | "antipode-async"
  | "nbdkit"
  | "qemu-mirror"
  | "qemu-background";

/** One line of the table: one load, put on Antipode and on its peer in turn. */
export type Row = {
  /** Such as `unix mirrored 4k depth 32`; what `--rows` matches. */
  readonly id: string;
  readonly ours: ContenderName;
  readonly peer: ContenderName;
  readonly load: Load;
  /** Writes fall into this many bytes from the volume's start. */
  readonly areaBytes: number;
  /** Antipode must do at least this many times what the peer does; undefined where nothing is promised. */
  readonly floor: number | undefined;
};

/** Rows that share running servers. */
export type Stage = {
  readonly socket: SocketKind;
  readonly volume: Volume;
  readonly rows: readonly Row[];
};

const small: Load = { name: "4k depth 1", blockBytes: 4 * KiB, depth: 1 };
const deep: Load = { name: "4k depth 32", blockBytes: 4 * KiB, depth: 32 };
const large: Load = { name: "1m depth 4", blockBytes: 1 * MiB, depth: 4 };

const filled: Volume = { bytes: 1 * GiB, isFilled: true, isDropped: false };
const dropped: Volume = { ...filled, isDropped: true };
const sparse: Volume = { bytes: 64 * GiB, isFilled: false, isDropped: false };

/** The stages whose rows' ids match; stages without any are left out. */
export function planStages(pattern: RegExp): readonly Stage[] {
  const stages: readonly Stage[] = [
    { socket: "unix", volume: filled, rows: socketRows("unix") },
    { socket: "tcp", volume: filled, rows: socketRows("tcp") },
    { socket: "unix", volume: filled, rows: asyncRows("unix") },
    { socket: "tcp", volume: filled, rows: asyncRows("tcp") },
    { socket: "unix", volume: dropped, rows: droppedRows() },
    { socket: "unix", volume: sparse, rows: openMapRows() },
  ];
  return stages
    .map((stage) => ({ ...stage, rows: stage.rows.filter(({ id }) => pattern.test(id)) }))
    .filter(({ rows }) => rows.length > 0);
}

function socketRows(socket: SocketKind): readonly Row[] {
  const plain = [small, deep, large].map((load) => ({
    id: `${socket} plain ${load.name}`,
    ours: "antipode" as const,
    peer: "nbdkit" as const,
    load,
    areaBytes: filled.bytes,
    floor: load === deep ? 1.3 : undefined,
  }));
  const mirrored = [small, deep, large].map((load) => ({
    id: `${socket} mirrored ${load.name}`,
    ours: "antipode-mirror" as const,
    peer: "qemu-mirror" as const,
    load,
    areaBytes: filled.bytes,
    floor: mirrorFloor(socket, load),
  }));
  return [...plain, ...mirrored];
}

/** An ordered copy that follows, beside QEMU's unordered one, and beside an export that is not replicated at all. */
function asyncRows(socket: SocketKind): readonly Row[] {
  const floors = new Map([
    [small, 1.5],
    [deep, 3],
    [large, 0.7],
  ]);
  const against = (peer: ContenderName, load: Load): Row => ({
    id: `${socket} async ${load.name}${peer === "nbdkit" ? ", beside a plain export" : ""}`,
    ours: "antipode-async",
    peer,
    load,
    areaBytes: filled.bytes,
    floor: peer === "nbdkit" ? undefined : floors.get(load),
  });
  return [
    ...[small, deep, large].map((load) => against("qemu-background", load)),
    against("nbdkit", deep),
  ];
}

function mirrorFloor(socket: SocketKind, load: Load): number {
  if (load === large) return 1.1;
  if (load === small) return 1.2;
  return socket === "unix" ? 2 : 3;
}

/**
 * Whoever filled an image also laid out the page cache, and small writes into the large units of a copy program are dear.
 * Antipode lets the cache go when it opens an image, its peers do not; here everybody starts without it.
 */
function droppedRows(): readonly Row[] {
  return (["plain", "mirrored"] as const).map((kind) => ({
    id: `unix ${kind} ${deep.name}, cold cache`,
    ours: kind === "plain" ? ("antipode" as const) : ("antipode-mirror" as const),
    peer: kind === "plain" ? ("nbdkit" as const) : ("qemu-mirror" as const),
    load: deep,
    areaBytes: dropped.bytes,
    floor: undefined,
  }));
}

/** A write to a granule that is not open waits for a sync of the open map. Uniform over 64 GiB, nearly every one does. */
function openMapRows(): readonly Row[] {
  const areas = [
    { name: "hot map", areaBytes: filled.bytes },
    { name: "cold map", areaBytes: sparse.bytes },
  ];
  return areas.flatMap(({ name, areaBytes }) =>
    [small, deep].map((load) => ({
      id: `unix mirrored ${load.name}, ${name}`,
      ours: "antipode-mirror" as const,
      peer: "qemu-mirror" as const,
      load,
      areaBytes,
      floor: undefined,
    })),
  );
}
