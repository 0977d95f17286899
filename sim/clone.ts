import type { EventRecord } from "#ports/events.ts";
import { recordOf } from "./branches.ts";
import { cloneDiskState, keeps, losePower } from "./disk-state.ts";
import type { DiskState, Keep } from "./disk-state.ts";
import type { StepWatcher } from "./disk.ts";
import { allCaughtUp } from "./run-state.ts";
import { differences } from "./image-view.ts";
import type { Line } from "./line.ts";
import { logsOf } from "./log-view.ts";
import type { Claim } from "./oracle.ts";
import { promote } from "./operator.ts";
import { differsFromPoint, pointOnRecord } from "./points.ts";
import type { KeptPoint } from "./points.ts";
import type { Prng } from "./prng.ts";
import { runUntilServing } from "./run-until-serving.ts";
import { eventKind } from "./scheduler.ts";
import { World } from "./world.ts";

/** What the world looked like at the instant of a clone: disks, and what each site owed. */
type Snapshot = {
  readonly name: string;
  readonly disks: ReadonlyMap<string, DiskState>;
  readonly bootIds: ReadonlyMap<string, string>;
  readonly where: string;
  /** Promises per group and site, frozen: the world goes on meanwhile. */
  readonly promises: readonly Promises[];
};

type Promises = {
  readonly line: Line;
  /** The oracle's time of the snapshot: what was acked later is not asked for. */
  readonly tick: number;
  readonly primary: string;
  readonly restart: Claim;
  readonly takeovers: ReadonlyMap<string, Takeover>;
};

type Takeover = {
  readonly claim: Claim;
  readonly participant: boolean;
  /** What the site may be taken back to: the point on its record, or that it is going back to. */
  readonly point: KeptPoint | undefined;
};

type Crashes = ReadonlyMap<string, "kill" | Keep>;

const recoverUsMax = 60e6;
/**
 * What converges in a clone does so within two seconds, mostly within one; what has not by then waits for the word of an
 * operator (a split brain, a preserve log that is full), whom a clone has not, and nothing is judged.
 */
const convergeUsMax = 15e6;

/**
 * "What if they died now?" At random instants, and in the midst of persistent steps, the disks of all sites are cloned; in
 * the clone everybody has crashed, and either all restart or a copy takes over. The oracle judges the clone, then it is
 * thrown away (PROOF §4.2). One seed so gives several crash tests without losing its own history.
 */
