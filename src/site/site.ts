import type { Config, GroupConfig } from "#config/types.ts";
import type { Connection, ConnectionEvents } from "#ports/transport.ts";
import type { ExportFound, ExportInfo, Exports } from "#ports/exports.ts";
import { unreachable } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import { groupOfPathBunker, logAddress, pathBunkerOf } from "#base/path-bunker.ts";
import { parseOpen } from "#wire/peer/documents.ts";
import type { Timer } from "#ports/clock.ts";
import { isUnmade } from "#store/unmade-store.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import type { CommandOutcome, SiteCommand, SiteStatus } from "./api.ts";
import { runCommand } from "./commands.ts";
import { setFile } from "./configuration.ts";
import { considerReplay, noteAnswer } from "./auto-replay.ts";
import { noteStaging } from "./copy-anew.ts";
import { followTerms } from "./copy-unit.ts";
import { findVolume, openGroup, stopGroup } from "./group.ts";
import type { Group, GroupOptions } from "./group.ts";
import { copyAsks, laneAsked, primaryAsks, sessionAsked, viewHeard, viewOf } from "./group-door.ts";
import { growAsked } from "./grow.ts";
import { handoverAsked } from "./take-over.ts";
import { createInquiries } from "./inquiry.ts";
import type { Inquiries, InquirySite } from "./inquiry.ts";
import { withPathBunkers } from "./path-bunker.ts";
import { acceptPeer, refusePeer } from "./peer-connection.ts";
import type { Peer, PeerIdentity } from "./peer-connection.ts";
import type { SitePorts } from "./ports.ts";
import { nodeAnswered, nodeFailed, nodeStillDown } from "./primary-failure.ts";
import { emit } from "./group-context.ts";
import { runReload } from "./reload.ts";
import { retryMs } from "./room.ts";
import type { FileRead, ReloadSite } from "./reload.ts";
import { groupStatus } from "./status.ts";

/**
 * One running site: all its groups, in whatever role each has. Nothing in it reads a clock or opens a file by itself.
 */
export type Site = {
  /**
   * Opens all groups and begins. `done` is called when every group has taken up its role; hosts may still wait for
   * peers.
   */
  start(done: (failure: string | undefined) => void): void;
  /** A peer has connected. The listener is the caller's. */
  accept(connection: Connection): ConnectionEvents;
  readonly exports: Exports;
  status(): SiteStatus;
  command(command: SiteCommand, done: (outcome: CommandOutcome) => void): void;
  /** Stops taking requests, finishes those under way, syncs, records a clean stop. */
  stop(done: () => void): void;
};

export type SiteOptions = {
  readonly config: Config;
  readonly name: string;
  readonly version: string;
  readonly ports: SitePorts;
  /** Reads the cluster file again, for a reload. Without it, none is possible. */
  readonly readFile?: () => FileRead;
  /** A reload has taken the file's changes: who else lives by the configuration goes by this one. */
  readonly onReloaded?: (config: Config) => void;
};

type Parts = {
  /** As the last reload left it; at first the file as it was at the start. */
  config: Config;
  readonly options: SiteOptions;
  readonly identity: PeerIdentity;
  readonly knownSites: Set<string>;
  readonly inquiries: Inquiries;
  readonly groups: Map<string, Group>;
  readonly dropListeners: ((group: string) => void)[];
  isStopped: boolean;
  /** Groups are still being opened: a stop waits for that. */
  isStarting: boolean;
  readonly afterStart: (() => void)[];
  /** Groups that are to be opened again, by name. */
  readonly roomTimers: Map<string, Timer>;
};

