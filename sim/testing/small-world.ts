import { quietDisk, SimDisk } from "../disk.ts";
import type { DiskBehaviour } from "../disk.ts";
import { Network } from "../network.ts";
import { createPrng } from "../prng.ts";
import type { Process } from "../process.ts";
import { createOwner, Scheduler } from "../scheduler.ts";

// The parts of a world by themselves, for tests of the simulator's own ports.

export type SmallWorld = {
  readonly scheduler: Scheduler;
  readonly network: Network;
  newProcess(site: string): Process;
  newDisk(site: string, behaviour?: Partial<DiskBehaviour>): SimDisk;
  /** Runs events until the condition holds, for an hour of virtual time at most. */
  settle(condition: () => boolean): Promise<void>;
};

export function smallWorld(seed: number | string, splitChance = 0): SmallWorld {
  const rng = createPrng(seed);
  const scheduler = new Scheduler(rng.fork("ties"));
  let lives = 0;
  const rethrow = (error: unknown): void => {
    throw error;
  };
  const newProcess = (site: string): Process => {
    lives += 1;
    return Object.assign(createOwner(site, lives, rethrow), { site, life: lives, atExit: [] });
  };
  return {
    scheduler,
    network: new Network(scheduler, rng.fork("network"), {
      delayUs: 300,
      bytesPerSecond: 1e9,
      splitChance,
      windowBytes: 64 * 1024,
      scribbles: true,
    }),
    newProcess,
    newDisk: (site, behaviour = {}) =>
      new SimDisk({
        site,
        scheduler,
        rng: rng.fork(site),
        behaviour: { ...quietDisk, ...behaviour },
        boot: createOwner(`${site} kernel`, 0, rethrow),
      }),
    settle: async (condition) => {
      // Lets the test's own awaits go on between two steps of the world.
      for (let i = 0; i < 200_000 && !condition(); i += 1) {
        await Promise.resolve();
        let steps = 0;
        scheduler.run(scheduler.nowUs + 3_600e6, () => condition() || (steps += 1) > 1);
      }
      if (!condition()) throw new Error("nothing more happens, and the condition does not hold");
    },
  };
}
