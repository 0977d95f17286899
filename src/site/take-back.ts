import { compareHistories, describeGeneration, generationCounter } from "#core/history.ts";
import { activationOf } from "#core/bunker.ts";
import { gapBefore, isBehind, positionOf } from "#core/log-position.ts";
import { parseRefusal } from "#wire/peer/documents.ts";
import type { PeerRefusal, TakeBackOpen } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { whyNoLog } from "./bunker-run.ts";
import type { BunkerRun } from "./bunker-run.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { appendRecord } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { endLogSender, firstRecord, locateRecord, startLogSender } from "./log-sender.ts";
import type { LogStart } from "./log-sender.ts";
import { dialPeer, refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { receivedRecord } from "./record-frame.ts";
import { createSessionWire, sendBare } from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";

// A primary that lost power may have lost what it acked, and its bunker may have it: before it serves, it takes back what the
// bunker has behind the end of its own journal (decision 5). What it does not take back is void: the bunker begins anew.

/**
 * Asks one bunker after the other, each for what it has behind what the journal has by then: all of them were fed the same
 * records, so what comes is the longest of their logs, whoever has it. One that cannot be asked is told of, as its log may be
 * longer. `done` gets how many records came.
 */
export function takeBackFrom(
  context: GroupContext,
  sites: readonly string[],
  journal: JournalRun,
  done: (records: number) => void,
): void {
  const [site, ...others] = sites;
  if (site === undefined) return done(0);
  takeBack(context, journal, site, (records) =>
    takeBackFrom(context, others, journal, (more) => done(records + more)),
  );
}

/**
 * Appends to the journal what this bunker has behind its end. `done` gets how many records came: those are whole and in order,
 * however it ended.
 */
function takeBack(
  context: GroupContext,
  journal: JournalRun,
  site: string,
  done: (records: number) => void,
): void {
  const { record } = context.store;
  const document: TakeBackOpen = {
    purpose: "takeBack",
    group: record.group,
    history: record.history,
    end: journal.end,
  };
  const target = { site, address: context.addressOf(site), document };
  dialPeer(context.identity, context.ports.transport, target, (outcome) => {
    if (outcome.kind === "opened") return receiveAll(context, journal, outcome.peer, done);
    const refusal = outcome.kind === "refused" ? parseRefusal(outcome.document) : undefined;
    const why =
      outcome.kind === "failed" ? outcome.why : refusal?.ok ? refusal.value.why : "it refuses";
    const doubt = `whether ${site} has writes that were lost here is unknown: ${why}`;
    emit(context, { kind: "takeBack", copy: site, why: doubt });
    done(0);
  });
}

function receiveAll(
  context: GroupContext,
  journal: JournalRun,
  peer: Peer,
  done: (records: number) => void,
): void {
  let records = 0;
  let isOver = false;
  const end = (why: string): void => {
    if (isOver) return;
    isOver = true;
    const what = `${records} records that were lost here came back, up to LSN ${journal.end.lsn}`;
    emit(context, {
      kind: "takeBack",
      copy: peer.site,
      why: why === "" ? what : `${what}; then: ${why}`,
    });
    peer.connection.close(why === "" ? "that was all" : why);
    done(records);
  };
  peer.onLost = end;
  peer.onFrame = (frame) => {
    if (isOver) return;
    if (frame.header.type === frameType.logged) return end("");
    const isRecord = frame.header.type === frameType.record;
    const why = isRecord
      ? take(journal, context.store.record.incarnation, frame)
      : "no record came";
    if (why === undefined) records += 1;
    else end(why);
  };
}

/**
 * As a bunker takes what a primary sends: whole, checked, and behind what is here. Only of the last start: what an earlier one
 * lost was settled when the last one served without it, and must not be there again (N2).
 */
function take(journal: JournalRun, incarnation: number, frame: Frame): string | undefined {
  const record = receivedRecord(frame);
  if (!record.ok) return record.error;
  const { entries, table, payload } = record.value;
  let last = journal.end;
  for (const entry of entries) {
    const gap = last.set === 0 ? undefined : gapBefore(last, entry);
    if (gap !== undefined) return gap;
    if (entry.incarnation !== incarnation)
      return `LSN ${entry.lsn} is of incarnation ${entry.incarnation}, and incarnation ${incarnation} has gone on without it`;
    last = positionOf(entry);
  }
  const number = appendRecord(journal, { entries, table, payload });
  if (number === "full") return "the journal is full";
  return typeof number === "object" ? number.message : undefined;
}

// ------------------------------------------------------------------------------------- at the bunker

/** The primary that fed this bunker has lost power, and asks for what it may have lost. */
export function takeBackAsked(
  context: GroupContext,
  run: BunkerRun,
  peer: Peer,
  open: TakeBackOpen,
): void {
  const { record } = context.store;
  const refuse = (code: PeerRefusal["code"], why: string): void =>
    refusePeer(peer, code, why, record.history);
  const log = run.log();
  if (log === undefined) return refuse("busy", whyNoLog(run));
  if (compareHistories(open.history, record.history) !== "same")
    return refuse("unfit", `${context.site} keeps a log of ${describeGeneration(record.history)}`);
  const activation = activationOf(record);
  if (activation !== "") return refuse("activated", activation);
  const opened = (): SessionWire => {
    sendDocument(peer, frameType.opened, {});
    const generation = generationCounter(record.history);
    return createSessionWire(peer, generation, 0, context.ports.crypto);
  };
  const tellEnd = (wire: SessionWire): void =>
    sendBare(wire, frameType.logged, { lsn: log.end.lsn, set: log.end.set });
  const give = (start: LogStart): void => {
    const wire = opened();
    const sender = startLogSender(log, wire, start, {
      onUnreadable: (why) => peer.connection.close(why),
      onCaughtUp: () => tellEnd(wire),
      onSent: () => undefined,
    });
    run.readers.add(peer);
    peer.onLost = () => {
      run.readers.delete(peer);
      endLogSender(sender);
    };
  };
  // It lacks what the journal has, or has just that: nothing that was lost there can be here.
  if (!isBehind(open.end, log.end)) return tellEnd(opened());
  // A primary that has nothing at all gets everything: what came before is in its images, synced, or it would be here.
  if (open.end.set === 0) return give(firstRecord(log));
  locateRecord(log, open.end, (found) => {
    if (found === undefined) return refuse("unfit", "this log does not lead on from there");
    if ("code" in found) return refuse("unfit", found.message);
    give(found);
  });
}