export function createSite(options: SiteOptions): Site {
  const { config, name } = options;
  const knownSites = new Set(namesOf(config));
  const identity = identityOf(options, knownSites);
  const groups = new Map<string, Group>();
  const transport = withPathBunkers({
    ports: options.ports,
    identity,
    groupOf(name) {
      const group = groups.get(name);
      // A primary that is starting asks for what it may have lost.
      const config = group?.config ?? parts.config.groups.get(name);
      return config && { config, isPrimary: group?.run !== undefined };
    },
  });
  const ports: SitePorts = { ...options.ports, transport };
  const inquiries = createInquiries({
    identity,
    transport: ports.transport,
    sites: neighbours(config, name),
    viewsFor: (site) => viewsFor(groups, site),
    onViews(site, views) {
      for (const view of views) {
        const group = groups.get(view.group);
        if (group === undefined || !holds(group.config, site)) continue;
        if (viewHeard(group, site, view)) followRevision(parts, group);
      }
    },
    onAnswer(site, roundTripMs) {
      for (const group of groups.values()) answered(group, site, roundTripMs);
    },
    onDown(site, why) {
      for (const group of groups.values()) nodeFailed(group, site, why);
    },
    onStillDown(site, why, silentBeforeMs) {
      for (const group of groups.values()) stillDown(group, site, why, silentBeforeMs);
    },
  });
  const parts: Parts = {
    config,
    options: { ...options, ports },
    identity,
    knownSites,
    inquiries,
    groups,
    dropListeners: [],
    isStopped: false,
    isStarting: false,
    afterStart: [],
    roomTimers: new Map(),
  };
  return {
    start: (done) => startSite(parts, done),
    accept: (connection) =>
      acceptPeer(identity, connection, (peer, open) => opened(parts, peer, open)),
    exports: exportsOf(parts),
    status: () => ({
      site: name,
      version: options.version,
      groups: inOrder(parts).map(groupStatus),
    }),
    command(command, done) {
      if (!parts.isStopped) return runCommand(groups, reloadSite(parts), command, done);
      const message = `site ${name} is stopping`;
      done({ ok: false, code: "failed", message, hint: "start it again first", plan: [] });
    },
    stop: (done) => stopSite(parts, done),
  };
}

function answered(group: Group, site: string, roundTripMs: number): void {
  nodeAnswered(group, site, roundTripMs);
  noteAnswer(group, site);
}

function stillDown(group: Group, site: string, why: string, silentBeforeMs: number): void {
  nodeStillDown(group, site, why, silentBeforeMs);
  considerReplay(group, site);
}

function identityOf(
  { config, name, ports }: SiteOptions,
  knownSites: ReadonlySet<string>,
): PeerIdentity {
  const { bootId, crypto, clock } = ports;
  const { cluster, secret } = config;
  return { cluster, site: name, knownSites, secret, bootId, crypto, clock };
}

function stopSite(parts: Parts, done: () => void): void {
  parts.isStopped = true;
  parts.inquiries.stop();
  for (const timer of parts.roomTimers.values()) timer.cancel();
  if (parts.isStarting) parts.afterStart.push(() => stopGroups(parts.groups, done));
  else stopGroups(parts.groups, done);
}

function stopGroups(groups: ReadonlyMap<string, Group>, done: () => void): void {
  let missing = groups.size;
  if (missing === 0) return done();
  for (const group of groups.values()) {
    stopGroup(group, () => {
      missing -= 1;
      if (missing === 0) done();
    });
  }
}

/** Whether a site has a part in a group. */
function holds(group: GroupConfig, site: string): boolean {
  return group.primary === site || group.copies.has(site);
}

// One message has room for the settings of some groups; the next brings those of others.
function viewsFor(groups: ReadonlyMap<string, Group>, site: string): GroupView[] {
  let told = 0;
  return shared(groups, site).map((group) => {
    const view = viewOf(group, site);
    if (view.configuration?.settings === undefined) return view;
    told += 1;
    if (told <= limits.settingsPerMessageMax) return view;
    const { settings: _, ...configuration } = view.configuration;
    return { ...view, configuration };
  });
}

function shared(groups: ReadonlyMap<string, Group>, site: string): Group[] {
  return [...groups.values()].filter((group) => holds(group.config, site));
}

/** Who may be dialled, and may say to be that one. */
function namesOf({ sites, groups }: Config): string[] {
  return [...sites.keys(), ...[...groups.keys()].map((group) => pathBunkerOf(group))];
}

