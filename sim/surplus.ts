import type { GroupRecord } from "#core/group-record.ts";
import { recordOf } from "./branches.ts";
import type { ImageView } from "./image-view.ts";
import type { Line } from "./line.ts";
import type { WriteRecord } from "./oracle.ts";
import type { World } from "./world.ts";

// Whose acked writes nobody may overwrite without an operator's word. The rule, from the specification:
//
// Who takes over (by force, at a preserved point, from a partition) makes its image the line, and what hosts were told of and
// that image lacks is gone there. It need not be gone elsewhere: every site that was ever primary may hold it still, and not
// the last of them alone. Of each such site decision 9 asks what its state towards the promoted copy was when it acked.
//
// - It fed that copy (`streaming`, `synchronized`): the site is a returning primary, and what lies above the fork is resynced
//   away. The promotion was the operator's word, and its plan named the loss (decision 7).
// - It had lost that copy (`buffering`, `fractured`) and acked more: both sides served; or each has a tenure that the other
//   lacks (U57). The forced promotion does not settle that, since whoever gave it could not know of those writes. The site
//   has to stop as `split-brain`, and nothing is copied (I29) until the operator names it (`discard`) or promotes it.
//
// Who stands between the two makes no difference: a successor that had everything carries the writes on, and a later one that
// began without them loses them, though it was not the first. Only what the promoted copy itself lacks counts, and only as
// long as the site that was primary has followed nobody since: fed by another primary it is a copy of that one, who answers
// for what both hold. What an earlier primary acked counts also at a later one that began with a whole image, and took it
// over (SPEC-branch.md, "Acks of earlier tenures").

/**
 * A copy that takes over makes the line lack acked writes: notes every site that was primary, and holds such as were acked
 * without that copy. To be asked when its promotion is on record, and again before its image is the state of the line.
 */
export function noteSurplus(world: World, line: Line, heir: string): void {
  const ours = recordOf(world, line, heir, "current");
  const tenure = ours?.history.at(-1)?.id;
  if (ours === undefined || tenure === undefined) return;
  const found = line.surplus.get(tenure) ?? new Set();
  line.surplus.set(tenure, found);
  if (line.of(heir).missed.size === 0) return;
  const lost = lostPlaces(line, heir, world.imagesOf(heir, line));
  if (lost.length === 0) return;
  for (const site of line.sites) {
    const own = recordOf(world, line, site, "current");
    if (site === heir || own === undefined || !isReturning(own)) continue;
    const image = world.imagesOf(site, line);
    const overtakers = overtakersOf(line, own, ours);
    const isHeld = lost.some(
      ({ write, sector }) =>
        (write.site === site || answersForEarlier(line, own)) &&
        overtakers.every((other) => line.of(other).missed.has(write)) &&
        holds(image, write, sector),
    );
    if (!isHeld || found.has(site)) continue;
    const isLast = site === line.oracle.reign.site;
    world.count(`situations:surplus of ${isLast ? "the last primary" : "an earlier primary"}`);
    found.add(site);
  }
}

/** A sector of an acked write, where the new state of the line lacks it. */
type LostPlace = { readonly write: WriteRecord; readonly sector: number };

function lostPlaces(line: Line, heir: string, image: ImageView): LostPlace[] {
  const lost: LostPlace[] = [];
  for (const write of line.of(heir).missed) {
    for (let i = 0; i < write.sectors; i += 1) {
      const sector = write.sector + i;
      if (lacks(line, image, write, sector)) lost.push({ write, sector });
    }
  }
  return lost;
}

function lacks({ oracle }: Line, image: ImageView, write: WriteRecord, sector: number): boolean {
  if (oracle.isLost(write, sector)) return false;
  const candidates = oracle.candidates(write.volume, sector, image.held(write.volume, sector));
  return candidates.every((one) => oracle.isSurelyOlder(one, write));
}

/** A zeroing cannot be told from what was never written, and is not looked for. */
function holds(image: ImageView, { id, volume }: WriteRecord, sector: number): boolean {
  const held = image.held(volume, sector);
  return held.kind === "write" && held.id === id;
}

/** The site was the last primary of its history: nobody has fed it since, and nobody has given up what it wrote. */
function isReturning({ history, site, discarding }: GroupRecord): boolean {
  return history.at(-1)?.site === site && discarding === undefined;
}

/** Who began with an image from before does not know what others lack of what had been acked then: their ackers hold that. */
function answersForEarlier(line: Line, { history }: GroupRecord): boolean {
  return line.begunWhole.has(history.at(-1)?.id ?? "");
}

/**
 * Whose promotions the line has not judged yet, of those that followed a site's last tenure: several where some served nobody,
 * and then it cannot be told which of them has lost a write.
 */
function overtakersOf(line: Line, own: GroupRecord, ours: GroupRecord): readonly string[] {
  const judged = [own.history.at(-1)?.id, line.tenure];
  const from = ours.history.findLastIndex(({ id }) => judged.includes(id));
  return [...ours.history.slice(from + 1).map(({ site }) => site), ours.site];
}
