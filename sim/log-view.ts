import { crc32c } from "#base/checksum.ts";
import type { Entry } from "#core/entry.ts";
import { parsePurge, recordKind } from "#site/staging-run.ts";
import { decodeRecordHead, decodeSegmentHeader } from "#store/log-format.ts";
import { recordHeadBytes, segmentHeaderBytes } from "#store/log-format.ts";
import { decodeTable, payloadIsSound } from "#wire/batch/decode.ts";
import { inodeAt, readInode, sectorBytes } from "./disk-state.ts";
import type { DiskState, Inode, View } from "./disk-state.ts";
import type { Line } from "./line.ts";

// Journals and staging logs as they lie on a disk, or as a power loss would leave them: their entries, in order. What a start
// would cut off as a torn end is not there (decision 18): nothing behind a hole counts. Nor is what a purge has given up (A3).

export type LogKind = "journal" | "staging" | "bunker";

/** All that the files of one log hold; what was reclaimed is not there. */
export type FoundLog = {
  readonly segments: number;
  readonly bytes: number;
  readonly entries: readonly Entry[];
  /** Sets that a flag calls complete. */
  readonly flagged: ReadonlySet<number>;
};

type Parsed = {
  version: number;
  /** The log of which it is a segment; 0 when it has no header. */
  readonly logId: number;
  /** Numbers of its first record, and of the one that would follow its last. */
  readonly firstRecord: number;
  nextRecord: number;
  readonly segment: number;
  /** Where the first record begins that is not read yet, or where there is none. */
  endByte: number;
  readonly entries: Entry[];
  /** Where the bytes of each entry lie in the file. */
  readonly payloadAt: number[];
  readonly flagged: number[];
  readonly purges: Purge[];
};

/** Of so many entries and flags before it, those of sets above this one were given up. */
type Purge = { readonly entries: number; readonly flagged: number; readonly completeSet: number };

const parsedByInode = {
  current: new WeakMap<Inode, Parsed>(),
  durable: new WeakMap<Inode, Parsed>(),
};

/** The log of a group at a site. Several logs may lie there while an old one is not yet removed: all are read. */
export function readLog(disk: DiskState, group: string, kind: LogKind, view: View): FoundLog {
  const prefix = `${kind}-`;
  const names: string[] = [];
  for (const name of disk.folders.get(group)?.names.keys() ?? [])
    if (name.startsWith(prefix) && name.endsWith(".log")) names.push(name);
  names.sort();
  let entries: Entry[] = [];
  const flagged = new Set<number>();
  /** By log: the record that comes next. */
  const next = new Map<number, number>();
  let bytes = 0;
  for (const name of names) {
    const inode = inodeAt(disk, group, name, view);
    if (inode === undefined) continue;
    bytes += view === "current" ? inode.bytes : inode.durableBytes;
    const parsed = parse(inode, view);
    const { logId, firstRecord, nextRecord } = parsed;
    if ((next.get(logId) ?? firstRecord) !== firstRecord) continue;
    next.set(logId, nextRecord);
    let taken = { entries: 0, flagged: 0 };
    for (const purge of parsed.purges) {
      take(parsed, { from: taken, to: purge }, { entries, flagged });
      taken = purge;
      entries = entries.filter(({ set }) => set <= purge.completeSet);
      for (const set of flagged) if (set > purge.completeSet) flagged.delete(set);
    }
    take(parsed, { from: taken }, { entries, flagged });
  }
  return { segments: names.length, bytes, entries, flagged };
}

type Counts = { readonly entries: number; readonly flagged: number };

function take(
  parsed: Parsed,
  { from, to }: { readonly from: Counts; readonly to?: Counts },
  into: { readonly entries: Entry[]; readonly flagged: Set<number> },
): void {
  const entriesEnd = to?.entries ?? parsed.entries.length;
  for (let i = from.entries; i < entriesEnd; i += 1) into.entries.push(parsed.entries[i] as Entry);
  for (const set of parsed.flagged.slice(from.flagged, to?.flagged)) into.flagged.add(set);
}

/** A log grows behind its end most of the time: what lies below the lowest change was read already and is as it was. */
function parse(inode: Inode, view: View): Parsed {
  const version = view === "current" ? inode.version : inode.durableVersion;
  const changedFrom = view === "current" ? inode.changedFrom : inode.durableChangedFrom;
  const known = parsedByInode[view].get(inode);
  if (known?.version === version) return known;
  const goesOn = known !== undefined && known.logId !== 0 && changedFrom >= known.endByte;
  const parsed = goesOn ? known : parseHeader(inode, view);
  if (parsed.logId !== 0) while (readRecord(inode, view, parsed));
  parsed.version = version;
  parsedByInode[view].set(inode, parsed);
  if (view === "current") inode.changedFrom = Infinity;
  else inode.durableChangedFrom = Infinity;
  return parsed;
}

