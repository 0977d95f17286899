import type { IoFailure } from "#base/errors.ts";
import type { Config } from "#config/types.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { EventRecord, Trace } from "#ports/events.ts";
import type { ImageSize } from "#site/ports.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { createSimClock } from "./clock.ts";
import type { ClockSkew } from "./clock.ts";
import { createSimCrypto } from "./crypto.ts";
import { SimDevice, openLinkedImage } from "./device.ts";
import type { DeviceShape } from "./device.ts";
import { SimDisk } from "./disk.ts";
import type { DiskBehaviour } from "./disk.ts";
import { openSimFolder } from "./disk-files.ts";
import { openSimImage } from "./disk-image.ts";
import type { ImageWatcher } from "./disk-image.ts";
import { evictStale } from "./disk-state.ts";
import type { DiskState, Keep } from "./disk-state.ts";
import type { LogPath } from "./log-path.ts";
import type { Network } from "./network.ts";
import type { Process } from "./process.ts";
import { createSimPacking } from "./packing.ts";
import type { Prng } from "./prng.ts";
import { createOwner, eventKind } from "./scheduler.ts";
import type { Owner, Scheduler } from "./scheduler.ts";

/** How a process or a machine can go down (SPEC decision 1). */
export type CrashKind = { readonly kind: "kill" } | { readonly kind: "power"; readonly keep: Keep };

/** Who is told what happens at a machine. */
export type MachineObserver = {
  onEvent(machine: Machine, event: EventRecord): void;
  /** The program broke one of its own assertions, or threw anything else. */
  onThrow(machine: Machine, error: unknown): void;
  onStarted(machine: Machine, failure: string | undefined): void;
  /** The process, if any ran, is gone, and the disk is as the crash has left it. */
  onDown(machine: Machine, process: Process | undefined, crash: CrashKind): void;
  readonly onImageWrite: ImageWatcher | undefined;
  /** A batch was packed, or unpacked at a copy. */
  onPacking(machine: Machine, what: string): void;
  readonly trace: ((machine: Machine) => Trace) | undefined;
};

export type MachineOptions = {
  readonly name: string;
  readonly config: Config;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly rng: Prng;
  readonly behaviour: DiskBehaviour;
  readonly skew: ClockSkew;
  readonly createSite: (options: SiteOptions) => Site;
  readonly observer: MachineObserver;
  /** Numbers the lives of all processes of a world. */
  readonly nextLife: () => number;
  /** Of volumes of this site that lie on devices behind a link. */
  readonly devices: DeviceShape | undefined;
  /** What all machines of the world find on the path of a group's second log. */
  readonly logPath: LogPath | undefined;
  /** Content of the disk, when the machine belongs to a cloned world. */
  readonly disk?: DiskState;
  readonly bootId?: string;
};

/** One machine: a disk, a boot, and at most one life of the site's program. */
export class Machine {
  readonly name: string;
  readonly disk: SimDisk;
  /** Block stores that this site's volumes lie on, by GROUP/VOLUME: machines of their own. */
  readonly devices: ReadonlyMap<string, SimDevice>;
  readonly skew: ClockSkew;
  /** The cluster file at this site, as its operator last left it. */
  file: Config;
  /** The running program, or undefined while it is down. */
  site: Site | undefined;
  process: Process | undefined;
  /** It has found its roles: `start` has called back. */
  started = false;
  /** The world is being stopped: whoever would start this machine again comes too late. */
  isRetired = false;
  bootId: string;
  boots = 1;
  readonly #options: MachineOptions;
  readonly #rng: Prng;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.#rng = options.rng.fork(`machine ${options.name}`);
    this.name = options.name;

