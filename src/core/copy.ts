import { must, unreachable } from "#base/assert.ts";
import { at, drain, peek, push, shift } from "#base/fifo.ts";
import { hasBit, joined } from "#base/bytes.ts";
import type { Copy, CopyEffect, CopyEvent, CopyVolume, CopyWork } from "./copy-state.ts";
import { generationCounter } from "./history.ts";
import { firstGranule, lastGranule } from "./open-map.ts";
import { overwrites } from "./preserve.ts";
import {
  askPoint,
  dropPoint,
  dueBefore,
  isAllSaved,
  keepNothing,
  keepPoint,
  pointAnswered,
  saveForQueue,
  saved,
} from "./preserve-copy.ts";
import { growCopy } from "./grow.ts";
import { mark, unmark } from "./region-map.ts";

// The machine of a copy. It takes the frames of its one session in the order of the wire and begins none before those
// ahead of it have what they need: a durable bit in the open map before an image write, a durable record before an
// answer that promises one. So the image passes through the primary's own states (I8), and ACK(s) may speak for all up
// to s.

/** Moves the machine by one event. Effects are appended to `out`, to be performed in order. */
export function stepCopy(copy: Copy, event: CopyEvent, out: CopyEffect[]): void {
  switch (event.kind) {
    case "opened":
      endSession(copy, out);
      copy.session = { number: event.session, from: event.from, begun: false, takesSets: false };
      break;
    case "work":
      // A complete set is applied also when nobody feeds us any more.
      if (copy.session !== undefined || isOfSet(event.work)) push(copy.queue, event.work);
      break;
    case "lost":
      endSession(copy, out);
      break;
    case "syncLost":
      return noteLostSync(copy, -1, out);
    case "openMapDurable":
      openMapDurable(copy, event.ticket);
      break;
    case "imageDone":
      imageDone(copy, event, out);
      break;
    case "imagesSynced":
      return imagesSynced(copy, event, out);
    case "compared":
      compared(copy, event, out);
      break;
    case "recorded":
      recorded(copy, event.ticket, out);
      break;
    case "pointMade":
    case "pointNotMade":
      pointAnswered(copy, event, out);
      // Its BEGIN is not begun again.
      if (event.kind === "pointNotMade" && isCurrent(copy, event.work)) endSession(copy, out);
      break;
    case "saved":
      saved(copy, event, out);
      break;
    case "unkept":
      keepNothing(copy, out);
      break;
    case "abandoned":
      return abandon(copy, out);
    case "stable":
      noteReserve(copy, event.lsnReserved, out);
      return closeStable(copy, event.lsn, out);
    case "grown":
      return growCopy(copy, event);
    case "preserveTerms":
      copy.pointsAreKept = event.isKept;
      copy.preserveStepBytes = event.stepBytes;
      return;
    case "toldFractured":
      return told(copy, event.lsn, event.why, out);
    default:
      return unreachable(event);
  }
  goOn(copy, out);
}

// What was begun for a lost session still ends (its image writes, its record); its answers go nowhere. Sets that are being
// applied are complete here, and no business of a session's.
function endSession(copy: Copy, out: CopyEffect[]): void {
  copy.session = undefined;
  for (const fifo of [copy.queue, copy.underWay]) {
    for (const work of drain(fifo)) if (isOfSet(work)) push(fifo, work);
  }
  if (copy.blocked?.on === "read" || copy.blocked?.on === "images") copy.blocked = undefined;
  // What failed for the session held up what was behind it, and never answers again.
  finishOldest(copy, out);
}

function isOfSet(work: CopyWork): boolean {
  return work.set > 0 && (work.kind === "write" || work.kind === "zero" || work.kind === "setEnd");
}

function goOn(copy: Copy, out: CopyEffect[]): void {
  while (copy.blocked === undefined) {
    const work = peek(copy.queue);
    if (work === undefined || !begin(copy, work, out)) return;
    shift(copy.queue);
  }
}

