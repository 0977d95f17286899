import type { EventRecord, TraceLine } from "#ports/events.ts";
import type { GroupStatus, SiteCommand, CommandOutcome } from "#site/api.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { noteBranch } from "./branches.ts";
import type { GivenUp } from "./branches.ts";
import type { Checker, CheckerFactory } from "./checker.ts";
import { count } from "./counters.ts";
import type { Counters } from "./counters.ts";
import type { SimDevice } from "./device.ts";
import type { DiskState } from "./disk-state.ts";
import { behindJournal } from "./gateway-view.ts";
import { Inspector } from "./inspect.ts";
import { Host } from "./host.ts";
import { viewImages } from "./image-view.ts";
import { Line } from "./line.ts";
import { createLogPath } from "./log-path.ts";
import type { LogPath } from "./log-path.ts";
import { Machine } from "./machine.ts";
import type { CrashKind } from "./machine.ts";
import { Network } from "./network.ts";
import type { Finding } from "./oracle.ts";
import { notePoint } from "./points.ts";
import type { KeptPoint } from "./points.ts";
import type { Process } from "./process.ts";
import { createPrng } from "./prng.ts";
import type { Prng } from "./prng.ts";
import { Scheduler, eventKind } from "./scheduler.ts";
import { judgeServing, noteWaiting } from "./serving.ts";
import { tenuresOf } from "./succession.ts";
import { Story } from "./story.ts";
import type { CountedFault, Swarm } from "./swarm.ts";
import { mayHaveCycles } from "./swarm-sets.ts";

export type WorldOptions = {
  /** Names the streams of chance; a seed, or a clone of one. */
  readonly label: string;
  readonly swarm: Swarm;
  readonly createSite: (options: SiteOptions) => Site;
  readonly checkers: readonly CheckerFactory[];
  readonly story: { readonly told: boolean; readonly linesMax: number };
  readonly counters: Counters;
  /** A cloned world: what lies on each site's disk, and what its lines already know. */
  readonly clone?: WorldClone;
};

export type WorldClone = {
  readonly startUs: number;
  readonly disks: ReadonlyMap<string, DiskState>;
  readonly bootIds: ReadonlyMap<string, string>;
};

/** A command that an operator gave, until it is answered (N7). */
export type PendingCommand = {
  readonly command: SiteCommand;
  readonly site: string;
  readonly life: number;
};

/** A whole simulated world: sites on their machines, the network between them, hosts, and the oracles of its groups. */
export class World {
  readonly label: string;
  readonly swarm: Swarm;
  readonly rng: Prng;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly machines: ReadonlyMap<string, Machine>;
  readonly lines: ReadonlyMap<string, Line>;
  readonly hosts: readonly Host[];
  readonly logPath: LogPath | undefined;
  readonly checkers: readonly Checker[];
  readonly counters: Counters;
  readonly story: Story;
  readonly createSite: WorldOptions["createSite"];
  /** Promises that were broken. The first ends the run. */
  readonly findings: Finding[] = [];
  readonly commands = new Set<PendingCommand>();
  /** Sites at which an operator has forced a promotion that no reign has followed yet, by group and site. */
  readonly forced = new Set<string>();
  /** Image states that sites claimed when they decided to be promoted, by group and site. */
  readonly claimedImage = new Map<string, string>();
  /** Groups and sites whose promotion was answered with a plan that says that nothing is lost; and when it was asked for. */
  readonly lossless = new Map<string, number>();
  /** Told of each event of a site as it happens. */
  readonly eventWatchers = new Set<(event: EventRecord, machine: Machine) => void>();
  /** The same of each line of its trace, where the world is traced. */
  readonly traceWatchers = new Set<(line: TraceLine, machine: Machine) => void>();
  /** What copies can be taken back to, as it was when their resync began, by group and site. */
  readonly points = new Map<string, KeptPoint>();
  /** Groups and sites whose promotion was announced as one of the preserved point. */
  readonly claimedPoint = new Set<string>();
  /** What operators gave up, by group and site. */
  readonly givenUp = new Map<string, GivenUp>();
  /** Sites that were told to keep no point any more. */
  readonly withoutPoints = new Set<string>();
  /** Site starts that failed while their disk was misbehaving may fail; all others are findings. */
  expectStartFailures = false;
  isStopping = false;
  /** The longest write or zeroing that a host has made. */
  requestBytesMax = 0;
  /** A disk has failed some operation: what a site then said of itself may not have been on its disk. */
  hadDiskErrors = false;
  /** When anything was last done to this world that could make a site lose sight of another (I35). */
  troubleUs = 0;
  /** Its oracle knows nothing: whoever made the clone judges it. */
  readonly isClone: boolean;
  readonly #isTraced: boolean;
  readonly #inspectors = new Map<string, Inspector>();
  /** Machines whose status must be looked at when the event is over. */
  readonly #stirred = new Set<Machine>();
  /** What sites have said while the checkers take a sample. */
  #sampled: Map<Machine, readonly GroupStatus[]> | undefined;
  #lives = 0;
  readonly #checkRng: Prng;

