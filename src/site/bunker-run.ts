import { must, unreachable } from "#base/assert.ts";
import { totalBytes } from "#base/bytes.ts";
import type { IoFailure, Result } from "#base/errors.ts";
import { createBunker, stepBunker } from "#core/bunker.ts";
import type { Bunker, BunkerEffect, BunkerEvent } from "#core/bunker.ts";
import type { Entry } from "#core/entry.ts";
import type { BunkerRecord } from "#core/group-record.ts";
import { generationCounter } from "#core/history.ts";
import { noPosition, positionOf } from "#core/log-position.ts";
import type { Timer } from "#ports/clock.ts";
import { saveRecord } from "#store/group-store.ts";
import { isSyncAwaited, sync } from "#store/log.ts";
import { removeOtherLogs } from "#store/log-files.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { decodeJson, reasonIn } from "#wire/peer/decode.ts";
import { parseBegin } from "#wire/peer/documents.ts";
import type { SessionOpen, SessionOpened } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { createDriver, drive } from "./driver.ts";
import type { Driver } from "./driver.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import {
  appendRecord,
  closeJournal,
  firstSetThere,
  openJournalLog,
  reclaimThrough,
} from "./journal-run.ts";
import type { AppendedBatch, JournalRun, OpenedJournal } from "./journal-run.ts";
import { createRelay } from "./relay.ts";
import type { Relay } from "./relay.ts";
import { hasRoom, retryMs } from "./room.ts";
import { sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { receivedRecord } from "./record-frame.ts";
import { createSessionWire, failWire, sendBare } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import { traceBatch, traceIn, traceOut } from "./trace-session.ts";

// Drives a bunker: records that come in go to its log as they are, answers go out. It decides nothing.

export type BunkerRun = {
  readonly bunker: Bunker;
  /** The log as it lies; undefined while another one is being made. */
  log(): JournalRun | undefined;
  fedBy(): string | undefined;
  /** Takes a session that the group's door has let in. Answers why it is not wanted now, or "". */
  accept(peer: Peer, open: SessionOpen): string;
  toldFractured(lsn: number, why: string): void;
  /** Takes nothing from the generation that it holds any more. Calls back when that is on record. */
  activate(site: string, done: () => void): void;
  /** May be fed again by the primary of the generation that it holds. Calls back when that is on record. */
  deactivate(site: string, done: () => void): void;
  /** Ends the set that the log ends in with a SEAL; calls back when that is synced. */
  appendSeal(seal: Entry, done: (failure: string | undefined) => void): void;
  /** Connections over which the log is read: they end with the run. Who adds one takes it out when it is lost. */
  readonly readers: Set<Peer>;
  /** An inquiry of this site was answered by another, or is not any more: a copy that is fed from here may be there. */
  siteAnswered(site: string, roundTripMs: number): void;
  siteDown(site: string, why: string): void;
  close(why: string): void;
  dispose(): void;
};

type Run = {
  readonly context: GroupContext;
  readonly bunker: Bunker;
  /** Our own records cannot be written: the group cannot go on here. */
  readonly onFailed: (why: string) => void;
  log: JournalRun | undefined;
  readonly driver: Driver<BunkerEvent, BunkerEffect>;
  wire: SessionWire | undefined;
  /** Counts the sessions of this process. */
  sessions: number;
  isClosed: boolean;
  readonly readers: Set<Peer>;
  readonly activateWaiters: (() => void)[];
  readonly deactivateWaiters: (() => void)[];
  /** What the largest record takes that could not be appended. */
  neededBytes: number;
  roomTimer: Timer | undefined;
  /** Feeds copies from here: a bunker of any group may be a relay. */
  readonly relay: Relay;
};

// Whoever dials it next opens it anew (site/path-bunker.ts).
const pathHelp = { onFailure: "it is opened again", withoutRoom: "it is opened again" };

/**
 * Opens the log that the record names, or makes one. `done` gets the run, which waits for its log where the disk has none to
 * give yet: until then its end is unknown, and whoever would feed it, or read it, is refused.
 */
export function startBunkerRun(
  context: GroupContext,
  onFailed: (why: string) => void,
  done: (result: Result<BunkerRun>) => void,
): void {
  const { record, randomId } = context.store;
  record.bunker ??= { logId: randomId(), isWhole: false };
  openBunkerLog(context, record.bunker, (opened) => {
    // Whoever dials a path next opens it anew; a sync that failed takes a restart.
    const mayWait = !opened.ok && opened.trouble === "io" && context.isOnPath !== true;
    if (!opened.ok && !mayWait) return done(opened);
    const log = opened.ok ? opened.value : undefined;
    for (const why of log?.log.damage ?? []) emit(context, { kind: "damage", why });
    const run = createRun(context, onFailed, log);
    if (!opened.ok)
      submit(run, { kind: "notRenewed", why: `the log cannot be opened: ${opened.error}` });
    done({ ok: true, value: runOf(run) });
  });
}

function createRun(
  context: GroupContext,
  onFailed: (why: string) => void,
  log: JournalRun | undefined,
): Run {
  const end = log?.end ?? noPosition;
  const run: Run = {
    context,
    bunker: createBunker(context.store.record, end, context.isOnPath ? pathHelp : undefined),
    onFailed,
    log,
    driver: createDriver(
      (event, out) => stepBunker(run.bunker, event, out),
      (effect) => perform(run, effect),
    ),
    wire: undefined,
    sessions: 0,
    isClosed: false,
    readers: new Set(),
    activateWaiters: [],
    deactivateWaiters: [],
    neededBytes: 0,
    roomTimer: undefined,
    relay: createRelay({ context, log: () => run.log, wire: () => run.wire }),
  };
  return run;
}

/** Why its log cannot be read now. */
export function whyNoLog({ bunker }: Pick<BunkerRun, "bunker">): string {
  return bunker.failure === "" ? "this bunker is beginning its log anew" : bunker.failure;
}

function runOf(run: Run): BunkerRun {
  return {
    bunker: run.bunker,
    log: () => run.log,
    fedBy: () => run.wire?.peer.site,
    accept: (peer, open) => accept(run, peer, open),
    toldFractured(lsn, why) {
      // While a session feeds us, what we were told is of the past.
      if (run.wire === undefined) submit(run, { kind: "toldFractured", lsn, why });
    },
    activate(site, done) {
      run.activateWaiters.push(done);
      submit(run, { kind: "activate", site });
    },
    deactivate(site, done) {
      run.deactivateWaiters.push(done);
      submit(run, { kind: "deactivate", site });
    },
    appendSeal: (seal, done) => appendSeal(run, seal, done),
    readers: run.readers,
    close(why) {
      run.wire?.peer.connection.close(why);
      for (const reader of run.readers) reader.connection.close(why);
    },
    siteAnswered: (site, roundTripMs) => run.relay.siteAnswered(site, roundTripMs),
    siteDown: (site, why) => run.relay.siteDown(site, why),
    dispose() {
      run.isClosed = true;
      run.relay.endAll("this site is stopping");
      run.roomTimer?.cancel();
      if (run.log !== undefined) closeJournal(run.log);
    },
  };
}

// At least as large as the primary's (U38): where that lets a segment go, ours may end elsewhere, and a little later.
function openBunkerLog(
  { config, store }: GroupContext,
  { logId }: BunkerRecord,
  done: (result: OpenedJournal) => void,
): void {
  const { folder } = store;
  removeOtherLogs(folder, "bunker", logId);
  const bytesMax = config.journal.bytesMax + Math.ceil(config.journal.bytesMax / 2);
  const where = { folder, kind: "bunker", logId, bytesMax } as const;
  openJournalLog(where, { isWhole: true, reserved: 1 }, done);
}

// ------------------------------------------------------------------------------------------ session

function accept(run: Run, peer: Peer, open: SessionOpen): string {
  if (run.bunker.failure !== "" || run.log === undefined) return whyNoLog(run);
  run.wire?.peer.connection.close("the primary has opened a newer session");
  leaveWire(run, "the primary has opened a newer session");
  sendDocument(peer, frameType.opened, openedDocument(run));
  const generation = generationCounter(open.history);
  const wire = createSessionWire(peer, generation, open.epoch, run.context.ports.crypto);
  run.wire = wire;
  run.sessions += 1;
  const session = run.sessions;
  submit(run, { kind: "opened", session, from: peer.site });
  peer.onFrame = (frame) => receive(run, wire, session, frame);
  peer.onLost = (why) => {
    if (run.wire === wire) leaveWire(run, why);
    submit(run, { kind: "lost", session });
  };
  sendBare(wire, frameType.openMapEnd, {});
  return "";
}

// Whoever fed us tells us no more whom to feed.
function leaveWire(run: Run, why: string): void {
  run.wire = undefined;
  run.relay.endAll(why);
}

function openedDocument({ bunker, log }: Run): SessionOpened {
  const { record, end } = bunker;
  return {
    replicaId: record.replicaId,
    history: record.history,
    role: record.role,
    image: record.image,
    isBlank: record.syncedAt === undefined,
    mustRewrite: false,
    aloneTowards: [],
    receivedLsn: end.lsn,
    appliedLsn: 0,
    completeSet: 0,
    completeLsn: 0,
    preservedPoint: null,
    logEnd: end,
    ...(record.discarding === undefined ? {} : { discards: record.discarding.favours }),
    ...(log === undefined ? {} : { logFirstSet: firstSetThere(log) }),
  };
}

function receive(run: Run, wire: SessionWire, session: number, frame: Frame): void {
  const { header } = frame;
  if (run.wire !== wire) return;
  // A late frame of another tenure or session does no harm (I28, N4).
  if (header.generation !== wire.generation || header.epoch !== wire.epoch) return;
  traceIn(run.context, run.context.site, header);
  const { lsn, set } = header;
  switch (header.type) {
    case frameType.record:
      return takeRecord(run, wire, session, frame);
    case frameType.flush:
      return submit(run, { kind: "flush", session, ticket: header.index, lsn });
    case frameType.released:
      return submit(run, { kind: "released", session, lsn, set });
    case frameType.synchronized:
      return submit(run, { kind: "synchronized", session, lsn });
    case frameType.begin:
      return takeBegin(run, wire, session, frame);
    case frameType.fractured:
      return submit(run, {
        kind: "toldFractured",
        lsn,
        why: reasonIn(frame) ?? "the primary gave no reason",
      });
    case frameType.feed:
    case frameType.feedEnd:
    case frameType.applied:
      return run.relay.receive(frame);
    default:
      return wire.peer.connection.close(`a bunker takes no frame of type ${header.type}`);
  }
}

function takeBegin(run: Run, wire: SessionWire, session: number, frame: Frame): void {
  const document = decodeJson(frame);
  const begin = document.ok ? parseBegin(document.value) : document;
  if (!begin.ok) return wire.peer.connection.close(begin.error);
  const { history, incarnation, lsnReserved, log } = begin.value;
  if (log === undefined) return wire.peer.connection.close("a BEGIN that says nothing of the log");
  const { anew, releasedLsn, releasedSet } = log;
  const released = { lsn: releasedLsn, set: releasedSet };
  submit(run, {
    kind: "begin",
    session,
    begin: { history, incarnation, lsnReserved, anew, released },
  });
}

function takeRecord(run: Run, wire: SessionWire, session: number, frame: Frame): void {
  const record = receivedRecord(frame);
  if (!record.ok) return wire.peer.connection.close(record.error);
  const { follows, entries, table, payload } = record.value;
  const { context } = run;
  const { generation, epoch } = wire;
  traceBatch(context, "in", { copy: context.site, generation, epoch }, entries);
  const raw: Raw = { table, payload };
  submit(run, { kind: "batch", session, follows, entries, raw });
}

type Raw = Pick<AppendedBatch, "table" | "payload">;

// ----------------------------------------------------------------------------------------- effects

function submit(run: Run, event: BunkerEvent): void {
  drive(run.driver, event);
}

function perform(run: Run, effect: BunkerEffect): void {
  const { context } = run;
  switch (effect.kind) {
    case "record":
      return saveRecord(context.store, (failure) => {
        if (failure === undefined) submit(run, { kind: "recorded", ticket: effect.ticket });
        else run.onFailed(`the group's record cannot be written: ${failure.message}`);
      });
    case "renewLog":
      return renew(run, effect.session);
    case "append":
      return append(run, effect);
    case "awaitTurnEnd":
      return context.ports.clock.soon(() => submit(run, { kind: "turnEnd" }));
    case "sync":
      return syncLog(run, effect.session, effect.tickets);
    case "awaitRoom":
      return awaitRoom(run, 0);
    case "reclaim":
      return reclaim(run, effect.lsn, effect.set);
    case "event":
      return emit(context, effect.event);
    case "activated":
      return activated(run, effect.why);
    case "deactivated":
      for (const waiter of run.deactivateWaiters.splice(0)) waiter();
      return;
    default:
      return answer(run, effect);
  }
}

type Answer = Extract<
  BunkerEffect,
  { kind: "sendBegun" | "sendLogged" | "sendFlushed" | "sendSynchronizedRecorded" | "failSession" }
>;

function answer(run: Run, effect: Answer): void {
  const { wire } = run;
  if (wire === undefined) return;
  switch (effect.kind) {
    case "sendBegun":
      sendBare(wire, frameType.begun, {});
      break;
    case "sendLogged": {
      const { lsn, set, index } = effect.through;
      sendBare(wire, frameType.logged, { lsn, set, index });
      break;
    }
    case "sendFlushed":
      sendBare(wire, frameType.flushed, { index: effect.ticket });
      break;
    case "sendSynchronizedRecorded":
      sendBare(wire, frameType.synchronizedRecorded, {});
      break;
    case "failSession":
      leaveWire(run, effect.why);
      return failWire(wire, { why: effect.why });
    default:
      return unreachable(effect);
  }
  traceOut(run.context, run.context.site, wire.scratch);
}

// The old primary may still feed us: it hears of it before whoever asked for the log.
function activated(run: Run, why: string): void {
  const { wire } = run;
  leaveWire(run, why);
  if (wire !== undefined) failWire(wire, { why, code: "activated" });
  for (const waiter of run.activateWaiters.splice(0)) waiter();
}

// --------------------------------------------------------------------------------------------- log

function appendSeal(run: Run, seal: Entry, done: (failure: string | undefined) => void): void {
  const { log } = run;
  if (log === undefined) return done("the log is being made");
  const number = appendRecord(log, { entries: [seal], table: encodeTable([seal]), payload: [] });
  if (number === "full") return done("the log of this bunker is full");
  if (typeof number === "object") return done(number.message);
  submit(run, { kind: "appended", through: positionOf(seal) });
  sync(log.log, (failure) => done(failure?.message));
}

function append(run: Run, effect: Extract<BunkerEffect, { kind: "append" }>): void {
  const log = must(run.log, "a record was taken while the log is being made");
  const { entries } = effect;
  const raw = effect.raw as Raw;
  const follows = log.end;
  const number = appendRecord(log, { entries, ...raw });
  run.neededBytes = Math.max(run.neededBytes, raw.table.length + totalBytes(raw.payload));
  if (number === "full") run.relay.lacksRoom();
  if (number === "full" || typeof number === "object")
    return submit(run, { kind: "appendFailed", failure: number });
  const through = positionOf(must(entries.at(-1), "a batch has an entry"));
  if (run.context.isOnPath !== true) {
    run.relay.grew({ follows, number, entries, ...raw });
    return submit(run, { kind: "appended", through });
  }
  // What another machine has is what was synced: the page cache is of the primary's own, and is lost with it.
  sync(log.log, (failure) => {
    if (run.log !== log) return;
    if (failure === undefined) submit(run, { kind: "appended", through });
    else submit(run, { kind: "appendFailed", failure });
  });
}

// Where no host waits for this log (`onLoss: off`) nobody has it synced either, and it would be full of what nobody needs.
function reclaim(run: Run, lsn: number, set: number): void {
  const { log } = run;
  if (log === undefined) return;
  reclaimThrough(log, { lsn, set });
  if (isSyncAwaited(log.log)) syncLog(run, run.sessions, []);
}

function syncLog(run: Run, session: number, tickets: readonly number[]): void {
  const log = must(run.log, "a flush was asked for while the log is being made");
  const tell = (failure: IoFailure | undefined): void => {
    // Of a log that was given up nothing matters any more.
    if (run.log === log) submit(run, { kind: "synced", session, tickets, failure });
  };
  sync(log.log, tell);
}

/**
 * Another log, under another id: on record before it is made, so that nothing of the one before it is ever taken for its end.
 */
function renew(run: Run, session: number): void {
  const { context } = run;
  const { record, randomId } = context.store;
  closeLog(run, "the log begins anew");
  const renewed = { logId: randomId(), isWhole: false };
  record.bunker = renewed;
  saveRecord(context.store, (failure) => {
    if (failure !== undefined)
      return run.onFailed(`the group's record cannot be written: ${failure.message}`);
    openBunkerLog(context, renewed, (opened) => {
      const why = `the log cannot be made: ${opened.ok ? "" : opened.error}`;
      if (!opened.ok) return submit(run, { kind: "notRenewed", why });
      if (run.isClosed) return closeJournal(opened.value);
      run.log = opened.value;
      submit(run, { kind: "renewed", session });
    });
  });
}

function closeLog(run: Run, why: string): void {
  run.relay.endAll(why);
  for (const reader of run.readers) reader.connection.close(why);
  if (run.log !== undefined) closeJournal(run.log);
  run.log = undefined;
}

/**
 * A log that could not be appended to is sound as far as it goes: it is opened again once there is room, like a staging
 * log.
 */
function awaitRoom(run: Run, tries: number): void {
  const { context } = run;
  if (context.isOnPath === true) return;
  run.roomTimer = context.ports.clock.after(retryMs(tries), () => {
    const { log } = run.log ?? {};
    // Whether a sync that is under way fails is to be known first.
    if (log?.isSyncing === true || log?.isRemoving === true) return awaitRoom(run, tries);
    if (log?.hasLostSync === true)
      return submit(run, { kind: "unsound", why: "fdatasync of the log failed" });
    if (!hasRoom(context.store.folder, "bunker", run.neededBytes)) return awaitRoom(run, tries + 1);
    reopen(run, tries + 1);
  });
}

function reopen(run: Run, tries: number): void {
  const known = must(run.context.store.record.bunker, "a bunker has a log on record");
  closeLog(run, "the log is opened again");
  openBunkerLog(run.context, known, (opened) => {
    if (run.isClosed) return void (opened.ok && closeJournal(opened.value));
    if (!opened.ok) return awaitRoom(run, tries);
    run.log = opened.value;
    run.neededBytes = 0;
    submit(run, { kind: "reopened", end: opened.value.end });
  });
}
