import { must, unreachable } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { generationCounter } from "#core/history.ts";
import type { MemberPolicy } from "#core/policy.ts";
import { isOffered } from "#core/handover.ts";
import { createPrimary, step } from "#core/primary.ts";
import type { PrimaryEffect, PrimaryEvent } from "#core/primary-events.ts";
import { memberOf as findMember } from "#core/primary-state.ts";
import type { Member, Primary, ResyncItem } from "#core/primary-state.ts";
import type { RegionMap } from "#core/region-map.ts";
import { closableLsn } from "#core/flush.ts";
import type { Timer } from "#ports/clock.ts";
import type { HostOutcome, HostRequest, HostVolume } from "#ports/host-request.ts";
import { eraseDirtyMaps, saveRecord } from "#store/group-store.ts";
import { sync } from "#store/log.ts";
import { removeOtherLogs } from "#store/log-files.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { createDriver, drive } from "./driver.ts";
import type { Driver } from "./driver.ts";
import { deviceFound } from "./gateway-run.ts";
import { areDrained, neededByDevices } from "./gateways.ts";
import type { Gateways } from "./gateways.ts";
import { emit, imageOf } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import type { HandoverWaiter } from "./group.ts";
import { createMemberSessions } from "./member-sessions.ts";
import type { MemberSessions } from "./member-sessions.ts";
import { askDiskDue, createDiskWatch, figuresOn } from "./journal-disk.ts";
import type { DiskWatch } from "./journal-disk.ts";
import { appendBatch, closeJournal, reclaimThrough } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { machineJournal, setsOf } from "./journal-terms.ts";
import { performStore } from "./primary-store.ts";
import type { StoreOwner } from "./primary-store.ts";
import { readRegion } from "./read-region.ts";

// Drives a group's primary: hands events to the machine one at a time, and performs its effects in order. It decides nothing
// but what the machine cannot see: that hosts wait for a disk which has too much unsynced, and that this process stood still.

export type PrimaryRun = {
  readonly primary: Primary;
  readonly volumes: readonly HostVolume[];
  submit(event: PrimaryEvent): void;
  /** The site with this member was found down, or answered. */
  siteDown(site: string, why: string): void;
  siteAnswered(site: string, roundTripMs: number): void;
  /** Takes the configuration that the context has by now, with a journal where it needs one and has none. */
  reconfigure(policies: readonly MemberPolicy[], journal: JournalRun | undefined): void;
  view(): Pick<GroupView, "lsn" | "stableLsn" | "fractured">;
  /** Ends sessions and timers; the machine must have ended before. */
  close(): void;
};

export type PrimaryRunOptions = {
  readonly context: GroupContext;
  readonly policies: readonly MemberPolicy[];
  /** Open, and replayed; undefined where no copy needs one. */
  readonly journal: JournalRun | undefined;
  /** By volume: those on devices behind a link, with the journal in front of them. */
  readonly gateways: Gateways;
  /** The last member that took sets is fed with writes now, or has left. */
  readonly onJournalEnded: () => void;
  readonly onServed: () => void;
  readonly onDropExports: () => void;
  readonly onHandoverEnded: HandoverWaiter;
  readonly onEnded: (how: "demoted" | "stopped" | "failed", why: string) => void;
};

type Run = {
  readonly options: PrimaryRunOptions;
  readonly context: GroupContext;
  readonly primary: Primary;
  readonly sessions: MemberSessions;
  /** Open while some member takes sets. */
  journal: JournalRun | undefined;
  readonly disk: DiskWatch;
  readonly driver: Driver<PrimaryEvent, PrimaryEffect>;
  readonly storeOwner: StoreOwner;
  /** When this loop last did anything: a long gap means that it stood still. */
  lastSeenMs: number;
  standstillMs: number;
  /** Writes that wait for a sync because too much is unsynced, by volume; undefined while nothing waits. */
  readonly pressed: (HostRequest[] | undefined)[];
};

