import assert from "node:assert/strict";
import { before, test } from "node:test";
import { limits } from "#base/limits.ts";
import type { CopyMode } from "#config/types.ts";
import type { CommandOutcome, CopyStatus, GroupStatus, SiteCommand } from "#site/api.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import { allCheckers } from "./checkers/all.ts";
import { setLimits } from "./knobs.ts";
import { createPrng } from "./prng.ts";
import { allWell } from "./run-state.ts";
import { quietSwarm } from "./scripts.ts";
import { drawSetLimits } from "./swarm-sets.ts";
import { World } from "./world.ts";

// What a copy says of itself and of its primary while nobody feeds it: a person may reach this site alone.

let createSite: (options: SiteOptions) => Site;

before(async () => {
  ({ createSite } = await import("#site/site.ts"));
});

/** East and west run, all is well, and a host has written. */
function begun(mode: CopyMode, label: string, checkers = allCheckers): World {
  const quiet = quietSwarm("flush");
  const [group] = quiet.config.groups.values();
  const west = group?.copies.get("west");
  assert.ok(group !== undefined && west !== undefined);
  const copies = new Map([["west", { ...west, mode }]]);
  const groups = new Map([["bank", { ...group, copies }]]);
  const drawn = { ...quiet.limits, ...drawSetLimits(createPrng(label)), lsnReserve: 1 << 20 };
  setLimits(drawn);
  const world = new World({
    label: `${label} ${mode}`,
    swarm: { ...quiet, limits: drawn, config: { ...quiet.config, groups } },
    createSite,
    checkers,
    story: { told: true, linesMax: 400 },
    counters: new Map(),
  });
  for (const machine of world.machines.values()) machine.start();
  until(world, "all is well", () => allWell(world));
  write(world, 4);
  write(world, 24);
  until(world, "west has it", () => ownOf(world).applied >= seen(world, "east").lsn);
  return world;
}

function until(world: World, what: string, condition: () => boolean): void {
  world.runFor(60e6, condition);
  const words = `${what}\n${world.story.tail().slice(-40).join("\n")}`;
  assert.deepEqual(world.findings, [], words);
  assert.ok(condition(), words);
}

function seen(world: World, site: string): GroupStatus {
  const status = world.rawStatus(world.machine(site), "bank");
  assert.ok(status, `${site} says nothing`);
  return status;
}

function ownOf(world: World): CopyStatus {
  const [own] = seen(world, "west").copies;
  assert.ok(own);
  return own;
}

function write(world: World, sector: number): void {
  const acked = (): number => world.counters.get("replies:write ok") ?? 0;
  const before_ = acked();
  world.hosts[0]?.perform({ act: "write", volume: 0, sector, sectors: 8 });
  until(world, `the write at ${sector} is answered`, () => acked() > before_);
}

function command(world: World, site: string, order: SiteCommand): CommandOutcome {
  let answer: CommandOutcome | undefined;
  world.command(site, order, (outcome) => {
    answer = outcome;
  });
  until(world, "the command is answered", () => answer !== undefined);
  return answer as CommandOutcome;
}

/** Nothing comes through between east and west any more, and no connection ends for it. */
function cutBothWays(world: World): void {
  world.troubleUs = world.scheduler.nowUs;
  for (const [from, to] of [
    ["east", "west"],
    ["west", "east"],
  ] as const)
    world.network.setDown(world.network.link(from, to), true);
}

const promotion = { kind: "promote", group: "bank", force: false, dryRun: true } as const;

