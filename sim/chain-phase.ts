import type { EventRecord } from "#ports/events.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { primaryOf, promote } from "./operator.ts";
import type { Prng } from "./prng.ts";
import { allWell } from "./run-state.ts";
import { runUntilServing } from "./run-until-serving.ts";
import { giveUp } from "./settler.ts";
import type { Settler } from "./settler.ts";
import type { World } from "./world.ts";

/** How often a world with three images of a group has this phase. */
const share = 0.3;
const settledUs = 1.5e6;

/**
 * A chain of promotions made on purpose, once a world has come to rest: a copy is lost and the primary goes on without it, then
 * another copy takes over, and then, by force, the one that was lost, whose image is from before all that. The first primary
 * returns to somebody who was not its successor. Behind everything that a seed's world was before, and drawn from a stream of
 * its own. Whether it has been made: then the world has to come to rest again.
 */
export function chainPhase(world: World, settler: Settler): boolean {
  const rng = world.rng.fork("chain phase");
  const lines = [...world.lines.values()].filter(({ sites }) => sites.length > 2);
  if (lines.length === 0 || !rng.chance(share)) return false;
  // Inquiries come back a little after sessions do.
  world.runFor(settledUs);
  const line = rng.pick(lines);
  const primary = primaryOf(world, line);
  // One branch is judged well; a branch of a branch says more of the judge than of the engine.
  if (!allWell(world) || primary === undefined || primary.name !== line.oracle.reign.site)
    return false;
  const others = line.sites.filter((site) => site !== primary.name);
  const lost = world.machine(rng.pick(others));
  const successor = world.machine(rng.pick(others.filter((site) => site !== lost.name)));
  for (const host of world.hosts) {
    host.active = true;
    host.begin();
  }
  settler.begin();
  overtake(world, { line, primary, successor, lost, rng });
  settler.end();
  return true;
}

type Scene = {
  readonly line: Line;
  readonly primary: Machine;
  readonly successor: Machine;
  /** The copy that the primary goes on without. */
  readonly lost: Machine;
  readonly rng: Prng;
};

function overtake(world: World, scene: Scene): void {
  const { line, primary, successor, lost, rng } = scene;
  const timeoutUs = (line.group.copies.get(lost.name)?.timeoutMs ?? 3_000) * 1000;
  die(world, lost);
  world.runFor(timeoutUs + rng.logUniform(200e3, 2e6));
  die(world, primary);
  world.runFor(rng.logUniform(10e3, 1e6));
  if (!takeOver(world, line, successor)) return;
  world.runFor(rng.logUniform(10e3, 500e3));
  // Now and then nobody feeds it: then its history is another one, too.
  if (rng.chance(0.8)) beginResync(world, scene);
  die(world, successor);
  lost.start();
  world.runFor(rng.logUniform(10e3, 500e3));
  if (!takeOver(world, line, lost)) return;
  world.count("phases:chain of promotions");
  world.runFor(rng.logUniform(50e3, 1e6));
  const returning = rng.chance(0.7) ? [primary, successor] : [successor, primary];
  for (const machine of returning) {
    machine.start();
    world.runFor(rng.logUniform(500e3, 4e6));
    if (rng.chance(0.3)) giveUp(world, line, machine.name);
  }
}

function die(world: World, machine: Machine): void {
  world.troubleUs = world.scheduler.nowUs;
  world.countFault("kill");
  machine.crash({ kind: "kill" });
}

function takeOver(world: World, line: Line, heir: Machine): boolean {
  if (world.failed()) return false;
  let promoted = false;
  promote(world, line, { site: heir.name, force: true }, (done) => (promoted = done));
  runUntilServing(world, heir, line.group.name, 10e6);
  return promoted && !world.failed();
}

// The successor is lost in the midst of it, so that the copy has its history, and not its writes.
function beginResync(world: World, { line, lost, rng }: Scene): void {
  let isBegun = false;
  const watch = (event: EventRecord, at: Machine): void => {
    const isIts = at === lost && event.group === line.group.name;
    isBegun ||= isIts && event.kind === "image" && event.to === "synchronizing";
  };
  world.eventWatchers.add(watch);
  lost.start();
  world.runFor(6e6, () => isBegun);
  world.eventWatchers.delete(watch);
  world.runFor(rng.logUniform(500, 50e3));
}