  constructor(options: WorldOptions) {
    this.label = options.label;
    this.swarm = options.swarm;
    this.rng = createPrng(options.label);
    this.#checkRng = this.rng.fork("samples");
    this.createSite = options.createSite;
    this.counters = options.counters;
    this.story = new Story(options.story);
    this.isClone = options.clone !== undefined;
    this.#isTraced = options.checkers.length > 0 && mayHaveCycles(options.swarm);
    this.scheduler = new Scheduler(this.rng.fork("ties"), options.clone?.startUs ?? 0);
    this.network = new Network(this.scheduler, this.rng.fork("network"), options.swarm.network);
    this.logPath = createLogPath(options.swarm, this.scheduler, this.rng);
    this.lines = new Map(
      [...options.swarm.config.groups.values()].map((group) => [group.name, new Line(group)]),
    );
    this.machines = new Map(
      options.swarm.sites.map((site) => [site, this.#createMachine(site, options)]),
    );
    this.checkers = options.checkers.map((create) => create(this));
    this.hosts = this.isClone
      ? []
      : options.swarm.hosts.map((shape, place) => new Host(this, shape, place));
    this.scheduler.afterEvent = () => this.#afterEvent();
    this.network.onClose = (site, remote, why) =>
      this.tell(site, () => `closes its connection to ${remote}: ${why}`);
  }

  line(group: string): Line {
    const line = this.lines.get(group);
    if (line === undefined) throw new RangeError(`no group ${group}`);
    return line;
  }

  machine(site: string): Machine {
    const machine = this.machines.get(site);
    if (machine === undefined) throw new RangeError(`no site ${site}`);
    return machine;
  }

  report(id: string, message: string): void {
    if (this.findings.length > 20) return;
    this.findings.push({ id, message });
    this.tell("CHECKER", () => `${id}: ${message}`);
  }

  failed(): boolean {
    return this.findings.length > 0;
  }

  tell(who: string, what: () => string): void {
    this.story.tell(this.scheduler.nowUs, who, what);
  }

  count(name: string): void {
    count(this.counters, name);
  }

  /** A fault was made: it counts for rows of the fault matrix (`claims-log.ts`). */
  countFault(kind: CountedFault): void {
    this.count(`faults:${kind}`);
  }

  /** What a site says of a group and of those that hold its images, or undefined while it cannot be asked. */
  status(machine: Machine, group: string): GroupStatus | undefined {
    const status = this.rawStatus(machine, group);
    if (status?.copies.some(({ mode }) => mode === "bunker") !== true) return status;
    return { ...status, copies: status.copies.filter(({ mode }) => mode !== "bunker") };
  }

  /** The same with bunkers. */
  rawStatus(machine: Machine, group: string): GroupStatus | undefined {
    if (machine.site === undefined || !machine.started) return undefined;
    let groups = this.#sampled?.get(machine);
    if (groups === undefined) {
      // A gateway is a primary in front of devices: whoever judges asks where the line is served.
      const said = machine.site.status().groups;
      groups = said.map((one) => (one.role === "gateway" ? { ...one, role: "primary" } : one));
      this.#sampled?.set(machine, groups);
    }
    return groups.find((status) => status.name === group);
  }

  /** Runs the world for so long, or until `stop` or a finding. */
  runFor(durationUs: number, stop: () => boolean = () => false): void {
    this.scheduler.run(this.scheduler.nowUs + durationUs, () => this.failed() || stop());
  }

  /** Lets the checkers take a sample within the next few milliseconds. */
  sampleSoon(): void {
    const delayUs = this.#checkRng.logUniform(100, 50_000);
    this.scheduler.after(delayUs, undefined, eventKind.watch, () => this.sample());
  }

  /** Lets the checkers take a sample now, and see what every site says if told so. A site asked twice would say the same. */
  sample(looks = false): void {
    this.#sampled = new Map();
    if (looks) for (const machine of this.machines.values()) this.look(machine);
    for (const checker of this.checkers) checker.onSample?.();
    this.#sampled = undefined;
  }

  /** Gives a command to a site, as its operator would. `taken` is called when that takes it: it may stand still meanwhile. */
  command(
    site: string,
    command: SiteCommand,
    done: (outcome: CommandOutcome | undefined) => void,
    taken?: () => void,
  ): void {
    const machine = this.machine(site);
    const { process } = machine;
    if (machine.site === undefined || process === undefined) return done(undefined);
    const pending: PendingCommand = { command, site, life: process.life };
    this.commands.add(pending);
    this.troubleUs = this.scheduler.nowUs;
    this.tell(site, () => `operator: ${JSON.stringify(command)}`);
    this.scheduler.after(10, process, eventKind.operator, () => {
      taken?.();
      machine.site?.command(command, (outcome) => {
        if (!process.alive) return;
        this.commands.delete(pending);
        this.tell(site, () => `answer to ${command.kind}: ${JSON.stringify(outcome)}`);
        this.count(`commands:${command.kind} ${outcome.ok ? "done" : outcome.code}`);
        done(outcome);
      });
    });
  }

  /** Looks at the status of a site for all its groups: whoever serves now may begin a reign, and the checkers see it. */
  look(machine: Machine): void {
    for (const line of this.lines.values()) {
      const status = this.status(machine, line.group.name);
      if (status === undefined || machine.process === undefined) continue;
      if (status.role === "primary" && status.serving)
        this.noteServing(machine, machine.process, line, status);
      else if (status.role === "primary") noteWaiting(this, machine, line, status);
      for (const checker of this.checkers) checker.onStatus?.(machine, line, status);
    }
  }

  /** A site serves: when it is the line's next reign, its image is judged first. */
  noteServing(machine: Machine, process: Process, line: Line, status: GroupStatus): void {
    const { reign } = line.oracle;
    if (reign.life === process.life && status.generation === line.generation) {
      for (const copy of line.observe(machine.name, status)) this.#noteJoined(line, copy);
      return;
    }
    const tenure = this.tenureOf(machine, line, status);
    if (reign.number > 0 && tenure !== line.tenure) {
      // A primary that has not heard of its successor: what it acks is a branch.
      if (line.isFormer(tenure) || status.generation < line.generation) return;
    } else if (reign.number > 0 && reign.site !== machine.name) {
      this.report(
        "I28",
        `${machine.name} and ${reign.site} are both primary in generation ${status.generation}, ${tenure}`,
      );
      return;
    }
    judgeServing(this, line, { machine, status, restart: tenure === line.tenure });
    const images = this.imagesOf(machine.name, line);
    const revivedFrom = line.oracle.beginReign(images, process.life, status.generation);
    const { generation } = status;
    const ancestry = tenuresOf(this, machine.name, line);
    line.beginReign(machine.name, { generation, tenure, ancestry, revivedFrom });
    line.promotableAtStart.clear();
    for (const { site, state } of status.copies) {
      const isMet = state === "resync" || state === "synchronized";
      // A copy that takes sets lacks what is newest, and its promotion says so.
      if (line.takesSets(machine.name, site)) continue;
      if (isMet && this.#isPromotable(site, line)) line.promotableAtStart.add(site);
    }
    for (const copy of line.observe(machine.name, status)) this.#noteJoined(line, copy);
  }

  /** Whether a site takes part in every ack, as far as anybody can know who asks its primary now, or asked it last. */
  takesPart(site: string, line: Line): boolean {
    const primary = this.machines.get(line.oracle.reign.site);
    if (primary === undefined || !primary.isUp()) return line.of(site).participant;
    const status = this.status(primary, line.group.name);
    const copy = status?.copies.find((candidate) => candidate.site === site);
    return line.of(site).participant && copy?.state === "synchronized";
  }

  /** By its own record, a site could be promoted without force. */
  #isPromotable(site: string, line: Line): boolean {
    const found = this.inspector(site, line).record("current");
    if (found.kind !== "found" || found.record.toldOfFracture !== undefined) return false;
    return found.record.image === "synchronized" || found.record.image === "consistent";
  }

  /** The id of the generation that a site's own record names, or the bare counter where it keeps no record. */
  tenureOf(machine: Machine, line: Line, status: GroupStatus): string {
    const found = this.inspector(machine.name, line).record("current");
    const id = found.kind === "found" ? found.record.history.at(-1)?.id : undefined;
    return id ?? `generation ${status.generation}`;
  }

  /** What a site's own files say of a group. */
  inspector(site: string, line: Line): Inspector {
    const key = `${line.group.name}@${site}`;
    let inspector = this.#inspectors.get(key);
    if (inspector === undefined) {
      const { disk } = this.machine(site);
      inspector = new Inspector(() => disk.state, line.group);
      this.#inspectors.set(key, inspector);
    }
    return inspector;
  }

  imagesOf(site: string, line: Line, view: "current" | "durable" = "current") {
    const machine = this.machine(site);
    const image = viewImages({ disk: machine.disk.state, site, group: line.group, view });
    const found = machine.devices.size === 0 ? undefined : this.inspector(site, line).record(view);
    if (found?.kind !== "found" || found.record.role !== "primary") return image;
    const { journalId } = found.record;
    return journalId === undefined
      ? image
      : behindJournal(machine, line, { image, view, journalId });
  }

  /** A device forgets what was not flushed. Behind a journal that is nobody's loss; a copy's image has none. */
  deviceLost(machine: Machine, { name }: SimDevice): void {
    for (const line of this.lines.values()) {
      if (!name.startsWith(`${line.group.name}/`)) continue;
      const found = this.inspector(machine.name, line).record("current");
      if (found.kind === "found" && found.record.role !== "primary") line.powerLost(machine.name);
    }
  }

  #noteJoined(line: Line, copy: string): void {
    this.count("situations:copy synchronized");
    if (line.isHeardLate(copy)) this.count("situations:whole no more when its primary heard of it");
    else if (line.diverged.delete(copy))
      this.report(
        "I29",
        `${copy} is whole again, and nobody has given up the writes that it had acked`,
      );
    this.tell(copy, () => `is synchronized in group ${line.group.name}`);
  }

  #afterEvent(): void {
    if (this.#stirred.size === 0) return;
    const stirred = [...this.#stirred];
    this.#stirred.clear();
    for (const machine of stirred) this.look(machine);
  }

  #createMachine(site: string, options: WorldOptions): Machine {
    const { swarm, clone } = options;
    const rng = this.rng.fork(`skew ${site}`);
    const spread = swarm.clockRateSpread;
    const disk = clone?.disks.get(site);
    const bootId = clone?.bootIds.get(site);
    return new Machine({
      name: site,
      config: swarm.config,
      scheduler: this.scheduler,
      network: this.network,
      rng: this.rng,
      behaviour: { ...swarm.disk },
      skew: {
        wallOffsetMs: rng.between(-120_000, 120_000),
        rate: 1 + spread * (rng.below(2001) / 1000 - 1),
      },
      createSite: options.createSite,
      devices: swarm.devices?.shape,
      logPath: this.logPath,
      nextLife: () => {
        this.#lives += 1;
        return this.#lives;
      },
      observer: {
        onEvent: (machine, event) => this.#onEvent(machine, event),
        onThrow: (machine, error) => this.#onThrow(machine, error),
        onStarted: (machine, failure) => this.#onStarted(machine, failure),
        onDown: (machine, process, crash) => this.#onDown(machine, process, crash),
        onImageWrite: (process, write) => this.#onImageWrite(process, write),
        onPacking: (_, what) => this.count(`batches:${what}`),
        trace:
          options.story.told || this.#isTraced
            ? (machine) => ({ line: (fields) => this.#onTrace(machine, fields) })
            : undefined,
      },
      ...(disk === undefined ? {} : { disk }),
      ...(bootId === undefined ? {} : { bootId }),
    });
  }

  #onEvent(machine: Machine, event: EventRecord): void {
    this.tell(machine.name, () => {
      const change = event.from === undefined ? "" : ` ${event.from} -> ${event.to}`;
      return `event ${event.kind} ${event.copy ?? event.volume ?? ""}${change}: ${event.why}`;
    });
    this.count(`events:${event.kind}${event.to === undefined ? "" : ` ${event.to}`}`);
    this.#stirred.add(machine);
    // Before it does anything as a primary: what it puts into a journal now may show without another word of this process.
    if (event.kind === "serving") this.look(machine);
    // Another group holds up its start, and nobody can ask it yet: it brings its copies to its own content all the same.
    if (event.kind === "serving" && !machine.started)
      this.lines.get(event.group)?.cameBack(machine.name);
    this.#noteClaims(machine, event);
    notePoint(this, machine, event);
    noteBranch(this, machine, event);
    for (const checker of this.checkers) checker.onEvent?.(machine, event);
    for (const watch of this.eventWatchers) watch(event, machine);
    // A change of state opens short windows in which much can go wrong: samples by the clock alone would miss them.
    if (event.copy !== undefined && this.#checkRng.chance(0.5)) this.sampleSoon();
  }

  // What only the moment of an event tells: a resync may end while a site asks around before its promotion, and a copy
  // that records that it is whole may lose its power before the primary hears of it.
  #noteClaims(machine: Machine, event: EventRecord): void {
    if (event.kind === "promote") {
      const copies = this.status(machine, event.group)?.copies ?? [];
      const image = copies.find((copy) => copy.site === machine.name)?.image;
      if (image !== undefined) this.claimedImage.set(`${event.group}@${machine.name}`, image);
    }
    if (event.kind === "image" && event.to === "synchronized")
      this.lines.get(event.group)?.noteWhole(machine.name);
  }

  #onThrow(machine: Machine, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.report("assert", `${machine.name} broke down: ${text}`);
  }

  #onStarted(machine: Machine, failure: string | undefined): void {
    this.troubleUs = this.scheduler.nowUs;
    this.tell(machine.name, () =>
      failure === undefined ? "has started" : `cannot start: ${failure}`,
    );
    this.#stirred.add(machine);
    if (failure === undefined) {
      for (const line of this.lines.values())
        if (line.sites.includes(machine.name)) line.cameBack(machine.name);
      return;
    }
    // An error that its last process did not live to hear of is told to the next one, once.
    const isOld = this.hadDiskErrors && failure.includes("the disk failed a sync");
    if (!this.expectStartFailures && !isOld)
      this.report("I2", `${machine.name} cannot start: ${failure}`);
    machine.kill();
  }

