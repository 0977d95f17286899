import { logAddress, parseLogAddress, pathBunkerOf } from "#base/path-bunker.ts";
import type { LogAddress } from "#base/path-bunker.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { GroupConfig } from "#config/types.ts";
import { compareHistories, describeGeneration, generationCounter } from "#core/history.ts";
import type { History } from "#core/history.ts";
import { isFailure } from "#ports/file.ts";
import type { Folder } from "#ports/file.ts";
import type { Transport } from "#ports/transport.ts";
import { closeGroupStore } from "#store/group-store.ts";
import { openRecordFile } from "#store/record-file.ts";
import { endOf } from "#store/log-places.ts";
import { logName } from "#store/log-files.ts";
import { readOwner, writeOwner } from "#store/owner-file.ts";
import type { LogOwner } from "#store/owner-file.ts";
import { parseOpen } from "#wire/peer/documents.ts";
import type { PeerRefusal, ReplayOpen, SessionOpen, TakeBackOpen } from "#wire/peer/documents.ts";
import type { GroupView } from "#wire/peer/probe.ts";
import { frameType } from "#wire/peer/messages.ts";
import { openGroup } from "./group.ts";
import type { Group } from "./group.ts";
import { copyAsks, primaryAsks, sessionAsked } from "./group-door.ts";
import { createInquiries } from "./inquiry.ts";
import { connectLocally } from "./local-connection.ts";
import type { LocalEnd } from "./local-connection.ts";
import { createLogFence, takenWhy } from "./log-fence.ts";
import type { LogFence } from "./log-fence.ts";
import { snapshotOf } from "./log-snapshot.ts";
import { acceptPeer, dialPeer, refusePeer, sendDocument } from "./peer-connection.ts";
import type { Peer, PeerIdentity } from "./peer-connection.ts";
import type { SitePorts } from "./ports.ts";

// A group's second log on a path (SPEC-bunker.md, On a path): a bunker whose process is that of whoever dials it. The primary
// opens it to write it, a copy to be brought up from it, for as long as the connection lasts; both talk to it as to any bunker,
// over a connection that does not leave the process.

export type PathBunkerOptions = {
  readonly ports: SitePorts;
  /** Of the site in whose process this is. */
  readonly identity: PeerIdentity;
  /** The group as it runs here; `isPrimary`: at its primary, who alone makes the log. */
  readonly groupOf: (
    group: string,
  ) => { readonly config: GroupConfig; readonly isPrimary: boolean } | undefined;
};

/** A log that could not be written is opened again after a while, and after a longer one when that does not help. */
type Trouble = { readonly why: string; readonly waitMs: number; readonly untilMs: number };

/** The transport of a site, which answers the addresses of logs by itself. */
export function withPathBunkers(options: PathBunkerOptions): Transport {
  const { transport, clock } = options.ports;
  const troubles = new Map<string, Trouble>();
  return {
    dial(address, timeoutMs, handlers) {
      const place = parseLogAddress(address);
      if (place === undefined) return transport.dial(address, timeoutMs, handlers);
      clock.soon(() => {
        const found = options.groupOf(place.group);
        const why =
          found === undefined ? "no such group" : whyAbsent(options, place, found.isPrimary);
        if (found === undefined || why !== "") {
          const message = `cannot reach ${address}: ${why}`;
          return handlers.onFail({ kind: "refused", message });
        }
        const [near, far] = connectLocally(clock, address);
        const parts = { options, place, ...found, troubles };
        accept({ ...parts, group: undefined, fence: undefined, isClosed: false }, far);
        near.attach(handlers.onOpen(near.connection));
      });
    },
  };
}

function accept(bunker: PathBunker, far: LocalEnd): void {
  const { options, place } = bunker;
  const identity = { ...options.identity, site: pathBunkerOf(place.group) };
  const events = acceptPeer(identity, far.connection, (peer, open) => opened(bunker, peer, open));
  far.attach({
    ...events,
    onClose(why) {
      events.onClose(why);
      dispose(bunker, why);
    },
  });
}

/** The log as one connection has it open. */
type PathBunker = {
  readonly options: PathBunkerOptions;
  readonly place: LogAddress;
  readonly config: GroupConfig;
  readonly isPrimary: boolean;
  /** By group. */
  readonly troubles: Map<string, Trouble>;
  group: Group | undefined;
  fence: LogFence | undefined;
  isClosed: boolean;
};

