// Stories as text: `scenarios/*.txt`. Comments say what happens and which claims that proves; a command, `----`, and what it
// printed. Sets are numbered from the first that a story shows, so that a page does not change with what came before it.

import { KiB } from "#base/limits.ts";
import type { TraceLine } from "#ports/events.ts";
import type { CopyStatus, GroupStatus } from "#site/api.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { converge, stopAll } from "./heal.ts";
import { differences } from "./image-view.ts";
import { allCaughtUp, allWell } from "./run-state.ts";
import { createScenarioWorld } from "./scenario-world.ts";
import type { World } from "./world.ts";

/** A scenario's block of 4 KiB: eight sectors. */
const blockSectors = 8;
/** Longest wait for anything, in virtual time. */
const untilUsMax = 30e6;

type CreateSite = (options: SiteOptions) => Site;

/** Runs a scenario: the same text with what its commands print now. */
export function runScenario(text: string, createSite: CreateSite): string {
  const pages: string[] = [];
  let scenario: Scenario | undefined;
  for (const page of text.trimEnd().split("\n\n")) {
    const lines = page.split("\n");
    const end = lines.indexOf("----");
    const asked = end === -1 ? lines : lines.slice(0, end);
    const printed: string[] = [];
    for (const line of asked.filter((one) => !one.startsWith("#"))) {
      const [command = "", ...words] = line.split(" ");
      if (scenario === undefined) scenario = new Scenario(words, createSite);
      else printed.push(...scenario.run(command, words));
    }
    pages.push([...asked, ...(printed.length === 0 ? [] : ["----", ...printed])].join("\n"));
  }
  scenario?.end();
  return `${pages.join("\n\n")}\n`;
}

function isPurged({ dir, kind }: TraceLine): boolean {
  return dir === "in" && kind === "purged";
}

class Scenario {
  readonly #world: World;
  readonly #sets: number[] = [];
  #trace: TraceLine[] = [];

  constructor(words: readonly string[], createSite: CreateSite) {
    const settings = new Map(words.map((word) => word.split("=") as [string, string]));
    const world = createScenarioWorld(settings, createSite);
    this.#world = world;
    for (const machine of world.machines.values()) machine.start();
    this.#until("all is well", () => allWell(world));
    world.traceWatchers.add((line, machine) => {
      if (machine.name === "east" && line.copy !== "east") this.#trace.push(line);
    });
  }

  /** What a command prints. */
  run(command: string, words: readonly string[]): readonly string[] {
    const [first = "", second = ""] = words;
    switch (command) {
      case "write":
        return this.#write(words, true);
      case "ask":
        return this.#write(words, false);
      case "run":
        this.#runFor(Number(first) * 1e3);
        return [];
      case "slow":
        this.#world.network.link("east", first).bytesPerSecond = Number(second);
        return [];
      case "cut":
      case "mend":
        return this.#link(first, command === "cut");
      case "kill":
        this.#trouble();
        this.#world.machine(first).crash({ kind: "power", keep: "none" });
        return [];
      case "start":
        this.#world.machine(first).start();
        return [];
      case "resume":
        return this.#command({ kind: "resume", group: "bank", copy: first });
      case "until":
        return this.#untilState(first, words.slice(1).join(" "));
      case "status":
        return this.#status();
      case "trace":
        return this.#told(first);
      case "equal":
        return this.#equal();
      default:
        throw new RangeError(`no command of a scenario: ${command}`);
    }
  }

  /** Everything comes to rest, and no checker has found anything. */
  end(): void {
    const world = this.#world;
    converge(world);
    if (!world.failed()) for (const checker of world.checkers) checker.onRest?.();
    if (!world.failed()) stopAll(world);
    this.#assertSound();
  }

