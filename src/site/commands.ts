import { logAddress, pathBunkerOf } from "#base/path-bunker.ts";
import { compareHistories } from "#core/history.ts";
import { savedBytes } from "#core/preserve.ts";
import type { Plan } from "#core/plan.ts";
import { planPromotion } from "#core/promotion.ts";
import { markedBytes } from "#core/region-map.ts";
import { keepsLog, splitWhy, takesSets } from "#core/member-state.ts";
import { hasForeignDisk } from "#core/members.ts";
import type { Member, Primary, Volume } from "#core/primary-state.ts";
import { lacksRelay } from "#core/relay.ts";
import type { PromotionFacts } from "#core/promotion.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import type { CommandOutcome, SiteCommand } from "./api.ts";
import { runDiscard } from "./discard.ts";
import { raised } from "#ports/events.ts";
import { whyNotDrained } from "./gateways.ts";
import { emit } from "./group-context.ts";
import { primaryTrouble } from "./own-link.ts";
import { failedPrimary, hasFailedHere, notPrimary, refused } from "./refusals.ts";
import { runReload } from "./reload.ts";
import { cancelReplay } from "./replay-cancel.ts";
import { readLogEnd } from "./replay-dial.ts";
import { runReplay } from "./replay.ts";
import { runResize } from "./resize.ts";
import type { ReplayCommand } from "./replay.ts";
import type { ReloadSite } from "./reload.ts";
import { troubleOf } from "./copy-anew.ts";
import { askAll, otherSites } from "./ask-all.ts";
import { holdBack } from "./auto-replay.ts";
import { isBunkerOf, replaysByItself } from "./group-config.ts";
import { primaryOf } from "./group.ts";
import { promote } from "./promote.ts";
import { policiesOf } from "./policies.ts";
import { runSwitchover, keepRoleByForce } from "./switchover.ts";
import type { Group } from "./group.ts";
import { successorHeard } from "./successor.ts";
import { runVerify } from "./verify.ts";

// What an operator may tell a site. A change of role is a plan first: what will be done, and what it would lose.

type Done = (outcome: CommandOutcome) => void;

export function runCommand(
  groups: ReadonlyMap<string, Group>,
  site: ReloadSite,
  command: SiteCommand,
  done: Done,
): void {
  const group = groups.get(command.group);
  if (group === undefined) {
    const known = [...groups.keys()].join(", ");
    return done(refused("usage", `this site has no group ${command.group}`, `it has: ${known}`));
  }
  if (hasFailedHere(group)) return done(failedPrimary(group));
  switch (command.kind) {
    case "switchover":
      return runSwitchover(group, command, done);
    case "promote":
      return runPromote(group, command, done);
    case "demote":
      return runDemote(group, command.dryRun, done);
    case "replay":
      return (command.cancel === true ? cancelReplay : runReplay)(
        group,
        withSource(group, command),
        done,
      );
    case "reload":
      return runReload(site, group, command.dryRun, done);
    case "resize":
      return runResize(group, command, done);
    case "repair":
      return runRepair(group, command.volume, done);
    case "verify":
      return runVerify(group, command, done);
    case "discard":
      return runDiscard(group, command, done);
    default:
      return runMemberCommand(group, command, done);
  }
}

// A path stands for the second log of the group's journal, wherever this site reaches it.
function withSource(
  group: Group,
  command: Extract<SiteCommand, { kind: "replay" }>,
): ReplayCommand {
  const { from } = command;
  if (!from.includes("/")) return { ...command, address: group.context.addressOf(from) };
  const address = logAddress({ group: group.name, path: from });
  return { ...command, from: pathBunkerOf(group.name), address };
}

function runMemberCommand(
  group: Group,
  command: Extract<SiteCommand, { kind: "pause" | "resume" | "resync" }>,
  done: Done,
): void {
  const { run } = group;
  if (run === undefined && command.kind !== "resync" && isOwnCopy(group, command.copy))
    return holdBack(group, command.kind === "pause", done);
  if (run === undefined) return done(notPrimary(group));
  const member = run.primary.members.find((candidate) => candidate.site === command.copy);
  if (member === undefined) {
    const known = run.primary.members.map((candidate) => candidate.site).join(", ");
    const message = `${group.name} has no copy at ${command.copy}`;
    return done(refused("usage", message, `its copies are: ${known || "none"}`));
  }
  const kind = command.kind === "resync" ? "resyncFull" : command.kind;
  if (command.kind === "resync" && !command.full) {
    return done(refused("usage", "a resync runs by itself", "--full compares everything"));
  }
  const no = whyNotFed(group, member, kind);
  if (no !== undefined) return done(no);
  run.submit({ kind, member: member.index });
  done({ ok: true, plan: [planOf(run.primary, member, kind)] });
}