// A missing path is a missing mount, which is as good as a site whose process is down.
function whyAbsent(
  { ports }: PathBunkerOptions,
  { path, group }: LogAddress,
  makes: boolean,
): string {
  if (path === "") return `the file of this site names no path for the second log of ${group}`;
  const folder = ports.openLogFolder(path, group, makes);
  return isFailure(folder) ? folder.message : "";
}

function dispose(bunker: PathBunker, why: string): void {
  const { group, fence } = bunker;
  bunker.isClosed = true;
  bunker.group = undefined;
  noteTrouble(bunker, group?.bunker?.bunker.failure ?? "");
  // What this process still has under way must not be written behind whoever opens the log next.
  fence?.close(why);
  group?.bunker?.dispose();
  if (group !== undefined) closeGroupStore(group.context.store);
}

function noteTrouble({ troubles, place, options, fence }: PathBunker, why: string): void {
  if (fence === undefined) return;
  if (why === "") return void troubles.delete(place.group);
  const known = troubles.get(place.group)?.waitMs ?? limits.stagingRetryMsMin / 2;
  const waitMs = Math.min(2 * known, limits.stagingRetryMsMax);
  troubles.set(place.group, { why, waitMs, untilMs: options.ports.clock.nowMs() + waitMs });
}

function opened(bunker: PathBunker, peer: Peer, document: unknown): void {
  const open = parseOpen(document);
  if (!open.ok) return peer.connection.close(open.error);
  switch (open.value.purpose) {
    case "inquiry":
      return answerInquiry(bunker, peer);
    case "session":
      return primaryFeeds(bunker, peer, open.value);
    case "takeBack":
      return primaryTakesBack(bunker, peer, open.value);
    case "replay": {
      const replay = open.value;
      return look(bunker, peer, (found) => copyReplays(bunker, peer, replay, found));
    }
    default:
      return refuse(peer, "not-a-copy", "a log on a path takes no part in this");
  }
}

function refuse(peer: Peer, code: PeerRefusal["code"], why: string, history: History = []): void {
  refusePeer(peer, code, why, history);
}

type Found = { readonly folder: Folder; readonly owner: LogOwner | undefined };

/** Gives the log's folder, and whose it is; refuses the peer where that cannot be had. */
function look(bunker: PathBunker, peer: Peer, go: (found: Found) => void): void {
  const { options, place, isPrimary } = bunker;
  const folder = options.ports.openLogFolder(place.path, place.group, isPrimary);
  if (isFailure(folder)) return refuse(peer, "busy", folder.message);
  const owner = readOwner(folder);
  if (owner === undefined) return go({ folder, owner });
  if ("code" in owner) return refuse(peer, "busy", owner.message);
  if (owner.cluster === options.identity.cluster && owner.group === place.group)
    return go({ folder, owner });
  const why = `${folder.path} holds the log of group "${owner.group}" of cluster "${owner.cluster}"`;
  refuse(peer, "unfit", why, owner.history);
}

/** Opens the log as the bunker that it is. `done` gets it unless the connection is lost meanwhile. */
function openAs(
  bunker: PathBunker,
  peer: Peer,
  folder: Folder,
  done: (group: Group) => void,
): void {
  const { options, config, place } = bunker;
  const { ports, identity } = options;
  const site = pathBunkerOf(place.group);
  const own = { ...identity, site };
  openGroup(
    {
      cluster: identity.cluster,
      site,
      config,
      ports: {
        ...ports,
        openFolder: () => folder,
        // What becomes of a log that was let go is nobody's business.
        events: { emit: (event) => void (bunker.isClosed || ports.events.emit(event)) },
      },
      identity: own,
      inquiries: createInquiries({
        identity: own,
        transport: ports.transport,
        sites: [],
        viewsFor: () => [],
        onViews: () => undefined,
        onAnswer: () => undefined,
        onDown: () => undefined,
        onStillDown: () => undefined,
      }),
      addressOf: () => "",
      onDrop: () => undefined,
      onServed: () => undefined,
      onStaging: () => undefined,
      isOnPath: true,
    },
    (group, failure) => {
      if (group === undefined) return refuse(peer, "busy", failure);
      bunker.group = group;
      if (bunker.isClosed) return dispose(bunker, "the connection is lost");
      if (group.failedWhy === "") done(group);
      else refuse(peer, "busy", group.failedWhy);
    },
  );
}

