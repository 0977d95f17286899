import type { EventRecord } from "#ports/events.ts";
import { compareHistories } from "#core/history.ts";
import type { ReplayedRecord } from "#core/group-record.ts";
import { inMiB } from "#core/point.ts";
import { isAtWork } from "#core/staging-rest.ts";
import { saveRecord } from "#store/group-store.ts";
import { parseReplayOpened } from "#wire/peer/documents.ts";
import type { ReplayOpened, ReplayRange, SessionOpen } from "#wire/peer/documents.ts";
import { limits } from "#base/limits.ts";
import type { CommandOutcome, SiteCommand } from "./api.ts";
import { askAll } from "./ask-all.ts";
import { emit } from "./group-context.ts";
import { bunkersOf, isBunkerOf } from "./group-config.ts";
import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import type { Peer } from "./peer-connection.ts";
import { refused } from "./refusals.ts";
import { giveUpSilentFeeder, isFeederSilent } from "./primary-silence.ts";
import { dialBunker, notOpened } from "./replay-dial.ts";
import type { StagingRun } from "./staging-run.ts";

// `antipode replay`: a copy whose primary is lost is brought up from a bunker's log. The bunker refuses the old primary
// first, on record; then it feeds this copy over the connection made here, as the primary would. Whatever ends that,
// the copy is at the end of a set, and the command can be given again.

/** A replay under way: what has come of it. */
export type ReplayRun = {
  readonly from: string;
  readonly startLsn: number;
  readonly endSet: number;
  readonly endLsn: number;
};

/** The command, and where its bunker is to be dialled. */
export type ReplayCommand = Extract<SiteCommand, { kind: "replay" }> & {
  readonly address: string;
  /** Nobody has given it: the site begins it by itself, after so long a silence of the primary (site/auto-replay.ts). */
  readonly automaticAfterMs?: number;
};
type Done = (outcome: CommandOutcome) => void;

type Replay = {
  readonly group: Group;
  readonly command: ReplayCommand;
  readonly staging: StagingRun;
  readonly done: Done;
};

/** Judges the copy, then what the other sites say of themselves. Only then is the bunker asked. */
export function runReplay(group: Group, command: ReplayCommand, done: Done): void {
  if (!command.dryRun) giveUpSilentFeeder(group);
  const refusal = refusalBefore(group, command);
  const staging = group.copy?.staging;
  if (refusal !== undefined || staging === undefined)
    return done(
      refusal ?? refused("unsafe", "this site takes no sets: there is nothing to replay into"),
    );
  group.isChangingRole = true;
  askAll(group, (answering) => {
    group.isChangingRole = false;
    const primary = primaryOf(group);
    if (group.copy?.staging !== staging)
      return done(refused("failed", "the copy has begun anew meanwhile"));
    if (answering.has(primary) && primary !== command.from && mayServe(group, primary))
      return done(
        refused(
          "unsafe",
          `${primary} answers: it feeds its copies by itself`,
          `stop it first, or antipode demote ${group.name} --site ${primary}`,
        ),
      );
    askBunker({ group, command, staging, done });
  });
}

