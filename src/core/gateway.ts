import { unreachable } from "#base/assert.ts";
import { createFifo, drain, peek, push, shift } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { meetsAny } from "#base/span.ts";
import type { EventRecord } from "#ports/events.ts";
import { createOverlay, forgetThrough, look, put } from "./overlay.ts";
import type { Overlay, OverlayPart, RecordPlace } from "./overlay.ts";

// The machine of one volume on a device behind a link, with the journal in front of it (SPEC-gateway.md): what the journal has
// goes to the device in its order, and again after every loss of the link, from the last completed flush on; reads find
// meanwhile what the device may lack.

export type Gateway = {
  readonly volume: string;
  readonly address: string;
  /** The device is flushed when it was sent so much. */
  readonly flushBytes: number;
  readonly overlay: Overlay;
  isUp: boolean;
  /** Why it is not up; "" while it is. */
  why: string;
  /** The device is there, and is not what the volume needs. */
  isRefused: boolean;
  /** Whether anything was heard of the link. */
  isKnown: boolean;
  nowMs: number;
  /** Counts connections: what an earlier one was asked says nothing of this one. */
  session: number;
  /** The last entry of this volume in the journal; what was read back of them; what the device has answered; and flushed. */
  appendedLsn: number;
  readLsn: number;
  writtenLsn: number;
  flushedLsn: number;
  /** Where everything that is not flushed can be read back from; and where to read on. Undefined: nothing is missing. */
  restart: RecordPlace | undefined;
  cursor: RecordPlace | undefined;
  isReading: boolean;
  /** Read back, and not yet asked of the device; what is. */
  readonly queue: Fifo<DeviceWrite>;
  queuedBytes: number;
  readonly underWay: Set<DeviceWrite>;
  underWayBytes: number;
  /** Records that were read back and are not answered, in order. */
  readonly records: Fifo<RecordUnderWay>;
  /** Behind the last record that was answered. */
  writtenPlace: RecordPlace | undefined;
  flush: { readonly lsn: number; readonly place: RecordPlace | undefined } | undefined;
  flushedMs: number;
  /** Nobody knows what an earlier role, or process, has left on the device without a flush: one is asked for at first. */
  owesFlush: boolean;
  unflushedBytes: number;
  /** Reads that need the device while it is away. */
  reads: DeviceRead[];
  isEnding: boolean;
  isOver: boolean;
};

/** A part of the journal's entry, as the device gets it. */
export type DeviceWrite = {
  readonly lsn: number;
  readonly offset: number;
  readonly length: number;
  /** Undefined: zeros. */
  readonly bytes: Uint8Array | undefined;
  readonly mayPunch: boolean;
  record?: RecordUnderWay;
};

type RecordUnderWay = {
  readonly lastLsn: number;
  readonly next: RecordPlace;
  left: number;
};

/** What was read back of one record: the writes of this volume. */
export type RecordRead = {
  readonly writes: readonly DeviceWrite[];
  readonly next: RecordPlace;
};

export type DeviceRead = {
  readonly offset: number;
  readonly length: number;
  /** Waits no longer than this for the device. */
  readonly untilMs: number;
  readonly done: (
    failure: { code: string; message: string } | undefined,
    bytes: Uint8Array,
  ) => void;
};

/** An entry of this volume that the journal has, in a record that begins at `place`. */
export type JournaledWrite = {
  readonly lsn: number;
  readonly offset: number;
  readonly length: number;
  /** Where its bytes begin in the record's payload; undefined: zeros. */
  readonly at: number | undefined;
};

export type GatewayEvent =
  | {
      readonly kind: "journaled";
      readonly place: RecordPlace;
      readonly writes: readonly JournaledWrite[];
    }
  | { readonly kind: "up" }
  | { readonly kind: "down"; readonly why: string; readonly isRefused: boolean }
  | {
      readonly kind: "recordsRead";
      readonly session: number;
      readonly records: readonly RecordRead[];
    }
  | {
      readonly kind: "written";
      readonly session: number;
      readonly write: DeviceWrite;
      /** The device has refused it. A lost link is told by `down`. */
      readonly failure: string | undefined;
    }
  | { readonly kind: "flushed"; readonly session: number; readonly failure: string | undefined }
  /** A host's read; asked again where a part of it was lost on the way. */
  | { readonly kind: "read"; readonly read: DeviceRead }
  | { readonly kind: "tick"; readonly nowMs: number }
  /** Nothing more is to be asked of the device; `ended` when nothing is under way there. */
  | { readonly kind: "end" };

