import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { KiB, MiB } from "#base/limits.ts";
import type { LogPlace } from "#store/log.ts";
import { sync } from "#store/log.ts";
import { readRecords } from "#store/log-read.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { until } from "../../test/support/until.ts";
import { appendBatch, closeJournal, openJournalLog, reclaimThrough } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// What a journal keeps though no LSN asks for it.

async function openedJournal(folder = createMemoryFolder()): Promise<JournalRun> {
  const where = { folder, kind: "journal", logId: 7, bytesMax: 4 * MiB } as const;
  return await new Promise<JournalRun>((resolve, reject) => {
    openJournalLog(where, { isWhole: true, reserved: 1 }, (opened) => {
      if (opened.ok) resolve(opened.value);
      else reject(new Error(opened.error));
    });
  });
}

test("I22, decision 17: a journal keeps the record from which a device is brought up, whatever its LSN says", async () => {
  const journal = await openedJournal();
  const payload = new Uint8Array(100 * KiB).fill(7);
  const places: LogPlace[] = [];
  for (let set = 1; set <= 30; set += 1) {
    const fields = { length: payload.length, payloadCrc: crc32c(payload) };
    const batch = appendBatch(
      journal,
      [sampleEntry({ ...fields, set, index: 1, lsn: set })],
      [payload],
    );
    assert.ok("place" in batch);
    places.push(batch.place);
  }
  await new Promise((resolve) => sync(journal.log, resolve));
  const isThere = async (place: LogPlace): Promise<boolean> =>
    await new Promise((resolve) => {
      readRecords(journal.log, place, 1, (read) => resolve("records" in read));
    });
  const [first] = places;
  const middle = places[14];
  assert.ok(first !== undefined && middle !== undefined);
  reclaimThrough(journal, { lsn: 29, set: 29, keptFrom: middle.number });
  await until("no segment is being removed", () => !journal.log.isRemoving);
  assert.equal(await isThere(first), false, "what is before it goes");
  for (const place of places.slice(14)) assert.ok(await isThere(place));
  reclaimThrough(journal, { lsn: 29, set: 29 });
  await until("no segment is being removed", () => !journal.log.isRemoving);
  assert.equal(await isThere(middle), false);
});

test("I29, decision 9: of a journal that a start finds, its last write tells what was acked, and no SEAL behind it", async () => {
  const folder = createMemoryFolder();
  const seal = { kind: "seal", length: 0, offset: 1 } as const;
  for (const [entries, lastWriteLsn] of [
    [[sampleEntry({ ...seal, set: 1, index: 1, lsn: 9 })], 9],
    [[sampleEntry({ ...seal, set: 2, index: 1, lsn: 12 })], 9],
    [[sampleEntry({ kind: "zero", set: 3, index: 1, lsn: 13 })], 13],
    [[sampleEntry({ ...seal, set: 3, index: 2, lsn: 13 })], 13],
    [[sampleEntry({ ...seal, set: 4, index: 1, lsn: 99 })], 13],
  ] as const) {
    const before = await openedJournal(folder);
    assert.ok("place" in appendBatch(before, entries, []));
    await new Promise((resolve) => sync(before.log, resolve));
    closeJournal(before);
    const { found } = await openedJournal(folder);
    assert.equal(found.lastWriteLsn, lastWriteLsn, `LSN ${entries[0].lsn}, ${entries[0].kind}`);
  }
});
