import { groupOfPathBunker } from "#base/path-bunker.ts";
import { raised } from "#ports/events.ts";
import type { EventRecord } from "#ports/events.ts";
import type { Checker } from "../checker.ts";
import type { Line } from "../line.ts";
import type { Machine } from "../machine.ts";
import type { World } from "../world.ts";

/** A site may look at its clock only once a tick, and an event needs its time. */
const slackMs = 400;
/** Terms of a site that was the first primary, which the file does not name. */
const usual = { timeoutMs: 3000, probeMs: 500 };

/** What a process has raised and not taken back. */
type Raised = {
  readonly life: number;
  node: string | undefined;
  /** Volumes, each with the site that it has failed at. */
  readonly volumes: Map<string, string>;
};

/** That a process has long been fed by a primary, and so must have heard of it; since when it is known to run. */
type Known = {
  readonly life: number;
  readonly sinceUs: number;
  fed: { site: string; atUs: number } | undefined;
};

/**
 * Whoever is not the primary raises by name that its node is gone or that a volume of it has failed, within the bound, takes it
 * back when that is over, and cries no wolf (I35; SPEC B7).
 */
// oxlint-disable-next-line max-lines-per-function -- what a checker remembers stays with the hooks that use it.
export function primaryFailureChecker(world: World): Checker {
  const raisedAt = new Map<string, Raised>();
  const knownAt = new Map<string, Known>();
  const downUs = new Map<string, number>();
  const failedUs = new Map<string, number>();

  function of(line: Line, { name, process }: Machine): Raised {
    const key = `${line.group.name}@${name}`;
    const life = process?.life ?? -1;
    let found = raisedAt.get(key);
    if (found?.life !== life) {
      found = { life, node: undefined, volumes: new Map() };
      raisedAt.set(key, found);
    }
    return found;
  }

  function note(machine: Machine, line: Line, event: EventRecord): void {
    const own = of(line, machine);
    const [named = ""] = event.why.split(",");
    if (event.kind === raised.volumeFailed) own.volumes.set(event.volume ?? "", named);
    if (event.kind === raised.recovered && event.volume !== undefined)
      own.volumes.delete(event.volume);
    if (event.kind === raised.recovered && event.volume === undefined) own.node = undefined;
    if (event.kind !== raised.nodeFailed) return;
    own.node = named;
    const links = linksOf(world, machine.name, own.node);
    const { process } = world.machine(own.node);
    const quietMs = (world.scheduler.nowUs - world.troubleUs) / 1000;
    const isQuiet = quietMs > 2 * noticeMsOf(world, line, machine.name) + 2000;
    world.count("checks:I35");
    if (!isQuiet || process === undefined || process.paused || links.some(({ down }) => down))
      return;
    world.report(
      "I35",
      `${machine.name} says that ${own.node} does not answer (${event.why}) though nothing had gone wrong for ${Math.round(quietMs)} ms`,
    );
  }

  // A session carries no views: whoever has been fed for a while has been answered too.
  function observe(line: Line, machine: Machine): Known | undefined {
    const { nowUs } = world.scheduler;
    const life = machine.process?.life ?? -1;
    const key = `${line.group.name}@${machine.name}`;
    let known = knownAt.get(key);
    if (known?.life !== life) {
      known = { life, sinceUs: nowUs, fed: undefined };
      knownAt.set(key, known);
    }
    const status = world.rawStatus(machine, line.group.name);
    // Whoever has been primary meanwhile has asked nobody about an earlier one.
    if (status?.role === "primary") known.fed = undefined;
    if (status === undefined || status.role === "primary" || status.why !== "") return undefined;
    const isFed = status.copies[0]?.isFed === true;
    if (known.fed?.site !== status.primary) known.fed = undefined;
    if (isFed) known.fed ??= { site: status.primary, atUs: nowUs };
    return known;
  }

  function judge(line: Line, machine: Machine): void {
    const known = observe(line, machine);
    if (known?.fed === undefined || machine.process?.paused !== false || world.isStopping) return;
    const { fed } = known;
    const primary = world.machine(fed.site);
    const links = linksOf(world, machine.name, fed.site);
    const awakeUs = Math.max(known.sinceUs, machine.process.releasedUs);
    const boundUs = noticeMsOf(world, line, machine.name) * 1050;
    const { nowUs } = world.scheduler;
    const changedUs = Math.max(...links.map((link) => (link.down ? link.changedUs : 0)));
    const isSilent = primary.process === undefined || changedUs > 0;
    const silentUs = Math.max(
      awakeUs,
      changedUs,
      primary.process === undefined ? (downUs.get(fed.site) ?? 0) : 0,
    );
    if (isSilent && silentUs - fed.atUs > boundUs && nowUs - silentUs > boundUs) {
      world.count("checks:I35");
      if (of(line, machine).node !== fed.site)
        world.report(
          "I35",
          `${fed.site}, the primary, has been silent for ${Math.round((nowUs - silentUs) / 1000)} ms, and ${machine.name} has not raised it`,
        );
    }
    if (!isSilent)
      judgeVolumes(
        line,
        machine,
        primary,
        Math.max(awakeUs, ...links.map((link) => link.changedUs)),
      );
  }

  function judgeVolumes(line: Line, machine: Machine, primary: Machine, sinceUs: number): void {
    const status = world.rawStatus(primary, line.group.name);
    if (status?.role !== "primary" || primary.process?.paused !== false) return;
    const boundUs = noticeMsOf(world, line, machine.name) * 1050;
    for (const { name, state } of status.volumes) {
      const at = failedUs.get(`${line.group.name}@${primary.name} ${primary.process.life} ${name}`);
      const knownUs = Math.max(sinceUs, at ?? Infinity, primary.process.releasedUs);
      if (state !== "failed" || world.scheduler.nowUs - knownUs <= boundUs) continue;
      world.count("checks:I35");
      if (!of(line, machine).volumes.has(name))
        world.report(
          "I35",
          `volume ${name} has failed at ${primary.name}, the primary, and ${machine.name} has not raised it`,
        );
    }
  }

  function noteFailed(line: Line, machine: Machine): void {
    for (const { name, state } of world.rawStatus(machine, line.group.name)?.volumes ?? []) {
      const key = `${line.group.name}@${machine.name} ${machine.process?.life} ${name}`;
      if (state !== "failed") failedUs.delete(key);
      else if (!failedUs.has(key)) failedUs.set(key, world.scheduler.nowUs);
    }
  }

  // A disk that a repair cannot mend stays failed to the end.
  function isFailed(line: Line, { name }: Machine, volume: string): boolean {
    const status = world.rawStatus(world.machine(name), line.group.name);
    const primary = world.machines.get(status?.primary ?? "");
    const theirs = primary && world.rawStatus(primary, line.group.name);
    return theirs?.volumes.some((one) => one.name === volume && one.state === "failed") === true;
  }

  // A world may come to rest before a site has asked the primary again.
  function isLongQuiet(line: Line, machine: Machine): boolean {
    const { primary } = world.rawStatus(machine, line.group.name) ?? { primary: "" };
    const asked = world.machines.get(primary);
    if (asked?.process === undefined || machine.process === undefined) return false;
    const links = linksOf(world, machine.name, primary).map(({ changedUs }) => changedUs);
    const sinceUs = Math.max(asked.process.releasedUs, machine.process.releasedUs, ...links);
    return world.scheduler.nowUs - sinceUs > 2 * noticeMsOf(world, line, machine.name) * 1000;
  }

  return {
    ids: ["I35"],
    onDown(machine) {
      downUs.set(machine.name, world.scheduler.nowUs);
    },
    onEvent(machine, event) {
      const line = world.lines.get(event.group);
      if (line !== undefined) note(machine, line, event);
    },
    onSample() {
      for (const line of world.lines.values()) {
        for (const site of membersOf(line)) noteFailed(line, world.machine(site));
        for (const site of membersOf(line)) judge(line, world.machine(site));
      }
    },
    onRest() {
      for (const line of world.lines.values())
        for (const site of membersOf(line)) {
          const machine = world.machine(site);
          const { node, volumes } = of(line, machine);
          const { role, primary } = world.rawStatus(machine, line.group.name) ?? {};
          if (role === "primary" || !isLongQuiet(line, machine)) continue;
          world.count("checks:I35");
          // Of an earlier primary nothing is of interest any more.
          const over = [...volumes]
            .filter(([volume, at]) => at === primary && !isFailed(line, machine, volume))
            .map(([volume]) => volume);
          if (node !== undefined && node === primary) over.push(node);
          if (over.length > 0)
            world.report(
              "I35",
              `at rest, ${site} has not taken back that ${over.join(" ")} failed`,
            );
        }
    },
  };
}

// A log on a path is kept by no site.
function membersOf({ group }: Line): readonly string[] {
  const members = [group.primary, ...group.copies.keys()];
  return members.filter((member) => groupOfPathBunker(member) === undefined);
}

function linksOf({ network }: World, one: string, other: string) {
  return [network.link(one, other), network.link(other, one)];
}

/** Sites of several groups are asked once for all of them. */
function noticeMsOf(world: World, { group }: Line, site: string): number {
  const terms = [...world.lines.values()].flatMap((line) => [...line.group.copies.values()]);
  const all = group.copies.has(site) ? terms : [...terms, usual];
  return Math.max(...all.map(({ timeoutMs, probeMs }) => timeoutMs + 2 * probeMs)) + slackMs;
}
