import { compareHistories, describeGeneration } from "#core/history.ts";
import { saveRecord } from "#store/group-store.ts";
import type { PeerRefusal, ReplayOpen } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { CommandOutcome } from "./api.ts";
import { askAll } from "./ask-all.ts";
import type { BunkerRun } from "./bunker-run.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { isBunkerOf } from "./group-config.ts";
import { primaryOf } from "./group.ts";
import type { Group } from "./group.ts";
import { refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { refused } from "./refusals.ts";
import { dialBunker, notOpened } from "./replay-dial.ts";
import type { ReplayCommand } from "./replay.ts";
import { successorHeard } from "./successor.ts";

// `antipode replay GROUP --cancel`: the primary returns before anybody has taken over (SPEC 1B). By the operator's word
// the bunker and the copy may be fed by it again: the bunker first, on record, then the copy. Whatever cuts it short,
// the command can be given again; until it has ended, one of the two still refuses the old primary. Where that copy is
// gone for good, any site may ask it of the bunker, by force, also the bunker's own: then another copy may be brought
// up.

type Done = (outcome: CommandOutcome) => void;

/** At the copy; by force, at any site. The other sites are asked first what they say of themselves. */
export function cancelReplay(group: Group, command: ReplayCommand, done: Done): void {
  const refusal = refusalOf(group, command);
  if (refusal !== undefined) return done(refusal);
  group.isChangingRole = true;
  askAll(group, (answering) => {
    const successor = successorHeard(group);
    if (successor !== undefined) {
      group.isChangingRole = false;
      const { site, generation } = successor;
      const message = `${site} is of generation ${generation}: somebody has taken over since`;
      return done(refused("unsafe", message, "what was replayed is served there, or was given up"));
    }
    const isOther = isForAnother(group, command);
    const plan = isOther ? planForOther(group, command) : planOf(group, command.from, answering);
    const reached = command.force === true ? [...answering] : undefined;
    askBunker(group, command, reached, (failure) => {
      if (failure !== undefined || command.dryRun) {
        group.isChangingRole = false;
        return done(failure ?? { ok: true, plan });
      }
      if (isOther) end(group, command.from, plan, done);
      else record(group, command.from, plan, done);
    });
  });
}

// A copy that was brought up has it on record before the first set comes.
function isForAnother({ context }: Group, { from, force }: ReplayCommand): boolean {
  const { replayed } = context.store.record;
  return force === true && (replayed?.from !== from || replayed.isCancelled === true);
}

function planForOther(group: Group, { from }: ReplayCommand): string[] {
  const generation = describeGeneration(group.context.store.record.history);
  return [
    `${from} may bring up another copy, and takes what ${primaryOf(group)} sends again, in ${generation}`,
    "the copy that it was activated for is given up: if it is promoted, or was, both sides have written what the other lacks",
  ];
}

function refusalOf(group: Group, { from }: ReplayCommand): CommandOutcome | undefined {
  const { config, copy, context, run, replay, bunker } = group;
  const { site } = context;
  if (!isBunkerOf(config, from)) return refused("usage", `${group.name} has no bunker at ${from}`);
  if (run !== undefined)
    return refused(
      "unsafe",
      `${site} is the primary of ${group.name}: what was replayed here is served`,
      "nothing is left to call off; the old primary becomes a copy when it returns",
    );
  if (replay !== undefined)
    return refused(
      "failed",
      `a replay from ${replay.from} is under way`,
      "wait until it has ended",
    );
  const isThere = copy !== undefined || (bunker !== undefined && from === site);
  if (isThere && !group.isChangingRole && group.failedWhy === "") return undefined;
  const why = group.failedWhy === "" ? "a change of role is under way" : group.failedWhy;
  return refused("failed", `nothing can be called off at ${site} now: ${why}`);
}

function planOf(group: Group, from: string, answering: ReadonlySet<string>): string[] {
  const { name, context } = group;
  const { record } = context.store;
  const { site } = context;
  const primary = primaryOf(group);
  const role = answering.has(primary) ? group.views.get(primary)?.view.role : undefined;
  const next =
    role === "demoted"
      ? `${primary} has given up its role: antipode promote ${name} --site ${primary} says what it costs to give it back`
      : `${primary} goes on in ${describeGeneration(record.history)} when it serves`;
  return [
    `${from} and ${site} take what ${primary} sends again, in this generation`,
    next,
    `what was replayed to ${site} stays until then; then the regions that are open at ${primary} are compared`,
  ];
}

function askBunker(
  group: Group,
  command: ReplayCommand,
  reached: readonly string[] | undefined,
  done: (failure: CommandOutcome | undefined) => void,
): void {
  const { context, bunker } = group;
  const isWanted = !command.dryRun;
  const force = reached === undefined ? {} : { reached };
  const hint =
    "--cancel at that copy calls it off; --force, at any site, gives up a copy that does not answer";
  if (bunker !== undefined) {
    const asked = { by: context.site, history: context.store.record.history, isWanted, ...force };
    return deactivate(context, bunker, asked, (refusal) =>
      done(refusal && refused("unsafe", `${context.site} refuses: ${refusal.why}`, hint)),
    );
  }
  const asked = { completeSet: 0, untilLsn: null, isWanted, isCancelled: true, ...force } as const;
  dialBunker(group, command, asked, (answer) => {
    if (answer.kind !== "opened") return done(notOpened(group, command.from, answer, hint));
    answer.peer.connection.close("that was all");
    done(undefined);
  });
}

// That a bunker ended a set here is remembered until a primary has that on record: the set may go on in the primary's journal.
function record(group: Group, from: string, plan: readonly string[], done: Done): void {
  const { context, copy } = group;
  const { store } = context;
  const { replayed } = store.record;
  const { set, lsn } = copy?.staging?.staging.complete ?? { set: 0, lsn: 0 };
  const blank = { from, set, lsn, endLsn: lsn, isWhole: false };
  store.record.replayed = { ...(replayed ?? blank), isCancelled: true };
  saveRecord(store, (failure) => {
    group.isChangingRole = false;
    if (failure !== undefined) {
      group.failedWhy = `that the replay was called off cannot be recorded: ${failure.message}`;
      return done(refused("failed", group.failedWhy, undefined, plan));
    }
    end(group, from, plan, done);
  });
}

function end(group: Group, from: string, plan: readonly string[], done: Done): void {
  group.isChangingRole = false;
  const why = `called off by an operator: ${plan.join("; ")}`;
  emit(group.context, { kind: "replay", copy: from, why });
  done({ ok: true, plan });
}

// ------------------------------------------------------------------------------------- at the bunker

type Refusal = { readonly code: PeerRefusal["code"]; readonly why: string };

/** The copy that this bunker is activated for wants nothing more of it; or somebody gives that copy up. */
export function cancelAsked(
  context: GroupContext,
  run: BunkerRun,
  peer: Peer,
  open: ReplayOpen,
): void {
  deactivate(context, run, { ...open, by: peer.site }, (refusal) => {
    if (refusal === undefined) return sendDocument(peer, frameType.opened, {});
    refusePeer(peer, refusal.code, refusal.why, context.store.record.history);
  });
}

function deactivate(
  context: GroupContext,
  run: BunkerRun,
  asked: Pick<ReplayOpen, "history" | "isWanted" | "reached"> & { readonly by: string },
  done: (refusal: Refusal | undefined) => void,
): void {
  const { site, store } = context;
  const { by, isWanted, reached } = asked;
  const { history, bunker } = store.record;
  if (compareHistories(asked.history, history) !== "same")
    return done({ code: "unfit", why: `${site} keeps a log of ${describeGeneration(history)}` });
  const other = bunker?.activatedFor;
  const go = (): void => {
    if (isWanted) run.deactivate(other ?? by, () => done(undefined));
    else done(undefined);
  };
  if (other === undefined || other === by) return go();
  context.inquiries.ask(other, (answers) => {
    const why = `${site} is activated for a replay to ${other}`;
    if (answers || reached?.includes(other) === true)
      return done({ code: "activated", why: `${why}, which answers` });
    if (reached === undefined) {
      // A log on a path can ask nobody.
      const silence = context.isOnPath === true ? "" : ", which does not answer";
      return done({ code: "activated", why: `${why}${silence}` });
    }
    // It may have gone on meanwhile, by its own operator's word.
    if (store.record.bunker?.activatedFor !== other)
      return done({ code: "busy", why: `${site} is not activated for ${other} any more` });
    if (isWanted)
      for (const reader of run.readers) reader.connection.close(`${by} gives up ${other}`);
    go();
  });
}
