import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { sampleSeals } from "../../test/support/sample-seals.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import type { DeviceFound } from "./device-volume.ts";
import { createJournal } from "./journal.ts";
import { journalRoom, lackedLsn } from "./journal-room.ts";
import { tickJournal } from "./journal-tick.ts";
import type { PrimaryEffect, PrimaryEvent } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";
import { createPrimary, step } from "./primary.ts";
import { createRegionMap, mark, markedBytes } from "./region-map.ts";

// A primary whose first volume lies on a device behind a link. Its driver answers everything at once but the device.

type Rig = {
  readonly primary: Primary;
  readonly replies: { readonly kind: string; readonly outcome: string }[];
  readonly order: string[];
  readonly reclaimed: number[];
  nowMs: number;
};

function createRig(
  found: DeviceFound = { lastLsn: 0, coveredLsn: 0 },
  overflow: "trip" | "stall" | "fail" = "trip",
  isOpen = found.lastLsn > 0,
): Rig {
  const record = sampleRecord({ members: {} });
  const openMaps = record.volumes.map(({ bytes }) => createRegionMap(bytes, 1024 * 1024));
  if (isOpen) for (const map of openMaps.slice(0, 1)) mark(map, 0, 0);
  const { lastLsn } = found;
  const journal = createJournal(
    { policy: sampleSeals({}), overflow, bytesMax: 1 << 30, segmentBytes: 1 << 26 },
    {
      nextSet: record.lsnReserved,
      openSet: undefined,
      lastSealedSet: 0,
      bytesUsed: 0,
      firstSet: 1,
      lastLsn,
      lastWriteLsn: lastLsn,
      isReplayed: lastLsn === 0,
    },
    0,
  );
  const primary = createPrimary({
    record,
    policies: [],
    durability: "flush",
    openMaps,
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal,
    isJournalWhole: true,
    devices: [found],
  });
  const rig: Rig = { primary, replies: [], order: [], reclaimed: [], nowMs: 0 };
  submit(rig, { kind: "start" });
  return rig;
}

function submit(rig: Rig, event: PrimaryEvent): void {
  const out: PrimaryEffect[] = [];
  step(rig.primary, event, out);
  for (const effect of out) perform(rig, effect);
}

function perform(rig: Rig, effect: PrimaryEffect): void {
  rig.order.push(effect.kind);
  const figures = { bytesUsed: 0, firstSet: 1, sealedSet: 0 };
  switch (effect.kind) {
    case "record":
      return submit(rig, { kind: "recorded", ticket: effect.ticket });
    case "syncOpenMaps":
      return submit(rig, { kind: "openMapDurable", ticket: effect.ticket });
    case "append":
      return submit(rig, { kind: "appended", requests: effect.requests, ...figures });
    case "image":
      return submit(rig, { kind: "imageDone", request: effect.request, failure: undefined });
    case "syncJournal":
      return submit(rig, { kind: "journalSynced", volume: effect.volume, ticket: effect.ticket });
    case "syncImage":
      assert.notEqual(effect.volume, 0, "nobody asks a device that way");
      return submit(rig, { ...effect, kind: "imageSynced", failure: undefined });
    case "reply":
      rig.replies.push({ kind: effect.request.kind, outcome: effect.outcome });
      return;
    case "reclaim":
      rig.reclaimed.push(effect.lsn);
      return;
    default:
      return;
  }
}

function ask(rig: Rig, kind: "write" | "flush"): void {
  const request = sampleRequest(kind);
  submit(rig, { kind: "request", request });
  // The first opens its granule; then the write is appended.
  submit(rig, { kind: "turnEnd" });
  submit(rig, { kind: "turnEnd" });
}

function idle(rig: Rig): void {
  for (let i = 0; i < 3; i += 1) {
    rig.nowMs += limits.openIdleMs;
    submit(rig, { kind: "tick", nowMs: rig.nowMs, wallMs: rig.nowMs });
  }
}

function openBytes({ primary }: Rig): number {
  return primary.volumes.reduce((sum, { openMap }) => sum + markedBytes(openMap), 0);
}

function flushedByDevice(rig: Rig): void {
  const lsn = rig.primary.volumes[0]?.lastLsn ?? 0;
  submit(rig, { kind: "deviceSynced", volume: 0, lsn });
}

