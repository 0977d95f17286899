import { unreachable } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import type { EventRecord } from "#ports/events.ts";
import type { Entry } from "./entry.ts";
import type { GroupRecord } from "./group-record.ts";
import { generationCounter } from "./history.ts";
import type { History } from "./history.ts";
import {
  describe,
  gapBefore,
  isBehind,
  isSamePosition,
  noPosition,
  positionOf,
} from "./log-position.ts";
import type { LogPosition } from "./log-position.ts";

// The machine of a bunker: a site that keeps the group's log, record by record, and no volume (SPEC-bunker.md). Whatever it
// promises rests on what is done: a generation is adopted before the first record of it is appended, an LSN is told when its
// record is in the log, a FLUSH answered when the log is synced.

export type Bunker = {
  readonly record: GroupRecord;
  /** The last entry that the log has; and the last that was taken, while its append is on its way. */
  end: LogPosition;
  taken: LogPosition;
  session: BunkerSession | undefined;
  /** Flushes of the session that wait for their LSN, in the order of their coming. */
  flushes: { readonly ticket: number; readonly lsn: number }[];
  /** `end` is to be told when the turn ends. */
  isAckDue: boolean;
  /** Counts the records asked for. */
  ticket: number;
  /** What follows each of them, once it is durable. */
  readonly recordActions: {
    readonly ticket: number;
    readonly session: number;
    readonly action: RecordAction;
  }[];
  /** The log cannot be written, or proves nothing any more: no session is had before it is opened again. */
  failure: string;
  readonly help: BunkerHelp;
};

/** What it takes to go on with a log that cannot be written, for people. */
export type BunkerHelp = {
  /** A sync has failed. */
  readonly onFailure: string;
  /** It is sound as far as it goes. */
  readonly withoutRoom: string;
};

const siteHelp: BunkerHelp = {
  onFailure: "this site must be started again",
  withoutRoom: "it is tried again by itself, and goes on once there is room",
};

type RecordAction = "begun" | "synchronizedRecorded" | "activated" | "deactivated" | "none";

export type BunkerSession = {
  readonly number: number;
  readonly from: string;
  /** BEGIN is on record, and the log is the one that follows. */
  isBegun: boolean;
};

/** What BEGIN tells a bunker. */
export type BunkerBegin = {
  readonly history: History;
  readonly incarnation: number;
  readonly lsnReserved: number;
  readonly anew: boolean;
  readonly released: { readonly lsn: number; readonly set: number };
};

export type BunkerEvent =
  | { readonly kind: "opened"; readonly session: number; readonly from: string }
  | { readonly kind: "lost"; readonly session: number }
  | { readonly kind: "begin"; readonly session: number; readonly begin: BunkerBegin }
  /** A new, empty log is there, and on record. */
  | { readonly kind: "renewed"; readonly session: number }
  | {
      readonly kind: "batch";
      readonly session: number;
      readonly follows: LogPosition;
      readonly entries: readonly Entry[];
      /** What the log stores, for the driver. */
      readonly raw: unknown;
    }
  | { readonly kind: "appended"; readonly through: LogPosition }
  | { readonly kind: "appendFailed"; readonly failure: IoFailure | "full" }
  /** The log that the record names cannot be made. */
  | { readonly kind: "notRenewed"; readonly why: string }
  /** The same log is opened again; or the one that could not be made is there. */
  | { readonly kind: "reopened"; readonly end: LogPosition }
  /** A sync of a log that waits for room has failed. */
  | { readonly kind: "unsound"; readonly why: string }
  | { readonly kind: "turnEnd" }
  | {
      readonly kind: "flush";
      readonly session: number;
      readonly ticket: number;
      readonly lsn: number;
    }
  | {
      readonly kind: "synced";
      readonly session: number;
      readonly tickets: readonly number[];
      readonly failure: IoFailure | undefined;
    }
  | {
      readonly kind: "released";
      readonly session: number;
      readonly lsn: number;
      readonly set: number;
    }
  | { readonly kind: "synchronized"; readonly session: number; readonly lsn: number }
  /** The log is to bring up the copy at this site, as if this were the primary. */
  | { readonly kind: "activate"; readonly site: string }
  /** That copy's operator has called it off: the primary may feed this site again. */
  | { readonly kind: "deactivate"; readonly site: string }
  /** The primary goes on, or went on, without this site. */
  | { readonly kind: "toldFractured"; readonly lsn: number; readonly why: string }
  | { readonly kind: "recorded"; readonly ticket: number };

