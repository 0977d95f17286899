// What is measured: the rows, in the order in which they run, and the floors that Antipode has to keep.

import { GiB, KiB, limits, MiB } from "#base/limits.ts";
import { type LinkShape, shortLink } from "./link.ts";

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
  | "antipode-cycle"
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

/** Something else than a load side by side: it has its own sites, an asynchronous copy among them, and its own figures. */
export type Trial =
  | ThroughputTrial
  | LagTrial
  | LatencyTrial
  | DrainTrial
  | MemoryTrial
  | RestartTrial
  | BunkerTrial
  | TakeoverTrial
  | SwitchTrial
  | WireTrial;

type TrialBase = {
  /** What `--rows` matches. */
  readonly id: string;
  readonly load: Load;
  readonly areaBytes: number;
  readonly journalBytes: number;
};

/** A link that has a width, and a load that is told how much of it to offer. */
type OfferedOverLink = TrialBase & {
  readonly link: LinkShape & { readonly bytesPerSecond: number };
  readonly offeredShare: number;
};

/** `shareMin`: of the link's width, so much is complete at the copy per second; undefined where nothing is promised. */
export type ThroughputTrial = OfferedOverLink & {
  readonly kind: "throughput";
  readonly shareMin: number | undefined;
};

export type LagTrial = OfferedOverLink & { readonly kind: "lag" };

/** Of pairs of runs, one over a near and one over a far link. */
export type LatencyTrial = TrialBase & {
  readonly kind: "latency";
  readonly near: LinkShape;
  readonly far: LinkShape;
  readonly pairs: number;
  readonly p50RatioMax: number;
};

/** The copy is away while so much is written. `ratioMin`: how it applies that, as a multiple of how it was written. */
export type DrainTrial = TrialBase & {
  readonly kind: "drain";
  readonly backlogBytes: number;
  readonly ratioMin: number;
};

export type MemoryTrial = TrialBase & {
  readonly kind: "memory";
  readonly backlogBytes: number;
  /** Of each site. */
  readonly peakBytesMax: number;
};

export type RestartTrial = TrialBase & {
  readonly kind: "restart";
  readonly readySecondsMax: number;
};

/** Of pairs of runs, one with the bunker and one while it is paused. */
export type BunkerTrial = TrialBase & {
  readonly kind: "bunker";
  /** Between the primary and the bunker. */
  readonly link: LinkShape;
  readonly pairs: number;
  /** Of an ack's time with the bunker over the slower of the two log writes. */
  readonly ratioMax: number;
};

/** The primary is killed, or falls silent, behind so many bytes of writes; the copy is promoted, and written to. */
export type TakeoverTrial = TrialBase & {
  readonly kind: "takeover";
  readonly writtenBytes: number;
  /** One set, which the host's FLUSH ends; the kill comes once it is whole at the copy, which applies it from then on. */
  readonly isOneSet: boolean;
  /** It is not killed and does not answer: whether it is gone is known after the timeout alone. */
  readonly isSilent: boolean;
  readonly servedSecondsMax: number;
};

/** Hosts are answered at the switch of a cycle of this length. */
export type SwitchTrial = TrialBase & { readonly kind: "switch"; readonly everyMs: number };

/** What travels of writes that fall on the same blocks again and again. */
export type WireTrial = TrialBase & {
  readonly kind: "wire";
  readonly mode: "async" | "cycle";
  readonly link: LinkShape;
};

/** How much the trials write: `quick` tries every one of them out, and says nothing about the promises. */
export type Scale = "full" | "quick";

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
    { socket: "unix", volume: filled, rows: cycleRows("unix") },
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
    floor: peer === "nbdkit" ? 0.8 : floors.get(load),
  });
  return [
    ...[small, deep, large].map((load) => against("qemu-background", load)),
    against("nbdkit", deep),
  ];
}