export type GatewayEffect =
  /** Read back records from this place on; then `recordsRead`. */
  | { readonly kind: "readRecords"; readonly session: number; readonly from: RecordPlace }
  | { readonly kind: "write"; readonly session: number; readonly write: DeviceWrite }
  | { readonly kind: "flush"; readonly session: number }
  | {
      readonly kind: "readParts";
      readonly read: DeviceRead;
      readonly parts: readonly OverlayPart[];
    }
  | { readonly kind: "failRead"; readonly read: DeviceRead; readonly why: string }
  /** The device has answered with an error: it is to be left alone for a while, and then brought up anew. */
  | { readonly kind: "drop"; readonly why: string }
  /** Everything of this volume up to this LSN is durable on the device. */
  | { readonly kind: "synced"; readonly lsn: number }
  | { readonly kind: "event"; readonly event: Omit<EventRecord, "group"> }
  | { readonly kind: "ended" };

export function createGateway(of: {
  readonly volume: string;
  readonly address: string;
  readonly nowMs: number;
  readonly flushBytes?: number;
}): Gateway {
  return {
    flushBytes: limits.deviceFlushBytes,
    ...of,
    overlay: createOverlay(),
    isUp: false,
    why: "it has not answered yet",
    isRefused: false,
    isKnown: false,
    session: 0,
    appendedLsn: 0,
    readLsn: 0,
    writtenLsn: 0,
    flushedLsn: 0,
    restart: undefined,
    cursor: undefined,
    isReading: false,
    queue: createFifo(),
    queuedBytes: 0,
    underWay: new Set(),
    underWayBytes: 0,
    records: createFifo(),
    writtenPlace: undefined,
    flush: undefined,
    flushedMs: of.nowMs,
    owesFlush: true,
    unflushedBytes: 0,
    reads: [],
    isEnding: false,
    isOver: false,
  };
}

/** The device has everything, durably. */
export function isDrained(gateway: Gateway): boolean {
  return gateway.flushedLsn >= gateway.appendedLsn;
}

/**
 * The oldest record of the journal that may still be read back for the device; infinite while it has everything. It may hold
 * nothing but the SEAL of a set whose writes the device has flushed: by their LSNs alone nobody would keep it.
 */
export function neededFrom({ restart }: Gateway): number {
  return restart?.number ?? Number.POSITIVE_INFINITY;
}

/** So much is missing on the device that no more can be remembered: hosts wait. */
export function isCrowded(gateway: Gateway): boolean {
  return gateway.overlay.pieces >= limits.overlayPiecesMax;
}

/** Moves the machine by one event. Effects are appended to `out`, to be performed in order. */
export function stepGateway(gateway: Gateway, event: GatewayEvent, out: GatewayEffect[]): void {
  if (gateway.isOver) return;
  take(gateway, event, out);
  if (!gateway.isEnding) return pump(gateway, out);
  if (gateway.underWay.size > 0 || gateway.flush !== undefined) return;
  gateway.isOver = true;
  for (const read of gateway.reads.splice(0))
    out.push({ kind: "failRead", read, why: "the volume is not served here any more" });
  out.push({ kind: "ended" });
}

function take(gateway: Gateway, event: GatewayEvent, out: GatewayEffect[]): void {
  switch (event.kind) {
    case "journaled":
      return journaled(gateway, event);
    case "up":
      return up(gateway, out);
    case "down":
      return down(gateway, event, out);
    case "recordsRead":
      return recordsRead(gateway, event);
    case "written":
      return written(gateway, event, out);
    case "flushed":
      return flushed(gateway, event, out);
    case "read":
      return read(gateway, event.read, out);
    case "tick":
      return tick(gateway, event.nowMs, out);
    case "end":
      gateway.isEnding = true;
      return;
    default:
      return unreachable(event);
  }
}

