import { limits } from "#base/limits.ts";
import type { CopyConfig, CopyMode } from "#config/types.ts";
import { overflowsInMs } from "#core/forecast.ts";
import { fullBytes, roomBytesMax } from "#core/journal.ts";
import type { Journal } from "#core/journal.ts";
import { whyNoRoom } from "#core/journal-room.ts";
import { lagBytesOf } from "#core/log-members.ts";
import {
  awaitsResume,
  isInJournal,
  keepsLog,
  shownState,
  splitWhy,
  takesSets,
} from "#core/member-state.ts";
import { lacksRelay, relayOf } from "#core/relay.ts";
import { isDrained } from "#core/gateway.ts";
import { hasForeignDisk } from "#core/members.ts";
import { generationCounter } from "#core/history.ts";
import { policyTable } from "#core/policy.ts";
import { figuresOf } from "#store/log.ts";
import { markedBytes } from "#core/region-map.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import type { CopyState, LinkState, Role } from "#core/states.ts";
import { whyStrict } from "#core/strict.ts";
import { awaitsResumeWords } from "./api.ts";
import type { BunkerAtHand, CopyStatus, GroupStatus, SplitStatus, VolumeStatus } from "./api.ts";
import type { ReplayRun } from "./replay.ts";
import { bytesAfter } from "./journal-run.ts";
import { configurationStatus } from "./configuration.ts";
import { autoReplayStatus } from "./auto-replay.ts";
import { bunkerStatus } from "./bunker-status.ts";
import { troubleOf } from "./copy-anew.ts";
import { bunkersOf } from "./group-config.ts";
import { knownRecord, primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { lagWritesOf } from "./lag.ts";
import { linkDownFor } from "./inquiry.ts";
import type { InquiryStatus } from "./inquiry.ts";
import { ownLink, primaryTrouble, whyNoSession } from "./own-link.ts";
import { ownLsns, stagingOf } from "./own-lsns.ts";
import { isFeederSilent } from "./primary-silence.ts";
import { hasFailedHere } from "./refusals.ts";
import { aloneMs, heldBy, memberFigures, ownFigures, whyBehind } from "./sets-status.ts";
import { splitsOf } from "./split.ts";
import { verifyStatus } from "./verify.ts";
import type { Split } from "./split.ts";
import { deadImageWhy } from "./sync-images.ts";

// What `status` says. Never better than what is known: a copy without contact to its primary is `consistent` at best
// (I33).

export function groupStatus(group: Group): GroupStatus {
  const record = knownRecord(group);
  const primary = group.run?.primary;
  const splits = splitsOf(group);
  const bunkers = bunkersAtHand(group);
  return {
    name: group.name,
    role: roleOf(group),
    generation: generationCounter(record.history),
    primary: primaryOf(group),
    durability: group.config.durability,
    serving: primary?.stage === "serving",
    ...(hasFailedHere(group) ? { hasFailed: true as const } : {}),
    why: group.failedWhy || primary?.why || (primary === undefined ? "" : whyNoWrites(primary)),
    lsn: primary === undefined ? heldLsn(group) : primary.nextLsn - 1,
    set:
      primary?.journal === undefined
        ? (group.bunker?.bunker.end.set ?? group.copy?.staging?.staging.applied.set ?? 0)
        : primary.journal.set - 1,
    volumes:
      record.role === "bunker"
        ? []
        : group.config.volumes.map((volume, index) => volumeStatus(group, volume, index)),
    journal: {
      bytesUsed: primary?.journal?.bytesUsed ?? 0,
      bytesMax: primary?.journal === undefined ? 0 : roomBytesMax(primary.journal),
      diskFull: primary?.journal?.disk?.why ?? "",
      stalledWrites: primary?.held.length ?? 0,
      ...paceStatus(primary?.journal),
    },
    copies:
      primary === undefined
        ? [group.bunker === undefined ? ownStatus(group) : bunkerStatus(group, group.bunker)]
        : primary.members.map((member) => memberStatus(group, primary, member)),
    configuration: configurationStatus(group),
    openGranules: primary?.openGranules ?? openGranulesOf(group),
    requestsInFlight: primary?.inFlight ?? 0,
    ...(splits.length === 0 ? {} : { splits: splits.map(splitStatus) }),
    ...(bunkers.length === 0 ? {} : { bunkers }),
    ...autoReplay(group),
    ...primaryFailure(group),
  };
}

/** Why hosts cannot write at a primary that serves them; what is read needs neither. */
function whyNoWrites(primary: Primary): string {
  return whyNoRoom(primary) || whyStrict(primary);
}

/** A primary in front of devices is a gateway: the replication is its own, and none of it in the store (A7). */
function roleOf(group: Group): Role {
  const { role } = knownRecord(group);
  const isGateway = group.gateways.some((gateway) => gateway !== undefined);
  return role === "primary" && isGateway ? "gateway" : role;
}

function bunkersAtHand(group: Group): BunkerAtHand[] {
  const { copy, config, context, replay } = group;
  const isFed = copy?.fedBy() !== undefined && !isFeederSilent(group);
  if (copy?.staging === undefined || isFed || replay !== undefined) return [];
  const { replayed } = context.store.record;
  const isWhole = replayed?.isCancelled !== true && (replayed?.lsn ?? 0) >= (replayed?.endLsn ?? 1);
  return bunkersOf(config).map((site) => ({
    site,
    answers: context.inquiries.of(site).isUp,
    isReplayed: isWhole && replayed?.from === site,
  }));
}

function autoReplay(group: Group): Pick<GroupStatus, "autoReplay"> {
  const known = autoReplayStatus(group);
  if (known === undefined) return {};
  const { from, inMs, why } = known;
  return { autoReplay: { from, inSeconds: inMs === undefined ? null : inMs / 1000, why } };
}

function primaryFailure(group: Group): Pick<GroupStatus, "primaryFailure"> {
  const failed = group.run === undefined ? primaryTrouble(group) : "";
  if ((group.primaryFailure === undefined && failed === "") || group.run !== undefined) return {};
  const { site = primaryOf(group), nodeWhy, volumes = [] } = group.primaryFailure ?? {};
  return {
    primaryFailure: {
      site,
      volumes,
      ...(nodeWhy === undefined ? {} : { node: nodeWhy }),
      ...(failed === "" ? {} : { failed }),
    },
  };
}

function splitStatus({ site, wrote, theirs }: Split): SplitStatus {
  return { site, wroteHere: wrote, ...(theirs === undefined ? {} : { wroteThere: theirs }) };
}

// At a bunker, the last that its log has.
function heldLsn(group: Group): number {
  return group.bunker?.bunker.end.lsn ?? ownLsns(group).applied;
}

function openGranulesOf(group: Group): number {
  let granules = 0;
  for (const volume of group.copy?.copy.volumes ?? []) granules += volume.open.size;
  return granules;
}

function volumeStatus(
  group: Group,
  volume: { readonly name: string; readonly bytes: number },
  index: number,
): VolumeStatus {
  const own = group.run?.primary.volumes[index];
  const state = own === undefined ? "readonly" : own.state;
  return { name: volume.name, bytes: volume.bytes, state, uri: "", ...deviceStatus(group, index) };
}

function deviceStatus({ gateways, journal }: Group, index: number): Partial<VolumeStatus> {
  const gateway = gateways[index]?.gateway;
  if (gateway === undefined) return {};
  const { address, isUp, why, flushedLsn } = gateway;
  const isBehind = journal !== undefined && !isDrained(gateway);
  return {
    device: address,
    link: isUp ? "up" : "device-down",
    why,
    deviceLagBytes: isBehind ? bytesAfter(journal, flushedLsn) : 0,
  };
}

// ------------------------------------------------------------------------------ the primary's view

// Lost before this process started, it lacks what was acked alone since then: an objective is missed over restarts, too.
function lostMs(primary: Primary, member: Member): number {
  const sinceMs = member.lostAtMs === 0 ? primary.startedMs : member.lostAtMs;
  return Math.max(primary.nowMs - sinceMs, aloneMs(primary, member));
}

/** What the primary knows of a member. */
export function memberStatus(group: Group, primary: Primary, member: Member): CopyStatus {
  const inquiry = group.context.inquiries.of(member.site);
  const state = shownState(member) as CopyState;
  const dirtyBytes = missingBytes(primary, member);
  const isWell = member.stage === "synchronized";
  // While anything is dirty, how many writes that was is not remembered: all since the member last had everything, at most.
  const heldLsn =
    dirtyBytes > 0 ? Math.min(member.ackedLsn, member.record.syncedLsn) : member.ackedLsn;
  // Who is waited for lacks nothing that was acked.
  const lacksNothing = isWell && member.policy.loss.takesPart;
  const lagBytes = keepsLog(member) ? logLagBytes(group, member) : dirtyBytes;
  const lag = lacksNothing ? { lagWrites: 0 } : lagWritesOf(primary, heldLsn, () => lagBytes);
  const { lagWrites } = lag;
  return {
    site: member.site,
    mode: member.policy.mode.name,
    state,
    image: imageOf(member),
    ...heldBy(member),
    lagBytes: lacksNothing || lagWrites === 0 ? 0 : lagBytes,
    ...lag,
    lagSeconds: isWell || lagBytes === 0 || lagWrites === 0 ? 0 : lostMs(primary, member) / 1000,
    applyLagBytes: 0,
    applyLagWrites: 0,
    dirtyBytes,
    sets: [],
    ...(group.journal === undefined || !takesSets(member)
      ? {}
      : memberFigures(primary, member, group.journal, dirtyBytes)),
    resyncSentBytes: member.sentBytes,
    resyncComparedBytes: member.comparedBytes,
    ...verifyStatus(primary, member.verify),
    link: linkOf(inquiry, member),
    ...(inquiry.lastAnswerMs === undefined ? {} : { roundTripMs: inquiry.roundTripMs }),
    why: isWell ? whyBehind(primary, member) : whyAway(primary, member, inquiry),
  };
}

// An upper bound, as ever: what the journal has behind what the member told last.
function logLagBytes({ journal }: Group, member: Member): number {
  return journal === undefined ? lagBytesOf(member) : bytesAfter(journal, member.ackedLsn);
}

// What a lost strict member may lack is in the open map alone until it is back: nothing was acked without it since.
function missingBytes(primary: Primary, member: Member): number {
  if (hasForeignDisk(member) && !keepsLog(member))
    return primary.volumes.reduce((sum, { bytes }) => sum + bytes, 0);
  // The journal has what it lacks; what is open may be so for other reasons.
  if (member.stage === "synchronized" || isInJournal(member)) return 0;
  if (keepsLog(member)) return 0;
  const dirty = (member.dirty ?? []).reduce((sum, map) => sum + markedBytes(map), 0);
  // Writes on their way to a member that is not waited for are acked already.
  if (member.stage !== "none") return dirty + member.outstandingBytes;
  return dirty > 0 ? dirty : primary.openGranules * limits.openGranuleBytes;
}

function imageOf(member: Member): CopyStatus["image"] {
  if (keepsLog(member)) return "none";
  if (member.stage === "synchronized") return member.policy.mode.imageWell;
  if (member.record.phase === "blank" || hasForeignDisk(member)) return "out-of-sync";
  return member.stage === "resync" || member.stage === "joining" ? "synchronizing" : "consistent";
}

function linkOf(inquiry: InquiryStatus, member: Member): LinkState {
  if (inquiry.isUp) return "up";
  return member.contact === "down" ? linkDownFor(inquiry.why) : "wan-down";
}

function whyAway(primary: Primary, member: Member, inquiry: InquiryStatus): string {
  const split = splitWhy(member);
  if (split !== undefined) return split;
  const { through } = member.policy;
  const { stoppedWhy, paused } = member.record;
  // What an operator has to do comes first: the relay's return would not help.
  const isHeld = stoppedWhy !== "" || paused || member.stage !== "none";
  if (isHeld || !lacksRelay(primary, member)) return whyNot(member, inquiry);
  const relay = relayOf(primary, member);
  const state = relay === undefined ? "no member" : shownState(relay);
  return `it is fed through ${through}, which is ${state}`;
}

function whyNot(member: Member, inquiry: InquiryStatus): string {
  const { record } = member;
  if (record.stoppedWhy !== "") return record.stoppedWhy;
  if (record.paused) return "paused by an operator; `antipode resume` feeds it again";
  if (member.slowProbes > 0) return `${member.why}; waits for ${member.slowProbes} quick probes`;
  switch (member.stage) {
    case "none":
      return inquiry.isUp
        ? [member.why, whatNext(member)].filter((words) => words !== "").join("; ")
        : member.why === ""
          ? inquiry.why
          : member.why;
    case "opening":
      // What ended the last one may end this one, too.
      return `${member.why === "" ? "" : `${member.why}; `}the session is being opened`;
    default:
      if (keepsLog(member)) return "catching up from the journal; nobody waits for it yet";
      return `${record.phase === "blank" ? "first sync" : "resync"} is running`;
  }
}

function whatNext(member: Member): string {
  return awaitsResume(member) ? awaitsResumeWords : "reconnecting";
}

// ------------------------------------------------------------------------------- a copy's own view

function ownStatus(group: Group): CopyStatus {
  const { context, heard } = group;
  const record = knownRecord(group);
  const copy = group.copy?.copy;
  // Until it is on record that a session has begun, the record is one of the session before.
  const hasBegun = copy?.session?.begun === true && copy.recordBefore === undefined;
  const isFed = hasBegun && !isFeederSilent(group);
  const nowMs = context.ports.clock.nowMs();
  const lsns = ownLsns(group);
  const heardLsn = heard?.view.lsn ?? lsns.applied;
  const lackedWrites = heard?.view.lackedWrites ?? Number.POSITIVE_INFINITY;
  const lagWrites = Math.min(Math.max(0, heardLsn - lsns.applied), lackedWrites);
  const isSynchronized = record.image === "synchronized";
  const staging = stagingOf(group);
  const isAsync = staging !== undefined;
  const isSets = isAsync || (copy?.session === undefined && isSetsCopy(group));
  return {
    site: context.site,
    mode: isSets ? setsMode(group) : "sync",
    state: ownState(group, isFed),
    // Without contact nobody here knows whether the primary went on alone.
    image: isSynchronized && !isFed ? "consistent" : record.image,
    received: lsns.received,
    staged: lsns.applied,
    complete: lsns.applied,
    applied: lsns.synced,
    lagBytes: (isFed && isSynchronized) || lagWrites === 0 ? 0 : (heard?.view.lackedBytes ?? 0),
    lagWrites: isFed && isSynchronized ? 0 : lagWrites,
    lagSeconds: isFed || heard === undefined ? 0 : (nowMs - heard.atMs) / 1000,
    applyLagBytes: 0,
    applyLagWrites: 0,
    dirtyBytes: 0,
    sets: [],
    ...(isAsync
      ? ownFigures(staging, {
          lsn: heardLsn,
          lackedBytes: heard?.view.lackedBytes ?? 0,
          lackedWrites,
          msAgo: isFed || heard === undefined ? undefined : nowMs - heard.atMs,
        })
      : {}),
    resyncSentBytes: 0,
    resyncComparedBytes: 0,
    ...preservedStatus(group),
    ...branchStatus(group),
    isFed,
    link: ownLink(group, isFed),
    why: ownWhy(group, isFed),
  };
}

function paceStatus(
  journal: Journal | undefined,
): Pick<GroupStatus["journal"], "isPacing" | "overflowSeconds"> {
  if (journal === undefined) return { isPacing: false, overflowSeconds: null };
  const { forecast, bytesUsed: usedBytes } = journal;
  const inMs = overflowsInMs(forecast, { fullBytes: fullBytes(journal), usedBytes });
  const isPacing = Number.isFinite(journal.pace.allowanceBytes);
  return { isPacing, overflowSeconds: inMs === undefined ? null : Math.round(inMs) / 1000 };
}

// The first primary is a copy on the terms of the copy that took its place; until it knows of one, of any that could.
function termsOf(group: Group): CopyConfig | undefined {
  const { config, site } = group.context;
  const { copies } = config;
  const successor = copies.get(primaryOf(group));
  return (
    copies.get(site) ?? successor ?? [...copies.values()].find(({ mode }) => mode !== "bunker")
  );
}

/** What it is by the file: who was never fed since its start knows no better. */
function isSetsCopy(group: Group): boolean {
  const terms = termsOf(group);
  return terms !== undefined && policyTable[terms.mode].unit === "set";
}

function setsMode(group: Group): CopyMode {
  const terms = termsOf(group);
  return terms !== undefined && isSetsCopy(group) ? terms.mode : "async";
}

function preservedStatus(group: Group): Pick<CopyStatus, "preserved"> {
  const { preservedPoint: point } = knownRecord(group);
  const preserve = group.copy?.preserve;
  if (point === undefined || preserve === undefined) return {};
  const { set, lsn, generation, stampMs, keptSinceMs, phase } = point;
  const bytesUsed = preserve.log === undefined ? 0 : figuresOf(preserve.log).bytesUsed;
  const { bytesMax } = preserve;
  const figures = { set, lsn, generation, stampMs, keptSinceMs, phase };
  return { preserved: { ...figures, bytesUsed, bytesMax } };
}

function branchStatus(group: Group): Pick<CopyStatus, "branch"> {
  const { branch } = knownRecord(group);
  const preserve = group.copy?.preserve;
  if (branch === undefined || preserve === undefined) return {};
  const { set, lsn, generation, stampMs, keptSinceMs, phase, wrote } = branch;
  const bytesUsed = preserve.branchLog === undefined ? 0 : figuresOf(preserve.branchLog).bytesUsed;
  const figures = { set, lsn, generation, stampMs, keptSinceMs, phase, wrote };
  return { branch: { ...figures, bytesUsed, bytesMax: preserve.bytesMax } };
}

function ownState(group: Group, isFed: boolean): CopyState {
  if (group.replay !== undefined) return "replaying";
  const { image } = knownRecord(group);
  if (image === "out-of-sync") return "init-sync";
  if (!isFed && splitsOf(group).length > 0) return "split-brain";
  const isAsync = group.copy?.copy.session?.takesSets === true;
  if (image === "synchronizing") return isFed ? "resync" : "fractured";
  if (isFed && isAsync && image === "consistent") return "streaming";
  return isFed && image === "synchronized" ? "synchronized" : "fractured";
}

function replayWords({ copy }: Group, { from, startLsn, endLsn }: ReplayRun): string {
  const lsn = copy?.staging?.staging.applied.lsn ?? startLsn;
  return `a replay from ${from}: LSN ${lsn} of ${startLsn + 1} to ${endLsn}`;
}

function ownWhy(group: Group, isFed: boolean): string {
  const record = knownRecord(group);
  if (group.failedWhy !== "") return group.failedWhy;
  const { imageFailure } = group.copy?.staging?.staging ?? {};
  if (imageFailure !== undefined) return `${imageFailure}; this site must be started again`;
  const trouble = troubleOf(group);
  if (trouble !== "") return trouble;
  if (group.replay !== undefined) return replayWords(group, group.replay);
  const preserveFailure = group.copy?.copy.preserveFailure ?? "";
  if (preserveFailure !== "") return preserveFailure;
  const dead = deadImageWhy(group.context.images);
  if (!isFed && record.failedVolumes.length > 0) {
    const failed = `a sync of ${record.failedVolumes.join(", ")} has failed here: what hosts wrote last may not be on the disk`;
    return dead === "" ? failed : `${failed}; this site must be started again`;
  }
  if (dead !== "") return dead;
  if (isFed && record.image === "synchronized") return "";
  if (isFed && group.copy?.copy.session?.takesSets === true && record.image === "consistent")
    return "";
  if (isFed) return "a resync is running";
  const [split] = splitsOf(group);
  if (split !== undefined)
    return `${split.site} and this site have both written what the other lacks`;
  if (record.discarding !== undefined)
    return "what was written here by itself is given up; waits for the other side's primary to bring its own";
  if (primaryOf(group) === group.context.site) {
    const to = record.toldOfFracture === undefined ? "" : ` (${record.toldOfFracture.why})`;
    return `this site gave its role up${to}, and has heard of no other primary`;
  }
  if (record.toldOfFracture !== undefined) {
    return `the primary went on without this copy: ${record.toldOfFracture.why}`;
  }
  return whyNoSession(group);
}