function addressOf(config: Config, from: string, to: string): string {
  const group = groupOfPathBunker(to);
  if (group !== undefined)
    return logAddress({ group, path: config.groups.get(group)?.bunkerPath ?? "" });
  const reach = config.sites.get(from)?.reach.get(to);
  return reach ?? config.sites.get(to)?.peer ?? "";
}

// Every site that shares a group with this one, probed as often as the most impatient of those groups asks.
function neighbours(
  config: Config,
  name: string,
  groups: Iterable<GroupConfig> = config.groups.values(),
): InquirySite[] {
  const found = new Map<string, InquirySite>();
  for (const group of groups) {
    if (!holds(group, name)) continue;
    for (const site of [group.primary, ...group.copies.keys()]) {
      if (site === name) continue;
      const copy = group.copies.get(site) ?? group.copies.get(name);
      const { probeMs, timeoutMs } = copy ?? { probeMs: 500, timeoutMs: 3_000 };
      const known = found.get(site);
      found.set(site, {
        site,
        address: addressOf(config, name, site),
        probeMs: Math.min(probeMs, known?.probeMs ?? probeMs),
        timeoutMs: Math.min(timeoutMs, known?.timeoutMs ?? timeoutMs),
      });
    }
  }
  return [...found.values()];
}

function startSite(parts: Parts, done: (failure: string | undefined) => void): void {
  const { config, name } = parts.options;
  const own = [...config.groups.values()].filter((group) => holds(group, name));
  let missing = own.length;
  let failure: string | undefined;
  parts.isStarting = true;
  const finish = (): void => {
    parts.isStarting = false;
    if (parts.isStopped) failure ??= "stopped while it was starting";
    // What is on record may say more, or other things, than the file.
    retarget(parts);
    if (failure === undefined) parts.inquiries.start();
    done(failure);
    for (const waiter of parts.afterStart.splice(0)) waiter();
  };
  if (missing === 0) return finish();
  for (const group of own) {
    openGroup(groupOptions(parts, group), (opened, why) => {
      if (opened === undefined) failure ??= why;
      else take(parts, opened, 0);
      missing -= 1;
      if (missing === 0) finish();
    });
  }
}

function groupOptions(parts: Parts, group: GroupConfig): GroupOptions {
  const { config, name, ports } = parts.options;
  return {
    cluster: config.cluster,
    site: name,
    config: group,
    ports,
    identity: parts.identity,
    inquiries: parts.inquiries,
    addressOf: (site: string) => addressOf(parts.config, name, site),
    onServed: (served: Group) => takeEdited(parts, served),
    onStaging: noteStaging,
    onDrop: (dropped: string) => {
      for (const listener of parts.dropListeners) listener(dropped);
    },
  };
}

// One that has no room for its first record is opened again, less and less often, until it has.
function take(parts: Parts, group: Group, tries: number): void {
  const { name, context, failedWhy } = group;
  parts.groups.set(name, group);
  const isMissing = isUnmade(context.store);
  const [from, to] = isMissing ? ["ok", "failed"] : ["failed", "ok"];
  const why = isMissing ? failedWhy : "the group's record is made";
  if (isMissing === (tries === 0))
    emit(context, { kind: "log", copy: context.site, from, to, why });
  if (!isMissing || parts.isStopped) return;
  const again = (): void => {
    const config = parts.config.groups.get(name) ?? group.file;
    openGroup(groupOptions(parts, config), (opened, failure) => {
      if (opened === undefined) group.failedWhy = failure;
      else if (parts.isStopped) stopGroup(opened, () => undefined);
      else take(parts, opened, tries + 1);
    });
  };
  parts.roomTimers.set(name, context.ports.clock.after(retryMs(tries), again));
}

// ------------------------------------------------------------------------------------------ reload

function retarget(parts: Parts): void {
  const running = [...parts.groups.values()].map((group) => group.config);
  parts.inquiries.retarget(neighbours(parts.config, parts.options.name, running));
}

function reloadSite(parts: Parts): ReloadSite {
  const { name, readFile } = parts.options;
  return {
    name,
    config: parts.config,
    readFile:
      readFile ?? (() => ({ ok: false, message: "there is no file to read", hint: undefined })),
    addressOf: (config, to) => addressOf(config, name, to),
    adopt: (file, group) => adopt(parts, file, group),
  };
}

