import { unreachable } from "#base/assert.ts";
import { joined } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import { aloneBefore, sitesSince } from "#core/branch.ts";
import { stepCopy } from "#core/copy.ts";
import { createCopy } from "#core/copy-state.ts";
import type { Copy, CopyEffect, CopyEvent, CopyVolume, CopyWork } from "#core/copy-state.ts";
import { compareHistories, generationCounter } from "#core/history.ts";
import type { History } from "#core/history.ts";
import { copyOf, orInto } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import { eraseDirtyMaps, saveRecord, syncOpenMaps, writeOpenMaps } from "#store/group-store.ts";
import type { LaneOpen, SessionOpen, SessionOpened } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { workOf } from "./copy-frames.ts";
import {
  acceptLane,
  beginSets,
  endSets,
  goOnWithSets,
  setApplied,
  setMarked,
  startCopySets,
  takeBatch,
  takeBegin,
  takeWhole,
} from "./copy-sets.ts";
import type { CopySets, SetsHost } from "./copy-sets.ts";
import { closePreserve, dropPoint, makePoint, preserveTerms, saveRanges } from "./preserve-run.ts";
import type { PreserveRun } from "./preserve-run.ts";
import { closeStaging, holdUp, settleStaging } from "./staging-run.ts";
import type { StagingFailure, StagingRun } from "./staging-run.ts";
import { createDriver, drive } from "./driver.ts";
import type { Driver } from "./driver.ts";
import { emit, imageOf } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { sendDocument } from "./peer-connection.ts";
import type { Peer } from "./peer-connection.ts";
import { readRegion } from "./read-region.ts";
import {
  createSessionWire,
  failWire,
  hashesOf,
  sendBare,
  sendBits,
  sendMapPages,
} from "./session-wire.ts";
import type { SessionWire } from "./session-wire.ts";
import { syncImages } from "./sync-images.ts";
import { traceIn, traceOut } from "./trace-session.ts";

// Drives a group's copy: frames become events, effects become image writes, syncs and answers. It decides nothing but when its
// primary is not read from, since a disk here has too much unsynced.

export type CopyRun = {
  readonly copy: Copy;
  /** With staging: goes on with what a restart found there; then `onStarted`. */
  start(): void;
  /** Who feeds us, while somebody does. */
  fedBy(): string | undefined;
  /** The session in which somebody feeds us. */
  fedUnder(): { readonly site: string; readonly open: SessionOpen } | undefined;
  /** Takes a session that the group's door has let in. */
  accept(peer: Peer, open: SessionOpen): void;
  stable(lsn: number, lsnReserved: number): void;
  toldFractured(lsn: number, why: string): void;
  /** Ends the session; what was begun ends by itself. */
  close(why: string): void;
  /** One more connection of its session. Answers why it is not wanted, or "". */
  acceptLane(peer: Peer, open: LaneOpen): string;
  /** Applies what is complete and gives up the rest; calls back with why that did not wholly work. */
  settle(done: (why: string | undefined) => void): void;
  /** No point and no branch is on record any more: what could not be saved for it holds nothing up. */
  letGo(): void;
  /** Staging, where there is one. */
  readonly staging: StagingRun | undefined;
  readonly preserve: PreserveRun;
  /** A volume has become larger here, on record. */
  grown(volume: number, bytes: number): void;
  /** Room for the next preserved point. */
  changePreserve(bytesMax: number): void;
  /** Begins nothing any more, not even what is complete; calls back once no image write is under way. */
  abandon(done: () => void): void;
  /** Nobody will be heard here any more: ends timers and closes the staging log. */
  dispose(): void;
  /** Calls back once no image write is under way. */
  whenQuiet(done: () => void): void;
};