    this.skew = options.skew;
    this.file = options.config;
    this.bootId = options.bootId ?? `${options.name} boot 1`;
    this.disk = new SimDisk({
      site: options.name,
      scheduler: options.scheduler,
      rng: this.#rng.fork("disk"),
      behaviour: options.behaviour,
      boot: this.#newBoot(),
      ...(options.disk === undefined ? {} : { state: options.disk }),
    });
    this.devices = this.#createDevices();
    this.disk.onStall = (durationUs) => this.stall(durationUs);
    options.network.listen(options.name, {
      // What was started and has not come to run yet has no socket: nobody listens.
      process: () => (this.site === undefined ? undefined : this.process),
      powered: () => this.disk.boot.alive,
      accept: (connection) => {
        if (this.site === undefined) throw new Error("a dead site was asked to accept");
        return this.site.accept(connection);
      },
    });
  }

  #createDevices(): ReadonlyMap<string, SimDevice> {
    const { config, devices: shape } = this.#options;
    const found = new Map<string, SimDevice>();
    if (shape === undefined) return found;
    for (const group of config.groups.values())
      for (const { name: volume, bytes, at } of group.volumes) {
        const address = at.get(this.name);
        if (address === undefined) continue;
        const name = `${group.name}/${volume}`;
        const image = imageName(group.name, volume);
        const rng = this.#rng.fork(`device ${name}`);
        found.set(
          name,
          new SimDevice({ name, address, disk: this.disk, image, bytes, shape, rng }),
        );
      }
    return found;
  }

  isUp(): boolean {
    return this.process !== undefined;
  }

  /** Starts the program, after a boot when the machine had lost power. */
  start(): void {
    if (this.process !== undefined || this.isRetired) return;
    const { observer } = this.#options;
    if (!this.disk.boot.alive) this.disk.boot = this.#newBoot();
    const process = this.#newProcess();
    this.process = process;
    this.started = false;
    this.#options.scheduler.after(0, process, eventKind.watch, () => {
      this.site = this.#options.createSite(this.#siteOptions(process));
      this.site.start((failure) => {
        if (!process.alive) return;
        this.started = failure === undefined;
        observer.onStarted(this, failure);
      });
    });
  }

  crash(crash: CrashKind): void {
    if (crash.kind === "kill") this.kill();
    else this.losePower(crash.keep);
  }

  /**
   * kill -9: volatile memory is gone, every write into the page cache is kept. But what a failed sync had covered is evicted
   * here at the latest, so that the next process reads what is on the platter; observers are told of a loss of power.
   */
  kill(): void {
    const ended = this.#endProcess(false);
    if (ended === undefined) return;
    const crash: CrashKind = evictStale(this.disk.state)
      ? { kind: "power", keep: "none" }
      : { kind: "kill" };
    this.#options.observer.onDown(this, ended, crash);
  }

  /** The machine loses power: what was not synced is lost as `keep` says, and the next boot has another id. */
  losePower(keep: Keep): void {
    if (!this.disk.boot.alive) return;
    const ended = this.#endProcess(true);
    this.disk.boot.alive = false;
    this.disk.losePower(keep);
    this.boots += 1;
    this.bootId = `${this.name} boot ${this.boots}`;
    this.#options.observer.onDown(this, ended, { kind: "power", keep });
  }

  /** SIGSTOP. The kernel goes on: connections take bytes, syncs finish. */
  pause(): void {
    if (this.process !== undefined) this.process.paused = true;
  }

  /** SIGCONT. */
  resume(): void {
    if (this.process?.paused === true) this.#options.scheduler.release(this.process);
  }

  /** The whole program stands still for a while: a write that waits for the disk, a long collection of garbage. */
  stall(durationUs: number): void {
    const { process } = this;
    if (process === undefined || process.paused) return;
    process.paused = true;
    this.#options.scheduler.after(durationUs, undefined, eventKind.watch, () => {
      if (process.alive && process.paused) this.#options.scheduler.release(process);
    });
  }

  #endProcess(powerLost: boolean): Process | undefined {
    const { process } = this;
    if (process === undefined) return undefined;
    process.alive = false;
    process.held = [];
    this.process = undefined;
    this.site = undefined;
    this.started = false;
    for (const run of process.atExit) run();
    for (const connection of this.#options.network.connectionsOf(process)) {
      connection.abandon(powerLost);
    }
    return process;
  }

  #newBoot(): Owner {
    return createOwner(`${this.name} kernel`, 0, (error) => {
      throw error;
    });
  }

  #newProcess(): Process {
    const life = this.#options.nextLife();
    const owner = createOwner(this.name, life, (error) => {
      // What a dead process throws is what its unwinding stack made of ports that no longer answer.
      if (process.alive) this.#options.observer.onThrow(this, error);
    });
    const { nowUs } = this.#options.scheduler;
    owner.releasedUs = nowUs;
    const process: Process = Object.assign(owner, { site: this.name, life, atExit: [] });
    return process;
  }

  #siteOptions(process: Process): SiteOptions {
    const { scheduler, network, observer } = this.#options;
    const lifeRng = this.#rng.fork(`life ${process.life}`);
    return {
      config: this.file,
      name: this.name,
      version: "sim",
      readFile: () => ({ ok: true, config: this.file, lineOf: () => 1 }),
      ports: {
        clock: createSimClock(scheduler, process, this.skew),
        crypto: createSimCrypto(lifeRng),
        transport: network.transport(process),
        packing: createSimPacking({
          scheduler,
          process,
          rng: lifeRng.fork("packing"),
          watch: (what) => observer.onPacking(this, what),
        }),
        events: { emit: (event) => process.alive && observer.onEvent(this, event) },
        trace: observer.trace?.(this),
        bootId: this.bootId,
        openFolder: (group) => openSimFolder(this.disk, process, group),
        openLogFolder: (path, group, makes) => {
          const { logPath } = this.#options;
          if (logPath?.isThere === true && (makes || logPath.disk.state.folders.has(group)))
            return openSimFolder(logPath.disk, process, group);
          return { code: "ENOENT", message: `${path}: there is no such folder` };
        },
        openImage: (group, volume, size) => this.#openImage(process, { group, volume, size }),
      },
    };
  }

  #openImage(
    process: Process,
    { group, volume, size }: { group: string; volume: string; size: ImageSize },
  ): BlockDevice | IoFailure {
    const { scheduler, observer } = this.#options;
    const device = this.devices.get(`${group}/${volume}`);
    if (device !== undefined)
      return openLinkedImage(device, {
        process,
        clock: createSimClock(scheduler, process, this.skew),
        watch: observer.onImageWrite,
      });
    const name = imageName(group, volume);
    return openSimImage({
      disk: this.disk,
      process,
      name,
      volume: `${group}/${volume}`,
      ...size,
      watch: observer.onImageWrite,
    });
  }
}

/** Name of a volume's image file in the disk's folder of images. */
export function imageName(group: string, volume: string): string {
  return `${group}-${volume}.img`;
}