/** The same beside QEMU's, with a copy that gets folded cycles; what they save shows on the wire, in a trial of its own. */
function cycleRows(socket: SocketKind): readonly Row[] {
  return [small, deep, large].map((load) => ({
    id: `${socket} cycle ${load.name}`,
    ours: "antipode-cycle",
    peer: "qemu-background",
    load,
    areaBytes: filled.bytes,
    floor: undefined,
  }));
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

/** The volume of every trial. */
export const trialVolume: Volume = filled;

/** Latency is told from so many pairs of runs at least, since the machine's own unrest is as large as what is promised. */
const latencyPairs = 9;

/** The trials whose ids match. */
export function planTrials(pattern: RegExp, scale: Scale): readonly Trial[] {
  const trials = [
    ...linkTrials(scale),
    ...backlogTrials(scale),
    ...lossTrials(scale),
    ...cycleTrials(),
  ];
  return trials.filter(({ id }) => pattern.test(id));
}

function linkTrials(scale: Scale): readonly Trial[] {
  const base = { areaBytes: filled.bytes, journalBytes: 1 * GiB };
  const link = (megabytes: number, roundTripMs: number): OfferedOverLink["link"] => ({
    name: `${megabytes} MB/s, ${roundTripMs} ms`,
    delayMs: roundTripMs / 2,
    bytesPerSecond: megabytes * 1e6,
  });
  const throughput = (load: Load, over: OfferedOverLink["link"]): Trial => ({
    ...base,
    kind: "throughput",
    id: `link throughput ${over.name}, ${load.name}`,
    load,
    link: over,
    offeredShare: 1.5,
    // The wider one is there to see where it ends.
    shareMin: over.bytesPerSecond === 40e6 ? 0.8 : undefined,
  });
  const lag = (load: Load, over: OfferedOverLink["link"]): Trial => ({
    ...base,
    kind: "lag",
    id: `link lag ${over.name}, ${load.name}, four fifths offered`,
    load,
    link: over,
    offeredShare: 0.8,
  });
  const latency: Trial = {
    ...base,
    kind: "latency",
    id: `link latency ${small.name}, 100 ms beside 0 ms`,
    load: small,
    near: shortLink,
    far: { name: "100 ms", delayMs: 50, bytesPerSecond: undefined },
    pairs: scale === "quick" ? 2 : latencyPairs,
    p50RatioMax: 1.15,
  };
  return [
    throughput(deep, link(40, 50)),
    throughput(large, link(40, 50)),
    throughput(large, link(100, 50)),
    lag(deep, link(40, 50)),
    latency,
  ];
}

function backlogTrials(scale: Scale): readonly Trial[] {
  const trial = (load: Load, fullBytes: number) => {
    const backlogBytes = scale === "quick" ? 256 * MiB : fullBytes;
    // Room for the tables of small writes, and for the margin that a journal keeps.
    const journalBytes = backlogBytes + backlogBytes / 8 + 256 * MiB;
    return { load, areaBytes: filled.bytes, backlogBytes, journalBytes };
  };
  const drain = (load: Load): Trial => ({
    ...trial(load, 4 * GiB),
    kind: "drain",
    id: `backlog drained, ${load.name}`,
    ratioMin: 1,
  });
  const memory = (load: Load): Trial => ({
    ...trial(load, 10 * GiB),
    kind: "memory",
    id: `backlog, memory, ${load.name}`,
    peakBytesMax: 256 * MiB,
  });
  const restart: Trial = {
    kind: "restart",
    id: `start after kill -9, full journal, ${deep.name}`,
    load: deep,
    areaBytes: filled.bytes,
    journalBytes: scale === "quick" ? 256 * MiB : 1 * GiB,
    readySecondsMax: 5,
  };
  return [drain(deep), drain(large), memory(deep), memory(large), restart];
}

const oneSet = "behind one set";
const silent = "silent primary";

/** What it costs to lose nothing, and how long a loss lasts. */
function lossTrials(scale: Scale): readonly Trial[] {
  const base = { areaBytes: filled.bytes, journalBytes: 1 * GiB };
  const bunker = (delayMs: number, ratioMax: number): Trial => ({
    ...base,
    kind: "bunker",
    id: `bunker ack ${small.name}, ${2 * delayMs} ms away`,
    load: small,
    link: { name: `${2 * delayMs} ms`, delayMs, bytesPerSecond: undefined },
    pairs: scale === "quick" ? 2 : latencyPairs,
    ratioMax,
  });
  const takeover = (name: string, writtenBytes: number, servedSecondsMax: number): Trial => ({
    ...base,
    kind: "takeover",
    id: `takeover, ${name}`,
    load: large,
    writtenBytes,
    isOneSet: name === oneSet,
    isSilent: name === silent,
    servedSecondsMax,
  });
  return [
    bunker(5, 1.2),
    takeover("quiet group", 16 * MiB, 1),
    // The timeout of the defaults, and a second.
    takeover(silent, 16 * MiB, 4),
    takeover("behind 1 GiB of writes", scale === "quick" ? 64 * MiB : 1 * GiB, 5),
    // Nearly the longest set that there can be: a copy has no more that is whole and not applied, whatever is written.
    takeover(oneSet, limits.bracketBytesMax - 16 * MiB, 5),
  ];
}

/** What the length of a cycle costs hosts that wait for its end, and what folding saves on the way. */
function cycleTrials(): readonly Trial[] {
  const base = { journalBytes: 1 * GiB };
  const waits = [5, 10, 30, 100].map((everyMs): Trial => ({
    ...base,
    kind: "switch",
    id: `switch ack ${small.name}, cycle ${everyMs} ms`,
    load: small,
    areaBytes: filled.bytes,
    everyMs,
  }));
  const wires = (["async", "cycle"] as const).map((mode): Trial => ({
    ...base,
    kind: "wire",
    id: `bytes on the wire, ${deep.name}, 1 MiB of hot blocks, ${mode}`,
    load: deep,
    areaBytes: 1 * MiB,
    mode,
    link: shortLink,
  }));
  return [...waits, ...wires];
}