function parseHeader(inode: Inode, view: View): Parsed {
  const bytes = bytesAt(inode, view, 0, segmentHeaderBytes);
  const header = bytes === undefined ? "too short" : decodeSegmentHeader(bytes);
  const { logId, firstRecord, segment } =
    typeof header === "string" ? { logId: 0, firstRecord: 0, segment: 0 } : header;
  return {
    version: 0,
    logId,
    firstRecord,
    nextRecord: firstRecord,
    segment,
    endByte: segmentHeaderBytes,
    entries: [],
    payloadAt: [],
    flagged: [],
    purges: [],
  };
}

/** Takes in the record at the end of what is parsed; false where there is none, or only a part of one. */
function readRecord(inode: Inode, view: View, parsed: Parsed): boolean {
  const { logId, segment, endByte } = parsed;
  const headBytes = bytesAt(inode, view, endByte, recordHeadBytes);
  if (headBytes === undefined) return false;
  const head = decodeRecordHead(headBytes, { logId, segment, byte: endByte });
  if (typeof head === "string" || head.number !== parsed.nextRecord) return false;
  const { kind, tableBytes, payloadBytes } = head;
  const body = bytesAt(inode, view, endByte + recordHeadBytes, tableBytes + payloadBytes);
  if (body === undefined) return false;
  const table = body.subarray(0, tableBytes);
  if (crc32c(table) !== head.tableCrc) return false;
  if (kind === recordKind.batch && !payloadIsSound(table, [body.subarray(tableBytes)]))
    return false;
  const decoded = kind === recordKind.batch ? decodeTable(table, payloadBytes) : undefined;
  if (decoded?.ok === true)
    noteEntries(parsed, decoded.value, endByte + recordHeadBytes + tableBytes);
  if (kind === recordKind.flags) parsed.flagged.push(...setsOfFlags(table));
  if (kind === recordKind.purge) {
    const { entries, flagged } = parsed;
    const completeSet = parsePurge(table);
    parsed.purges.push({ entries: entries.length, flagged: flagged.length, completeSet });
  }
  parsed.nextRecord += 1;
  parsed.endByte = endByte + recordHeadBytes + tableBytes + payloadBytes;
  return true;
}

function noteEntries(parsed: Parsed, entries: readonly Entry[], payloadAt: number): void {
  let at = payloadAt;
  for (const entry of entries) {
    parsed.entries.push(entry);
    parsed.payloadAt.push(at);
    if (entry.kind === "write") at += entry.length;
  }
}

/** A write or zeroing that a journal has. */
export type LoggedWrite = {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  /** Its bytes from this place on, counted from its own first; undefined where it zeroes. */
  read(at: number, length: number): Uint8Array | undefined;
};

/** What one journal has, oldest first, with its bytes. */
export function journalWrites(
  disk: DiskState,
  { group, logId, view }: { readonly group: string; readonly logId: number; readonly view: View },
): LoggedWrite[] {
  const writes: LoggedWrite[] = [];
  let next: number | undefined;
  for (const inode of segmentsOf(disk, group, view)) {
    const parsed = parse(inode, view);
    if (parsed.logId !== logId || parsed.firstRecord !== (next ?? parsed.firstRecord)) continue;
    next = parsed.nextRecord;
    for (const [i, { kind, volume, offset, length }] of parsed.entries.entries()) {
      const from = parsed.payloadAt[i] ?? 0;
      if (kind === "seal") continue;
      const read = (at: number, count: number): Uint8Array | undefined =>
        kind === "write" ? bytesAt(inode, view, from + at, count) : undefined;
      writes.push({ volume, offset, length, read });
    }
  }
  return writes;
}

function segmentsOf(disk: DiskState, group: string, view: View): Inode[] {
  const names = [...(disk.folders.get(group)?.names.keys() ?? [])];
  return names
    .filter((name) => name.startsWith("journal-") && name.endsWith(".log"))
    .sort()
    .map((name) => inodeAt(disk, group, name, view))
    .filter((inode) => inode !== undefined);
}

/** So many bytes of a file; undefined where it ends before. */
function bytesAt(inode: Inode, view: View, at: number, length: number): Uint8Array | undefined {
  const end = view === "current" ? inode.bytes : inode.durableBytes;
  if (at + length > end) return undefined;
  const bytes = new Uint8Array(length);
  readInode(inode, view, at, bytes);
  return bytes;
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
