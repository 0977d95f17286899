import { limits } from "#base/limits.ts";
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
import { hasForeignDisk } from "#core/members.ts";
import { markedBytes } from "#core/region-map.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import type { CopyState, LinkState } from "#core/states.ts";
import { awaitsResumeWords } from "./api.ts";
import type { CopyStatus } from "./api.ts";
import { bytesAfter } from "./journal-run.ts";
import type { Group } from "./group.ts";
import { lagWritesOf } from "./lag.ts";
import { linkDownFor } from "./inquiry.ts";
import type { InquiryStatus } from "./inquiry.ts";
import { aloneMs, heldBy, memberFigures, whyBehind } from "./sets-status.ts";
import { verifyStatus } from "./verify.ts";

// The primary's view in `status`: an element of `copies` for each member. Never better than what is known.

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

// Lost before this process started, it lacks what was acked alone since then: an objective is missed over restarts, too.
function lostMs(primary: Primary, member: Member): number {
  const sinceMs = member.lostAtMs === 0 ? primary.startedMs : member.lostAtMs;
  return Math.max(primary.nowMs - sinceMs, aloneMs(primary, member));
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