export class Cloner {
  readonly #world: World;
  readonly #rng: Prng;
  readonly #eventRng: Prng;
  readonly #wholeRng: Prng;
  #taken = 0;
  #takenWhole = 0;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork("clones");
    this.#eventRng = world.rng.fork("clones at events");
    this.#wholeRng = world.rng.fork("clones of whole copies");
  }

  begin(): void {
    const { clones, faultsUs } = this.#world.swarm;
    if (clones > 0) this.#world.eventWatchers.add(this.#watch);
    for (let i = 0; i < clones; i += 1) {
      this.#world.scheduler.after(this.#rng.below(faultsUs), undefined, eventKind.watch, () => {
        if (this.#rng.chance(0.3)) this.#take("at a random instant");
        else this.#takeAtStep();
      });
    }
  }

  end(): void {
    this.#taken = Infinity;
    this.#world.eventWatchers.delete(this.#watch);
  }

  // A resync forgets what it has brought over, and its end forgets the rest: whoever forgets too early is found out by a power
  // loss at just that time.
  readonly #watch = (event: EventRecord): void => {
    if (event.kind === "image" && event.to === "consistent") this.#takeWhole();
    if (event.kind !== "image" || !this.#eventRng.chance(0.2)) return;
    if (event.to === "synchronized" || event.to === "consistent")
      this.#take("as a copy records that it is whole");
    if (event.to !== "synchronizing") return;
    this.#world.scheduler.after(this.#eventRng.exponential(20e3), undefined, eventKind.watch, () =>
      this.#take("in the midst of a resync"),
    );
  };

  // Once it is on record that a copy of sets is a state of the past, it may be promoted: it had better be one.
  #takeWhole(): void {
    if (!this.#wholeRng.chance(0.3)) return;
    const afterUs = this.#wholeRng.exponential(2e3);
    this.#world.scheduler.after(afterUs, undefined, eventKind.watch, () => {
      this.#takenWhole += 1;
      this.#take("as a copy is on record as consistent", `${this.#takenWhole} of a whole copy`);
    });
  }

  #takeAtStep(): void {
    const machine = this.#world.machine(this.#rng.pick(this.#world.swarm.sites));
    const at = machine.disk.steps + this.#rng.between(1, 12);
    const when = this.#rng.pick(["before", "after"] as const);
    const watch: StepWatcher = (step, kind, phase) => {
      if (step !== at || phase !== when) return;
      machine.disk.stepWatchers.delete(watch);
      this.#take(`${phase} persistent step ${step} (${kind}) of ${machine.name}`);
    };
    machine.disk.stepWatchers.add(watch);
  }

  // The snapshot is taken at once, in the midst of whatever the engine is doing; the clone runs when that event is over.
  #take(where: string, name?: string): void {
    if (this.#taken === Infinity) return;
    if (name === undefined) this.#taken += 1;
    const snapshot = capture(this.#world, name ?? `${this.#taken}`, where);
    this.#world.scheduler.after(0, undefined, eventKind.watch, () => this.#judge(snapshot));
  }

  #judge(snapshot: Snapshot): void {
    const serving = snapshot.promises.filter(({ line }) => line.oracle.reign.number > 0);
    if (serving.length === 0) return;
    const rng = this.#rng.fork(`clone ${snapshot.name}`);
    const everyonesCrash = rng.pick(["kill", "power", "mixed"] as const);
    const crashes = new Map<string, "kill" | Keep>();
    for (const site of this.#world.swarm.sites) {
      const powerLost =
        everyonesCrash === "power" || (everyonesCrash === "mixed" && rng.chance(0.5));
      crashes.set(site, powerLost ? rng.pick(keeps) : "kill");
    }
    const clone = crashedClone(this.#world, snapshot, crashes, rng);
    const promises = rng.pick(serving);
    this.#world.count(`clones:${everyonesCrash}`);
    if (rng.chance(0.5)) judgeRestart(clone, promises, crashes, rng.chance(0.3));
    else judgeTakeover(clone, promises, crashes, rng);
    for (const { id, message } of clone.findings) {
      const kinds = [...crashes].map(([site, crash]) => `${site} ${crash}`).join(", ");
      this.#world.report(
        id,
        `clone ${snapshot.name}, ${snapshot.where} (crashes: ${kinds}): ${message}`,
      );
    }
    if (clone.failed())
      for (const line of clone.story.tail()) this.#world.tell("clone", () => line);
  }
}

function capture(world: World, name: string, where: string): Snapshot {
  const disks = new Map<string, DiskState>();
  const bootIds = new Map<string, string>();
  for (const machine of world.machines.values()) {
    disks.set(machine.name, cloneDiskState(machine.disk.state));
    bootIds.set(machine.name, machine.bootId);
  }
  const promises = [...world.lines.values()].map((line) => {
    const primary = line.oracle.reign.site;
    const copies = line.sites.filter((site) => site !== primary);
    return {
      line,
      tick: line.oracle.next(),
      primary,
      restart: line.restartClaim(primary === "" ? line.group.primary : primary),
      takeovers: new Map(
        copies.map((site) => [
          site,
          {
            claim: line.takeoverClaim(site, false),
            participant: world.takesPart(site, line),
            point: pointOnRecord(world, line, site),
          },
        ]),
      ),
    };
  });
  return { name, disks, bootIds, where, promises };
}

function crashedClone(world: World, snapshot: Snapshot, crashes: Crashes, rng: Prng): World {
  const bootIds = new Map<string, string>();
  for (const [site, disk] of snapshot.disks) {
    const crash = crashes.get(site) ?? "kill";
    if (crash !== "kill") losePower(disk, crash, rng);
    for (const inode of disk.inodes.values())
      if (inode.isRemote && rng.chance(0.5)) losePower(disk, rng.pick(keeps), rng, inode);
    const bootId = snapshot.bootIds.get(site) ?? "";
    bootIds.set(site, crash === "kill" ? bootId : `${bootId} and another`);
  }
  const clone = new World({
    label: `${world.label}/clone ${snapshot.name}`,
    swarm: world.swarm,
    createSite: world.createSite,
    checkers: [],
    story: { told: world.story.told, linesMax: 200 },
    counters: world.counters,
    clone: { startUs: world.scheduler.nowUs, disks: snapshot.disks, bootIds },
  });
  clone.expectStartFailures = world.expectStartFailures;
  return clone;
}

function crashedClaim(claim: Claim, crash: "kill" | Keep, tick: number): Claim {
  const allAckedBefore = Math.min(claim.allAckedBefore, tick);
  const then: Claim = { ...claim, allAckedBefore, asOf: tick };
  // What a copy has called complete was synced first: a loss of power takes nothing of it.
  if (crash === "kill" || claim.sets !== undefined) return then;
  return { ...then, powerLostAt: tick, cut: false };
}

