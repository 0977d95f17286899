import { must } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { createFifo } from "#base/fifo.ts";
import type { Fifo } from "#base/fifo.ts";
import type { EventRecord } from "#ports/events.ts";
import type { GroupRecord, PreservedPoint } from "./group-record.ts";
import type { History } from "./history.ts";
import { createPreserve } from "./preserve.ts";
import type { Preserve, SaveRange } from "./preserve.ts";
import { nextMarked } from "./region-map.ts";
import type { Grown } from "./ranges.ts";
import type { RegionMap } from "./region-map.ts";

// The state of a copy of a group, the events that move it and the effects it asks for; `copy.ts` joins the machine.

export type Copy = {
  readonly record: GroupRecord;
  readonly volumes: readonly CopyVolume[];
  /** Counts sessions and everything else that an answer must be told apart by. */
  ticket: number;
  /** The session that feeds us; undefined while nobody does. */
  session: CopySession | undefined;
  /** Frames that came and are not begun, in the order of the wire. */
  readonly queue: Fifo<CopyWork>;
  /** Frames begun and not acked, in the order of the wire. */
  readonly underWay: Fifo<CopyWork>;
  /** Image writes that have not answered. */
  writing: number;
  /** Why the next frame waits. */
  blocked: Blocked | undefined;
  /** A BEGIN has said since this start where the image is; before that, the LSNs are those that the record had at last. */
  lsnIsKnown: boolean;
  receivedLsn: number;
  appliedLsn: number;
  syncedLsn: number;
  /** This copy keeps a point when a resync begins. */
  pointsAreKept: boolean;
  /** While the record has a point: what of the image is saved. */
  preserve: Preserve | undefined;
  /** While the record has a branch: the same of that. */
  branch: Preserve | undefined;
  /** The log of a point, or of a branch, that is about to be put on record. */
  madePoint: MadePoint | undefined;
  /** Bytes of old content that one step saves, at most. */
  preserveStepBytes: number;
  /** Why old content cannot be saved any more, so that nothing may be overwritten, or "". Final for this process. */
  preserveFailure: string;
  /** What held before the BEGIN whose record is under way: a generation is told to nobody before it is on record. */
  recordBefore: GroupRecord | undefined;
};

export type CopySession = {
  readonly number: number;
  readonly from: string;
  begun: boolean;
  /** Its writes come in sets, by way of staging; regions and everything else come as in a mirror. */
  takesSets: boolean;
};

/** What an image was can be kept as a point, until the image is whole again, or as a branch, until the operator drops it. */
export type KeptAs = "point" | "branch";

export type MadePoint = Pick<PreservedPoint, "id" | "keptSinceMs"> & { readonly as: KeptAs };

export type Blocked =
  /** The images are being synced and a preserve log is being made, for a BEGIN. */
  | { readonly on: "point"; readonly work: CopyWork }
  /** Old content is being saved. */
  | { readonly on: "save"; readonly ticket: number }
  /** Nothing is begun here any more: old content cannot be saved, or the site is being promoted. */
  | { readonly on: "end" }
  | { readonly on: "openMap"; readonly ticket: number }
  | { readonly on: "record"; readonly ticket: number; readonly work: CopyWork }
  | { readonly on: "images" }
  | { readonly on: "read" };

export type CopyVolume = {
  readonly index: number;
  bytes: number;
  readonly openMap: RegionMap;
  /** Granules that are open, with the last LSN written there; infinite until the primary says what it knows of them. */
  readonly open: Map<number, { lastLsn: number; durable: boolean }>;
};

/** One frame of the session, as the machine needs it. */
export type CopyWork = {
  /** The session it came by: an answer to a lost session goes nowhere. */
  readonly session: number;
  readonly kind: CopyWorkKind;
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  readonly lsn: number;
  /** The set that the frame is about; 0 for a mirror. */
  readonly set: number;
  /** What ACK answers by; writes of sets have none. */
  readonly sequence: number;
  /** Flush: ticket. Compare: bytes of a region. */
  readonly index: number;
  readonly mayPunch: boolean;
  readonly body: readonly Uint8Array[];
  /** Begin: what the primary said. */
  readonly begin: CopyBegin | undefined;
  readonly why: string;
  isDone: boolean;
};

export type CopyWorkKind =
  | "write"
  | "zero"
  | "region"
  | "regionZero"
  | "compare"
  | "flush"
  | "begin"
  | "memberMap"
  | "synchronized"
  | "fractured"
  /** All writes of a set are ahead of this in the queue. */
  | "setEnd"
  | "mark";

export type CopyBegin = {
  readonly history: History;
  readonly incarnation: number;
  readonly lsn: number;
  readonly lsnReserved: number;
  /** Regions will be brought over: until they are, the image is no state that the host ever saw. */
  readonly resync: boolean;
  /** With sets: the first that follows; 0 for a mirror. */
  readonly firstSet: number;
  /** By a bunker, in the place of its primary. */
  readonly isReplay?: true;
  /** What is not complete is to be given up first. */
  readonly purge?: true;
};

