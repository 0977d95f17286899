import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "#base/checksum.ts";
import { GiB, KiB } from "#base/limits.ts";
import type { DeviceLink, DeviceLinkEvents } from "#ports/device-link.ts";
import { sync } from "#store/log.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { openMemoryJournal } from "../../test/support/memory-journal.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { until } from "../../test/support/until.ts";
import { createGateways } from "./gateway-run.ts";
import type { GroupContext } from "./group-context.ts";
import { appendBatch } from "./journal-run.ts";

// What a device behind a link is sent, and when, by what the journal has of it.

test("I1, decision 17: a device gets nothing that the journal would lose with its power", async () => {
  const { folder, sent, append } = await createBench();
  folder.holdsSyncs = true;
  append(1);
  await until("the journal is being synced", () => folder.heldSyncs.length > 0);
  // This sync may have begun before the second was appended: it says nothing of it.
  append(2);
  assert.deepEqual(sent, []);
  release(folder.heldSyncs);
  await until("the first is there", () => sent.length > 0 && folder.heldSyncs.length > 0);
  assert.deepEqual(sent, [1]);
  release(folder.heldSyncs);
  await until("the second is there", () => sent.length > 1);
  assert.deepEqual(sent, [1, 2]);
});

test("row 45: a journal that cannot be synced any more still goes to the device, which may be all that has it", async () => {
  const { folder, journal, sent, append } = await createBench();
  append(1);
  await until("the first is there", () => sent.length > 0);
  for (const name of folder.list()) folder.failSyncs(name);
  append(2);
  await until("the second is there", () => sent.length > 1);
  const failures: string[] = [];
  sync(journal.log, (failure) => failures.push(failure?.code ?? "none"));
  await until("whoever syncs next hears of it", () => failures.length > 0);
  assert.notDeepEqual(failures, ["none"]);
});

function release(held: (() => void)[]): void {
  for (const answer of held.splice(0)) answer();
}

/** A volume on a device that answers at once, with the journal in front of it; `sent` are the LSNs that it was sent. */
async function createBench() {
  const { folder, journal } = await openMemoryJournal();
  const sent: number[] = [];
  const link: Partial<DeviceLink> = {
    write(_offset, [bytes], context, done) {
      sent.push(bytes?.[0] ?? 0);
      done(context, undefined);
    },
    flush: (done) => done(undefined),
  };
  const device = {
    takeLink(events: DeviceLinkEvents) {
      setImmediate(() => events.onUp());
      return link;
    },
  };
  const context = {
    config: {
      name: "bank",
      volumes: [{ name: "data", at: new Map([["east", "nbd://x/y"]]) }],
      journal: { bytesMax: 1 * GiB },
    },
    site: "east",
    ports: { clock: createManualClock(), events: { emit: () => undefined } },
    store: { openMaps: [] },
    images: [device],
  } as unknown as GroupContext;
  const [gateway] = createGateways(context);
  if (gateway === undefined) assert.fail("the volume is on a device");
  await new Promise<void>((resolve) => gateway.begin(journal.log, resolve));
  const append = (lsn: number): void => {
    const payload = new Uint8Array(4 * KiB).fill(lsn);
    const fields = { set: 1, index: lsn, lsn, payloadCrc: crc32c(payload) };
    const entries = [sampleEntry({ ...fields, offset: lsn * payload.length })];
    const batch = appendBatch(journal, entries, [payload]);
    if ("code" in batch) assert.fail(batch.code);
    gateway.journaled(batch.place, batch.entries);
  };
  return { folder, journal, sent, append };
}