  /** Writes of a block each, given at once: `data 1 2 log 5`. */
  #write(words: readonly string[], waits: boolean): readonly string[] {
    let [volume, asked] = [0, 0];
    const before = this.#acked();
    for (const word of words) {
      if (word === "data" || word === "log") volume = word === "data" ? 0 : 1;
      else {
        asked += 1;
        const sector = Number(word) * blockSectors;
        const place = { volume, sector, sectors: blockSectors };
        this.#world.hosts[0]?.perform({ act: "write", ...place });
      }
    }
    if (waits) this.#until("the writes are acked", () => this.#acked() - before >= asked);
    return waits ? [`${asked} acked`] : [];
  }

  #acked(): number {
    return this.#world.counters.get("replies:write ok") ?? 0;
  }

  #link(copy: string, down: boolean): readonly string[] {
    const { network } = this.#world;
    this.#trouble();
    for (const [from, to] of [
      ["east", copy],
      [copy, "east"],
    ] as const) {
      const link = network.link(from, to);
      network.setDown(link, down);
      if (down) network.reset(from, to);
      else link.bytesPerSecond = this.#world.swarm.network.bytesPerSecond;
    }
    return [];
  }

  #command(command: Parameters<World["command"]>[1]): readonly string[] {
    let words: string | undefined;
    this.#world.command("east", command, (outcome) => {
      words = outcome?.ok === true ? "done" : `refused: ${JSON.stringify(outcome)}`;
    });
    this.#until("it is answered", () => words !== undefined);
    return [words ?? ""];
  }

  #untilState(site: string, state: string): readonly string[] {
    this.#until(`${site} is ${state}`, () => {
      if (site === "all") return allCaughtUp(this.#world);
      if (state === "stalled") return this.#group().journal.stalledWrites > 0;
      if (state === "purged") return this.#trace.some((one) => isPurged(one) && one.copy === site);
      return this.#copy(site).state === state;
    });
    return [];
  }

  #status(): readonly string[] {
    const { copies, journal } = this.#group();
    const stalled = journal.stalledWrites === 0 ? "" : `, ${journal.stalledWrites} writes wait`;
    const lines = copies.map(
      ({ site, state, link, lagWrites, dirtyBytes, resyncComparedBytes: compared }) =>
        `${site}: ${state}, link ${link}, lacks ${lagWrites} writes, dirty ${dirtyBytes / KiB} KiB` +
        (compared === 0 ? "" : `, compared ${compared / KiB} KiB`),
    );
    return [...lines, `east: ${this.#acked()} acked${stalled}`];
  }

  /** What east told a copy and heard from it since it was last asked: sessions, PURGED, and of each set what was sent of it. */
  #told(copy: string): readonly string[] {
    const lines: string[] = [];
    let sent: string[] = [];
    const flush = (): void => {
      if (sent.length > 0) lines.push(sent.join(" "));
      sent = [];
    };
    let of = 0;
    for (const line of this.#trace.filter((one) => one.copy === copy)) {
      const { dir, kind, set = 0, index = 0, volume = "", offset = 0 } = line;
      if (isPurged(line)) {
        flush();
        of = 0;
        lines.push(`${copy} PURGED: ${index} entries given up`);
      } else if (dir === "out" && (kind === "write" || (kind === "seal" && of === set))) {
        if (of !== set) {
          flush();
          sent.push(`set ${this.#numberOf(set)}:`);
        }
        of = set;
        sent.push(kind === "seal" ? "SEAL" : `${volume} ${offset / KiB / 4}`);
      }
    }
    flush();
    this.#trace = this.#trace.filter((one) => one.copy !== copy);
    return lines.length === 0 ? ["nothing"] : lines;
  }

  #numberOf(set: number): number {
    if (!this.#sets.includes(set)) this.#sets.push(set);
    return this.#sets.toSorted((a, b) => a - b).indexOf(set) + 1;
  }

  #equal(): readonly string[] {
    const group = this.#world.line("bank").group;
    const view = (site: string) =>
      ({ disk: this.#world.machine(site).disk.state, view: "current" }) as const;
    return [...group.copies.keys()].map((copy) => {
      const found = differences(view("east"), view(copy), group, 4096);
      const blocks = new Set(
        found.map(
          ({ volume, sector }) =>
            `${group.volumes[volume]?.name} ${Math.floor(sector / blockSectors)}`,
        ),
      );
      return `${copy}: ${blocks.size === 0 ? "equal" : `differs in ${[...blocks].join(", ")}`}`;
    });
  }

  #group(): GroupStatus {
    const world = this.#world;
    const status = world.rawStatus(world.machine("east"), "bank");
    if (status === undefined) throw new RangeError("east says nothing");
    return status;
  }

  #copy(site: string): CopyStatus {
    const copy = this.#group().copies.find((one) => one.site === site);
    if (copy === undefined) throw new RangeError(`no copy at ${site}`);
    return copy;
  }

  #trouble(): void {
    this.#world.troubleUs = this.#world.scheduler.nowUs;
  }

  #until(what: string, condition: () => boolean): void {
    this.#world.runFor(untilUsMax, condition);
    this.#assertSound();
    if (!condition()) throw new Error(`never: ${what}\n${this.#tail()}`);
  }

  #runFor(durationUs: number): void {
    this.#world.runFor(durationUs);
    this.#assertSound();
  }

  #assertSound(): void {
    const { findings } = this.#world;
    if (findings.length > 0)
      throw new Error(`${findings.map(({ message }) => message).join("; ")}\n${this.#tail()}`);
  }

  #tail(): string {
    return this.#world.story.tail().slice(-40).join("\n");
  }
}
