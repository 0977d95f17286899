import type { IoFailure } from "#base/errors.ts";
import { hex } from "#base/bytes.ts";
import type { GroupConfig } from "#config/types.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { currentGeneration, describeGeneration, withTenure } from "#core/history.ts";
import type { HandoverEnd } from "#core/primary-events.ts";
import type { LinkState } from "#core/states.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Timer } from "#ports/clock.ts";
import type { ExportFound } from "#ports/exports.ts";
import { isFailure } from "#ports/file.ts";
import { eraseDirtyMaps, openGroupStore } from "#store/group-store.ts";
import { removeOtherLogs } from "#store/log-files.ts";
import { createUnmadeStore } from "#store/unmade-store.ts";
import type { GroupStore, StoreOptions } from "#store/group-store.ts";
import type { FeedUnit } from "#wire/peer/documents.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { noAutoReplay } from "./auto-replay-state.ts";
import type { AutoReplayState } from "./auto-replay-state.ts";
import { configurationOf, isFileEdited, recordedConfig, setFile } from "./configuration.ts";
import { startBunkerRun } from "./bunker-run.ts";
import type { BunkerRun } from "./bunker-run.ts";
import { startCopyRun } from "./copy-run.ts";
import type { CopyRun } from "./copy-run.ts";
import { createGateways } from "./gateway-run.ts";
import { beginGateways, endGateways, renewDevices } from "./gateways.ts";
import type { Gateways } from "./gateways.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { giveUpRoom } from "./journal-disk.ts";
import { bunkersOf, isBunkerOf, needsJournal, takesSets } from "./group-config.ts";
import { closeJournal } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { openJournal } from "./journal-start.ts";
import type { TakeBack } from "./journal-start.ts";
import { openKept } from "./branch-run.ts";
import { closePreserve } from "./preserve-run.ts";
import type { PreserveRun } from "./preserve-run.ts";
import { openStaging } from "./staging-run.ts";
import type { StagingFailure, StagingRun } from "./staging-run.ts";
import type { Inquiries } from "./inquiry.ts";
import type { PeerIdentity } from "./peer-connection.ts";
import type { SitePorts } from "./ports.ts";
import { policiesOf } from "./policies.ts";
import type { PrimaryFailure } from "./primary-failure.ts";
import { startPrimaryRun } from "./primary-run.ts";
import { takeBackFrom } from "./take-back.ts";
import { recordLater } from "./record-later.ts";
import type { ReplayRun } from "./replay.ts";
import type { PrimaryRun } from "./primary-run.ts";

// A group at one site: its store and images, and the run of the role it has.

export type Group = {
  readonly name: string;
  /** As it runs (see `GroupContext`). */
  config: GroupConfig;
  /** What this site's own file says. */
  file: GroupConfig;
  fileDigest: string;
  /** Sites whose files were found to say something else, with what was told of that. */
  readonly differingTold: Map<string, string>;
  context: GroupContext;
  run: PrimaryRun | undefined;
  /** Open while a primary with copies that take sets runs here. */
  journal: JournalRun | undefined;
  /** By volume, while a primary runs here: those on devices behind a link. */
  gateways: Gateways;
  /** Sites that do not answer this one, the primary, and how their links are called. */
  readonly linksDown: Map<string, LinkState>;
  copy: CopyRun | undefined;
  /** Open while this site keeps the group's log, and no volume. */
  bunker: BunkerRun | undefined;
  /** While a bunker brings this copy up. */
  replay: ReplayRun | undefined;
  /** What has come of replays that were to begin by themselves, since the primary fell silent. */
  autoReplay: AutoReplayState;
  /** What was last heard of the group's primary; of one before this site's own tenure, nothing is kept. */
  heard: { readonly site: string; readonly view: GroupView; readonly atMs: number } | undefined;
  /** What is wrong with the primary, where that is another site. */
  primaryFailure: PrimaryFailure | undefined;
  /** The last view of each other site. */
  readonly views: Map<string, { readonly view: GroupView; readonly atMs: number }>;
  /** The staging log here could not be written, and has not been since. */
  stagingTrouble: StagingTrouble | undefined;
  /** Of the primary that feeds this copy: beyond the ends of its smaller volumes, the images here read as zeros. */
  zeroedFor: string;
  /** Why this copy cannot become as large as its primary, or "". */
  tooSmallWhy: string;
  /** Why the group cannot go on at this site, or "". */
  failedWhy: string;
  isChangingRole: boolean;
  isReloading: boolean;
  isStopping: boolean;
  /** This site's file was edited while it was down: as the primary it takes it once it serves. */
  isFileEdited: boolean;
  readonly onServed: (group: Group) => void;
  readonly onStaging: OnStaging;
  /**
   * While a promotion is being recorded: what held before. A generation that a power cut may still take back must not be
   * told to anybody, or a primary would give way to nobody.
   */
  recordBefore: GroupRecord | undefined;
  readonly onDrop: (group: string) => void;
  readonly stopWaiters: (() => void)[];
  /** Who asked for the role to be handed over. */
  readonly handoverWaiters: HandoverWaiter[];
};