test("decision 17: hosts wait for the journal, and what forgets waits for the device's flush [I16, I22]", () => {
  const rig = createRig();
  ask(rig, "write");
  ask(rig, "flush");
  assert.deepEqual(rig.replies, [
    { kind: "write", outcome: "ok" },
    { kind: "flush", outcome: "ok" },
  ]);
  assert.ok(rig.order.includes("syncJournal") && !rig.order.includes("syncImage"));
  idle(rig);
  const written = rig.primary.volumes[0]?.lastLsn ?? 0;
  assert.ok(openBytes(rig) > 0, "the granule is open while the device may lack it");
  assert.ok(rig.reclaimed.every((lsn) => lsn < written));
  assert.ok(rig.primary.syncedLsn < written);
  flushedByDevice(rig);
  idle(rig);
  assert.equal(openBytes(rig), 0);
  assert.ok((rig.reclaimed.at(-1) ?? 0) >= written);
});

test("I22, I16: after a start the journal keeps, and the map marks, what the device had not flushed before", () => {
  const rig = createRig({ lastLsn: 7, coveredLsn: 0 });
  ask(rig, "flush");
  idle(rig);
  assert.deepEqual(
    rig.reclaimed.filter((lsn) => lsn > 0),
    [],
  );
  assert.ok(openBytes(rig) > 0);
  flushedByDevice(rig);
  idle(rig);
  assert.equal(openBytes(rig), 0);
  assert.ok((rig.reclaimed.at(-1) ?? 0) >= 7);
});

test("I16, I18, decision 17: what was open at a start stays open until the device has flushed, though the journal has nothing for it", () => {
  // An earlier role of this site has left there what nobody flushed.
  const rig = createRig({ lastLsn: 0, coveredLsn: 0 }, "trip", true);
  ask(rig, "flush");
  idle(rig);
  assert.ok(openBytes(rig) > 0, "the device may still forget it");
  submit(rig, { kind: "deviceSynced", volume: 0, lsn: 0 });
  ask(rig, "flush");
  idle(rig);
  assert.equal(openBytes(rig), 0);
});

test("row 40, decision 13: a journal that a device alone holds stalls hosts, whatever overflow says", () => {
  for (const overflow of ["trip", "stall", "fail"] as const) {
    const rig = createRig(undefined, overflow);
    ask(rig, "write");
    const { journal } = rig.primary;
    assert.ok(journal !== undefined);
    journal.bytesUsed = journal.bytesMax;
    assert.equal(journalRoom(rig.primary), "wait", overflow);
    // The device has flushed, and the journal's files are being removed: no host hears of the room that is not there yet.
    flushedByDevice(rig);
    assert.equal(journalRoom(rig.primary), "wait", overflow);
  }
});

test("A16: what the device lacks is what the journal must keep, and foretells when it is full, though every copy has it", () => {
  const rig = createRig();
  const { journal } = rig.primary;
  assert.ok(journal !== undefined);
  assert.equal(lackedLsn(rig.primary), undefined);
  ask(rig, "write");
  assert.equal(lackedLsn(rig.primary), 0);
  tickJournal(rig.primary, limits.tickMs, []);
  assert.ok(journal.pace.keptBytes > 0);
  flushedByDevice(rig);
  assert.equal(lackedLsn(rig.primary), undefined);
  tickJournal(rig.primary, limits.tickMs, []);
  assert.equal(journal.pace.keptBytes, 0);
});

test("a stop leaves to the journal what the device lacks; a demotion waits until it lacks nothing", () => {
  const stopped = createRig();
  ask(stopped, "write");
  submit(stopped, { kind: "drain", next: "stop" });
  assert.equal(stopped.primary.stage, "ended");
  assert.ok(openBytes(stopped) > 0);

  const demoted = createRig();
  ask(demoted, "write");
  submit(demoted, { kind: "drain", next: "demote" });
  assert.equal(demoted.primary.stage, "draining");
  flushedByDevice(demoted);
  assert.equal(demoted.primary.stage, "ended");
  assert.equal(openBytes(demoted), 0);
  assert.equal(demoted.primary.record.image, "consistent");
});

test("I33: outranked while the device lacks something, the image is not taken for consistent", () => {
  const rig = createRig();
  ask(rig, "write");
  submit(rig, { kind: "outranked", by: "west" });
  assert.equal(rig.primary.record.image, "synchronizing");
  assert.ok(openBytes(rig) > 0);
});

test("rounds that wait for a device that is away are the oldest and the newest, however many there were", () => {
  const rig = createRig();
  for (let i = 0; i < 50; i += 1) {
    ask(rig, "write");
    ask(rig, "flush");
  }
  assert.equal(rig.primary.volumes[0]?.device?.rounds.length, 2);
  flushedByDevice(rig);
  assert.equal(rig.primary.volumes[0]?.device?.rounds.length, 0);
});
