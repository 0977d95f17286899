import { hex } from "#base/bytes.ts";
import type { IoFailure } from "#base/errors.ts";
import type { GroupConfig } from "#config/types.ts";
import { blankMember } from "#core/group-record.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { currentGeneration, describeGeneration, withTenure } from "#core/history.ts";
import type { HandoverEnd } from "#core/primary-events.ts";
import { policyTable } from "#core/policy.ts";
import { createRegionMap, mark, orInto } from "#core/region-map.ts";
import type { BlockDevice } from "#ports/block-device.ts";
import type { Timer } from "#ports/clock.ts";
import type { ExportFound } from "#ports/exports.ts";
import { isFailure } from "#ports/file.ts";
import { createDirtyMaps, eraseDirtyMaps, openGroupStore, saveRecord } from "#store/group-store.ts";
import type { FeedUnit, GroupView } from "#wire/peer/documents.ts";
import { configurationOf, isFileEdited, recordedConfig, setFile } from "./configuration.ts";
import { startCopyRun } from "./copy-run.ts";
import type { CopyRun } from "./copy-run.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { closeJournal, openJournal, removeLogs } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { openKept } from "./branch-run.ts";
import { closePreserve, dropPoint, revert } from "./preserve-run.ts";
import type { PreserveRun } from "./preserve-run.ts";
import { openStaging } from "./staging-run.ts";
import type { StagingFailure, StagingRun } from "./staging-run.ts";
import type { Inquiries } from "./inquiry.ts";
import type { PeerIdentity } from "./peer-connection.ts";
import type { SitePorts } from "./ports.ts";
import { policiesOf } from "./policies.ts";
import { startPrimaryRun } from "./primary-run.ts";
import { recordLater } from "./record-later.ts";
import type { PrimaryRun } from "./primary-run.ts";

// A group at one site: its store and images, and the run of the role it has. Changes of role happen here and nowhere
// else, each durable before anything rests on it.

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
  copy: CopyRun | undefined;
  /** What was last heard of the group's primary. */
  heard: { readonly site: string; readonly view: GroupView; readonly atMs: number } | undefined;
  /** The last view of each other site. */
  readonly views: Map<string, { readonly view: GroupView; readonly atMs: number }>;
  /** The staging log here could not be written, and has not been since. */
  stagingTrouble: StagingTrouble | undefined;
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
};

/** Opens a group and takes up the role that its record says. `done` gets the group, or why it cannot be opened. */
export function openGroup(
  options: GroupOptions,
  done: (group: Group | undefined, failure: string) => void,
): void {
  const { ports, config } = options;
  const folder = ports.openFolder(config.name);
  if (isFailure(folder)) return done(undefined, folder.message);
  const images: BlockDevice[] = [];
  for (const volume of config.volumes) {
    const image = ports.openImage(config.name, volume.name, volume.bytes);
    if ("code" in image) return done(undefined, `group ${config.name}: ${image.message}`);
    images.push(image);
  }
  const fresh = freshRecord(options);
  openGroupStore({ folder, randomBytes: ports.crypto.randomBytes, fresh }, (opened) => {
    if (!opened.ok) return done(undefined, `group ${config.name}: ${opened.error}`);
    const store = opened.value;
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
      copy: undefined,
      heard: undefined,
      views: new Map(),
      stagingTrouble: undefined,
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
    for (const why of store.damage) emit(group.context, { kind: "damage", why });
    takeRole(group, () => done(group, ""));
  });
}

function freshRecord(options: GroupOptions): Omit<GroupRecord, "replicaId" | "openMapIds"> {
  const { config, site, ports } = options;
  const isPrimary = config.primary === site;
  const id = hex(ports.crypto.randomBytes(8));
  return {
    cluster: options.cluster,
    group: config.name,
    site,
    role: isPrimary ? "primary" : "secondary",
    history: isPrimary ? withTenure([], site, id, ports.clock.wallMs()) : [],
    incarnation: 0,
    lsnReserved: 1,
    bootId: ports.bootId,
    cleanStop: true,
    image: isPrimary ? "synchronized" : "out-of-sync",
    syncedAt: undefined,
    toldOfFracture: undefined,
    failedVolumes: [],
    volumes: config.volumes.map(({ name, bytes }) => ({ name, bytes })),
    regionBytes: config.regionBytes,
    members: {},
    preservedPoint: undefined,
  };
}

// ------------------------------------------------------------------------------------------- roles

function takeRole(group: Group, done: () => void): void {
  const { context } = group;
  const { record } = context.store;
  const isSameBoot = record.bootId !== "" && record.bootId === context.ports.bootId;
  const isPowerLost = !record.cleanStop && !isSameBoot;
  record.bootId = context.ports.bootId;
  if (record.role === "primary") becomePrimary(group, isPowerLost, done);
  else becomeCopy(group, done);
}

/** Opens the journal where a copy needs one; then the primary runs, or the group has failed here. */
function becomePrimary(group: Group, isPowerLost: boolean, done: () => void): void {
  const { context, config } = group;
  if (!takesSets(config)) {
    // Whatever one holds is of the past, and must not be written over what follows.
    delete context.store.record.journalId;
    runPrimary(group, undefined);
    return done();
  }
  openJournal({ context, bytesMax: config.journal.bytesMax, isPowerLost }, (opened) => {
    if (opened.ok) runPrimary(group, opened.value);
    else fail(group, `the journal cannot be used: ${opened.error}`);
    done();
  });
}

