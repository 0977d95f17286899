import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32cChunks } from "#base/checksum.ts";
import { KiB, MiB } from "#base/limits.ts";
import type { Entry } from "#core/entry.ts";
import { sync } from "#store/log.ts";
import { encodeTable } from "#wire/batch/encode.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { appendRecord, openJournalLog, firstSetThere, reclaimThrough } from "./journal-run.ts";
import type { JournalRun, LogWhere } from "./journal-run.ts";
import { surveyLog } from "./log-survey.ts";
import type { LogSurvey } from "./log-survey.ts";

// What a bunker's log has for a copy, and what a start finds in a journal: logs in memory, record by record.

function entry(set: number, index: number, lsn: number): Entry {
  return sampleEntry({ kind: "zero", set, index, lsn });
}

function seal(set: number, index: number, lsn: number, coversFrom = set): Entry {
  return { ...entry(set, index, lsn), kind: "seal", offset: coversFrom, length: 0 };
}

function where(): LogWhere {
  return { folder: createMemoryFolder(), kind: "bunker", logId: 7, bytesMax: 4 * MiB };
}

async function openedLog(log: LogWhere): Promise<JournalRun> {
  return await new Promise((resolve, reject) => {
    openJournalLog(log, { isWhole: true, reserved: 1 }, (opened) => {
      if (opened.ok) resolve(opened.value);
      else reject(new Error(opened.error));
    });
  });
}

function fill(log: JournalRun, records: readonly (readonly Entry[])[]): void {
  for (const entries of records) {
    const number = appendRecord(log, { entries, table: encodeTable(entries), payload: [] });
    assert.equal(typeof number, "number");
  }
}

async function survey(
  log: JournalRun,
  completeSet: number,
  untilLsn: number | null = null,
  completeLsn?: number,
): Promise<LogSurvey> {
  return await new Promise((resolve, reject) => {
    const from = { completeSet, untilLsn, ...(completeLsn === undefined ? {} : { completeLsn }) };
    surveyLog(log, from, (found) => {
      if ("code" in found) reject(new Error(found.message));
      else resolve(found);
    });
  });
}

test("B17, B18: no copy is brought over a set that follows none before it, unless it has that set", async () => {
  const log = await openedLog(where());
  fill(log, [[entry(1, 1, 1), seal(1, 2, 1)], [entry(2, 1, 2), seal(2, 2, 2)], [seal(9, 1, 5, 9)]]);
  fill(log, [[entry(10, 1, 6), seal(10, 2, 6)], [entry(11, 1, 7)]]);
  const over = await survey(log, 1);
  assert.deepEqual(over.gap, { set: 9, untilLsn: 2 });
  assert.deepEqual(
    [over.sends.set, over.has.set],
    [2, 11],
    "what is behind it is there, and not sent",
  );
  const before = await survey(log, 1, 2);
  assert.deepEqual([before.gap, before.sends.set], [undefined, 2]);
  const atIt = await survey(log, 2);
  assert.deepEqual([atIt.gap, atIt.sends.set], [{ set: 9, untilLsn: 0 }, 0]);
  const behind = await survey(log, 9);
  assert.deepEqual([behind.gap, behind.sends.set, behind.sends.writes], [undefined, 11, 2]);
});

test("B16: what was asked for ends the replay, whether the log ends with a SEAL or in the midst of a set", async () => {
  const log = await openedLog(where());
  fill(log, [
    [entry(1, 1, 1), seal(1, 2, 1)],
    [entry(2, 1, 2), seal(2, 2, 2)],
  ]);
  const sealed = await survey(log, 0, 1);
  assert.deepEqual([sealed.sends.lsn, sealed.has.lsn], [1, 2]);
  assert.equal((await survey(log, 0, 2)).sends.lsn, 2);
  fill(log, [[entry(3, 1, 3)]]);
  assert.equal((await survey(log, 0, 1)).sends.lsn, 1);
  assert.equal((await survey(log, 0, 2)).sends.lsn, 2);
  assert.equal((await survey(log, 0, 3)).sends.lsn, 3);
});

test("B17: a copy whose last set another log has ended early is not brought over what that set lacks", async () => {
  const log = await openedLog(where());
  const set = [entry(1, 1, 1), entry(1, 2, 2), entry(1, 3, 3)];
  fill(log, [set]);
  const tail = await survey(log, 1, null, 2);
  assert.deepEqual(tail.cutShort, { set: 1, lsn: 3 }, "also where the log has no other set");
  fill(log, [[seal(1, 4, 3)], [entry(2, 1, 4), seal(2, 2, 4)]]);
  assert.deepEqual((await survey(log, 1, null, 2)).cutShort, { set: 1, lsn: 3 });
  const whole = await survey(log, 1, null, 3);
  assert.deepEqual([whole.cutShort, whole.sends.set, whole.sends.writes], [undefined, 2, 1]);
});

test("B17: sets with gaps between their numbers follow each other where a SEAL says so", async () => {
  const log = await openedLog(where());
  fill(log, [
    [entry(1, 1, 1), seal(1, 2, 1)],
    [entry(7, 1, 2), seal(7, 2, 2, 2)],
  ]);
  const found = await survey(log, 0);
  assert.deepEqual([found.gap, found.sends.set], [undefined, 7]);
});

test("I26: a set whose beginning has gone is ended behind its last index", async () => {
  const journal = where();
  fill(await openedLog(journal), [[entry(5, 8, 30), entry(5, 9, 31)], [entry(5, 10, 32)]]);
  const { found } = await openedLog(journal);
  assert.equal(found.openSet?.set, 5);
  assert.equal(found.openSet?.count, 10);
});

test("B17: a log that has let go of the copy's last set still has what follows it", async () => {
  const log = await openedLog(where());
  const [bytes, last] = [100 * KiB, 30];
  for (let set = 1; set <= last; set += 1) {
    const payload = [new Uint8Array(bytes)];
    const payloadCrc = crc32cChunks(payload);
    const write: Entry = { ...entry(set, 1, set), kind: "write", length: bytes, payloadCrc };
    const entries = [write, seal(set, 2, set)];
    appendRecord(log, { entries, table: encodeTable(entries), payload });
  }
  // Only what is durable behind it lets a segment go.
  await new Promise((synced) => sync(log.log, synced));
  let gone = 0;
  for (let set = 1; set < last; set += 1) {
    reclaimThrough(log, { lsn: set, set });
    if (firstSetThere(log) > set) gone += 1;
    const { has, sends, gap } = await survey(log, set, null, set);
    assert.deepEqual([has.set, sends.set, sends.writes, gap], [last, last, last - set, undefined]);
  }
  assert.ok(gone > 0, "no set was let go of in the midst of a stretch");
});
