import type { Config, CopyConfig } from "#config/types.ts";
import type { EventRecord } from "#ports/events.ts";
import type { StepWatcher } from "./disk.ts";
import type { Line } from "./line.ts";
import type { CrashKind, Machine } from "./machine.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { OperatorKind } from "./swarm.ts";
import type { World } from "./world.ts";

/** A person at the consoles: pauses copies, moves the primary, takes over when it is dead, and sometimes errs. */
export class Operator {
  readonly #world: World;
  readonly #rng: Prng;
  /** From a stream of its own: worlds without cycles are what they were. */
  readonly #cycles: Prng;
  readonly #pointRng: Prng;
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("operator");
    this.#cycles = world.rng.fork("cycles");
    this.#pointRng = world.rng.fork("takeovers of points");
  }

  begin(): void {
    this.#active = true;
    this.#scheduleNext();
    if (this.#world.swarm.pointTakeovers === true) this.#world.eventWatchers.add(this.#onEvent);
  }

  end(): void {
    this.#active = false;
    this.#world.eventWatchers.delete(this.#onEvent);
  }

  // The primary dies while it brings a copy up, and the copy goes back to what it was (row 11).
  readonly #onEvent = (event: EventRecord, machine: Machine): void => {
    if (event.kind !== "image" || event.to !== "synchronizing" || !this.#pointRng.chance(0.3))
      return;
    const line = this.#world.line(event.group);
    this.#later(this.#pointRng.exponential(30e3), () => {
      const primary = primaryOf(this.#world, line);
      // One branch is judged well; a branch of a branch says more of the judge than of the engine.
      if (line.diverged.size > 0 || primary === undefined || primary === machine) return;
      this.#world.count("operator:promoted in the midst of a resync");
      primary.crash(
        this.#pointRng.chance(0.5) ? { kind: "kill" } : { kind: "power", keep: "none" },
      );
      const downUs = this.#pointRng.logUniform(100e3, 5e6);
      this.#world.scheduler.after(downUs, undefined, eventKind.operator, () => primary.start());
      this.#later(this.#pointRng.logUniform(1e3, 300e3), () =>
        promote(this.#world, line, { site: machine.name, force: true }, () => undefined),
      );
      if (this.#pointRng.chance(0.3)) this.#armCrash(machine);
    });
  };

  /** Some persistent steps further the site that goes back dies too. */
  #armCrash(machine: Machine): void {
    const watch = (event: EventRecord, at: Machine): void => {
      if (event.kind !== "promote" || at !== machine) return;
      this.#world.eventWatchers.delete(watch);
      const crashAt = machine.disk.steps + this.#pointRng.between(1, 24);
      const crash: CrashKind = this.#pointRng.chance(0.5)
        ? { kind: "kill" }
        : { kind: "power", keep: this.#pointRng.pick(["none", "subset"] as const) };
      const step: StepWatcher = (number, _kind, phase) => {
        if (number !== crashAt || phase !== "after") return;
        machine.disk.stepWatchers.delete(step);
        this.#world.count("situations:crash while going back, or soon after");
        machine.crash(crash);
        const downUs = this.#pointRng.logUniform(10e3, 1e6);
        this.#world.scheduler.after(downUs, undefined, eventKind.operator, () => machine.start());
      };
      machine.disk.stepWatchers.add(step);
    };
    this.#world.eventWatchers.add(watch);
  }

  #scheduleNext(): void {
    const { operator, operatorGapUs } = this.#world.swarm;
    if (operator.length === 0) return;
    this.#later(this.#rng.exponential(operatorGapUs), () => {
      if (!this.#active) return;
      this.#act(this.#rng.pick(operator), this.#rng.pick([...this.#world.lines.values()]));
      this.#scheduleNext();
    });
  }

  #act(kind: OperatorKind, line: Line): void {
    this.#world.count(`operator:${kind}`);
    const group = line.group.name;
    const primary = primaryOf(this.#world, line);
    const others = line.sites.filter((site) => site !== primary?.name);
    const copy = this.#rng.pick(others.length === 0 ? line.sites : others);
    switch (kind) {
      case "pauseCopy":
        if (primary === undefined) return;
        this.#world.command(primary.name, { kind: "pause", group, copy }, () => undefined);
        this.#later(this.#rng.logUniform(50e3, 2e6), () => {
          const now = primaryOf(this.#world, line);
          if (now !== undefined)
            this.#world.command(now.name, { kind: "resume", group, copy }, () => undefined);
        });
        return;
      case "resyncFull":
        if (primary === undefined) return;
        this.#world.command(
          primary.name,
          { kind: "resync", group, copy, full: true },
          () => undefined,
        );
        return;
      case "demote":
        if (primary !== undefined) this.#demoteFor(line, primary, undefined);
        return;
      case "switchover":
        if (primary !== undefined) this.#demoteFor(line, primary, copy);
        return;
      case "takeover":
        return this.#takeOver(line, copy, primary, false);
      case "takeoverForced":
        // One branch is judged well; a branch of a branch says more of the judge than of the engine.
        return this.#takeOver(line, copy, primary, line.diverged.size === 0);
      case "partitionTakeover":
        return this.#takeOverInPartition(line, copy, primary);
      case "reload":
        if (primary !== undefined) this.#reload(line, primary, copy);
        return;
      default:
        return kind satisfies never;
    }
  }

  // Somebody becomes primary again within a while, or all hosts would starve: the chosen copy, or the same site.
  #demoteFor(line: Line, primary: Machine, successor: string | undefined): void {
    const group = line.group.name;
    this.#world.command(primary.name, { kind: "demote", group, dryRun: false }, (outcome) => {
      if (outcome?.ok !== true) return;
      this.#later(this.#rng.logUniform(1e3, 300e3), () =>
        promote(
          this.#world,
          line,
          { site: successor ?? primary.name, force: false },
          () => undefined,
        ),
      );
    });
  }

  #inAnotherMode(copy: CopyConfig): CopyConfig {
    if (copy.mode === "cycle") {
      const mode = this.#cycles.chance(0.5) ? "async" : "sync";
      return { ...copy, mode, ackAt: undefined };
    }
    if (copy.mode === "sync") return { ...copy, mode: "async" };
    if (!this.#cycles.chance(0.3)) return { ...copy, mode: "sync" };
    const seal = { ...copy.seal, onFlush: false };
    return { ...copy, mode: "cycle", seal, ackAt: this.#cycles.pick(["switch", "journal"]) };
  }

  /** A copy changes its mode in the primary's file, sometimes in all files. A strict mirror stays one: I4 is judged by that. */
  #reload(line: Line, primary: Machine, site: string): void {
    const group = primary.file.groups.get(line.group.name);
    const copy = group?.copies.get(site);
    if (group === undefined || copy === undefined || copy.onLoss !== "continue") return;
    const copies = new Map(group.copies).set(site, this.#inAnotherMode(copy));
    const groups = new Map(primary.file.groups).set(group.name, { ...group, copies });
    const file: Config = { ...primary.file, groups };
    const isEverywhere = this.#rng.chance(0.5);
    for (const machine of this.#world.machines.values())
      if (machine === primary || isEverywhere) machine.file = file;
    const command = { kind: "reload", group: group.name, dryRun: this.#rng.chance(0.1) } as const;
    this.#world.command(primary.name, command, () => undefined);
  }

  /** Usually the primary is made to die first: a takeover while it answers is refused, and tried now and then all the same. */
  #takeOver(line: Line, copy: string, primary: Machine | undefined, force: boolean): void {
    if (primary !== undefined && this.#rng.chance(0.7)) {
      this.#world.countFault("kill");
      primary.crash(this.#rng.chance(0.5) ? { kind: "kill" } : { kind: "power", keep: "none" });
      const downUs = this.#rng.logUniform(100e3, 5e6);
      this.#world.scheduler.after(downUs, undefined, eventKind.operator, () => primary.start());
    }
    this.#later(this.#rng.logUniform(1e3, 1500e3), () =>
      promote(this.#world, line, { site: copy, force }, () => undefined),
    );
  }

  /** The primary is cut off, not dead: what it has on its way arrives when the link is back, after the promotion. */
  #takeOverInPartition(line: Line, copy: string, primary: Machine | undefined): void {
    const { network } = this.#world;
    if (primary === undefined || primary.name === copy) return;
    const links = [network.link(primary.name, copy), network.link(copy, primary.name)];
    for (const link of links) network.setDown(link, true);
    this.#world.countFault("blackHole");
    const timeoutMs = line.group.copies.get(copy)?.timeoutMs ?? 3_000;
    this.#later(timeoutMs * 1000 * this.#rng.logUniform(0.2, 2), () =>
      promote(this.#world, line, { site: copy, force: false }, () => undefined),
    );
    const backUs = timeoutMs * 1000 * this.#rng.logUniform(0.5, 8);
    this.#world.scheduler.after(backUs, undefined, eventKind.operator, () => {
      this.#world.troubleUs = this.#world.scheduler.nowUs;
      for (const link of links) network.setDown(link, false);
    });
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.operator, () => {
      if (this.#active) run();
    });
  }
}

