import { compareHistories, currentGeneration, describeGeneration } from "#core/history.ts";
import { isFavoured } from "#core/branch.ts";
import { activationOf } from "#core/bunker.ts";
import type { GroupRecord } from "#core/group-record.ts";
import type {
  LaneOpen,
  PeerRefusal,
  ReplayOpen,
  SessionOpen,
  TakeBackOpen,
} from "#wire/peer/documents.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { frameType } from "#wire/peer/messages.ts";
import { notePaused } from "./auto-replay.ts";
import { configurationView, hearConfiguration } from "./configuration.ts";
import { troubleOf } from "./copy-anew.ts";
import { changeUnit, mustChangeUnit } from "./copy-unit.ts";
import { fitVolumes } from "./grow.ts";
import { replaysByItself } from "./group-config.ts";
import { knownRecord, primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { outrankedBy } from "./outranked.ts";
import { refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import type { PrimaryRun } from "./primary-run.ts";
import { isOutdated } from "./outdated.ts";
import { hasFailedHere } from "./refusals.ts";
import { primarySilence } from "./primary-silence.ts";
import { splitFrom } from "./split.ts";
import { cancelAsked } from "./replay-cancel.ts";
import { replayAsked } from "./replay-source.ts";
import { replayedWhy } from "./replay.ts";
import { deadImageWhy } from "./sync-images.ts";
import { takeBackAsked } from "./take-back.ts";
import { toldLack } from "./told-lack.ts";

const bothPrimary = "both sides have been primary in generations that the other does not know";
const wordGiven = "its operator has given up what it wrote by itself";
const diskGone = "it is blank: what it wrote by itself is not there any more";

// What other sites ask of a group here, and tell of it: sessions of a primary elsewhere, more connections for them, views.

/** A primary that feeds this site opens one more connection for its session. */
export function laneAsked(group: Group, peer: Peer, open: LaneOpen): void {
  const why = group.copy?.acceptLane(peer, open) ?? "this site is no copy";
  const isTaken = group.copy !== undefined && why === "";
  if (isTaken) sendDocument(peer, frameType.opened, {});
  else refuseSession(group, peer, "busy", why);
}

/** A primary elsewhere asks to feed this site. */
export function sessionAsked(group: Group, peer: Peer, open: SessionOpen): void {
  const { record } = group.context.store;
  if (group.failedWhy !== "") return refuseSession(group, peer, "busy", group.failedWhy);
  if (group.isChangingRole) {
    return refuseSession(group, peer, "busy", "a change of role is under way");
  }
  const relation = compareHistories(open.history, record.history);
  const { discarding } = record;
  if (discarding !== undefined && !isFavoured(discarding.favours, open.history)) {
    const { site } = group.context;
    const what =
      group.bunker === undefined ? `what ${site} wrote by itself` : `the log that ${site} keeps`;
    const why = `${what} is given up in favour of another history than that of ${peer.site}`;
    return refuseSession(group, peer, "busy", why);
  }
  if (relation === "behind") {
    return refuseSession(
      group,
      peer,
      "higher-generation",
      `${group.context.site} holds ${describeGeneration(record.history)}`,
    );
  }
  if (relation === "diverged" && discarding === undefined) {
    return refuseSession(group, peer, "diverged", bothPrimary);
  }
  if (relation === "same" && open.incarnation < record.incarnation && group.run === undefined) {
    const why = `${group.context.site} was fed by incarnation ${record.incarnation} of this generation; older metadata was restored at ${peer.site}`;
    return refuseSession(group, peer, "stale", why);
  }
  const mismatch = mismatchOf(record, open);
  if (mismatch !== "") return refuseSession(group, peer, "not-a-copy", mismatch);
  if (currentGeneration(open.history)?.site !== peer.site) {
    return refuseSession(
      group,
      peer,
      "not-a-copy",
      `${peer.site} is not the primary of the generation it names`,
    );
  }
  if (group.run !== undefined) {
    if (relation === "ahead")
      group.run.submit(outrankedBy(peer.site, open.history, record.history));
    return refuseSession(group, peer, "busy", "this site is giving up its own role first");
  }
  if (group.bunker !== undefined || open.unit === "record")
    return bunkerAsked(group, peer, open, relation);
  // What a bunker has brought must not be mixed with what an old primary would (SPEC 4.2, trap 4).
  const replayed = relation === "same" ? replayedWhy(group) : "";
  if (replayed !== "") return refuseSession(group, peer, "activated", replayed);
  // Fed at once it would fail at once: it begins anew by itself. A mirror needs no staging.
  const trouble = troubleOf(group);
  if (trouble !== "" && (open.unit !== "write" || group.copy === undefined))
    return refuseSession(group, peer, "busy", trouble);
  if (group.copy === undefined) return refuseSession(group, peer, "busy", "this site is no copy");
  // Fed again it would fail again, after it was sent what it lacks once more.
  const dead = deadImageWhy(group.context.images);
  if (dead !== "") return refuseSession(group, peer, "busy", dead);
  // Fed again it would come to the same end: what cannot be kept cannot be overwritten.
  const { preserveFailure } = group.copy.copy;
  if (preserveFailure !== "") return refuseSession(group, peer, "busy", preserveFailure);
  if (mustChangeUnit(group.copy, open.unit)) {
    changeUnit(group, group.copy, open.unit);
    return refuseSession(group, peer, "busy", `about to take ${open.unit}s`);
  }
  const unfit = fitVolumes(group, group.copy, peer, open);
  if (unfit !== "") return refuseSession(group, peer, "busy", unfit);
  group.copy.accept(peer, open);
}

// Both sites go by the same revision once they have heard of each other: until then one may have an older file.
function bunkerAsked(
  group: Group,
  peer: Peer,
  open: SessionOpen,
  relation: ReturnType<typeof compareHistories>,
): void {
  const { site, store } = group.context;
  const { bunker } = group;
  if (bunker === undefined || open.unit !== "record") {
    const what = bunker === undefined ? "keeps no log for others" : "keeps the log, and no volume";
    return refuseSession(
      group,
      peer,
      "not-a-copy",
      `${site} ${what}; both sites need the same file`,
    );
  }
  // A later generation makes it begin anew; the one that it holds is over (decision 6).
  const activation = relation === "same" ? activationOf(store.record) : "";
  if (activation !== "") return refuseSession(group, peer, "activated", activation);
  const why = bunker.accept(peer, open);
  if (why !== "") refuseSession(group, peer, "busy", why);
}

/** A copy asks the bunker here for what it lacks. */
export function copyAsks(group: Group, peer: Peer, open: ReplayOpen): void {
  const { bunker, context } = group;
  if (group.failedWhy !== "") return refuseSession(group, peer, "busy", group.failedWhy);
  if (bunker === undefined)
    return refuseSession(group, peer, "not-a-copy", `${context.site} keeps no log for others`);
  if (open.isCancelled === true) return cancelAsked(context, bunker, peer, open);
  const mismatch = mismatchOf(context.store.record, open);
  const silentMs = (): number => primarySilence(group);
  replayAsked(context, bunker, { peer, open, mismatch, silentMs });
}

/** The primary that feeds the bunker here lost power, and asks for what it may have lost. */
export function primaryAsks(group: Group, peer: Peer, open: TakeBackOpen): void {
  const { bunker, context } = group;
  if (group.failedWhy !== "") return refuseSession(group, peer, "busy", group.failedWhy);
  if (bunker === undefined)
    return refuseSession(group, peer, "not-a-copy", `${context.site} keeps no log for others`);
  takeBackAsked(context, bunker, peer, open);
}

function mismatchOf(
  record: GroupRecord,
  open: Pick<SessionOpen, "regionBytes" | "volumes">,
): string {
  if (open.regionBytes !== record.regionBytes) {
    return `regions are ${record.regionBytes} bytes here and ${open.regionBytes} there; both sites need the same file`;
  }
  // Their sizes may differ while they grow (`fitVolumes`).
  const ours = record.volumes.map(({ name }) => name).join(" ");
  const theirs = open.volumes.map(({ name }) => name).join(" ");
  return ours === theirs
    ? ""
    : `volumes are ${ours} here and ${theirs} there; both sites need the same file`;
}

function refuseSession(group: Group, peer: Peer, code: PeerRefusal["code"], why: string): void {
  const { history } = knownRecord(group);
  refusePeer(peer, code, why, history);
}

/** What another site has said of the group. Gives whether the group goes by another configuration here from now on. */
export function viewHeard(group: Group, site: string, view: GroupView): boolean {
  if (isOutdated(view, group.views.get(site)?.view)) return false;
  const { context } = group;
  const record = knownRecord(group);
  const relation = compareHistories(view.history, record.history);
  group.views.set(site, { view, atMs: context.ports.clock.nowMs() });
  if (view.role === "primary" && (relation === "same" || relation === "ahead")) {
    group.heard = { site, view, atMs: context.ports.clock.nowMs() };
  }
  if (group.run !== undefined) {
    if (relation === "ahead") group.run.submit(outrankedBy(site, view.history, record.history));
    noteHistory(group.run, site, view);
    return hearConfiguration(group, site, view);
  }
  if (group.bunker !== undefined && relation === "same") {
    const why = view.fractured[context.site];
    if (why !== undefined) group.bunker.toldFractured(view.lsn, why);
  }
  if (group.copy === undefined) return hearConfiguration(group, site, view);
  if (relation === "same") {
    if (view.role === "primary") notePaused(group, view.paused ?? []);
    if (view.role === "primary") group.copy.stable(view.stableLsn, view.lsnReserved);
    const why = view.fractured[context.site];
    if (why !== undefined) group.copy.toldFractured(view.lsn, why);
  }
  return hearConfiguration(group, site, view);
}

// No session may ever say it: the member's relay may be of the other side, or the other side's primary away.
function noteHistory(run: PrimaryRun, site: string, { history, discards = [] }: GroupView): void {
  const { record, members } = run.primary;
  const member = members.find((candidate) => candidate.site === site);
  if (member === undefined) return;
  const { index } = member;
  const isGivenUp = isFavoured(discards, record.history);
  const isSplit = member.record.splitBrain || member.heardSplit !== "";
  if (isSplit && isGivenUp) run.submit({ kind: "givenUp", member: index, why: wordGiven });
  // Its operator has put another disk there, or moved that one away: nobody can give up any more what lay on it.
  else if (isSplit && history.length === 0)
    run.submit({ kind: "givenUp", member: index, why: diskGone });
  // A history with another root is of a disk that was made anew, which finds that out by itself.
  const isFork = !isGivenUp && history[0]?.id === record.history[0]?.id;
  const forks = isFork && compareHistories(history, record.history) === "diverged";
  const why = forks ? bothPrimary : "";
  if (member.heardSplit !== why) run.submit({ kind: "heardSplit", member: index, why });
}

/** What this site says of the group to another. */
export function viewOf(group: Group, site: string): GroupView {
  const record = knownRecord(group);
  const { discarding } = record;
  const wrote = splitFrom(group, site)?.wrote;
  const own = group.run?.view();
  const configuration = configurationView(group, site);
  return {
    group: group.name,
    role: record.role,
    history: record.history,
    image: record.image,
    lsn: own?.lsn ?? lsnWithout(group, record),
    lsnReserved: record.lsnReserved,
    ...toldLack(group, site),
    stableLsn: own?.stableLsn ?? 0,
    fractured: own?.fractured ?? fracturedBefore(record),
    ...failedVolumes(group.run),
    ...(replaysByItself(group.config) ? replayView(group) : {}),
    ...(hasFailedHere(group) ? { failed: group.failedWhy.slice(0, 200) } : {}),
    wallMs: group.context.ports.clock.wallMs(),
    ...(configuration === undefined ? {} : { configuration }),
    ...(wrote === undefined ? {} : { wrote }),
    ...(discarding === undefined ? {} : { discards: discarding.favours }),
  };
}

// What a copy needs to know before it begins a replay by itself.
function replayView(group: Group): Pick<GroupView, "primarySilentMs" | "paused" | "log"> {
  const { run, bunker, context } = group;
  const paused = run?.primary.members.filter(({ record }) => record.paused) ?? [];
  if (run !== undefined)
    return paused.length === 0 ? {} : { paused: paused.map(({ site }) => site) };
  // A site that was the primary itself, and knows of no other one, has nobody to listen to.
  if (primaryOf(group) === context.site) return {};
  const { activatedFor, isCalledOff } = context.store.record.bunker ?? {};
  const log = {
    ...(activatedFor === undefined ? {} : { activatedFor }),
    ...(isCalledOff === undefined ? {} : { isCalledOff }),
  };
  const silence = { primarySilentMs: primarySilence(group) };
  return bunker === undefined ? silence : { ...silence, log };
}

function failedVolumes(run: PrimaryRun | undefined): Pick<GroupView, "failedVolumes"> {
  const failed = run?.primary.volumes.filter(({ state }) => state === "failed") ?? [];
  return failed.length === 0 ? {} : { failedVolumes: failed.map(({ name }) => name) };
}

// Who was demoted in order knows its last LSN, until somebody feeds it; otherwise it had better say nothing.
function lsnWithout(group: Group, record: GroupRecord): number {
  if (record.role === "demoted") return record.cleanStop ? record.lsnReserved - 1 : 0;
  return group.copy?.copy.appliedLsn ?? group.bunker?.bunker.end.lsn ?? 0;
}

// A demoted site has gone on without these before: they must not take its leaving for a handover of everything.
function fracturedBefore(record: GroupRecord): Record<string, string> {
  const fractured: Record<string, string> = {};
  for (const [site, member] of Object.entries(record.members)) {
    if (member.alone)
      fractured[site] = `${record.site} acked writes without it before it was demoted`;
  }
  return fractured;
}