export type BunkerEffect =
  | { readonly kind: "record"; readonly ticket: number }
  /** Put another log on record, then make it; then `renewed`. */
  | { readonly kind: "renewLog"; readonly session: number }
  | { readonly kind: "append"; readonly entries: readonly Entry[]; readonly raw: unknown }
  | { readonly kind: "awaitTurnEnd" }
  | { readonly kind: "sync"; readonly session: number; readonly tickets: readonly number[] }
  /** Open the log again once it may be written; then `reopened`, or `unsound`. */
  | { readonly kind: "awaitRoom" }
  | { readonly kind: "reclaim"; readonly lsn: number; readonly set: number }
  | { readonly kind: "sendBegun" }
  | { readonly kind: "sendLogged"; readonly through: LogPosition }
  | { readonly kind: "sendFlushed"; readonly ticket: number }
  | { readonly kind: "sendSynchronizedRecorded" }
  | { readonly kind: "failSession"; readonly why: string }
  /** It is on record: the old primary is told, and whoever asked for the log may have it. */
  | { readonly kind: "activated"; readonly why: string }
  /** It is on record that this site may be fed again. */
  | { readonly kind: "deactivated" }
  | { readonly kind: "event"; readonly event: Omit<EventRecord, "group"> };

type Out = BunkerEffect[];
type Event<Kind> = Extract<BunkerEvent, { kind: Kind }>;

export function createBunker(
  record: GroupRecord,
  end: LogPosition,
  help: BunkerHelp = siteHelp,
): Bunker {
  return {
    record,
    end,
    taken: end,
    session: undefined,
    flushes: [],
    isAckDue: false,
    ticket: 0,
    recordActions: [],
    failure: "",
    help,
  };
}

/** Moves the machine by one event. Effects are appended to `out`, to be performed in order. */
export function stepBunker(bunker: Bunker, event: BunkerEvent, out: Out): void {
  if (isLate(bunker, event)) return;
  switch (event.kind) {
    case "opened":
      endSession(bunker);
      bunker.session = { number: event.session, from: event.from, isBegun: false };
      return;
    case "lost":
      return endSession(bunker);
    case "begin":
      return begin(bunker, event.begin, out);
    case "renewed":
      return renewed(bunker, out);
    case "batch":
      return take(bunker, event, out);
    case "appended":
      return appended(bunker, event.through, out);
    case "appendFailed":
      return appendFailed(bunker, event.failure, out);
    case "notRenewed":
      return lackRoom(bunker, event.why, out);
    case "reopened":
      return reopened(bunker, event.end, out);
    case "unsound":
      bunker.failure = "";
      return noteFailure(bunker, event.why, out);
    case "turnEnd":
      return tellEnd(bunker, out);
    case "flush":
      bunker.flushes.push({ ticket: event.ticket, lsn: event.lsn });
      return flushDue(bunker, out);
    case "synced":
      return synced(bunker, event, out);
    case "released":
      return void out.push({ kind: "reclaim", lsn: event.lsn, set: event.set });
    case "synchronized":
      return becomeWhole(bunker, event.lsn, out);
    case "activate":
      return activate(bunker, event.site, out);
    case "deactivate":
      return deactivate(bunker, event.site, out);
    case "toldFractured":
      return toldFractured(bunker, event, out);
    case "recorded":
      return recorded(bunker, event.ticket, out);
    default:
      return unreachable(event);
  }
}

// What an ended session still brings is of the past (N4). A sync that failed is not: what it was to make durable is here still,
// and whoever feeds us by now rests on it.
function isLate(bunker: Bunker, event: BunkerEvent): boolean {
  if (event.kind === "opened" || !("session" in event)) return false;
  if (event.kind === "synced" && event.failure !== undefined) return false;
  return bunker.session?.number !== event.session;
}

// ----------------------------------------------------------------------------------------- session

function endSession(bunker: Bunker): void {
  bunker.session = undefined;
  bunker.flushes = [];
  bunker.isAckDue = false;
}

function failSession(bunker: Bunker, why: string, out: Out): void {
  endSession(bunker);
  out.push({ kind: "failSession", why });
}

