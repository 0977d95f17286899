import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { compareHistories, currentGeneration, generationCounter } from "#core/history.ts";
import { markBytes } from "#core/region-map.ts";
import { growVolume, saveRecord, syncOpenMaps } from "#store/group-store.ts";
import type { GrowOpen, PeerRefusal, SessionOpen } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import { setConfig } from "./configuration.ts";
import type { CopyRun } from "./copy-run.ts";
import { followTerms, reopen, settleAside, unitOf } from "./copy-unit.ts";
import { emit, imageOf } from "./group-context.ts";
import { fail, knownRecord } from "./group.ts";
import type { Group } from "./group.ts";
import { refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { zeroStored } from "./zero-stored.ts";

// How a site's volumes become larger (SPEC-mirror.md, Growing a volume): the image, then the record, both durable, and then
// whoever runs here. A copy is asked by its primary (site/resize.ts), or finds that the primary of a session has more than it.

type Done = (why: string | undefined) => void;
type DeviceDone = (failure: IoFailure | undefined) => void;

/** Image, then record; `done` gets why that could not be done. Nobody writes to the new part before it was called. */
export function growHere(group: Group, index: number, bytes: number, done: Done): void {
  const { context } = group;
  const { store } = context;
  const { name, bytes: before } = must(store.record.volumes[index], "a volume of the record");
  if (bytes <= before) return done(undefined);
  imageOf(group.context, index).grow(bytes, (failure) => {
    if (failure !== undefined) return done(failure.message);
    if (group.isStopping) return done("this site is stopping");
    growVolume(store, index, bytes);
    setConfig(group, group.config);
    saveRecord(store, (notSaved) => {
      // Whether it is on the disk cannot be known: nothing of this group rests on that record any more.
      if (notSaved !== undefined) {
        const why = `the group's record cannot be written: ${notSaved.message}`;
        if (group.run === undefined) fail(group, why);
        else group.run.submit({ kind: "storeFailed", what: notSaved.message });
        return done(why);
      }
      const why = `${before} bytes -> ${bytes} bytes`;
      emit(context, { kind: "grown", volume: name, why });
      group.copy?.grown(index, bytes);
      group.run?.submit({ kind: "grown", volume: index, bytes });
      done(undefined);
    });
  });
}

// ------------------------------------------------------------------------------- the primary asks

/** The primary of the group is about to make a volume larger. */
export function growAsked(group: Group, peer: Peer, open: GrowOpen): void {
  const { record } = group.context.store;
  const no = (code: PeerRefusal["code"], why: string): void =>
    refusePeer(peer, code, why, knownRecord(group).history);
  const relation = compareHistories(open.history, record.history);
  const isPrimary = currentGeneration(open.history)?.site === peer.site;
  if (relation === "behind" || relation === "diverged" || !isPrimary)
    return no("not-a-copy", `${peer.site} is not the primary of this site`);
  if (relation === "same" && open.incarnation < record.incarnation)
    return no("stale", `${peer.site} has been started again since`);
  const index = record.volumes.findIndex(({ name }) => name === open.volume);
  const volume = record.volumes[index];
  if (volume === undefined) return no("not-a-copy", `there is no volume ${open.volume}`);
  if (group.failedWhy !== "") return no("not-a-copy", group.failedWhy);
  if (group.copy === undefined || group.isStopping)
    return no("busy", `${group.context.site} is no copy now`);
  if (group.isChangingRole) return no("busy", "a change of role is under way");
  const refused = imageOf(group.context, index).whyNotGrow(open.bytes);
  if (refused !== undefined && open.bytes > volume.bytes) return no("not-a-copy", refused.message);
  if (!open.isWanted) return sendDocument(peer, frameType.opened, {});
  growAll(group, [{ index, bytes: open.bytes }], (why) => {
    if (why === undefined) sendDocument(peer, frameType.opened, {});
    else no("not-a-copy", why);
  });
}

type Wanted = { readonly index: number; readonly bytes: number };

// No role changes meanwhile: the record has one size before it and another one after it.
function growAll(group: Group, wanted: readonly Wanted[], done: Done): void {
  group.isChangingRole = true;
  const [first, ...more] = wanted;
  const end: Done = (why) => {
    group.isChangingRole = false;
    group.tooSmallWhy = why ?? "";
    done(why);
    followTerms(group);
  };
  if (first === undefined) return end(undefined);
  growHere(group, first.index, first.bytes, (why) => {
    if (why !== undefined || more.length === 0) end(why);
    else growAll(group, more, done);
  });
}

// ------------------------------------------------------------------------------- a session begins

/**
 * A primary is about to feed this copy, and its volumes have other sizes. Where they have more, the copy grows first; where
 * they have less (a growth that its primary never took up, or forgot), what is beyond them reads as zeros again, as what is
 * new must. Gives why the session has to wait, or "".
 */
export function fitVolumes(group: Group, copy: CopyRun, { site }: Peer, open: SessionOpen): string {
  const { record } = group.context.store;
  const larger: Wanted[] = [];
  const smaller: Wanted[] = [];
  record.volumes.forEach((volume, index) => {
    const bytes = open.volumes[index]?.bytes ?? volume.bytes;
    if (bytes > volume.bytes) larger.push({ index, bytes });
    if (bytes < volume.bytes) smaller.push({ index, bytes });
  });
  if (larger.length > 0) return growFirst(group, larger);
  const tenure = `${generationCounter(open.history)}.${open.incarnation}`;
  const sizes = smaller.map(({ index, bytes }) => `${index}:${bytes}`);
  const key = [site, tenure, ...sizes].join(" ");
  if (smaller.length === 0 || group.zeroedFor === key) return "";
  zeroBeyond(group, copy, smaller, key);
  return "about to give up what is beyond the volumes of its primary";
}

function growFirst(group: Group, larger: readonly Wanted[]): string {
  const { tooSmallWhy } = group;
  growAll(group, larger, (why) => {
    if (why === undefined || why === tooSmallWhy) return;
    const message = `the volumes here are smaller than those of the primary: ${why}`;
    emit(group.context, { kind: "configuration", copy: group.context.site, why: message });
  });
  return tooSmallWhy === ""
    ? "about to grow to what its primary has"
    : `its volumes are smaller than those of the primary: ${tooSmallWhy}`;
}

// Sets that are complete here come first, or they would write there later.
function zeroBeyond(group: Group, copy: CopyRun, smaller: readonly Wanted[], key: string): void {
  const why = "what is beyond the volumes of its primary is given up";
  settleAside(group, copy, why, () =>
    zeroAll(group, smaller, (failure) => {
      if (group.isStopping) return;
      if (failure !== undefined) {
        group.isChangingRole = false;
        return fail(group, `what is beyond its volumes cannot be zeroed: ${failure}`);
      }
      group.zeroedFor = key;
      copy.dispose();
      reopen(group, unitOf(copy));
    }),
  );
}

function zeroAll(group: Group, [first, ...more]: readonly Wanted[], done: Done): void {
  if (first === undefined) return done(undefined);
  const { context } = group;
  const { store, site: copy } = context;
  const { map } = must(store.openMaps[first.index], "each volume has an open map");
  const { name } = must(store.record.volumes[first.index], "a volume of the record");
  let storedBytes = 0;
  const mark = (offset: number, length: number, marked: DeviceDone): void => {
    storedBytes += length;
    markBytes(map, offset, length);
    syncOpenMaps(store, marked);
  };
  zeroStored({ image: imageOf(group.context, first.index), mark }, first.bytes, (failure) => {
    if (failure !== undefined) return done(failure.message);
    const why = `its primary has ${first.bytes} bytes of ${name}: ${storedBytes} bytes that were stored beyond are zeros now`;
    if (storedBytes > 0) emit(context, { kind: "configuration", copy, volume: name, why });
    zeroAll(group, more, done);
  });
}
