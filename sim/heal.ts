import { aloneBefore } from "#core/branch.ts";
import { foreignDisk } from "#core/members.ts";
import type { GroupStatus } from "#site/api.ts";
import { hasSets, muchKept } from "./checkers/sets.ts";
import { isWellState } from "./line.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import { primaryOf, promote } from "./operator.ts";
import { lacksOnDevice } from "./run-state.ts";
import { dropBranch, giveUp } from "./settler.ts";
import { withPreserve } from "./swarm-preserve.ts";
import { differences } from "./image-view.ts";
import type { World } from "./world.ts";

/** How long a healed world may take to come to rest, in virtual time (I31). */
const convergeUsMax = 120e6;
const stepUs = 200e3;
/** Images are synced after a while without sets, and logs with heartbeats. */
const logsUs = 8e6;
const stalledUs = 40e6;
/** How often, while it heals, an operator looks whether somebody must be told to go on. */
const patienceUs = 3e6;

/**
 * The second phase: hosts finish, and with no more faults every copy must become synchronized, every map empty, every
 * request answered. An operator does what only an operator may: resumes copies that wait for a word, promotes where no site
 * is primary any more, repairs failed volumes.
 */
export function converge(world: World): void {
  for (const host of world.hosts) host.active = false;
  const deadlineUs = world.scheduler.nowUs + convergeUsMax;
  let lastHelpUs = world.scheduler.nowUs;
  while (!world.failed() && world.scheduler.nowUs < deadlineUs) {
    world.runFor(stepUs);
    for (const machine of world.machines.values()) {
      machine.start();
      world.look(machine);
    }
    if (atRest(world)) {
      // Logs are let go a little after what is in them was applied; what hosts still wait for may be on its way to a copy.
      const isUnderWay = world.hosts.some((host) => host.tasks.size > 0);
      const lines = [...world.lines.values()];
      if (isUnderWay || lines.some(hasSets)) world.runFor(logsUs);
      // What the kernel is still at, a stalled sync for one, holds that up.
      world.runFor(stalledUs, () => lines.every((line) => muchKept(world, line) === undefined));
      world.count("phases:at rest");
      return;
    }
    if (world.scheduler.nowUs - lastHelpUs >= patienceUs) {
      lastHelpUs = world.scheduler.nowUs;
      for (const line of world.lines.values()) help(world, line);
    }
  }
  if (world.failed()) return;
  for (const machine of world.machines.values()) {
    world.tell(machine.name, () => `status: ${JSON.stringify(machine.site?.status().groups)}`);
  }
  world.report(
    "I31",
    `not at rest ${convergeUsMax / 1e6} s after all faults ended: ${blockers(world).join("; ")}`,
  );
}

function atRest(world: World): boolean {
  return blockers(world).length === 0;
}

/** What still keeps a world from rest, in words. */
function blockers(world: World): string[] {
  const found: string[] = [];
  for (const host of world.hosts) {
    // Nothing may be acked without a strict copy, and that one waits for the operator's word.
    if (host.tasks.size > 0 && !isSplitStrict(world, world.line(host.shape.group)))
      found.push(`${host.name} waits for ${host.tasks.size} requests`);
  }
  for (const { command, site } of world.commands)
    found.push(`${site} has not answered ${command.kind}`);
  for (const line of world.lines.values()) found.push(...blockersOf(world, line));
  return found;
}

function blockersOf(world: World, line: Line): string[] {
  const primary = primaryOf(world, line);
  const status = primary === undefined ? undefined : world.status(primary, line.group.name);
  if (primary === undefined || status === undefined)
    return [`group ${line.group.name} has no primary`];
  if (!status.serving) return [`${primary.name} does not serve: ${status.why}`];
  if (isBeyondRepair(world, line, status)) return [];
  const found: string[] = [];
  const everyone = world.rawStatus(primary, line.group.name)?.copies ?? [];
  // What a copy, or a bunker, with another history may lack stays open until the operator has decided.
  const isSplit = everyone.some((copy) => copy.state === "split-brain");
  if (status.openGranules > 0 && !isSplit)
    found.push(`${status.openGranules} granules are open at ${primary.name}`);
  if (status.requestsInFlight > 0 && !isSplitStrict(world, line))
    found.push(`${status.requestsInFlight} requests are in flight at ${primary.name}`);
  for (const volume of status.volumes) {
    const { name, link, deviceLagBytes } = volume;
    if (lacksOnDevice(volume))
      found.push(`the device of ${name} is ${link} and lacks ${deviceLagBytes} bytes`);
    if (volume.state !== "ok")
      found.push(`volume ${volume.name} is ${volume.state} at ${primary.name}`);
  }
  for (const copy of status.copies) {
    if (copy.state === "split-brain" && haveDiverged(world, line, primary.name, copy.site)) {
      if (isSettled(world, line, primary.name)) found.push(`copy ${copy.site} is in split brain`);
      continue;
    }
    if (!isWellState(copy.state)) found.push(`copy ${copy.site} is ${copy.state} (${copy.why})`);
    else if (copy.dirtyBytes > 0)
      found.push(`copy ${copy.site} is ${copy.state} with ${copy.dirtyBytes} dirty bytes`);
    // Sets that are on their way, or staged and not applied, are no rest yet.
    else if (copy.state === "streaming" && (copy.applied < status.lsn || copy.lagWrites > 0))
      found.push(
        `copy ${copy.site} is streaming, ${copy.lagWrites} writes behind, applied ${copy.applied} of ${status.lsn}`,
      );
  }
  for (const { site, mode, state, why } of everyone)
    if (mode === "bunker" && state !== "streaming" && !mayStandSplit(world, line, site, state))
      found.push(`bunker ${site} is ${state} (${why})`);
  return found;
}