export type HandoverWaiter = (end: HandoverEnd) => void;

/** What has failed, until it is well again. */
export type StagingTrouble = StagingFailure & {
  /** Times that the copy has begun anew, or looked for room. */
  tries: number;
  /** Until the next. */
  timer: Timer | undefined;
};

/** Told how the staging log does (site/copy-anew.ts): the failure, or nothing when something was synced. */
export type OnStaging = (group: Group, failure: StagingFailure | undefined) => void;

export type GroupOptions = {
  readonly cluster: string;
  readonly site: string;
  readonly config: GroupConfig;
  readonly ports: SitePorts;
  readonly identity: PeerIdentity;
  readonly inquiries: Inquiries;
  readonly addressOf: (site: string) => string;
  readonly onDrop: (group: string) => void;
  readonly onServed: (group: Group) => void;
  readonly onStaging: OnStaging;
  readonly isOnPath?: true;
};

/** Opens a group and takes up the role that its record says. `done` gets the group, or why it cannot be opened. */
export function openGroup(
  options: GroupOptions,
  done: (group: Group | undefined, failure: string) => void,
): void {
  const { ports, config } = options;
  const folder = ports.openFolder(config.name);
  const fresh = freshRecord(options);
  const notMade = (failure: IoFailure): void => done(unmadeBunker(options, fresh, failure), "");
  const mayWait = fresh.role === "bunker" && options.isOnPath !== true;
  if (isFailure(folder)) return mayWait ? notMade(folder) : done(undefined, folder.message);
  const images: BlockDevice[] = [];
  const onVolumes = (volumes: GroupRecord["volumes"], isOnRecord: boolean): string | undefined => {
    for (const { name, bytes } of isBunkerOf(config, options.site) ? [] : volumes) {
      const image = ports.openImage(config.name, name, { bytes, isOnRecord });
      if ("code" in image) return image.message;
      images.push(image);
    }
    return undefined;
  };
  const { randomBytes } = ports.crypto;
  openGroupStore({ folder, randomBytes, fresh, onVolumes }, (opened) => {
    if (!opened.ok && mayWait && opened.notMade !== undefined) return notMade(opened.notMade);
    if (!opened.ok) return done(undefined, `group ${config.name}: ${opened.error}`);
    const group = groupOver(options, opened.value, images);
    for (const why of opened.value.damage) emit(group.context, { kind: "damage", why });
    takeRole(group, () => done(group, ""));
  });
}

/** A bunker that has no room for its own first record: its site starts all the same, and tries again (`site.ts`). */
function unmadeBunker(
  options: GroupOptions,
  fresh: StoreOptions["fresh"],
  failure: IoFailure,
): Group {
  const group = groupOver(options, createUnmadeStore(fresh, failure), []);
  const how = "it is tried again by itself, and goes on once there is room";
  group.failedWhy = `the group's record cannot be made: ${failure.message}; ${how}`;
  return group;
}

function groupOver(options: GroupOptions, store: GroupStore, images: BlockDevice[]): Group {
  const { config } = options;
  const running = recordedConfig(config, store.record);
  const group: Group = {
    name: config.name,
    config: running,
    file: config,
    fileDigest: "",
    differingTold: new Map(),
    context: { ...options, config: running, store, images },
    run: undefined,
    journal: undefined,
    gateways: [],
    linksDown: new Map(),
    copy: undefined,
    bunker: undefined,
    replay: undefined,
    autoReplay: noAutoReplay(),
    heard: undefined,
    primaryFailure: undefined,
    views: new Map(),
    stagingTrouble: undefined,
    zeroedFor: "",
    tooSmallWhy: "",
    failedWhy: "",
    isChangingRole: false,
    isReloading: false,
    isStopping: false,
    isFileEdited: false,
    onServed: options.onServed,
    onStaging: options.onStaging,
    recordBefore: undefined,
    onDrop: options.onDrop,
    stopWaiters: [],
    handoverWaiters: [],
  };
  group.isFileEdited = store.record.role === "primary" && isFileEdited(group);
  setFile(group, config);
  return group;
}

