import { viewOf } from "#base/bytes.ts";
import { isSilentFor } from "#core/auto-replay.ts";
import { compareHistories, describeGeneration, generationCounter } from "#core/history.ts";
import type { Entry } from "#core/entry.ts";
import { decodeJson } from "#wire/peer/decode.ts";
import { parseOpened } from "#wire/peer/documents.ts";
import type { PeerRefusal, ReplayOpen, ReplayOpened } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { whyNoLog } from "./bunker-run.ts";
import type { BunkerRun } from "./bunker-run.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { journalFigures } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { surveyLog } from "./log-survey.ts";
import type { LogGap, LogSurvey, OpenSet } from "./log-survey.ts";
import { refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { parseProgress } from "./progress.ts";
import { endSender, senderApplied, startSender } from "./sender-run.ts";
import type { Sender } from "./sender-state.ts";
import { createSessionWire, feedBegin } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import { traceIn, traceSent } from "./trace-session.ts";

// A bunker brings a copy up (SPEC-bunker.md, Replay): over the connection that the copy has made it is fed as by its
// primary, from the bunker's log, which is read back by the same sender.

type Source = {
  readonly context: GroupContext;
  readonly run: BunkerRun;
  readonly log: JournalRun;
  readonly peer: Peer;
  readonly open: ReplayOpen;
  readonly silentMs: () => number;
};

type Refusal = { readonly code: PeerRefusal["code"]; readonly why: string };

/**
 * A copy asks for what its bunker has. `mismatch`: why their volumes are not the same, or "". `silentMs`: for how long there
 * has been no sign of the primary here.
 */
export function replayAsked(
  context: GroupContext,
  run: BunkerRun,
  asked: Pick<Source, "peer" | "open" | "silentMs"> & { readonly mismatch: string },
): void {
  const { peer, open, mismatch, silentMs } = asked;
  const log = run.log();
  if (log === undefined) return refuse(context, peer, { code: "busy", why: whyNoLog(run) });
  if (mismatch !== "") return refuse(context, peer, { code: "unfit", why: mismatch });
  const source: Source = { context, run, log, peer, open, silentMs };
  const refusal = refusalOf(source) ?? whyNotByItself(source);
  if (refusal !== undefined) return refuse(context, peer, refusal);
  run.readers.add(peer);
  peer.onLost = () => void run.readers.delete(peer);
  surveyFor(source, (survey) => {
    if (!open.isWanted)
      return sendDocument(peer, frameType.opened, openedDocument(source, survey, 0));
    // It may have been heard while the log was read.
    const late = whyNotByItself(source);
    if (late !== undefined) return refuse(context, peer, late);
    // Until that is on record the old primary may go on; behind it nothing is appended any more.
    run.activate(peer.site, () => surveyFor(source, (final) => endLog(source, final)));
  });
}

function refuse({ store }: GroupContext, peer: Peer, { code, why }: Refusal): void {
  refusePeer(peer, code, why, store.record.history);
}

// Whether what is here leads on from what the copy has, without a gap (B17).
function refusalOf({ context, run, log, peer, open }: Source): Refusal | undefined {
  const { site, store } = context;
  const { record } = store;
  const unfit = (why: string): Refusal => ({ code: "unfit", why });
  if (run.bunker.failure !== "") return unfit(run.bunker.failure);
  const other = record.bunker?.activatedFor;
  if (other !== undefined && other !== peer.site) {
    const isReading = [...run.readers].some((reader) => reader.site === other);
    const now = isReading ? ", which it is bringing up now" : "";
    return {
      code: "activated",
      why: `${site} is activated for a replay to ${other} already${now}`,
    };
  }
  if (compareHistories(open.history, record.history) !== "same") {
    const theirs = describeGeneration(open.history);
    return unfit(
      `${site} keeps a log of ${describeGeneration(record.history)}, and the copy is of ${theirs}`,
    );
  }
  if (open.incarnation > record.incarnation)
    return unfit(
      `the primary has been started again since it last fed ${site} (incarnation ${record.incarnation}), and has fed the copy after that`,
    );
  if (run.bunker.end.set === 0) return unfit(`the log of ${site} is empty`);
  const { firstSet } = journalFigures(log);
  if (firstSet > open.completeSet + 1)
    return unfit(
      `a gap: the log of ${site} begins with set ${firstSet}, and the copy has all sets up to ${open.completeSet}`,
    );
  return undefined;
}

/**
 * A replay that no operator has asked for would take the log from a primary that lives: it is had where the primary is as
 * silent here as the copy finds it, and nobody has called one off (decision 6).
 */
function whyNotByItself({ context, open, silentMs }: Source): Refusal | undefined {
  const { site, store } = context;
  if (open.automaticAfterMs === undefined) return undefined;
  const busy = (why: string): Refusal => ({ code: "busy", why });
  if (store.record.bunker?.isCalledOff === true)
    return busy(`an operator has called a replay from ${site} off`);
  const ms = silentMs();
  if (isSilentFor(ms, open.automaticAfterMs)) return undefined;
  const since =
    ms === 0 ? "answers here" : `has been silent here for ${(ms / 1000).toFixed(1)} s alone`;
  return busy(`the primary ${since}, and no operator has asked for a replay`);
}

/** `done` is called where the log leads on from what the copy has; else the copy is refused. */
function surveyFor(source: Source, done: (survey: LogSurvey) => void): void {
  const { context, log, peer, open } = source;
  surveyLog(log, open, (survey) => {
    if ("code" in survey) {
      const why = `the log cannot be read: ${survey.message}`;
      refuse(context, peer, { code: "unfit", why });
    } else if (survey.gap !== undefined) refuseGap(source, survey.gap);
    else if (survey.cutShort !== undefined) refuseCut(source, survey.cutShort);
    else done(survey);
  });
}

function refuseGap({ context, peer }: Source, { set, untilLsn }: LogGap): void {
  const what = `set ${set} of the log of ${context.site} follows no set before it: its primary had lost power`;
  const until =
    untilLsn === 0 ? "" : `; --until ${untilLsn} brings the copy to where it was before that`;
  const why = `a gap: ${what}, and has not compared the copy since${until}`;
  refuse(context, peer, { code: "unfit", why });
}

function refuseCut(
  { context, peer, open }: Source,
  { set, lsn }: NonNullable<LogSurvey["cutShort"]>,
): void {
  const had = `the copy counts set ${set} as whole with LSN ${open.completeLsn ?? 0}, where another log ended`;
  const why = `a gap: ${had}, and the log of ${context.site} has it up to LSN ${lsn}`;
  refuse(context, peer, { code: "unfit", why });
}

/** A set that is sent ends where the log does: all that is here of it was written before anything that is not here. */
function endLog(source: Source, survey: LogSurvey): void {
  const { context, peer, run } = source;
  const { open: left, sends } = survey;
  if (left === undefined || left.set !== sends.set) return begin(source, survey);
  run.appendSeal(sealOf(source, left), (failure) => {
    if (failure === undefined) begin(source, survey);
    else refuse(context, peer, { code: "unfit", why: `the log cannot be ended: ${failure}` });
  });
}

function sealOf({ context, log }: Source, { set, count, digest, last }: OpenSet): Entry {
  return {
    kind: "seal",
    mayPunch: false,
    source: 0,
    incarnation: last.incarnation,
    lsn: last.lsn,
    set,
    index: count + 1,
    volume: 0,
    offset: log.lastSealedSet + 1,
    length: 0,
    payloadCrc: digest,
    stampMs: context.ports.clock.wallMs(),
  };
}

function openedDocument({ context }: Source, survey: LogSurvey, epoch: number): ReplayOpened {
  const { history, bunker } = context.store.record;
  const { has, sends } = survey;
  return { history, epoch, isWhole: bunker?.isWhole === true, has, sends };
}

// ----------------------------------------------------------------------------------------- session

function begin(source: Source, survey: LogSurvey): void {
  const { context, peer } = source;
  const { crypto } = context.ports;
  const epoch = viewOf(crypto.randomBytes(4)).getUint32(0, true);
  const { history } = context.store.record;
  sendDocument(peer, frameType.opened, openedDocument(source, survey, epoch));
  const wire = createSessionWire(peer, generationCounter(history), epoch, crypto);
  const { sends } = survey;
  const why =
    sends.set === 0
      ? `${peer.site} lacks nothing of this log`
      : `${peer.site} is brought up to LSN ${sends.lsn} (set ${sends.set}): ${sends.writes} writes`;
  emit(context, { kind: "replay", copy: peer.site, why });
  const session: Session = { source, wire, untilSet: sends.set, fromSet: 0, sender: undefined };
  peer.onFrame = (frame) => receive(session, frame);
  peer.onLost = () => {
    source.run.readers.delete(peer);
    if (session.sender !== undefined) endSender(session.sender);
    session.sender = undefined;
  };
}

type Session = {
  readonly source: Source;
  readonly wire: SessionWire;
  readonly untilSet: number;
  fromSet: number;
  sender: Sender | undefined;
};

function receive(session: Session, frame: Frame): void {
  const { wire, source, sender } = session;
  const { header } = frame;
  traceIn(source.context, wire.peer.site, header);
  switch (header.type) {
    case frameType.opened:
      return feedCopy(session, frame);
    case frameType.begun:
      return startFeeding(session);
    case frameType.progress: {
      const sets = parseProgress(frame);
      if (sets === undefined) return wire.peer.connection.close("a PROGRESS is incomplete");
      if (sender !== undefined) senderApplied(sender, sets.appliedSet);
      return;
    }
    case frameType.openMap:
    case frameType.openMapEnd:
    case frameType.staged:
      return;
    default:
      return wire.peer.connection.close(
        `a copy that is brought up sends no frame type ${header.type}`,
      );
  }
}

// The copy says where it is by now, as to any primary.
function feedCopy(session: Session, frame: Frame): void {
  const { wire, source } = session;
  const document = decodeJson(frame);
  const opened = document.ok ? parseOpened(document.value) : document;
  if (!opened.ok) return wire.peer.connection.close(opened.error);
  const { completeSet, completeLsn } = opened.value;
  const { history, incarnation, lsnReserved } = source.context.store.record;
  session.fromSet = completeSet + 1;
  feedBegin(wire, {
    history,
    incarnation,
    lsn: completeLsn,
    lsnReserved,
    resync: false,
    firstSet: session.fromSet,
    isReplay: true,
  });
}

function startFeeding(session: Session): void {
  const { wire, source, untilSet, fromSet } = session;
  const { context, log } = source;
  const { clock, packing } = context.ports;
  session.sender = startSender(log, wire, fromSet, {
    packing,
    compress: undefined,
    untilSet,
    onUnreadable: (why) =>
      wire.peer.connection.close(`the log of the bunker cannot be read: ${why}`),
    nowMs: () => clock.nowMs(),
    onSent: ({ generation, epoch }, entries) =>
      traceSent(context, { copy: wire.peer.site, generation, epoch }, entries),
  });
}
