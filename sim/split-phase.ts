import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { primaryOf, promote } from "./operator.ts";
import type { Prng } from "./prng.ts";
import { allWell } from "./run-state.ts";
import { runUntilServing } from "./run-until-serving.ts";
import { giveUp } from "./settler.ts";
import type { Settler } from "./settler.ts";
import type { World } from "./world.ts";

/** How often a world has this phase. */
const share = 0.2;
const stepUs = 20e3;
const settledUs = 1.5e6;

/**
 * A split brain made on purpose, once the faults are over: the primary is cut off and goes on, a copy is promoted all the same,
 * hosts follow it, and the two meet again. Then the operator settles it, or takes that back, while sites die. Behind everything
 * that a seed's world was before, and drawn from a stream of its own.
 */
export function splitPhase(world: World, settler: Settler): void {
  const rng = world.rng.fork("split phase");
  if (!rng.chance(share)) return;
  world.runFor(8e6, () => allWell(world));
  // Inquiries come back a little after sessions do.
  world.runFor(settledUs);
  const lines = [...world.lines.values()].filter(({ sites }) => sites.length > 1);
  if (lines.length === 0) return;
  const line = rng.pick(lines);
  const primary = primaryOf(world, line);
  if (!allWell(world) || primary === undefined || primary.name !== line.oracle.reign.site) return;
  const copy = world.machine(rng.pick(line.sites.filter((site) => site !== primary.name)));
  settler.begin();
  if (split(world, { line, primary, copy, rng })) {
    world.count("phases:split");
    for (let round = rng.between(1, 3); round > 0 && !world.failed(); round -= 1)
      settle(world, { line, primary, copy, rng });
  }
  settler.end();
}

type Scene = {
  readonly line: Line;
  readonly primary: Machine;
  readonly copy: Machine;
  readonly rng: Prng;
};

function split(world: World, { line, primary, copy, rng }: Scene): boolean {
  const { network } = world;
  const others = [...world.machines.keys()].filter((site) => site !== primary.name);
  const links = others.flatMap((site) => [
    network.link(primary.name, site),
    network.link(site, primary.name),
  ]);
  world.troubleUs = world.scheduler.nowUs;
  for (const link of links) network.setDown(link, true);
  world.countFault("blackHole");
  const timeoutUs = (line.group.copies.get(copy.name)?.timeoutMs ?? 3_000) * 1000;
  world.runFor(timeoutUs + rng.logUniform(200e3, 2e6));
  let promoted = false;
  promote(world, line, { site: copy.name, force: true }, (done) => (promoted = done));
  runUntilServing(world, copy, line.group.name, 10e6);
  world.runFor(rng.logUniform(50e3, 2e6));
  world.troubleUs = world.scheduler.nowUs;
  for (const link of links) network.setDown(link, false);
  return promoted && !world.failed();
}

// What comes of it is the settler's: here the word is given, and now and then somebody dies.
function settle(world: World, { line, primary, copy, rng }: Scene): void {
  world.runFor(6e6, () => (world.status(primary, line.group.name)?.splits ?? []).length > 0);
  giveUp(world, line, primary.name);
  const endUs = world.scheduler.nowUs + rng.logUniform(200e3, 4e6);
  const deathUs = rng.chance(0.4) ? world.scheduler.nowUs + rng.logUniform(5e3, 1e6) : Infinity;
  let isDead = false;
  while (world.scheduler.nowUs < endUs && !world.failed()) {
    world.runFor(stepUs);
    if (isDead || world.scheduler.nowUs < deathUs) continue;
    isDead = true;
    const victim = rng.pick([primary, copy]);
    world.countFault("kill");
    victim.crash(rng.chance(0.5) ? { kind: "kill" } : { kind: "power", keep: "subset" });
    world.runFor(rng.logUniform(10e3, 500e3));
    victim.start();
  }
  for (const machine of [primary, copy]) machine.start();
}
