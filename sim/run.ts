import type { Site, SiteOptions } from "#site/site.ts";
import { AutoReplayer, silencePhase } from "./auto-replays.ts";
import { chainPhase } from "./chain-phase.ts";
import { allCheckers } from "./checkers/all.ts";
import { Cloner } from "./clone.ts";
import type { Counters } from "./counters.ts";
import { CycleFaults } from "./cycle-faults.ts";
import { DeviceFaults } from "./device-faults.ts";
import { Faults } from "./faults.ts";
import { converge, stopAll } from "./heal.ts";
import { setLimits } from "./knobs.ts";
import { Handovers } from "./handovers.ts";
import { Operator } from "./operator.ts";
import type { Finding } from "./oracle.ts";
import { createPrng } from "./prng.ts";
import { Replayer } from "./replays.ts";
import { allWell } from "./run-state.ts";
import { eventKind } from "./scheduler.ts";
import { Settler } from "./settler.ts";
import { splitPhase } from "./split-phase.ts";
import { drawSwarm } from "./swarm.ts";
import type { Swarm } from "./swarm.ts";
import { Verifier, verifyPhase } from "./verifies.ts";
import { World } from "./world.ts";

export type RunOptions = {
  readonly seed: number;
  readonly createSite: (options: SiteOptions) => Site;
  readonly counters: Counters;
  /** Keeps the story, for the person who replays a seed. */
  readonly told: boolean;
  /** In place of what the seed would draw. */
  readonly swarm?: Swarm;
};

export type RunResult = {
  readonly seed: number;
  /** Same seed, same build: same hash. */
  readonly hash: number;
  readonly events: number;
  readonly findings: readonly Finding[];
  readonly story: readonly string[];
};

const storyLinesMax = 40000;

/**
 * One seed: a world, its faults, its healing, its rest. Three phases as in PROOF §4.2: safety under faults; everything is
 * mended and must converge in bounded time; the images are compared and the sites stopped.
 */
export function runSeed(options: RunOptions): RunResult {
  const swarm = options.swarm ?? drawSwarm(createPrng(options.seed).fork("swarm"));
  setLimits(swarm.limits);
  const world = new World({
    label: String(options.seed),
    swarm,
    createSite: options.createSite,
    checkers: allCheckers,
    story: { told: options.told, linesMax: storyLinesMax },
    counters: options.counters,
  });
  const faults = new Faults(world);
  const cycleFaults = new CycleFaults(world);
  const deviceFaults = new DeviceFaults(world);
  const operator = new Operator(world);
  const handovers = new Handovers(world);
  const settler = new Settler(world);
  const replayer = new Replayer(world);
  const autoReplayer = new AutoReplayer(world);
  const verifier = new Verifier(world);
  const cloner = new Cloner(world);
  for (const machine of world.machines.values()) machine.start();
  for (const host of world.hosts) host.begin();
  // The first sync is let through most of the time: a world that never gets beyond it shows little.
  const rng = world.rng.fork("phases");
  const firstRequestsMax = swarm.requestsMax / 4;
  if (rng.chance(0.85))
    world.runFor(5e6, () => allWell(world) || requests(world) >= firstRequestsMax);
  faults.begin();
  cycleFaults.begin();
  deviceFaults.begin();
  operator.begin();
  handovers.begin();
  settler.begin();
  replayer.begin();
  autoReplayer.begin();
  verifier.begin();
  cloner.begin();
  sampleAtRandom(world);
  world.runFor(swarm.faultsUs, () => requests(world) >= swarm.requestsMax);
  operator.end();
  handovers.end();
  settler.end();
  replayer.end();
  autoReplayer.end();
  verifier.end();
  cloner.end();
  cycleFaults.end();
  deviceFaults.heal();
  faults.heal();
  world.count("phases:faults over");
  if (!world.failed()) splitPhase(world, settler);
  if (!world.failed()) verifyPhase(world);
  if (!world.failed()) silencePhase(world, autoReplayer);
  if (!world.failed()) converge(world);
  if (!world.failed() && chainPhase(world, settler)) converge(world);
  if (!world.failed()) for (const checker of world.checkers) checker.onRest?.();
  if (!world.failed()) stopAll(world);
  return {
    seed: options.seed,
    hash: world.scheduler.hash >>> 0,
    events: world.scheduler.steps,
    findings: world.findings,
    story: world.story.tail(),
  };
}

function requests(world: World): number {
  return world.hosts.reduce((sum, host) => sum + host.requests, 0);
}

/** Looks at every site's status at random instants, and lets the checkers take samples. */
function sampleAtRandom(world: World): void {
  const rng = world.rng.fork("sample times");
  const again = (): void => {
    world.scheduler.after(rng.exponential(250e3), undefined, eventKind.watch, () => {
      world.sample(true);
      again();
    });
  };
  again();
}