type MemberWord = "pause" | "resume" | "resyncFull";

/** What only another word than this one helps: to claim that the member is fed again would be a lie. */
function whyNotFed(group: Group, member: Member, kind: MemberWord): CommandOutcome | undefined {
  if (kind === "pause") return undefined;
  const { site, record } = member;
  const split = splitWhy(member);
  if (split !== undefined)
    return refused("unsafe", `${site} is split-brain: ${split}`, howToSettle(group, member));
  if (kind === "resume" && hasForeignDisk(member)) {
    const command = `antipode resync ${group.name} --copy ${site} --full`;
    return refused("unsafe", record.stoppedWhy, `${command}, if that disk may be written over`);
  }
  return undefined;
}

function planOf(primary: Primary, member: Member, kind: MemberWord): string {
  const { site, policy } = member;
  const relay = lacksRelay(primary, member) ? ` once ${policy.through}, its relay, is well` : "";
  switch (kind) {
    case "pause":
      return `${site} is no longer fed; what it misses is remembered`;
    case "resume":
      return `${site} is fed again${relay}; what it missed is brought over`;
    case "resyncFull":
      return keepsLog(member)
        ? `${site} is asked what its log has, and gets the rest; where that does not lead on, its log begins anew`
        : `every region of ${site} is compared${relay}, and what differs is copied`;
  }
}

// Nobody feeds it: what an operator may stop here is a replay that begins by itself.
function isOwnCopy({ config, context, copy, failedWhy }: Group, site: string): boolean {
  const isOwn = site === context.site && copy?.staging !== undefined && failedWhy === "";
  return isOwn && copy.fedBy() === undefined && replaysByItself(config);
}

function howToSettle({ name, context }: Group, { site }: Member): string {
  return `antipode discard ${name} --site ${site} --dry-run, or --site ${context.site}: the plan says what each gives up`;
}

function runRepair(group: Group, name: string, done: Done): void {
  const { run, context } = group;
  if (run === undefined) return done(notPrimary(group));
  const volume = run.primary.volumes.find((candidate) => candidate.name === name);
  if (volume === undefined) return done(refused("usage", `${group.name} has no volume ${name}`));
  if (volume.state === "ok")
    return done({ ok: true, plan: [`${name} has not failed, and nothing was done`] });
  // What the device could not sync by itself counts like a round that failed.
  context.images[volume.index]?.sync((failure) => {
    if (failure !== undefined) run.submit({ kind: "syncLost", volume: volume.index });
    done(reopen(group, volume));
  });
}

function reopen(group: Group, volume: Volume): CommandOutcome {
  const { run, context } = group;
  const { name, index, bytes } = volume;
  if (run === undefined) return notPrimary(group);
  if (volume.hasLostSync && run.primary.members.length > 0) {
    const message = `a sync of ${name} failed: acked writes may be lost here that a copy still has`;
    const hint = `demote ${context.site} and promote a copy; this site is then brought up from it`;
    return refused("unsafe", message, hint);
  }
  context.images[index]?.close();
  const image = context.ports.openImage(group.name, name, { bytes, isOnRecord: true });
  if ("code" in image) {
    return refused("failed", `${name} cannot be opened: ${image.message}`, "mend the disk");
  }
  context.images[index] = image;
  run.submit({ kind: "repaired", volume: index });
  emit(context, { kind: "volume", volume: name, from: "failed", to: "ok", why: "repaired" });
  emit(context, { kind: raised.recovered, volume: name, why: "repaired" });
  return { ok: true, plan: [`${name} is open again; its copies are brought to its content`] };
}

// ----------------------------------------------------------------------------------------- promote

