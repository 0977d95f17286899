import { limits } from "#base/limits.ts";
import { planSwitchover } from "#core/handover-plan.ts";
import type { SwitchoverPlan } from "#core/handover-plan.ts";
import { isOffered } from "#core/handover.ts";
import type { CommandOutcome, SiteCommand } from "./api.ts";
import { whyNotDrained } from "./gateways.ts";
import { emit } from "./group-context.ts";
import type { Group } from "./group.ts";
import { askWhetherItTakes } from "./offer-role.ts";
import type { PrimaryRun } from "./primary-run.ts";
import { notPrimary, refused } from "./refusals.ts";

// The command of a planned change of role; core/handover.ts is the machine that carries it out.

type Done = (outcome: CommandOutcome) => void;
type Switchover = Extract<SiteCommand, { kind: "switchover" }>;

/** Why an offer stands no more that its primary has taken back by force: whether it was taken is not known. */
const takenBack = "taken back by an operator";

/** Plans, asks the successor whether it would take the role, and hands it over. Given again it waits for the first one. */
export function runSwitchover(group: Group, command: Switchover, done: Done): void {
  const { run } = group;
  const { to } = command;
  const { site } = group.context;
  if (run === undefined || run.primary.stage === "ended") return done(notPrimary(group));
  const plan = planSwitchover(run.primary, { site, ...command });
  const { handover } = run.primary;
  if (handover !== undefined) {
    if (handover.to === to && !command.dryRun)
      return awaitEnd(group, { command, plan: [`goes on handing over to ${to}`], done });
    const message = `${group.name} is being handed over to ${handover.to} already`;
    return done(refused("failed", message, `antipode status ${group.name}`));
  }
  if (plan.verdict !== "go") return done(refusalBy(plan));
  const lacking = whyNotDrained(group.gateways);
  if (lacking !== undefined)
    return done(refused("unsafe", lacking, "bring the device back first", plan.lines));
  const busy = group.isReloading ? `a reload or resize of ${group.name} is under way` : "";
  if (busy !== "") return done(refused("failed", busy, "try again when it is over", plan.lines));
  if (plan.member === undefined) return done({ ok: true, plan: plan.lines });
  const owner = { context: group.context, primary: run.primary };
  askWhetherItTakes(owner, plan.member, (why) => {
    if (group.run !== run) return done(notPrimary(group));
    const hint = `antipode why ${group.name}`;
    if (why !== undefined)
      return done(refused("unsafe", `${to} cannot take over: ${why}`, hint, plan.lines));
    if (command.dryRun) return done({ ok: true, plan: plan.lines });
    begin(group, run, { command, done });
  });
}

function refusalBy({ verdict, refusal, hint, lines }: SwitchoverPlan): CommandOutcome {
  return refused(verdict === "usage" ? "usage" : "unsafe", refusal, hint, lines);
}

type Asked = { readonly command: Switchover; readonly done: Done };

function begin(group: Group, run: PrimaryRun, { command, done }: Asked): void {
  // Somebody else has asked in the meantime.
  if (run.primary.handover !== undefined) return runSwitchover(group, command, done);
  // What was planned before the successor was asked need not be so any more: a demotion may have begun.
  const plan = planSwitchover(run.primary, { site: group.context.site, ...command });
  const { member, lines, verdict } = plan;
  if (verdict !== "go" || member === undefined) return done(refusalBy(plan));
  if (group.isReloading)
    return done(
      refused("failed", `a reload or resize of ${group.name} is under way`, undefined, lines),
    );
  emit(group.context, { kind: "switchover", copy: command.to, why: lines.join("; ") });
  awaitEnd(group, { command, plan: lines, done });
  run.submit({ kind: "handover", to: member.index, timeoutMs: command.timeoutMs });
}

type Awaited = Asked & { readonly plan: readonly string[] };

function awaitEnd(group: Group, { command, plan, done }: Awaited): void {
  const { clock } = group.context.ports;
  const { site } = group.context;
  const { to } = command;
  let isAnswered = false;
  const answer = (outcome: CommandOutcome): void => {
    if (isAnswered) return;
    isAnswered = true;
    timer.cancel();
    done(outcome);
  };
  const timer = clock.after(command.timeoutMs + limits.handoverAnswerMs, () => {
    const message =
      `${to} was offered ${group.name} and has not said whether it took it: ` +
      `${site} serves nobody until it does, and nothing is lost either way`;
    const hint =
      `bring ${to} or the link to it back, and both settle it; the same command waits for that; ` +
      `if ${to} is lost for good: antipode promote ${group.name} --site ${site} --force`;
    answer(refused("timeout", message, hint, plan));
  });
  group.handoverWaiters.push(({ outcome, why }) => {
    if (outcome === "taken") {
      // Once this site is a copy.
      group.stopWaiters.push(() => answer({ ok: true, plan }));
      return;
    }
    const message = `${group.name} was not handed over to ${to}: ${why}`;
    if (outcome === "gone")
      return answer(refused("failed", message, `antipode status ${group.name}`, plan));
    const stays =
      why === takenBack
        ? `${site} serves it again, and so does ${to} if it has taken it: antipode status ${group.name}`
        : `nothing has changed, ${site} serves it as before; antipode why ${group.name}`;
    answer(refused(outcome === "late" ? "timeout" : "failed", message, stays, plan));
  });
}

/** `promote` at a site whose offer was never answered: it takes its role back, which only force may do. */
export function keepRoleByForce(
  group: Group,
  run: PrimaryRun,
  command: { readonly force: boolean; readonly dryRun: boolean },
  done: Done,
): void {
  const { site } = group.context;
  const { to } = run.primary.handover ?? { to: "" };
  if (!isOffered(run.primary)) {
    const message = `${group.name} is being handed over to ${to}, and ${site} is its primary until then`;
    return done(refused("failed", message, `antipode status ${group.name}`));
  }
  const plan = [
    `${site} takes back the role that it has offered to ${to}, and serves hosts again`,
    `if ${to} has taken it, both serve from now on, and what one of them acks must be given up`,
  ];
  if (!command.force) {
    const message = `the role was offered to ${to}, which has not said whether it took it`;
    const hint = `bring ${to} or the link to it back, and both settle it; --force where ${to} is lost for good`;
    return done(refused("unsafe", message, hint, plan));
  }
  if (command.dryRun) return done({ ok: true, plan });
  emit(group.context, { kind: "promote", why: plan.join("; ") });
  group.handoverWaiters.push(({ outcome, why }) => {
    if (outcome === "kept" || outcome === "late") return done({ ok: true, plan });
    done(refused("failed", why, `antipode status ${group.name}`, plan));
  });
  run.submit({ kind: "keepRole", why: takenBack });
}
