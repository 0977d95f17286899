import { unreachable } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { DeviceFound } from "#core/device-volume.ts";
import type { Entry } from "#core/entry.ts";
import { createGateway, isCrowded, stepGateway } from "#core/gateway.ts";
import type {
  DeviceRead,
  DeviceWrite,
  Gateway,
  GatewayEffect,
  GatewayEvent,
  RecordRead,
} from "#core/gateway.ts";
import { journalSizeOf } from "#core/journal-size.ts";
import type { OverlayPart, RecordPlace } from "#core/overlay.ts";
import type { RegionMap } from "#core/region-map.ts";
import { copyOf } from "#core/region-map.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Timer } from "#ports/clock.ts";
import type { DeviceLink } from "#ports/device-link.ts";
import { sync } from "#store/log.ts";
import type { Log } from "#store/log.ts";
import { readRecords } from "#store/log-read.ts";
import type { LogRecord } from "#store/log-read.ts";
import { decodeTable } from "#wire/batch/decode.ts";
import { createDriver, drive } from "./driver.ts";
import type { Driver } from "./driver.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { openParts } from "./open-parts.ts";

// Drives the machine of a volume on a device behind a link: reads back from the journal, asks the device, puts reads together.

export type GatewayRun = {
  readonly gateway: Gateway;
  /** Entries of the volume that the journal has had since before this start; only what lies in open granules. */
  found(place: RecordPlace, entries: readonly Entry[]): void;
  /** Takes the link, and the journal that everything is read back from. `heard` once anything is known of the link. */
  begin(log: Log, heard: () => void): void;
  /** Who is told that the device has synced, and that the journal cannot be read back. */
  attach(owner: GatewayOwner): void;
  /** A batch has just been appended. */
  journaled(place: RecordPlace, entries: readonly Entry[]): void;
  /** Reads what hosts wrote, wherever it is. With `patienceMs`, waits so long for a device that is away. */
  read<C>(
    range: { readonly offset: number; readonly length: number; readonly patienceMs: number },
    context: C,
    done: (context: C, failure: IoFailure | undefined, bytes: Uint8Array) => void,
  ): void;
  /** Runs when there is room again for what the device lacks. */
  whenRoom(run: () => void): void;
  isPressed(): boolean;
  /** Ends once nothing is under way at the device; then its link is closed. */
  end(done: () => void): void;
};

export type GatewayOwner = {
  readonly synced: (lsn: number) => void;
  readonly failed: (why: string) => void;
};

type Run = {
  readonly context: GroupContext;
  readonly volume: number;
  readonly image: BlockDevice;
  readonly gateway: Gateway;
  /** Granules that were open at the start: whatever the journal has of others, the device has had for long (I18). */
  readonly startMap: RegionMap | undefined;
  startLsn: number;
  readonly driver: Driver<GatewayEvent, GatewayEffect>;
  log: Log | undefined;
  link: DeviceLink | undefined;
  timer: Timer | undefined;
  owner: GatewayOwner | undefined;
  /** Why the journal cannot be read back, or "". */
  failure: string;
  heard: (() => void) | undefined;
  readonly ended: (() => void)[];
  roomWaiters: (() => void)[];
};

/** One for each volume of the group whose image here is a device behind a link, by the volume's index. */
export function createGateways(context: GroupContext): (GatewayRun | undefined)[] {
  return context.images.map((image, volume) =>
    image.takeLink === undefined ? undefined : createGatewayRun(context, image, volume),
  );
}

function createGatewayRun(context: GroupContext, image: BlockDevice, volume: number): GatewayRun {
  const name = context.config.volumes[volume]?.name ?? "";
  const address = context.config.volumes[volume]?.at.get(context.site) ?? "";
  const nowMs = context.ports.clock.nowMs();
  const flushBytes = journalSizeOf(context.config.journal.bytesMax).deviceFlushBytes;
  const gateway = createGateway({ volume: name, address, nowMs, flushBytes });
  const openMap = context.store.openMaps[volume]?.map;
  const run: Run = {
    context,
    volume,
    image,
    gateway,
    startMap: openMap === undefined ? undefined : copyOf(openMap),
    startLsn: 0,
    driver: createDriver(
      (event, out) => stepGateway(gateway, event, out),
      (effect) => perform(run, effect),
    ),
    log: undefined,
    link: undefined,
    timer: undefined,
    owner: undefined,
    failure: "",
    heard: undefined,
    ended: [],
    roomWaiters: [],
  };
  return {
    gateway,
    found: (place, entries) => found(run, place, entries),
    begin: (log, heard) => begin(run, log, heard),
    attach(owner) {
      run.owner = owner;
      if (run.failure !== "") owner.failed(run.failure);
    },
    journaled: (place, entries) => journaled(run, place, entries),
    read: ({ offset, length, patienceMs }, context_, done) =>
      submit(run, {
        kind: "read",
        read: {
          offset,
          length,
          untilMs: gateway.nowMs + patienceMs,
          done: (failure, bytes) => done(context_, failure, bytes),
        },
      }),
    whenRoom: (waiter) => run.roomWaiters.push(waiter),
    isPressed: () => isCrowded(gateway),
    end(done) {
      run.ended.push(done);
      submit(run, { kind: "end" });
    },
  };
}

