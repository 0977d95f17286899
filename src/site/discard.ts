import { knowsItsWrites } from "#core/branch.ts";
import { activationOf } from "#core/bunker.ts";
import { planDiscard, planDrop, planUndo } from "#core/discard.ts";
import type { KeptLog, Opponent } from "#core/discard.ts";
import type { GroupRecord } from "#core/group-record.ts";
import type { Plan } from "#core/plan.ts";
import { savedBytes } from "#core/preserve.ts";
import { saveRecord } from "#store/group-store.ts";
import { figuresOf } from "#store/log.ts";
import type { CommandOutcome, SiteCommand } from "./api.ts";
import { askAll } from "./ask-all.ts";
import { dropBranch, undoDiscard } from "./branch-run.ts";
import type { BunkerRun } from "./bunker-run.ts";
import type { CopyRun } from "./copy-run.ts";
import { putAside, reopen, unitOf } from "./copy-unit.ts";
import { fail, knownRecord } from "./group.ts";
import type { Group } from "./group.ts";
import { emit } from "./group-context.ts";
import { preserveBytesMax } from "./preserve-run.ts";
import { refused } from "./refusals.ts";
import { markOwnWrites, splitsOf } from "./split.ts";
import type { Split } from "./split.ts";

// `discard`: the operator's word on a split brain, at the site whose own writes are given up. Each step is on record before
// the next: a demotion, the word with all that may differ, and, with BEGIN of the other side's session, history and branch.

type Done = (outcome: CommandOutcome) => void;
type DiscardCommand = Extract<SiteCommand, { kind: "discard" }>;

export function runDiscard(group: Group, command: DiscardCommand, done: Done): void {
  const busy = whyNotNow(group);
  if (busy !== "") return done(refused("failed", `${group.name} cannot be settled now: ${busy}`));
  if (command.what !== "give-up") return decide(group, command, branchPlan(group, command), done);
  group.isChangingRole = true;
  askAll(group, (answering) => {
    group.isChangingRole = false;
    const again = whyNotNow(group);
    if (again !== "")
      return done(refused("failed", `${group.name} cannot be settled now: ${again}`));
    decide(group, command, discardPlan(group, answering), done);
  });
}

function whyNotNow(group: Group): string {
  const { bunker, copy, run, failedWhy, isChangingRole, isReloading } = group;
  if (failedWhy !== "") return failedWhy;
  const isGoing = run?.primary.drain !== undefined || run?.primary.handover !== undefined;
  if (isChangingRole || isReloading || isGoing) return "a change of role is under way";
  const isOpen = copy !== undefined || run !== undefined || bunker !== undefined;
  return isOpen ? "" : "the copy here is not open";
}

function discardPlan(group: Group, answering: ReadonlySet<string>): Plan {
  const { record } = group.context.store;
  const splits = splitsOf(group);
  const [split] = splits;
  return planDiscard({
    record,
    wrote: split?.wrote ?? { regions: 0, bytes: 0 },
    opponents: splits.map((other) => opponentOf(other, answering.has(other.site))),
    isPrimary: group.run !== undefined,
    knowsItsWrites: knowsItsWrites(record),
    bytesMax: preserveBytesMax(group.context),
    ...(group.bunker === undefined ? {} : { log: keptLog(group.bunker) }),
  });
}

function keptLog({ bunker }: BunkerRun): KeptLog {
  return { endLsn: bunker.end.lsn, activation: activationOf(bunker.record) };
}

function opponentOf({ site, view, theirs }: Split, answers: boolean): Opponent {
  return { site, answers, isPrimary: answers && view.role === "primary", wrote: theirs };
}

function branchPlan(group: Group, { what }: DiscardCommand): Plan {
  const record = knownRecord(group);
  const { copy } = group;
  const { branch } = copy?.copy ?? {};
  if (what === "undo") return planUndo(record, branch === undefined ? 0 : savedBytes(branch));
  const log = copy?.preserve.branchLog;
  return planDrop(record, log === undefined ? 0 : figuresOf(log).bytesUsed);
}

function decide(group: Group, command: DiscardCommand, plan: Plan, done: Done): void {
  const { lines } = plan;
  const isAllowed = plan.verdict === "go" || (plan.verdict === "force" && command.force);
  if (!isAllowed) return done(refused("unsafe", plan.refusal, plan.hint, lines));
  if (command.dryRun) return done({ ok: true, plan: lines });
  emit(group.context, { kind: "discard", why: lines.join("; ") });
  const end = (failure: string | undefined): void => {
    if (failure === undefined) return done({ ok: true, plan: lines });
    // Whoever reads the events must not take for done what the one before this tells.
    emit(group.context, { kind: "discard", why: `has failed: ${failure}` });
    done(refused("failed", failure, undefined, lines));
  };
  if (command.what === "give-up") giveUp(group, end);
  else if (command.what === "undo") undo(group, end);
  else drop(group, end);
}

