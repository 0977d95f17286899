import { hex } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { blankMember } from "#core/group-record.ts";
import { withTenure } from "#core/history.ts";
import { heldThrough, isWholeImage } from "#core/promotion.ts";
import { createRegionMap, mark, orInto } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import { createDirtyMaps, saveRecord } from "#store/group-store.ts";
import type { CopyRun } from "./copy-run.ts";
import { dropBranch } from "./branch-run.ts";
import { emit } from "./group-context.ts";
import { becomePrimary, describe, endTrouble, fail } from "./group.ts";
import type { Group } from "./group.ts";
import { policiesOf } from "./policies.ts";
import { dropPoint, revert, whenIdle } from "./preserve-run.ts";
import { renewImages } from "./renew-images.ts";

// A copy becomes the primary. What is here is brought to the end of a whole set, or back to the preserved point; the new
// generation is on record, together with what every other member may lack, before the first write.

/**
 * Makes this site the primary of a new generation. What every other member may lack is durable together with the
 * generation, before the first write (row 20, decision 4). `from` is who hands the role over, and so lacks nothing itself.
 */
export function promote(
  group: Group,
  { from }: { readonly from: string | undefined },
  done: (failure: string | undefined) => void,
): void {
  group.isChangingRole = true;
  const copy = group.copy;
  const promoted = (): void => recordPromotion(group, from, done);
  if (copy === undefined) return promoted();
  copy.close("this site is being promoted");
  if (group.context.store.record.preservedPoint !== undefined)
    return goBack(group, copy, promoted, done);
  // Complete sets belong to the image, and what follows them is given up (U50).
  const settled = (why: string | undefined): void => {
    if (why !== undefined && copy.copy.preserveFailure !== "")
      return giveUpKept(group, copy, () => copy.settle(settled), done);
    if (why !== undefined) {
      group.isChangingRole = false;
      return done(`the sets that are complete here cannot be applied: ${why}; ${wayOn(group)}`);
    }
    // What the old primary sent and is being written must not appear after hosts have read here.
    copy.whenQuiet(() => renewFailed(group, promoted, done));
  };
  copy.settle(settled);
}

/**
 * What a branch was to keep cannot be saved, and holds up what is complete here. A promotion gives the branch up anyway, by
 * force (SPEC-branch.md): now before that is applied, durably, since what is overwritten then is in no log.
 */
function giveUpKept(
  group: Group,
  copy: CopyRun,
  goOn: () => void,
  done: (failure: string | undefined) => void,
): void {
  whenIdle(copy.preserve, () =>
    dropBranch(group.context, "given up by a promotion", (failure) => {
      if (failure !== undefined) {
        fail(group, `the group's record cannot be written: ${failure}`);
        return done(failure);
      }
      dropPoint(copy.preserve, "branch");
      copy.letGo();
      goOn();
    }),
  );
}

// What is complete is in the staging log still; a process whose image has failed does not write to it again.
function wayOn({ context: { site }, name }: Group): string {
  return `start ${site} again once its disk is sound: they are applied anew, and antipode promote ${name} goes on`;
}

/** The image is in the midst of a resync: it is taken back to what it was before, and nothing that came since is applied. */
function goBack(
  group: Group,
  copy: CopyRun,
  promoted: () => void,
  done: (failure: string | undefined) => void,
): void {
  const end = (failure: string | undefined): void => {
    if (failure === undefined) return promoted();
    // A restart finishes what was begun.
    fail(group, failure);
    done(failure);
  };
  copy.abandon(() =>
    renewImages(group.context, (failure) => {
      if (failure === undefined) revert(copy.preserve, end);
      else end(failure);
    }),
  );
}

// A volume whose sync has failed would serve nobody: what it reads is made durable first. The copy is as it was if that fails.
function renewFailed(
  group: Group,
  promoted: () => void,
  done: (failure: string | undefined) => void,
): void {
  renewImages(group.context, (failure) => {
    if (failure === undefined) return promoted();
    group.isChangingRole = false;
    done(failure);
  });
}

