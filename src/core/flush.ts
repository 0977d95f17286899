import { limits } from "#base/limits.ts";
import type { IoFailure } from "#base/errors.ts";
import { raised } from "#ports/events.ts";
import type { HostOutcome, HostRequest } from "#ports/host-request.ts";
import { loseLogged } from "./loss-record.ts";
import { awaitDevice, roundsCovered } from "./device-volume.ts";
import { mapOf } from "./member-maps.ts";
import { appendGathered } from "./journal.ts";
import { isInJournal, keepsLog, mustHave, takesSets } from "./member-state.ts";
import { closeGranules, coldLsn, orOpenInto } from "./open-map.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { FlushRound, Member, MemberFlush, Primary, Volume } from "./primary-state.ts";
import { recordRedone } from "./refused.ts";
import { askRecord } from "./records.ts";
import { feedsCopies } from "./relay.ts";
import { reply } from "./replies.ts";

// Flush rounds (decision 2). One round of a volume at a time: sync the image here and at every ack participant; whoever
// asks meanwhile shares the next one, so that one fdatasync serves all (group commit, trap 11). A round also closes
// granules of the open map, since it proves their writes synced everywhere.

/**
 * A host's FLUSH, or a write with FUA whose legs have all answered: replied when a round that began after now is done.
 */
export function joinFlush(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  const volume = primary.volumes[request.volume];
  if (volume === undefined) return;
  const running = volume.flush.running;
  if (running !== undefined && running.startCompletions === volume.completions) {
    running.requests.push(request);
    return;
  }
  if (running === undefined && volume.flush.coveredCompletions === volume.completions) {
    // Nothing was written since the last good round, and it covered everybody.
    reply(primary, request, "ok", out);
    return;
  }
  volume.flush.waiting.push(request);
  if (running === undefined) startRound(primary, volume, out);
}

/** Starts a round that serves no host, to close granules; shares the running one's successor. */
export function wantRound(primary: Primary, volume: Volume, out: PrimaryEffect[]): void {
  volume.flush.wanted = true;
  if (volume.flush.running === undefined) startRound(primary, volume, out);
}

function startRound(primary: Primary, volume: Volume, out: PrimaryEffect[]): void {
  primary.ticket += 1;
  const coverLsn = writtenThrough(primary);
  const round: FlushRound = {
    ticket: primary.ticket,
    volume,
    startCompletions: volume.completions,
    coverLsn,
    clearLsn:
      isIdle(primary, volume) || isMapCrowded(primary)
        ? coverLsn
        : Math.min(coverLsn, coldLsn(primary)),
    legs: legsHere(primary, volume),
    closeLegs: 1,
    requests: volume.flush.waiting,
    failure: "ok",
  };
  volume.flush.waiting = [];
  volume.flush.wanted = false;
  volume.flush.running = round;
  volume.flush.startedMs = primary.nowMs;
  for (const member of primary.members) addMemberLeg(primary, member, round, out);
  appendGathered(primary, out);
  if (primary.journal !== undefined)
    out.push({ kind: "syncJournal", volume: volume.index, ticket: round.ticket });
  if (volume.device !== undefined) awaitDevice(volume, volume.device, round);
  else out.push({ kind: "syncImage", volume: volume.index, ticket: round.ticket });
}

// In front of a device the journal alone is what hosts wait for.
function legsHere({ journal }: Primary, { device }: Volume): number {
  return journal === undefined || device !== undefined ? 1 : 2;
}

function addMemberLeg(
  primary: Primary,
  member: Member,
  round: FlushRound,
  out: PrimaryEffect[],
): void {
  // Sets are no business of a round: what a copy lacks of them stays open (`retainedAfter`).
  if (takesSets(member)) return;
  const hasAll = member.stage === "joining" || member.stage === "synchronized";
  const participates = hasAll && member.policy.loss.takesPart;
  // What a member that keeps the log has not synced is in the journal here, synced: for it nothing need stay open.
  if (participates || (member.stage === "resync" && !keepsLog(member))) {
    // A member under resync holds no host up, but it is fed: what it has not synced must stay open.
    round.closeLegs += 1;
    if (participates) round.legs += 1;
    const flush = { kind: "round", round, participates, atMs: primary.nowMs } as const;
    askFlush(member, round.volume.index, flush, out);
    if (participates) return;
  } else if (hasAll && feedsCopies(primary, member) && member.flushes.size === 0) {
    // A relay that hosts do not wait for (`off`): what it has synced, the journal need not keep for its copies.
    askFlush(member, round.volume.index, { kind: "log", atMs: primary.nowMs }, out);
  }
  // It may have what hosts were told of in its page cache alone: no answer says otherwise before that is on record.
  if (keepsLog(member) && member.policy.loss.takesPart && !mustHave(member))
    loseLogged(primary, member, out);
  // No record replaces a strict member's answer (I4), not even one that is under way.
  if (mustHave(member)) {
    addStrictLeg(primary, member, round);
  } else if (member.fracturing !== undefined) {
    round.legs += 1;
    member.fracturing.rounds.push(round);
  }
}