/** Promotes a site. I30 is judged by what it claimed of its image when it decided. */
export function promote(
  world: World,
  line: Line,
  { site, force }: { readonly site: string; readonly force: boolean },
  done: (promoted: boolean) => void,
): void {
  const group = line.group.name;
  const machine = world.machine(site);
  world.claimedImage.delete(`${group}@${site}`);
  if (force) world.forced.add(`${group}@${site}`);
  world.lossless.delete(`${group}@${site}`);
  const askedTick = line.oracle.next();
  world.command(site, { kind: "promote", group, force, dryRun: false }, (outcome) => {
    const image = world.claimedImage.get(`${group}@${site}`);
    if (outcome?.ok === true && !force && (image === "synchronizing" || image === "out-of-sync")) {
      world.report("I30", `${site} was promoted without force though its image was ${image}`);
    }
    // Refused because another promotion is under way: that one may be by force.
    if (outcome?.ok === false && force && outcome.code !== "failed")
      world.forced.delete(`${group}@${site}`);
    const lossless =
      outcome?.ok === true && outcome.plan.some((line) => /(^|; )nothing is lost/.test(line));
    if (lossless) world.lossless.set(`${group}@${site}`, askedTick);
    if (outcome?.ok === true) {
      const after = world.status(machine, group);
      if (after?.role === "primary") line.notePromotion(world.tenureOf(machine, line, after));
      for (const host of world.hosts) if (host.shape.group === group) host.moveTo(site);
    }
    done(outcome?.ok === true);
  });
}

/** The site that serves the line now, or any that holds itself for the primary. */
export function primaryOf(world: World, line: Line): Machine | undefined {
  const group = line.group.name;
  const primaries = line.sites
    .map((site) => ({
      machine: world.machine(site),
      status: world.status(world.machine(site), group),
    }))
    .filter(({ status }) => status?.role === "primary");
  primaries.sort((a, b) => (b.status?.generation ?? 0) - (a.status?.generation ?? 0));
  return primaries[0]?.machine;
}