function recordPromotion(
  group: Group,
  from: string | undefined,
  done: (failure: string | undefined) => void,
): void {
  const { context } = group;
  const { record } = context.store;
  const id = hex(context.ports.crypto.randomBytes(8));
  group.recordBefore = { ...record };
  const heldLsn = heldThrough(record);
  record.history = withTenure(record.history, context.site, id, {
    atMs: context.ports.clock.wallMs(),
    ...(isWholeImage(record) ? { isWhole: true } : {}),
    ...(heldLsn === undefined ? {} : { heldLsn }),
  });
  record.role = "primary";
  record.image = "synchronized";
  record.toldOfFracture = undefined;
  record.failedVolumes = [];
  // What a journal of an earlier tenure holds is of no order that follows this one; so are sets that were staged.
  delete record.journalId;
  delete record.stagingId;
  delete record.applied;
  delete record.unjournaled;
  delete record.reverted;
  delete record.handover;
  delete record.discarding;
  delete record.branch;
  delete record.replayed;
  delete record.heldBack;
  const failure = markMembers(group, from);
  if (failure !== undefined) {
    group.failedWhy = unrecorded(failure);
    return done(failure.message);
  }
  saveRecord(context.store, (notSaved) => {
    if (notSaved !== undefined) {
      // Whether the new generation is on the disk cannot be known: this site says nothing until it is started again.
      group.failedWhy = unrecorded(notSaved);
      return done(notSaved.message);
    }
    group.isChangingRole = false;
    group.recordBefore = undefined;
    if (group.copy !== undefined) dropPoint(group.copy.preserve, "branch");
    group.copy?.dispose();
    group.copy = undefined;
    endTrouble(group);
    emit(context, { kind: "role", from: "secondary", to: "primary", why: describe(context) });
    becomePrimary(group, false, () => {
      tellSilent(group);
      done(group.failedWhy === "" ? undefined : group.failedWhy);
    });
  });
}

/**
 * All sites were asked before the promotion. Whoever was silent for a whole timeout by then is not given a second one before
 * hosts are served.
 */
function tellSilent({ run, config, context: { inquiries, site: own } }: Group): void {
  for (const { site } of policiesOf(config, own)) {
    const { downSinceMs, refuses, why } = inquiries.of(site);
    if (downSinceMs !== undefined && refuses !== true) run?.siteDown(site, why);
  }
}

function unrecorded({ message }: IoFailure): string {
  return `a promotion here cannot be recorded: ${message}; this site must be started again`;
}

function markMembers(group: Group, from: string | undefined): IoFailure | undefined {
  const { context, config } = group;
  const { record, openMaps, dirtyMaps } = context.store;
  // In the midst of a resync nobody has told this site yet what the other members lack: they are compared throughout.
  // Nor does one that went back know what they had when it was there: a primary of old forgets that as it becomes a copy.
  const { image, reverted } = group.recordBefore ?? record;
  const isTold = reverted === undefined && (image === "synchronized" || image === "consistent");
  for (const policy of policiesOf(config, context.site)) {
    // A site that was primary before may know that this member lacks more than is open here.
    const known = record.members[policy.site];
    const lacks = dirtyMaps.get(policy.site);
    const phase = known?.phase === "blank" ? "blank" : "dirty";
    const fresh = { stoppedWhy: "", splitBrain: false, syncedLsn: 0, fullConfirmed: false };
    const member = { ...(known ?? blankMember()), ...fresh, phase } as const;
    record.members[policy.site] = member;
    // Nothing is dirty towards a site that keeps no volume: its log begins anew in the new tenure (U40).
    if (policy.mode.unit === "record") continue;
    const maps = config.volumes.map((volume, index) => {
      const dirty = createRegionMap(volume.bytes, record.regionBytes);
      for (const onDisk of [openMaps[index], lacks?.[index]]) {
        if (onDisk !== undefined) orInto(dirty, onDisk.map);
      }
      if (!isTold) mark(dirty, 0, dirty.units - 1);
      return dirty;
    });
    // Acks of before are not on record here, but whatever a member may lack of them is open (decisions 4 and 9).
    if (isTold && member.phase === "dirty" && policy.site !== from && maps.some(hasMarks))
      record.members[policy.site] = { ...member, mayLackEarlier: true };
    const failure = createDirtyMaps(context.store, policy.site, maps);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

function hasMarks({ count }: RegionMap): boolean {
  return count > 0;
}
