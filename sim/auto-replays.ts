import type { EventRecord } from "#ports/events.ts";
import { bunkersOf } from "./line.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { primaryOf, promote } from "./operator.ts";
import type { Prng } from "./prng.ts";
import { lossOf, noteReplayed } from "./replays.ts";
import { allWell } from "./run-state.ts";
import { eventKind } from "./scheduler.ts";
import type { World } from "./world.ts";

/** A word of the engine's: a copy has begun to be brought up, and no operator has asked for it. */
export function isBegunByItself({ kind, why }: EventRecord): boolean {
  return kind === "replay" && why.startsWith("begun automatically");
}

/**
 * Where bunkers bring copies up by themselves: the primary is gone for as long as that takes, or its copies alone do not hear
 * it.
 * An operator finds what has come of it, and mostly promotes the copy. Drawn by a stream of its own.
 */
export class AutoReplayer {
  readonly #world: World;
  readonly #rng: Prng;
  readonly #lines: readonly Line[];
  /** Copies that are being brought up by themselves. */
  readonly #begun = new Set<string>();
  #active = false;
  /** What was to come in the faults phase does not come in a later one. */
  #isAtRandom = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("replays by themselves");
    this.#lines = [...world.lines.values()].filter((line) => waitedMs(line) > 0);
  }

  begin(isAtRandom = true): void {
    if (this.#lines.length === 0) return;
    this.#active = true;
    this.#world.eventWatchers.add(this.#onEvent);
    this.#isAtRandom = isAtRandom;
    if (isAtRandom) this.#scheduleNext();
  }

  end(): void {
    this.#active = false;
    this.#world.eventWatchers.delete(this.#onEvent);
  }

  #scheduleNext(): void {
    this.#later(this.#rng.exponential(0.6 * this.#world.swarm.operatorGapUs), () => {
      if (!this.#isAtRandom) return;
      this.#act(this.#rng.pick(this.#lines));
      this.#scheduleNext();
    });
  }

  #act(line: Line): void {
    const primary = primaryOf(this.#world, line);
    // One branch is judged well; a branch of a branch says more of the judge than of the engine.
    if (primary === undefined || line.diverged.size > 0) return;
    const forUs = waitedMs(line) * 1000 * this.#rng.logUniform(0.8, 3);
    if (this.#rng.chance(0.6)) this.lose(line, primary, forUs);
    else this.hide(line, primary, forUs);
  }

  lose(line: Line, primary: Machine, downUs: number): void {
    const world = this.#world;
    const bunkers = bunkersOf(line.group).map(({ site }) => site);
    const lost = lossOf(world, line, primary, bunkers);
    world.countFault("kill");
    world.troubleUs = world.scheduler.nowUs;
    primary.crash(this.#rng.chance(0.7) ? { kind: "kill" } : { kind: "power", keep: "none" });
    lost();
    world.scheduler.after(downUs, undefined, eventKind.operator, () => primary.start());
  }

  /** The ways between the primary and its copies are cut, and none to a bunker. */
  hide(line: Line, primary: Machine, forUs: number): void {
    const { network, scheduler } = this.#world;
    const links = line.sites
      .filter((site) => site !== primary.name)
      .flatMap((site) => [network.link(primary.name, site), network.link(site, primary.name)]);
    this.#world.troubleUs = scheduler.nowUs;
    for (const link of links) network.setDown(link, true);
    this.#world.countFault("blackHole");
    this.#world.count("situations:primary hidden from its copies alone");
    scheduler.after(forUs, undefined, eventKind.operator, () => {
      this.#world.troubleUs = scheduler.nowUs;
      for (const link of links) network.setDown(link, false);
    });
  }

  readonly #onEvent = (event: EventRecord, machine: Machine): void => {
    const line = this.#world.line(event.group);
    const key = `${event.group}@${machine.name} ${machine.process?.life}`;
    if (isBegunByItself(event)) {
      this.#world.count("situations:replay begun by itself");
      this.#begun.add(key);
      return;
    }
    const hasEnded = event.kind === "replay" && event.why.startsWith("ended");
    if (!hasEnded || !this.#begun.delete(key) || event.copy === undefined) return;
    this.#world.count("situations:replayed by itself");
    noteReplayed(line, machine.name, event.copy);
    this.#settle(line, machine.name, event.copy);
  };

  #settle(line: Line, site: string, from: string): void {
    const laterUs = this.#rng.logUniform(1e3, 1e6);
    const roll = this.#rng.below(10);
    if (roll < 6)
      return this.#later(laterUs, () =>
        promote(this.#world, line, { site, force: false }, () => undefined),
      );
    if (roll > 7) return;
    const command = {
      kind: "replay",
      group: line.group.name,
      from,
      cancel: true,
      dryRun: false,
    } as const;
    this.#later(laterUs, () =>
      this.#world.command(site, command, (outcome) => {
        if (outcome?.ok !== true) return;
        line.replayed.delete(site);
        this.#world.count("situations:replay called off");
      }),
    );
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.operator, () => {
      if (this.#active) run();
    });
  }
}

/**
 * Once the faults are over, in worlds whose bunkers bring copies up by themselves: the primary falls silent for its copies
 * alone, or is lost, long enough for a replay to begin, with nothing else in the way. Behind everything that such a world was
 * before.
 */
export function silencePhase(world: World, replayer: AutoReplayer): void {
  const rng = world.rng.fork("silence phase");
  const lines = [...world.lines.values()].filter((line) => waitedMs(line) > 0);
  if (lines.length === 0) return;
  world.runFor(8e6, () => allWell(world));
  const line = rng.pick(lines);
  const primary = primaryOf(world, line);
  if (!allWell(world) || primary === undefined || line.diverged.size > 0) return;
  const waitedUs = waitedMs(line) * 1000;
  replayer.begin(false);
  // Long enough for everybody to have found each other again.
  world.runFor(2 * waitedUs);
  world.count("phases:silence");
  if (rng.chance(0.5)) replayer.hide(line, primary, 1.5 * waitedUs);
  else replayer.lose(line, primary, 2 * waitedUs);
  world.runFor(3 * waitedUs);
  replayer.end();
}

/** How long a primary must be gone until a bunker brings a copy up by itself, about; 0 where none does. */
function waitedMs({ group }: Line): number {
  const copies = [...group.copies.values()];
  const afterMs = Math.max(...copies.map(({ replayAfterMs }) => replayAfterMs ?? 0));
  return afterMs === 0 ? 0 : afterMs + 2 * Math.max(...copies.map(({ timeoutMs }) => timeoutMs));
}