/** Begins one frame. False when it must wait: then `blocked` says for what, and it is begun again later. */
function begin(copy: Copy, work: CopyWork, out: CopyEffect[]): boolean {
  switch (work.kind) {
    case "write":
    case "zero":
    case "region":
    case "regionZero":
      return beginWrite(copy, work, out);
    case "compare":
      if (!imagesAreDone(copy)) return false;
      copy.blocked = { on: "read" };
      push(copy.underWay, work);
      out.push({ kind: "compare", work });
      return true;
    case "flush":
      if (!imagesAreDone(copy)) return false;
      out.push({ kind: "syncImages", work, lsn: copy.appliedLsn });
      return true;
    case "begin":
      return beginSession(copy, work, out);
    case "memberMap":
      takeMemberMap(copy, work);
      return true;
    case "synchronized":
      return becomeSynchronized(copy, work, out);
    case "fractured":
      told(copy, work.lsn, work.why, out);
      return true;
    case "setEnd":
      push(copy.underWay, work);
      finish(copy, work, out);
      return true;
    case "mark":
      out.push({ kind: "setMarked", set: work.set });
      return true;
    default:
      return unreachable(work.kind);
  }
}

function imagesAreDone(copy: Copy): boolean {
  if (copy.writing === 0) return true;
  copy.blocked = { on: "images" };
  return false;
}

function isCurrent(copy: Copy, work: CopyWork): boolean {
  return copy.session?.number === work.session;
}

function volumeOf(copy: Copy, work: CopyWork): CopyVolume {
  return must(copy.volumes[work.volume], "a frame for an unknown volume passed the door");
}

// ------------------------------------------------------------------------------------------ writes

function beginWrite(copy: Copy, work: CopyWork, out: CopyEffect[]): boolean {
  if (!isOpen(copy, work)) {
    openForQueue(copy, out);
    return false;
  }
  if (!isAllSaved(copy, work)) {
    saveForQueue(copy, out);
    return false;
  }
  const volume = volumeOf(copy, work);
  forGranules(work, (granule) => {
    const open = volume.open.get(granule);
    if (open !== undefined && open.lastLsn < work.lsn) open.lastLsn = work.lsn;
  });
  copy.writing += 1;
  copy.receivedLsn = Math.max(copy.receivedLsn, work.lsn);
  push(copy.underWay, work);
  out.push({ kind: "image", work });
  return true;
}

function forGranules(work: CopyWork, visit: (granule: number) => void): void {
  const last = lastGranule(work.offset, work.length);
  for (let granule = firstGranule(work.offset); granule <= last; granule += 1) visit(granule);
}

function isOpen(copy: Copy, work: CopyWork): boolean {
  const { open } = volumeOf(copy, work);
  const last = lastGranule(work.offset, work.length);
  for (let granule = firstGranule(work.offset); granule <= last; granule += 1) {
    if (open.get(granule)?.durable !== true) return false;
  }
  return true;
}

// Everything that waits behind the first cold write is opened with it, so that one sync serves them all.
function openForQueue(copy: Copy, out: CopyEffect[]): void {
  for (let i = 0; i < copy.queue.count; i += 1) {
    const work = at(copy.queue, i);
    if (work === undefined || !overwrites(work)) continue;
    const volume = volumeOf(copy, work);
    forGranules(work, (granule) => openGranule(volume, granule, work.lsn));
  }
  syncOpenMaps(copy, out);
}

function openGranule(volume: CopyVolume, granule: number, lsn: number): void {
  if (volume.open.has(granule)) return;
  volume.open.set(granule, { lastLsn: lsn, durable: false });
  mark(volume.openMap, granule, granule);
}

function syncOpenMaps(copy: Copy, out: CopyEffect[]): void {
  copy.ticket += 1;
  copy.blocked = { on: "openMap", ticket: copy.ticket };
  out.push({ kind: "syncOpenMaps", ticket: copy.ticket });
}

// Nothing is opened while a sync is under way, since the queue stands still: all that is marked now is durable.
function openMapDurable(copy: Copy, ticket: number): void {
  if (copy.blocked?.on !== "openMap" || copy.blocked.ticket !== ticket) return;
  copy.blocked = undefined;
  for (const volume of copy.volumes) for (const open of volume.open.values()) open.durable = true;
}

function abandon(copy: Copy, out: CopyEffect[]): void {
  endSession(copy, out);
  drain(copy.queue);
  copy.blocked = { on: "end" };
}

function imageDone(
  copy: Copy,
  done: Extract<CopyEvent, { kind: "imageDone" }>,
  out: CopyEffect[],
): void {
  copy.writing -= 1;
  if (copy.blocked?.on === "images" && copy.writing === 0) copy.blocked = undefined;
  if (done.failure !== undefined && isOfSet(done.work)) {
    out.push({ kind: "setApplied", set: done.work.set, failure: done.failure });
    return;
  }
  if (done.failure !== undefined) {
    out.push({
      kind: "failSession",
      why: `the image here cannot be written: ${done.failure.message}`,
    });
    return;
  }
  finish(copy, done.work, out);
}