/** Some copy of the group is fed with sets, from a journal. */
export function takesSets(config: GroupConfig): boolean {
  return [...config.copies.values()].some(({ mode }) => policyTable[mode].unit === "set");
}

export function fail(group: Group, why: string): void {
  group.failedWhy = why;
  emit(group.context, { kind: "failed", why });
}

function runPrimary(group: Group, journal: JournalRun | undefined): void {
  const { context } = group;
  group.journal = journal;
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
    onServed() {
      emit(context, { kind: "serving", why: describe(context) });
      if (group.journal === undefined) removeLogs(context.store.folder, "journal");
      group.onServed(group);
    },
    onJournalEnded: () => {
      group.journal = undefined;
    },
    onDropExports: () => group.onDrop(group.name),
    onHandoverEnded(end) {
      for (const waiter of group.handoverWaiters.splice(0)) waiter(end);
    },
    onEnded: (how, why) => primaryEnded(group, how, why),
  });
}

function describe(context: GroupContext): string {
  const { record } = context.store;
  return `${describeGeneration(record.history)}, incarnation ${record.incarnation}`;
}

/** Takes up what is kept of older images, opens the staging log where sets may come, or have come; then the copy can be fed. */
export function becomeCopy(group: Group, done: () => void, unit: FeedUnit = "write"): void {
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
  if (group.journal !== undefined) closeJournal(group.journal);
  group.journal = undefined;
  emit(group.context, { kind: "role", from: "primary", to: how, why });
  if (how === "failed") {
    group.failedWhy = why;
    recordLater(group.context, () => group.isStopping);
  }
  if (how === "demoted") {
    group.run = undefined;
    return becomeCopy(group, () => tellStopped(group));
  }
  tellStopped(group);
}

function tellStopped(group: Group): void {
  for (const waiter of group.stopWaiters.splice(0)) waiter();
}

/**
 * Makes this site the primary of a new generation. What every other member may lack is durable together with the
 * generation, before the first write (row 20, decision 4).
 */
export function promote(group: Group, done: (failure: string | undefined) => void): void {
  group.isChangingRole = true;
  const copy = group.copy;
  if (copy === undefined) return recordPromotion(group, done);
  copy.close("this site is being promoted");
  if (group.context.store.record.preservedPoint !== undefined)
    return goBack(group, copy, () => recordPromotion(group, done), done);
  // Complete sets belong to the image, and what follows them is given up (U50).
  copy.settle((why) => {
    if (why !== undefined) {
      group.isChangingRole = false;
      return done(`the sets that are complete here cannot be applied: ${why}`);
    }
    // What the old primary sent and is being written must not appear after hosts have read here.
    copy.whenQuiet(() => recordPromotion(group, done));
  });
}

/** The image is in the midst of a resync: it is taken back to what it was before, and nothing that came since is applied. */
function goBack(
  group: Group,
  copy: CopyRun,
  promoted: () => void,
  done: (failure: string | undefined) => void,
): void {
  copy.abandon(() =>
    revert(copy.preserve, (failure) => {
      if (failure === undefined) return promoted();
      // A restart finishes what was begun.
      fail(group, failure);
      done(failure);
    }),
  );
}

function recordPromotion(group: Group, done: (failure: string | undefined) => void): void {
  const { context } = group;
  const { record } = context.store;
  const id = hex(context.ports.crypto.randomBytes(8));
  group.recordBefore = { ...record };
  record.history = withTenure(record.history, context.site, id, context.ports.clock.wallMs());
  record.role = "primary";
  record.image = "synchronized";
  record.toldOfFracture = undefined;
  // What a journal of an earlier tenure holds is of no order that follows this one; so are sets that were staged.
  delete record.journalId;
  delete record.stagingId;
  delete record.applied;
  delete record.reverted;
  delete record.handover;
  delete record.discarding;
  delete record.branch;
  const failure = markMembers(group);
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
    becomePrimary(group, false, () => done(group.failedWhy === "" ? undefined : group.failedWhy));
  });
}

/** Nobody waits for the staging log any more. */
export function endTrouble(group: Group): void {
  group.stagingTrouble?.timer?.cancel();
  group.stagingTrouble = undefined;
}

function unrecorded({ message }: IoFailure): string {
  return `a promotion here cannot be recorded: ${message}; this site must be started again`;
}

function markMembers(group: Group): IoFailure | undefined {
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
    record.members[policy.site] = { ...(known ?? blankMember()), ...fresh, phase };
    const maps = config.volumes.map((volume, index) => {
      const dirty = createRegionMap(volume.bytes, record.regionBytes);
      for (const onDisk of [openMaps[index], lacks?.[index]]) {
        if (onDisk !== undefined) orInto(dirty, onDisk.map);
      }
      if (!isTold) mark(dirty, 0, dirty.units - 1);
      return dirty;
    });
    const failure = createDirtyMaps(context.store, policy.site, maps);
    if (failure !== undefined) return failure;
  }
  return undefined;
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
    for (const image of group.context.images) image.close();
    done();
  };
  if (group.run === undefined || group.run.primary.stage === "ended") {
    group.copy?.close("this site is stopping");
    group.copy?.dispose();
    return close();
  }
  group.stopWaiters.push(close);
  group.run.submit({ kind: "drain", next: "stop" });
}
