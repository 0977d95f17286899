import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { samplePrimary } from "../../test/support/sample-primary.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import { whyHeldUp } from "./held-up.ts";
import { roomBytesMax, sealIdle } from "./journal.ts";
import type { DiskRoom, Journal } from "./journal.ts";
import { journalRoom, noRoom, overflowing, releaseJournal, tailHolder } from "./journal-room.ts";
import { whyFull } from "./journal-room.ts";
import type { PrimaryEffect, PrimaryEvent } from "./primary-events.ts";
import { step } from "./primary.ts";

test("I16, I17: until it is on record that a copy is dirty, the journal keeps what the copy lacks ", () => {
  const { primary, west } = samplePrimary();
  west.sets.completeLsn = 12;
  west.sets.completeSet = 90;
  primary.syncedLsn = 20;
  const out: PrimaryEffect[] = [];
  const reclaimed = (): number[] => {
    const lsns = out.flatMap((effect) => (effect.kind === "reclaim" ? [effect.lsn] : []));
    out.length = 0;
    return lsns;
  };
  releaseJournal(primary, out);
  assert.deepEqual(reclaimed(), [12]);

  step(primary, { kind: "resyncFull", member: 0 }, out);
  const asked = out.find((effect) => effect.kind === "record");
  assert.ok(asked?.kind === "record");
  assert.equal(west.record.phase, "dirty");
  releaseJournal(primary, out);
  assert.equal(tailHolder(primary), west);
  assert.deepEqual(reclaimed(), []);

  step(primary, { kind: "recorded", ticket: asked.ticket }, out);
  releaseJournal(primary, out);
  assert.equal(tailHolder(primary), undefined);
  assert.deepEqual(reclaimed(), [20]);
});

function createWithJournal(overflow: Journal["overflow"]) {
  const { primary, west } = samplePrimary();
  const { journal } = primary;
  assert.ok(journal);
  journal.overflow = overflow;
  primary.syncedLsn = 20;
  return { primary, west, journal };
}

test("row 39: what a failed volume lacks is kept, whatever overflow says: no copy is tripped for it, and why says so", () => {
  for (const overflow of ["trip", "stall", "fail"] as const) {
    const { primary, west, journal } = createWithJournal(overflow);
    const [volume] = primary.volumes;
    assert.ok(volume);
    primary.stage = "serving";
    primary.nextLsn = 41;
    volume.state = "failed";
    volume.lastLsn = 40;
    volume.flush.coveredLsn = 20;
    west.sets.completeLsn = 40;
    west.sets.completeSet = 99;
    assert.equal(noRoom(primary), undefined);
    journal.bytesUsed = journal.bytesMax - limits.journalMarginBytes + 1;
    assert.equal(journalRoom(primary), overflow === "fail" ? "fail" : "wait");
    const verdict = overflow === "fail" ? "fail" : "wait";
    const byJournal = { by: "journal", verdict } as const;
    const forVolume = { ...byJournal, keptFor: "failed-volume", volume: "data" };
    assert.deepEqual(noRoom(primary), forVolume);
    assert.match(
      whyHeldUp(noRoom(primary)),
      /full of what data lacks, which has failed here; writes/,
    );
    const out: PrimaryEffect[] = [];
    assert.equal(overflowing(primary, out), undefined);
    assert.ok(west.record.phase === "synchronized");
    releaseJournal(primary, out);
    assert.ok(out.some((effect) => effect.kind === "reclaim" && effect.lsn === 20));
    // A copy that is further behind than the image still goes first.
    west.sets.completeLsn = 12;
    assert.deepEqual(noRoom(primary), { ...byJournal, keptFor: "copy", copy: "west" });
    assert.match(whyHeldUp(noRoom(primary)), /full of what west lacks; writes/);
    assert.equal(overflowing(primary, out), overflow === "trip" ? west : undefined);
    // Nothing has failed, and everybody has everything: it is a matter of a sync, which is waited for (decision 13).
    west.sets.completeLsn = 40;
    volume.state = "ok";
    assert.deepEqual(noRoom(primary), { by: "journal", keptFor: "images", verdict: "wait" });
    assert.match(whyHeldUp(noRoom(primary)), /full until the images here are synced; writes wait/);
    assert.equal(journalRoom(primary), "wait");
    west.sets.completeLsn = 12;
    assert.equal(journalRoom(primary), overflow === "fail" ? "fail" : "wait");
  }
});

