import { KiB } from "#base/limits.ts";
import type { CopyConfig, GroupConfig } from "#config/types.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { allCheckers } from "./checkers/all.ts";
import type { Counters } from "./counters.ts";
import type { Keep } from "./disk-state.ts";
import { quietDisk } from "./disk.ts";
import type { StepWatcher } from "./disk.ts";
import { converge, stopAll } from "./heal.ts";
import type { HostScriptStep } from "./host.ts";
import { setLimits } from "./knobs.ts";
import type { Finding } from "./oracle.ts";
import { eventKind } from "./scheduler.ts";
import { allWell } from "./run-state.ts";
import { makeConfig } from "./swarm.ts";
import type { Swarm } from "./swarm.ts";
import { World } from "./world.ts";

// Enumeration instead of luck (PROOF §4.2, exhaustive small mode): every script of one or two host operations, crashed at every
// persistent step of either site, just before and just after it, in every way. What SQLite and ACE found this way, chance
// needs millions of seeds for.

const first: HostScriptStep = { act: "write", volume: 0, sector: 4, sectors: 8 };

/** What one step of a script may be: a write, one that overlaps it, one with FUA elsewhere, zeroing it, a flush. */
const steps: readonly HostScriptStep[] = [
  first,
  { act: "write", volume: 0, sector: 8, sectors: 8 },
  { act: "fua", volume: 0, sector: 60, sectors: 10 },
  { act: "zero", volume: 0, sector: 2, sectors: 12 },
  { act: "flush", volume: 0, sector: 0, sectors: 1 },
];

export type Script = readonly HostScriptStep[];

/** All scripts of one and of two steps; the two are given at once, so that they overlap in time where the engine lets them. */
export const scripts: readonly Script[] = [
  ...steps.map((step) => [step]),
  ...steps.flatMap((a) => steps.map((b) => [a, b])),
];

export type CrashPoint = {
  readonly site: string;
  readonly step: number;
  readonly phase: "before" | "after";
  readonly crash: "kill" | Keep;
};

export const crashes: readonly CrashPoint["crash"][] = ["kill", "none", "all", "subset", "torn"];

export type ScriptReport = {
  readonly ran: number;
  readonly failures: readonly { readonly where: string; readonly finding: Finding }[];
};

/** Runs one script with every crash there is. */
export function runScript(
  index: number,
  createSite: (options: SiteOptions) => Site,
  counters: Counters,
): ScriptReport {
  const script = scripts[index];
  if (script === undefined) throw new RangeError(`there is no script ${index}`);
  const failures: { where: string; finding: Finding }[] = [];
  let ran = 0;
  const note = (where: string, findings: readonly Finding[]): void => {
    ran += 1;
    const [finding] = findings;
    if (finding !== undefined) failures.push({ where: `script ${index}, ${where}`, finding });
  };
  for (const durability of ["flush", "write"] as const) {
    const plain = runOnce({ script, durability, createSite, counters }, undefined);
    note(`${durability}, no crash`, plain.findings);
    for (const [site, { from, to }] of plain.steps) {
      for (let step = from; step <= to; step += 1) {
        for (const phase of ["before", "after"] as const) {
          for (const crash of crashes) {
            const point: CrashPoint = { site, step, phase, crash };
            const { findings } = runOnce({ script, durability, createSite, counters }, point);
            note(`${durability}, ${crash} ${phase} step ${step} of ${site}`, findings);
          }
        }
      }
    }
  }
  return { ran, failures };
}

type Once = {
  readonly script: Script;
  readonly durability: "flush" | "write";
  readonly createSite: (options: SiteOptions) => Site;
  readonly counters: Counters;
};

