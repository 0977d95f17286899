import assert from "node:assert/strict";
import { test } from "node:test";
import { hex } from "#base/bytes.ts";
import { crc32c } from "#base/checksum.ts";
import { logAddress, pathBunkerOf } from "#base/path-bunker.ts";
import { parseConfig } from "#config/parse.ts";
import type { GroupConfig } from "#config/types.ts";
import type { Entry } from "#core/entry.ts";
import { withTenure } from "#core/history.ts";
import type { History } from "#core/history.ts";
import { noPosition, positionOf } from "#core/log-position.ts";
import type { LogPosition } from "#core/log-position.ts";
import { createClock } from "#io/clock.ts";
import { loadCrypto } from "#io/crypto.ts";
import { createPacking } from "#io/packing.ts";
import { createTransport } from "#io/transport.ts";
import { readOwner } from "#store/owner-file.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { decodeJson } from "#wire/peer/decode.ts";
import { parseReplayOpened } from "#wire/peer/documents.ts";
import type { PeerRefusal, ReplayOpened } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import type { MemoryFolder } from "../../test/support/memory-folder.ts";
import { until } from "../../test/support/until.ts";
import { withPathBunkers } from "./path-bunker.ts";
import { dialPeer } from "./peer-connection.ts";
import type { DialOutcome, Peer, PeerIdentity } from "./peer-connection.ts";
import type { SitePorts } from "./ports.ts";
import { createSessionWire, feedBegin, feedRecord } from "./session-wire.ts";

// A log on a path as the processes of two sites have it: one writes it as the primary, the other brings a copy up.

const text = `cluster: example
sites:
  east: { peer: 127.0.0.1:7101, api: 127.0.0.1:7201, data: ./east }
  west: { peer: 127.0.0.1:7102, api: 127.0.0.1:7202, data: ./west }
groups:
  bank:
    primary: east
    volumes: { data: { size: 1MiB } }
    journal: { size: 256MiB, mirror: ./shared }
    copies: { west: { mode: async } }
`;

const config = bankOf(text);
const crypto = await loadCrypto();
const clock = createClock();

const first = withTenure([], "east", "a");
const second = withTenure(first, "west", "b");
const open = {
  group: "bank",
  volumes: [{ name: "data", bytes: 2 ** 20 }],
  regionBytes: config.regionBytes,
  incarnation: 1,
};
/** What a copy of the first generation asks that has nothing yet. */
const replayOpen = {
  ...open,
  purpose: "replay",
  history: first,
  completeSet: 0,
  untilLsn: null,
  isWanted: true,
};

function bankOf(file: string): GroupConfig {
  const source = { path: "antipode.yaml", text: file, resolvePath: (path: string) => `/c/${path}` };
  const parsed = parseConfig(source);
  return (parsed.ok ? parsed.config.groups.get("bank") : undefined) ?? assert.fail();
}

/** A process of a site that reaches the folder. */
function processOf(site: string, folder: MemoryFolder, isPrimary: boolean) {
  const identity: PeerIdentity = {
    cluster: "example",
    site,
    knownSites: new Set(["east", "west", pathBunkerOf("bank")]),
    secret: undefined,
    bootId: "boot",
    crypto,
    clock,
  };
  const none = { code: "ENOENT", message: "nothing else is there" };
  const ports: SitePorts = {
    clock,
    crypto,
    transport: createTransport(),
    packing: createPacking(),
    events: { emit: () => undefined },
    trace: undefined,
    bootId: "boot",
    openFolder: () => none,
    openLogFolder: () => folder,
    openImage: () => none,
  };
  const transport = withPathBunkers({ ports, identity, groupOf: () => ({ config, isPrimary }) });
  const address = logAddress({ group: "bank", path: "/shared" });
  return (document: unknown): Promise<DialOutcome> =>
    new Promise((done) =>
      dialPeer(identity, transport, { site: pathBunkerOf("bank"), address, document }, done),
    );
}

/** A primary whose session has begun, with what it hears. */
async function startPrimary(folder: MemoryFolder, site: string, history: History, anew = true) {
  const outcome = await processOf(
    site,
    folder,
    true,
  )({
    ...open,
    purpose: "session",
    history,
    epoch: 7,
    lsn: 0,
    unit: "record",
  });
  if (outcome.kind !== "opened") return assert.fail(JSON.stringify(outcome));
  const { peer } = outcome;
  const heard = listen(peer);
  const wire = createSessionWire(peer, history.length, 7, crypto);
  feedBegin(wire, {
    history,
    incarnation: 1,
    lsn: 0,
    lsnReserved: 1_000,
    resync: false,
    firstSet: 0,
    log: { anew, releasedLsn: 0, releasedSet: 0 },
  });
  await until("it has begun", () => heard.some(({ header }) => header.type === frameType.begun));
  let end: LogPosition = noPosition;
  /** Sends a record of one write, or of the SEAL that ends its set. */
  const write = (): void => {
    const entry = entryBehind(end);
    feedRecord(wire, end, encodeTable([entry]), [payload]);
    end = positionOf(entry);
  };
  const logged = (): number =>
    Math.max(
      0,
      ...heard
        .filter(({ header }) => header.type === frameType.logged)
        .map(({ header }) => header.lsn),
    );
  return { peer, heard, write, logged };
}

const payload = new Uint8Array(512).fill(3);

// All writes are of one set, which has no end yet.
function entryBehind({ lsn, index }: LogPosition): Entry {
  return {
    kind: "write",
    mayPunch: false,
    source: 0,
    incarnation: 1,
    lsn: lsn + 1,
    set: 1,
    index: index + 1,
    volume: 0,
    offset: 0,
    length: payload.length,
    payloadCrc: crc32c(payload),
    stampMs: 0,
  };
}

