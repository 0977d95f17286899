import { crc32c } from "#base/checksum.ts";
import { limits } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { countOf } from "#core/entry.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import { parseFlags, parsePurge, recordKind } from "#site/staging-run.ts";
import { inspectGroupFolder } from "#store/inspect.ts";
import type { InspectReport, Listed } from "#store/inspect.ts";
import {
  decodeRecordHead,
  decodeSegmentHeader,
  recordHeadBytes,
  segmentHeaderBytes,
} from "#store/log-format.ts";
import { decodeTable, splitPayload } from "#wire/batch/decode.ts";

// What `antipode inspect --journal` and `--sets` read from the logs of a group, whether a site runs or not. Nothing is changed,
// and damage ends the reading of a segment with its place, so that everything before it is still shown.

/** A segment file, and how far it could be read. */
export type InspectedLog = {
  readonly file: string;
  readonly records: number;
  readonly bytes: number;
  /** Whether the group's record names this log. */
  readonly counts: boolean;
  /** Where and why the reading ended before the end, or "". */
  readonly damage: string;
};

export type InspectedEntry = {
  readonly lsn: number;
  readonly set: number;
  readonly index: number;
  readonly kind: Entry["kind"];
  readonly volume: string;
  readonly offset: number;
  readonly length: number;
  readonly checksum: string;
  readonly isChecksumOk: boolean;
};

/** A set in the staging log. `complete`: its flag is there; whether it is sound is for the site's start to judge. */
export type InspectedSet = {
  readonly set: number;
  /** Indexes of it that are there, each counted once: what was forgotten and sent again may lie there twice. */
  readonly received: number;
  readonly expected: number | null;
  readonly complete: boolean;
  readonly applied: boolean;
};

export type InspectedGroup = InspectReport & {
  readonly logs: readonly InspectedLog[];
  readonly journal: readonly InspectedEntry[];
  /** Entries beyond `limits.inspectEntriesMax`. */
  readonly journalNotShown: number;
  readonly sets: readonly InspectedSet[];
  readonly isDamaged: boolean;
};

/** Reads a group's folder with its logs as they lie on the disk. */
export function inspectWithLogs(folder: Folder): InspectedGroup {
  const report = inspectGroupFolder(folder);
  const record = typeof report.record === "string" ? undefined : report.record;
  const logs: InspectedLog[] = [];
  const journal: Listed<InspectedEntry> = { items: [], notShown: 0 };
  const staged: Staged = new Map();
  for (const name of folder
    .list()
    .filter((each) => each.endsWith(".log"))
    .toSorted()) {
    const visit = visitorOf(name, { journal, record, staged });
    const log = inspectSegment(folder, name, countsIn(record, name), visit);
    if (log !== undefined) logs.push(log);
  }
  const appliedSet = record?.applied?.set ?? 0;
  const sets = [...staged].map(([set, { indexes, expected, complete }]) => {
    return { set, received: indexes.size, expected, complete, applied: set <= appliedSet };
  });
  const isDamaged =
    record === undefined ||
    logs.some(({ damage }) => damage !== "") ||
    report.maps.some(({ damage }) => damage !== "");
  return {
    ...report,
    journal: journal.items,
    journalNotShown: journal.notShown,
    sets: sets.toSorted((a, b) => a.set - b.set),
    logs,
    isDamaged,
  };
}

// The old content in the log of a point, or of a branch, is counted by its records; what it is of, the group's record says.
function visitorOf(
  name: string,
  into: {
    readonly journal: Listed<InspectedEntry>;
    readonly record: GroupRecord | undefined;
    readonly staged: Staged;
  },
): Visit {
  const { journal, record, staged } = into;
  if (name.startsWith("journal-") || name.startsWith("bunker-"))
    return (_kind, table, payload) => listEntries(journal, record, table, payload);
  if (name.startsWith("staging-"))
    return (kind, table, payload) => noteStaged(staged, kind, table, payload.length);
  return () => undefined;
}

type Staged = Map<
  number,
  { readonly indexes: Set<number>; expected: number | null; complete: boolean }
>;

type Visit = (kind: number, table: Uint8Array, payload: Uint8Array) => void;

