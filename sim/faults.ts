import type { EventRecord } from "#ports/events.ts";
import type { CrashKind, Machine } from "./machine.ts";
import type { StepWatcher } from "./disk.ts";
import { keeps } from "./disk-state.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { FaultKind } from "./swarm.ts";
import type { World } from "./world.ts";

/**
 * Makes trouble in a world, of the kinds that its swarm drew, until told to stop. What it breaks it mends after a while;
 * `heal` mends everything at once.
 */
export class Faults {
  readonly #world: World;
  readonly #rng: Prng;
  #active = false;
  /** Errors of the disk hit one site of a world only: with every disk failing, no promise is left to check (fault atlas). */
  readonly #badSite: string;
  readonly #imageRng: Prng;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("faults");
    this.#imageRng = world.rng.fork("image errors");
    this.#badSite = this.#rng.pick(world.swarm.sites);
  }

  begin(): void {
    this.#active = true;
    this.#scheduleNext();
    this.#scheduleImageError();
  }

  heal(): void {
    const world = this.#world;
    this.#active = false;
    world.eventWatchers.clear();
    for (const link of world.network.links()) {
      link.flips = 0;
      link.delayUs = world.swarm.network.delayUs;
      link.bytesPerSecond = world.swarm.network.bytesPerSecond;
      world.network.setDown(link, false);
    }
    for (const machine of world.machines.values()) {
      Object.assign(machine.disk.behaviour, world.swarm.disk);
      machine.disk.stepWatchers.clear();
      machine.resume();
      // A site that met an error of its disk does not trust its files again before it is started anew. A copy whose staging
      // failed begins anew by itself, and of its image its primary hears.
      const isHit = world.expectStartFailures && machine.name === this.#badSite;
      if (isHit && !isSoundCopy(world, machine)) machine.kill();
      machine.start();
    }
    world.expectStartFailures = false;
  }

  #scheduleNext(): void {
    const { faults, faultGapUs } = this.#world.swarm;
    if (faults.length === 0) return;
    this.#later(this.#rng.exponential(faultGapUs), () => {
      if (!this.#active) return;
      const kind = this.#rng.pick(faults);
      if (this.#inject(kind)) this.#world.countFault(kind);
      this.#scheduleNext();
    });
  }

  #scheduleImageError(): void {
    const { imageErrorGapUs } = this.#world.swarm;
    if (imageErrorGapUs === undefined) return;
    this.#later(this.#imageRng.exponential(imageErrorGapUs), () => {
      if (!this.#active) return;
      this.#failImageWrite();
      this.#scheduleImageError();
    });
  }

  #failImageWrite(): void {
    const world = this.#world;
    const { disk, name } = world.machine(this.#badSite);
    world.tell(name, () => "disk: the next write to an image fails");
    disk.behaviour.failImageWrites += 1;
    world.expectStartFailures = true;
    world.hadDiskErrors = true;
    world.countFault("writeError");
  }

  /** False when the fault found nothing to break. */
  #inject(kind: FaultKind): boolean {
    switch (kind) {
      case "kill":
      case "power":
        return this.#crashOne(kind);
      case "powerAll":
        return this.#crashAll();
      case "crashPoint":
        return this.#armCrashPoint();
      case "resyncCrash":
        return this.#armResyncCrash();
      case "pause":
        return this.#pauseOne();
      case "reset":
      case "blackHole":
      case "oneWay":
      case "flap":
      case "slowLink":
      case "flip":
        return this.#breakLink(kind);
      case "diskStall":
      case "writeStall":
      case "syncError":
      case "writeError":
      case "readError":
      case "noSpace":
        return this.#breakDisk(kind);
      case "clockJump":
        return this.#jumpClock();
      default:
        return kind satisfies never;
    }
  }

  #crashOne(kind: "kill" | "power"): boolean {
    const machine = this.#anyUp();
    if (machine === undefined) return false;
    machine.crash(this.#drawCrash(kind));
    this.#restartLater(machine);
    return true;
  }

  /** A power cut takes all sites at once; they come back one by one, the first often a copy (rows 3 and 4). */
  #crashAll(): boolean {
    for (const machine of this.#world.machines.values()) {
      machine.crash(this.#drawCrash("power"));
      this.#restartLater(machine);
    }
    return true;
  }

  /** Some persistent steps from now, just before or just after one of them. */
  #armCrashPoint(): boolean {
    const machine = this.#anyUp();
    if (machine === undefined) return false;
    const at = machine.disk.steps + this.#rng.between(1, 30);
    const when = this.#rng.pick(["before", "after"] as const);
    const crash = this.#drawCrash(this.#rng.pick(["kill", "power"] as const));
    const watch: StepWatcher = (step, kind, phase) => {
      if (step !== at || phase !== when) return;
      machine.disk.stepWatchers.delete(watch);
      this.#world.tell(
        machine.name,
        () => `crash point: ${phase} persistent step ${step} (${kind})`,
      );
      this.#world.count(`crash points:${phase} ${kind}`);
      machine.crash(crash);
      this.#restartLater(machine);
    };
    machine.disk.stepWatchers.add(watch);
    return true;
  }

  /** In the midst of the next resync, where the copy has more in its page cache than on its platter. */
  #armResyncCrash(): boolean {
    const world = this.#world;
    const watch = (event: EventRecord): void => {
      if (event.to !== "resync" || event.copy === undefined) return;
      world.eventWatchers.delete(watch);
      const victim = this.#rng.chance(0.8) ? event.copy : this.#rng.pick(world.swarm.sites);
      this.#later(this.#rng.logUniform(500, 60e3), () => {
        const machine = world.machine(victim);
        machine.crash(this.#drawCrash(this.#rng.chance(0.8) ? "power" : "kill"));
        this.#restartLater(machine);
      });
    };
    world.eventWatchers.add(watch);
    return true;
  }

  #pauseOne(): boolean {
    const machine = this.#anyUp();
    if (machine === undefined) return false;
    this.#world.tell(machine.name, () => "stands still (SIGSTOP)");
    machine.pause();
    this.#later(this.#rng.logUniform(20e3, 4e6), () => {
      this.#world.tell(machine.name, () => "goes on (SIGCONT)");
      machine.resume();
    });
    return true;
  }

  #breakLink(kind: "reset" | "blackHole" | "oneWay" | "flap" | "slowLink" | "flip"): boolean {
    const { network, swarm } = this.#world;
    const first = this.#rng.pick(swarm.sites);
    const second = this.#rng.pick(swarm.sites.filter((site) => site !== first));
    const there = network.link(first, second);
    const back = network.link(second, first);
    const links = kind === "oneWay" ? [there] : [there, back];
    this.#world.tell("network", () => `${kind} between ${first} and ${second}`);
    if (kind === "reset") return network.reset(first, second) > 0;
    if (kind === "flip") {
      there.flips += 1;
      return true;
    }
    if (kind === "slowLink") {
      for (const link of links) link.delayUs = swarm.network.delayUs * this.#rng.logUniform(4, 200);
      this.#later(this.#rng.logUniform(100e3, 3e6), () => {
        for (const link of links) link.delayUs = swarm.network.delayUs;
      });
      return true;
    }
    const rounds = kind === "flap" ? this.#rng.between(2, 8) : 1;
    this.#holeAndBack(links, rounds);
    return true;
  }

  #holeAndBack(links: readonly ReturnType<World["network"]["link"]>[], rounds: number): void {
    const { network } = this.#world;
    for (const link of links) network.setDown(link, true);
    const downUs = this.#rng.logUniform(50e3, rounds > 1 ? 500e3 : 4e6);
    this.#later(downUs, () => {
      for (const link of links) network.setDown(link, false);
      if (rounds > 1 && this.#active)
        this.#later(downUs, () => this.#holeAndBack(links, rounds - 1));
    });
  }

  #breakDisk(
    kind: "diskStall" | "writeStall" | "syncError" | "writeError" | "readError" | "noSpace",
  ): boolean {
    const world = this.#world;
    const stalls = kind === "diskStall" || kind === "writeStall";
    const { disk, name } = stalls
      ? world.machine(this.#rng.pick(world.swarm.sites))
      : world.machine(this.#badSite);
    world.tell(name, () => `disk: ${kind}`);
    switch (kind) {
      case "diskStall":
        disk.behaviour.stallUs = this.#rng.logUniform(100e3, 10e6);
        return true;
      case "writeStall":
        disk.behaviour.writeStallChance = 0.05;
        disk.behaviour.writeStallUs = this.#rng.logUniform(1e3, 1e6);
        this.#later(2e6, () => (disk.behaviour.writeStallChance = 0));
        return true;
      case "syncError":
        disk.behaviour.failSyncs += 1;
        break;
      case "writeError":
        disk.behaviour.failWrites += 1;
        break;
      case "readError":
        disk.behaviour.failReads += 1;
        break;
      default:
        disk.behaviour.spaceBytes = disk.usedBytes();
        this.#later(this.#rng.logUniform(50e3, 4e6), () => (disk.behaviour.spaceBytes = Infinity));
    }
    // A site that met an error may refuse to start, and says why. It is tried again until its disk is sound.
    world.expectStartFailures = true;
    world.hadDiskErrors = true;
    return true;
  }

  #jumpClock(): boolean {
    const machine = this.#world.machine(this.#rng.pick(this.#world.swarm.sites));
    machine.skew.wallOffsetMs += this.#rng.pick([-1, 1]) * 3_600_000;
    return true;
  }

  #anyUp(): Machine | undefined {
    const up = [...this.#world.machines.values()].filter((machine) => machine.isUp());
    return up.length === 0 ? undefined : this.#rng.pick(up);
  }

  #drawCrash(kind: "kill" | "power"): CrashKind {
    return kind === "kill" ? { kind } : { kind, keep: this.#rng.pick(keeps) };
  }

  #restartLater(machine: Machine): void {
    this.#later(this.#rng.logUniform(10e3, 5e6), () => machine.start());
  }

  #later(delayUs: number, run: () => void): void {
    const world = this.#world;
    world.scheduler.after(delayUs, undefined, eventKind.fault, () => {
      world.troubleUs = world.scheduler.nowUs;
      run();
    });
  }
}

/** The site runs, is primary of nothing, and none of its groups has failed for good. */
function isSoundCopy(world: World, machine: Machine): boolean {
  return [...world.lines.values()].every(({ group, sites }) => {
    if (!sites.includes(machine.name)) return true;
    const status = world.status(machine, group.name);
    return status?.role === "secondary" && status.why === "";
  });
}
