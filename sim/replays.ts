import type { CommandOutcome, SiteCommand } from "#site/api.ts";
import type { CrashKind, Machine } from "./machine.ts";
import { bunkersOf } from "./line.ts";
import type { Line } from "./line.ts";
import { primaryOf, promote } from "./operator.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { World } from "./world.ts";

type ReplayCommand = Extract<SiteCommand, { kind: "replay" }>;

/**
 * A person who brings a copy up from a bunker when the primary is gone, and promotes it; sometimes while it is not. Of two
 * bunkers mostly the one with the longer log is taken. What is drawn by a stream of its own leaves other worlds what they were.
 */
export class Replayer {
  readonly #world: World;
  readonly #rng: Prng;
  /** Who calls a replay off, when, and how. */
  readonly #cancels: Prng;
  /** Which of two bunkers, and what comes after it. */
  readonly #choices: Prng;
  /** Who frees a bunker of a copy that is another's. */
  readonly #force: Prng;
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("replays");
    this.#cancels = world.rng.fork("replays called off");
    this.#choices = world.rng.fork("one bunker of two");
    this.#force = world.rng.fork("bunkers freed by force");
  }

  begin(): void {
    this.#active = true;
    if (this.#world.swarm.replays === true) this.#scheduleNext();
  }

  end(): void {
    this.#active = false;
  }

  // Worlds with two bunkers are rare, and there for this.
  #scheduleNext(): void {
    const lines = [...this.#world.lines.values()];
    const share = lines.some(({ group }) => bunkersOf(group).length > 1) ? 0.4 : 2;
    this.#later(this.#rng.exponential(share * this.#world.swarm.operatorGapUs), () => {
      this.#replay(this.#rng.pick([...this.#world.lines.values()]));
      this.#scheduleNext();
    });
  }

  #replay(line: Line): void {
    const bunkers = bunkersOf(line.group).map(({ site }) => site);
    const primary = primaryOf(this.#world, line);
    const copies = line.sites.filter(
      (site) => site !== primary?.name && line.takesSets(primary?.name ?? "", site),
    );
    // One branch is judged well; a branch of a branch says more of the judge than of the engine.
    if (bunkers.length === 0 || copies.length === 0 || line.diverged.size > 0) return;
    const copy = this.#rng.pick(copies);
    if (primary !== undefined && this.#rng.chance(0.85)) this.#lose(line, primary, bunkers);
    this.#later(this.#rng.logUniform(1e3, 1500e3), () =>
      this.#command(line, copy, this.#choose(line, bunkers)),
    );
    if (this.#rng.chance(0.4)) {
      const victim = this.#world.machine(this.#rng.pick([copy, ...bunkers]));
      this.#later(this.#rng.logUniform(10e3, 2e6), () => this.#crash(victim, { kind: "kill" }));
    }
  }

  /** The one with the longer log, by what both say of it; now and then the other one. */
  #choose(line: Line, bunkers: readonly string[]): string {
    const [first = "", second] = bunkers;
    if (second === undefined) return first;
    const [one, other] = [first, second].map((site) => this.#logEnd(line, site));
    if (this.#choices.chance(0.2)) return this.#choices.pick(bunkers);
    return (other ?? 0) > (one ?? 0) ? second : first;
  }

  #logEnd(line: Line, site: string): number {
    return this.#world.rawStatus(this.#world.machine(site), line.group.name)?.lsn ?? -1;
  }

  // What had been acked by then, with a bunker taking part, must be found at whoever is promoted after a full replay (I5).
  #lose(line: Line, primary: Machine, bunkers: readonly string[]): void {
    const lost = lossOf(this.#world, line, primary, bunkers);
    this.#crash(
      primary,
      this.#rng.chance(0.5) ? { kind: "kill" } : { kind: "power", keep: "none" },
    );
    lost();
  }

  #crash(machine: Machine, crash: CrashKind, rng: Prng = this.#rng): void {
    machine.crash(crash);
    const downUs = rng.logUniform(100e3, 5e6);
    this.#world.scheduler.after(downUs, undefined, eventKind.operator, () => machine.start());
  }

  #command(line: Line, site: string, from: string): void {
    const group = line.group.name;
    const highest = line.oracle.writes.reduce(
      (lsn, write) => Math.max(lsn, write?.request?.lsn ?? 0),
      0,
    );
    const until = this.#rng.chance(0.2) ? this.#rng.between(0, highest) : undefined;
    const command = {
      kind: "replay",
      group,
      from,
      dryRun: this.#rng.chance(0.1),
      ...(until === undefined ? {} : { until }),
    } as const;
    const scene = sceneOf(this.#world, line, site);
    const taken = (): void => void (scene.fedBy = feederOf(this.#world, line, site));
    if (bunkersOf(line.group).length > 1 && this.#force.chance(0.25))
      this.#later(this.#force.logUniform(10e3, 2e6), () => this.#giveUp(line, site, command));
    const done = (outcome: CommandOutcome | undefined): void => {
      if (outcome?.ok === true) judgeBegun(this.#world, line, site, scene);
      if (outcome?.ok !== true || command.dryRun) return;
      this.#world.count(`situations:replayed${until === undefined ? "" : " in part"}`);
      if (until === undefined) noteReplayed(line, site, from);
      // An operator elsewhere is hasty: the copy is there, and needs its bunker still.
      if (bunkersOf(line.group).length > 1 && this.#force.chance(0.4))
        this.#free(line, site, command, true);
      const promoteUs = this.#rng.logUniform(1e3, 300e3);
      if (this.#cancels.chance(0.2)) return this.#callOff(line, site, command);
      this.#later(promoteUs, () => this.#promote(line, site, command));
    };
    this.#world.command(site, command, done, taken);
  }

  // A log that answers and was not replayed here bars the promotion: the operator replays that one too, or gives it up.
  #promote(line: Line, site: string, { from, until }: ReplayCommand): void {
    const other = bunkersOf(line.group).find((bunker) => bunker.site !== from)?.site;
    const isForced = until !== undefined;
    promote(this.#world, line, { site, force: isForced }, (promoted) => {
      if (promoted || isForced || other === undefined) return;
      const laterUs = this.#choices.logUniform(1e3, 500e3);
      if (this.#choices.chance(0.6))
        return this.#later(laterUs, () => this.#command(line, site, other));
      if (this.#choices.chance(0.5) && line.diverged.size === 0)
        this.#later(laterUs, () =>
          promote(this.#world, line, { site, force: true }, () => undefined),
        );
    });
  }

  // The primary may have come back before, and have been turned away; or come back after, and go on.
  #callOff(line: Line, site: string, command: ReplayCommand): void {
    const isByForce = this.#force.chance(0.3);
    this.#later(this.#cancels.logUniform(1e3, 1e6), () => {
      if (isByForce) return this.#giveUp(line, site, command);
      this.#world.command(site, { ...command, cancel: true }, (outcome) => {
        if (outcome?.ok !== true) return;
        line.replayed.delete(site);
        this.#world.count("situations:replay called off");
      });
    });
  }

  /** Somebody else frees the bunker of that copy, which mostly is down, for another one, or for the primary. */
  #giveUp(line: Line, site: string, command: ReplayCommand): void {
    const copy = this.#world.machine(site);
    const force = this.#force.chance(0.8);
    if (this.#force.chance(0.5)) this.#crash(copy, { kind: "kill" }, this.#force);
    this.#later(this.#force.logUniform(1e3, 3e6), () => this.#free(line, site, command, force));
  }

  #free(line: Line, site: string, command: ReplayCommand, force: boolean): void {
    const others = line.sites.filter((other) => other !== site);
    const by = this.#force.pick([command.from, ...others]);
    this.#world.command(by, { ...command, cancel: true, force, dryRun: false }, (outcome) => {
      if (outcome?.ok !== true) return;
      this.#world.count("situations:bunker freed of a copy by force");
      const heirs = others.filter((other) => other !== line.oracle.reign.site);
      const heir = this.#force.chance(0.5) ? heirs[0] : undefined;
      if (heir !== undefined) this.#command(line, heir, command.from);
    });
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.operator, () => {
      if (this.#active) run();
    });
  }
}

