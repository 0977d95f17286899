import type { CopyConfig } from "#config/types.ts";
import type { TraceLine } from "#ports/events.ts";
import { crashForAWhile } from "./crash.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { primaryOf } from "./operator.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import type { CycleTrouble } from "./swarm-sets.ts";
import type { World } from "./world.ts";

/**
 * Trouble where cycles have their seams, which faults by the clock seldom meet: a link that is cut in the midst of a number, a
 * copy that dies between PURGED and R, a primary that dies while a number stands, a link that carries less than hosts write.
 */
export class CycleFaults {
  readonly #world: World;
  readonly #rng: Prng;
  readonly #kinds: readonly CycleTrouble[];
  /** Groups whose copies were to become mirrors. */
  readonly #turned = new Set<string>();
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("trouble of cycles");
    this.#kinds = world.swarm.cycleTrouble ?? [];
  }

  begin(): void {
    this.#active = this.#kinds.length > 0;
    if (!this.#active) return;
    this.#world.traceWatchers.add(this.#onTrace);
    if (this.#kinds.includes("narrow")) this.#scheduleNarrow();
  }

  end(): void {
    this.#active = false;
    this.#world.traceWatchers.delete(this.#onTrace);
  }

  readonly #onTrace = (fields: TraceLine, machine: Machine): void => {
    const line = this.#world.lines.get(fields.group);
    if (line === undefined) return;
    const { dir, kind, copy } = fields;
    if (dir === "out" && kind === "purged") return this.#atPurged(machine);
    if (dir !== "out" || copy === machine.name) return;
    if (kind === "ack-write") return this.#atAck(machine, line);
    if ((kind === "write" || kind === "zero") && (fields.set ?? 0) > 0)
      this.#atSent(machine, line, copy ?? "");
  };

  /** Between PURGED and R: at once, or while R comes. */
  #atPurged(copy: Machine): void {
    if (!this.#kinds.includes("purge") || !this.#rng.chance(0.3)) return;
    this.#later(this.#rng.logUniform(20, 20e3), () => {
      if (!copy.isUp()) return;
      this.#world.count("situations:copy lost soon after PURGED");
      crashForAWhile(this.#world, this.#rng, copy, 0.5);
    });
  }

  /** A number has moved on, and hosts go on: mostly the next one stands a moment later. */
  #atAck(primary: Machine, line: Line): void {
    if (this.#kinds.includes("turn") && this.#rng.chance(0.01)) this.#turn(primary, line);
    if (!this.#kinds.includes("standing") || !this.#rng.chance(0.01)) return;
    this.#later(this.#rng.logUniform(50, 30e3), () => {
      if (primaryOf(this.#world, line) !== primary || !primary.isUp()) return;
      this.#world.count("situations:primary lost while a number stands, or soon after");
      crashForAWhile(this.#world, this.#rng, primary, 0.7);
    });
  }

  /** Copies of cycles become mirrors while hosts wait for the switch of a number that will have none. */
  #turn(primary: Machine, line: Line): void {
    const group = primary.file.groups.get(line.group.name);
    if (group === undefined || this.#turned.has(group.name)) return;
    this.#turned.add(group.name);
    const copies = [...group.copies].map(([site, copy]): [string, CopyConfig] => [
      site,
      copy.mode === "cycle" ? { ...copy, mode: "sync", ackAt: undefined } : copy,
    ]);
    const groups = new Map(primary.file.groups);
    groups.set(group.name, { ...group, copies: new Map(copies) });
    this.#later(this.#rng.logUniform(10, 5e3), () => {
      if (!primary.isUp()) return;
      primary.file = { ...primary.file, groups };
      this.#world.count("operator:reload");
      this.#world.count("situations:copies of cycles are to become mirrors");
      const command = { kind: "reload", group: group.name, dryRun: false } as const;
      this.#world.command(primary.name, command, () => undefined);
    });
  }

  /** The rest of the number is lost, and mostly its SEAL. */
  #atSent(primary: Machine, line: Line, copy: string): void {
    if (!this.#kinds.includes("cut") || !this.#rng.chance(0.02)) return;
    if (this.#modeOf(primary, line, copy) !== "cycle") return;
    const { network, scheduler } = this.#world;
    const links = [network.link(primary.name, copy), network.link(copy, primary.name)];
    if (links.some(({ down }) => down)) return;
    this.#world.count("situations:link cut in the midst of a number");
    this.#world.troubleUs = scheduler.nowUs;
    for (const link of links) network.setDown(link, true);
    // What waits at the link is lost with the connection, as bytes on the way are.
    this.#later(this.#rng.logUniform(100, 300e3), () => {
      this.#world.troubleUs = scheduler.nowUs;
      network.reset(primary.name, copy);
      network.reset(copy, primary.name);
      this.#later(this.#rng.logUniform(1e3, 500e3), () => {
        this.#world.troubleUs = scheduler.nowUs;
        for (const link of links) network.setDown(link, false);
      });
    });
  }

  /** For a while the link carries less than hosts write, so that the journal fills up. */
  #scheduleNarrow(): void {
    this.#later(this.#rng.exponential(800e3), () => {
      const line = this.#rng.pick([...this.#world.lines.values()]);
      const copies = line.sites.filter((site) => line.group.copies.get(site)?.mode === "cycle");
      const primary = primaryOf(this.#world, line);
      if (copies.length > 0 && primary !== undefined) this.#narrow(primary, this.#rng.pick(copies));
      this.#scheduleNarrow();
    });
  }

  #narrow(primary: Machine, copy: string): void {
    if (primary.name === copy) return;
    const { network, swarm } = this.#world;
    const link = network.link(primary.name, copy);
    this.#world.countFault("slowLink");
    this.#world.count("situations:link narrower than what hosts write");
    this.#world.tell("network", () => `a narrow link from ${primary.name} to ${copy}`);
    link.bytesPerSecond = this.#rng.logUniform(2e3, 100e3);
    // Now and then so long that one resync after the other comes to nothing.
    if (this.#rng.chance(0.2)) return;
    this.#later(this.#rng.logUniform(300e3, 3e6), () => {
      link.bytesPerSecond = swarm.network.bytesPerSecond;
    });
  }

  #modeOf(primary: Machine, line: Line, copy: string): string | undefined {
    const status = this.#world.status(primary, line.group.name);
    return status?.copies.find(({ site }) => site === copy)?.mode;
  }

  // Nothing happens within a step of the engine: it has to be over first.
  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.fault, () => {
      if (this.#active) run();
    });
  }
}