test("A17, S1: the images are synced after every so many bytes, however far a copy is behind, and not for each write once it is", () => {
  const { primary, west, journal } = createWithJournal("trip");
  const [volume] = primary.volumes;
  assert.ok(volume);
  const asked = (): number => {
    const out: PrimaryEffect[] = [];
    assert.equal(overflowing(primary, out), undefined);
    const rounds = out.filter(({ kind }) => kind === "syncImage").length;
    volume.flush.running = undefined;
    return rounds;
  };
  const write = (bytes: number): void => {
    primary.nextLsn += 1;
    volume.lastLsn = primary.nextLsn - 1;
    journal.pace.orderedBytes += bytes;
  };
  primary.stage = "serving";
  west.sets.completeLsn = 1;
  assert.ok(journal.bytesUsed < journal.bytesMax / 2);
  write(limits.journalForImagesBytes - 1);
  assert.equal(asked(), 0);
  write(1);
  assert.equal(asked(), 1);
  assert.equal(asked(), 0, "until as many have come again");
  write(limits.journalForImagesBytes);
  volume.flush.coveredLsn = volume.lastLsn;
  assert.equal(asked(), 0, "a host's own FLUSH has done it");
});

test("row 40, A17: hosts that wait for room go on by themselves once the last segment is gone, though nothing else happens", () => {
  const { primary, journal } = createWithJournal("stall");
  primary.stage = "serving";
  primary.lsnReserved = 1_000;
  journal.bytesUsed = journal.bytesMax;
  // The log, as the driver has it: what was let go is removed a while after that was asked for.
  let bytesThere = journal.bytesMax;
  const held = sampleRequest("write");
  const happens = (event: PrimaryEvent): void => {
    const out: PrimaryEffect[] = [];
    step(primary, event, out);
    for (const { kind } of out)
      if (kind === "reclaim" || kind === "weighJournal")
        happens({ kind: "reclaimed", bytesUsed: bytesThere, firstSet: 100 });
  };
  happens({ kind: "request", request: held });
  happens({ kind: "tick", nowMs: limits.tickMs, wallMs: 0 });
  assert.deepEqual(primary.held, [held]);
  bytesThere = 0;
  happens({ kind: "tick", nowMs: 2 * limits.tickMs, wallMs: 0 });
  assert.deepEqual(primary.held, []);
});

test("row 40: a journal that stays full is not filled up by empty sets, which would end the group", () => {
  const { primary, journal } = createWithJournal("stall");
  primary.stage = "serving";
  primary.lsnReserved = 1_000;
  const appendsAt = (nowMs: number): number => {
    const out: PrimaryEffect[] = [];
    primary.nowMs = nowMs;
    sealIdle(primary, out);
    return out.filter(({ kind }) => kind === "append").length;
  };
  assert.equal(appendsAt(limits.emptySealMs), 1);
  journal.bytesUsed = journal.bytesMax - limits.journalMarginBytes + 1;
  assert.equal(appendsAt(3 * limits.emptySealMs), 0);
  journal.bytesUsed = 0;
  assert.equal(appendsAt(3 * limits.emptySealMs), 1);
});

const diskWhy = "taking room for /data/bank/journal-1.log: no space left on device (ENOSPC)";