  #onDown(machine: Machine, process: Process | undefined, crash: CrashKind): void {
    this.troubleUs = this.scheduler.nowUs;
    const how = crash.kind === "power" ? `power ${crash.keep}` : crash.kind;
    this.tell(machine.name, () => `goes down: ${how}`);
    for (const pending of this.commands) {
      if (pending.life === process?.life) this.commands.delete(pending);
    }
    if (crash.kind === "power") {
      for (const line of this.lines.values()) line.powerLost(machine.name);
    }
    if (process !== undefined) for (const host of this.hosts) host.connectionLost(process);
    for (const checker of this.checkers) checker.onDown?.(machine, crash);
  }

  #onImageWrite(
    process: Process,
    write: {
      volume: string;
      offset: number;
      lengthBytes: number;
      chunks: readonly Uint8Array[] | undefined;
    },
  ): void {
    const machine = this.machine(process.site);
    for (const line of this.lines.values()) {
      const volume = line.group.volumes.findIndex(
        ({ name }) => `${line.group.name}/${name}` === write.volume,
      );
      if (volume === -1) continue;
      if (line.oracle.reign.life !== process.life) this.look(machine);
      for (const checker of this.checkers) {
        checker.onImageWrite?.({ ...write, machine, life: process.life, line, volume });
      }
    }
  }

  #onTrace(machine: Machine, fields: TraceLine): void {
    if (this.#isTraced) for (const checker of this.checkers) checker.onTrace?.(machine, fields);
    for (const watch of this.traceWatchers) watch(fields, machine);
    this.tell(machine.name, () => `trace ${JSON.stringify(fields)}`);
  }
}