export type CopyEvent =
  | { readonly kind: "opened"; readonly session: number; readonly from: string }
  | { readonly kind: "work"; readonly work: CopyWork }
  | { readonly kind: "lost"; readonly why: string }
  /** A sync of the images that staging asked for has failed. */
  | { readonly kind: "syncLost" }
  | { readonly kind: "openMapDurable"; readonly ticket: number }
  | { readonly kind: "imageDone"; readonly work: CopyWork; readonly failure: IoFailure | undefined }
  | {
      readonly kind: "imagesSynced";
      readonly work: CopyWork;
      readonly lsn: number;
      readonly failure: IoFailure | undefined;
    }
  | { readonly kind: "compared"; readonly work: CopyWork; readonly failure: IoFailure | undefined }
  | { readonly kind: "recorded"; readonly ticket: number }
  | { readonly kind: "pointMade"; readonly work: CopyWork; readonly made: MadePoint }
  /** `isFinal`: nor will it be by this process. */
  | {
      readonly kind: "pointNotMade";
      readonly work: CopyWork;
      readonly why: string;
      readonly isFinal: boolean;
    }
  /** What the ranges of this ticket held is durable; or `why` it is not, and never will be. */
  | { readonly kind: "saved"; readonly ticket: number; readonly why: string }
  /** Nothing that came and is not begun counts any more: the image is about to be taken back to the point. */
  | { readonly kind: "abandoned" }
  /** Neither a point nor a branch is on record any more: what could not be kept for it stands in nobody's way. */
  | { readonly kind: "unkept" }
  /** Points are kept in another way from now on. */
  | { readonly kind: "preserveTerms"; readonly isKept: boolean; readonly stepBytes: number }
  /** Image and record have so many bytes of the volume. */
  | ({ readonly kind: "grown" } & Grown)
  | { readonly kind: "stable"; readonly lsn: number; readonly lsnReserved: number }
  | { readonly kind: "toldFractured"; readonly lsn: number; readonly why: string };

export type CopyEffect =
  | { readonly kind: "image"; readonly work: CopyWork }
  /** Everything up to this sequence is in the image. */
  | { readonly kind: "ack"; readonly sequence: number }
  /** Everything of this set is in the images. */
  | {
      readonly kind: "setApplied";
      readonly set: number;
      readonly failure: IoFailure | undefined;
    }
  | { readonly kind: "setMarked"; readonly set: number }
  | { readonly kind: "syncOpenMaps"; readonly ticket: number }
  | { readonly kind: "writeOpenMaps" }
  /** Sync the images and make a preserve log, or the log of a branch; then `pointMade` or `pointNotMade`. */
  | { readonly kind: "makePoint"; readonly work: CopyWork; readonly as: KeptAs }
  /** Nobody needs that log any more: what it kept is not on record, or never was. */
  | { readonly kind: "dropPoint"; readonly as: KeptAs }
  /** Append what these ranges hold to the preserve log, and to that of the branch, and sync them; then `saved`. */
  | {
      readonly kind: "save";
      readonly ticket: number;
      readonly ranges: readonly SaveRange[];
      readonly branchRanges: readonly SaveRange[];
    }
  /** Sync the image of one volume, or of all; then `imagesSynced`. */
  | { readonly kind: "syncImages"; readonly work: CopyWork; readonly lsn: number }
  /** Read the range, hash its regions, send DIFFERS where they differ; then `compared`. */
  | { readonly kind: "compare"; readonly work: CopyWork }
  | { readonly kind: "record"; readonly ticket: number }
  | { readonly kind: "sendFlushed"; readonly ticket: number }
  | { readonly kind: "sendBegun"; readonly begin: CopyBegin }
  | { readonly kind: "sendSynchronizedRecorded" }
  /** What is complete here is not applied, since old content cannot be saved; "": now it is again. */
  | { readonly kind: "heldUp"; readonly why: string }
  /** The session cannot go on: tell the primary why and close. */
  | { readonly kind: "failSession"; readonly why: string }
  | { readonly kind: "event"; readonly event: Omit<EventRecord, "group"> };

/**
 * What a copy is told of points: whether it keeps any, and what a restart found saved of the one, and of the branch, on
 * record.
 */
export type PreserveTerms = {
  readonly isKept: boolean;
  readonly stepBytes: number;
  readonly saved: readonly RegionMap[] | undefined;
  readonly branchSaved: readonly RegionMap[] | undefined;
};

const noPoints: PreserveTerms = {
  isKept: false,
  stepBytes: 0,
  saved: undefined,
  branchSaved: undefined,
};

export function createCopy(
  record: GroupRecord,
  openMaps: readonly RegionMap[],
  terms: PreserveTerms = noPoints,
): Copy {
  return {
    record,
    volumes: record.volumes.map((volume, index) => {
      const openMap = must(openMaps[index], `volume ${volume.name} has no open map`);
      return { index, bytes: volume.bytes, openMap, open: openOf(openMap) };
    }),
    ticket: 0,
    session: undefined,
    queue: createFifo(),
    underWay: createFifo(),
    writing: 0,
    blocked: undefined,
    lsnIsKnown: false,
    receivedLsn: record.syncedAt?.lsn ?? 0,
    appliedLsn: record.syncedAt?.lsn ?? 0,
    syncedLsn: record.syncedAt?.lsn ?? 0,
    pointsAreKept: terms.isKept,
    preserve: goOnSaving(record, terms, terms.saved),
    branch: goOnSaving(record, terms, terms.branchSaved),
    madePoint: undefined,
    preserveStepBytes: terms.stepBytes,
    preserveFailure: "",
    recordBefore: undefined,
  };
}

function goOnSaving(
  { volumes }: GroupRecord,
  { stepBytes }: PreserveTerms,
  saved: readonly RegionMap[] | undefined,
): Preserve | undefined {
  return saved === undefined ? undefined : createPreserve(volumes, stepBytes, saved);
}

function openOf(openMap: RegionMap): CopyVolume["open"] {
  const open: CopyVolume["open"] = new Map();
  for (let unit = nextMarked(openMap, 0); unit !== -1; unit = nextMarked(openMap, unit + 1)) {
    open.set(unit, { lastLsn: Number.POSITIVE_INFINITY, durable: true });
  }
  return open;
}