/** Of the logs of another history those are given up that have somebody to be told, in favour of the line's. */
function mayStandSplit(world: World, line: Line, site: string, state: string): boolean {
  const isTold =
    world.machines.has(site) && primaryOf(world, line)?.name === line.oracle.reign.site;
  return state === "split-brain" && !isTold;
}

/** In half of the worlds the operator ends split brains; in the others they stand at the end, and nothing is copied. */
function isSettled(world: World, line: Line, primary: string): boolean {
  const isDrawn = world.rng.fork(`settles ${line.group.name}`).chance(0.5);
  return isDrawn && primary === line.oracle.reign.site;
}

/** Whether a copy has been primary, or has acked alone, in a way that the primary's history does not continue (U57). */
function haveDiverged(world: World, line: Line, primary: string, copy: string): boolean {
  const mine = world.inspector(primary, line).record("current");
  const its = world.inspector(copy, line).record("current");
  if (mine.kind !== "found" || its.kind !== "found") return line.diverged.has(copy);
  const hasOtherTenure = its.record.history.some(
    ({ id }, place) => mine.record.history[place]?.id !== id,
  );
  // What it was about to ack alone when it went down is on record before the ack, and counts as acked; so does what was
  // open when it took over, of which no map tells whether a host was told (SPEC-branch.md). What its successor had does not.
  const wasAlone = aloneBefore(its.record, mine.record.history).length > 0;
  return line.diverged.has(copy) || hasOtherTenure || wasAlone;
}

/** The disk forgot acked writes, and no copy ever had a whole image: nobody can help but by starting anew. */
function isBeyondRepair(world: World, line: Line, status: GroupStatus): boolean {
  const isFailed = status.volumes.some((volume) => volume.state === "failed");
  return (
    world.hadDiskErrors &&
    isFailed &&
    status.copies.every((copy) => copy.image !== "synchronized" && !line.of(copy.site).well)
  );
}

/**
 * Some site that holds itself for the primary waits for a strict copy, and that one for the operator's word: or it follows the
 * other side by now, and cannot answer.
 */
function isSplitStrict(world: World, line: Line): boolean {
  return line.sites.some((site) => {
    const status = world.status(world.machine(site), line.group.name);
    const isTorn = status?.role === "primary" && (status.splits ?? []).length > 0;
    return status?.copies.some(
      ({ site: copy, state }) =>
        line.group.copies.get(copy)?.onLoss !== "continue" &&
        (state === "split-brain" || (isTorn && !isWellState(state))),
    );
  });
}

function help(world: World, line: Line): void {
  const group = line.group.name;
  const primary = primaryOf(world, line);
  if (primary === undefined) {
    // Whoever carries the line is asked first; by force only when nobody else can.
    const { reign } = line.oracle;
    const heir = reign.number === 0 ? line.group.primary : reign.site;
    promote(world, line, { site: heir, force: false }, (promoted) => {
      if (!promoted) promote(world, line, { site: heir, force: true }, () => undefined);
    });
    return;
  }
  const status = world.status(primary, group);
  if (status?.serving === false && isDistrusted(world, status.why)) restart(world, primary.name);
  for (const volume of status?.volumes ?? []) {
    if (volume.state !== "failed") continue;
    world.command(primary.name, { kind: "repair", group, volume: volume.name }, (outcome) => {
      // A disk that forgot acked writes: the hint says to let a copy take over.
      if (outcome?.ok === false && outcome.code === "unsafe")
        replacePrimary(world, line, primary.name);
    });
  }
  for (const copy of world.rawStatus(primary, group)?.copies ?? []) {
    // Without its relay's log a copy is fed by nobody: that one is always given up.
    if (
      copy.state === "split-brain" &&
      (copy.mode === "bunker" || isSettled(world, line, primary.name))
    )
      giveUp(world, line, copy.site, (why) => {
        // It has been in a split brain before: the hint says to let go of what it keeps of that.
        if (why.includes("keeps a branch already")) dropBranch(world, line, copy.site);
      });
    if (/keeps its branch fills/.test(copy.why)) dropBranch(world, line, copy.site);
    else if (/of preserve\.bytesMax/.test(copy.why)) giveRoom(world, group, primary.name);
    else if (isDistrusted(world, copy.why) || hasLostDevice(world, copy.why))
      restart(world, copy.site);
    else if (copy.mode === "bunker" && /started again|cannot be used/.test(copy.why))
      restart(world, copy.site);
    if (isWellState(copy.state) || copy.state === "resync" || copy.state === "split-brain")
      continue;
    if (copy.why.endsWith(foreignDisk)) {
      // Whom nobody had fed before a takeover: its disk is blank to the new primary, and filled when that is confirmed.
      world.count("situations:blank disk confirmed");
      const confirm = { kind: "resync", group, copy: copy.site, full: true } as const;
      world.command(primary.name, confirm, () => undefined);
      continue;
    }
    world.command(primary.name, { kind: "resume", group, copy: copy.site }, () => undefined);
  }
}