// A flush may not be answered while a strict member lacks what an earlier power cut took from it. But nobody waits for it
// any more while draining: its requests are refused, and the last syncs do without it, since what it lacks is on record.
function addStrictLeg(primary: Primary, member: Member, round: FlushRound): void {
  if (primary.drain === undefined) {
    round.legs += 1;
    member.flushWaits.push(round);
  } else if (primary.drain.phase === "requests") {
    round.failure = "gone";
  } else if (member.fracturing !== undefined) {
    // The open map forgets after this round: what the member lacks must be on record by then (I16).
    round.legs += 1;
    member.fracturing.rounds.push(round);
  }
}

/** Asks a member to sync a volume (or all), and remembers what for. Tickets are 32 bits on the wire, and so here. */
export function askFlush(
  member: Member,
  volume: number,
  flush: MemberFlush,
  out: PrimaryEffect[],
): void {
  member.flushTicket = (member.flushTicket + 1) % 0x1_0000_0000;
  member.flushes.set(member.flushTicket, { ...flush, told: member.log.told });
  out.push({ kind: "sendFlush", member: member.index, volume, ticket: member.flushTicket });
}

/** The image has answered the sync of a round. */
export function imageSynced(
  primary: Primary,
  synced: {
    readonly volume: number;
    readonly ticket: number;
    readonly failure: IoFailure | undefined;
  },
  out: PrimaryEffect[],
): void {
  const volume = primary.volumes[synced.volume];
  const round = volume?.flush.running;
  if (volume === undefined || round === undefined || round.ticket !== synced.ticket) return;
  if (synced.failure !== undefined) {
    failVolume(primary, volume, `fdatasync failed: ${synced.failure.message}`, out);
    loseSync(primary, volume);
    round.failure = "io";
    doubtVolume(primary, volume, out);
    // The hosts hear of it when it is on record.
    round.legs += 1;
    askRecord(primary, { kind: "failRound", round }, out);
  }
  roundLegDone(primary, round, out);
}

/** The journal is synced, which is the other half of being durable here: after a power cut its entries are written again. */
export function journalSynced(
  primary: Primary,
  synced: { readonly volume: number; readonly ticket: number },
  out: PrimaryEffect[],
): void {
  const round = primary.volumes[synced.volume]?.flush.running;
  if (round?.ticket === synced.ticket) roundLegDone(primary, round, out);
}

/** A leg of the round has answered, or is replaced by its durable loss record. */
export function roundLegDone(primary: Primary, round: FlushRound, out: PrimaryEffect[]): void {
  round.legs -= 1;
  if (round.legs > 0) return;
  const { volume } = round;
  const { flush } = volume;
  flush.running = undefined;
  // What an image refused is in no sync of it, however well that ended: the journal keeps it, and its granule stays open.
  if (round.failure === "ok" && volume.state === "ok") {
    flush.coveredCompletions = round.startCompletions;
    if (volume.device === undefined) covered(primary, volume, round.coverLsn);
    recordRedone(primary, out);
    closeLegDone(primary, round, out);
  }
  for (const request of round.requests) reply(primary, request, round.failure, out);
  if (flush.waiting.length > 0 || flush.wanted) startRound(primary, volume, out);
}

function covered(primary: Primary, volume: Volume, lsn: number): void {
  volume.flush.coveredLsn = Math.max(volume.flush.coveredLsn, lsn);
  noteSynced(primary);
}

/** The device of a volume has flushed: what rests on that goes on. */
export function deviceSynced(
  primary: Primary,
  synced: { readonly volume: number; readonly lsn: number },
  out: PrimaryEffect[],
): void {
  const volume = primary.volumes[synced.volume];
  if (volume?.device === undefined) return;
  volume.device.hasFlushed = true;
  covered(primary, volume, synced.lsn);
  for (const round of roundsCovered(volume, volume.device)) closeLegDone(primary, round, out);
}

/** A member has synced what it was fed before the round. The last to answer lets the open map forget. */
export function closeLegDone(primary: Primary, round: FlushRound, out: PrimaryEffect[]): void {
  round.closeLegs -= 1;
  if (round.closeLegs > 0 || round.volume.state !== "ok") return;
  const { flush } = round.volume;
  flush.closedLsn = Math.max(flush.closedLsn, round.clearLsn);
  if (round.clearLsn === round.coverLsn) flush.closedCompletions = round.startCompletions;
  closeAfter(primary, round, out);
}

// What absent members lack must be durable in their dirty maps before the open map forgets it (I16).
function closeAfter(primary: Primary, round: FlushRound, out: PrimaryEffect[]): void {
  let someoneAbsent = false;
  for (const member of primary.members) someoneAbsent ||= member.dirty !== undefined;
  if (!hasClosable(round)) return;
  if (someoneAbsent) askRecord(primary, { kind: "clear", volume: round.volume, round }, out);
  else closeGranules(primary, round.volume, round.clearLsn, out);
}

