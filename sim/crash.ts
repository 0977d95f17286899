import { keeps } from "./disk-state.ts";
import type { CrashKind, Machine } from "./machine.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { World } from "./world.ts";

/** A machine dies now, by a kill or by a power cut, and starts again within a second. */
export function crashForAWhile(world: World, rng: Prng, machine: Machine, killShare: number): void {
  const crash: CrashKind = rng.chance(killShare)
    ? { kind: "kill" }
    : { kind: "power", keep: rng.pick(keeps) };
  machine.crash(crash);
  const downUs = rng.logUniform(10e3, 1e6);
  world.scheduler.after(downUs, undefined, eventKind.fault, () => machine.start());
}