/**
 * A file that a disk failed to write is not trusted again by the same process, and its operator is told so. A staging log is
 * not among them: the copy begins anew by itself.
 */
function isDistrusted(world: World, why: string): boolean {
  const isSaid =
    /cannot be kept|(?:image|map|record|records|log) (?:here )?cannot be written|of the image here failed|cannot be recorded/.test(
      why,
    );
  return world.hadDiskErrors && isSaid;
}

/** A copy's image that lies on a device has lost it: only a new process takes it again (SPEC-gateway.md, limits). */
function hasLostDevice({ swarm }: World, why: string): boolean {
  return swarm.devices !== undefined && /is used no more/.test(why);
}

function restart(world: World, site: string): void {
  world.count("situations:site restarted");
  world.machine(site).kill();
  world.machine(site).start();
}

/** A preserve log is full: more room for it, or no points any more. */
function giveRoom(world: World, group: string, primary: string): void {
  const isGivenUp = world.rng.fork(`room by ${primary} ${world.scheduler.nowUs}`).chance(0.5);
  world.count(`situations:preserve log full, ${isGivenUp ? "point given up" : "room made"}`);
  for (const machine of world.machines.values()) {
    machine.file = withPreserve(machine.file, isGivenUp ? 0 : undefined);
    if (isGivenUp) world.withoutPoints.add(machine.name);
  }
  world.command(primary, { kind: "reload", group, dryRun: false }, () => undefined);
}

function replacePrimary(world: World, line: Line, primary: string): void {
  const group = line.group.name;
  const successor = line.sites.find((site) => site !== primary);
  world.count("situations:primary replaced");
  world.command(primary, { kind: "demote", group, dryRun: false }, () => {
    if (successor === undefined) return;
    promote(world, line, { site: successor, force: false }, (promoted) => {
      if (!promoted) promote(world, line, { site: successor, force: true }, () => undefined);
    });
  });
}

/** The third phase: images byte for byte, then a clean stop of every site. */
export function stopAll(world: World): void {
  compareImages(world);
  world.troubleUs = world.scheduler.nowUs;
  const machines = [...world.machines.values()];
  for (const machine of machines) machine.isRetired = true;
  // A process that was begun in this very moment has no site yet that could be stopped.
  world.runFor(1e6, () => machines.every(({ process, site }) => !process === !site));
  // One that is still starting ends its start with that.
  world.expectStartFailures = true;
  world.isStopping = true;
  const stopping = new Set(machines.filter(({ site }) => site !== undefined));
  for (const machine of stopping) machine.site?.stop(() => stopping.delete(machine));
  // The process of one whose start ends with the stop is gone before that stop is over.
  const missing = (): Machine[] => [...stopping].filter(({ site }) => site !== undefined);
  world.runFor(30e6, () => missing().length === 0);
  if (world.failed()) return;
  for (const { name } of missing()) world.report("N7", `${name} did not finish a clean stop`);
  // What the kernel is still at, a stalled sync for one, may end; nothing else may come.
  world.runFor(15e6);
  for (const checker of world.checkers) checker.onStopped?.();
}

function compareImages(world: World): void {
  for (const line of world.lines.values()) {
    const { reign } = line.oracle;
    for (const site of line.sites) {
      if (site === reign.site || !line.of(site).well) continue;
      const [first, second] = [reign.site, site].map((name) => ({
        disk: world.machine(name).disk.state,
        view: "current" as const,
      }));
      if (first === undefined || second === undefined) continue;
      world.count("checks:I31");
      for (const { volume, sector } of differences(first, second, line.group, 1)) {
        world.report(
          "I31",
          `at rest, ${reign.site} and ${site} differ in volume ${volume} sector ${sector}`,
        );
      }
    }
  }
}
