import type { EventRecord } from "#ports/events.ts";
import { crashForAWhile } from "./crash.ts";
import type { SimDevice } from "./device.ts";
import { keeps } from "./disk-state.ts";
import type { StepWatcher } from "./disk.ts";
import type { Machine } from "./machine.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { DeviceTrouble } from "./swarm-devices.ts";
import type { World } from "./world.ts";

/**
 * Trouble with devices behind links: connections that end, ways and servers that are gone for a while, servers that forget
 * what was not flushed, that stand still or answer with errors; and gateways that die meanwhile, or while they bring a device
 * up to date.
 */
export class DeviceFaults {
  readonly #world: World;
  readonly #rng: Prng;
  readonly #troubles: readonly DeviceTrouble[];
  readonly #devices: readonly { readonly machine: Machine; readonly device: SimDevice }[];
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("trouble with devices");
    this.#troubles = world.swarm.devices?.troubles ?? [];
    this.#devices = [...world.machines.values()].flatMap((machine) =>
      [...machine.devices.values()].map((device) => ({ machine, device })),
    );
  }

  begin(): void {
    this.#active = this.#devices.length > 0 && this.#troubles.length > 0;
    if (!this.#active) return;
    this.#world.eventWatchers.add(this.#onEvent);
    this.#scheduleNext();
  }

  /** No more trouble; what is gone comes back. */
  heal(): void {
    this.#active = false;
    this.#world.eventWatchers.delete(this.#onEvent);
    for (const { device } of this.#devices) {
      device.isUp = true;
      device.isReachable = true;
      device.stalledUntilUs = 0;
      device.failing = 0;
    }
  }

  #scheduleNext(): void {
    const gapUs = this.#world.swarm.devices?.gapUs ?? 0;
    this.#later(this.#rng.exponential(gapUs), () => {
      const { machine, device } = this.#rng.pick(this.#devices);
      this.#make(this.#rng.pick(this.#troubles), machine, device);
      this.#scheduleNext();
    });
  }

  #make(trouble: DeviceTrouble, machine: Machine, device: SimDevice): void {
    const { scheduler } = this.#world;
    this.#world.count(`devices:${trouble}`);
    this.#world.tell(device.name, () => `device: ${trouble}`);
    switch (trouble) {
      case "cut":
        return device.cut("the connection was reset");
      case "away":
        device.isReachable = false;
        device.cut("the way there is cut");
        return this.#later(this.#awayUs(), () => (device.isReachable = true));
      case "crash":
        return this.#crashDevice(machine, device);
      case "stall":
        device.stalledUntilUs = Math.ceil(scheduler.nowUs + this.#rng.logUniform(20e3, 2e6));
        return;
      case "error":
        device.failing += this.#rng.between(1, 4);
        return;
      case "gateway":
        return this.#loseGateway(machine, device);
      default:
        return trouble satisfies never;
    }
  }

  #awayUs(): number {
    return this.#rng.logUniform(5e3, 4e6);
  }

  #crashDevice(machine: Machine, device: SimDevice): void {
    const keep = this.#rng.pick(keeps);
    this.#world.tell(
      device.name,
      () => `device: its server dies, and keeps ${keep} of what is not flushed`,
    );
    this.#world.deviceLost(machine, device);
    device.crash(keep);
    this.#later(this.#awayUs(), () => (device.isUp = true));
  }

  /** Its device is away when it dies, and mostly still when it is back; sometimes both lose their power at once. */
  #loseGateway(machine: Machine, device: SimDevice): void {
    if (this.#rng.chance(0.5)) this.#make("away", machine, device);
    else this.#crashDevice(machine, device);
    this.#later(this.#rng.logUniform(10, 1e6), () => this.#crash(machine));
  }

  // While everything since the last flush is written again, and reads must not find what the device still has.
  readonly #onEvent = (event: EventRecord, machine: Machine): void => {
    const found = this.#devices.find(
      ({ device }) => device.name === `${event.group}/${event.volume}`,
    );
    if (event.kind !== "link" || event.to !== "up" || found === undefined) return;
    if (!this.#troubles.includes("gateway") || !this.#rng.chance(0.4)) return;
    if (this.#rng.chance(0.5)) return this.#armCrash(machine);
    this.#later(this.#rng.logUniform(50, 50e3), () => {
      this.#world.count("situations:device lost again while it is brought up to date");
      this.#make(this.#rng.pick(["cut", "crash"] as const), machine, found.device);
    });
  };

  /** Some persistent steps from now, just before or just after one of them: its own, or the device's. */
  #armCrash(machine: Machine): void {
    const at = machine.disk.steps + this.#rng.between(1, 30);
    const when = this.#rng.pick(["before", "after"] as const);
    const watch: StepWatcher = (step, _kind, phase) => {
      if (step !== at || phase !== when) return;
      machine.disk.stepWatchers.delete(watch);
      if (!this.#active) return;
      this.#world.count("situations:gateway lost while a device is brought up to date");
      this.#crash(machine);
    };
    machine.disk.stepWatchers.add(watch);
  }

  #crash(machine: Machine): void {
    if (!machine.isUp()) return;
    crashForAWhile(this.#world, this.#rng, machine, 0.5);
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.fault, () => {
      if (this.#active) run();
    });
  }
}