// ------------------------------------------------------------------------------------ the primary

function primaryFeeds(bunker: PathBunker, peer: Peer, open: SessionOpen): void {
  const trouble = bunker.troubles.get(bunker.place.group);
  if (trouble !== undefined && bunker.options.ports.clock.nowMs() < trouble.untilMs)
    return refuse(peer, "busy", trouble.why);
  look(bunker, peer, (found) => feedFrom(bunker, peer, open, found));
}

function feedFrom(
  bunker: PathBunker,
  peer: Peer,
  open: SessionOpen,
  { folder, owner }: Found,
): void {
  const { history } = open;
  const refusal = owner === undefined ? undefined : refusalOf(owner, history);
  if (refusal !== undefined) return refuse(peer, refusal.code, refusal.why, refusal.history);
  const fence = createLogFence({
    folder,
    history,
    // A refusal is no loss (decision 6): the primary hears of it before the sync fails that found out.
    onTaken: (why) =>
      sendDocument(
        peer,
        frameType.failed,
        { why, code: "activated" },
        { generation: generationCounter(history), epoch: open.epoch },
      ),
  });
  bunker.fence = fence;
  const feed = (): void =>
    openAs(bunker, peer, fence.folder, (group) => sessionAsked(group, peer, open));
  if (owner !== undefined && compareHistories(history, owner.history) === "same") return feed();
  const ours = { cluster: bunker.options.identity.cluster, group: bunker.place.group, history };
  writeOwner(folder, ours, (failure) => {
    if (failure === undefined) feed();
    else refuse(peer, "busy", failure.message);
  });
}

function refusalOf(
  owner: LogOwner,
  history: History,
): Pick<PeerRefusal, "code" | "why" | "history"> | undefined {
  const why = takenWhy(owner, history);
  if (why === "") return undefined;
  const relation = compareHistories(history, owner.history);
  const code =
    relation === "same" ? "activated" : relation === "behind" ? "higher-generation" : "diverged";
  return { code, why, history: owner.history };
}

function primaryTakesBack(bunker: PathBunker, peer: Peer, open: TakeBackOpen): void {
  look(bunker, peer, (found) =>
    openSnapshot(bunker, peer, found, (group) => primaryAsks(group, peer, open)),
  );
}

// ----------------------------------------------------------------------------------------- a copy

/**
 * What is refused, is refused before the log is taken from its primary; then that it is taken is on record, and only then it
 * is looked at how far it goes (B16).
 */
function copyReplays(bunker: PathBunker, peer: Peer, open: ReplayOpen, found: Found): void {
  const { folder, owner } = found;
  if (!open.isWanted || owner === undefined || takenFor(owner, open, peer))
    return openSnapshot(bunker, peer, found, (group) => copyAsks(group, peer, open));
  if (compareHistories(open.history, owner.history) !== "same")
    return refuse(peer, "unfit", whoseWhy(owner), owner.history);
  if (open.isCancelled === true) return cancel(bunker, peer, open, found);
  askFirst(bunker, peer, open, () => {
    const { end: _, ...before } = owner;
    const taken = { ...before, activatedFor: peer.site };
    writeOwner(folder, taken, (failure) => {
      if (failure !== undefined) return refuse(peer, "busy", failure.message);
      openSnapshot(bunker, peer, { folder, owner: taken }, (group) =>
        noteEnd(group, peer, { folder, owner: taken }, () => copyAsks(group, peer, open)),
      );
    });
  });
}

function whoseWhy({ history }: LogOwner): string {
  return `the log is of ${describeGeneration(history)}`;
}

// Activated for this copy before: the log ends where it ended then, whatever the old primary wrote before it looked.
function takenFor(owner: LogOwner, open: ReplayOpen, peer: Peer): boolean {
  const isOurs = owner.activatedFor === peer.site && owner.end !== undefined;
  return isOurs && open.isCancelled !== true;
}

