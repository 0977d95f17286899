import { must } from "#base/assert.ts";
import { at, createFifo, peek, push, shift } from "#base/fifo.ts";
import { limits } from "#base/limits.ts";
import { costOf } from "./entry.ts";
import type { Entry } from "./entry.ts";
import { faultOf, growthBy, isWhole, take } from "./set-tracker.ts";
import type { Broken, Taken } from "./set-tracker.ts";
import { addRecord, forgetSet, isCovering, pin, release, setOf } from "./staging-state.ts";
import type {
  Batch,
  LogRecord,
  StagedSet,
  Staging,
  StagingEffect,
  StagingEvent,
  StagingSession,
} from "./staging-state.ts";

// What becomes of a batch at a copy: which of its entries are new, where they are staged, and when its lane is answered.

type Out<Held> = StagingEffect<Held>[];
type BatchEvent<Held> = Extract<StagingEvent<Held>, { kind: "batch" }>;

/** One batch while it is taken in. */
type Intake<Held> = {
  readonly staging: Staging<Held>;
  /** Undefined for a batch of another session, of which nothing is taken. */
  readonly session: StagingSession | undefined;
  readonly out: Out<Held>;
  /** Where the batch is staged, once something of it is kept. */
  record: LogRecord | undefined;
  /** What is kept; undefined while that is all of it. */
  kept: { readonly entries: Entry[]; readonly held: (Held | undefined)[] } | undefined;
  readonly dropped: Held[];
};

/**
 * Takes a batch in; which rule it breaks, if it does: what came before that is kept. The log gets what was accepted and nothing
 * else, so that a restart reads it as this life did. What is not kept is released.
 */
export function takeBatch<Held>(
  staging: Staging<Held>,
  event: BatchEvent<Held>,
  out: Out<Held>,
): Broken | undefined {
  const { epoch, batch } = event;
  const session = staging.session?.epoch === epoch ? staging.session : undefined;
  const dropped: Held[] = [];
  const intake: Intake<Held> = {
    staging,
    session,
    out,
    record: undefined,
    kept: undefined,
    dropped,
  };
  const broken = takeEntries(intake, batch);
  const { record, kept } = intake;
  if (record !== undefined) {
    const staged = kept === undefined ? batch : { ...kept, raw: undefined };
    out.push({ kind: "stage", ticket: record.ticket, batch: staged });
  }
  release(dropped, out);
  if (session !== undefined && broken === undefined) acknowledge(staging, event, out);
  return broken;
}

function takeEntries<Held>(intake: Intake<Held>, batch: Batch<Held>): Broken | undefined {
  const { dropped } = intake;
  for (let i = 0; i < batch.entries.length; i += 1) {
    const entry = must(batch.entries[i], "a batch with a hole");
    const held = batch.held[i];
    const taken = accept(intake, entry, held);
    if (taken === "new") {
      intake.kept?.entries.push(entry);
      intake.kept?.held.push(held);
      continue;
    }
    intake.kept ??= { entries: batch.entries.slice(0, i), held: batch.held.slice(0, i) };
    if (typeof taken === "string") continue;
    for (const rest of batch.held.slice(i + 1)) if (rest !== undefined) dropped.push(rest);
    return taken;
  }
  return undefined;
}

/** Takes one entry in, or drops what is held for it. */
function accept<Held>(intake: Intake<Held>, entry: Entry, held: Held | undefined): Taken {
  const { staging, dropped } = intake;
  const taken = takeEntry(intake, entry, held);
  if (taken !== "new") {
    if (held !== undefined) dropped.push(held);
    return taken;
  }
  const set = setOf(staging, entry.set);
  const fault = isWhole(set.tracker) ? faultOf(set.tracker) : undefined;
  if (fault !== undefined) {
    forgetSet(staging, set, dropped);
    return fault;
  }
  if (entry.kind === "seal" && isCovering(set)) staging.covering.push(set);
  if (staging.mode === "durable") {
    intake.record ??= addRecord(staging);
    pin(set, intake.record);
    staging.unsyncedBytes += costOf(entry);
  }
  if (isWhole(set.tracker)) becomeWhole(staging, set, intake.out);
  return "new";
}