function runPromote(
  group: Group,
  command: { readonly force: boolean; readonly dryRun: boolean },
  done: Done,
): void {
  if (group.run !== undefined && group.run.primary.stage !== "ended") {
    if (group.run.primary.handover !== undefined)
      return keepRoleByForce(group, group.run, command, done);
    return done({ ok: true, plan: [`${group.context.site} is the primary of ${group.name}`] });
  }
  if (group.bunker !== undefined)
    return done(
      refused(
        "unsafe",
        `${group.context.site} is a bunker: it keeps the log of ${group.name}, and no volume to serve`,
        `antipode replay ${group.name} --from ${group.context.site} brings a copy up from it`,
      ),
    );
  const hindrance = hindranceOf(group);
  if (hindrance !== undefined) return done(hindrance);
  group.isChangingRole = true;
  const sinceMs = group.context.ports.clock.nowMs();
  askAll(group, (answering) =>
    readPathEnd(group, answering, (pathEndLsn) => {
      group.isChangingRole = false;
      // Its disk may have failed while the others were asked.
      const since = hindranceOf(group);
      if (since !== undefined) return done(since);
      const plan = promotionPlan(group, { answering, sinceMs, pathEndLsn });
      decidePromote(group, command, { plan, done });
    }),
  );
}

function hindranceOf(group: Group): CommandOutcome | undefined {
  if (group.copy !== undefined && !group.isChangingRole && group.failedWhy === "") return undefined;
  const why = group.failedWhy === "" ? troubleOf(group) : group.failedWhy;
  const reason = why === "" ? "a change of role is under way" : why;
  return refused("failed", `${group.name} cannot be promoted now: ${reason}`);
}

/**
 * A log on a path has no process that knows where it ends: it is read, which may take its time, where another one was replayed
 * or could be, and it matters which of them has more. 0: unknown.
 */
function readPathEnd(
  group: Group,
  answering: ReadonlySet<string>,
  done: (endLsn: number) => void,
): void {
  const { replayed } = group.context.store.record;
  const onPath = pathBunkerOf(group.name);
  const others = [...answering].filter((site) => isBunkerOf(group.config, site) && site !== onPath);
  const matters = replayed === undefined ? others.length > 0 : replayed.from !== onPath;
  if (matters && answering.has(onPath)) readLogEnd(group, onPath, done);
  else done(0);
}

/** What the other sites have said since a promotion was asked for. */
type Heard = {
  readonly answering: ReadonlySet<string>;
  readonly sinceMs: number;
  readonly pathEndLsn: number;
};

function promotionPlan(group: Group, { answering, sinceMs, pathEndLsn }: Heard): Plan {
  const { context, heard } = group;
  const { record } = context.store;
  const primary = primaryOf(group);
  const known = group.views.get(primary);
  const { view } = known ?? {};
  const relation = view === undefined ? "behind" : compareHistories(view.history, record.history);
  const answers = answering.has(primary);
  const serves = answers && view?.role === "primary" && relation !== "behind";
  // A site that is still opening the group answers for others only; what it said before it was started is of the past.
  const isStarting = answers && (known === undefined || known.atMs < sinceMs);
  // Somebody whose disk was lost answers too, and has handed nothing over.
  const isDemoted = answers && view?.role === "demoted" && relation === "same";
  // On these terms the primary feeds, or fed, this copy.
  const policy = policiesOf(group.config, primary).find((one) => one.site === context.site);
  return planPromotion({
    record,
    primary,
    primaryState: serves ? "serves" : isStarting ? "starting" : isDemoted ? "demoted" : "silent",
    primaryFailed: primaryTrouble(group),
    successor: successorHeard(group),
    silentSites: otherSites(group).filter((site) => !answering.has(site)),
    primaryLsn: heard?.view.lsn ?? 0,
    primarySet: heard?.view.set ?? 0,
    lackedBytes: heard?.view.lackedBytes,
    lackedWrites: heard?.view.lackedWrites,
    heardMsAgo: heard === undefined ? undefined : context.ports.clock.nowMs() - heard.atMs,
    appliedLsn: group.copy?.copy.lsnIsKnown === true ? group.copy.copy.appliedLsn : undefined,
    sets: policy?.mode.unit === "set" ? setsKnown(group, answers ? view : undefined) : undefined,
    bunkers: bunkersKnown(group, answering, pathEndLsn),
    wallMs: context.ports.clock.wallMs(),
    undoneBytes: undoneBytes(group),
    failedBytes: failedBytes(group),
    mayAckAlone: policy?.loss.mayAckAlone ?? true,
  });
}

