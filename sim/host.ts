import type { HostOutcome, HostRequest, HostRequestKind } from "#ports/host-request.ts";
import { count } from "./counters.ts";
import { sectorBytes } from "./disk-state.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import type { WriteRecord } from "./oracle.ts";
import type { Process } from "./process.ts";
import type { Prng } from "./prng.ts";
import { eventKind } from "./scheduler.ts";
import { readStamp, stamp } from "./stamp.ts";
import type { Held } from "./stamp.ts";
import { hostActs } from "./swarm.ts";
import type { HostAct, HostShape } from "./swarm.ts";
import type { World } from "./world.ts";

/** A place in a group's volumes, in sectors. */
type Place = { readonly volume: number; readonly sector: number; readonly sectors: number };

/** One request that a host has under way. */
export type Task = {
  readonly host: Host;
  readonly kind: HostRequestKind;
  readonly place: Place;
  readonly fua: boolean;
  /** What it does when the request has succeeded: the second write of a dependent pair. */
  readonly followedBy: HostAct | undefined;
  readonly invokedTick: number;
  readonly invokedUs: number;
  readonly record: WriteRecord | undefined;
  readonly payload: readonly Uint8Array[];
  /** The process that took it; undefined while it is on its way there. */
  process: Process | undefined;
};

/** A request on its way to a site. */
type Sent = {
  readonly task: Task;
  readonly request: HostRequest;
  readonly name: string;
  readonly machine: Machine;
  readonly process: Process;
};

/** One thing that a script tells a host to do. */
export type HostScriptStep = Place & { readonly act: HostAct };

const hotPlaces = 4;

/**
 * A host that uses the volumes of one group: some requests at a time, overlapping with those of other hosts, dependent pairs
 * across volumes, reads checked at once against the oracle.
 */
export class Host {
  readonly name: string;
  readonly shape: HostShape;
  readonly tasks = new Set<Task>();
  /** Cleared when the faults are over and it should come to rest. */
  active = true;
  requests = 0;
  readonly #world: World;
  readonly #line: Line;
  readonly #rng: Prng;
  readonly #hot: readonly Place[];
  /** The site it talks to; it looks for another when that one does not serve. */
  #site: string;
  #thinking = 0;
  #underway: Sent[] = [];

  constructor(world: World, shape: HostShape, place: number) {
    this.name = `host ${place}`;
    this.shape = shape;
    this.#world = world;
    this.#line = world.line(shape.group);
    this.#rng = world.rng.fork(this.name);
    this.#site = this.#line.group.primary;
    // All hosts of a group share their hot places, so that their writes overlap.
    const shared = world.rng.fork(`hot ${shape.group}`);
    this.#hot = Array.from({ length: hotPlaces }, () => this.#anyPlace(shared));
  }

  /** Keeps as many requests under way as the host's shape says. */
  begin(): void {
    for (let i = this.tasks.size + this.#thinking; i < this.shape.inFlightMax; i += 1)
      this.#think();
  }

  /** The process on the other end is gone: nobody will ever answer what it had. */
  connectionLost(process: Process): void {
    for (const task of this.tasks) if (task.process === process) this.#giveUp(task);
  }

  /** Sends the host to another site, as an operator's hook that moves an address would. */
  moveTo(site: string): void {
    this.#site = site;
  }

  /** Does one thing now, as a script says; the host does nothing of its own accord then. */
  perform(step: HostScriptStep): void {
    this.active = false;
    const machine = this.#server();
    if (machine?.process === undefined) return;
    const kind = step.act === "fua" || step.act === "chain" ? "write" : step.act;
    this.requests += 1;
    this.#submit(
      machine,
      machine.process,
      { kind, place: step },
      {
        fua: step.act === "fua",
        followedBy: undefined,
      },
    );
  }

