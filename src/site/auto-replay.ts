import { judgeAutoReplay, nextTryMs } from "#core/auto-replay.ts";
import type { AutoReplay, AutoReplayFacts, BunkerHeard } from "#core/auto-replay.ts";
import { compareHistories } from "#core/history.ts";
import { policyTable } from "#core/policy.ts";
import { limits } from "#base/limits.ts";
import { saveRecord } from "#store/group-store.ts";
import type { CommandOutcome } from "./api.ts";
import { otherSites } from "./ask-all.ts";
import { noAutoReplay } from "./auto-replay-state.ts";
import { bunkersOf, isBunkerOf, replaysByItself } from "./group-config.ts";
import { emit } from "./group-context.ts";
import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { giveUpSilentFeeder, primarySilence } from "./primary-silence.ts";
import { refusalBefore, runReplay } from "./replay.ts";
import { successorHeard } from "./successor.ts";
import type { ReplayCommand } from "./replay.ts";

// A replay that begins by itself (SPEC-bunker.md, By itself): core/auto-replay.ts says when, and then it is the operator's own
// command that is given, with its checks. Nothing is promoted.

/** The primary has been looked for, and does not answer: called each probe. */
export function considerReplay(group: Group, site: string): void {
  const { autoReplay: state, context } = group;
  if (site !== primaryOf(group) || !replaysByItself(group.config)) return;
  if (state.isAsked || group.isChangingRole || group.isStopping) return;
  giveUpSilentFeeder(group);
  if (group.copy?.fedBy() === site) return;
  const judged = judge(group);
  if (judged.kind === "barred" && judged.isTime)
    tell(group, judged.from, `does not begin: ${judged.why}`);
  if (judged.kind === "due" && context.ports.clock.nowMs() >= state.notBeforeMs)
    begin(group, judged);
}

/** A site answers: where it is the primary, what was to be begun is of the past. */
export function noteAnswer(group: Group, site: string): void {
  if (site !== primaryOf(group) || group.autoReplay.isAsked) return;
  group.autoReplay = noAutoReplay();
}

/** What `status` tells: when a replay begins by itself, in ms from now, or why none does. Undefined where none is to begin. */
export function autoReplayStatus(
  group: Group,
): { readonly from: string; readonly inMs?: number; readonly why: string } | undefined {
  const { autoReplay: state, context, replay } = group;
  if (!replaysByItself(group.config) || replay !== undefined) return undefined;
  const judged = judge(group);
  if (judged.kind === "none") return undefined;
  const { from } = judged;
  if (judged.kind === "barred") return { from, why: judged.why };
  const inMs = judged.kind === "due" ? 0 : judged.inMs;
  const retryMs = state.notBeforeMs - context.ports.clock.nowMs();
  return { from, inMs: Math.max(inMs, retryMs, 0), why: state.failedWhy };
}

// ------------------------------------------------------------------------------------------- facts

function judge(group: Group): AutoReplay {
  const { context, run, copy } = group;
  if (run !== undefined || copy?.staging === undefined) return { kind: "none" };
  const { role, image } = context.store.record;
  // Who was the primary itself, and a mirror, as far as it knows, lack nothing that a log could bring.
  return role === "demoted" || image === "synchronized"
    ? { kind: "none" }
    : judgeAutoReplay(factsOf(group));
}

function factsOf(group: Group): AutoReplayFacts {
  const { context, config, views, copy } = group;
  const { record } = context.store;
  const primary = primaryOf(group);
  const bunkers = bunkersOf(config);
  const others = otherSites(group).filter((site) => site !== primary && !bunkers.includes(site));
  const answering = others.filter((site) => context.inquiries.of(site).isUp);
  const from = bunkers.find((site) => config.copies.get(site)?.replayAfterMs !== undefined) ?? "";
  const refusal = refusalBefore(group, commandOf(group, from));
  return {
    site: context.site,
    primary,
    silentMs: primarySilence(group),
    replayed: record.replayed,
    // A session with a primary that is silent is given up before long.
    hindrance: refusal?.ok === false && copy?.fedBy() !== primary ? refusal.message : "",
    paused: pausedOf(group, bunkers),
    successor: successorHeard(group)?.site,
    bunkers: bunkers.map((site) => bunkerHeard(group, site)),
    // Who does not say so, as a site of an earlier version, has no word in it; a bunker's is asked for.
    others: answering.flatMap((site) => {
      const silentMs = views.get(site)?.view.primarySilentMs;
      return silentMs === undefined ? [] : [{ site, silentMs }];
    }),
    before: beforeUs(group, primary).filter((site) => answering.includes(site)).length,
    turnMs: limits.replayTurnMs,
  };
}