function bunkersKnown(
  { name, config, context, views }: Group,
  answering: ReadonlySet<string>,
  pathEndLsn: number,
): PromotionFacts["bunkers"] {
  const { history } = context.store.record;
  return [...answering].flatMap((site) => {
    if (!isBunkerOf(config, site)) return [];
    if (site === pathBunkerOf(name)) return [{ site, endLsn: pathEndLsn }];
    const view = views.get(site)?.view;
    const isSame = view !== undefined && compareHistories(view.history, history) === "same";
    return [{ site, endLsn: isSame ? view.lsn : 0 }];
  });
}

function undoneBytes({ copy }: Group): number {
  const preserve = copy?.copy.preserve;
  return preserve === undefined ? 0 : savedBytes(preserve);
}

function failedBytes({ context: { store } }: Group): number {
  const { failedVolumes, volumes } = store.record;
  return volumes.reduce((sum, { name }, i) => {
    const map = store.openMaps[i]?.map;
    return map === undefined || !failedVolumes.includes(name) ? sum : sum + markedBytes(map);
  }, 0);
}

/** What staging here keeps at a promotion; nothing where this site was not fed with sets since it last was the primary. */
function setsKnown(group: Group, view: GroupView | undefined): PromotionFacts["sets"] {
  const staging = group.copy?.staging?.staging;
  if (staging === undefined || staging.complete.set === 0) return undefined;
  const { complete, received } = staging;
  const isSame =
    view !== undefined &&
    compareHistories(view.history, group.context.store.record.history) === "same";
  const hasEnded = isSame && view.role === "demoted" && view.lsn > 0;
  return {
    completeLsn: complete.lsn,
    completeSet: complete.set,
    knownLsn: Math.max(group.heard?.view.lsn ?? 0, received.lsn),
    endedLsn: hasEnded ? view.lsn : undefined,
  };
}

function decidePromote(
  group: Group,
  command: { readonly force: boolean; readonly dryRun: boolean },
  decided: { readonly plan: Plan; readonly done: Done },
): void {
  const { plan, done } = decided;
  const { lines } = plan;
  const isAllowed = plan.verdict === "go" || (plan.verdict === "force" && command.force);
  if (!isAllowed) return done(refused("unsafe", plan.refusal, plan.hint, lines));
  if (command.dryRun) return done({ ok: true, plan: lines });
  emit(group.context, { kind: "promote", why: lines.join("; ") });
  promote(group, { from: undefined }, (failure) => {
    if (failure === undefined) done({ ok: true, plan: lines });
    else
      done(refused("failed", `${group.name} could not be promoted: ${failure}`, undefined, lines));
  });
}

// ------------------------------------------------------------------------------------------ demote

function runDemote(group: Group, dryRun: boolean, done: Done): void {
  const { run } = group;
  if (run === undefined) return done(notPrimary(group));
  const plan = [
    "takes no more writes, finishes those under way, syncs every copy, becomes secondary",
  ];
  for (const member of run.primary.members) {
    const isThere = member.stage === "synchronized";
    const has = takesSets(member) ? "gets everything first" : "has everything";
    plan.push(`${member.site} ${isThere ? has : "lacks writes and will still lack them"}`);
  }
  const lacking = whyNotDrained(group.gateways);
  if (lacking !== undefined)
    return done(refused("unsafe", lacking, "bring the device back first", plan));
  if (dryRun) return done({ ok: true, plan });
  const { stage, drain, handover } = run.primary;
  if (stage === "ended" || drain !== undefined || handover !== undefined) {
    return done(refused("failed", `${group.name} is giving up its role already`, undefined, plan));
  }
  group.stopWaiters.push(() => {
    if (group.failedWhy === "") done({ ok: true, plan });
    else done(refused("failed", `${group.name} could not be demoted: ${group.failedWhy}`));
  });
  run.submit({ kind: "drain", next: "demote" });
}