// --------------------------------------------------------------------------------------- the journal

function journaled(
  gateway: Gateway,
  { place, writes }: Extract<GatewayEvent, { kind: "journaled" }>,
): void {
  // Everything before it is on the device, and may be gone from the journal.
  gateway.restart ??= place;
  gateway.cursor ??= place;
  for (const { lsn, offset, length, at } of writes) {
    put(gateway.overlay, { offset, end: offset + length, lsn, place, at });
    gateway.appendedLsn = lsn;
  }
}

function recordsRead(
  gateway: Gateway,
  { session, records }: Extract<GatewayEvent, { kind: "recordsRead" }>,
): void {
  if (session !== gateway.session) return;
  gateway.isReading = false;
  for (const { writes, next } of records) {
    // The device has flushed what is older: it stands in the same record as something that is not.
    const missing = writes.filter(({ lsn }) => lsn > gateway.flushedLsn);
    const lastLsn = writes.at(-1)?.lsn ?? gateway.readLsn;
    const record = { lastLsn, next, left: missing.length };
    push(gateway.records, record);
    for (const write of missing) {
      push(gateway.queue, { ...write, record });
      gateway.queuedBytes += write.length;
    }
    gateway.readLsn = Math.max(gateway.readLsn, lastLsn);
    gateway.cursor = next;
  }
  countWritten(gateway);
}

// What the device has answered counts up to the first record that it has not.
function countWritten(gateway: Gateway): void {
  for (let oldest = peek(gateway.records); oldest?.left === 0; oldest = peek(gateway.records)) {
    shift(gateway.records);
    gateway.writtenLsn = Math.max(gateway.writtenLsn, oldest.lastLsn);
    gateway.writtenPlace = oldest.next;
  }
}

// -------------------------------------------------------------------------------------------- the link

function up(gateway: Gateway, out: GatewayEffect[]): void {
  const wasDown = gateway.isKnown;
  gateway.isUp = true;
  gateway.isKnown = true;
  gateway.isRefused = false;
  gateway.why = "";
  beginAnew(gateway);
  const why = `DEVICE_LINK ${gateway.address}: the device is there; what it may lack is written again`;
  if (wasDown) out.push(linkEvent(gateway, "device-down", "up", why));
  for (const waiting of gateway.reads.splice(0)) read(gateway, waiting, out);
}

function down(
  gateway: Gateway,
  { why, isRefused }: { readonly why: string; readonly isRefused: boolean },
  out: GatewayEffect[],
): void {
  const wasUp = gateway.isUp || !gateway.isKnown;
  gateway.isUp = false;
  gateway.isKnown = true;
  gateway.isRefused = isRefused;
  gateway.why = why;
  if (!wasUp) return;
  beginAnew(gateway);
  out.push(linkEvent(gateway, "up", "device-down", `DEVICE_LINK ${gateway.address}: ${why}`));
}

/** Whatever the device has not flushed it may have forgotten, answered or not. */
function beginAnew(gateway: Gateway): void {
  gateway.session += 1;
  gateway.readLsn = gateway.flushedLsn;
  gateway.writtenLsn = gateway.flushedLsn;
  gateway.cursor = gateway.restart;
  gateway.writtenPlace = undefined;
  gateway.isReading = false;
  drain(gateway.queue);
  drain(gateway.records);
  gateway.underWay.clear();
  gateway.queuedBytes = 0;
  gateway.underWayBytes = 0;
  gateway.unflushedBytes = 0;
  gateway.flush = undefined;
}

function linkEvent(gateway: Gateway, from: string, to: string, why: string): GatewayEffect {
  return { kind: "event", event: { kind: "link", volume: gateway.volume, from, to, why } };
}

// ------------------------------------------------------------------------------------------ the device

