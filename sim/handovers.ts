import type { EventRecord } from "#ports/events.ts";
import type { CommandOutcome } from "#site/api.ts";
import type { StepWatcher } from "./disk.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { primaryOf } from "./operator.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { World } from "./world.ts";

/**
 * An operator who moves the role as planned, again and again, and now and then loses a site, or the link, in the midst
 * of it.
 */
export class Handovers {
  readonly #world: World;
  readonly #rng: Prng;
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("handovers");
  }

  begin(): void {
    this.#active = true;
    this.#scheduleNext();
  }

  end(): void {
    this.#active = false;
  }

  #scheduleNext(): void {
    const { handoverGapUs } = this.#world.swarm;
    if (handoverGapUs === undefined) return;
    this.#later(this.#rng.exponential(handoverGapUs), () => {
      this.#order(this.#rng.pick([...this.#world.lines.values()]));
      this.#scheduleNext();
    });
  }

  #order(line: Line): void {
    const world = this.#world;
    const group = line.group.name;
    const primary = primaryOf(world, line);
    if (primary === undefined || line.sites.length < 2) return;
    const to = this.#rng.pick(line.sites.filter((site) => site !== primary.name));
    const timeoutMs = Math.ceil(this.#rng.logUniform(20, 5_000));
    if (this.#rng.chance(0.4)) this.#armTrouble(line, primary, world.machine(to));
    world.count("operator:handover");
    const command = { kind: "switchover", group, to, timeoutMs, dryRun: false } as const;
    // An operator's promotion makes the successor primary without our offer, and nobody here need have heard of it.
    let isPromoted = false;
    const watch = (event: EventRecord, at: Machine): void => {
      const isHeir = event.kind === "promote" && event.group === group && at.name === to;
      isPromoted ||= isHeir && !event.why.includes("hands over");
    };
    world.eventWatchers.add(watch);
    world.command(primary.name, command, (outcome) => {
      world.eventWatchers.delete(watch);
      if (outcome === undefined) return;
      judgeOutcome(world, line, { primary, to, outcome, isPromoted });
      if (!outcome.ok) return;
      for (const host of world.hosts) if (host.shape.group === group) host.moveTo(to);
    });
  }

  /** Some persistent steps after the order, or after the offer was taken, somebody dies or the link is cut. */
  #armTrouble(line: Line, primary: Machine, successor: Machine): void {
    const world = this.#world;
    const isAtOffer = this.#rng.chance(0.6);
    const victim = this.#rng.pick([primary, successor]);
    const isCut = this.#rng.chance(0.4);
    const isCrash = !isCut || this.#rng.chance(0.4);
    const watch = (event: EventRecord, at: Machine): void => {
      if (event.group !== line.group.name) return;
      const isIt = isAtOffer
        ? event.kind === "promote" && at === successor
        : event.kind === "switchover" && event.to === "begun";
      if (!isIt) return;
      world.eventWatchers.delete(watch);
      if (isCut) this.#cut(primary, successor);
      if (isCrash && this.#rng.chance(0.5)) this.#armCrash(victim);
      else if (isCrash) this.#later(this.#rng.logUniform(50, 5e3), () => this.#crash(victim));
    };
    world.eventWatchers.add(watch);
    this.#later(5e6, () => world.eventWatchers.delete(watch));
  }

  #armCrash(victim: Machine): void {
    const crashAt = victim.disk.steps + this.#rng.between(1, 12);
    const step: StepWatcher = (number, _kind, phase) => {
      if (number !== crashAt || phase !== "after") return;
      victim.disk.stepWatchers.delete(step);
      if (this.#active) this.#crash(victim);
    };
    victim.disk.stepWatchers.add(step);
  }

  #crash(victim: Machine): void {
    const world = this.#world;
    world.count("situations:crash while the role is handed over, or soon after");
    victim.crash(this.#rng.chance(0.5) ? { kind: "kill" } : { kind: "power", keep: "none" });
    const downUs = this.#rng.logUniform(10e3, 2e6);
    world.scheduler.after(downUs, undefined, eventKind.operator, () => victim.start());
  }

  #cut(primary: Machine, successor: Machine): void {
    const { network, scheduler } = this.#world;
    const both = [
      network.link(primary.name, successor.name),
      network.link(successor.name, primary.name),
    ];
    const links = this.#rng.chance(0.5) ? both : [this.#rng.pick(both)];
    this.#later(this.#rng.logUniform(100, 20e3), () => {
      this.#world.count("situations:link cut while the role is handed over, or soon after");
      this.#world.troubleUs = scheduler.nowUs;
      for (const link of links) network.setDown(link, true);
      scheduler.after(this.#rng.logUniform(50e3, 8e6), undefined, eventKind.operator, () => {
        this.#world.troubleUs = scheduler.nowUs;
        for (const link of links) network.setDown(link, false);
      });
    });
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.operator, () => {
      if (this.#active) run();
    });
  }
}

/** What the answer to a switchover claims must be so at that very instant, by what lies on the disks. */
function judgeOutcome(
  world: World,
  line: Line,
  told: {
    readonly primary: Machine;
    readonly to: string;
    readonly outcome: CommandOutcome;
    readonly isPromoted: boolean;
  },
): void {
  const { primary, to, outcome, isPromoted } = told;
  const group = line.group.name;
  const status = world.status(primary, group);
  const { history } = recordOf(world, line, primary.name) ?? { history: [] };
  const its = recordOf(world, line, to)?.history ?? [];
  const isFollowed =
    its.length > history.length && history.every(({ id }, place) => its[place]?.id === id);
  if (outcome.ok) {
    world.count("checks:I33");
    world.count("situations:role handed over");
    if (status?.role === "primary" && status.serving && primary.name !== to)
      world.report("I28", `${primary.name} still serves after it has handed its role to ${to}`);
    return;
  }
  if (outcome.hint?.startsWith("nothing has changed") !== true) return;
  world.count("checks:I31");
  world.count(`situations:role kept, ${outcome.code}`);
  if (isFollowed && !isPromoted)
    world.report(
      "I28",
      `a switchover was said to have changed nothing, and ${to} holds a generation after it`,
    );
  if (status !== undefined && status.role !== "primary")
    world.report(
      "I31",
      `a switchover was said to have changed nothing, and ${primary.name} is ${status.role}`,
    );
}

function recordOf(world: World, line: Line, site: string) {
  const found = world.inspector(site, line).record("durable");
  return found.kind === "found" ? found.record : undefined;
}