/** Everybody comes back: the primary must have kept what was promised, and, when asked, everything must converge. */
function judgeRestart(clone: World, promises: Promises, crashes: Crashes, toTheEnd: boolean): void {
  const { line, primary } = promises;
  const crash = crashes.get(primary) ?? "kill";
  if (primary === "") return;
  for (const machine of clone.machines.values()) machine.start();
  const machine = clone.machine(primary);
  const serves = runUntilServing(clone, machine, line.group.name, recoverUsMax);
  if (clone.failed()) return;
  if (!serves) {
    // A site that had lost its role before the crash, or whose disk is broken, need not serve.
    const status = clone.status(machine, line.group.name);
    if (status?.role === "primary")
      clone.report("I31", `${primary} does not serve after a restart: ${status.why}`);
    return;
  }
  clone.count("clones:restart judged");
  judge(clone, line, {
    site: primary,
    claim: crashedClaim(promises.restart, crash, promises.tick),
    lostId: crash === "kill" ? "I2" : "N1",
  });
  if (clone.failed() || !toTheEnd) return;
  clone.runFor(convergeUsMax, () => allCaughtUp(clone));
  if (allCaughtUp(clone)) compareWholeCopies(clone, line);
}

/** The primary's site is gone. The copy must be promotable when it was whole, and then have everything it took part in. */
function judgeTakeover(clone: World, promises: Promises, crashes: Crashes, rng: Prng): void {
  const { line, primary, takeovers } = promises;
  const site = rng.pick([...takeovers.keys()]);
  const copy = takeovers.get(site);
  const crash = crashes.get(site) ?? "kill";
  // A site with writes off the line would go on with its branch, which the oracle of the line knows nothing of.
  if (copy === undefined || line.diverged.has(site)) return;
  const hadPoint = isGoingBack(clone, line, site);
  for (const machine of clone.machines.values()) if (machine.name !== primary) machine.start();
  clone.runFor(recoverUsMax, () => clone.machine(site).started);
  if (!clone.machine(site).started) return;
  // Time for the copy to find out that the primary does not answer.
  clone.runFor(5e6);
  // A site that holds itself for the primary already is a branch, or the line's own heir: there is nothing to take over.
  if (clone.status(clone.machine(site), line.group.name)?.role === "primary") return;
  // A former primary that is back, and has not heard of its successor, has to be demoted first: the refusal says so.
  const others = line.sites.filter((other) => other !== site);
  if (others.some((other) => servesIn(clone, line, other)))
    return clone.count("clones:takeover refused");
  const ends = copy.claim.sets === undefined ? undefined : setEndsAt(clone, line, site);
  let promoted = tryPromote(clone, line, site, false);
  if (clone.failed()) return;
  // A copy of sets may be known to lack writes. What it has then is a state of the past all the same, if it is whole.
  const image = clone.status(clone.machine(site), line.group.name)?.copies[0]?.image;
  const isPast = image === "consistent" && !hasGivenUp(clone, line, site);
  if (promoted === false && copy.claim.sets !== undefined && isPast) {
    clone.count("clones:takeover of sets by force");
    promoted = tryPromote(clone, line, site, true);
    if (clone.failed()) return;
  }
  const hasPoint = image === "synchronizing" || hadPoint;
  if (promoted === false && copy.point !== undefined && hasPoint)
    return judgePoint(clone, line, { site, primary, point: copy.point });
  if (promoted !== true) {
    // Refused for good reason where somebody holds a later generation, though it may never have served in it.
    const outdated = line.sites.some((other) => hasOtherHistory(clone, line, other));
    const isExcused = keepsBranch(clone, line, site) || isInDoubt(clone, line, site);
    if (copy.participant && !outdated && !isExcused)
      clone.report("I30", `${site} took part in every ack and cannot be promoted without force`);
    else clone.count("clones:takeover refused");
    return;
  }
  clone.count("clones:takeover judged");
  judge(clone, line, {
    site: site,
    claim: withEnds(crashedClaim(copy.claim, crash, promises.tick), ends),
    lostId: copy.claim.sets !== undefined ? "I6" : crash === "kill" ? "I3" : "N1",
  });
}

function servesIn(clone: World, line: Line, site: string): boolean {
  const status = clone.status(clone.machine(site), line.group.name);
  return status?.role === "primary" && status.serving;
}

/** By force it would take its word back and go on with its branch, which the oracle of the line knows nothing of. */
function hasGivenUp(clone: World, line: Line, site: string): boolean {
  return recordOf(clone, line, site, "current")?.discarding !== undefined;
}