export function startPrimaryRun(options: PrimaryRunOptions): PrimaryRun {
  const { context } = options;
  const { clock } = context.ports;
  const primary = createPrimary({
    record: context.store.record,
    policies: options.policies,
    durability: context.config.durability,
    openMaps: context.store.openMaps.map((onDisk) => onDisk.map),
    dirtyMaps: dirtyMapsOf(context),
    nowMs: clock.nowMs(),
    wallMs: clock.wallMs(),
    journal:
      options.journal === undefined
        ? undefined
        : machineJournal(context, options.journal, areDrained(options.gateways)),
    isJournalWhole: options.journal?.isWhole ?? false,
    devices: options.gateways.map(deviceFound),
  });
  const run: Run = {
    options,
    context,
    primary,
    sessions: createMemberSessions({ context, primary, journal: options.journal }, (event) => {
      // A stopped process reads its sockets before its timers: what they bring must not be taken for the present.
      watchStandstill(run);
      submit(run, event);
    }),
    journal: options.journal,
    disk: createDiskWatch(),
    driver: createDriver(
      (event, out) => step(primary, event, out),
      (effect) => perform(run, effect),
    ),
    storeOwner: {
      store: context.store,
      memberOf: (index) => memberOf(run, index),
      submit: (event) => submit(run, event),
      failed: (failure) => storeFailed(run, failure),
    },
    lastSeenMs: clock.nowMs(),
    pressed: [],
    standstillMs: standstillOf(options.policies),
  };
  const timer = clock.every(limits.tickMs, () => {
    watchStandstill(run);
    const { journal } = run;
    if (askDiskDue(run.disk, context, journal?.log) && journal !== undefined)
      submit(run, { kind: "reclaimed", ...figuresOn(run.disk, context, journal) });
    submit(run, { kind: "tick", nowMs: clock.nowMs(), wallMs: clock.wallMs() });
    run.sessions.dialDue();
  });
  attachGateways(run);
  submit(run, { kind: "start" });
  run.sessions.dialDue();
  return surfaceOf(run, timer);
}

function attachGateways(run: Run): void {
  run.options.gateways.forEach((gateway, volume) =>
    gateway?.attach({
      synced: (lsn) => submit(run, { kind: "deviceSynced", volume, lsn }),
      failed: (what) => submit(run, { kind: "storeFailed", what }),
    }),
  );
}

function surfaceOf(run: Run, timer: Timer): PrimaryRun {
  const { primary } = run;
  return {
    primary,
    volumes: primary.volumes.map((volume) => hostVolume(run, volume)),
    submit: (event) => submit(run, event),
    siteDown: (site, why) => run.sessions.siteDown(site, why),
    siteAnswered(site, roundTripMs) {
      const member = primary.members.find((candidate) => candidate.site === site);
      if (member === undefined) return;
      submit(run, { kind: "probeAnswered", member: member.index, roundTripMs });
      run.sessions.siteAnswered(site, roundTripMs);
    },
    reconfigure: (policies, journal) => reconfigure(run, policies, journal),
    view: () => ({
      lsn: primary.nextLsn - 1,
      stableLsn: closableLsn(primary),
      fractured: fracturedOf(primary),
    }),
    close() {
      timer.cancel();
      run.sessions.closeAll("this site is not the primary any more");
    },
  };
}

// The others count from our last answer, up to a probe before we stood still: half of their patience is safe.
function standstillOf(policies: readonly MemberPolicy[]): number {
  return Math.min(...policies.map((policy) => policy.timeoutMs), 60_000) / 2;
}

function dirtyMapsOf(context: GroupContext): Map<string, readonly RegionMap[]> {
  const maps = new Map<string, readonly RegionMap[]>();
  for (const [site, onDisk] of context.store.dirtyMaps) {
    maps.set(
      site,
      onDisk.map((one) => one.map),
    );
  }
  return maps;
}

// Members that this primary has acked without: they learn of it by the next probe, even when no session comes about.
function fracturedOf(primary: Primary): Record<string, string> {
  const fractured: Record<string, string> = {};
  for (const member of primary.members) {
    if (member.stage === "none" && member.record.alone && member.record.phase === "dirty") {
      fractured[member.site] = member.why.slice(0, 200);
    }
  }
  return fractured;
}

function hostVolume(run: Run, volume: Primary["volumes"][number]): HostVolume {
  return {
    group: run.context.config.name,
    name: volume.name,
    index: volume.index,
    // A host that connects from now on sees what there is by now.
    get bytes() {
      return volume.bytes;
    },
    get writeBytesMax() {
      return run.journal?.size.writeBytesMax ?? limits.hostRequestBytesMax;
    },
    submit(request) {
      watchStandstill(run);
      if (isPressed(run, request)) return press(run, request);
      submit(run, { kind: "request", request });
    },
    extents(offset, length, done) {
      imageOf(run.context, volume.index).extents(offset, length, done);
    },
  };
}

// Beyond this much unsynced data the kernel would stall the loop, and with it everybody: hosts wait for the sync
// instead (DESIGN §3.11). The device has begun to sync long before.
function isPressed(run: Run, request: HostRequest): boolean {
  if (request.kind !== "write" && request.kind !== "zero") return false;
  const gateway = run.options.gateways[request.volume];
  return gateway?.isPressed() ?? imageOf(run.context, request.volume).isPressed();
}