type End = (failure: string | undefined) => void;

// ------------------------------------------------------------------------------------------ giving up

function giveUp(group: Group, done: End): void {
  const { run } = group;
  if (knownRecord(group).discarding !== undefined) return done(undefined);
  const discarding = discardOf(group);
  if (group.bunker !== undefined) return recordLogWord(group, group.bunker, discarding, done);
  if (run === undefined || run.primary.stage === "ended")
    return recordWord(group, discarding, done);
  group.stopWaiters.push(() => {
    if (group.isStopping) return done("the site is stopping");
    if (group.failedWhy === "") recordWord(group, discarding, done);
    else done(`${group.context.site} could not be demoted: ${group.failedWhy}`);
  });
  run.submit({ kind: "drain", next: "demote" });
}

/** Every branch but the one here is favoured: whoever feeds this site first is followed. */
function discardOf(group: Group): NonNullable<GroupRecord["discarding"]> {
  const splits = splitsOf(group);
  const favours = splits.flatMap(({ view }) => view.history.at(-1)?.id ?? []);
  return { favours, wrote: splits[0]?.wrote ?? { regions: 0, bytes: 0 } };
}

// All that may differ from the other side is marked open in the same record, and before it: whoever feeds this site, now or
// after another promotion, hears of it from here (decision 4), and it closes only when this site is whole.
function recordWord(group: Group, discarding: GroupRecord["discarding"], done: End): void {
  const { copy, context } = group;
  if (copy === undefined) return done("the copy here is not open");
  putAside(group, copy, "what was written here is being given up", () => {
    const { record } = context.store;
    copy.dispose();
    // Nobody hears of it before it is on record.
    group.recordBefore = { ...record };
    markOwnWrites(group);
    if (discarding !== undefined) record.discarding = discarding;
    save(group, copy, done);
  });
}

// A log is given up whole: there is nothing to mark, and nobody feeds it, or reads it, between the word and its record.
function recordLogWord(
  group: Group,
  bunker: BunkerRun,
  discarding: GroupRecord["discarding"],
  done: End,
): void {
  const { record } = group.context.store;
  group.isChangingRole = true;
  bunker.close("what is to become of the log here is being recorded");
  group.recordBefore = { ...record };
  delete record.discarding;
  if (discarding !== undefined) record.discarding = discarding;
  save(group, undefined, done);
}

function save(group: Group, copy: CopyRun | undefined, done: End): void {
  saveRecord(group.context.store, (failure) => {
    group.recordBefore = undefined;
    goOn(group, copy, failure?.message, done);
  });
}

function goOn(
  group: Group,
  copy: CopyRun | undefined,
  failure: string | undefined,
  done: End,
): void {
  if (group.isStopping) return done("the site is stopping");
  if (failure === undefined) {
    if (copy === undefined) group.isChangingRole = false;
    else reopen(group, unitOf(copy));
    return done(undefined);
  }
  // What is on the disk cannot be known: this site says nothing until it is started again.
  group.isChangingRole = false;
  fail(
    group,
    `a word of the operator cannot be recorded: ${failure}; this site must be started again`,
  );
  done(failure);
}

// --------------------------------------------------------------------------------------------- undoing

const nothingKept =
  "the resync has begun meanwhile, and nothing was kept aside: there is nothing left to bring back";

function undo(group: Group, done: End): void {
  const { bunker, copy, context } = group;
  if (bunker !== undefined) return recordLogWord(group, bunker, undefined, done);
  if (copy === undefined) return done("the copy here is not open");
  putAside(group, copy, "the branch is being brought back", () => {
    const { record } = context.store;
    if (record.discarding !== undefined) {
      copy.dispose();
      group.recordBefore = { ...record };
      // Nothing was overwritten yet; what was marked open stays so.
      delete record.discarding;
      return save(group, copy, done);
    }
    // The resync began while this was asked, and keeps nothing: what it was to bring back is being written over.
    if (record.branch === undefined) {
      copy.dispose();
      goOn(group, copy, undefined, () => done(nothingKept));
      return;
    }
    group.recordBefore = { ...record };
    undoDiscard(copy.preserve, (failure) => {
      group.recordBefore = undefined;
      copy.dispose();
      goOn(group, copy, failure, done);
    });
  });
}

function drop(group: Group, done: End): void {
  const { copy, context } = group;
  if (copy === undefined) return done("the copy here is not open");
  putAside(group, copy, "the branch here is let go", () => {
    copy.dispose();
    dropBranch(context, "let go by the operator", (failure) => goOn(group, copy, failure, done));
  });
}
