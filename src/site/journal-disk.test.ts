import assert from "node:assert/strict";
import { before, test } from "node:test";
import { KiB, limits, MiB } from "#base/limits.ts";
import type { EventRecord } from "#ports/events.ts";
import { blankMember } from "#core/group-record.ts";
import { openGroupStore } from "#store/group-store.ts";
import type { GroupStore, OpenedStore } from "#store/group-store.ts";
import { keepReserve } from "#store/reserve.ts";
import { setLimits } from "../../sim/knobs.ts";
import { reclaim } from "#store/log.ts";
import { createLogWorld, mustSync, rest } from "../../test/support/log-world.ts";
import { sampleEntry } from "../../test/support/sample-entry.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import type { GroupContext } from "./group-context.ts";
import { askDiskDue, createDiskWatch, diskOf, figuresOn } from "./journal-disk.ts";
import { appendBatch, openJournalLog } from "./journal-run.ts";
import type { JournalRun, OpenedJournal } from "./journal-run.ts";

before(() => {
  setLimits({
    journalBytesWhole: 1,
    journalSegmentBytes: 256 * KiB,
    journalAheadBytes: 64 * KiB,
    journalAheadStepBytes: 16 * KiB,
    journalAheadMarginBytes: 32 * KiB,
  });
});

/** A primary's folder on a disk of its own, with a journal and one copy that has no dirty map. */
function createBank() {
  const world = createLogWorld();
  const folder = world.folder();
  const fresh = sampleRecord({ volumes: [{ name: "data", bytes: 64 * MiB }] });
  const randomBytes = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(7);
  const opened = world.run<OpenedStore>((done) =>
    openGroupStore({ folder, randomBytes, fresh }, done),
  );
  const store: GroupStore = opened.ok ? opened.value : assert.fail(opened.error);
  const events: EventRecord[] = [];
  const clock = { nowMs: 0 };
  const context = {
    store,
    config: { name: "bank", copies: new Map([["west", {}]]) },
    ports: {
      clock: { nowMs: () => clock.nowMs },
      events: { emit: (event: EventRecord) => events.push(event) },
    },
  } as unknown as GroupContext;
  keepReserve(context.store);
  const where = { folder, kind: "journal", logId: 7, bytesMax: 1 * MiB } as const;
  const journal = world.run<OpenedJournal>((done) =>
    openJournalLog(where, { isWhole: true, reserved: 1 }, done),
  );
  const run: JournalRun = journal.ok ? journal.value : assert.fail(journal.error);
  let set = 0;
  const write = (): void => {
    set += 1;
    const payload = new Uint8Array(16 * KiB);
    const entry = sampleEntry({ set, index: 1, lsn: set, length: payload.length });
    assert.ok("place" in appendBatch(run, [entry], [payload]));
  };
  const letGo = (): void => {
    mustSync(world, run.log);
    assert.equal(reclaim(run.log, run.log.lastRecord), undefined);
    rest(world);
  };
  const told = (): (string | undefined)[] => events.map(({ to }) => to);
  return { ...world, context, clock, run, watch: createDiskWatch(), write, letGo, told, events };
}

test("row 40: that the disk is full people hear once, with the file, and once that it is not", () => {
  const { disk, context, clock, run, watch, write, told, events } = createBank();
  assert.equal(figuresOn(watch, context, run).disk, undefined);
  disk.behaviour.spaceBytes = disk.usedBytes();
  while (figuresOn(watch, context, run).disk === undefined) write();
  figuresOn(watch, context, run);
  assert.deepEqual(told(), ["full"]);
  assert.match(events[0]?.why ?? "", /no space.*goes on by itself once there is room$/);
  assert.equal(figuresOn(watch, context, run).disk?.mayTrip, true, "bits have room");
  disk.behaviour.spaceBytes = Infinity;
  assert.ok(askDiskDue(watch, context, run.log));
  assert.equal(figuresOn(watch, context, run).disk, undefined);
  assert.ok(!askDiskDue(watch, context, run.log), "not before its time");
  clock.nowMs += limits.journalRoomRetryMs;
  assert.ok(askDiskDue(watch, context, run.log));
  assert.deepEqual(told(), ["full"], "it may be full again at once");
  clock.nowMs += limits.fullOverMs;
  figuresOn(watch, context, run);
  assert.deepEqual(told(), ["full", "ok"]);
});

test("row 40: a journal that goes round on a full disk has enough ahead at times: people hear of a full disk once", () => {
  const { disk, context, clock, run, watch, write, letGo, told } = createBank();
  disk.behaviour.spaceBytes = disk.usedBytes();
  let changes = 0;
  let was = false;
  for (let i = 0; i < 100; i += 1) {
    clock.nowMs += 100;
    askDiskDue(watch, context, run.log);
    write();
    const isFull = figuresOn(watch, context, run).disk !== undefined;
    letGo();
    const isFullThen = figuresOn(watch, context, run).disk !== undefined;
    changes += Number(isFull !== was) + Number(isFullThen !== isFull);
    was = isFullThen;
  }
  assert.ok(changes > 10, `${changes} changes`);
  assert.deepEqual(told(), ["full"]);
});

test("row 40, I16: room for bits comes before room for the journal: a segment that waits is given up for it", () => {
  const { disk, context, run, watch } = createBank();
  assert.equal(run.log.spares.length, 1);
  // A member that is new wants a map, too.
  context.store.record.members["north"] = blankMember();
  context.store.record.members["south"] = blankMember();
  disk.behaviour.spaceBytes = disk.usedBytes();
  const files = run.log.options.folder.list().length;
  assert.equal(diskOf(context, run.log), undefined, "not asked for yet");
  keepReserve(context.store);
  assert.equal(diskOf(context, run.log)?.mayTrip, false);
  assert.ok(askDiskDue(watch, context, run.log));
  assert.notEqual(diskOf(context, run.log)?.mayTrip, false);
  assert.ok(run.log.options.folder.list().length <= files);
  assert.equal(run.log.failure, undefined);
});