// ACK speaks for all frames up to its sequence, so it waits for the oldest.
function finish(copy: Copy, work: CopyWork, out: CopyEffect[]): void {
  work.isDone = true;
  finishOldest(copy, out);
}

function finishOldest(copy: Copy, out: CopyEffect[]): void {
  let sequence: number | undefined;
  for (let oldest = peek(copy.underWay); oldest?.isDone === true; oldest = peek(copy.underWay)) {
    shift(copy.underWay);
    if (oldest.kind === "setEnd")
      out.push({ kind: "setApplied", set: oldest.set, failure: undefined });
    else if (oldest.set === 0) sequence = oldest.sequence;
    copy.appliedLsn = Math.max(copy.appliedLsn, oldest.lsn);
  }
  if (sequence !== undefined) out.push({ kind: "ack", sequence });
}

function compared(
  copy: Copy,
  result: Extract<CopyEvent, { kind: "compared" }>,
  out: CopyEffect[],
): void {
  // A read of a lost session says nothing of the one that this session waits for.
  if (!isCurrent(copy, result.work)) return;
  if (copy.blocked?.on === "read") copy.blocked = undefined;
  if (result.failure !== undefined) {
    out.push({
      kind: "failSession",
      why: `the image here cannot be read: ${result.failure.message}`,
    });
    return;
  }
  finish(copy, result.work, out);
}

function imagesSynced(
  copy: Copy,
  synced: Extract<CopyEvent, { kind: "imagesSynced" }>,
  out: CopyEffect[],
): void {
  if (synced.failure !== undefined) noteLostSync(copy, synced.work.volume, out);
  if (!isCurrent(copy, synced.work)) return;
  if (synced.failure !== undefined) {
    out.push({
      kind: "failSession",
      why: `fdatasync of the image here failed: ${synced.failure.message}`,
    });
    return;
  }
  copy.syncedLsn = Math.max(copy.syncedLsn, synced.lsn);
  out.push({ kind: "sendFlushed", ticket: synced.work.index });
}

// ------------------------------------------------------------------------------ session and states

// The primary has on record what we lack (it asked us first), so we may adopt its generation.
function beginSession(copy: Copy, work: CopyWork, out: CopyEffect[]): boolean {
  const told = must(work.begin, "a BEGIN without its document passed the door");
  const { record } = copy;
  const due = told.resync ? dueBefore(copy) : undefined;
  if (due !== undefined && copy.madePoint === undefined) {
    // Before anything of the resync is written, and after all that was before it.
    if (imagesAreDone(copy)) askPoint(copy, work, { as: due, out });
    return false;
  }
  const before = record.image;
  copy.recordBefore = { ...record };
  // It is of the generation whose state it is, not of the one that we are about to adopt.
  keepPoint(copy, told);
  delete record.discarding;
  record.history = told.history;
  record.role = "secondary";
  record.incarnation = told.incarnation;
  record.members = {};
  delete record.tenureEnd;
  // A primary has on record by now that a bunker had brought something (`wasReplayed`); a bunker is about to bring more.
  if (told.isReplay !== true) {
    delete record.replayed;
    delete record.heldBack;
  }
  record.lsnReserved = Math.max(record.lsnReserved, told.lsnReserved);
  // A mirror's image moves on without sets: which one it was at last says nothing any more.
  if (told.firstSet === 0) delete record.applied;
  if (told.resync) record.image = "synchronizing";
  if (before !== record.image) {
    out.push({
      kind: "event",
      event: { kind: "image", from: before, to: record.image, why: "a resync begins" },
    });
  }
  if (copy.session !== undefined) {
    copy.session.begun = true;
    copy.session.takesSets = told.firstSet > 0;
  }
  copy.lsnIsKnown = true;
  copy.receivedLsn = told.lsn;
  copy.appliedLsn = told.lsn;
  askRecord(copy, work, out);
  return true;
}

function askRecord(copy: Copy, work: CopyWork, out: CopyEffect[]): void {
  copy.ticket += 1;
  copy.blocked = { on: "record", ticket: copy.ticket, work };
  out.push({ kind: "record", ticket: copy.ticket });
}

function recorded(copy: Copy, ticket: number, out: CopyEffect[]): void {
  if (copy.blocked?.on !== "record" || ticket < copy.blocked.ticket) return;
  const { work } = copy.blocked;
  copy.recordBefore = undefined;
  copy.blocked = undefined;
  dropPoint(copy, out);
  if (!isCurrent(copy, work)) return;
  if (work.begin === undefined) out.push({ kind: "sendSynchronizedRecorded" });
  else out.push({ kind: "sendBegun", begin: work.begin });
}