function freshRecord(options: GroupOptions): StoreOptions["fresh"] {
  const { config, site, ports } = options;
  const isPrimary = config.primary === site;
  const isBunker = isBunkerOf(config, site);
  const id = hex(ports.crypto.randomBytes(8));
  return {
    cluster: options.cluster,
    group: config.name,
    site,
    role: isPrimary ? "primary" : isBunker ? "bunker" : "secondary",
    history: isPrimary ? withTenure([], site, id, { atMs: ports.clock.wallMs() }) : [],
    incarnation: 0,
    lsnReserved: 1,
    bootId: ports.bootId,
    cleanStop: true,
    image: isPrimary ? "synchronized" : isBunker ? "none" : "out-of-sync",
    syncedAt: undefined,
    toldOfFracture: undefined,
    failedVolumes: [],
    volumes: config.volumes.map(({ name, bytes }) => ({ name, bytes })),
    regionBytes: config.regionBytes,
    members: {},
    preservedPoint: undefined,
    // Whatever an operator does to that folder, its log begins anew: no disk of it is a stranger.
    ...(options.isOnPath === true ? { replicaId: site } : {}),
  };
}

// ------------------------------------------------------------------------------------------- roles

function takeRole(group: Group, done: () => void): void {
  const { context } = group;
  const { record } = context.store;
  const isSameBoot = record.bootId !== "" && record.bootId === context.ports.bootId;
  const isPowerLost = !record.cleanStop && !isSameBoot;
  record.bootId = context.ports.bootId;
  switch (record.role) {
    case "primary":
      return becomePrimary(group, isPowerLost, done);
    case "bunker":
      return becomeBunker(group, done);
    default:
      return becomeCopy(group, done);
  }
}

function becomeBunker(group: Group, done: () => void): void {
  const onFailed = (why: string): void => {
    fail(group, why);
    group.bunker?.close(why);
  };
  startBunkerRun(group.context, onFailed, (started) => {
    if (started.ok) group.bunker = started.value;
    else fail(group, `the log of this bunker cannot be used: ${started.error}`);
    done();
  });
}

/** Opens the journal where a copy needs one; then the primary runs, or the group has failed here. */
export function becomePrimary(group: Group, isPowerLost: boolean, done: () => void): void {
  const { context, config } = group;
  const gateways = createGateways(context);
  group.gateways = gateways;
  if (!needsJournal(config)) {
    if (gateways.some((gateway) => gateway !== undefined)) {
      fail(group, "a volume on an NBD server needs a copy that is fed from the journal");
      return done();
    }
    // Whatever one holds is of the past, and must not be written over what follows.
    delete context.store.record.journalId;
    runPrimary(group, undefined);
    return done();
  }
  const isFresh = context.store.record.incarnation === 0;
  const bunkers = isFresh ? [] : bunkersOf(config);
  const takeBack: TakeBack = (journal, taken) => takeBackFrom(context, bunkers, journal, taken);
  const options = { context, bytesMax: config.journal.bytesMax, isPowerLost, takeBack, gateways };
  openJournal(options, (opened) => {
    if (!opened.ok) {
      fail(group, `the journal cannot be used: ${opened.error}`);
      return done();
    }
    beginGateways(gateways, opened.value.log, (misfit) => {
      if (misfit === undefined) runPrimary(group, opened.value);
      else fail(group, misfit);
      done();
    });
  });
}

export function fail(group: Group, why: string): void {
  group.failedWhy = why;
  emit(group.context, { kind: "failed", why });
}

function runPrimary(group: Group, journal: JournalRun | undefined): void {
  const { context } = group;
  group.journal = journal;
  group.heard = undefined;
  for (const why of journal?.log.damage ?? []) emit(context, { kind: "damage", why });
  const { config, site, store, ports } = context;
  store.record.configuration ??= {
    ...configurationOf(config, 1, ports.crypto),
    file: group.fileDigest,
  };
  // A member that left the configuration is forgotten, or it would hold the stable LSN back for ever.
  const policies = policiesOf(config, site);
  for (const member of Object.keys(store.record.members)) {
    if (policies.some((policy) => policy.site === member)) continue;
    eraseDirtyMaps(store, member);
    delete store.record.members[member];
  }
  group.run = startPrimaryRun({
    context,
    policies,
    journal,
    gateways: group.gateways,
    onServed() {
      emit(context, { kind: "serving", why: describe(context) });
      if (group.journal === undefined) removeOtherLogs(context.store.folder, "journal", undefined);
      group.onServed(group);
    },
    onJournalEnded: () => void (group.journal = undefined),
    onDropExports: () => group.onDrop(group.name),
    onHandoverEnded(end) {
      for (const waiter of group.handoverWaiters.splice(0)) waiter(end);
    },
    onEnded: (how, why) => primaryEnded(group, how, why),
  });
}

export function describe(context: GroupContext): string {
  const { record } = context.store;
  return `${describeGeneration(record.history)}, incarnation ${record.incarnation}`;
}