export type CopyRunOptions = {
  readonly context: GroupContext;
  /** Where sets are kept until they are complete; undefined while no copy of the group takes any. */
  readonly staging: StagingRun | undefined;
  /** With staging: what a restart found there counts, and a primary may be let in. */
  readonly onStarted: () => void;
  /** Keeps the preserved point. */
  readonly preserve: PreserveRun;
  /** Our own records cannot be written: the group cannot go on here. */
  readonly onFailed: (why: string) => void;
  /** Nothing can be staged here any more; the run may be begun anew. */
  readonly onStagingFailed: (failure: StagingFailure) => void;
  readonly onStagingSynced: () => void;
};

type Run = {
  readonly options: CopyRunOptions;
  readonly context: GroupContext;
  readonly copy: Copy;
  readonly driver: Driver<CopyEvent, CopyEffect>;
  readonly quietWaiters: (() => void)[];
  wire: SessionWire | undefined;
  /** What the session was opened with. */
  open: SessionOpen | undefined;
  /** The ACK that the frames handled in this turn have come to. */
  ackSequence: number | undefined;
  /** Counts the sessions of this process: a primary's epochs begin anew with its process, these do not. */
  sessions: number;
  /** The session's connection is paused until an image is synced. */
  isPressed: boolean;
  sets: CopySets | undefined;
};

export function startCopyRun(options: CopyRunOptions): CopyRun {
  const { context } = options;
  const run: Run = {
    options,
    context,
    copy: createCopy(
      context.store.record,
      context.store.openMaps.map((onDisk) => onDisk.map),
      preserveTerms(options.preserve),
    ),
    driver: createDriver(
      (event, out) => stepCopy(run.copy, event, out),
      (effect) => perform(run, effect),
    ),
    quietWaiters: [],
    wire: undefined,
    open: undefined,
    ackSequence: undefined,
    sessions: 0,
    isPressed: false,
    sets: undefined,
  };
  if (options.staging !== undefined) run.sets = startCopySets(setsHost(run, options.staging));
  return {
    copy: run.copy,
    start() {
      if (run.sets !== undefined) goOnWithSets(run.sets);
    },
    fedBy: () => run.wire?.peer.site,
    fedUnder: () =>
      run.wire === undefined || run.open === undefined
        ? undefined
        : { site: run.wire.peer.site, open: run.open },
    accept: (peer, open) => accept(run, peer, open),
    stable: (lsn, lsnReserved) => submit(run, { kind: "stable", lsn, lsnReserved }),
    toldFractured(lsn, why) {
      // While a session feeds us, what we were told is of the past.
      if (run.wire === undefined) submit(run, { kind: "toldFractured", lsn, why });
    },
    close: (why) => closeSession(run, why),
    acceptLane: (peer, open) =>
      run.sets === undefined ? "no sets are taken here" : acceptLane(run.sets, peer, open),
    settle: (done) => settleStaging(options.staging, done),
    letGo: () => submit(run, { kind: "unkept" }),
    staging: options.staging,
    preserve: options.preserve,
    grown: (volume, bytes) => submit(run, { kind: "grown", volume, bytes }),
    changePreserve(bytesMax) {
      options.preserve.bytesMax = bytesMax;
      const { isKept, stepBytes } = preserveTerms(options.preserve);
      submit(run, { kind: "preserveTerms", isKept, stepBytes });
    },
    abandon(done) {
      if (options.staging !== undefined) closeStaging(options.staging);
      submit(run, { kind: "abandoned" });
      run.quietWaiters.push(done);
      tellQuiet(run);
    },
    dispose() {
      run.sets?.tick.cancel();
      closePreserve(options.preserve);
      if (options.staging !== undefined) closeStaging(options.staging);
    },
    whenQuiet(done) {
      run.quietWaiters.push(done);
      tellQuiet(run);
    },
  };
}