// The kernel calls the pages clean that it could not write: from now on the image reads better than the disk is. The next
// resync must write again what is open, and the record keeps that over a restart. Below 0: which volume is not known.
function noteLostSync(copy: Copy, volume: number, out: CopyEffect[]): void {
  const { record } = copy;
  const names = record.volumes
    .filter(({ name }, i) => record.failedVolumes.includes(name) || volume < 0 || i === volume)
    .map(({ name }) => name);
  if (names.length === record.failedVolumes.length) return;
  record.failedVolumes = names;
  copy.ticket += 1;
  out.push({ kind: "record", ticket: copy.ticket });
}

/** What another member lacks: open here, so that we know it if we become the primary (decision 4). */
function takeMemberMap(copy: Copy, work: CopyWork): void {
  const volume = volumeOf(copy, work);
  const bits = joined(work.body);
  for (let bit = 0; bit < bits.length * 8; bit += 1) {
    if (!hasBit(bits, bit)) continue;
    const granule = work.offset + bit;
    if (granule < volume.openMap.units) openGranule(volume, granule, Number.POSITIVE_INFINITY);
  }
}

function becomeSynchronized(copy: Copy, work: CopyWork, out: CopyEffect[]): boolean {
  if (copy.volumes.some((volume) => hasUndurable(volume))) {
    syncOpenMaps(copy, out);
    return false;
  }
  const { record } = copy;
  const before = record.image;
  for (const volume of copy.volumes) {
    for (const open of volume.open.values()) {
      // A write after the join's LSN may have gone in there already.
      if (open.lastLsn === Number.POSITIVE_INFINITY) {
        open.lastLsn = Math.max(work.lsn, copy.receivedLsn);
      }
    }
  }
  // Sets bring a copy to a state of the past, a mirror to the present.
  const now = work.set > 0 ? "consistent" : "synchronized";
  record.image = now;
  record.failedVolumes = [];
  record.toldOfFracture = undefined;
  record.preservedPoint = undefined;
  delete record.reverted;
  const generation = generationCounter(record.history);
  record.syncedAt = { lsn: work.lsn, generation };
  copy.syncedLsn = Math.max(copy.syncedLsn, work.lsn);
  if (before !== now) {
    out.push({
      kind: "event",
      event: {
        kind: "image",
        from: before,
        to: now,
        why: `everything up to LSN ${work.lsn}`,
      },
    });
  }
  askRecord(copy, work, out);
  return true;
}

function hasUndurable(volume: CopyVolume): boolean {
  for (const open of volume.open.values()) if (!open.durable) return true;
  return false;
}

/**
 * The primary goes on without us: from here on the image is a past state, and must not be promoted as if it were
 * current.
 */
function told(copy: Copy, lsn: number, why: string, out: CopyEffect[]): void {
  const { record } = copy;
  if (record.toldOfFracture !== undefined || record.image !== "synchronized") return;
  record.toldOfFracture = { lsn, why };
  record.image = "consistent";
  copy.ticket += 1;
  out.push({ kind: "record", ticket: copy.ticket });
  out.push({
    kind: "event",
    event: { kind: "image", from: "synchronized", to: "consistent", why },
  });
}

// The primary reserves LSNs a million at a time, so this is seldom.
function noteReserve(copy: Copy, lsnReserved: number, out: CopyEffect[]): void {
  if (lsnReserved <= copy.record.lsnReserved) return;
  copy.record.lsnReserved = lsnReserved;
  copy.ticket += 1;
  out.push({ kind: "record", ticket: copy.ticket });
}

/** Every member has synced everything up to this LSN (decision 4): those granules need no mark any more. */
function closeStable(copy: Copy, lsn: number, out: CopyEffect[]): void {
  const { session, record } = copy;
  const isWhole =
    record.image === "synchronized" ||
    (session?.takesSets === true && record.image === "consistent");
  if (session === undefined || !isWhole) return;
  let isChanged = false;
  for (const volume of copy.volumes) {
    for (const [granule, open] of volume.open) {
      if (!open.durable || open.lastLsn > lsn) continue;
      volume.open.delete(granule);
      unmark(volume.openMap, granule, granule);
      isChanged = true;
    }
  }
  if (isChanged) out.push({ kind: "writeOpenMaps" });
}