/** Which bunkers take part in every ack while the primary is there. Gives what is to be called once it is lost. */
export function lossOf(
  world: World,
  line: Line,
  primary: Machine,
  bunkers: readonly string[],
): () => void {
  const status = world.rawStatus(primary, line.group.name);
  const { reign } = line.oracle;
  const takePart = bunkers.filter((bunker) => {
    const copy = status?.copies.find(({ site }) => site === bunker);
    const policy = line.group.copies.get(bunker)?.onLoss;
    return copy?.state === "streaming" && policy !== "off" && !line.forgetful.has(bunker);
  });
  return () => {
    line.bunkered =
      reign.site === primary.name
        ? { tick: line.oracle.next(), reign: reign.number, bunkers: new Set(takePart) }
        : undefined;
  };
}

/** A log that took part was replayed to its end there: what had been acked by then must be found (I5). */
export function noteReplayed(line: Line, site: string, from: string): void {
  const { bunkered } = line;
  if (bunkered?.bunkers.has(from) === true && bunkered.reign === line.oracle.reign.number)
    line.replayed.set(site, bunkered.tick);
}

/** Who was the copy's primary when its replay was asked for. */
type Scene = {
  readonly atUs: number;
  /** Who fed it when it took the command: it may have stood still until then, and have known nothing of a feeder's end. */
  fedBy: string | undefined;
  readonly primary: { readonly machine: Machine; readonly life: number } | undefined;
};

function sceneOf(world: World, line: Line, site: string): Scene {
  const status = world.rawStatus(world.machine(site), line.group.name);
  const primary = primaryOf(world, line);
  const theirs = primary === undefined ? undefined : world.status(primary, line.group.name);
  const life = primary?.process?.life;
  const isOurs = theirs?.role === "primary" && theirs.generation === status?.generation;
  const asked =
    primary !== undefined && life !== undefined && isOurs && status?.primary === primary.name
      ? { machine: primary, life }
      : undefined;
  return { atUs: world.scheduler.nowUs, fedBy: undefined, primary: asked };
}

function feederOf(world: World, line: Line, site: string): string | undefined {
  const status = world.rawStatus(world.machine(site), line.group.name);
  return status?.copies[0]?.isFed === true ? status.primary : undefined;
}

/** A replay that was granted: nobody fed the copy, and no primary of its generation answered (SPEC 1B). */
function judgeBegun(world: World, line: Line, site: string, scene: Scene): void {
  const { atUs, fedBy, primary } = scene;
  world.count("checks:I27");
  if (fedBy !== undefined)
    world.report("I27", `a replay to ${site} was granted while ${fedBy} fed it`);
  if (primary === undefined) return;
  const { machine, life } = primary;
  const timeoutUs = (line.group.copies.get(site)?.timeoutMs ?? 3_000) * 1000;
  const links = [world.network.link(site, machine.name), world.network.link(machine.name, site)];
  const isReached = links.every(
    ({ down, changedUs, delayUs }) => !down && changedUs < atUs - timeoutUs && delayUs < 20e3,
  );
  const { process } = machine;
  if (process?.life !== life || process.paused || process.releasedUs >= atUs - timeoutUs) return;
  if (isReached)
    world.report(
      "I27",
      `a replay to ${site} was granted while ${machine.name}, the primary, answered`,
    );
}
