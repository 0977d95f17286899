import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { KiB, MiB } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { coversFrom, digestStep } from "#core/entry.ts";
import { sync } from "#store/log.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { until } from "../../test/support/until.ts";
import { wireTo } from "../../test/support/wire-to.ts";
import { appendRecord, openJournalLog, reclaimThrough } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";
import { endSender, startSender } from "./sender-run.ts";
import type { Sender } from "./sender-state.ts";

// What a copy with cycles is sent of a log, and what it is never sent.

async function openedJournal(): Promise<JournalRun> {
  const folder = createMemoryFolder();
  const where = { folder, kind: "journal", logId: 7, bytesMax: 16 * MiB } as const;
  return await new Promise<JournalRun>((resolve, reject) => {
    openJournalLog(where, { isWhole: true, reserved: 1 }, (opened) => {
      if (opened.ok) resolve(opened.value);
      else reject(new Error(opened.error));
    });
  });
}

const payload = new Uint8Array(64 * KiB).fill(7);

function append(journal: JournalRun, entries: readonly Entry[]): void {
  const record = { entries, table: encodeTable(entries), payload: [payload] };
  assert.equal(typeof appendRecord(journal, record), "number");
}

/** A set of two writes, a record each; the second has the SEAL. */
function appendSet(journal: JournalRun, set: number): void {
  const fields = { set, length: payload.length, payloadCrc: crc32c(payload) };
  const first = sampleEntry({ ...fields, index: 1, lsn: 2 * set - 1 });
  const second = sampleEntry({ ...fields, index: 2, lsn: 2 * set, offset: payload.length });
  const payloadCrc = digestStep(digestStep(0, first), second);
  const seal = { kind: "seal", set, index: 3, lsn: 2 * set, offset: set, length: 0 } as const;
  append(journal, [first]);
  append(journal, [second, sampleEntry({ ...seal, payloadCrc })]);
}

/** What a copy that lacks this set and all behind it is sent: the first set, or why there is none. */
async function firstSent(journal: JournalRun, fromSet: number): Promise<string> {
  const told: string[] = [];
  const sender = startSender(
    journal,
    wireTo("west", () => undefined),
    fromSet,
    {
      packing: { name: "none", pack: () => assert.fail(), unpack: () => assert.fail() },
      compress: undefined,
      onUnreadable: (why) => void told.push(why),
      nowMs: () => 0,
      onSent: (_, [entry]) => void told.push(`set ${entry?.set} index ${entry?.index}`),
      foldsFrom: 0,
    },
  );
  await until("something is sent, or cannot be", () => told.length > 0);
  endSender(sender);
  return told[0] ?? "";
}

test("I17, I24: a copy is never sent the end of a set whose beginning the log has let go", async () => {
  const journal = await openedJournal();
  for (let set = 1; set <= 25; set += 1) appendSet(journal, set);
  await new Promise((resolve) => sync(journal.log, resolve));
  const number = journal.log.firstRecord;
  assert.equal(await firstSent(journal, 1), "set 1 index 1");
  let cut = 0;
  for (let had = 1; had < 25 && cut === 0; had += 1) {
    reclaimThrough(journal, { lsn: 2 * had, set: had });
    await until("no segment is being removed", () => !journal.log.isRemoving);
    const gone = journal.log.firstRecord - number;
    if (gone % 2 === 1) cut = (gone + 1) / 2;
  }
  assert.ok(cut > 0, "the log begins in the midst of a set");
  assert.equal(await firstSent(journal, cut), `the beginning of set ${cut} is not there any more`);
  assert.equal(await firstSent(journal, cut + 1), `set ${cut + 1} index 1`);
});

/** A copy that has nothing yet is fed with packed batches, and each set that goes out whole is told. */
function feedPacked(journal: JournalRun, foldsFrom: number, pack: (done: () => void) => void) {
  const sent: { set: number; coversFrom: number }[] = [];
  const wire = wireTo("west", () => undefined);
  const sender: Sender = startSender(journal, wire, 1, {
    packing: {
      name: "held",
      pack: (bytes, done) => pack(() => done({ ok: true, value: bytes.slice(1) })),
      unpack: () => assert.fail(),
    },
    compress: "on",
    onUnreadable: assert.fail,
    nowMs: () => 0,
    onSent(_, entries) {
      for (const entry of entries)
        if (entry.kind === "seal") sent.push({ set: entry.set, coversFrom: coversFrom(entry) });
    },
    foldsFrom,
  });
  return { sender, sent };
}

test("I24, U5: a set that was being packed when its session ended was never sent, and keeps its number", async () => {
  const sets = 4;
  for (let packed = 0; packed <= sets; packed += 1) {
    const journal = await openedJournal();
    for (let set = 1; set <= sets; set += 1) appendSet(journal, set);
    const held: (() => void)[] = [];
    const before = feedPacked(journal, 0, (done) => held.push(done));
    await until("all sets are being packed", () => before.sender.inFlightSeals === sets);
    while (before.sent.length < packed) held.shift()?.();
    assert.equal(before.sender.sentSet, packed, "the last set of which anything has gone out");
    endSender(before.sender);
    for (const done of held) done();
    assert.equal(before.sent.length, packed, "nothing goes out behind the end");

    const { sender, sent } = feedPacked(journal, before.sender.sentSet, (done) => done());
    await until("all sets have come", () => sent.at(-1)?.set === sets);
    endSender(sender);
    const own = Array.from({ length: sets }, (_, i) => ({ set: i + 1, coversFrom: i + 1 }));
    const merged = packed === 0 ? [] : [{ set: packed, coversFrom: 1 }];
    assert.deepEqual(sent, [...merged, ...own.slice(packed)]);
  }
});
