// Every limit of the product, with its unit. A queue without a line here does not pass review; docs/limits.md is
// printed from this file. Relations between limits are asserted in limits.test.ts.

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

export const limits = {
  /** The smallest unit that a disk writes whole; a torn write tears between these. */
  sectorBytes: 512,

  // Volumes and groups
  volumeBytesMax: 16 * TiB,
  volumesPerGroupMax: 64,
  copiesPerGroupMax: 8,
  groupsMax: 256,
  nameBytesMax: 64,
  sitesMax: 64,
  configBytesMax: 1 * MiB,
  /** A group's settings, as its sites tell them to each other; and how many groups' one message tells. */
  settingsBytesMax: 12 * KiB,
  settingsPerMessageMax: 8,
  secretFileBytesMax: 4 * KiB,
  /** Durations of the cluster file; far below what a timer can count. */
  durationMsMax: 24 * 3_600_000,
  /** Resync slower than this would never end; a smaller `rate` is taken for a slip. */
  rateBytesPerSecondMin: 4 * KiB,
  /** `sun_path` of Linux, without its closing zero. */
  unixPathBytesMax: 107,

  // Hosts (NBD)
  /** What no write of a host is shorter than, where writes are only known by their bytes. */
  hostBlockBytesMin: 512,
  hostRequestBytesMax: 32 * MiB,
  /** Bytes of requests that one host connection may have under way before we stop reading from it. */
  hostInFlightBytesMax: 64 * MiB,
  hostInFlightRequestsMax: 1024,
  hostConnectionsMax: 4096,
  nbdOptionBytesMax: 8 * KiB,
  nbdNameBytesMax: 4096,
  nbdHandshakeMsMax: 10_000,
  nbdOptionsPerHandshakeMax: 256,
  nbdMetaContextsMax: 16,
  /** Data of an option that is too long is dropped up to here, beyond it the connection is. */
  nbdOptionSkipBytesMax: 1 * MiB,
  /**
   * Headers of replies share such blocks; a payload up to the second limit is copied in rather than written by itself.
   */
  nbdReplyBlockBytes: 32 * KiB,
  nbdReplyCopyBytesMax: 4 * KiB,
  /** Replies that came at once are sent when they are this many bytes, before the turn ends. */
  nbdReplyBatchBytesMax: 256 * KiB,
  nbdExtentsMax: 8192,
  /**
   * Bytes that all host connections together may hold: half-received writes, requests under way, replies not yet taken.
   */
  hostHeldBytesMax: 512 * MiB,
  /** Every so often the connections are looked over for those that stand still. */
  nbdSweepMs: 1_000,
  /** How long a connection may take to end once it has to. */
  nbdDrainMsMax: 5_000,
  nbdKeepAliveMs: 60_000,
  /** Broken connections reported in a second; the rest are only counted. */
  nbdReportsPerSweepMax: 10,
  /** How long the loop stays awake for a host request under way, and for the next one of a host that hurries. */
  hostPollOpenMicrosMax: 200,
  hostPollRestMicrosMax: 100,
  /** It stays awake for requests up to this length. */
  hostPollRequestBytesMax: 128 * KiB,

  // Open map and dirty maps
  openGranuleBytes: 1 * MiB,
  /** Granules that may be open at the primary. At three quarters a sync round starts, at the limit cold writes wait. */
  openGranulesMax: 16_384,
  openIdleMs: 1_000,
  /** While its volume is written to, a granule stays open for so long after its last write (docs/decisions/0018). */
  openHotMs: 30_000,
  openRoundMsMax: 10_000,
  regionBytesMin: 4 * KiB,
  regionBytesMax: 1 * MiB,
  /**
   * Bytes written to an image and not yet synced: a background sync starts once they take its disk so long, and hosts wait at
   * twice that (io/unsynced-bound.ts, docs/decisions/0006). The first is assumed of a disk that nothing is known of.
   */
  unsyncedSyncMs: 500,
  unsyncedBytesFirst: 256 * MiB,
  unsyncedBytesMin: 64 * MiB,
  unsyncedBytesMax: 1 * GiB,
  /** All images together leave at most this part of the memory unsynced: the kernel begins to stall writers at a tenth. */
  unsyncedMemoryDivisor: 12,

  /** Pages of a map file that are read at once at start. */
  mapReadChunkPages: 2048,

  /** One of the two slots of a group record. */
  recordSlotBytes: 256 * KiB,
  /** One of the two slots that say whose a log on a path is. */
  ownerSlotBytes: 256 * KiB,
  /** Promotions that a group can go through; its history is kept whole, to compare it with others. */
  generationsMax: 1_000,

  // Images in files and devices
  /** Calls in a row that were interrupted, or refused for now. Never seen on files; bounded all the same. */
  fileAttemptsMax: 100,
  /** A longer read goes to the thread pool even when it is cached: copying it would hold up the loop. */
  cachedReadBytesMax: 1 * MiB,
  /** Of a log: the end that a sender has left, not a whole `senderReadBytes`, which would hold up the loop for long. */
  logCachedReadBytesMax: 2 * MiB - 4 * KiB,
  /** Longer writes go to the page cache in pieces between multiples of this (io/file-device.ts says why). */
  imageWriteBytesMax: 32 * KiB,
  /** Writes from this length on, whole multiples of the unit, go past the page cache (io/direct-writes.ts says why). */
  directWriteBytesMin: 256 * KiB,
  /** A block of the disk, whatever its sectors are: what goes past the page cache begins and ends at one. */
  directWriteUnitBytes: 4 * KiB,
  /** So many have come before in a row: where short ones come between, all go through the page cache. */
  directWriteRunMin: 64,
  /** Under way at the same time, of all images: a thread of the pool is left for reads and syncs. */
  directWritesMax: 3,
  /** Memory that each holds: longer ones are made one block after the other. */
  directWriteBytesMax: 1 * MiB,
  /** Reads from this length on are made without the kernel's reading ahead (io/file-device.ts says why). */
  imageBulkReadBytesMin: 128 * KiB,
  /** Memory of zeros that is written again and again where ranges cannot be zeroed otherwise. */
  zeroChunkBytes: 1 * MiB,
  /** Runs of data and holes that one question answers; what lies behind counts as stored. */
  extentsPerAnswerMax: 1_024,

  // Devices behind a link (NBD servers)
  /** A read that needs a device which is away waits so long, then it fails. */
  deviceTimeoutMs: 30_000,
  /** A request that a device does not answer for so long ends the connection; an idle one is asked something so often. */
  deviceSilenceMsMax: 10_000,
  deviceProbeMs: 2_000,
  deviceRedialMsMin: 100,
  deviceRedialMsMax: 2_000,
  /** Longer requests are made in pieces. */
  devicePieceBytesMax: 1 * MiB,
  /** What is under way at a device. */
  deviceRequestsMax: 64,
  deviceBytesMax: 16 * MiB,
  /** What a device was sent is flushed so often, or when it is so much. */
  deviceFlushMs: 1_000,
  deviceFlushBytes: 64 * MiB,
  /** What is read of the journal at first, for a host's read that the device cannot answer. */
  deviceReadBackBytes: 64 * KiB,
  /** Read back from the journal for a device, ahead of what is under way. */
  deviceAheadBytesMax: 8 * MiB,
  /** Ranges that a device does not have yet, each with its place in the journal; beyond it hosts' writes wait. */
  overlayPiecesMax: 1_048_576,

  // Numbers reserved ahead, durably, before they are used
  lsnReserve: 1 << 20,
  lsnReserveMargin: 1 << 18,

  // Journal and sets at the primary
  /** One append: a turn's writes beyond this go in several. */
  batchBytesMax: 1 * MiB,
  batchEntriesMax: 4_096,
  /** Room that is kept in a journal for what is on its way when it is found to be full. */
  journalMarginBytes: 96 * MiB,
  /** An event tells of a full journal once writes have waited so long for room, and of its end once there was room so long. */
  fullToldMs: 1_000,
  fullOverMs: 10_000,
  /** Of a journal's last segment so much is allocated before it is needed, by steps, and as much in a file for the next one. */
  journalAheadBytes: 40 * MiB,
  journalAheadStepBytes: 8 * MiB,
  /** What of that is kept for what is on its way when the disk is found to be full: the longest record, and seals. */
  journalAheadMarginBytes: 34 * MiB,
  /** A disk that had no room is asked again so often. */
  journalRoomRetryMs: 1_000,
  /** Files take whole blocks of their file system. */
  fileBlockBytes: 4 * KiB,
  /** Beside the room of dirty maps, what a full disk must have left for the group's own records, and for a new name (XFS). */
  storeReserveBytes: 1 * MiB,
  setEntriesMax: 65_536,
  /** A journal has no more segments than a log may have. */
  journalBytesMin: 16 * MiB,
  journalBytesMax: 16 * TiB,
  /** From here on it takes the longest writes whole, with room for a few; a smaller one takes parts (core/journal-size.ts). */
  journalBytesWhole: 256 * MiB,
  /** A segment of the journal; a smaller journal has sixteen. */
  journalSegmentBytes: 64 * MiB,
  /** Sets are found, and let go, by stretches of the journal about this long. */
  journalStretchBytes: 1 * MiB,
  journalReadBytes: 4 * MiB,
  /** After so many bytes of writes, or a quarter of the journal, the images are synced: it keeps no more on their account. */
  journalForImagesBytes: 128 * MiB,
  /** A journal that no host flushes is synced when so much has been appended. */
  journalUnsyncedBytesMax: 64 * MiB,
  /** What a copy's sender reads at once, and leaves to one connection at most. */
  senderReadBytes: 2 * MiB,
  laneQueueBytesMax: 1 * MiB,
  /** What a connection may have to send when it is given a batch that was just appended; else that one is read back later. */
  laneFreshBytesMax: 8 * MiB,
  /** Batches that are being packed or unpacked at a time, in all: the pool of threads also writes and syncs. */
  packingsMax: 2,
  zstdLevel: 1,
  /** Log of the memory that unpacking may look back over: 8 MiB, so that no peer can make it large. */
  zstdWindowLogMax: 23,
  /** A batch with less payload is sent as it is. */
  packBytesMin: 1 * KiB,
  /** `compress: auto`: what a copy is behind before anything is packed for it. */
  packBehindBytesMin: 8 * MiB,
  /** A link that carries more than this is not packed for, nor what shrinks to more than this. */
  packLinkBytesPerSecondMax: 64 * MiB,
  packPercentMax: 80,
  /** After so many bytes, what did not pay is tried again. */
  packRetryBytes: 64 * MiB,
  /** Sets that a copy's status lists. */
  setsShownMax: 16,
  /** Connections that one session may have beside its first. */
  sessionLanesMax: 64,
  /** What a copy stages at most; its sender's window keeps far below. */
  stagingBytesMax: 2 * GiB,
  stagingSegmentBytes: 64 * MiB,
  /** A copy whose staging log could not be written begins anew after the first time, then less and less often. */
  stagingRetryMsMin: 2_000,
  stagingRetryMsMax: 30_000,
  /** Room that there must be then, beside what could not be written. */
  stagingRoomBytesMin: 64 * KiB,
  /** Bytes sent to a copy and not yet in its images: between these, by round trip and rate (site/send-window.ts). */
  sessionWindowBytesMin: 16 * MiB,
  sessionWindowBytesMax: 64 * MiB,
  /** The rate at which a copy takes bytes is measured over such times at least; what was best is known for twice the second. */
  sendSampleMs: 20,
  sendMemoryMs: 5_000,
  sessionSetsMax: 16_384,
  /** An idle group seals an empty set so often: the copies' recovery point moves on. */
  emptySealMs: 1_000,
  /** How long a primary that has failed waits before it tries again to put that on record. */
  recordRetryMs: 1_000,
  /** Hosts slowed down by a journal that fills: the room that is left is given away over this time; how rates are averaged. */
  paceHorizonMs: 10_000,
  paceMemoryMs: 1_000,
  paceMemoryNowMs: 200,
  paceElapsedMsMax: 1_000,
  paceMarksMax: 600,
  /** When a journal will be full is foretold by such whiles, and not where it takes longer than the second. */
  forecastWhileMs: 2_000,
  forecastMsMax: 30 * 24 * 3_600_000,
  /** Resyncs of a copy in a row that a full journal may end, before it is left alone. */
  resyncOverflowsMax: 3,
  /** Cycles: their length; how much of what a session may be sending is sent as one set after a loss, and of each of them. */
  cycleMsMin: 5,
  cycleMsMax: 60_000,
  /** Longest cycle that is to be acked at its end without a warning: a host feels every write of it. */
  cycleAckedMsMax: 1_000,
  cycleEntriesMax: 32_768,
  /** Cycles that are gathered ahead of what is sent. */
  cyclesGatheredMax: 16,
  /** A set that is to end with a host's FLUSH alone ends after this without one. */
  bracketMsMax: 30_000,
  bracketBytesMax: 256 * MiB,

  // Bunker
  /** `onLoss: off`: what a bunker may lack; new writes wait beyond it. */
  bunkerLagBytesMax: 64 * MiB,
  /** A connection that has more to send is not given what was just appended: that is read back later. */
  bunkerFreshBytesMax: 32 * MiB,
  /** `replayAfter`: how long a primary is silent before a bunker brings a copy up by itself. */
  replayAfterMsMin: 1_000,
  /** A shorter one is warned of: the machine of a primary takes longer to start again, and finds its log taken. */
  replayAfterShortMs: 30_000,
  /** By how much each further copy waits longer, so that the first of the file that can be brought up is. */
  replayTurnMs: 10_000,
  /** A replay that was to begin by itself, and was refused or cut short, is tried again: less and less often. */
  replayRetryMsMin: 2_000,
  replayRetryMsMax: 60_000,
  /** A relay whose log is full says so again after this long, until there is room. */
  relayFullTellMs: 1_000,

  // Peer protocol
  /** A host's longest request with the table of its batch. */
  peerBodyBytesMax: 33 * MiB,
  peerControlBytesMax: 256 * KiB,
  /** Of what another site says for people: the rest is cut off. */
  peerReasonCharsMax: 500,
  peerHandshakeMsMax: 10_000,
  peerDialMsMax: 3_000,
  peerConnectionsMax: 1024,
  /** How long a connection that we ended waits for the other side to end too. */
  peerEndMsMax: 5_000,
  /** Chunks up to this length are copied together before they are sent: dearer per byte, cheaper per chunk. */
  sendJoinBytesMax: 2 * KiB,
  /** Such copies are at most this long. */
  sendJoinedBytesMax: 64 * KiB,
  /**
   * Sockets receive into blocks of this size, one read behind the other, and take the next when less room than that is
   * left.
   */
  receiveBlockBytes: 128 * KiB,
  receiveRoomBytesMin: 32 * KiB,
  /** The first block: a handshake needs no more, and a thousand idle connections have one each. */
  receiveBlockBytesFirst: 8 * KiB,
  /**
   * From so many missing bytes on, the rest of a message is received into memory of its own, in blocks up to the second
   * size.
   */
  landingBytesMin: 64 * KiB,
  landingBlockBytesMax: 1 * MiB,
  /** Such blocks are kept for the next message, up to so many bytes in a process. */
  landingKeptBytesMax: 16 * MiB,
  /** Received chunks from this length on are given back at once; below, the garbage collector does it as well. */
  giveBackBytesMin: 16 * KiB,
  peerRedialMsMin: 100,
  peerRedialMsMax: 2_000,
  /** Bytes sent to one copy and not answered, beyond which new writes wait. */
  sessionOutstandingBytesMax: 256 * MiB,

  /** Probes under half of `ackTimeout` that a member lost as `slow` must answer before it may come back (decision 8). */
  quickProbesMin: 3,

  // Resync
  /** Regions under way: the window begins with the first, and follows how soon the member answers (core/resync.ts). */
  resyncWindowFirstBytes: 1 * MiB,
  resyncWindowBytes: 8 * MiB,
  resyncChunkBytes: 1 * MiB,
  /** So much is synced at the member at a time: what a lost session costs at most to be compared again. */
  resyncUnsyncedBytesMax: 16 * MiB,

  // Journal and staging (logs)
  /** A log grows and shrinks by segments; every segment is an open file. */
  logSegmentsMax: 1_024,
  /** Reclaimed segments that are kept to be written over. */
  logSparesMax: 8,
  logTableBytesMax: 1 * MiB,
  logPayloadBytesMax: 32 * MiB,
  /** Read at once when a log is opened; a payload longer than this is passed over. */
  logScanBytes: 256 * KiB,
  /** The place of one record in so many bytes is kept in memory: who looks for another reads on from there. */
  logIndexBytes: 1 * MiB,

  // Control
  /** A hook that has not ended by then is killed. */
  hookMsMax: 30_000,
  eventsKeptMax: 10_000,
  apiBodyBytesMax: 64 * KiB,
  /** Size at which events.jsonl becomes events.jsonl.1; so the two together stay under twice this. */
  eventsFileBytesMax: 4 * MiB,
  /** One change of state to and fro: told so often in such a time, then once in it, until it has stopped for that long. */
  eventsRepeatsMax: 50,
  eventsRepeatMs: 600_000,
  /** Events that one answer of GET /v1/events holds. */
  eventsPerAnswerMax: 10_000,
  /** Questions of the API thread that the engine has not answered; beyond it the API answers 503. */
  apiCallsPendingMax: 256,
  /** The engine's thread must answer a question for its state within this, or the API says that it does not. */
  apiAnswerMsMax: 3_000,
  apiStreamsMax: 64,
  /** Bytes that wait for one reader of the event stream before it is cut off; it resumes by Last-Event-ID. */
  apiStreamQueueBytesMax: 1 * MiB,
  apiHeapMiBMax: 256,
  /** A stream that has nothing to tell says so, so that nobody between takes it for dead. */
  apiStreamHeartbeatMs: 15_000,
  /** After the API's thread died. */
  apiRestartMs: 1_000,
  /** Without an answer within this, the CLI takes a site for absent. Commands wait longer, since they do something. */
  cliAnswerMsMax: 5_000,
  /** What the CLI reads of one answer at most. */
  apiAnswerBytesMax: 16 * MiB,
  /** What `inspect` lists of a group; how many more there are it says. */
  inspectEntriesMax: 1_000_000,
  inspectRunsMax: 100_000,
  /** The demo's sites are killed when they have not stopped by then. */
  demoStopMsMax: 20_000,
  /** Trace lines are handed to the file once a turn of the loop, or when this much waits. */
  traceBufferBytes: 256 * KiB,
  tickMs: 100,

  // Planned changes of role
  /** Hosts wait at most so long while the role is handed over; then nothing has changed. */
  handoverMsDefault: 30_000,
  /** So much longer, and whoever asked is told that the successor has not said whether it took the role. */
  handoverAnswerMs: 5_000,
  /** Hosts begin to wait when a copy that takes sets lacks no more writes than this. */
  handoverWritesMax: 1_024,

  // Growing a volume
  /** So much is looked at of what a file holds behind the volume's bytes, where a growth that was cut short leaves nothing. */
  imageLookBytesMax: 1 * MiB,
  /** A block device's new part is filled with zeros in pieces of this size. */
  growZeroBytesMax: 16 * MiB,
  /** A copy that is busy is asked again so often, and for so long; then the command is to be given again. */
  growRetryMs: 200,
  growPatienceMs: 60_000,

  // Verify
  /** Chunks (`resyncChunkBytes`) that a walk reads, or has a copy compare, at a time. */
  verifyChunksMax: 4,
  /** A chunk that was written to before a copy of sets had compared it is read again; after so many times writes wait. */
  verifyTriesMax: 3,
  /** Ranges that `status` lists of what differs; how much there is it tells all the same. */
  verifyRangesToldMax: 100,

  // The preserved point
  /** Old content is saved in units of this size: the pages of the cache that the image is read through. */
  preserveUnitBytes: 4 * KiB,
  /** Old content that is read, appended and synced at once. */
  preserveStepBytesMax: 8 * MiB,
  /** Room where the cluster file names none: a fifth of the volumes, but at least this. */
  preserveBytesDefaultMin: 64 * MiB,
  /** More than this is not used, whatever the cluster file says: a log has so many segments. */
  preserveBytesMax: 1 * TiB,
  preserveSegmentBytesMin: 32 * MiB,
  /** What is written back at once. */
  preserveUndoBytesMax: 8 * MiB,

  // Sets at a copy
  /** What an entry counts besides its payload, in the bounds of a copy and in the window of its sender. */
  entryCostBytes: 256,
  /** Sets that a copy may hold something of until it is applied, synced and on record; beyond it the session ends. */
  setsAtCopyMax: 65_536,
  /** Staged so much without a sync, one begins though no set is whole. */
  stagingUnsyncedBytesMax: 16 * MiB,
  /** Sets that are being written to the images at a time; the next waits, unless it is the only one. */
  applyingSetsMax: 64,
  applyingBytesMax: 32 * MiB,
  /** Applied so much without a sync of the images, one begins; or after a rest, and at the latest after the second time. */
  applyUnsyncedBytesMax: 64 * MiB,
  applyUnsyncedSetsMax: 4_096,
  applyIdleMs: 1_000,
  applySyncMsMax: 10_000,
} as const;