for (const mode of ["sync", "async"] as const) {
  test(`B12, I33, A14: at a copy (${mode}) the link is that of the inquiry: a session that is gone is no link that is down, and a process that is gone no way`, () => {
    const world = begun(mode, "link");
    assert.deepEqual([ownOf(world).link, ownOf(world).isFed], ["up", true]);
    command(world, "east", { kind: "pause", group: "bank", copy: "west" });
    until(world, "it is fed no more", () => ownOf(world).isFed === false);
    assert.equal(ownOf(world).link, "up");
    assert.match(ownOf(world).why, /no session with east, which answers$|went on without this/);

    world.troubleUs = world.scheduler.nowUs;
    world.machine("east").crash({ kind: "kill" });
    until(world, "nobody listens there", () => ownOf(world).link === "peer-down");
    world.machine("east").start();
    until(world, "east answers", () => ownOf(world).link === "up");
    cutBothWays(world);
    until(world, "the way is gone", () => ownOf(world).link === "wan-down");
  });

  test(`B12, row 38: at a copy (${mode}) of a primary that has failed and lives, why says so, and a promotion is refused with what helps`, () => {
    const world = begun(mode, "failed");
    world.hadDiskErrors = true;
    const { behaviour } = world.machine("east").disk;
    Object.assign(behaviour, { failWrites: Infinity, failSyncs: Infinity });
    // What is on record cannot be written any more: the group ends there, and its process lives.
    command(world, "east", { kind: "pause", group: "bank", copy: "west" });
    until(world, "east has failed", () => seen(world, "east").hasFailed === true);
    until(world, "west is told", () => seen(world, "west").primaryFailure?.failed !== undefined);
    until(world, "it is fed no more", () => ownOf(world).isFed === false);
    const { failed = "" } = seen(world, "west").primaryFailure ?? {};
    assert.match(failed, /cannot be written/);
    assert.equal(ownOf(world).link, "up");
    const refused = command(world, "west", promotion);
    assert.ok(!refused.ok);
    assert.match(refused.message, /^east is the primary, answers, and has failed: .*cannot be/);
    assert.match(refused.hint ?? "", /^stop site east/);
    assert.doesNotMatch(refused.hint ?? "", /demote/);
  });

  test(`B12, I33: a site (${mode}) that was demoted in order tells up to where it has everything, over restarts, too`, () => {
    const world = begun(mode, "demoted");
    const order = { kind: "demote", group: "bank", dryRun: false } as const;
    assert.ok(command(world, "east", order).ok);
    restart(world, "east", []);
    const { lsn, copies } = seen(world, "east");
    assert.equal(copies[0]?.mode, mode, "on the terms of the copy that may follow it");
    assert.deepEqual([lsn, ...marksOf(copies[0])], [2, 2, 2, 2, 2]);
  });
}

for (const mode of ["sync", "async"] as const)
  test(`F11, row 23: a takeover (${mode}) from a primary that is silent waits for one timeout, and serves`, () => {
    // Nobody tells the judges of this takeover.
    const world = begun(mode, "silent", []);
    const { probeMs, timeoutMs } =
      quietSwarm("flush").config.groups.get("bank")?.copies.get("west") ?? {};
    assert.ok(probeMs !== undefined && timeoutMs !== undefined);
    cutBothWays(world);
    const begunUs = world.scheduler.nowUs;
    const { ok } = command(world, "west", { ...promotion, force: true, dryRun: false });
    assert.ok(ok);
    until(world, "west serves", () => seen(world, "west").serving);
    const tookMs = (world.scheduler.nowUs - begunUs) / 1000;
    assert.ok(tookMs <= timeoutMs + 4 * probeMs, `${tookMs} ms`);
    assert.ok(tookMs > timeoutMs / 2, "it was asked before");
  });

test("A12, U58: a site that was not reached since the start was never up, by the events", () => {
  const world = begun("sync", "events");
  const links: string[] = [];
  world.eventWatchers.add(({ kind, from, to }, machine) => {
    if (kind === "link" && machine.name === "east") links.push(`${from} -> ${to}`);
  });
  restart(world, "east", ["west"]);
  until(world, "west is missed", () => links.length > 0);
  world.machine("west").start();
  until(world, "west is reached", () => links.length > 1);
  world.troubleUs = world.scheduler.nowUs;
  world.machine("west").crash({ kind: "kill" });
  until(world, "west is missed again", () => links.length > 2);
  assert.deepEqual(links, ["undefined -> peer-down", "peer-down -> up", "up -> peer-down"]);
});

test("row 53, I33: of a copy whose disk is another one than it was, no image is known", () => {
  // That a disk forgets what it had is what they would report.
  const world = begun("sync", "blank", []);
  world.troubleUs = world.scheduler.nowUs;
  world.machine("west").crash({ kind: "kill" });
  world.machine("west").disk.state.folders.clear();
  world.machine("west").start();
  until(world, "it is stopped", () => lagOf(world).state === "stopped");
  assert.equal(lagOf(world).image, "out-of-sync");
});