/** Takes up what is kept of older images, opens the staging log where sets may come, or have come; then the copy can be fed. */
export function becomeCopy(group: Group, done: () => void, unit: FeedUnit = "write"): void {
  giveUpRoom(group.context);
  openKept(group.context, (kept) => {
    if (!kept.ok) {
      fail(group, `what is kept of older images cannot be taken up: ${kept.error}`);
      return done();
    }
    const preserve = kept.value;
    const { stagingId } = group.context.store.record;
    const hasSets = unit === "set" || stagingId !== undefined || takesSets(group.config);
    if (!hasSets) return runCopy(group, { preserve, staging: undefined }, done);
    openStaging(group.context, (opened) => {
      if (opened.ok) return runCopy(group, { preserve, staging: opened.value }, done);
      closePreserve(preserve);
      if (opened.failure !== undefined) group.onStaging(group, opened.failure);
      else fail(group, `the staging log cannot be used: ${opened.error}`);
      done();
    });
  });
}

function runCopy(
  group: Group,
  parts: { readonly preserve: PreserveRun; readonly staging: StagingRun | undefined },
  done: () => void,
): void {
  const { staging } = parts;
  for (const why of staging?.log.damage ?? []) emit(group.context, { kind: "damage", why });
  group.copy = startCopyRun({
    context: group.context,
    ...parts,
    onStarted: done,
    onFailed: (why) => {
      fail(group, why);
      group.copy?.close(why);
    },
    onStagingFailed: (failure) => group.onStaging(group, failure),
    onStagingSynced: () => group.onStaging(group, undefined),
  });
  if (staging === undefined) done();
  else group.copy.start();
}

function primaryEnded(group: Group, how: "demoted" | "stopped" | "failed", why: string): void {
  group.run?.close();
  const { gateways } = group;
  group.gateways = [];
  endGateways(gateways, () => afterPrimary(group, how, why));
}

function afterPrimary(group: Group, how: "demoted" | "stopped" | "failed", why: string): void {
  if (group.journal !== undefined) closeJournal(group.journal);
  group.journal = undefined;
  emit(group.context, { kind: "role", from: "primary", to: how, why });
  if (how === "failed") {
    group.failedWhy = why;
    recordLater(group.context, () => group.isStopping);
  }
  if (how === "demoted") {
    group.run = undefined;
    const notOpened = renewDevices(group.context);
    if (notOpened !== undefined) {
      fail(group, notOpened);
      return tellStopped(group);
    }
    return becomeCopy(group, () => tellStopped(group));
  }
  tellStopped(group);
}

function tellStopped(group: Group): void {
  for (const waiter of group.stopWaiters.splice(0)) waiter();
}

/** Nobody waits for the staging log any more. */
export function endTrouble(group: Group): void {
  group.stagingTrouble?.timer?.cancel();
  group.stagingTrouble = undefined;
}

/** The record as others may know it. */
export function knownRecord(group: Group): GroupRecord {
  return group.recordBefore ?? group.copy?.copy.recordBefore ?? group.context.store.record;
}

export function findVolume(group: Group, name: string): ExportFound {
  const index = group.config.volumes.findIndex((volume) => volume.name === name);
  if (index === -1) return { kind: "unknown" };
  if (group.failedWhy !== "") return { kind: "refused", why: group.failedWhy };
  const volume = group.run?.volumes[index];
  if (volume !== undefined && group.run?.primary.stage !== "ended")
    return { kind: "served", volume };
  const primary = primaryOf(group);
  const there =
    primary === "" || primary === group.context.site ? "" : `; the primary is ${primary}`;
  return {
    kind: "refused",
    why: `${group.context.site} is ${knownRecord(group).role} of ${group.name}${there}`,
  };
}

/** The site that this one holds for the primary. */
export function primaryOf(group: Group): string {
  const record = knownRecord(group);
  if (group.run !== undefined) return group.context.site;
  return group.heard?.site ?? currentGeneration(record.history)?.site ?? group.config.primary;
}

// -------------------------------------------------------------------------------------------- stop

/** Ends the group at this site. The images are closed; the record says whether the stop was clean. */
export function stopGroup(group: Group, done: () => void): void {
  group.isStopping = true;
  endTrouble(group);
  const close = (): void => {
    endGateways(group.gateways, () => {
      for (const image of group.context.images) image.close();
      done();
    });
  };
  if (group.run === undefined || group.run.primary.stage === "ended") {
    group.copy?.close("this site is stopping");
    group.copy?.dispose();
    group.bunker?.close("this site is stopping");
    group.bunker?.dispose();
    return close();
  }
  group.stopWaiters.push(close);
  group.run.submit({ kind: "drain", next: "stop" });
}
