import type { GroupStatus } from "#site/api.ts";
import { isOverwritten } from "./branches.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import type { Claim } from "./oracle.ts";
import { claimedPoint } from "./points.ts";
import {
  generationsSince,
  isApart,
  losesAll,
  lostIdOf,
  sitesAhead,
  sitesBefore,
  tenuresOf,
} from "./succession.ts";
import { noteSurplus } from "./surplus.ts";
import type { World } from "./world.ts";

// A process begins to serve: is its image what was promised, to hosts (N1, I2, I3, I6) and to the operator (I33)?

/** Who begins to serve, and whether that is the primary of before, started again. */
export type Serving = {
  readonly machine: Machine;
  readonly status: GroupStatus;
  readonly restart: boolean;
};

/** Judges the image that a process begins to serve with, before the oracle takes it for the state of the line. */
export function judgeServing(
  world: World,
  line: Line,
  { machine, status, restart }: Serving,
): void {
  const { reign } = line.oracle;
  const { name } = machine;
  const key = `${line.group.name}@${name}`;
  const forced = world.forced.has(key);
  const how = forced ? ", by force" : "";
  world.tell(
    name,
    () => `serves group ${line.group.name} in generation ${status.generation}${how}`,
  );
  if (reign.number === 0 || world.isClone) return;
  const sites = sitesBefore(world, name, line);
  const tenures = tenuresOf(world, name, line);
  const chosen = sitesAhead(world, name, line).filter(
    (site) => !isOverwritten(world, line, site, tenures),
  );
  if (!restart && line.diverged.delete(name)) world.count("situations:branch chosen");
  if (!restart) line.forgetSurplus(name);
  // Where the operator has chosen a branch, what it acked by itself is the line from now on.
  const isAdopted =
    !restart && line.oracle.adoptBranch(new Set(chosen), machine.process?.life ?? -1);
  const isBranch = isAdopted || (!restart && isApart(world, name, line));
  // A site that forks from before the line has not diverged from those that it follows: only from what it gives up.
  const forks = isBranch || (!restart && generationsSince(world, name, line) === 0);
  if (forks) for (const site of sites) line.diverged.delete(site);
  // A primary that served nobody came between: what its promotion gave up is gone, and was said then.
  const isUnseen = !restart && generationsSince(world, name, line) > 1;
  const tenure = world.tenureOf(machine, line, status);
  if (!restart && beginsWhole(world, key)) line.begunWhole.add(tenure);
  const point = restart || isUnseen || isBranch ? undefined : claimedPoint(world, line, name);
  const asked = (forced && losesAll(world, line, name)) || isUnseen || isBranch;
  const claim = point ?? (restart ? line.restartClaim(name) : line.takeoverClaim(name, asked));
  if (point !== undefined) world.count("situations:takeover of a preserved point judged");
  const kind = asked ? "forced takeover judged" : "takeover judged";
  world.count(`situations:${restart ? "restart judged" : kind}`);
  judgeImage(world, line, { name, restart, claim });
  if (forced || isBranch) line.chosenByForce(name);
  const askedTick = world.lossless.get(key);
  if (!restart && world.lossless.delete(key) && !isUnseen)
    judgeLossless(world, line, name, { ...claim, allAckedBefore: askedTick ?? Infinity });
  if (!restart) {
    noteSurplus(world, line, name);
    for (const site of line.surplus.get(tenure) ?? []) line.diverged.add(site);
  }
  world.forced.delete(key);
}

/** A primary that answers nobody yet, or nobody any more, still says who does not take part; and it may feed who returns. */
export function noteWaiting(world: World, machine: Machine, line: Line, status: GroupStatus): void {
  const { reign } = line.oracle;
  const tenure = world.tenureOf(machine, line, status);
  if (tenure !== line.tenure) {
    const isNew = !line.surplus.has(tenure) && !line.isFormer(tenure);
    if (isNew && reign.number > 0 && !world.isClone) noteSurplus(world, line, machine.name);
  } else if (reign.site === machine.name) line.observeAbsent(status);
}

/** By what a site said of its image when its promotion was announced. */
function beginsWhole(world: World, key: string): boolean {
  const image = world.claimedImage.get(key);
  return (image === "consistent" || image === "synchronized") && !world.claimedPoint.has(key);
}

function judgeImage(
  world: World,
  line: Line,
  { name, restart, claim }: { name: string; restart: boolean; claim: Claim },
): void {
  const lostId = lostIdOf(claim, restart);
  const findings = line.oracle.judge(world.imagesOf(name, line), claim);
  // A copy that takes sets syncs what it has before it is promoted.
  if (claim.sets !== undefined) line.oracle.joined(-1, line.of(name).bit);
  for (const { id, message } of findings)
    world.report(id === "lost" ? lostId : id, `at the start of a reign: ${message}`);
}

/** The plan of the promotion said that nothing is lost: then every ack from before it was asked for must be kept (I33). */
function judgeLossless(world: World, line: Line, site: string, claim: Claim): void {
  world.count("checks:I33");
  const all: Claim = { ...claim, mayHoldLost: true, cut: false };
  for (const { id, message } of line.oracle.judge(world.imagesOf(site, line), all)) {
    if (id === "lost")
      world.report("I33", `the plan of the promotion said that nothing is lost: ${message}`);
  }
}
