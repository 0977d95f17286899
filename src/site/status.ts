import { limits } from "#base/limits.ts";
import { isInJournal, shownState, takesSets } from "#core/member-state.ts";
import { generationCounter } from "#core/history.ts";
import { figuresOf } from "#store/log.ts";
import { markedBytes } from "#core/region-map.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import type { CopyState, LinkState } from "#core/states.ts";
import type { CopyStatus, GroupStatus, SplitStatus, VolumeStatus } from "./api.ts";
import { configurationStatus } from "./configuration.ts";
import { troubleOf } from "./copy-anew.ts";
import { knownRecord, primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import type { InquiryStatus } from "./inquiry.ts";
import { memberFigures, ownFigures, whyBehind } from "./sets-status.ts";
import { splitsOf } from "./split.ts";
import type { Split } from "./split.ts";

// What `status` says. Never better than what is known: a copy without contact to its primary is `consistent` at best
// (I33).

export function groupStatus(group: Group): GroupStatus {
  const record = knownRecord(group);
  const primary = group.run?.primary;
  const splits = splitsOf(group);
  return {
    name: group.name,
    role: record.role,
    generation: generationCounter(record.history),
    primary: primaryOf(group),
    durability: group.config.durability,
    serving: primary?.stage === "serving",
    why: group.failedWhy === "" ? (primary?.why ?? "") : group.failedWhy,
    lsn: primary === undefined ? (group.copy?.copy.appliedLsn ?? 0) : primary.nextLsn - 1,
    set:
      primary?.journal === undefined
        ? (group.copy?.staging?.staging.applied.set ?? 0)
        : primary.journal.set - 1,
    volumes: group.config.volumes.map((volume, index) => volumeStatus(group, volume, index)),
    journal: {
      bytesUsed: primary?.journal?.bytesUsed ?? 0,
      bytesMax: primary?.journal?.bytesMax ?? 0,
      stalledWrites: primary?.held.length ?? 0,
    },
    copies:
      primary === undefined
        ? [ownStatus(group)]
        : primary.members.map((member) => memberStatus(group, primary, member)),
    configuration: configurationStatus(group),
    openGranules: primary?.openGranules ?? openGranulesOf(group),
    requestsInFlight: primary?.inFlight ?? 0,
    ...(splits.length === 0 ? {} : { splits: splits.map(splitStatus) }),
  };
}

function splitStatus({ site, wrote, theirs }: Split): SplitStatus {
  return { site, wroteHere: wrote, ...(theirs === undefined ? {} : { wroteThere: theirs }) };
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
  return { name: volume.name, bytes: volume.bytes, state, uri: "" };
}

// ------------------------------------------------------------------------------ the primary's view

function memberStatus(group: Group, primary: Primary, member: Member): CopyStatus {
  const inquiry = group.context.inquiries.of(member.site);
  const state = shownState(member) as CopyState;
  const dirtyBytes = missingBytes(primary, member);
  const isWell = member.stage === "synchronized";
  const lsn = primary.nextLsn - 1;
  // While anything is dirty, how many writes that was is not remembered: all since the member last had everything, at most.
  const heldLsn =
    dirtyBytes > 0 ? Math.min(member.ackedLsn, member.record.syncedLsn) : member.ackedLsn;
  const lagWrites = isWell ? 0 : Math.max(0, lsn - heldLsn);
  const lostMsAgo = member.lostAtMs === 0 ? 0 : primary.nowMs - member.lostAtMs;
  return {
    site: member.site,
    mode: member.policy.mode.name,
    state,
    image: imageOf(member),
    received: member.ackedLsn,
    staged: member.ackedLsn,
    complete: member.ackedLsn,
    applied: member.record.syncedLsn,
    lagBytes: isWell ? 0 : dirtyBytes,
    lagWrites,
    lagSeconds: isWell || dirtyBytes === 0 ? 0 : lostMsAgo / 1000,
    applyLagBytes: 0,
    applyLagWrites: 0,
    dirtyBytes,
    sets: [],
    ...(group.journal === undefined || !takesSets(member)
      ? {}
      : memberFigures(primary, member, group.journal, dirtyBytes)),
    resyncSentBytes: member.sentBytes,
    resyncComparedBytes: member.comparedBytes,
    link: linkOf(inquiry, member),
    why: isWell ? whyBehind(primary, member) : whyNot(member, inquiry),
  };
}

// What a lost strict member may lack is in the open map alone until it is back: nothing was acked without it since.
function missingBytes(primary: Primary, member: Member): number {
  // The journal has what it lacks; what is open may be so for other reasons.
  if (member.stage === "synchronized" || isInJournal(member)) return 0;
  const dirty = (member.dirty ?? []).reduce((sum, map) => sum + markedBytes(map), 0);
  // Writes on their way to a member that is not waited for are acked already.
  if (member.stage !== "none") return dirty + member.outstandingBytes;
  return dirty > 0 ? dirty : primary.openGranules * limits.openGranuleBytes;
}

function imageOf(member: Member): CopyStatus["image"] {
  if (member.stage === "synchronized") return member.policy.mode.imageWell;
  if (member.record.phase === "blank") return "out-of-sync";
  return member.stage === "resync" || member.stage === "joining" ? "synchronizing" : "consistent";
}

function linkOf(inquiry: InquiryStatus, member: Member): LinkState {
  if (inquiry.isUp) return "up";
  return member.contact === "down" && /refused|nobody listens/i.test(inquiry.why)
    ? "peer-down"
    : "wan-down";
}

function whyNot(member: Member, inquiry: InquiryStatus): string {
  const { record } = member;
  if (record.stoppedWhy !== "") return record.stoppedWhy;
  if (record.paused) return "paused by an operator; `antipode resume` feeds it again";
  if (member.slowProbes > 0) return `${member.why}; waits for ${member.slowProbes} quick probes`;
  switch (member.stage) {
    case "none":
      return inquiry.isUp
        ? `${member.why}; reconnecting`
        : member.why === ""
          ? inquiry.why
          : member.why;
    case "opening":
      return "the session is being opened";
    default:
      return `${record.phase === "blank" ? "first sync" : "resync"} is running`;
  }
}

// ------------------------------------------------------------------------------- a copy's own view

function ownStatus(group: Group): CopyStatus {
  const { context, heard } = group;
  const record = knownRecord(group);
  const copy = group.copy?.copy;
  const isFed = copy?.session?.begun === true;
  const nowMs = context.ports.clock.nowMs();
  const appliedLsn = copy?.appliedLsn ?? 0;
  const heardLsn = heard?.view.lsn ?? appliedLsn;
  const lagWrites = Math.max(0, heardLsn - appliedLsn);
  const isSynchronized = record.image === "synchronized";
  const staging = group.copy?.staging;
  const isAsync =
    staging !== undefined && (copy?.session?.takesSets ?? record.applied !== undefined);
  return {
    site: context.site,
    mode: isAsync ? "async" : "sync",
    state: ownState(group, isFed),
    // Without contact nobody here knows whether the primary went on alone.
    image: isSynchronized && !isFed ? "consistent" : record.image,
    received: copy?.receivedLsn ?? 0,
    staged: appliedLsn,
    complete: appliedLsn,
    applied: copy?.syncedLsn ?? 0,
    lagBytes: 0,
    lagWrites: isFed && isSynchronized ? 0 : lagWrites,
    lagSeconds: isFed || heard === undefined ? 0 : (nowMs - heard.atMs) / 1000,
    applyLagBytes: 0,
    applyLagWrites: 0,
    dirtyBytes: 0,
    sets: [],
    ...(isAsync
      ? ownFigures(staging, {
          lsn: heardLsn,
          msAgo: isFed || heard === undefined ? undefined : nowMs - heard.atMs,
        })
      : {}),
    resyncSentBytes: 0,
    resyncComparedBytes: 0,
    ...preservedStatus(group),
    ...branchStatus(group),
    link: isFed ? "up" : "wan-down",
    why: ownWhy(group, isFed, nowMs),
  };
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
  const { image } = knownRecord(group);
  if (image === "out-of-sync") return "init-sync";
  if (!isFed && splitsOf(group).length > 0) return "split-brain";
  const isAsync = group.copy?.copy.session?.takesSets === true;
  if (image === "synchronizing") return isFed ? "resync" : "fractured";
  if (isFed && isAsync && image === "consistent") return "streaming";
  return isFed && image === "synchronized" ? "synchronized" : "fractured";
}

function ownWhy(group: Group, isFed: boolean, nowMs: number): string {
  const record = knownRecord(group);
  if (group.failedWhy !== "") return group.failedWhy;
  const { imageFailure } = group.copy?.staging?.staging ?? {};
  if (imageFailure !== undefined) return `${imageFailure}; this site must be started again`;
  const trouble = troubleOf(group);
  if (trouble !== "") return trouble;
  const preserveFailure = group.copy?.copy.preserveFailure ?? "";
  if (preserveFailure !== "") return preserveFailure;
  if (isFed && record.image === "synchronized") return "";
  if (isFed && group.copy?.copy.session?.takesSets === true && record.image === "consistent")
    return "";
  if (isFed) return "a resync is running";
  const [split] = splitsOf(group);
  if (split !== undefined)
    return `${split.site} and this site have both written what the other lacks`;
  if (record.discarding !== undefined)
    return "what was written here by itself is given up; waits for the other side's primary to bring its own";
  if (record.toldOfFracture !== undefined) {
    return `the primary went on without this copy: ${record.toldOfFracture.why}`;
  }
  const since =
    group.heard === undefined
      ? "since this process started"
      : `for ${((nowMs - group.heard.atMs) / 1000).toFixed(1)} s`;
  const primary = primaryOf(group);
  const { why } = group.context.inquiries.of(primary);
  return `no session with ${primary}; nothing heard ${since}${why === "" ? "" : `: ${why}`}`;
}