function submit(run: Run, event: GatewayEvent): void {
  drive(run.driver, event);
}

function begin(run: Run, log: Log, heard: () => void): void {
  const { clock } = run.context.ports;
  run.log = log;
  run.heard = heard;
  run.timer = clock.every(limits.tickMs, () => {
    submit(run, { kind: "tick", nowMs: clock.nowMs() });
    freeRoom(run);
  });
  run.link = run.image.takeLink?.({
    onUp() {
      submit(run, { kind: "up" });
      tellHeard(run);
    },
    onDown(why, isRefused) {
      submit(run, { kind: "down", why, isRefused });
      tellHeard(run);
    },
  });
}

function tellHeard(run: Run): void {
  const { heard } = run;
  run.heard = undefined;
  heard?.();
}

function freeRoom(run: Run): void {
  if (run.roomWaiters.length === 0 || isCrowded(run.gateway)) return;
  const waiters = run.roomWaiters;
  run.roomWaiters = [];
  for (const waiter of waiters) waiter();
}

// ------------------------------------------------------------------------------------------- journal

function found(run: Run, place: RecordPlace, entries: readonly Entry[]): void {
  const writes = writesOf(run, entries, undefined).map(({ lsn, offset, length, at }) => ({
    lsn,
    offset,
    length,
    at,
  }));
  for (const { lsn } of entries) run.startLsn = Math.max(run.startLsn, lsn);
  const missing = writesOfOpen(run, writes);
  if (missing.length > 0) submit(run, { kind: "journaled", place, writes: missing });
}

type Placed = {
  readonly lsn: number;
  readonly offset: number;
  readonly length: number;
  readonly at: number | undefined;
};

function writesOfOpen(run: Run, writes: readonly Placed[]): Placed[] {
  const { startMap } = run;
  if (startMap === undefined) return [];
  return writes.flatMap((write) =>
    openParts(startMap, write).map(({ offset, length }) => {
      const at = write.at === undefined ? undefined : write.at + offset - write.offset;
      return { lsn: write.lsn, offset, length, at };
    }),
  );
}

function journaled(run: Run, place: RecordPlace, entries: readonly Entry[]): void {
  const writes = writesOf(run, entries, undefined);
  if (writes.length > 0) submit(run, { kind: "journaled", place, writes });
}

/** The writes of this volume, each with where its bytes begin in the payload of the record. */
function writesOf(
  run: Run,
  entries: readonly Entry[],
  payload: Uint8Array | undefined,
): (Placed & DeviceWrite)[] {
  const writes: (Placed & DeviceWrite)[] = [];
  let end = 0;
  for (const { kind, lsn, offset, length, volume, mayPunch } of entries) {
    const at = end;
    if (kind === "write") end += length;
    if (kind === "seal" || volume !== run.volume) continue;
    const isWrite = kind === "write";
    writes.push({
      lsn,
      offset,
      length,
      at: isWrite ? at : undefined,
      bytes: isWrite ? payload?.subarray(at, end) : undefined,
      mayPunch,
    });
  }
  return writes;
}

// The journal is never behind the device, or a power cut would leave there what the journal does not have: no FLUSH of a host
// would reach it, and the device could still forget it. One sync serves all that was appended before it. After one that has
// failed, the device alone may have what was acked: it gets what there is, and whoever appends or syncs next ends the primary.
function readBack(run: Run, session: number, from: RecordPlace): void {
  const { log } = run;
  if (log === undefined) return;
  const through = log.lastRecord;
  sync(log, () => readSynced(run, session, { log, from, through }));
}

function readSynced(
  run: Run,
  session: number,
  {
    log,
    from,
    through,
  }: { readonly log: Log; readonly from: RecordPlace; readonly through: number },
): void {
  readRecords(log, from, limits.journalReadBytes, (read) => {
    if ("code" in read) return unreadable(run, session, read.message);
    const records = read.records.filter(({ number }) => number <= through);
    if (records.length === 0)
      return unreadable(run, session, `record ${from.number} of the journal is not there`);
    const results: RecordRead[] = [];
    for (const [i, record] of records.entries()) {
      const writes = deviceWrites(run, record);
      if (writes === undefined)
        return unreadable(run, session, `record ${record.number} is no batch`);
      results.push({ writes, next: read.records[i + 1]?.place ?? read.next });
    }
    submit(run, { kind: "recordsRead", session, records: results });
  });
}

function deviceWrites(run: Run, { table, payload }: LogRecord): DeviceWrite[] | undefined {
  const entries = decodeTable(table, payload.length);
  if (!entries.ok) return undefined;
  return writesOf(run, entries.value, payload).flatMap((write) =>
    write.lsn > run.startLsn ? [write] : partsOf(run, write),
  );
}