test("row 40, decision 13: a full disk counts as a full journal: stall waits, fail refuses, trip trips who is behind, once its bits have room", () => {
  for (const overflow of ["trip", "stall", "fail"] as const) {
    const { primary, west, journal } = createWithJournal(overflow);
    primary.stage = "serving";
    primary.nextLsn = 41;
    primary.syncedLsn = 40;
    west.sets.completeLsn = 12;
    west.sets.completeSet = 90;
    journal.bytesUsed = 2 * journal.pace.segmentBytes;
    const full = { aheadBytes: limits.journalAheadMarginBytes, why: diskWhy, mayTrip: true };
    const out: PrimaryEffect[] = [];
    const told = (disk: DiskRoom | undefined): void => {
      const { bytesUsed, firstSet } = journal;
      step(primary, { kind: "reclaimed", bytesUsed, firstSet, disk }, out);
    };

    told(full);
    assert.equal(journalRoom(primary), "go", "what is left is for hosts");
    assert.equal(roomBytesMax(journal), journal.bytesUsed + full.aheadBytes);
    assert.equal(noRoom(primary), undefined);
    const { limitBytes } = journal.pace;
    journal.gatheredBytes = 1;
    assert.equal(journalRoom(primary), overflow === "fail" ? "fail" : "wait", "with its margin");
    journal.gatheredBytes = 0;

    told({ ...full, aheadBytes: full.aheadBytes - 1 });
    assert.equal(journalRoom(primary), overflow === "fail" ? "fail" : "wait");
    const verdict = overflow === "fail" ? "fail" : "wait";
    assert.deepEqual(noRoom(primary), { by: "disk", said: diskWhy, verdict });
    assert.match(
      whyHeldUp(noRoom(primary)),
      /^the disk under the journal is full: .*ENOSPC.*; it goes on by itself once there is room; writes /,
    );
    assert.match(whyFull(journal), /^the disk under the journal is full .*ENOSPC/);
    told({ ...full, aheadBytes: 0, mayTrip: false });
    assert.equal(overflowing(primary, out), undefined, "no bits, no cut");
    told({ ...full, aheadBytes: 0 });
    assert.equal(overflowing(primary, out), overflow === "trip" ? west : undefined);
    // Everybody has everything: there is nobody to wait for, and nobody to trip.
    west.sets.completeLsn = 40;
    west.sets.completeSet = 99;
    assert.equal(overflowing(primary, out), undefined);
    assert.equal(journalRoom(primary), overflow === "fail" ? "fail" : "wait");

    told(undefined);
    assert.equal(journalRoom(primary), "go");
    assert.equal(roomBytesMax(journal), journal.bytesMax);
    assert.ok(journal.pace.limitBytes > limitBytes, "hosts are slowed down later again");
  }
});

test("row 40: hosts that wait for a full disk go on by themselves once there is room, at whatever size", () => {
  const { primary, journal } = createWithJournal("stall");
  primary.stage = "serving";
  primary.lsnReserved = 1_000;
  const held = sampleRequest("write");
  const told = (disk: DiskRoom | undefined): void =>
    step(primary, { kind: "reclaimed", bytesUsed: journal.bytesUsed, firstSet: 1, disk }, []);
  const full = { why: diskWhy, mayTrip: true };
  told({ ...full, aheadBytes: 0 });
  step(primary, { kind: "request", request: held }, []);
  assert.deepEqual(primary.held, [held]);
  told({ ...full, aheadBytes: 2 * limits.journalAheadMarginBytes });
  assert.deepEqual(primary.held, [], "a part of the room is enough");
});

test("row 40: where bits have no room, a journal that is full by its own size trips nobody, and says that it is the disk", () => {
  const { primary, west, journal } = createWithJournal("trip");
  primary.stage = "serving";
  west.sets.completeLsn = 12;
  west.sets.completeSet = 90;
  journal.bytesUsed = journal.bytesMax;
  journal.disk = { aheadBytes: Number.POSITIVE_INFINITY, why: diskWhy, mayTrip: false };
  assert.equal(overflowing(primary, []), undefined);
  assert.deepEqual(noRoom(primary), { by: "disk", said: diskWhy, verdict: "wait" });
  assert.match(whyHeldUp(noRoom(primary)), /^the disk under the journal is full: .*; writes wait$/);
  journal.disk = undefined;
  assert.equal(overflowing(primary, []), west);
});