function hasClosable(round: FlushRound): boolean {
  for (const open of round.volume.open.values()) {
    if (open.durable && open.lastLsn <= round.clearLsn) return true;
  }
  return false;
}

/** Every write up to this LSN has been answered by the image. */
function writtenThrough(primary: Primary): number {
  for (const oldest of primary.writing) return oldest.lsn - 1;
  return primary.nextLsn - 1;
}

// A volume that nobody wrote to since its last round holds nothing back. What was synced once stays so: never backwards.
function noteSynced(primary: Primary): void {
  let lsn = primary.nextLsn - 1;
  for (const volume of primary.volumes) {
    if (volume.flush.coveredLsn < volume.lastLsn) lsn = Math.min(lsn, volume.flush.coveredLsn);
  }
  primary.syncedLsn = Math.max(primary.syncedLsn, lsn);
  for (const member of primary.members) {
    if (member.stage !== "synchronized" || takesSets(member) || keepsLog(member)) continue;
    member.record.syncedLsn = Math.max(member.record.syncedLsn, primary.syncedLsn);
  }
}

/** The lowest LSN synced at all members, absent ones at their last value (decision 4). */
export function stableLsn(primary: Primary): number {
  let lsn = primary.syncedLsn;
  for (const member of primary.members)
    if (!keepsLog(member)) lsn = Math.min(lsn, member.record.syncedLsn);
  return lsn;
}

/** What was acked here and not synced may be gone, on this disk alone. On record, so that a restart does not forget it. */
export function loseSync(primary: Primary, volume: Volume): void {
  volume.hasLostSync = true;
  const { failedVolumes } = primary.record;
  if (!failedVolumes.includes(volume.name)) failedVolumes.push(volume.name);
}

/** What copies may close: of what is stable all that was closed here. What is hot here is hot there. */
export function closableLsn(primary: Primary): number {
  let lsn = stableLsn(primary);
  for (const { flush, lastLsn } of primary.volumes)
    if (flush.closedLsn < lastLsn) lsn = Math.min(lsn, flush.closedLsn);
  return lsn;
}

/** So many granules are open that a round closes all it can. */
export function isMapCrowded({ openGranules }: Primary): boolean {
  return openGranules >= (limits.openGranulesMax * 3) / 4;
}

function isIdle(primary: Primary, volume: Volume): boolean {
  return primary.nowMs - volume.lastWriteMs >= limits.openIdleMs;
}

/**
 * The kernel may have dropped what it could not write: wherever the volume is open, image and copies may differ. Who is fed
 * from the journal is fed on, and gets everything that was acked: what is open stays open until a repair (`repaired`).
 */
export function doubtVolume(primary: Primary, volume: Volume, out: PrimaryEffect[]): void {
  for (const member of primary.members) {
    if (keepsLog(member) || isInJournal(member)) continue;
    if (volume.open.size > 0) orOpenInto(mapOf(primary, member, volume.index, out), volume);
    if (member.dirty !== undefined && member.record.phase === "synchronized") {
      member.record.phase = "dirty";
    }
    const why = `${volume.name} has failed at the primary`;
    if (member.stage !== "none") out.push({ kind: "closeSession", member: member.index, why });
  }
}

/** A failed sync or write is final for the volume: nobody retries and hopes (DESIGN §5, trap 8). */
export function failVolume(
  primary: Primary,
  volume: Volume,
  why: string,
  out: PrimaryEffect[],
): void {
  if (volume.state === "failed") return;
  volume.state = "failed";
  const event = { kind: "volume", volume: volume.name, from: "ok", to: "failed", why };
  out.push({ kind: "event", event });
  out.push({ kind: "event", event: { kind: raised.volumeFailed, volume: volume.name, why } });
  failAll(primary, volume.flush.waiting, "io", out);
  volume.flush.waiting = [];
}

function failAll(
  primary: Primary,
  requests: readonly HostRequest[],
  outcome: HostOutcome,
  out: PrimaryEffect[],
): void {
  for (const request of requests) reply(primary, request, outcome, out);
}

/** Rounds that close granules nobody writes to: at once when the volume is idle, else every ten seconds. */
export function closeIdle(primary: Primary, out: PrimaryEffect[]): void {
  const due = primary.nowMs - primary.roundAtMs >= limits.openRoundMsMax;
  if (due) primary.roundAtMs = primary.nowMs;
  for (const volume of primary.volumes) {
    if (volume.open.size === 0 || volume.state !== "ok") continue;
    const { flush } = volume;
    if (flush.running !== undefined || primary.nowMs - flush.startedMs < limits.openIdleMs)
      continue;
    const isNew = flush.closedCompletions !== volume.completions;
    if ((isIdle(primary, volume) && isNew) || due || isMapCrowded(primary)) {
      wantRound(primary, volume, out);
    }
  }
}