  #think(): void {
    this.#thinking += 1;
    // In bursts, as hosts work: many short pauses and some long ones.
    const burst = this.#rng.chance(0.8);
    const thinkUs = this.#rng.exponential(this.shape.thinkUs * (burst ? 0.05 : 4.8));
    this.#world.scheduler.after(thinkUs, undefined, eventKind.host, () => {
      this.#thinking -= 1;
      if (this.active) this.#act(this.#drawAct(), false);
    });
  }

  #drawAct(): HostAct {
    let at = this.#rng.below(hostActs.reduce((sum, act) => sum + this.shape.mix[act], 0));
    for (const act of hostActs) {
      at -= this.shape.mix[act];
      if (at < 0) return act;
    }
    return "write";
  }

  #act(act: HostAct, second: boolean): void {
    const machine = this.#server();
    if (machine?.process === undefined) return this.#think();
    this.requests += 1;
    const place = this.#place(act, second);
    const kind = act === "fua" || act === "chain" ? "write" : act;
    this.#submit(
      machine,
      machine.process,
      { kind, place },
      {
        fua: act === "fua",
        followedBy: act === "chain" ? "write" : undefined,
      },
    );
  }

  #submit(
    machine: Machine,
    process: Process,
    { kind, place }: { kind: HostRequestKind; place: Place },
    more: { fua: boolean; followedBy: HostAct | undefined },
  ): void {
    const { oracle } = this.#line;
    const volumeBytes = (this.#line.group.volumes[place.volume]?.bytes ?? 0) as number;
    const payload = kind === "write" ? this.#payload(place, oracle.nextWriteId()) : [];
    const request: HostRequest = {
      kind,
      volume: place.volume,
      offset: kind === "flush" ? 0 : place.sector * sectorBytes,
      length: kind === "flush" ? 0 : place.sectors * sectorBytes,
      payload,
      fua: more.fua,
      mayPunch: this.#rng.chance(0.5),
      onReply: (answered, outcome, bytes) => this.#onReply(task, answered, outcome, bytes),
      lsn: 0,
      legs: 0,
      failure: "ok",
    };
    const changes = kind === "write" || kind === "zero";
    if (changes)
      this.#world.requestBytesMax = Math.max(this.#world.requestBytesMax, request.length);
    const record = changes
      ? oracle.invoke({
          volume: place.volume,
          sector: place.sector,
          sectors: place.sectors,
          zero: kind === "zero",
          site: machine.name,
          request,
          life: process.life,
        })
      : undefined;
    const task: Task = {
      host: this,
      kind,
      place,
      ...more,
      invokedTick: record?.invokedTick ?? oracle.next(),
      invokedUs: this.#world.scheduler.nowUs,
      record,
      payload,
      process,
    };
    this.tasks.add(task);
    count(this.#world.counters, `host:${kind}${more.fua ? " fua" : ""}`);
    const name = `${this.#line.group.name}/${this.#line.group.volumes[place.volume]?.name}`;
    if (request.offset + request.length > volumeBytes)
      throw new RangeError("a host wrote past its volume");
    this.#send({ task, request, name, machine, process });
  }

  // What is on its way to one process arrives together, as requests in one chunk of a socket do.
  #send(sent: Sent): void {
    const isArmed = this.#underway.some((one) => one.process === sent.process);
    this.#underway.push(sent);
    if (isArmed) return;
    this.#world.scheduler.after(this.#rng.below(2_000), sent.process, eventKind.hostSubmit, () => {
      const arrived = this.#underway.filter((one) => one.process === sent.process);
      this.#underway = this.#underway.filter(
        (one) => one.process.alive && one.process !== sent.process,
      );
      for (const { machine, name, request, task } of arrived) {
        const found = machine.site?.exports.find(name);
        if (found?.kind === "served") found.volume.submit(request);
        else this.#onReply(task, request, "gone", undefined);
      }
    });
  }

  #onReply(
    task: Task,
    request: HostRequest,
    outcome: HostOutcome,
    bytes: Uint8Array | undefined,
  ): void {
    if (task.process?.alive !== true) return;
    const world = this.#world;
    if (!this.tasks.delete(task)) {
      world.report("assert", `a ${task.kind} of ${this.name} was answered twice`);
      return;
    }
    world.count(`replies:${task.kind} ${outcome}`);
    world.scheduler.mix(request.lsn);
    const machine = world.machine(task.process.site);
    if (task.kind === "read" && outcome === "ok") this.#checkRead(task, bytes);
    else if (task.kind !== "read") this.#noteAck(task, machine, outcome);
    if (outcome === "io" || outcome === "full") this.#noteRefused(task, machine, outcome);
    if (world.swarm.poisonPayload) {
      // Where a connection is still sending it, the front waits until it was taken, as io/received-memory.ts does.
      for (const chunk of task.payload) world.network.whenTaken(chunk, () => chunk.fill(0xdb));
    }
    world.tell(this.name, () => {
      const { volume, sector, sectors } = task.place;
      return `${task.kind}${task.fua ? " fua" : ""} ${task.record?.id ?? ""} (volume ${volume}, sectors ${sector}+${sectors}) at ${machine.name}: ${outcome}, lsn ${request.lsn}`;
    });
    const { followedBy } = task;
    if (outcome === "ok" && followedBy !== undefined && this.active) {
      world.scheduler.after(20, undefined, eventKind.host, () => this.#act(followedBy, true));
    } else if (outcome === "gone" || outcome === "moved") {
      this.#retryLater();
    } else {
      this.#think();
    }
  }

  /** What was acked while a copy that takes sets was fed is resynced away when that one has been promoted (decision 9). */
  #isSurplus(machine: Machine): boolean {
    const line = this.#line;
    const successor = line.oracle.reign.site;
    const found = this.#world.inspector(machine.name, line).record("durable");
    const isAlone = found.kind !== "found" || found.record.members[successor]?.alone === true;
    return !isAlone && line.takesSets(machine.name, successor);
  }

  #noteAck(task: Task, machine: Machine, outcome: HostOutcome): void {
    const { oracle, group } = this.#line;
    const { record, process } = task;
    const status = this.#world.status(machine, group.name);
    if (status === undefined || process === undefined) return;
    if (outcome === "ok" && oracle.reign.life !== process.life)
      this.#world.noteServing(machine, process, this.#line, status);
    const onLine = oracle.reign.life === process.life;
    if (onLine) this.#line.observe(machine.name, status);
    const participants = onLine
      ? this.#line.participants(machine.name)
      : this.#line.of(machine.name).bit;
    const forced = task.fua || oracle.durability === "write";
    const ack = { line: this.#line, machine, status, participants, forced, onLine };
    if (record !== undefined) {
      oracle.answer(record, outcome, participants, forced);
      if (outcome !== "ok") return;
      const lacks = (site: string): boolean =>
        oracle.lacks(this.#world.imagesOf(site, this.#line), record) !== undefined;
      if (onLine) this.#line.acked(machine.name, record, participants, lacks);
      else if (!oracle.isGivenUp(record))
        this.#line.acked(machine.name, record, this.#line.calledWell(machine.name, status), lacks);
      else if (!this.#isSurplus(machine)) this.#line.diverged.add(machine.name);
      for (const checker of this.#world.checkers) checker.onWriteAcked?.(record, ack);
    } else if (outcome === "ok" && onLine) {
      const flush = {
        volume: task.place.volume,
        invokedTick: task.invokedTick,
        site: machine.name,
      };
      const covered = oracle.coveredBy(flush.volume, flush.invokedTick);
      for (const checker of this.#world.checkers) checker.onFlushAcked?.(flush, covered, ack);
      oracle.flushed(flush.volume, flush.invokedTick, participants);
    }
  }

  #noteRefused(task: Task, machine: Machine, outcome: "io" | "full"): void {
    const { kind, place, invokedUs } = task;
    const status = this.#world.rawStatus(machine, this.#line.group.name);
    if (status === undefined) return;
    const waitedMs = (this.#world.scheduler.nowUs - invokedUs) / 1000;
    const { volume } = place;
    const refused = { line: this.#line, machine, status, kind, volume, outcome, waitedMs };
    for (const checker of this.#world.checkers) checker.onRefused?.(refused);
  }

  #checkRead(task: Task, bytes: Uint8Array | undefined): void {
    const world = this.#world;
    if (task.process?.life !== this.#line.oracle.reign.life) return;
    const { volume, sector, sectors } = task.place;
    if (bytes?.length !== sectors * sectorBytes) {
      return world.report(
        "I32",
        `a read of ${sectors} sectors was answered with ${bytes?.length} bytes`,
      );
    }
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    world.count("checks:I32");
    for (let i = 0; i < sectors; i += 1) {
      const place = { volume, sector: sector + i };
      const held = readStamp(aligned, i * sectorBytes, place, false);
      const finding = this.#line.oracle.judgeRead(volume, sector + i, held, task.invokedTick);
      if (finding !== undefined) return world.report(finding.id, finding.message);
      this.#noteSeen(held, sector + i, task.process.site);
    }
  }

  // What an earlier process took and never answered may be shown, but then it must last.
  #noteSeen(held: Held, sector: number, site: string): void {
    const world = this.#world;
    const { oracle, group } = this.#line;
    const write = held.kind === "write" ? oracle.writes[held.id] : undefined;
    if (write === undefined || write.ackedTick < Infinity || write.life === oracle.reign.life)
      return;
    const status = world.status(world.machine(site), group.name);
    if (status === undefined) return;
    for (const checker of world.checkers) {
      checker.onUnansweredSeen?.(write, sector, status, this.#line);
    }
  }

  #giveUp(task: Task): void {
    this.tasks.delete(task);
    this.#retryLater();
  }

  #retryLater(): void {
    this.#thinking += 1;
    this.#world.scheduler.after(this.#rng.between(5_000, 80_000), undefined, eventKind.host, () => {
      this.#thinking -= 1;
      this.#think();
    });
  }

  /** The site it talks to, or another that serves when that one does not. */
  #server(): Machine | undefined {
    const volume = this.#line.group.volumes[0]?.name;
    const name = `${this.#line.group.name}/${volume}`;
    const others = this.#line.sites.filter((site) => site !== this.#site);
    for (const site of [this.#site, ...others]) {
      const machine = this.#world.machine(site);
      // A process that stands still takes the connection into its kernel's queue all the same.
      const found = machine.started ? machine.site?.exports.find(name) : undefined;
      if (found?.kind !== "served") continue;
      this.#site = site;
      return machine;
    }
    return undefined;
  }

  #place(act: HostAct, second: boolean): Place {
    const place =
      !second && this.#rng.chance(this.shape.hotShare)
        ? this.#rng.pick(this.#hot)
        : this.#anyPlace(this.#rng);
    if (act !== "zero" || !this.#rng.chance(0.2)) return place;
    // Now and then a trim of a long range, over many granules.
    const sectors = this.#volumeSectors(place.volume);
    return { ...place, sectors: Math.min(sectors - place.sector, place.sectors * 16) };
  }

  #anyPlace(rng: Prng): Place {
    const volume = rng.below(this.#line.group.volumes.length);
    const sectors = 1 + rng.below(this.shape.sectorsMax);
    return { volume, sectors, sector: rng.below(this.#volumeSectors(volume) - sectors + 1) };
  }

  #volumeSectors(volume: number): number {
    return Math.floor((this.#line.group.volumes[volume]?.bytes ?? 0) / sectorBytes);
  }

  // In one piece, or cut where a front's receive buffer might have ended.
  #payload(place: Place, id: number): readonly Uint8Array[] {
    const bytes = new Uint8Array(place.sectors * sectorBytes);
    stamp(bytes, id, place.volume, place.sector);
    if (!this.#rng.chance(0.3)) return [bytes];
    const cut = this.#rng.between(1, bytes.length - 1);
    return [bytes.subarray(0, cut), bytes.subarray(cut)];
  }
}
