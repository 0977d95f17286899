import type { IoFailure } from "#base/errors.ts";
import { firstBytes, joined, restOf } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import type { Copy, CopyEvent, CopyVolume, CopyWork } from "#core/copy-state.ts";
import type { Entry } from "#core/entry.ts";
import type { Point } from "#core/staging-state.ts";
import type { LaneOpen } from "#wire/peer/documents.ts";
import { decodeTable, splitPayload } from "#wire/batch/decode.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import type { GroupContext } from "./group-context.ts";
import type { Peer } from "./peer-connection.ts";
import { progressBody, progressFields } from "./progress.ts";
import { createSessionWire, sendBare, sendBody } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import { syncImages } from "./sync-images.ts";
import { traceBatch, traceOut } from "./trace-session.ts";
import { submitStaging } from "./staging-run.ts";
import type { Payload, StagingFailure, StagingRun } from "./staging-run.ts";
import { createUnpacking, endUnpacking, passInOrder } from "./unpacking.ts";
import type { Unpacking } from "./unpacking.ts";

// The part of a copy's run that takes sets: batches of all connections go to staging, complete sets come back as works of the
// copy's machine, in order.

export type SetsHost = {
  readonly context: GroupContext;
  readonly copy: Copy;
  readonly staging: StagingRun;
  /** The session's first connection, while there is one. */
  readonly wire: () => SessionWire | undefined;
  /** The start of the primary that opened it. */
  readonly incarnation: () => number | undefined;
  readonly submit: (event: CopyEvent) => void;
  readonly sendBegun: () => void;
  readonly failSession: (why: string) => void;
  readonly onStagingFailed: (failure: StagingFailure) => void;
  readonly onStagingSynced: () => void;
  /** What a restart found counts: a primary may open sessions. */
  readonly onStarted: () => void;
};

export type CopySets = {
  readonly host: SetsHost;
  /** Connections beside the session's first, by their number; their frames count from 1 each. */
  readonly lanes: Map<number, SessionWire>;
  readonly arrived: Map<number, number>;
  /** Batches of this session that are being unpacked, and what came behind them. */
  unpacking: Unpacking;
  /** WHOLE, until its set is applied. */
  pendingWhole: CopyWork | undefined;
  /** BEGIN of a resync, until everything that is complete here is in the images. */
  pendingBegin: CopyWork | undefined;
  readonly tick: { cancel(): void };
};

export function startCopySets(host: SetsHost): CopySets {
  const { clock } = host.context.ports;
  const sets: CopySets = {
    host,
    lanes: new Map(),
    arrived: new Map(),
    unpacking: createUnpacking(),
    pendingWhole: undefined,
    pendingBegin: undefined,
    tick: clock.every(limits.tickMs, () =>
      submitStaging(host.staging, { kind: "tick", nowMs: clock.nowMs() }),
    ),
  };
  host.staging.owner = {
    apply: (set, entries, held) => apply(sets, set, entries, held),
    syncImages: () => syncForStaging(sets),
    ackLane: (lane, sequence) => ackLane(sets, lane, sequence),
    progress: (complete, applied, synced) => tellProgress(sets, complete, applied, synced),
    purged: (complete, entries) => tellPurged(sets, complete, entries),
    ready: () => host.sendBegun(),
    consistent: () => {
      const work = sets.pendingWhole;
      sets.pendingWhole = undefined;
      if (work !== undefined) host.submit({ kind: "work", work });
    },
    // What was received is the collector's: chunks of several connections lie in one payload.
    release: () => undefined,
    drained: () => {
      const work = sets.pendingBegin;
      sets.pendingBegin = undefined;
      if (work !== undefined) host.submit({ kind: "work", work });
    },
    failSession: host.failSession,
    stagingFailed: host.onStagingFailed,
    stagingSynced: host.onStagingSynced,
    started: host.onStarted,
  };
  return sets;
}

/** Goes on with what a restart found. That may be over before this returns: whoever is told must be there by then. */
export function goOnWithSets(sets: CopySets): void {
  const { staging, context } = sets.host;
  submitStaging(staging, { kind: "tick", nowMs: context.ports.clock.nowMs() });
  submitStaging(staging, { kind: "start" });
}