function takeEntry<Held>(intake: Intake<Held>, entry: Entry, held: Held | undefined): Taken {
  const { staging, session } = intake;
  if (session === undefined) return "duplicate";
  const why = faultBefore(staging, session, entry);
  if (why !== undefined) return { why };
  // Late, or sent again: it has its effect already (trap 6).
  if (entry.set <= staging.complete.set) return "duplicate";
  const set = setOf(staging, entry.set);
  if (set.phase !== "receiving") return "duplicate";
  const growth = growthBy(set.tracker, entry);
  if (staging.waitingBytes + staging.appliedBytes + growth > limits.stagingBytesMax)
    return { why: `more than ${limits.stagingBytesMax} bytes that are not applied` };
  const taken = take(set.tracker, entry, held);
  if (taken === "new") staging.waitingBytes += growth;
  // Whoever breaks a rule about a set loses what is here of it: sent again, it may be right.
  else if (taken !== "duplicate") forgetSet(staging, set, intake.dropped);
  return taken;
}

function faultBefore(
  staging: Staging<unknown>,
  session: StagingSession,
  entry: Entry,
): string | undefined {
  if (!session.isReady) return "a batch came before BEGIN was answered";
  if (entry.set < 1) return "an entry belongs to no set";
  if (entry.incarnation > session.incarnation)
    return `set ${entry.set} has an entry of incarnation ${entry.incarnation}, after this one`;
  const { sets, ready, applying, unsynced, complete } = staging;
  const known = sets.size + ready.count + applying.count + unsynced.count;
  if (known < limits.setsAtCopyMax || entry.set <= complete.set || sets.has(entry.set))
    return undefined;
  return `more than ${limits.setsAtCopyMax} sets that are not applied`;
}

function becomeWhole<Held>(staging: Staging<Held>, set: StagedSet<Held>, out: Out<Held>): void {
  set.phase = "whole";
  staging.whole.push(set);
  if (staging.mode === "memory") stageSet(staging, set, out);
}

// From memory a set is staged when it is whole, in records that are not larger than batches (decision 14).
function stageSet<Held>(staging: Staging<Held>, set: StagedSet<Held>, out: Out<Held>): void {
  const { tracker } = set;
  const all = [...tracker.entries, tracker.seal];
  let batch: { entries: Entry[]; held: (Held | undefined)[] } = { entries: [], held: [] };
  let bytes = 0;
  all.forEach((found, i) => {
    const entry = must(found, "a whole set lacks an entry");
    batch.entries.push(entry);
    batch.held.push(tracker.held[i]);
    bytes += costOf(entry);
    const isFull = bytes >= limits.batchBytesMax || batch.entries.length >= limits.batchEntriesMax;
    if (!isFull && i < all.length - 1) return;
    const record = addRecord(staging);
    pin(set, record);
    out.push({ kind: "stage", ticket: record.ticket, batch: { ...batch, raw: undefined } });
    staging.unsyncedBytes += bytes;
    batch = { entries: [], held: [] };
    bytes = 0;
  });
}

// STAGED waits for all that was appended before: what is a duplicate now may have come a moment ago (S9). From memory it
// says only that the batch is here, a SEAL before its set included (S12).
function acknowledge<Held>(
  staging: Staging<Held>,
  { lane, sequence }: BatchEvent<Held>,
  out: Out<Held>,
): void {
  if (staging.mode === "memory") return void out.push({ kind: "ackLane", lane, sequence });
  const waiting = staging.lanes.get(lane) ?? createFifo();
  staging.lanes.set(lane, waiting);
  const last = at(waiting, waiting.count - 1);
  if (last?.ticket === staging.ticket) last.sequence = sequence;
  else push(waiting, { sequence, ticket: staging.ticket });
  acknowledgeSynced(staging, out);
}

/** Answers every lane as far as the log is synced. */
export function acknowledgeSynced<Held>(staging: Staging<Held>, out: Out<Held>): void {
  for (const [lane, waiting] of staging.lanes) {
    let sequence: number | undefined;
    for (let next = peek(waiting); next !== undefined; next = peek(waiting)) {
      if (next.ticket > staging.syncedTicket) break;
      sequence = next.sequence;
      shift(waiting);
    }
    if (sequence !== undefined) out.push({ kind: "ackLane", lane, sequence });
  }
}