function press(run: Run, request: HostRequest): void {
  const waiting = run.pressed[request.volume];
  if (waiting !== undefined) {
    waiting.push(request);
    return;
  }
  run.pressed[request.volume] = [request];
  const release = (): void => {
    const released = run.pressed[request.volume] ?? [];
    run.pressed[request.volume] = undefined;
    for (const one of released) submit(run, { kind: "request", request: one });
  };
  const gateway = run.options.gateways[request.volume];
  // A failure needs no answer here: the device fails all writes from now on, these first.
  if (gateway === undefined) imageOf(run.context, request.volume).sync(release);
  else gateway.whenRoom(release);
}

// A process that was stopped for longer than the others wait may have been succeeded: it must not answer before it
// knows.
function watchStandstill(run: Run): void {
  const nowMs = run.context.ports.clock.nowMs();
  const gapMs = nowMs - run.lastSeenMs;
  run.lastSeenMs = nowMs;
  const { stage } = run.primary;
  if (gapMs < run.standstillMs || (stage !== "serving" && stage !== "handing")) return;
  const why = `this process stood still for ${Math.round(gapMs)} ms; asking the copies again`;
  submit(run, { kind: "suspend", why, nowMs });
}

function submit(run: Run, event: PrimaryEvent): void {
  drive(run.driver, event);
}

function perform(run: Run, effect: PrimaryEffect): void {
  switch (effect.kind) {
    case "read":
      return read(run, effect.request);
    case "image":
      return writeImage(run, effect.request);
    case "reply":
      return reply(run, effect.request, effect.outcome);
    case "awaitTurnEnd":
      return run.context.ports.clock.soon(() => submit(run, { kind: "turnEnd" }));
    case "syncImage":
      return syncImage(run, effect.volume, effect.ticket);
    case "readRegion":
      return readForMember(run, effect.item);
    case "append":
    case "syncJournal":
    case "reclaim":
    case "weighJournal":
      return performJournal(run, effect);
    case "closeJournal":
      return endJournal(run);
    case "forgetMember":
      run.sessions.membersChanged(run.journal);
      return check(run, eraseDirtyMaps(run.context.store, effect.site));
    case "awaitSeal":
      run.context.ports.clock.after(effect.afterMs, () =>
        submit(run, { kind: "sealDue", set: effect.set }),
      );
      return;
    case "event":
      return emit(run.context, effect.event);
    case "served":
      return run.options.onServed();
    case "dropExports":
      return run.options.onDropExports();
    case "handoverEnded":
      return run.options.onHandoverEnded(effect);
    case "ended":
      return run.options.onEnded(effect.how, effect.why);
    case "syncOpenMaps":
    case "writeOpenMaps":
    case "writeDirtyMaps":
    case "createDirtyMaps":
    case "eraseDirtyMaps":
    case "record":
      return performStore(run.storeOwner, effect);
    default:
      return run.sessions.perform(effect);
  }
}

// ------------------------------------------------------------------------------------------ images

function read(run: Run, request: HostRequest): void {
  const { volume, offset, length } = request;
  const gateway = run.options.gateways[volume];
  if (gateway !== undefined) {
    const range = { offset, length, patienceMs: limits.deviceTimeoutMs };
    return gateway.read(range, { run, request }, readDone);
  }
  imageOf(run.context, volume).read(offset, length, { run, request }, readDone);
}

function readDone(
  context: { readonly run: Run; readonly request: HostRequest },
  failure: IoFailure | undefined,
  bytes: Uint8Array,
): void {
  const { run, request } = context;
  // Demoted while the device was reading: the answer would be of the past.
  const isOver = run.primary.stage === "ended";
  // The role was offered while the device was reading: whether the answer is of the past, the successor will say.
  if (!isOver && isOffered(run.primary)) return submit(run, { kind: "request", request });
  const outcome = isOver ? run.primary.outcomeAtEnd : failure === undefined ? "ok" : "io";
  request.onReply(request, outcome, outcome === "ok" ? bytes : undefined);
}

function writeImage(run: Run, request: HostRequest): void {
  // The journal has it, and the device gets it from there.
  if (run.options.gateways[request.volume] !== undefined)
    return submit(run, { kind: "imageDone", request, failure: undefined });
  const image = imageOf(run.context, request.volume);
  if (request.kind === "write") {
    image.write(request.offset, request.payload, { run, request }, imageDone);
  } else {
    image.zero(request.offset, request.length, request.mayPunch, { run, request }, imageDone);
  }
}

function imageDone(
  context: { readonly run: Run; readonly request: HostRequest },
  failure: IoFailure | undefined,
): void {
  submit(context.run, { kind: "imageDone", request: context.request, failure });
}

