import type { GroupStatus, VerifyStatus } from "#site/api.ts";
import { imagesPath } from "./disk-image.ts";
import { inodeAt, readInode, sectorBytes } from "./disk-state.ts";
import type { Inode } from "./disk-state.ts";
import { isWellState } from "./line.ts";
import type { Line } from "./line.ts";
import { imageName } from "./machine.ts";
import type { Machine } from "./machine.ts";
import { primaryOf } from "./operator.ts";
import { flipPageBit } from "./pages.ts";
import { lsnOf } from "./prefix.ts";
import type { Prng } from "./prng.ts";
import { allWell } from "./run-state.ts";
import { eventKind } from "./scheduler.ts";
import { keyOf } from "./sector-key.ts";
import type { World } from "./world.ts";

// `verify` as an operator uses it, and what its word is worth (PROOF §2.4): it finds what has rotted at rest, and nothing else,
// while hosts write.

/** How often an operator looks how far a walk is. */
const pollUs = 20e3;
const walkUsMax = 60e6;
/** How often a healed world has blocks that rot. */
const phaseShare = 0.12;
const triesMax = 3;
const drawsMax = 20;

/** Asks for walks while faults go on. Nothing rots then: whatever differs is on its way, or the engine's own doing. */
export class Verifier {
  readonly #world: World;
  readonly #rng: Prng;
  #active = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("verifies");
  }

  begin(): void {
    this.#active = true;
    if (this.#world.swarm.verifyGapUs !== undefined)
      this.#scheduleNext(this.#world.swarm.verifyGapUs);
  }

  end(): void {
    this.#active = false;
  }

  #scheduleNext(gapUs: number): void {
    this.#later(this.#rng.exponential(gapUs), () => {
      const line = this.#rng.pick([...this.#world.lines.values()]);
      const scene = sceneOf(this.#world, line, this.#rng);
      if (scene !== undefined) this.#ask(scene);
      this.#scheduleNext(gapUs);
    });
  }

  #ask(scene: Scene): void {
    const isRepairing = this.#rng.chance(0.2);
    ask(scene, isRepairing, (isBegun) => {
      if (isBegun) this.#poll(scene);
    });
  }

  #poll(scene: Scene): void {
    this.#later(pollUs, () => {
      const walk = walkOf(scene);
      if (walk?.isRunning === true) return this.#poll(scene);
      // A disk that fails a write leaves a difference, which is dirty, and brought over when the volume is repaired (F15).
      if (walk !== undefined && !this.#world.hadDiskErrors) judgeWalk(scene, walk, []);
    });
  }

  #later(delayUs: number, run: () => void): void {
    this.#world.scheduler.after(delayUs, undefined, eventKind.operator, () => {
      if (this.#active) run();
    });
  }
}

/** A copy that is well, and the primary that feeds it. */
type Scene = {
  readonly world: World;
  readonly line: Line;
  readonly primary: Machine;
  readonly life: number;
  readonly copy: string;
};

function sceneOf(world: World, line: Line, rng: Prng): Scene | undefined {
  const primary = primaryOf(world, line);
  const life = primary?.process?.life;
  const status = primary === undefined ? undefined : world.status(primary, line.group.name);
  const copies = (status?.copies ?? []).filter(({ state }) => isWellState(state));
  if (primary === undefined || life === undefined || copies.length === 0) return undefined;
  if (primary.name !== line.oracle.reign.site) return undefined;
  return { world, line, primary, life, copy: rng.pick(copies).site };
}

function ask(
  { world, line, primary, copy }: Scene,
  repair: boolean,
  done: (isBegun: boolean) => void,
): void {
  world.count("operator:verify");
  const command = { kind: "verify", group: line.group.name, copy, repair } as const;
  world.command(primary.name, command, (outcome) => done(outcome?.ok === true));
}

/** What the primary says of the walk; undefined where the process that was asked is not there any more. */
function walkOf(scene: Scene): VerifyStatus | undefined {
  return copyOf(scene)?.verify;
}