// A primary has one session with us: a new one ends the old.
function accept(run: Run, peer: Peer, open: SessionOpen): void {
  run.wire?.peer.connection.close("the primary has opened a newer session");
  if (run.sets !== undefined) endSets(run.sets, "the primary has opened a newer session");
  const { record } = run.copy;
  sendDocument(peer, frameType.opened, openedDocument(run, open.history));
  const generation = generationCounter(open.history);
  const wire = createSessionWire(peer, generation, open.epoch, run.context.ports.crypto);
  run.wire = wire;
  run.open = open;
  run.sessions += 1;
  run.ackSequence = undefined;
  const session = run.sessions;
  submit(run, { kind: "opened", session, from: peer.site });
  peer.onFrame = (frame) => receive(run, wire, session, frame);
  peer.onChunkEnd = () => flushAck(run);
  peer.onLost = (why) => {
    if (run.wire === wire) sessionLost(run, why);
  };
  // The primary of another generation cannot know what is uncertain here (decision 4); nor can ours, what was undone (trap 13).
  if (compareHistories(open.history, record.history) !== "same" || record.reverted !== undefined) {
    const lacking = sitesSince(record.history, open.history).add(peer.site);
    for (const volume of run.copy.volumes) {
      sendMapPages(wire, frameType.openMap, volume.index, uncertainOf(run, volume, lacking));
    }
  }
  sendBare(wire, frameType.openMapEnd, {});
}

function sessionLost(run: Run, why: string): void {
  run.wire = undefined;
  if (run.sets !== undefined) endSets(run.sets, why);
  submit(run, { kind: "lost", why });
}

// Nothing of the session counts from now on, though its connection may take a while to end: the site is about to be promoted.
function closeSession(run: Run, why: string): void {
  const { wire } = run;
  if (wire === undefined) return;
  sessionLost(run, why);
  wire.peer.connection.close(why);
}

// Where this image may differ from the new primary's: what is open here, and what this site, when it was the primary, had on
// record as lacking there (1F: "its WIL + its fracture log for us"), or at those from whom that primary's image has come.
function uncertainOf(run: Run, volume: CopyVolume, lacking: ReadonlySet<string>): RegionMap {
  const uncertain = copyOf(volume.openMap);
  for (const [site, maps] of run.context.store.dirtyMaps) {
    const map = maps[volume.index]?.map;
    if (map !== undefined && lacking.has(site)) orInto(uncertain, map);
  }
  return uncertain;
}

function openedDocument(run: Run, theirs: History): SessionOpened {
  const { record } = run.copy;
  return {
    replicaId: record.replicaId,
    history: record.history,
    role: record.role,
    image: record.image,
    isBlank: record.syncedAt === undefined,
    mustRewrite: record.failedVolumes.length > 0,
    // Given up, it stands in nobody's way (the door lets in only those in whose favour).
    aloneTowards: record.discarding === undefined ? aloneBefore(record, theirs) : [],
    ...(record.discarding === undefined ? {} : { discards: record.discarding.favours }),
    receivedLsn: run.copy.receivedLsn,
    appliedLsn: run.copy.appliedLsn,
    completeSet: run.options.staging?.staging.complete.set ?? 0,
    completeLsn: run.options.staging?.staging.complete.lsn ?? 0,
    preservedPoint: null,
    ...(record.replayed === undefined ? {} : { wasReplayed: true }),
    ...(run.sets === undefined ? {} : { unpacks: [run.context.ports.packing.name] }),
  };
}

function receive(run: Run, wire: SessionWire, session: number, frame: Frame): void {
  const { header } = frame;
  if (run.wire !== wire) return;
  // A late frame of another tenure or session does no harm (I28, N4).
  if (header.generation !== wire.generation || header.epoch !== wire.epoch) return;
  traceIn(run.context, run.context.site, header);
  if (header.type === frameType.batch) {
    if (run.sets === undefined) return wire.peer.connection.close("no sets are taken here");
    return takeBatch(run.sets, 0, frame);
  }
  const work = workOf(frame, session, run.copy.volumes);
  if (!work.ok) return wire.peer.connection.close(work.error);
  const { kind, set } = work.value;
  if (kind === "synchronized" && set > 0 && run.sets !== undefined)
    return takeWhole(run.sets, work.value);
  // Where the image is when a resync begins, and what its point is of: at the end of what is complete, synced.
  const { begin } = work.value;
  const isDrainedFirst = begin?.resync === true || begin?.isReplay === true;
  if (isDrainedFirst && begin.firstSet > 0 && run.sets !== undefined)
    return takeBegin(run.sets, work.value);
  submit(run, { kind: "work", work: work.value });
}