test("F15, U58: what a host is refused is no ack in the trace", () => {
  const world = begun("sync", "refused");
  world.hadDiskErrors = true;
  const answers: string[] = [];
  world.traceWatchers.add(({ kind }) => answers.push(kind));
  world.machine("east").disk.behaviour.failWrites = 1;
  world.hosts[0]?.perform({ act: "write", volume: 0, sector: 4, sectors: 8 });
  until(world, "the host has an answer", () => answers.some((kind) => kind.endsWith("-write")));
  assert.deepEqual(
    answers.filter((kind) => kind.endsWith("-write")),
    ["fail-write"],
  );
});

for (const mode of ["sync", "async"] as const)
  test(`I33, trap 5: after a restart of its primary, a paused copy (${mode}) lags by what bytes allow, and not by the numbers in reserve`, () => {
    const world = begun(mode, "lag");
    command(world, "east", { kind: "pause", group: "bank", copy: "west" });
    write(world, 4);
    // A mirror may lack what it has not synced, too.
    const most = mode === "sync" ? 3 : 1;
    const before_ = lagOf(world);
    assert.deepEqual([before_.lagWrites, before_.isLagCounted], [most, undefined]);
    restart(world, "east", []);
    until(world, "it serves", () => seen(world, "east").serving);
    const { lagWrites, isLagCounted, lagBytes } = lagOf(world);
    assert.equal(isLagCounted, false);
    assert.ok(lagBytes > 0 && lagWrites > 0, `${lagBytes} bytes and ${lagWrites} writes`);
    assert.ok(lagWrites <= lagBytes / limits.hostBlockBytesMin, `${lagWrites} writes`);
    assert.ok(lagWrites < seen(world, "east").lsn - 2, "the reserve is larger than that");
  });

function lagOf(world: World): CopyStatus {
  const [west] = seen(world, "east").copies;
  assert.ok(west);
  return west;
}

test("B12, I33: a copy of sets tells what it has after a restart that nobody follows, and so does its plan", () => {
  const world = begun("async", "restarted");
  // All of it is on record by then.
  world.runFor(3e6);
  restart(world, "west", ["east"]);
  assert.deepEqual([seen(world, "west").lsn, ...marksOf(ownOf(world))], [2, 2, 2, 2, 2]);
  assert.match(planOf(world), /has everything that is known of, up to LSN 2/);
});

test("B12, I33: a copy of sets tells what it has while a session with it is being opened, too", () => {
  const world = begun("async", "opening");
  world.runFor(3e6);
  const lowest = { complete: Infinity };
  restart(world, "west", []);
  until(world, "it is fed", () => {
    lowest.complete = Math.min(lowest.complete, ownOf(world).complete);
    return ownOf(world).isFed === true;
  });
  assert.equal(lowest.complete, 2);
});

test("B12, I33: a mirror that was not fed since its restart names no LSN in its plan, since it knows none", () => {
  const world = begun("sync", "restarted");
  assert.match(planOf(world, ["east"]), /held everything until [\d.]+ s ago \(LSN 2\); nothing/);
  restart(world, "west", ["east"]);
  const plan = planOf(world);
  assert.match(
    plan,
    /held everything until the last contact, before this process started; nothing/,
  );
  assert.doesNotMatch(plan, /LSN 0/);
});

/** The site is killed and started again, and these are killed with it. */
function restart(world: World, site: string, others: readonly string[]): void {
  world.troubleUs = world.scheduler.nowUs;
  for (const name of [site, ...others]) world.machine(name).crash({ kind: "kill" });
  world.machine(site).start();
  until(world, `${site} has started`, () => world.machine(site).started);
}

/** What a promotion of west would do, after these were killed. */
function planOf(world: World, killed: readonly string[] = []): string {
  world.troubleUs = world.scheduler.nowUs;
  for (const name of killed) world.machine(name).crash({ kind: "kill" });
  // Whether east answers is known here by then.
  until(world, "east is missed", () => ownOf(world).link !== "up");
  const outcome = command(world, "west", promotion);
  assert.ok(outcome.ok, outcome.ok ? "" : `${outcome.message}; ${outcome.hint}`);
  return outcome.plan.join("\n");
}

function marksOf(copy: CopyStatus | undefined): readonly (number | undefined)[] {
  return [copy?.received, copy?.staged, copy?.complete, copy?.applied];
}