function copyOf({
  world,
  line,
  primary,
  life,
  copy,
}: Scene): GroupStatus["copies"][number] | undefined {
  if (primary.process?.life !== life) return undefined;
  const status = world.status(primary, line.group.name);
  return status?.copies.find(({ site }) => site === copy);
}

// ------------------------------------------------------------------------------------ what has rotted

/** A bit that turned over at rest, in the middle of a sector, where only a compare of all bytes sees it. */
type Rot = {
  readonly site: string;
  readonly volume: number;
  readonly sector: number;
  readonly atByte: number;
  /** What it has been since. */
  readonly byte: number;
  /** Newest write of the sector when it rotted. */
  readonly writeId: number;
};

type Place = Pick<Rot, "site" | "volume" | "sector" | "atByte">;

/**
 * Once the faults are over: blocks of a copy rot, or of its primary, and a walk must find each of them and nothing else; then
 * one that repairs must mend them, while hosts write on. What is left shows when the images are compared at the end.
 */
export function verifyPhase(world: World): void {
  const rng = world.rng.fork("verify phase");
  if (!rng.chance(phaseShare)) return;
  world.runFor(8e6, () => allWell(world));
  const line = rng.pick([...world.lines.values()]);
  const scene = sceneOf(world, line, rng);
  if (!allWell(world) || scene === undefined || world.failed()) return;
  // What rots is not what a branch is judged by.
  const own = world.rawStatus(world.machine(scene.copy), line.group.name);
  if (own?.copies[0]?.branch !== undefined) return;
  const rots: Rot[] = [];
  // What a repair takes from a rotten primary, another copy would not have.
  const isCopy = rng.chance(0.8) || line.sites.length > 2;
  const site = isCopy ? scene.copy : scene.primary.name;
  for (let i = rng.below(4); i > 0; i -= 1) {
    const rot = decay(scene, site, rng);
    if (rot !== undefined) rots.push(rot);
  }
  world.count(`phases:verify${rots.length === 0 ? ", nothing rotten" : ""}`);
  for (let tries = 0; tries < triesMax && !world.failed(); tries += 1) {
    if (!walk(scene, false, rots)) continue;
    if (rots.length > 0 && !walk(scene, true, rots)) continue;
    // It is lost and found again, so that its next session brings over what differed.
    world.runFor(walkUsMax, () => allWell(world));
    return line.rotten.clear();
  }
  // Nobody could walk to the end: what is rotten stays so, unless somebody mends it. A start may have, out of its staging.
  for (const rot of rots) if (byteAt(world, line, rot) === rot.byte) flip(world, line, rot);
  line.rotten.clear();
}

/** Walks through; false where the walk did not come to an end. */
function walk(scene: Scene, repair: boolean, rots: readonly Rot[]): boolean {
  const { world } = scene;
  let isBegun: boolean | undefined;
  ask(scene, repair, (answer) => (isBegun = answer));
  world.runFor(walkUsMax, () => isBegun !== undefined);
  world.runFor(walkUsMax, () => walkOf(scene)?.isRunning !== true);
  const seen = walkOf(scene);
  if (isBegun !== true || seen === undefined || seen.isRunning) return false;
  return judgeWalk(scene, seen, rots);
}