function submit(run: Run, event: CopyEvent): void {
  drive(run.driver, event);
}

function perform(run: Run, effect: CopyEffect): void {
  const { context } = run;
  switch (effect.kind) {
    case "image":
      return writeImage(run, effect.work);
    case "ack":
      return noteAck(run, effect.sequence);
    case "syncOpenMaps":
      return syncOpenMaps(context.store, (failure) => {
        if (failure === undefined) submit(run, { kind: "openMapDurable", ticket: effect.ticket });
        else run.options.onFailed(`the open map cannot be written: ${failure.message}`);
      });
    case "writeOpenMaps": {
      const failure = writeOpenMaps(context.store);
      if (failure !== undefined)
        run.options.onFailed(`the open map cannot be written: ${failure.message}`);
      return;
    }
    case "record":
      return saveRecord(context.store, (failure) => {
        if (failure === undefined) submit(run, { kind: "recorded", ticket: effect.ticket });
        else run.options.onFailed(`the group's record cannot be written: ${failure.message}`);
      });
    case "makePoint":
      return makePoint(run.options.preserve, effect, (event) => submit(run, event));
    case "dropPoint":
      return dropPoint(run.options.preserve, effect.as);
    case "save":
      return saveRanges(run.options.preserve, effect, (why) =>
        submit(run, { kind: "saved", ticket: effect.ticket, why }),
      );
    case "syncImages":
      return syncForWork(run, effect.work, effect.lsn);
    case "compare":
      return compare(run, effect.work);
    case "event":
      return emit(context, effect.event);
    case "setApplied":
      if (run.sets !== undefined) setApplied(run.sets, effect.set, effect.failure);
      return;
    case "setMarked":
      if (run.sets !== undefined) setMarked(run.sets, effect.set);
      return;
    case "heldUp":
      return holdUp(run.options.staging, effect.why);
    case "failSession":
      return failSession(run, effect.why);
    default:
      return answer(run, effect);
  }
}

function failSession(run: Run, why: string): void {
  if (run.wire !== undefined) failWire(run.wire, { why });
}

function setsHost(run: Run, staging: StagingRun): SetsHost {
  return {
    context: run.context,
    copy: run.copy,
    staging,
    wire: () => run.wire,
    submit: (event) => submit(run, event),
    sendBegun: () => sendBegun(run),
    incarnation: () => run.open?.incarnation,
    failSession: (why) => failSession(run, why),
    onStagingFailed: run.options.onStagingFailed,
    onStagingSynced: run.options.onStagingSynced,
    onStarted: run.options.onStarted,
  };
}

type Answer = Extract<
  CopyEffect,
  { kind: "sendFlushed" | "sendBegun" | "sendSynchronizedRecorded" }
>;

function answer(run: Run, effect: Answer): void {
  const { wire } = run;
  if (wire === undefined) return;
  // An ACK that waits for the end of the turn comes first: what is flushed was acked.
  flushAck(run);
  switch (effect.kind) {
    case "sendFlushed":
      sendBare(wire, frameType.flushed, { index: effect.ticket });
      break;
    case "sendBegun":
      if (effect.begin.firstSet > 0 && run.sets !== undefined)
        return beginSets(run.sets, effect.begin);
      return sendBegun(run);
    case "sendSynchronizedRecorded":
      sendBare(wire, frameType.synchronizedRecorded, {});
      break;
    default:
      return unreachable(effect);
  }
  traceOut(run.context, run.context.site, wire.scratch);
}