/** Why nothing can be replayed to this copy from there now, as far as can be known without asking anybody. */
export function refusalBefore(group: Group, { from }: ReplayCommand): CommandOutcome | undefined {
  const { config, context, copy, run } = group;
  const { record } = context.store;
  const { site } = context;
  if (!isBunkerOf(config, from)) {
    const known = bunkersOf(config).join(", ");
    const message = `${group.name} has no bunker at ${from}`;
    return refused("usage", message, `its bunkers: ${known === "" ? "none" : known}`);
  }
  if (run !== undefined) return refused("unsafe", `${site} is the primary of ${group.name}`);
  // Nothing of it is counted in sets: a replay would begin with the oldest of the log, and write that over what is newer.
  if (record.role === "demoted")
    return refused(
      "unsafe",
      `${site} was the primary of ${group.name} itself until it was demoted, and has what it acked: there is nothing to replay`,
      `antipode promote ${group.name} --site ${site} makes it the primary again`,
    );
  if (copy === undefined || group.isChangingRole || group.failedWhy !== "") {
    const why = group.failedWhy === "" ? "a change of role is under way" : group.failedWhy;
    return refused("failed", `nothing can be replayed to ${site} now: ${why}`);
  }
  if (group.replay !== undefined)
    return refused(
      "failed",
      `a replay from ${group.replay.from} is under way`,
      `wait until it has ended; antipode status ${group.name} --site ${site} shows how far it has come`,
    );
  const feeder = copy.fedBy();
  if (feeder !== undefined && !isFeederSilent(group))
    return refused(
      "unsafe",
      `${feeder} feeds this copy`,
      `what it lacks comes from there; if ${feeder} is gone, its connection is given up within seconds: give the command again`,
    );
  if (record.image === "consistent") return undefined;
  return refused(
    "unsafe",
    `the image here is ${record.image}: it is no state that a log leads on from`,
    `antipode promote ${group.name} --site ${site} --force says what else there is`,
  );
}

// A site that answers and has not said yet what it is may be the primary that is starting.
function mayServe(group: Group, primary: string): boolean {
  const view = group.views.get(primary)?.view;
  if (view === undefined) return true;
  const relation = compareHistories(view.history, group.context.store.record.history);
  return view.role === "primary" && relation !== "behind";
}

const activatedHint =
  "antipode replay --cancel at that copy calls it off; with --force, here, if it is gone for good";

function askBunker(replay: Replay): void {
  const { group, command, staging, done } = replay;
  const { from, until, dryRun } = command;
  const { set, lsn } = staging.staging.complete;
  const has = { completeSet: set, completeLsn: lsn };
  const { automaticAfterMs } = command;
  const byItself = automaticAfterMs === undefined ? {} : { automaticAfterMs };
  const asked = { ...has, ...byItself, untilLsn: until ?? null, isWanted: !dryRun };
  dialBunker(group, command, asked, (answer) => {
    if (answer.kind !== "opened") return done(notOpened(group, from, answer, activatedHint));
    const { peer, document } = answer;
    const parsed = parseReplayOpened(document);
    if (!parsed.ok) {
      peer.connection.close(parsed.error);
      return done(refused("failed", `${from}: ${parsed.error}`));
    }
    const without = withoutIt(group, from, parsed.value);
    const opened = without === undefined ? parsed.value : { ...parsed.value, isWhole: false };
    const plan = planOf(replay, opened, without);
    if (!dryRun) return begin(replay, { peer, opened, plan });
    peer.connection.close("that was all");
    done({ ok: true, plan });
  });
}

/**
 * That the primary goes on without this log, and why, as its last probe told us. The log itself may not know: it was out of the
 * primary's reach. Where it goes further than the primary had come then, its own word is the later one.
 */
function withoutIt(
  { heard }: Group,
  from: string,
  { has, history }: ReplayOpened,
): string | undefined {
  if (heard === undefined || compareHistories(heard.view.history, history) !== "same")
    return undefined;
  return has.lsn > heard.view.lsn ? undefined : heard.view.fractured[from];
}

// ---------------------------------------------------------------------------------------- the plan

function planOf(
  { group, command, staging }: Replay,
  { has, sends, isWhole }: ReplayOpened,
  without: string | undefined,
): string[] {
  const { complete } = staging.staging;
  const { from } = command;
  const plan = [
    sends.set <= complete.set
      ? `${from} has nothing that this copy lacks, which has everything up to LSN ${complete.lsn}`
      : `from ${from}: LSN ${complete.lsn + 1} to ${sends.lsn}, ${amountOf(sends)}`,
    `${from} takes nothing from ${primaryOf(group)} any more, in this generation`,
  ];
  if (has.lsn > sends.lsn) plan.push(`not replayed: ${lostOf(has, sends.lsn, sends)}`);
  const primary = primaryOf(group);
  if (without !== undefined)
    plan.push(
      `${primary} went on without ${from} when it was last heard (${without}): what it acked alone is not in there`,
    );
  else if (!isWhole)
    plan.push(
      `${from} did not have everything when it last heard of ${primary}: what that acked alone is not in it`,
    );
  return plan;
}