// That everything acked is here is on record again when this session has brought it, and not before.
function begin(bunker: Bunker, told: BunkerBegin, out: Out): void {
  const { record, session } = bunker;
  if (session === undefined) return;
  if (bunker.failure !== "") return failSession(bunker, bunker.failure, out);
  if (session.isBegun) return failSession(bunker, "a session begins once", out);
  record.history = told.history;
  record.incarnation = told.incarnation;
  record.lsnReserved = Math.max(record.lsnReserved, told.lsnReserved);
  // The history that the log was given up for is the one here, by the same record.
  delete record.discarding;
  // Whoever was waited for when a replay was called off is back.
  if (record.bunker?.isCalledOff === true) {
    const { isCalledOff: _, ...log } = record.bunker;
    record.bunker = log;
  }
  setWhole(record, false);
  if (told.anew) {
    bunker.end = noPosition;
    bunker.taken = noPosition;
    return void out.push({ kind: "renewLog", session: session.number });
  }
  out.push({ kind: "reclaim", ...told.released });
  askRecord(bunker, "begun", out);
}

function renewed(bunker: Bunker, out: Out): void {
  const { session } = bunker;
  if (session === undefined) return;
  session.isBegun = true;
  out.push({ kind: "sendBegun" });
}

function setWhole(record: GroupRecord, isWhole: boolean): void {
  const { bunker } = record;
  if (bunker !== undefined) record.bunker = { ...bunker, isWhole };
}

function becomeWhole(bunker: Bunker, lsn: number, out: Out): void {
  const { record, session } = bunker;
  if (session?.isBegun !== true) return failSession(bunker, "SYNCHRONIZED came before BEGIN", out);
  setWhole(record, true);
  record.toldOfFracture = undefined;
  const generation = generationCounter(record.history);
  record.syncedAt = { lsn, generation };
  askRecord(bunker, "synchronizedRecorded", out);
  out.push({
    kind: "event",
    event: { kind: "log", why: `has everything that is acked, up to LSN ${lsn}` },
  });
}

function toldFractured(bunker: Bunker, { lsn, why }: Event<"toldFractured">, out: Out): void {
  const { record } = bunker;
  if (record.toldOfFracture !== undefined) return;
  record.toldOfFracture = { lsn, why };
  setWhole(record, false);
  askRecord(bunker, "none", out);
}

/**
 * From now on nothing of this generation is taken any more, and no LSN of it told: an ack that the old primary gives after this
 * could not rest on us. It is told once that is on record, so that no restart of ours forgets it (decision 6).
 */
function activate(bunker: Bunker, site: string, out: Out): void {
  const { record } = bunker;
  endSession(bunker);
  bunker.taken = bunker.end;
  if (record.bunker !== undefined) {
    const { logId, isWhole } = record.bunker;
    record.bunker = { logId, isWhole, activatedFor: site };
  }
  askRecord(bunker, "activated", out);
  const why = `the log up to LSN ${bunker.end.lsn} is for the copy at ${site} from now on`;
  out.push({ kind: "event", event: { kind: "activated", copy: site, why } });
}

/** What was appended here to end the last set may stand elsewhere in the primary's journal: then this log begins anew. */
function deactivate(bunker: Bunker, site: string, out: Out): void {
  const { record } = bunker;
  const isActivated = record.bunker?.activatedFor !== undefined;
  // Fed by its primary it has nothing to be called off: that one is there.
  const isCalledOff = bunker.session?.isBegun === true ? {} : { isCalledOff: true as const };
  if (record.bunker !== undefined) {
    const { logId, isWhole } = record.bunker;
    record.bunker = { logId, isWhole, ...isCalledOff };
  }
  if (isActivated) {
    const why = `the replay to ${site} was called off: this site may be fed again`;
    out.push({ kind: "event", event: { kind: "deactivated", copy: site, why } });
  }
  askRecord(bunker, "deactivated", out);
}

/** Why no primary of the generation that is held here feeds this site any more; "" while one may. */
export function activationOf({ bunker, site }: GroupRecord): string {
  const copy = bunker?.activatedFor;
  return copy === undefined ? "" : `${site} is activated for a replay to ${copy}`;
}

function askRecord(bunker: Bunker, action: RecordAction, out: Out): void {
  bunker.ticket += 1;
  const session = bunker.session?.number ?? 0;
  bunker.recordActions.push({ ticket: bunker.ticket, session, action });
  out.push({ kind: "record", ticket: bunker.ticket });
}

