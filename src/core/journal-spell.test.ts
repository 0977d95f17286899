import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { samplePrimary } from "../../test/support/sample-primary.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import type { Journal } from "./journal.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import { step } from "./primary.ts";

// A journal whose copy is away, and hosts that write: full and with room as the test says.
function createRig(overflow: Journal["overflow"]) {
  const { primary, west } = samplePrimary();
  const { journal } = primary;
  assert.ok(journal);
  journal.overflow = overflow;
  primary.stage = "serving";
  primary.lsnReserved = 1_000;
  primary.nextLsn = 41;
  primary.syncedLsn = 40;
  west.sets.completeLsn = 20;
  west.sets.completeSet = 99;
  let nowMs = 0;
  const out: PrimaryEffect[] = [];
  return {
    primary,
    setFull(isFull: boolean) {
      journal.bytesUsed = isFull ? journal.bytesMax - limits.journalMarginBytes + 1 : 0;
      primary.recheckHeld = true;
    },
    write: () => step(primary, { kind: "request", request: sampleRequest("write") }, out),
    tick(times: number) {
      for (let i = 0; i < times; i += 1) {
        nowMs += 100;
        step(primary, { kind: "tick", nowMs, wallMs: nowMs }, out);
      }
    },
    /** What has been told since it was asked last. */
    told: () =>
      out
        .splice(0)
        .flatMap((effect) =>
          effect.kind === "event" && effect.event.kind === "journal" ? [effect.event] : [],
        ),
  };
}

const overTicks = limits.fullOverMs / 100;

test("row 40, U58: overflow stall: one event when hosts wait for room, with figures, and one when that is over", () => {
  const rig = createRig("stall");
  rig.setFull(true);
  rig.write();
  rig.write();
  assert.deepEqual(rig.told(), [], "a wait no longer than a sync is none to tell of");
  rig.tick(30);
  const [begun, ...more] = rig.told();
  assert.deepEqual([begun?.from, begun?.to, more.length], ["room", "stalling", 0]);
  assert.match(
    begun?.why ?? "",
    /^the journal is full of what west lacks; writes wait, 2 of them now; 928\.0 MiB of 1024\.0 MiB are used/,
  );
  // A segment goes, and what waited fills it: that is no end of it.
  rig.setFull(false);
  rig.tick(3);
  rig.setFull(true);
  rig.write();
  rig.tick(20);
  assert.deepEqual(rig.told(), []);
  assert.equal(rig.primary.held.length, 1);
  rig.setFull(false);
  rig.tick(overTicks - 1);
  assert.deepEqual(rig.told(), []);
  rig.tick(2);
  const [ended, ...others] = rig.told();
  assert.deepEqual([ended?.from, ended?.to, others.length], ["stalling", "room", 0]);
  assert.match(ended?.why ?? "", /full for 5\.3 s; writes waited for 5\.0 s of that, and 0 were/);
  rig.tick(overTicks);
  assert.deepEqual(rig.told(), []);
});

test("row 40, U58: overflow fail: the first ENOSPC is told of at once, not each, and its end with their number", () => {
  const rig = createRig("fail");
  rig.setFull(true);
  rig.tick(30);
  assert.deepEqual(rig.told(), [], "no host has felt it");
  for (let i = 0; i < 50; i += 1) rig.write();
  const [begun, ...more] = rig.told();
  assert.deepEqual([begun?.from, begun?.to, more.length], ["room", "refusing", 0]);
  assert.match(begun?.why ?? "", /full of what west lacks; writes are refused \(ENOSPC\)/);
  rig.tick(20);
  rig.setFull(false);
  rig.tick(overTicks + 1);
  const [ended, ...others] = rig.told();
  assert.deepEqual([ended?.from, ended?.to, others.length], ["refusing", "room", 0]);
  assert.match(ended?.why ?? "", /waited for 0\.0 s of that, and 50 were refused/);
});

test("row 40, U58: overflow fail: who waits for a sync of the images and is refused then is told of as both", () => {
  const rig = createRig("fail");
  const [west] = rig.primary.members;
  assert.ok(west);
  west.sets.completeLsn = 40;
  rig.primary.syncedLsn = 20;
  rig.setFull(true);
  rig.write();
  rig.tick(30);
  west.sets.completeLsn = 20;
  rig.primary.syncedLsn = 40;
  rig.primary.recheckHeld = true;
  rig.tick(1);
  const changes = rig.told().map(({ from, to }) => `${from} ${to}`);
  assert.deepEqual(changes, ["room stalling", "stalling refusing"]);
});
