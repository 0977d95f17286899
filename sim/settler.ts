import type { EventRecord } from "#ports/events.ts";
import { keyOf, recordOf } from "./branches.ts";
import type { StepWatcher } from "./disk.ts";
import type { Line } from "./line.ts";
import type { CrashKind, Machine } from "./machine.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { World } from "./world.ts";

/**
 * The person who settles split brains: gives up the side that the line lacks, sometimes takes that back, sometimes lets the
 * branch go. All that is drawn here comes from streams of their own.
 */
export class Settler {
  readonly #world: World;
  readonly #rng: Prng;
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("settler");
  }

  begin(): void {
    this.#active = true;
    this.#world.eventWatchers.add(this.#onEvent);
  }

  end(): void {
    this.#active = false;
    this.#world.eventWatchers.delete(this.#onEvent);
  }

  readonly #onEvent = (event: EventRecord, machine: Machine): void => {
    const line = this.#world.line(event.group);
    if (event.kind === "copy" && event.to === "split-brain" && this.#rng.chance(0.7)) {
      const site = event.copy ?? machine.name;
      this.#later(this.#rng.logUniform(300e3, 2e6), () => {
        giveUp(this.#world, line, site);
        if (this.#rng.chance(0.2))
          this.#later(this.#rng.logUniform(1e3, 1e6), () => this.#undo(line, site));
      });
    }
    if (event.kind === "discard" && this.#rng.chance(0.4)) this.#armCrash(machine);
    const isBegun = event.kind === "image" && event.to === "synchronizing";
    if (!isBegun || recordOf(this.#world, line, machine.name, "current")?.discarding === undefined)
      return;
    if (this.#rng.chance(0.4))
      this.#later(this.#rng.logUniform(5e3, 4e6), () => this.#undo(line, machine.name));
    else if (this.#rng.chance(0.3))
      this.#later(this.#rng.logUniform(5e3, 4e6), () =>
        dropBranch(this.#world, line, machine.name),
      );
  };

  #undo(line: Line, site: string): void {
    this.#world.count("operator:discard undone");
    discard(this.#world, line, { site, what: "undo" });
  }

  /** Some persistent steps behind the word, or the taking back of it, the site dies. */
  #armCrash(machine: Machine): void {
    const crashAt = machine.disk.steps + this.#rng.between(1, 24);
    const crash: CrashKind = this.#rng.chance(0.5)
      ? { kind: "kill" }
      : { kind: "power", keep: this.#rng.pick(["none", "subset"] as const) };
    const downUs = this.#rng.logUniform(10e3, 1e6);
    const step: StepWatcher = (number, _kind, phase) => {
      if (number !== crashAt || phase !== "after") return;
      machine.disk.stepWatchers.delete(step);
      this.#world.count("situations:crash while a split brain is settled, or soon after");
      machine.crash(crash);
      this.#world.scheduler.after(downUs, undefined, eventKind.operator, () => machine.start());
    };
    machine.disk.stepWatchers.add(step);
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.operator, () => {
      if (this.#active) run();
    });
  }
}

/**
 * Gives up what a site wrote by itself, or a bunker keeps, where the line lacks that: its serving primary's side is kept.
 * `onRefused` is told why that was refused.
 */
export function giveUp(
  world: World,
  line: Line,
  site: string,
  onRefused: (message: string) => void = () => undefined,
): void {
  const { reign } = line.oracle;
  const primary = world.machines.get(reign.site);
  const status = primary === undefined ? undefined : world.rawStatus(primary, line.group.name);
  if (site === reign.site || status?.role !== "primary" || !status.serving) return;
  // A log on a path has nobody who could be told.
  if (!world.machines.has(site)) return;
  const own = status.copies.find((copy) => copy.site === site);
  if (own?.state !== "split-brain") return;
  if (own.mode === "bunker") world.count("situations:log of another history given up");
  world.count("operator:discard");
  discard(world, line, { site, what: "give-up" }, onRefused);
}

/** From now on the site has no older state to go back to. */
export function dropBranch(world: World, line: Line, site: string): void {
  world.count("operator:branch dropped");
  world.withoutPoints.add(site);
  discard(world, line, { site, what: "drop-branch" });
}

function discard(
  world: World,
  line: Line,
  { site, what }: { readonly site: string; readonly what: "give-up" | "undo" | "drop-branch" },
  onRefused: (message: string) => void = () => undefined,
): void {
  const command = {
    kind: "discard",
    group: line.group.name,
    what,
    force: true,
    dryRun: false,
  } as const;
  // Told to let it go, or to bring it back, the site may have done so when it is killed.
  const given = world.givenUp.get(keyOf(line, site));
  if (given !== undefined) given.isKept = false;
  world.command(site, command, (outcome) => {
    if (outcome?.ok === false) onRefused(outcome.message);
  });
}