function recorded(bunker: Bunker, ticket: number, out: Out): void {
  for (;;) {
    const next = bunker.recordActions[0];
    if (next === undefined || next.ticket > ticket) return;
    bunker.recordActions.shift();
    const { session } = bunker;
    if (next.action === "activated")
      out.push({ kind: "activated", why: activationOf(bunker.record) });
    if (next.action === "deactivated") out.push({ kind: "deactivated" });
    if (session === undefined || session.number !== next.session) continue;
    if (next.action === "begun") {
      session.isBegun = true;
      out.push({ kind: "sendBegun" });
    } else if (next.action === "synchronizedRecorded") {
      out.push({ kind: "sendSynchronizedRecorded" });
    }
  }
}

// --------------------------------------------------------------------------------------------- log

/** A record comes in: it must follow what is here, with nothing between (I26). */
function take(bunker: Bunker, event: Event<"batch">, out: Out): void {
  const { session, taken, record } = bunker;
  const { follows, entries, raw } = event;
  if (session?.isBegun !== true) return failSession(bunker, "a record came before BEGIN", out);
  if (taken.set > 0 && !isSamePosition(taken, follows)) {
    const why = `a gap in the log: a record behind ${describe(follows)}, and it ends with ${describe(taken)}`;
    return failSession(bunker, why, out);
  }
  let last = follows;
  for (const entry of entries) {
    const gap = last.set === 0 ? undefined : gapBefore(last, entry);
    if (gap !== undefined) return failSession(bunker, `a gap in a record: ${gap}`, out);
    if (entry.incarnation > record.incarnation)
      return failSession(
        bunker,
        `an entry of incarnation ${entry.incarnation} came before its BEGIN`,
        out,
      );
    last = positionOf(entry);
  }
  bunker.taken = last;
  out.push({ kind: "append", entries, raw });
}

function appended(bunker: Bunker, through: LogPosition, out: Out): void {
  bunker.end = through;
  // A SEAL of ours was taken from nobody. A primary that took it back with the rest goes on behind it.
  if (isBehind(bunker.taken, through)) bunker.taken = through;
  if (bunker.session === undefined) return;
  if (!bunker.isAckDue) out.push({ kind: "awaitTurnEnd" });
  bunker.isAckDue = true;
  flushDue(bunker, out);
}

// A full log is as good as a slow one: whoever feeds it decides what that means. A log that failed is not written to any more.
function appendFailed(bunker: Bunker, failure: IoFailure | "full", out: Out): void {
  bunker.taken = bunker.end;
  if (failure === "full") return failSession(bunker, "the log of this bunker is full", out);
  lackRoom(bunker, failure.message, out);
}

// What was appended before is sound, and goes on being told of by no session until more can be.
function lackRoom(bunker: Bunker, why: string, out: Out): void {
  if (bunker.failure === "") {
    bunker.failure = `${why}; ${bunker.help.withoutRoom}`;
    out.push({ kind: "event", event: { kind: "log", from: "ok", to: "failed", why } });
    out.push({ kind: "awaitRoom" });
  }
  failSession(bunker, bunker.failure, out);
}

function reopened(bunker: Bunker, end: LogPosition, out: Out): void {
  bunker.end = end;
  bunker.taken = end;
  bunker.failure = "";
  const why = `the log is written again, behind ${describe(end)}`;
  out.push({ kind: "event", event: { kind: "log", from: "failed", to: "ok", why } });
}

function noteFailure(bunker: Bunker, why: string, out: Out): void {
  if (bunker.failure !== "") return;
  bunker.failure = `${why}; ${bunker.help.onFailure}`;
  out.push({ kind: "event", event: { kind: "failed", why: bunker.failure } });
}

function tellEnd(bunker: Bunker, out: Out): void {
  if (!bunker.isAckDue) return;
  bunker.isAckDue = false;
  out.push({ kind: "sendLogged", through: bunker.end });
}

// What the primary wants synced must be here first: it may have asked ahead of what it still sends.
function flushDue(bunker: Bunker, out: Out): void {
  const { flushes, end, session } = bunker;
  const due = flushes.filter(({ lsn }) => lsn <= end.lsn);
  if (due.length === 0 || session === undefined) return;
  bunker.flushes = flushes.filter(({ lsn }) => lsn > end.lsn);
  out.push({ kind: "sync", session: session.number, tickets: due.map(({ ticket }) => ticket) });
}

function synced(bunker: Bunker, { tickets, failure }: Event<"synced">, out: Out): void {
  if (failure !== undefined) {
    noteFailure(bunker, `fdatasync of the log failed: ${failure.message}`, out);
    return failSession(bunker, bunker.failure, out);
  }
  // What is flushed was told to be here before.
  tellEnd(bunker, out);
  for (const ticket of tickets) out.push({ kind: "sendFlushed", ticket });
}