/** A new session, or none: what the lanes of the old one still bring is of the past. */
export function endSets(sets: CopySets, why: string): void {
  sets.pendingWhole = undefined;
  sets.pendingBegin = undefined;
  for (const lane of sets.lanes.values()) lane.peer.connection.close(why);
  sets.lanes.clear();
  sets.arrived.clear();
  endUnpacking(sets.unpacking);
  sets.unpacking = createUnpacking();
  submitStaging(sets.host.staging, { kind: "lost" });
}

/** BEGIN is on record. */
export function beginSets(
  sets: CopySets,
  begin: {
    readonly incarnation: number;
    readonly firstSet: number;
    readonly lsn: number;
    readonly resync: boolean;
    readonly isReplay?: true;
    readonly purge?: true;
  },
): void {
  const { incarnation, firstSet, lsn, resync, isReplay = false, purge = false } = begin;
  const epoch = sets.host.wire()?.epoch ?? 0;
  const told = { epoch, incarnation, firstSet, lsn, resync, isReplay, purge };
  submitStaging(sets.host.staging, { kind: "opened", ...told });
}

/** One more connection of the session that is open. Answers why it is not wanted, or "". */
export function acceptLane(sets: CopySets, peer: Peer, open: LaneOpen): string {
  const wire = sets.host.wire();
  if (wire === undefined || wire.epoch !== open.epoch || wire.generation !== open.generation)
    return "there is no such session here";
  if (sets.host.incarnation() !== open.incarnation)
    return "that session was of an earlier start of its primary";
  if (open.lane < 1 || open.lane > limits.sessionLanesMax || sets.lanes.has(open.lane))
    return `connection ${open.lane} is none of this session`;
  const lane = createSessionWire(peer, wire.generation, wire.epoch, wire.crypto);
  sets.lanes.set(open.lane, lane);
  peer.onFrame = (frame) => {
    const { generation, epoch, type } = frame.header;
    if (sets.lanes.get(open.lane) !== lane) return;
    if (generation !== lane.generation || epoch !== lane.epoch) return;
    if (type === frameType.batch) takeBatch(sets, open.lane, frame);
    else peer.connection.close(`frame type ${type} does not belong on this connection`);
  };
  peer.onLost = (why) => {
    if (sets.lanes.get(open.lane) === lane) sets.host.failSession(`a connection: ${why}`);
  };
  return "";
}

/** A batch, by the connection with this number; 0 is the session's first. The door: what is wrong ends the session. */
export function takeBatch(sets: CopySets, lane: number, frame: Frame): void {
  const { epoch, generation, index, length, bodyBytes } = frame.header;
  const { host } = sets;
  const table = joined(firstBytes(frame.body, index));
  const payload = restOf(frame.body, index);
  // Of a packed batch the table says as well how long it is, before any memory is taken for it.
  const entries = decodeTable(table, length > 0 ? length : bodyBytes - table.length);
  if (!entries.ok) return host.failSession(entries.error);
  const rule = brokenRule(entries.value, host.copy.volumes);
  if (rule !== undefined) return host.failSession(rule);
  const found = { epoch, generation, lane, table, entries: entries.value };
  const wrong = passInOrder(sets.unpacking, host.context.ports.packing, {
    lane,
    payload,
    unpackedBytes: length,
    take: (unpacked) => stageBatch(sets, found, unpacked),
    fail: host.failSession,
  });
  if (wrong !== undefined) host.failSession(wrong);
}

type Found = {
  readonly epoch: number;
  readonly generation: number;
  readonly lane: number;
  readonly table: Uint8Array;
  readonly entries: readonly Entry[];
};

function stageBatch(sets: CopySets, found: Found, payload: Payload): void {
  const { host, arrived } = sets;
  const { epoch, generation, lane, table, entries } = found;
  const payloads = splitPayload(entries, payload);
  if (payloads === undefined)
    return host.failSession("the checksum of a write's bytes does not match");
  const sequence = (arrived.get(lane) ?? 0) + 1;
  arrived.set(lane, sequence);
  const held = payloads.map((chunks, i) => (entries[i]?.kind === "write" ? chunks : undefined));
  const batch = { entries, held, raw: { table, payload } };
  const { context } = host;
  traceBatch(context, "in", { copy: context.site, generation, epoch }, entries);
  submitStaging(host.staging, { kind: "batch", epoch, lane, sequence, batch });
}

