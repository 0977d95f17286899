import assert from "node:assert/strict";
import { test } from "node:test";
import { KiB, MiB } from "#base/limits.ts";
import type { Member } from "#core/primary-state.ts";
import { sync } from "#store/log.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createFrameDecoder, decodeJson, pushChunk } from "#wire/peer/decode.ts";
import { emptyHeader, frameType } from "#wire/peer/messages.ts";
import type { Frame } from "#wire/peer/messages.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { until } from "../../test/support/until.ts";
import { wireTo } from "../../test/support/wire-to.ts";
import type { GroupContext } from "./group-context.ts";
import { appendRecord, firstSetThere, openJournalLog, reclaimThrough } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { feedLost } from "./member-feed.ts";
import type { Sessions, MemberSession } from "./member-feed.ts";
import { createRelay } from "./relay.ts";
import type { SessionWire } from "./session-wire.ts";

// A relay at its door: what it takes from its primary, what it says of its log; and what the primary takes from it.

/** A log of which a relay says that it is full when two thirds of it are. */
async function openedLog(kind: "journal" | "bunker", bytesMax: number): Promise<JournalRun> {
  const where = { folder: createMemoryFolder(), kind, logId: 7, bytesMax };
  return await new Promise<JournalRun>((resolve, reject) => {
    openJournalLog(where, { isWhole: true, reserved: 1 }, (opened) => {
      if (opened.ok) resolve(opened.value);
      else reject(new Error(opened.error));
    });
  });
}

/** One record, a set of its own. */
function append(journal: JournalRun, set: number, bytes = 64 * KiB): number | string {
  const write = sampleEntry({ set, index: 1, lsn: set, length: bytes });
  const seal = sampleEntry({ kind: "seal", set, index: 2, lsn: set, length: 0, offset: set });
  const entries = [write, seal];
  const record = { entries, table: encodeTable(entries), payload: [new Uint8Array(bytes)] };
  const number = appendRecord(journal, record);
  return typeof number === "object" ? number.code : number;
}

function frameOf(type: Frame["header"]["type"], document: unknown): Frame {
  const body = [new TextEncoder().encode(JSON.stringify(document))];
  return { header: emptyHeader(type), body };
}

type Bench = {
  readonly relay: ReturnType<typeof createRelay>;
  readonly told: Frame[];
  /** Addresses that were dialled. */
  readonly dialled: string[];
};

function createBench(log: JournalRun, journalBytesMax: number): Bench {
  const told: Frame[] = [];
  const decoder = createFrameDecoder((frame) => void told.push(frame), assert.fail);
  const wire = wireTo("east", (bytes) => pushChunk(decoder, bytes));
  const dialled: string[] = [];
  const copies = new Map([
    ["west", { mode: "cycle", through: "gate" }],
    ["gate", { mode: "bunker", isRelay: true }],
    ["vault", { mode: "bunker" }],
  ]);
  const context = {
    config: { name: "bank", primary: "east", copies, journal: { bytesMax: journalBytesMax } },
    site: "gate",
    ports: {
      clock: createManualClock(),
      events: { emit: () => undefined },
      transport: { dial: (address: string) => void dialled.push(address) },
    },
    addressOf: (site: string) => `${site}:1`,
  } as unknown as GroupContext;
  return { relay: createRelay({ context, log: () => log, wire: () => wire }), told, dialled };
}

const feed = { site: "west", incarnation: 2, epoch: 7, fromSet: 1, connections: 2 };

function lostIn(frame: Frame | undefined): unknown {
  assert.equal(frame?.header.type, frameType.feedLost);
  const document = decodeJson(frame);
  return document.ok ? document.value : assert.fail();
}

test("I34: a relay dials no site that is no copy of its group, and says so", async () => {
  const log = await openedLog("bunker", 6 * MiB);
  for (const site of ["vault", "gate", "nowhere"]) {
    const { relay, told, dialled } = createBench(log, 4 * MiB);
    relay.receive(frameOf(frameType.feed, { ...feed, site }));
    assert.deepEqual(dialled, []);
    const why = `gate knows no copy at ${site}; reload its file`;
    assert.deepEqual(lostIn(told[0]), { epoch: 7, why, isUnreadable: false });
  }
});

test("I28, N4: a relay feeds a copy in one session alone, however often it is asked", async () => {
  const { relay, told, dialled } = createBench(await openedLog("bunker", 6 * MiB), 4 * MiB);
  for (let epoch = 1; epoch <= 50; epoch += 1)
    relay.receive(frameOf(frameType.feed, { ...feed, epoch }));
  assert.equal(dialled.length, 100);
  relay.siteDown("west", "a cut");
  assert.equal(told.length, 1, "one is left to be lost");
  assert.match(JSON.stringify(lostIn(told[0])), /"epoch":50,/);
});

test("A18: a relay says that its log is full by the size that this has, whatever a reload has made of the journal's since", async () => {
  const log = await openedLog("bunker", 6 * MiB);
  const { relay, told } = createBench(log, 100 * MiB);
  let set = 1;
  while (typeof append(log, set) === "number") set += 1;
  relay.lacksRoom();
  assert.deepEqual(
    told.map(({ header }) => [header.type, header.set]),
    [[frameType.invalidate, set - 1]],
  );
});

test("I17: a log has nothing of a set whose beginning went with a segment", async () => {
  const journal = await openedLog("journal", 4 * MiB);
  for (let set = 1; set <= 40; set += 1) append(journal, set);
  await new Promise((resolve) => sync(journal.log, resolve));
  const number = journal.log.firstRecord;
  for (let had = 1; had < 40; had += 1) {
    reclaimThrough(journal, { lsn: had, set: had });
    await until("no segment is being removed", () => !journal.log.isRemoving);
    // Each record is a set of its own.
    const oldest = 1 + journal.log.firstRecord - number;
    assert.ok(
      firstSetThere(journal) >= oldest,
      `${firstSetThere(journal)}, and ${oldest} is first`,
    );
    assert.ok(firstSetThere(journal) <= had + 1, "what a copy lacks is there");
  }
  assert.ok(journal.log.firstRecord > number, "segments went");
});

test("N4, I34: what a relay says of a feed counts for the copies that it feeds; nonsense ends its session", () => {
  const submitted: unknown[] = [];
  const closed: string[] = [];
  const wireOf = (site: string): SessionWire => {
    const wire = wireTo(site, () => undefined);
    wire.peer.connection.close = (why) => void closed.push(`${site}: ${why}`);
    return wire;
  };
  const [gate, vault] = [wireOf("gate"), wireOf("vault")];
  const west = { ...wireOf("west"), epoch: 7 };
  const member = { index: 3 } as unknown as Member;
  const all = [{ member, wire: west, relay: gate } as unknown as MemberSession];
  const sessions = { all, submit: (event: unknown) => submitted.push(event) };
  const lost = frameOf(frameType.feedLost, { epoch: 7, why: "gone", isUnreadable: true });
  feedLost(sessions as unknown as Sessions, vault, lost);
  assert.deepEqual(submitted, [], "another bunker has nothing to say of it");
  feedLost(sessions as unknown as Sessions, gate, lost);
  assert.deepEqual(submitted, [{ kind: "journalUnreadable", member: 3, why: "gone" }]);
  feedLost(sessions as unknown as Sessions, gate, frameOf(frameType.feedLost, { epoch: 7 }));
  assert.deepEqual(closed, ["gate: FEEDLOST is incomplete"]);
});
