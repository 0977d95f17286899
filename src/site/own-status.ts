import type { CopyConfig, CopyMode } from "#config/types.ts";
import { policyTable } from "#core/policy.ts";
import { figuresOf } from "#store/log.ts";
import type { CopyState } from "#core/states.ts";
import type { CopyStatus } from "./api.ts";
import type { ReplayRun } from "./replay.ts";
import { troubleOf } from "./copy-anew.ts";
import { knownRecord, primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { ownLink, whyNoSession } from "./own-link.ts";
import { ownLsns, stagingOf } from "./own-lsns.ts";
import { isFeederSilent } from "./primary-silence.ts";
import { ownFigures } from "./sets-status.ts";
import { splitsOf } from "./split.ts";
import { deadImageWhy } from "./sync-images.ts";

// A copy's own view in `status`: the one element of `copies` is the site itself. Never better than what is known: without
// contact to its primary it is `consistent` at best (I33).

/** What a copy knows of itself. */
export function ownStatus(group: Group): CopyStatus {
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