function amountOf({ writes, bytes }: Pick<ReplayRange, "writes" | "bytes">): string {
  return `${writes} writes, ${inMiB(bytes)}`;
}

function lostOf(
  has: ReplayRange,
  fromLsn: number,
  got: Pick<ReplayRange, "writes" | "bytes">,
): string {
  const amount = { writes: has.writes - got.writes, bytes: has.bytes - got.bytes };
  return `LSN ${fromLsn + 1} to ${has.lsn}, ${amountOf(amount)}`;
}

// ------------------------------------------------------------------------------------------- doing

type Begun = {
  readonly peer: Peer;
  readonly opened: ReplayOpened;
  readonly plan: readonly string[];
};

function begin(replay: Replay, begun: Begun): void {
  const { group, command, staging, done } = replay;
  const { context, copy } = group;
  const { peer, opened } = begun;
  const { has, sends } = opened;
  const { complete } = staging.staging;
  if (copy?.staging !== staging || group.replay !== undefined || group.isChangingRole) {
    peer.connection.close("the copy is not what it was");
    return done(refused("failed", "the copy has begun anew, or changes its role"));
  }
  const endSet = Math.max(sends.set, complete.set);
  group.replay = {
    from: command.from,
    startLsn: complete.lsn,
    endSet,
    endLsn: Math.max(sends.lsn, complete.lsn),
  };
  const startMs = context.ports.clock.nowMs();
  emit(context, {
    kind: "replay",
    copy: command.from,
    ...rangeOf(complete.lsn, sends.lsn),
    why: `begun ${askerOf(replay)}: ${begun.plan.join("; ")}`,
  });
  // The bunker may end our last set earlier than the old primary did: whatever cuts this short, that one feeds us no more.
  const { set, lsn } = complete;
  const endLsn = Math.max(has.lsn, lsn);
  const { isWhole } = opened;
  const replayed = { from: command.from, set, lsn, endLsn, isWhole, ...markOf(command) };
  context.store.record.replayed = replayed;
  saveRecord(context.store, (failure) => {
    if (failure === undefined) return feed(replay, begun, { endSet, startMs });
    group.replay = undefined;
    peer.connection.close("the copy cannot record it");
    group.failedWhy = `the replay cannot be recorded: ${failure.message}`;
    done(refused("failed", group.failedWhy, undefined, begun.plan));
  });
}

// Who was not behind is brought nothing.
function rangeOf(heldLsn: number, toLsn: number): Pick<EventRecord, "fromLsn" | "toLsn"> {
  return toLsn > heldLsn ? { fromLsn: heldLsn + 1, toLsn } : {};
}

function describeRange({ fromLsn, toLsn }: ReturnType<typeof rangeOf>): string {
  return fromLsn === undefined ? "nothing came" : `LSN ${fromLsn} to ${toLsn}`;
}

function askerOf({ group, command }: Replay): string {
  const { automaticAfterMs: ms } = command;
  if (ms === undefined) return "by an operator";
  return `automatically, after ${ms / 1000} s of silence of ${primaryOf(group)}`;
}

function markOf({ automaticAfterMs }: ReplayCommand): Pick<ReplayedRecord, "isAutomatic"> {
  return automaticAfterMs === undefined ? {} : { isAutomatic: true };
}