function pump(gateway: Gateway, out: GatewayEffect[]): void {
  if (!gateway.isUp) return;
  const { session } = gateway;
  for (let next = peek(gateway.queue); next !== undefined; next = peek(gateway.queue)) {
    if (gateway.underWay.size >= limits.deviceRequestsMax) break;
    if (gateway.underWayBytes >= limits.deviceBytesMax || overlapsUnderWay(gateway, next)) break;
    shift(gateway.queue);
    gateway.queuedBytes -= next.length;
    gateway.underWay.add(next);
    gateway.underWayBytes += next.length;
    out.push({ kind: "write", session, write: next });
  }
  const { cursor, isReading, readLsn, appendedLsn, queuedBytes } = gateway;
  const isBehind = readLsn < appendedLsn && queuedBytes < limits.deviceAheadBytesMax;
  if (isBehind && !isReading && cursor !== undefined) {
    gateway.isReading = true;
    out.push({ kind: "readRecords", session, from: cursor });
  }
  if (gateway.unflushedBytes >= gateway.flushBytes) flush(gateway, out);
}

// A device does what is under way in any order: what overlaps waits for what came before it.
function overlapsUnderWay(gateway: Gateway, write: DeviceWrite): boolean {
  return meetsAny(write, gateway.underWay);
}

function written(
  gateway: Gateway,
  { session, write, failure }: Extract<GatewayEvent, { kind: "written" }>,
  out: GatewayEffect[],
): void {
  if (session !== gateway.session || !gateway.underWay.delete(write)) return;
  gateway.underWayBytes -= write.length;
  if (failure !== undefined) {
    out.push({ kind: "drop", why: failure });
    return;
  }
  gateway.unflushedBytes += write.length;
  if (write.record !== undefined) write.record.left -= 1;
  countWritten(gateway);
}

/** What was answered before it began is durable when it is answered (decision 17). */
function flush(gateway: Gateway, out: GatewayEffect[]): void {
  if (gateway.flush !== undefined) return;
  if (gateway.writtenLsn <= gateway.flushedLsn && !gateway.owesFlush) return;
  gateway.flush = { lsn: gateway.writtenLsn, place: gateway.writtenPlace };
  gateway.unflushedBytes = 0;
  gateway.flushedMs = gateway.nowMs;
  out.push({ kind: "flush", session: gateway.session });
}

function flushed(
  gateway: Gateway,
  { session, failure }: Extract<GatewayEvent, { kind: "flushed" }>,
  out: GatewayEffect[],
): void {
  const done = gateway.flush;
  if (session !== gateway.session || done === undefined) return;
  gateway.flush = undefined;
  if (failure !== undefined) {
    out.push({ kind: "drop", why: failure });
    return;
  }
  gateway.owesFlush = false;
  if (done.lsn > gateway.flushedLsn) {
    gateway.flushedLsn = done.lsn;
    gateway.restart = done.place;
    forgetThrough(gateway.overlay, done.lsn);
  }
  // The journal lets go of what is behind these places; the next entry says where it is itself.
  if (isDrained(gateway)) {
    gateway.restart = undefined;
    gateway.cursor = undefined;
    drain(gateway.records);
  }
  out.push({ kind: "synced", lsn: done.lsn });
}

// ------------------------------------------------------------------------------------------------ reads

function read(gateway: Gateway, wanted: DeviceRead, out: GatewayEffect[]): void {
  const parts = look(gateway.overlay, wanted, gateway.isUp ? gateway.writtenLsn : 0);
  const needsDevice = parts.some(({ piece }) => piece === undefined);
  if (gateway.isUp || !needsDevice) out.push({ kind: "readParts", read: wanted, parts });
  else if (wanted.untilMs <= gateway.nowMs) failRead(gateway, wanted, out);
  else gateway.reads.push(wanted);
}

function failRead(gateway: Gateway, wanted: DeviceRead, out: GatewayEffect[]): void {
  out.push({ kind: "failRead", read: wanted, why: `the device is away: ${gateway.why}` });
}

function tick(gateway: Gateway, nowMs: number, out: GatewayEffect[]): void {
  gateway.nowMs = nowMs;
  const waiting = gateway.reads;
  gateway.reads = waiting.filter(({ untilMs }) => untilMs > nowMs);
  for (const late of waiting) if (late.untilMs <= nowMs) failRead(gateway, late, out);
  if (gateway.isUp && nowMs - gateway.flushedMs >= limits.deviceFlushMs) flush(gateway, out);
}