function sendBegun(run: Run): void {
  const { wire } = run;
  if (wire === undefined) return;
  // The record names no members of ours any more; whatever we marked as a primary has been taken over.
  for (const site of run.context.store.dirtyMaps.keys()) eraseDirtyMaps(run.context.store, site);
  sendBare(wire, frameType.begun, {});
  traceOut(run.context, run.context.site, wire.scratch);
}

// One ACK for all that one turn brought.
function noteAck(run: Run, sequence: number): void {
  if (run.ackSequence === undefined) run.context.ports.clock.soon(() => flushAck(run));
  run.ackSequence = sequence;
}

function flushAck(run: Run): void {
  const { wire, ackSequence } = run;
  if (ackSequence === undefined) return;
  run.ackSequence = undefined;
  if (wire === undefined) return;
  sendBare(wire, frameType.ack, { sequence: ackSequence, lsn: run.copy.appliedLsn });
  traceOut(run.context, run.context.site, wire.scratch);
}

// ------------------------------------------------------------------------------------------ images

// Beyond this much unsynced data the kernel would stall the loop: the primary waits for the sync instead (DESIGN
// §3.11).
function relievePressure(run: Run, image: BlockDevice): void {
  const { wire } = run;
  if (run.isPressed || wire === undefined) return;
  run.isPressed = true;
  wire.peer.connection.pause();
  image.sync(() => {
    run.isPressed = false;
    wire.peer.connection.resume();
  });
}

function writeImage(run: Run, work: CopyWork): void {
  const image = imageOf(run.context, work.volume);
  if (image.isPressed()) relievePressure(run, image);
  if (work.kind === "write" || work.kind === "region") {
    image.write(work.offset, work.body, { run, work }, imageDone);
  } else {
    image.zero(work.offset, work.length, work.mayPunch, { run, work }, imageDone);
  }
}

function imageDone(
  context: { readonly run: Run; readonly work: CopyWork },
  failure: IoFailure | undefined,
): void {
  const { run, work } = context;
  submit(run, { kind: "imageDone", work, failure });
  // The image was all that these bytes came for.
  if (work.kind === "write" || work.kind === "region")
    run.wire?.peer.connection.giveBack(work.body);
  tellQuiet(context.run);
}

function tellQuiet(run: Run): void {
  if (run.copy.writing > 0 || run.driver.isRunning) return;
  for (const waiter of run.quietWaiters.splice(0)) waiter();
}

function syncForWork(run: Run, work: CopyWork, lsn: number): void {
  const images = work.volume < 0 ? run.context.images : [imageOf(run.context, work.volume)];
  syncImages(images, (failure) => submit(run, { kind: "imagesSynced", work, lsn, failure }));
}

function compare(run: Run, work: CopyWork): void {
  readRegion(imageOf(run.context, work.volume), work, work, (_, failure, bytes) => {
    if (failure === undefined) tellDifferences(run, work, bytes);
    submit(run, { kind: "compared", work, failure });
  });
}

function tellDifferences(run: Run, work: CopyWork, bytes: Uint8Array): void {
  const { wire } = run;
  if (wire === undefined || run.sessions !== work.session) return;
  const theirs = joined(work.body);
  const ours = hashesOf(bytes, work.index, run.context.ports.crypto);
  const bits = new Uint8Array(Math.ceil(ours.length / 64));
  let isDifferent = false;
  for (let region = 0; region * 8 < ours.length; region += 1) {
    if (isSameHash(ours, theirs, region * 8)) continue;
    bits[region >>> 3] = (bits[region >>> 3] ?? 0) | (1 << (region & 7));
    isDifferent = true;
  }
  if (isDifferent) sendBits(wire, frameType.differs, work.sequence, bits);
}

function isSameHash(ours: Uint8Array, theirs: Uint8Array, at: number): boolean {
  for (let i = at; i < at + 8; i += 1) if (ours[i] !== theirs[i]) return false;
  return true;
}
