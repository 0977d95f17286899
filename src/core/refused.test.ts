import assert from "node:assert/strict";
import { test } from "node:test";
import { samplePrimary } from "../../test/support/sample-primary.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import { awaitsRedone, noteRedone, noteRefused, recordRedone } from "./refused.ts";
import { createRegionMap, markBytes } from "./region-map.ts";
import { startResync } from "./resync.ts";
import { begun } from "./set-members.ts";

function createRefused() {
  const { primary, west } = samplePrimary();
  const [volume] = primary.volumes;
  assert.ok(volume);
  primary.record.journalId = 7;
  noteRefused(volume, 30);
  const asked = (): readonly (readonly number[])[] => {
    const out: PrimaryEffect[] = [];
    recordRedone(primary, out);
    assert.equal(out.filter(({ kind }) => kind === "record").length, out.length);
    return primary.recordActions.splice(0).flatMap(({ action }) => {
      return action.kind === "redone" ? [action.lsns] : [];
    });
  };
  return { primary, west, volume, asked };
}

test("row 41, I31: no copy is brought up until it is on record that a start leaves out what was refused", () => {
  const { primary, west, volume, asked } = createRefused();
  assert.ok(awaitsRedone(primary, west));
  assert.deepEqual(asked(), [], "no round has covered it");
  volume.flush.coveredLsn = 29;
  assert.deepEqual(asked(), []);
  volume.flush.coveredLsn = 31;
  const [lsns] = asked();
  assert.equal(lsns?.[0], 31);
  assert.equal(primary.record.redone?.journalId, 7);
  assert.deepEqual(asked(), [], "once");
  assert.ok(awaitsRedone(primary, west), "asked for, and not there yet");
  noteRefused(volume, 40);
  noteRedone(primary, lsns ?? []);
  assert.ok(awaitsRedone(primary, west), "another has been refused meanwhile");
  volume.flush.coveredLsn = 40;
  noteRedone(primary, asked()[0] ?? []);
  assert.ok(!awaitsRedone(primary, west));
});

test("row 41: what the record says of an earlier journal counts for nothing", () => {
  const { primary, volume, asked } = createRefused();
  primary.record.redone = { journalId: 6, lsns: [1000] };
  volume.flush.coveredLsn = 30;
  assert.equal(asked()[0]?.[0], 30);
  assert.equal(primary.record.redone.journalId, 7);
});

test("I30, row 41: what is on record then starts no resync of a copy of sets that has no BEGIN on record yet", () => {
  const { primary, west, volume } = createRefused();
  west.stage = "resync";
  west.epoch = 3;
  west.dirty = primary.volumes.map(({ bytes }) => createRegionMap(bytes, 65_536));
  const [dirty] = west.dirty;
  assert.ok(dirty);
  markBytes(dirty, 0, 1);
  noteRedone(primary, [volume.refusedLsn]);
  const out: PrimaryEffect[] = [];
  startResync(primary, west, out);
  assert.deepEqual(out, [], "a region would be written over a state that is promotable as it is");
  begun(primary, west, out);
  assert.deepEqual(
    out.map(({ kind }) => kind),
    ["sendSets", "readRegion"],
  );
});