function bunkerHeard({ config, context, views }: Group, site: string): BunkerHeard {
  const view = views.get(site)?.view;
  const { history } = context.store.record;
  return {
    site,
    replayAfterMs: config.copies.get(site)?.replayAfterMs,
    answers: context.inquiries.of(site).isUp && view !== undefined,
    isSame: view !== undefined && compareHistories(view.history, history) === "same",
    silentMs: view?.primarySilentMs,
    endLsn: view?.lsn ?? 0,
    activatedFor: view?.log?.activatedFor,
    isCalledOff: view?.log?.isCalledOff === true,
  };
}

function pausedOf({ context, heard }: Group, bunkers: readonly string[]): string {
  if (context.store.record.heldBack === true) return context.site;
  return bunkers.find((site) => heard?.view.paused?.includes(site) === true) ?? "";
}

/** Copies that come before this one in the file, and are fed with sets as it is. The first primary may be one by now. */
function beforeUs({ config, context }: Group, primary: string): string[] {
  const sites = [config.primary, ...config.copies.keys()].filter((site) => {
    const mode = config.copies.get(site)?.mode;
    return (
      site !== primary && !isBunkerOf(config, site) && (!mode || policyTable[mode].unit === "set")
    );
  });
  const place = sites.indexOf(context.site);
  return place === -1 ? [] : sites.slice(0, place);
}

// ------------------------------------------------------------------------------------------- doing

function commandOf(group: Group, from: string, automaticAfterMs?: number): ReplayCommand {
  const { name: of, context } = group;
  const address = context.addressOf(from);
  const asked = { kind: "replay", group: of, from, dryRun: false, address } as const;
  return automaticAfterMs === undefined ? asked : { ...asked, automaticAfterMs };
}

function begin(group: Group, { from, afterMs }: Extract<AutoReplay, { kind: "due" }>): void {
  const command = commandOf(group, from, afterMs);
  group.autoReplay.isAsked = true;
  runReplay(group, command, (outcome) => ended(group, from, outcome));
}

function ended(group: Group, from: string, outcome: CommandOutcome): void {
  const { autoReplay: state, context } = group;
  if (outcome.ok) return void (group.autoReplay = noAutoReplay());
  const { replayRetryMsMin, replayRetryMsMax } = limits;
  const waitMs = nextTryMs(state.tries, replayRetryMsMin, replayRetryMsMax);
  state.isAsked = false;
  state.tries += 1;
  state.notBeforeMs = context.ports.clock.nowMs() + waitMs;
  state.failedWhy = outcome.message;
  tell(group, from, `came to nothing, and is tried again by itself: ${outcome.message}`);
}

// Each thing once, though a figure in it may change with every try.
function tell(group: Group, from: string, what: string): void {
  const { autoReplay: state, context } = group;
  const words = what.replaceAll(/\d+/g, "#");
  if (state.told === words) return;
  state.told = words;
  emit(context, { kind: "autoReplay", copy: from, why: `a replay from ${from} by itself ${what}` });
}

// ------------------------------------------------------------------------------------------- pause

/** An operator has paused the copy here, by the word of its primary; that stays until a primary feeds it again. */
export function notePaused(group: Group, paused: readonly string[]): void {
  const { store, site } = group.context;
  if (store.record.heldBack === true || !paused.includes(site)) return;
  holdBack(group, true, () => undefined);
}

/** With its primary gone, an operator tells the copy itself that nothing is to be replayed to it by itself, or that it may. */
export function holdBack(
  group: Group,
  isHeld: boolean,
  done: (outcome: CommandOutcome) => void,
): void {
  const { store, site } = group.context;
  const plan = [
    isHeld
      ? `no replay to ${site} begins by itself before a primary has fed it again, or it is resumed`
      : `a replay to ${site} may begin by itself again`,
  ];
  if (isHeld) store.record.heldBack = true;
  else delete store.record.heldBack;
  saveRecord(store, (failure) => {
    if (failure === undefined) return done({ ok: true, plan });
    group.failedWhy = `the group's record cannot be written: ${failure.message}`;
    done({ ok: false, code: "failed", message: group.failedWhy, hint: undefined, plan });
  });
}