function runOnce(
  options: Once,
  point: CrashPoint | undefined,
): { findings: readonly Finding[]; steps: ReadonlyMap<string, { from: number; to: number }> } {
  const swarm = quietSwarm(options.durability);
  setLimits(swarm.limits);
  const world = new World({
    label: "script",
    swarm,
    createSite: options.createSite,
    checkers: allCheckers,
    story: { told: false, linesMax: 1 },
    counters: options.counters,
  });
  for (const machine of world.machines.values()) machine.start();
  world.runFor(5e6, () => allWell(world));
  const from = new Map(
    [...world.machines].map(([site, machine]) => [site, machine.disk.steps + 1]),
  );
  if (point !== undefined) armCrash(world, point);
  const [host] = world.hosts;
  for (const step of options.script) host?.perform(step);
  world.runFor(500e3);
  const steps = new Map(
    [...world.machines].map(([site, machine]) => [
      site,
      { from: from.get(site) ?? 1, to: machine.disk.steps },
    ]),
  );
  if (!world.failed()) converge(world);
  if (!world.failed()) for (const checker of world.checkers) checker.onSample?.();
  if (!world.failed()) for (const checker of world.checkers) checker.onRest?.();
  if (!world.failed()) stopAll(world);
  return { findings: world.findings, steps };
}

/** The site dies there, and is started again soon after. */
export function armCrash(world: World, point: CrashPoint): void {
  const machine = world.machine(point.site);
  const watch: StepWatcher = (step, _kind, phase) => {
    if (step !== point.step || phase !== point.phase) return;
    machine.disk.stepWatchers.delete(watch);
    world.countFault("crashPoint");
    machine.crash(point.crash === "kill" ? { kind: "kill" } : { kind: "power", keep: point.crash });
    world.scheduler.after(30e3, undefined, eventKind.fault, () => machine.start());
  };
  machine.disk.stepWatchers.add(watch);
}

/** A primary, a mirror, and nothing that happens by itself. */
export function quietSwarm(durability: "flush" | "write"): Swarm {
  const copy: CopyConfig = {
    site: "west",
    mode: "sync",
    onLoss: "continue",
    ackTimeoutMs: 1_000,
    resume: "auto",
    preserveBytesMax: undefined,
    seal: { everyMs: 50, bytesMax: 64 * KiB, onFlush: true },
    staging: "durable",
    connections: 1,
    rpoMs: undefined,
    probeMs: 50,
    timeoutMs: 400,
    ackAt: undefined,
    compress: undefined,
    rateBytesPerSecond: undefined,
  };
  const group: GroupConfig = {
    name: "bank",
    primary: "east",
    volumes: [{ name: "data", bytes: 64 * KiB, at: new Map() }],
    copies: new Map([["west", copy]]),
    durability,
    regionBytes: 4 * KiB,
    journal: { bytesMax: 4096 * KiB, overflow: "trip" },
    hooks: {},
  };
  const still = { write: 0, fua: 0, zero: 0, flush: 0, read: 0, chain: 0 };
  return {
    config: makeConfig(["east", "west"], new Map([["bank", group]])),
    sites: ["east", "west"],
    faults: [],
    operator: [],
    faultGapUs: 1e9,
    operatorGapUs: 1e9,
    faultsUs: 0,
    clones: 0,
    hosts: [
      { group: "bank", inFlightMax: 0, thinkUs: 1e9, sectorsMax: 1, hotShare: 0, mix: still },
    ],
    requestsMax: 10,
    network: {
      delayUs: 200,
      bytesPerSecond: 1e9,
      splitChance: 0,
      windowBytes: 256 * KiB,
      scribbles: true,
    },
    disk: soundDisk,
    clockRateSpread: 0,
    poisonPayload: true,
    limits: smallLimits,
  };
}

const soundDisk = { ...quietDisk, syncUs: 400 };

const smallLimits = {
  openGranulesMax: 16,
  openIdleMs: 100,
  openRoundMsMax: 500,
  openHotMs: 100,
  lsnReserve: 64,
  lsnReserveMargin: 8,
  resyncWindowFirstBytes: 32 * KiB,
  resyncWindowBytes: 64 * KiB,
  resyncChunkBytes: 16 * KiB,
  unsyncedBytesMin: 1024 * KiB,
  unsyncedBytesMax: 2048 * KiB,
  sessionOutstandingBytesMax: 1024 * KiB,
};
