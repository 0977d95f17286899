import { KiB } from "#base/limits.ts";
import type { CopyConfig } from "#config/types.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { allCheckers } from "./checkers/all.ts";
import { imagesPath } from "./disk-image.ts";
import { inodeAt, readInode } from "./disk-state.ts";
import { converge, stopAll } from "./heal.ts";
import { setLimits } from "./knobs.ts";
import { imageName } from "./machine.ts";
import { createPrng } from "./prng.ts";
import { allWell } from "./run-state.ts";
import { armCrash, crashes, quietSwarm } from "./scripts.ts";
import type { CrashPoint } from "./scripts.ts";
import { drawSetLimits } from "./swarm-sets.ts";
import { World } from "./world.ts";

// A volume grows (core/SPEC-mirror.md, Growing a volume) while a host writes, and either site dies at every persistent step of
// that, just before and just after it, in every way. Whatever that leaves opens, and the same command ends it.

const oldBytes = 64 * KiB;
// Neither size ends with a granule, and the map of what is dirty needs more units.
const newBytes = 100 * KiB;

type CreateSite = (options: SiteOptions) => Site;

export type GrowthReport = {
  readonly ran: number;
  /** How often the command was done, refused, or cut short. */
  readonly ends: ReadonlyMap<string, number>;
  readonly failures: readonly string[];
};

/** Runs the growth with every crash there is, at a copy of this mode and at its primary. */
export function runGrowths(mode: CopyConfig["mode"], createSite: CreateSite): GrowthReport {
  const ends = new Map<string, number>();
  const failures: string[] = [];
  let ran = 0;
  const once = (point: CrashPoint | undefined): Ran => {
    const run = runOnce(newWorld(mode, createSite), point);
    ran += 1;
    ends.set(run.end, (ends.get(run.end) ?? 0) + 1);
    if (run.failure !== "") failures.push(`${JSON.stringify(point ?? "no crash")}: ${run.failure}`);
    return run;
  };
  for (const [site, { from, to }] of once(undefined).steps) {
    for (let step = from; step <= to; step += 1) {
      for (const point of pointsOf(mode)) once({ site, step, ...point });
    }
  }
  return { ran, ends, failures };
}

// Just before a step is most often just after the one before it: worlds with sets, which take longer, do without.
function pointsOf(mode: CopyConfig["mode"]): readonly Pick<CrashPoint, "phase" | "crash">[] {
  const after = crashes.map((crash) => ({ phase: "after", crash }) as const);
  if (mode !== "sync") return after.filter(({ crash }) => crash !== "all" && crash !== "subset");
  return [...after, ...crashes.map((crash) => ({ phase: "before", crash }) as const)];
}

type Steps = ReadonlyMap<string, { readonly from: number; readonly to: number }>;
type Ran = { readonly steps: Steps; readonly end: string; readonly failure: string };

function runOnce(world: World, point: CrashPoint | undefined): Ran {
  for (const machine of world.machines.values()) machine.start();
  world.runFor(5e6, () => allWell(world));
  const from = new Map([...world.machines].map(([site, { disk }]) => [site, disk.steps + 1]));
  if (point !== undefined) armCrash(world, point);
  const [host] = world.hosts;
  host?.perform({ act: "write", volume: 0, sector: 4, sectors: 8 });
  let end = "cut short";
  resize(world, (isDone) => {
    end = isDone ? "done" : "refused";
  });
  host?.perform({ act: "fua", volume: 0, sector: 120, sectors: 8 });
  world.runFor(500e3);
  const steps = new Map(
    [...world.machines].map(([site, { disk }]) => [
      site,
      { from: from.get(site) ?? 1, to: disk.steps },
    ]),
  );
  if (!world.failed()) converge(world);
  return { steps, end, failure: world.failed() ? found(world) : endAgain(world) };
}

/** The same command, given again, ends what was cut short; then hosts go on. */
function endAgain(world: World): string {
  let isDone = false;
  resize(world, (answer) => {
    isDone = answer;
  });
  world.runFor(5e6, () => isDone);
  if (!isDone) return "given again, it does not end";
  world.hosts[0]?.perform({ act: "write", volume: 0, sector: 64, sectors: 64 });
  world.runFor(500e3);
  if (!world.failed()) converge(world);
  if (!world.failed()) for (const checker of world.checkers) checker.onSample?.();
  if (!world.failed()) for (const checker of world.checkers) checker.onRest?.();
  if (!world.failed()) stopAll(world);
  if (world.failed()) return found(world);
  const wrong = [...world.machines.keys()].map((site) => wrongAt(world, site));
  return wrong.filter((why) => why !== "").join("; ");
}

function found({ findings }: World): string {
  return findings.map(({ id, message }) => `${id}: ${message}`).join("; ");
}

function resize(world: World, done: (isDone: boolean) => void): void {
  const command = { kind: "resize", group: "bank", volume: "data", dryRun: false } as const;
  world.command("east", { ...command, bytes: newBytes }, (outcome) => done(outcome?.ok === true));
}

/** On the platter the record says the new size, and the image reads as zeros from the old end on; or what is wrong. */
function wrongAt(world: World, site: string): string {
  const [line] = world.lines.values();
  if (line === undefined) return "there is no group";
  const record = world.inspector(site, line).record("durable");
  const bytes = record.kind === "found" ? record.record.volumes[0]?.bytes : undefined;
  if (bytes !== newBytes) return `the record of ${site} says ${bytes} bytes`;
  const { state } = world.machine(site).disk;
  const inode = inodeAt(state, imagesPath, imageName("bank", "data"), "durable");
  if (inode?.durableBytes !== newBytes) return `the image of ${site} has ${inode?.durableBytes}`;
  const tail = new Uint8Array(newBytes - oldBytes);
  readInode(inode, "durable", oldBytes, tail);
  return tail.every((byte) => byte === 0) ? "" : `what is new at ${site} is not zeros`;
}

function newWorld(mode: CopyConfig["mode"], createSite: CreateSite): World {
  const quiet = quietSwarm("flush");
  const groups = new Map(
    [...quiet.config.groups].map(([name, group]) => {
      const copies = [...group.copies].map(([site, copy]) => [site, { ...copy, mode }] as const);
      return [name, { ...group, copies: new Map(copies) }];
    }),
  );
  // A journal, sets and staging of a size that fits a small world.
  const limits = { ...quiet.limits, ...drawSetLimits(createPrng("resize")) };
  const swarm = { ...quiet, limits, config: { ...quiet.config, groups } };
  setLimits(swarm.limits);
  return new World({
    label: "resize",
    swarm,
    createSite,
    checkers: allCheckers,
    story: { told: false, linesMax: 1 },
    counters: new Map(),
  });
}