function askFirst(bunker: PathBunker, peer: Peer, open: ReplayOpen, go: () => void): void {
  const { options, place } = bunker;
  const document: ReplayOpen = { ...open, isWanted: false };
  const target = { site: pathBunkerOf(place.group), address: logAddress(place), document };
  dialPeer(options.identity, withPathBunkers(options), target, (outcome) => {
    if (bunker.isClosed) return;
    if (outcome.kind === "failed") return refuse(peer, "busy", outcome.why);
    if (outcome.kind === "opened") {
      outcome.peer.connection.close("that was all");
      return go();
    }
    sendDocument(peer, frameType.refused, outcome.document);
    peer.connection.end("refused");
  });
}

function noteEnd(
  group: Group,
  peer: Peer,
  { folder, owner }: { readonly folder: Folder; readonly owner: LogOwner },
  done: () => void,
): void {
  const log = group.bunker?.log();
  if (log === undefined) return refuse(peer, "busy", "the log is being made");
  const { logId } = log.log.options;
  writeOwner(folder, { ...owner, end: { ...endOf(log.log), logId } }, (failure) => {
    if (failure === undefined) done();
    else refuse(peer, "busy", failure.message);
  });
}

function cancel(bunker: PathBunker, peer: Peer, open: ReplayOpen, found: Found): void {
  openSnapshot(bunker, peer, found, (group) => {
    const { bunker: run } = group;
    const { owner, folder } = found;
    if (run === undefined || owner === undefined)
      return refuse(peer, "busy", "the log is not open");
    const { cluster, history } = owner;
    group.bunker = {
      ...run,
      deactivate(site, done) {
        const given = { cluster, group: owner.group, history };
        writeOwner(folder, given, (failure: IoFailure | undefined) => {
          if (failure === undefined) run.deactivate(site, done);
          else refuse(peer, "busy", failure.message);
        });
      },
    };
    copyAsks(group, peer, open);
  });
}

/** The log as it lies there, to be read; as whose it is, it says. */
function openSnapshot(
  bunker: PathBunker,
  peer: Peer,
  { folder, owner }: Found,
  done: (group: Group) => void,
): void {
  const record = recordIn(folder);
  if (owner === undefined || typeof record === "string")
    return refuse(peer, "unfit", typeof record === "string" ? record : `${folder.path}: no log`);
  const { end, activatedFor } = owner;
  const logId = record.bunker?.logId;
  const isSame = end !== undefined && end.logId === logId;
  const cut = isSame ? { name: logName("bunker", end.logId), place: end } : undefined;
  openAs(bunker, peer, snapshotOf(folder, bunker.options.ports.clock, cut), (group) => {
    const { record: own } = group.context.store;
    const isOfOwner = compareHistories(owner.history, own.history) === "same";
    if (own.bunker !== undefined && isOfOwner && activatedFor !== undefined)
      own.bunker = { ...own.bunker, activatedFor };
    done(group);
  });
}

/** The group's record beside the log, or why there is none. */
function recordIn(folder: Folder) {
  const name = "group.record";
  if (!folder.exists(name)) return `${folder.path}: no log is kept there`;
  const file = folder.open(name);
  if (isFailure(file)) return file.message;
  const opened = openRecordFile(file);
  file.close();
  if (!opened.ok) return opened.error;
  return opened.value.record ?? `${folder.path}: no log is kept there`;
}

// ---------------------------------------------------------------------------------------- inquiry

// Who asks whether the log can be had is told what is on record there now.
function answerInquiry(bunker: PathBunker, peer: Peer): void {
  const { options, place } = bunker;
  const { ports, identity } = options;
  const own = { ...identity, site: pathBunkerOf(place.group) };
  const answers = createInquiries({
    identity: own,
    transport: ports.transport,
    sites: [],
    viewsFor: () => {
      const view = viewOf(bunker);
      if (typeof view !== "string") return [view];
      peer.connection.close(view);
      return [];
    },
    onViews: () => undefined,
    onAnswer: () => undefined,
    onDown: () => undefined,
    onStillDown: () => undefined,
  });
  answers.answer(peer);
}

function viewOf({ options, place }: PathBunker): GroupView | string {
  const { ports } = options;
  const folder = ports.openLogFolder(place.path, place.group, false);
  if (isFailure(folder)) return folder.message;
  const record = recordIn(folder);
  if (typeof record === "string") return record;
  const { group, role, history, image, lsnReserved } = record;
  return {
    group,
    role,
    history,
    image,
    lsn: 0,
    lsnReserved,
    set: 0,
    stableLsn: 0,
    fractured: {},
    wallMs: ports.clock.wallMs(),
  };
}