function listen(peer: Peer): Frame[] {
  const heard: Frame[] = [];
  peer.onFrame = (frame) => void heard.push(frame);
  return heard;
}

function askReplay(folder: MemoryFolder, more: object): Promise<DialOutcome> {
  const dial = processOf("west", folder, false);
  return dial({ ...replayOpen, ...more });
}

async function replay(
  folder: MemoryFolder,
  more: object = {},
): Promise<ReplayOpened | PeerRefusal> {
  const outcome = await askReplay(folder, more);
  if (outcome.kind === "failed") return assert.fail(outcome.why);
  if (outcome.kind === "refused") return outcome.document as PeerRefusal;
  outcome.peer.connection.close("seen");
  const opened = parseReplayOpened(outcome.document);
  return opened.ok ? opened.value : assert.fail(opened.error);
}

test("B13, B2: what a log on a path tells is synced there", async () => {
  const folder = createMemoryFolder();
  const { write, logged, peer } = await startPrimary(folder, "east", first);
  write();
  await until("it is told", () => logged() === 1);
  folder.holdsSyncs = true;
  write();
  await until("its sync was asked for", () => folder.heldSyncs.length > 0);
  assert.equal(logged(), 1, "it is in the page cache of this machine alone");
  folder.holdsSyncs = false;
  for (const answer of folder.heldSyncs.splice(0)) answer();
  await until("it is told", () => logged() === 2);
  peer.connection.close("the end");
});

test("U32, B16, I28: nothing is told once the log is taken, and what was written late is in no replay", async () => {
  const folder = createMemoryFolder();
  const { write, logged, heard } = await startPrimary(folder, "east", first);
  for (let writes = 0; writes < 3; writes += 1) write();
  await until("all is told", () => logged() === 3);
  const before = hex(folder.bytesOf(logFile(folder)));
  const planned = await replay(folder, { isWanted: false });
  assert.ok("has" in planned && planned.has.lsn === 3);
  assert.equal(hex(folder.bytesOf(logFile(folder))), before, "a plan changes nothing");
  const taken = await replay(folder);
  assert.ok("has" in taken && taken.has.lsn === 3 && taken.sends.lsn === 3);
  const owner = readOwner(folder);
  assert.ok(owner !== undefined && "history" in owner);
  assert.deepEqual([owner.activatedFor, owner.end?.number], ["west", 4]);
  assert.equal(hex(folder.bytesOf(logFile(folder))), before, "nor does a replay change the log");
  write();
  const isTold = ({ header }: Frame): boolean => header.type === frameType.failed;
  await until("the primary hears of it", () => heard.some(isTold));
  const failed = heard.find(isTold);
  assert.ok(failed !== undefined);
  const document = decodeJson(failed);
  assert.ok(document.ok);
  assert.equal((document.value as { code: string }).code, "activated");
  assert.equal(logged(), 3);
  assert.notEqual(hex(folder.bytesOf(logFile(folder))), before, "it was written all the same");
  const again = await replay(folder);
  assert.ok("has" in again);
  assert.deepEqual([again.has, again.sends], [taken.has, taken.sends]);
});

function logFile(folder: MemoryFolder): string {
  return folder.list().find((name) => name.startsWith("bunker-")) ?? assert.fail("no log");
}

test("U32, B12: a log that is taken refuses its primary and other copies, until that is called off", async () => {
  const folder = createMemoryFolder();
  const { write, logged, peer } = await startPrimary(folder, "east", first);
  write();
  await until("it is told", () => logged() === 1);
  peer.connection.close("the end");
  assert.ok("has" in (await replay(folder)));
  const session = { ...open, purpose: "session", history: first, epoch: 8, lsn: 1, unit: "record" };
  const back = await processOf("east", folder, true)(session);
  assert.ok(back.kind === "refused");
  assert.equal((back.document as PeerRefusal).code, "activated");
  const other = await processOf("east", folder, false)(replayOpen);
  assert.ok(other.kind === "refused");
  assert.equal((other.document as PeerRefusal).code, "activated");
  assert.deepEqual(await cancelled(folder), {});
  const again = await processOf("east", folder, true)(session);
  assert.equal(again.kind, "opened");
  if (again.kind === "opened") again.peer.connection.close("the end");
});

async function cancelled(folder: MemoryFolder): Promise<unknown> {
  const outcome = await askReplay(folder, { isCancelled: true });
  if (outcome.kind !== "opened") return outcome;
  outcome.peer.connection.close("seen");
  return outcome.document;
}

test("U40, decision 6: a new generation takes the log from the old one, and no copy of that takes it back", async () => {
  const folder = createMemoryFolder();
  const old = await startPrimary(folder, "east", first);
  old.write();
  await until("it is told", () => old.logged() === 1);
  const next = await startPrimary(folder, "west", second);
  next.write();
  await until("it is told", () => next.logged() === 1);
  old.write();
  await until("the old one hears of it", () =>
    old.heard.some(({ header }) => header.type === frameType.failed),
  );
  assert.equal(old.logged(), 1);
  const refused = await replay(folder);
  assert.ok("code" in refused && refused.code === "unfit", JSON.stringify(refused));
  const owner = readOwner(folder);
  assert.ok(owner !== undefined && "history" in owner);
  assert.deepEqual([owner.history, owner.activatedFor], [second, undefined]);
  next.write();
  await until("the new one goes on", () => next.logged() === 2);
  next.peer.connection.close("the end");
});
