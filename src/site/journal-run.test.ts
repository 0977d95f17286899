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
import { appendBatch, openJournalLog, reclaimThrough } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// What a journal keeps though no LSN asks for it.

async function openedJournal(): Promise<JournalRun> {
  const where = {
    folder: createMemoryFolder(),
    kind: "journal",
    logId: 7,
    bytesMax: 4 * MiB,
  } as const;
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