function feed(
  replay: Replay,
  begun: Begun,
  { endSet, startMs }: { readonly endSet: number; readonly startMs: number },
): void {
  const { group, command, staging, done } = replay;
  const { context, copy } = group;
  const { peer, opened } = begun;
  const { has } = opened;
  copy?.accept(peer, sessionOf(group, opened));
  let isEnded: "asPlanned" | "cutShort" | undefined;
  const watch = context.ports.clock.every(limits.tickMs, () => {
    const isOver = group.copy !== copy || copy?.fedBy() !== command.from;
    const isLate =
      command.stopAfterMs !== undefined &&
      context.ports.clock.nowMs() - startMs >= command.stopAfterMs;
    const isDone = staging.staging.synced.set >= endSet;
    if (isEnded === undefined && !isDone && !isOver && !isLate) return;
    if (!isOver) copy?.close("the replay has ended");
    isEnded ??= isDone || isLate ? "asPlanned" : "cutShort";
    // What has come whole may still be on its way into the images: what is told is told of that, too.
    if (isAtWork(staging.staging)) return;
    watch.cancel();
    const { complete: now } = staging.staging;
    if (isEnded === "asPlanned")
      return recordReplayed(replay, begun, { set: now.set, lsn: now.lsn, has });
    const range = rangeOf(group.replay?.startLsn ?? now.lsn, now.lsn);
    group.replay = undefined;
    const reached = `this copy has everything up to LSN ${now.lsn} (set ${now.set})`;
    const why = `cut short, ${describeRange(range)}; ${reached}, and not all that was asked for`;
    emit(context, { kind: "replay", copy: command.from, ...range, why });
    done(
      refused(
        "failed",
        `the replay was cut short: ${reached}`,
        `give the command again: it goes on from there`,
        begun.plan,
      ),
    );
  });
}

// As the copy takes any session: of its primary's generation, whoever brings it.
function sessionOf({ context }: Group, { history, epoch }: ReplayOpened): SessionOpen {
  const { record } = context.store;
  return {
    purpose: "session",
    group: record.group,
    volumes: record.volumes,
    regionBytes: record.regionBytes,
    history,
    incarnation: record.incarnation,
    epoch,
    lsn: 0,
    unit: "set",
  };
}

/**
 * What has come is on record before anybody is told: a promotion rests on it, and no primary of old may feed this copy
 * again.
 */
function recordReplayed(
  { group, command, done }: Replay,
  { opened, plan }: Begun,
  reached: { readonly set: number; readonly lsn: number; readonly has: ReplayRange },
): void {
  const { context, replay } = group;
  const { record } = context.store;
  const { has, set, lsn } = reached;
  const endLsn = Math.max(has.lsn, replay?.startLsn ?? 0);
  const replayed: ReplayedRecord = {
    from: command.from,
    set,
    lsn,
    endLsn,
    isWhole: opened.isWhole,
    ...markOf(command),
  };
  record.replayed = replayed;
  saveRecord(context.store, (failure) => {
    group.replay = undefined;
    if (failure !== undefined) {
      group.failedWhy = `the replay cannot be recorded: ${failure.message}`;
      return done(refused("failed", group.failedWhy, undefined, plan));
    }
    // How much is left the survey has told where what was asked for has come; where time has ended it, the end alone.
    const isAll = set >= opened.sends.set;
    const left = isAll ? lostOf(has, lsn, opened.sends) : `LSN ${lsn + 1} to ${has.lsn}`;
    const given = set >= has.set ? "" : `; given up unless it is replayed: ${left}`;
    const line = `this copy has everything up to LSN ${lsn} (set ${set})${given}`;
    const range = rangeOf(replay?.startLsn ?? 0, lsn);
    const why = `ended, ${describeRange(range)}; ${line}`;
    emit(context, { kind: "replay", copy: command.from, ...range, why });
    done({ ok: true, plan: [...plan, line] });
  });
}

/** Why no primary of the generation here feeds this copy any more; "" while one may. */
export function replayedWhy({ context, replay }: Group): string {
  const { replayed } = context.store.record;
  const { site } = context;
  if (replay !== undefined) return `${site} is being brought up from ${replay.from}`;
  return replayed === undefined || replayed.isCancelled === true
    ? ""
    : `${site} was brought up from the log of ${replayed.from}`;
}
