import type { Entry } from "#core/entry.ts";
import { decodeRecordHead, decodeSegmentHeader } from "#store/log-format.ts";
import { recordHeadBytes, segmentHeaderBytes } from "#store/log-format.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { inodeAt, readInode, sectorBytes } from "./disk-state.ts";
import type { DiskState, Inode, View } from "./disk-state.ts";
import type { Line } from "./line.ts";

// Journals and staging logs as they lie on a disk, or as a power loss would leave them: their entries, in order.

export type LogKind = "journal" | "staging";

/** All that the files of one log hold; what was reclaimed is not there. */
export type FoundLog = {
  readonly segments: number;
  readonly bytes: number;
  readonly entries: readonly Entry[];
  /** Sets that a flag calls complete. */
  readonly flagged: ReadonlySet<number>;
};

type Parsed = {
  readonly version: number;
  readonly entries: readonly Entry[];
  readonly flagged: readonly number[];
};

const parsedByInode = {
  current: new WeakMap<Inode, Parsed>(),
  durable: new WeakMap<Inode, Parsed>(),
};

/** The log of a group at a site. Several logs may lie there while an old one is not yet removed: all are read. */
export function readLog(disk: DiskState, group: string, kind: LogKind, view: View): FoundLog {
  const names = [...(disk.folders.get(group)?.names.keys() ?? [])]
    .filter((name) => name.startsWith(`${kind}-`) && name.endsWith(".log"))
    .sort();
  const entries: Entry[] = [];
  const flagged = new Set<number>();
  let bytes = 0;
  for (const name of names) {
    const inode = inodeAt(disk, group, name, view);
    if (inode === undefined) continue;
    bytes += view === "current" ? inode.bytes : inode.durableBytes;
    const parsed = parse(inode, view);
    entries.push(...parsed.entries);
    for (const set of parsed.flagged) flagged.add(set);
  }
  return { segments: names.length, bytes, entries, flagged };
}

function parse(inode: Inode, view: View): Parsed {
  const version = view === "current" ? inode.version : inode.durableVersion;
  const known = parsedByInode[view].get(inode);
  if (known?.version === version) return known;
  const length = view === "current" ? inode.bytes : inode.durableBytes;
  const bytes = new Uint8Array(length);
  readInode(inode, view, 0, bytes);
  const parsed = { version, ...parseSegment(bytes) };
  parsedByInode[view].set(inode, parsed);
  return parsed;
}

function parseSegment(bytes: Uint8Array): Omit<Parsed, "version"> {
  const entries: Entry[] = [];
  const flagged: number[] = [];
  const header =
    bytes.length < segmentHeaderBytes
      ? "too short"
      : decodeSegmentHeader(bytes.subarray(0, segmentHeaderBytes));
  if (typeof header === "string") return { entries, flagged };
  let byte = segmentHeaderBytes;
  while (byte + recordHeadBytes <= bytes.length) {
    const place = { logId: header.logId, segment: header.segment, byte };
    const head = decodeRecordHead(bytes.slice(byte, byte + recordHeadBytes), place);
    if (typeof head === "string") break;
    const tableAt = byte + recordHeadBytes;
    const table = bytes.slice(tableAt, tableAt + head.tableBytes);
    const decoded = head.kind === 1 ? decodeTable(table, head.payloadBytes) : undefined;
    if (decoded?.ok === true) entries.push(...decoded.value);
    if (head.kind === 2) flagged.push(...setsOfFlags(table));
    byte = tableAt + head.tableBytes + head.payloadBytes;
  }
  return { entries, flagged };
}

function setsOfFlags(table: Uint8Array): number[] {
  const flags = JSON.parse(new TextDecoder().decode(table)) as { readonly set: number }[];
  return flags.map(({ set }) => set);
}

/** Whether some write or zeroing of the log goes over a sector. */
export function coversSector(log: FoundLog, volume: number, sector: number): boolean {
  const at = sector * sectorBytes;
  return log.entries.some(
    (entry) =>
      entry.kind !== "seal" &&
      entry.volume === volume &&
      entry.offset <= at &&
      at < entry.offset + entry.length,
  );
}

/** Sites whose logs stand between an image and what its copies have. */
export function logsOf(
  world: { readonly machine: (site: string) => { readonly disk: { readonly state: DiskState } } },
  line: Line,
): (site: string, kind: LogKind, view: View) => FoundLog {
  return (site, kind, view) => readLog(world.machine(site).disk.state, line.group.name, kind, view);
}