function countsIn(record: GroupRecord | undefined, name: string): boolean {
  const ids = [
    record?.journalId,
    record?.stagingId,
    record?.preservedPoint?.id,
    record?.branch?.id,
    record?.bunker?.logId,
  ];
  return ids.some(
    (id) => id !== undefined && name.includes(`-${id.toString(16).padStart(8, "0")}-`),
  );
}

/** Undefined for one that is gone by now: a site that runs needed it no more. */
function inspectSegment(
  folder: Folder,
  name: string,
  counts: boolean,
  visit: Visit,
): InspectedLog | undefined {
  const file = folder.open(name);
  if (isFailure(file) && file.code === "ENOENT") return undefined;
  if (isFailure(file)) return { file: name, records: 0, bytes: 0, counts, damage: file.message };
  const bytes = file.bytes();
  const read = readSegment(file, visit);
  file.close();
  return { file: name, bytes, counts, ...read };
}

function readSegment(file: File, visit: Visit): { records: number; damage: string } {
  const headerBytes = readBytes(file, 0, segmentHeaderBytes);
  const header = typeof headerBytes === "string" ? headerBytes : decodeSegmentHeader(headerBytes);
  if (typeof header === "string") return { records: 0, damage: header };
  const { logId, segment } = header;
  let records = 0;
  for (let at = segmentHeaderBytes; at + recordHeadBytes <= file.bytes();) {
    const headBytes = readBytes(file, at, recordHeadBytes);
    if (typeof headBytes === "string") return { records, damage: headBytes };
    if (headBytes.every((byte) => byte === 0)) break;
    const head = decodeRecordHead(headBytes, { logId, segment, byte: at });
    if (typeof head === "string") return { records, damage: `byte ${at}: ${head}` };
    const table = readBytes(file, at + recordHeadBytes, head.tableBytes);
    const payload = readBytes(file, at + recordHeadBytes + head.tableBytes, head.payloadBytes);
    if (typeof table === "string") return { records, damage: table };
    if (typeof payload === "string") return { records, damage: payload };
    if (crc32c(table) !== head.tableCrc)
      return { records, damage: `byte ${at}: the table of record ${head.number} does not match` };
    visit(head.kind, table, payload);
    records += 1;
    at += recordHeadBytes + head.tableBytes + head.payloadBytes;
  }
  return { records, damage: "" };
}

function readBytes(file: File, offset: number, length: number): Uint8Array | string {
  const bytes = new Uint8Array(length);
  const failure = file.read(offset, bytes);
  return failure === undefined ? bytes : failure.message;
}

function listEntries(
  journal: Listed<InspectedEntry>,
  record: GroupRecord | undefined,
  table: Uint8Array,
  payload: Uint8Array,
): void {
  const entries = decodeTable(table, payload.length);
  if (!entries.ok) return;
  let at = 0;
  for (const entry of entries.value) {
    const bytes = entry.kind === "write" ? payload.subarray(at, at + entry.length) : undefined;
    at += bytes?.length ?? 0;
    if (journal.items.length === limits.inspectEntriesMax) {
      journal.notShown += 1;
      continue;
    }
    journal.items.push({
      lsn: entry.lsn,
      set: entry.set,
      index: entry.index,
      kind: entry.kind,
      volume: record?.volumes[entry.volume]?.name ?? String(entry.volume),
      offset: entry.kind === "seal" ? 0 : entry.offset,
      length: entry.length,
      checksum: entry.payloadCrc.toString(16).padStart(8, "0"),
      isChecksumOk: bytes === undefined || splitPayload([entry], [bytes]) !== undefined,
    });
  }
}

function noteStaged(staged: Staged, kind: number, table: Uint8Array, payloadBytes: number): void {
  const of = (set: number) => {
    const known = staged.get(set) ?? { indexes: new Set(), expected: null, complete: false };
    staged.set(set, known);
    return known;
  };
  if (kind === recordKind.flags) {
    for (const { set } of parseFlags(table) ?? []) of(set).complete = true;
    return;
  }
  if (kind === recordKind.purge) {
    const completeSet = parsePurge(table);
    for (const set of staged.keys()) if (set > completeSet) staged.delete(set);
    return;
  }
  const entries = decodeTable(table, payloadBytes);
  for (const entry of entries.ok ? entries.value : []) {
    const set = of(entry.set);
    if (entry.kind === "seal") set.expected = countOf(entry);
    else set.indexes.add(entry.index);
  }
}