// Sites of the file are known from now on, by their new addresses; those that it names no more stay for the other groups.
function adopt(parts: Parts, file: Config, group: string): void {
  const groups = new Map(parts.config.groups);
  const wanted = file.groups.get(group);
  if (wanted !== undefined) groups.set(group, wanted);
  parts.config = {
    ...parts.config,
    path: file.path,
    sites: new Map([...parts.config.sites, ...file.sites]),
    groups,
  };
  for (const site of namesOf(file)) parts.knownSites.add(site);
  // Once the group goes by it. The other sites need not wait for the next probe to hear of it.
  parts.options.ports.clock.soon(() => {
    if (parts.isStopped) return;
    retarget(parts);
    for (const site of parts.config.sites.keys()) parts.inquiries.ask(site, () => undefined);
  });
  parts.options.onReloaded?.(parts.config);
}

// A file that was edited while its site was down is meant to hold from the start on. One that is merely stale, at a site that
// was promoted since, is not: the recorded revision rules.
function takeEdited(parts: Parts, group: Group): void {
  if (!group.isFileEdited || parts.options.readFile === undefined) return;
  group.isFileEdited = false;
  parts.options.ports.clock.soon(() => {
    if (parts.isStopped) return;
    runReload(reloadSite(parts), group, false, (outcome) => {
      if (outcome.ok) return;
      const why = `the file was edited while this site was down, and cannot be taken: ${outcome.message}`;
      emit(group.context, { kind: "configuration", copy: group.context.site, why });
    });
  });
}

// The primary has taken a file, most likely the same one everywhere: what ours says by now is worth a look.
function followRevision(parts: Parts, group: Group): void {
  retarget(parts);
  const read = parts.options.readFile?.();
  const file = read?.ok === true ? read.config.groups.get(group.name) : undefined;
  setFile(group, file ?? group.file);
  followTerms(group);
}

// As the cluster file has them: which was opened first is of no interest to people.
function inOrder(parts: Parts): Group[] {
  const groups: Group[] = [];
  for (const name of parts.options.config.groups.keys()) {
    const group = parts.groups.get(name);
    if (group !== undefined) groups.push(group);
  }
  return groups;
}

function opened(parts: Parts, peer: Peer, document: unknown): void {
  if (parts.isStopped) return peer.connection.close("this site is stopping");
  const open = parseOpen(document);
  if (!open.ok) return peer.connection.close(open.error);
  const asked = open.value;
  if (asked.purpose === "inquiry") return parts.inquiries.answer(peer);
  const group = parts.groups.get(asked.group);
  if (group === undefined || !holds(group.config, peer.site)) {
    const why = `site ${parts.options.name} has no part in group ${asked.group}, or is still starting`;
    return refusePeer(peer, "not-a-copy", why, []);
  }
  switch (asked.purpose) {
    case "session":
      return sessionAsked(group, peer, asked);
    case "lane":
      return laneAsked(group, peer, asked);
    case "handover":
      return handoverAsked(group, peer, asked);
    case "grow":
      return growAsked(group, peer, asked);
    case "replay":
      return copyAsks(group, peer, asked);
    case "takeBack":
      return primaryAsks(group, peer, asked);
    default:
      return unreachable(asked);
  }
}

// ----------------------------------------------------------------------------------------- exports

function exportsOf(parts: Parts): Exports {
  return {
    list: () => inOrder(parts).flatMap(listOf),
    find: (name) => find(parts, name),
    onDrop: (listener) => {
      parts.dropListeners.push(listener);
    },
  };
}

function listOf(group: Group): ExportInfo[] {
  return group.config.volumes.map((volume) => {
    const name = `${group.name}/${volume.name}`;
    return { name, bytes: volume.bytes, served: findVolume(group, volume.name).kind === "served" };
  });
}

function find(parts: Parts, name: string): ExportFound {
  const slash = name.indexOf("/");
  const group = parts.groups.get(name.slice(0, Math.max(0, slash)));
  return group === undefined ? { kind: "unknown" } : findVolume(group, name.slice(slash + 1));
}