/** Turns a bit over in a sector whose content is on both sides' disks; undefined where none was found. */
function decay(scene: Scene, site: string, rng: Prng): Rot | undefined {
  const { world, line } = scene;
  const applied = copyOf(scene)?.applied ?? 0;
  for (let draws = 0; draws < drawsMax; draws += 1) {
    const volume = rng.below(line.group.volumes.length);
    const sector = rng.below((line.group.volumes[volume]?.bytes ?? 0) / sectorBytes);
    const atByte = rng.between(64, sectorBytes - 64);
    const newest = newestOf(line, volume, sector);
    const write = line.oracle.writes[newest];
    // The same bit turned over twice is no rot.
    if (line.rotten.has(keyOf(volume, sector))) continue;
    if (
      write !== undefined &&
      (write.ackedTick === Infinity || (write.request?.lsn ?? 0) > applied)
    )
      continue;
    const place = { site, volume, sector, atByte };
    if (!isAtRest(world, line, place)) continue;
    flip(world, line, place);
    const rot = { ...place, byte: byteAt(world, line, place), writeId: newest };
    line.rotten.add(keyOf(volume, sector));
    world.tell(site, () => `disk: a bit of volume ${volume} sector ${sector} turns over`);
    world.countFault("rot");
    return rot;
  }
  return undefined;
}

// What is still to be synced lies in memory alone, and would be written over what turned over on the platter.
function isAtRest(world: World, line: Line, rot: Place): boolean {
  const atByte = rot.sector * sectorBytes + rot.atByte;
  const unsynced = imageOf(world, line, rot)?.unsynced ?? [];
  return unsynced.every(({ offset, length }) => atByte < offset || atByte >= offset + length);
}

function imageOf(world: World, { group }: Line, { site, volume }: Place): Inode | undefined {
  const name = imageName(group.name, group.volumes[volume]?.name ?? "");
  return inodeAt(world.machine(site).disk.state, imagesPath, name, "current");
}

function byteAt(world: World, line: Line, rot: Place): number {
  const inode = imageOf(world, line, rot);
  const into = new Uint8Array(1);
  if (inode !== undefined) readInode(inode, "current", rot.sector * sectorBytes + rot.atByte, into);
  return into[0] ?? 0;
}

function flip(world: World, line: Line, rot: Place): void {
  const inode = imageOf(world, line, rot);
  if (inode === undefined) return;
  for (const pages of [inode.current, inode.durable])
    flipPageBit(pages, rot.sector * sectorBytes + rot.atByte);
}

function newestOf({ oracle }: Line, volume: number, sector: number): number {
  return oracle.history(volume, sector).at(-1)?.id ?? 0;
}

/** No write has gone over it since. One that was refused before it had a place in the order has not. */
function isUntouched({ oracle }: Line, { volume, sector, writeId }: Rot): boolean {
  const history = oracle.history(volume, sector);
  const since = history.slice(history.findIndex(({ id }) => id === writeId) + 1);
  return since.every((write) => lsnOf(write) === 0);
}

/** A walk that saw everything has found every rotten sector that nobody has written since, and no region without one. */
function judgeWalk(scene: Scene, walk: VerifyStatus, rots: readonly Rot[]): boolean {
  const { world, line, copy } = scene;
  if (walk.why !== "") {
    world.count("situations:verify ended early");
    return false;
  }
  world.count(`situations:verify ended${walk.differingRegions > 0 ? ", found something" : ""}`);
  world.count("checks:I34");
  const { regionBytes } = line.group;
  const report = (what: string): void => world.report("I34", `verify of ${copy} ${what}`);
  if (walk.comparedBytes !== walk.totalBytes)
    report(`ended with ${walk.comparedBytes} of ${walk.totalBytes} bytes compared`);
  const regionOf = (volume: string, byte: number): string =>
    `${volume} region ${Math.floor(byte / regionBytes)}`;
  const found = new Set<string>();
  for (const { volume, offset, length } of walk.ranges)
    for (let at = offset; at < offset + length; at += regionBytes) found.add(regionOf(volume, at));
  const rotten = new Set<string>();
  for (const rot of rots) {
    const region = regionOf(line.group.volumes[rot.volume]?.name ?? "", rot.sector * sectorBytes);
    rotten.add(region);
    if (!found.has(region) && isUntouched(line, rot))
      report(
        `did not find volume ${rot.volume} sector ${rot.sector}, which has rotted at ${rot.site}`,
      );
  }
  for (const region of found)
    if (!rotten.has(region)) report(`says that ${region} differs, where nothing was ever rotten`);
  return true;
}
