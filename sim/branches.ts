import type { EventRecord } from "#ports/events.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { cloneDiskState } from "./disk-state.ts";
import type { DiskState } from "./disk-state.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import type { World } from "./world.ts";

// Branches from outside (SPEC-branch.md): what an image was when its own writes began to be overwritten, by the
// operator's word.

/** What the operator gave up at a site, as the world knows it. */
export type GivenUp = {
  /**
   * The site had acked writes that the line lacks: until the word is on record, and again after it is taken back,
   * nobody may overwrite them.
   */
  readonly hadDiverged: boolean;
  /** Its last generation when the word was given. */
  readonly tenure: string | undefined;
  /** Its disk when the other side's primary began to feed it: its images are the branch. */
  disk: DiskState | undefined;
  /** The branch was on record, and nobody has let it go since, brought it back, or promoted its site. */
  isKept: boolean;
  /** It has been fed to the end: its image is of the line, and has nothing of what was given up. */
  isOverwritten: boolean;
};

/** The operator's word, given or taken back, and the moment at which the branch is made. */
export function noteBranch(world: World, machine: Machine, event: EventRecord): void {
  const line = world.lines.get(event.group);
  if (line === undefined) return;
  const key = keyOf(line, machine.name);
  const record = recordOf(world, line, machine.name, "current");
  if (event.kind === "discard" && event.why.startsWith("gives up ")) {
    const hadDiverged = line.diverged.delete(machine.name);
    line.forgetSurplus(machine.name);
    if (hadDiverged) world.count("situations:acked writes given up");
    const tenure = record?.history.at(-1)?.id;
    const image = { disk: undefined, isKept: false, isOverwritten: false };
    world.givenUp.set(key, { hadDiverged, tenure, ...image });
  }
  if (event.kind === "discard" && event.why.startsWith("takes the image of "))
    line.wentBack(machine.name, record !== undefined && record.image !== "synchronizing");
  const given = world.givenUp.get(key);
  if (given === undefined) return;
  if (event.kind === "discard" && event.why.includes("are not given up") && given.hadDiverged)
    line.diverged.add(machine.name);
  // The taking back came too late: the word holds, on record, or as the history that the site has taken over.
  const hasWord = record?.discarding !== undefined || record?.history.at(-1)?.id !== given.tenure;
  if (event.kind === "discard" && event.why.startsWith("has failed: ") && hasWord)
    line.diverged.delete(machine.name);
  if (event.kind === "branch" || event.kind === "promote") given.isKept = false;
  if (event.kind !== "image") return;
  if (
    event.to === "synchronizing" &&
    record?.branch === undefined &&
    record?.discarding !== undefined
  )
    given.disk = cloneDiskState(machine.disk.state);
  if (event.from === "synchronizing" && event.why.startsWith("everything up to "))
    given.isOverwritten = given.disk !== undefined;
  if (!event.why.startsWith("the branch is back")) return;
  // Whatever it had acked: its image is of no state of the line's, and nobody may overwrite it again without a word.
  given.isKept = false;
  given.isOverwritten = false;
  line.diverged.add(machine.name);
}

/** A site that has gone down may have forgotten a word that was not on record, or the taking back of one. */
export function noteDown(world: World, line: Line, machine: Machine): void {
  const given = world.givenUp.get(keyOf(line, machine.name));
  const record = recordOf(world, line, machine.name, "current");
  if (given === undefined || record === undefined || !given.hadDiverged) return;
  const isUntouched = record.history.at(-1)?.id === given.tenure && record.branch === undefined;
  if (record.discarding !== undefined) line.diverged.delete(machine.name);
  else if (isUntouched && line.tenure !== given.tenure) line.diverged.add(machine.name);
}

/**
 * What the site acked off the line was given up, and is nowhere any more but in a branch that may be kept aside; unless whoever
 * has these tenures followed it then, and still does.
 */
export function isOverwritten(
  world: World,
  line: Line,
  site: string,
  tenures: readonly string[],
): boolean {
  const given = world.givenUp.get(keyOf(line, site));
  if (line.diverged.has(site) || given?.isOverwritten !== true) return false;
  return given.tenure === undefined || !tenures.includes(given.tenure);
}

export function keyOf(line: Line, site: string): string {
  return `${line.group.name}@${site}`;
}

export function recordOf(
  world: World,
  line: Line,
  site: string,
  view: "current" | "durable",
): GroupRecord | undefined {
  const found = world.inspector(site, line).record(view);
  return found.kind === "found" ? found.record : undefined;
}
