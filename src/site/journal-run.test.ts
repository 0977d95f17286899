import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { KiB, limits, MiB } from "#base/limits.ts";
import { createJournal } from "#core/journal.ts";
import type { PrimaryEffect, PrimaryEvent } from "#core/primary-events.ts";
import type { Primary } from "#core/primary-state.ts";
import { createPrimary, step } from "#core/primary.ts";
import { createRegionMap } from "#core/region-map.ts";
import type { LogPlace } from "#store/log.ts";
import { sync } from "#store/log.ts";
import { readRecords } from "#store/log-read.ts";
import { createPrng } from "../../sim/prng.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import { sampleSeals } from "../../test/support/sample-seals.ts";
import { until } from "../../test/support/until.ts";
import {
  appendBatch,
  bytesMaxOf,
  closeJournal,
  journalFigures,
  openJournalLog,
  reclaimThrough,
} from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// What a journal keeps though no LSN asks for it, and that a small one has room for whatever is let in.

async function openedJournal(
  folder = createMemoryFolder(),
  bytesMax = 4 * MiB,
): Promise<JournalRun> {
  const where = { folder, kind: "journal", logId: 7, bytesMax } as const;
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

/** A primary without members whose images are never synced: all that is let in stays in its journal. */
function createPrimaryOn(run: JournalRun, bytesMax: number): Primary {
  const volumes = [{ name: "data", bytes: 64 * MiB }];
  const record = sampleRecord({ members: {}, volumes });
  const { segmentBytes } = run.size;
  const policy = sampleSeals({ bytesMax: 4 * MiB });
  return createPrimary({
    record,
    policies: [],
    durability: "flush",
    openMaps: [createRegionMap(64 * MiB, 1 * MiB)],
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal: createJournal({ policy, overflow: "stall", bytesMax, segmentBytes }, run.found, 0),
    isJournalWhole: true,
  });
}

/** As the driver does it: all effects of a step come before what follows from them. */
function driveAll(primary: Primary, run: JournalRun, first: readonly PrimaryEvent[]): number {
  const events = [...first];
  let letIn = 0;
  for (const event of events) {
    const out: PrimaryEffect[] = [];
    step(primary, event, out);
    for (const effect of out) {
      if (effect.kind === "record") events.push({ kind: "recorded", ticket: effect.ticket });
      if (effect.kind === "syncOpenMaps")
        events.push({ kind: "openMapDurable", ticket: effect.ticket });
      if (effect.kind === "awaitTurnEnd") events.push({ kind: "turnEnd" });
      if (effect.kind !== "append") continue;
      const { entries, requests } = effect;
      const batch = appendBatch(
        run,
        entries,
        requests.flatMap(({ payload }) => payload),
      );
      assert.ok("place" in batch, `no room for ${requests.length} requests`);
      letIn += requests.length;
      events.push({ kind: "appended", requests, ...journalFigures(run) });
    }
  }
  return letIn;
}

test("I25, I36: whatever hosts ask at once, all that a small journal lets in has its place there, to the end", async () => {
  const content = new Uint8Array(2 * MiB);
  for (let seed = 1; seed <= 12; seed += 1) {
    const rng = createPrng(`small journal ${seed}`);
    const bytesMax = 16 * MiB + rng.below(seed) * 3 * MiB;
    const run = await openedJournal(createMemoryFolder(), bytesMax);
    const primary = createPrimaryOn(run, bytesMax);
    const { writeBytesMax } = run.size;
    // The worst there is: just longer than half of what fits beside them, short ones, and such without any payload.
    const lengths = rng.pick([
      [writeBytesMax],
      [writeBytesMax / 2 + 512],
      [512],
      [512, 4096, writeBytesMax - 4096, writeBytesMax],
    ]);
    const zeroes = rng.pick([0, 0.5, 0.9]);
    const many = (2 * bytesMax) / (limits.entryCostBytes + Math.max(...lengths) * (1 - zeroes));
    const requests = Array.from({ length: Math.ceil(many) }, (): PrimaryEvent => {
      const length = rng.pick(lengths);
      const isZero = rng.chance(zeroes);
      const payload = isZero ? [] : [content.subarray(0, length)];
      const offset = 4096 * rng.below((32 * MiB) / 4096);
      const request = sampleRequest(isZero ? "zero" : "write", { offset, length, payload });
      return { kind: "request", request };
    });
    // What came before the start is let in with one step, and so is what waits for the open map.
    const letIn = driveAll(primary, run, [...requests, { kind: "start" }]);
    assert.ok(letIn > 20 && primary.held.length > 0, `${letIn} were let in`);
    const { bytesUsed } = journalFigures(run);
    assert.ok(bytesUsed <= bytesMaxOf(run) && bytesUsed > bytesMax / 8, `${bytesUsed} are used`);
    closeJournal(run);
  }
});