function syncImage(run: Run, volume: number, ticket: number): void {
  imageOf(run.context, volume).sync((failure) => {
    submit(run, { kind: "imageSynced", ticket, volume, failure });
  });
}

function readForMember(run: Run, item: ResyncItem): void {
  const done = (read: ResyncItem, failure: IoFailure | undefined, bytes: Uint8Array): void =>
    submit(run, { kind: "regionRead", item: read, bytes, failure });
  const gateway = run.options.gateways[item.volume];
  // Hosts' writes to the region wait for this read: it does not wait for a device that is away.
  if (gateway !== undefined) gateway.read({ ...item, patienceMs: 0 }, item, done);
  else readRegion(imageOf(run.context, item.volume), item, item, done);
}

function reply(run: Run, request: HostRequest, outcome: HostOutcome): void {
  const { trace } = run.context.ports;
  if (trace !== undefined && request.kind !== "read") {
    trace.line({
      dir: "out",
      kind: `${outcome === "ok" ? "ack" : "fail"}-${request.kind}`,
      group: run.context.config.name,
      generation: generationCounter(run.primary.record.history),
      // What was refused has no place in the order, and a FLUSH is about all that was written.
      ...(request.lsn === 0 ? {} : { lsn: request.lsn }),
      volume: run.primary.volumes[request.volume]?.name ?? "",
      ...(request.kind === "flush" ? {} : { offset: request.offset, length: request.length }),
    });
  }
  request.onReply(request, outcome, undefined);
}

// ----------------------------------------------------------------------------------------- journal

type JournalEffect = Extract<
  PrimaryEffect,
  { kind: "append" | "syncJournal" | "reclaim" | "weighJournal" }
>;

function performJournal(run: Run, effect: JournalEffect): void {
  const onDisk = must(run.journal, "only a group with a journal asks for it");
  switch (effect.kind) {
    case "append": {
      const payload = effect.requests.flatMap(({ payload: chunks }) => chunks);
      const batch = appendBatch(onDisk, effect.entries, payload);
      if ("code" in batch) return storeFailed(run, batch);
      for (const gateway of run.options.gateways) gateway?.journaled(batch.place, batch.entries);
      const { requests } = effect;
      submit(run, { kind: "appended", requests, ...figuresOn(run.disk, run.context, onDisk) });
      return run.sessions.journalGrew(batch);
    }
    case "syncJournal": {
      const { volume, ticket } = effect;
      return sync(onDisk.log, (failure) => {
        if (failure === undefined) submit(run, { kind: "journalSynced", volume, ticket });
        else storeFailed(run, failure);
      });
    }
    case "reclaim":
      reclaimThrough(onDisk, { ...effect, keptFrom: neededByDevices(run.options.gateways) });
      return submit(run, { kind: "reclaimed", ...figuresOn(run.disk, run.context, onDisk) });
    case "weighJournal":
      return submit(run, { kind: "reclaimed", ...figuresOn(run.disk, run.context, onDisk) });
    default:
      return unreachable(effect);
  }
}

function reconfigure(
  run: Run,
  policies: readonly MemberPolicy[],
  opened: JournalRun | undefined,
): void {
  const { context } = run;
  run.standstillMs = standstillOf(policies);
  run.journal ??= opened;
  run.sessions.membersChanged(run.journal);
  submit(run, {
    kind: "reconfigure",
    policies,
    durability: context.config.durability,
    journal: opened === undefined ? undefined : machineJournal(context, opened, true),
    sets: setsOf(context),
  });
  run.sessions.membersChanged(run.journal);
}

// Its files go when the record that names none is durable: before, a start would take their loss for an empty journal.
function endJournal(run: Run): void {
  const ended = must(run.journal, "only a group with a journal gives it up");
  const { store } = run.context;
  run.journal = undefined;
  run.sessions.membersChanged(undefined);
  run.options.onJournalEnded();
  // A sync that a round waits for is answered first.
  sync(ended.log, () =>
    saveRecord(store, (failure) => {
      closeJournal(ended);
      // A copy may take sets again already, from a journal of another name.
      if (failure !== undefined) storeFailed(run, failure);
      else removeOtherLogs(store.folder, "journal", store.record.journalId);
    }),
  );
}

function memberOf(run: Run, index: number): Member {
  return must(findMember(run.primary, index), `there is no member ${index}`);
}

function check(run: Run, failure: IoFailure | undefined): void {
  if (failure !== undefined) storeFailed(run, failure);
}

function storeFailed(run: Run, failure: IoFailure): void {
  submit(run, {
    kind: "storeFailed",
    what: `the group's own records cannot be written: ${failure.message}`,
  });
}