function brokenRule(entries: readonly Entry[], volumes: readonly CopyVolume[]): string | undefined {
  for (const { kind, volume, offset, length } of entries) {
    if (kind === "seal") continue;
    const bytes = volumes[volume]?.bytes;
    if (bytes === undefined) return `there is no volume ${volume} here`;
    if (offset + length > bytes) return "a write reaches beyond its volume";
    if (kind === "write" && length > limits.hostRequestBytesMax)
      return `a write of ${length} bytes is longer than any host may make`;
  }
  return undefined;
}

// ---------------------------------------------------------------------------------------- answers

function apply(
  sets: CopySets,
  set: number,
  entries: readonly Entry[],
  held: readonly (Payload | undefined)[],
): void {
  const { submit } = sets.host;
  entries.forEach((entry, i) => {
    if (entry.kind === "seal") return;
    submit({ kind: "work", work: workOf(set, entry, held[i] ?? []) });
  });
  submit({ kind: "work", work: workOf(set, undefined, []) });
}

// Works of sets belong to no session: a set that is complete is applied whoever feeds us.
function workOf(set: number, entry: Entry | undefined, body: Payload): CopyWork {
  return {
    session: 0,
    kind: entry === undefined ? "setEnd" : entry.kind === "zero" ? "zero" : "write",
    volume: entry?.volume ?? 0,
    offset: entry?.offset ?? 0,
    length: entry?.length ?? 0,
    lsn: entry?.lsn ?? 0,
    set,
    sequence: 0,
    index: 0,
    mayPunch: entry?.mayPunch ?? false,
    body,
    begin: undefined,
    why: "",
    isDone: false,
  };
}

/** The machine of the copy has the set in the images, or cannot. */
export function setApplied(sets: CopySets, set: number, failure: IoFailure | undefined): void {
  const { context, staging } = sets.host;
  if (failure === undefined)
    context.ports.trace?.line({
      dir: "out",
      kind: "applied",
      group: context.config.name,
      copy: context.site,
      set,
    });
  submitStaging(staging, { kind: "applied", set, failure });
}

export function setMarked(sets: CopySets, set: number): void {
  submitStaging(sets.host.staging, { kind: "mark", set });
}

/** WHOLE has come: it holds when its set is applied. */
export function takeWhole(sets: CopySets, work: CopyWork): void {
  sets.pendingWhole = work;
  submitStaging(sets.host.staging, { kind: "whole", set: work.set });
}

/** BEGIN of a resync has come: it holds when what is complete here has been applied, synced and put on record. */
export function takeBegin(sets: CopySets, work: CopyWork): void {
  sets.pendingBegin = work;
  submitStaging(sets.host.staging, { kind: "drain" });
}

function syncForStaging(sets: CopySets): void {
  const { context, staging, submit } = sets.host;
  syncImages(context.images, (failure) => {
    if (failure !== undefined) submit({ kind: "syncLost" });
    submitStaging(staging, { kind: "imagesSynced", failure });
  });
}

function ackLane(sets: CopySets, lane: number, sequence: number): void {
  const wire = lane === 0 ? sets.host.wire() : sets.lanes.get(lane);
  if (wire !== undefined) sendBare(wire, frameType.staged, { sequence });
}

function tellPurged(sets: CopySets, { set, lsn }: Point, entries: number): void {
  const wire = sets.host.wire();
  if (wire === undefined) return;
  sendBare(wire, frameType.purged, { set, lsn, index: entries });
  traceOut(sets.host.context, sets.host.context.site, wire.scratch);
}

function tellProgress(sets: CopySets, complete: Point, applied: Point, synced: Point): void {
  const wire = sets.host.wire();
  if (wire === undefined) return;
  const told = {
    completeSet: complete.set,
    completeLsn: complete.lsn,
    appliedSet: applied.set,
    appliedLsn: applied.lsn,
    syncedLsn: synced.lsn,
    stampMs: complete.stampMs,
  };
  sendBody(wire, frameType.progress, progressFields(told), progressBody(told));
  traceOut(sets.host.context, sets.host.context.site, wire.scratch);
}