/** A promotion would give a branch up, and needs the operator's word for that. */
function keepsBranch(clone: World, line: Line, site: string): boolean {
  return recordOf(clone, line, site, "current")?.branch !== undefined;
}

/** A failed sync is on record, and the primary may not have heard of it: what the site may lack needs the operator's word. */
function isInDoubt(clone: World, line: Line, site: string): boolean {
  const failedVolumes = recordOf(clone, line, site, "current")?.failedVolumes ?? [];
  return clone.expectStartFailures && failedVolumes.length > 0;
}

/** The disk says that the site has begun to go back to its point. */
function isGoingBack(clone: World, line: Line, site: string): boolean {
  const found = clone.inspector(site, line).record("current");
  return found.kind === "found" && found.record.preservedPoint?.phase === "undoing";
}

/** Row 11: by force the copy goes back, byte for byte, to what it was when its resync began; then everybody converges. */
function judgePoint(
  clone: World,
  line: Line,
  {
    site,
    primary,
    point,
  }: { readonly site: string; readonly primary: string; readonly point: KeptPoint },
): void {
  if (tryPromote(clone, line, site, true) !== true) {
    const outdated = line.sites.some((other) => hasOtherHistory(clone, line, other));
    if (!outdated && !clone.failed())
      clone.report("I30", `${site} keeps a point and cannot be promoted to it by force`);
    return;
  }
  clone.count("clones:takeover of a preserved point judged");
  const why = differsFromPoint(point, clone.machine(site).disk.state, line, "current");
  if (why !== undefined) clone.report("I30", `${site} was promoted to its point, and ${why}`);
  for (const finding of line.oracle.judge(clone.imagesOf(site, line), point.claim))
    clone.report("I30", `${site} was promoted to its point: ${finding.message}`);
  if (clone.failed()) return;
  clone.machine(primary).start();
  clone.runFor(convergeUsMax, () => allCaughtUp(clone));
  if (!allCaughtUp(clone)) return;
  clone.count("clones:converged behind a point");
  compareWholeCopies(clone, line);
}

/** Where a copy may be after its promotion: at the end of a set that is staged there, or where it is by its record. */
function setEndsAt(clone: World, line: Line, site: string): ReadonlySet<number> | undefined {
  const found = clone.inspector(site, line).record("current");
  const applied = found.kind === "found" ? found.record.applied : undefined;
  if (applied === undefined) return undefined;
  clone.count("checks:I10");
  const { entries } = logsOf(clone, line)(site, "staging", "current");
  const seals = entries.filter(({ kind }) => kind === "seal");
  return new Set([applied.lsn, ...seals.map(({ lsn }) => lsn)]);
}

function withEnds(claim: Claim, ends: ReadonlySet<number> | undefined): Claim {
  const { sets } = claim;
  return sets === undefined || ends === undefined ? claim : { ...claim, sets: { ...sets, ends } };
}

function tryPromote(clone: World, line: Line, site: string, force: boolean): boolean | undefined {
  let promoted: boolean | undefined;
  promote(clone, clone.line(line.group.name), { site, force }, (ok) => (promoted = ok));
  clone.runFor(recoverUsMax, () => promoted !== undefined);
  return promoted;
}

/** The site holds a generation that the line does not know: a later one, or one of another branch. */
function hasOtherHistory(clone: World, line: Line, site: string): boolean {
  const found = clone.inspector(site, line).record("current");
  const last = found.kind === "found" ? found.record.history.at(-1) : undefined;
  return last !== undefined && last.counter >= line.generation && last.id !== line.tenure;
}

function judge(
  clone: World,
  line: Line,
  {
    site,
    claim,
    lostId,
  }: { readonly site: string; readonly claim: Claim; readonly lostId: string },
): void {
  for (const finding of line.oracle.judge(clone.imagesOf(site, line), claim)) {
    clone.report(finding.id === "lost" ? lostId : finding.id, finding.message);
  }
}

function compareWholeCopies(clone: World, line: Line): void {
  const cloned = clone.line(line.group.name);
  const { site: primary } = cloned.oracle.reign;
  for (const site of cloned.sites) {
    if (site === primary || !cloned.of(site).well) continue;
    const [first, second] = [primary, site].map((name) => ({
      disk: clone.machine(name).disk.state,
      view: "current" as const,
    }));
    if (first === undefined || second === undefined) continue;
    clone.count("clones:copies compared");
    for (const { volume, sector } of differences(first, second, line.group, 1)) {
      clone.report(
        "I16",
        `after recovery ${primary} and ${site} differ in volume ${volume} sector ${sector}, and no map said so`,
      );
    }
  }
}