function partsOf(run: Run, write: DeviceWrite): DeviceWrite[] {
  if (run.startMap === undefined) return [];
  return openParts(run.startMap, write).map(({ offset, length }) => {
    const from = offset - write.offset;
    return { ...write, offset, length, bytes: write.bytes?.subarray(from, from + length) };
  });
}

// What cannot be read back the device will lack for ever: nothing is acked any more on top of that (row 45).
function unreadable(run: Run, session: number, why: string): void {
  if (session !== run.gateway.session || run.gateway.isEnding) return;
  run.failure = `the journal cannot be read back for the device of ${run.gateway.volume}: ${why}`;
  run.owner?.failed(run.failure);
}

// -------------------------------------------------------------------------------------------- effects

function perform(run: Run, effect: GatewayEffect): void {
  switch (effect.kind) {
    case "readRecords":
      return readBack(run, effect.session, effect.from);
    case "write":
      return write(run, effect);
    case "flush":
      return flush(run, effect.session);
    case "readParts":
      return readParts(run, effect.read, effect.parts);
    case "failRead":
      return effect.read.done({ code: "EIO", message: effect.why }, new Uint8Array(0));
    case "drop":
      return run.link?.drop(effect.why);
    case "synced":
      return run.owner?.synced(effect.lsn);
    case "event":
      return emit(run.context, effect.event);
    case "ended":
      return ended(run);
    default:
      return unreachable(effect);
  }
}

function write(
  run: Run,
  { session, write: what }: { readonly session: number; readonly write: DeviceWrite },
): void {
  const answered = (_: undefined, failure: IoFailure | undefined): void => {
    // A lost link is told by itself, and takes all of its requests along.
    if (failure?.code === "ENOTCONN") return;
    submit(run, { kind: "written", session, write: what, failure: failure?.message });
  };
  const { offset, length, bytes, mayPunch } = what;
  if (bytes === undefined) run.link?.zero(offset, length, mayPunch, undefined, answered);
  else run.link?.write(offset, [bytes], undefined, answered);
}

function flush(run: Run, session: number): void {
  run.link?.flush((failure) => {
    if (failure?.code === "ENOTCONN") return;
    submit(run, { kind: "flushed", session, failure: failure?.message });
  });
}

function readParts(run: Run, read: DeviceRead, parts: readonly OverlayPart[]): void {
  const { link } = run;
  const [only] = parts;
  if (link !== undefined && parts.length === 1 && only?.piece === undefined) {
    return link.read(read.offset, read.length, undefined, (_, failure, bytes) => {
      if (failure?.code === "ENOTCONN") readAgain(run, read);
      else read.done(failure, bytes);
    });
  }
  const bytes = new Uint8Array(read.length);
  let missing = 1;
  let failed: IoFailure | undefined;
  const answered = (failure: IoFailure | undefined): void => {
    failed ??= failure;
    missing -= 1;
    if (missing > 0) return;
    // A link was lost, or the journal let go what the device has by now: it is looked for again.
    if (failed?.code === "ENOTCONN" || failed?.code === "ENOENT") readAgain(run, read);
    else read.done(failed, failed === undefined ? bytes : bytes.subarray(0, 0));
  };
  for (const part of parts) {
    missing += 1;
    readPart(run, part, bytes.subarray(part.offset - read.offset), answered);
  }
  answered(undefined);
}

// Once the link has told of its loss: what was under way fails before that.
function readAgain(run: Run, read: DeviceRead): void {
  run.context.ports.clock.soon(() => submit(run, { kind: "read", read }));
}

function readPart(
  run: Run,
  { offset, length, piece }: OverlayPart,
  into: Uint8Array,
  done: (failure: IoFailure | undefined) => void,
): void {
  if (piece === undefined) {
    run.link?.read(offset, length, undefined, (_, failure, bytes) => {
      if (failure === undefined) into.set(bytes);
      done(failure);
    });
    return;
  }
  const { at, place } = piece;
  if (at === undefined || run.log === undefined) return done(undefined);
  readRecords(run.log, place, limits.deviceReadBackBytes, (read) => {
    if ("code" in read) return done(read);
    const [record] = read.records;
    if (record === undefined)
      return done({ code: "EIO", message: `record ${place.number} of the journal is not there` });
    into.set(record.payload.subarray(at, at + length));
    done(undefined);
  });
}

function ended(run: Run): void {
  run.timer?.cancel();
  run.link?.close();
  tellHeard(run);
  for (const waiter of run.roomWaiters.splice(0)) waiter();
  for (const done of run.ended.splice(0)) done();
}

/** Where the volume stands, for the machine of the primary. */
export function deviceFound(run: GatewayRun | undefined): DeviceFound | undefined {
  if (run === undefined) return undefined;
  const { appendedLsn, flushedLsn } = run.gateway;
  return { lastLsn: appendedLsn, coveredLsn: flushedLsn };
}
