import { limits } from "#base/limits.ts";

// What follows from the size of a journal: its segments, the longest write that goes in as one, and what is kept free for what
// is on its way. From `journalBytesWhole` on a write of a host goes in whole, however long it is; a smaller journal has
// everything in proportion, and takes a long write in parts (SPEC-async.md).

export type JournalSize = {
  readonly segmentBytes: number;
  /** The longest write that is one entry: the front cuts what is longer. */
  readonly writeBytesMax: number;
  /** A record has no more, unless it is one write alone. */
  readonly batchBytesMax: number;
  readonly batchEntriesMax: number;
  /** What an entry on its way counts beside its payload. */
  readonly entryBytes: number;
  /** Kept for what is on its way when it is found to be full. */
  readonly marginBytes: number;
  /** A set is sealed at this, whatever its policy allows; and one that is to end with a host's FLUSH alone. */
  readonly setBytesMax: number;
  readonly bracketBytesMax: number;
  /** Appended so much, it is synced: what is let go of it goes once its successor is durable. */
  readonly unsyncedBytesMax: number;
  /** A device behind it flushes when it was sent so much. */
  readonly deviceFlushBytes: number;
  /** Room that is taken on the disk before it is needed: how much, by which steps, and what of it is a margin. */
  readonly ahead: {
    readonly bytes: number;
    readonly stepBytes: number;
    readonly marginBytes: number;
  };
};

/** What a journal of this size, or another log of its records, goes by. Bytes. */
export function journalSizeOf(bytesMax: number): JournalSize {
  return bytesMax < limits.journalBytesWhole ? smallSize(bytesMax) : wholeSize(bytesMax);
}

// It has four segments at least, and a very large one longer segments: a log counts them.
function wholeSize(bytesMax: number): JournalSize {
  const usual = Math.min(limits.journalSegmentBytes, Math.floor(bytesMax / 4));
  return {
    segmentBytes: Math.max(usual, Math.ceil(bytesMax / limits.logSegmentsMax)),
    writeBytesMax: limits.hostRequestBytesMax,
    batchBytesMax: limits.batchBytesMax,
    batchEntriesMax: limits.batchEntriesMax,
    // Tables are little beside the margin.
    entryBytes: 0,
    marginBytes: limits.journalMarginBytes,
    setBytesMax: Number.POSITIVE_INFINITY,
    bracketBytesMax: limits.bracketBytesMax,
    unsyncedBytesMax: limits.journalUnsyncedBytesMax,
    deviceFlushBytes: limits.deviceFlushBytes,
    ahead: {
      bytes: limits.journalAheadBytes,
      stepBytes: limits.journalAheadStepBytes,
      marginBytes: limits.journalAheadMarginBytes,
    },
  };
}

/** Segments of a small journal, and how many of them are its margin. */
const smallSegments = 16;
const smallMarginSegments = 6;
/** The longest write is this part of a segment, so that little of one is left over where the next record does not fit. */
const writesPerSegment = 8;
/** A set, and a set that ends with a host's FLUSH, is this part of the journal: a few are on their way at a time. */
const setsPerJournal = 8;
const bracketsPerJournal = 4;

function smallSize(bytesMax: number): JournalSize {
  const { journalBytesWhole, journalSegmentBytes } = limits;
  const segmentBytes = wholeBlocks(bytesMax / smallSegments);
  const writeBytesMax = wholeBlocks(segmentBytes / writesPerSegment);
  const inProportion = (bytes: number): number =>
    wholeBlocks((bytes * segmentBytes) / journalSegmentBytes);
  return {
    segmentBytes,
    writeBytesMax,
    batchBytesMax: Math.min(limits.batchBytesMax, writeBytesMax),
    batchEntriesMax: Math.floor((limits.batchEntriesMax * bytesMax) / journalBytesWhole),
    entryBytes: limits.entryCostBytes,
    marginBytes: smallMarginSegments * segmentBytes,
    setBytesMax: Math.floor(bytesMax / setsPerJournal),
    bracketBytesMax: Math.floor(bytesMax / bracketsPerJournal),
    unsyncedBytesMax: Math.min(limits.journalUnsyncedBytesMax, Math.floor(bytesMax / 4)),
    deviceFlushBytes: Math.min(limits.deviceFlushBytes, Math.floor(bytesMax / 4)),
    ahead: {
      bytes: inProportion(limits.journalAheadBytes),
      stepBytes: inProportion(limits.journalAheadStepBytes),
      marginBytes: inProportion(limits.journalAheadMarginBytes),
    },
  };
}

// So that no part of a write ends within a block of the host.
function wholeBlocks(bytes: number): number {
  const { fileBlockBytes } = limits;
  return Math.max(1, Math.floor(bytes / fileBlockBytes)) * fileBlockBytes;
}
