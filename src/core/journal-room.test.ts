import assert from "node:assert/strict";
import { test } from "node:test";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { blankMember } from "./group-record.ts";
import { createJournal } from "./journal.ts";
import { releaseJournal, tailHolder } from "./journal-room.ts";
import { lossTable, policyTable } from "./policy.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import { createPrimary, step } from "./primary.ts";
import { createRegionMap } from "./region-map.ts";

const member = {
  site: "west",
  mode: policyTable.async,
  loss: lossTable.continue,
  ackTimeoutMs: 10_000,
  autoResume: true,
  timeoutMs: 3000,
  rateBytesPerSecond: undefined,
  connections: 1,
  compress: undefined,
};

test("I16, I17: until it is on record that a copy is dirty, the journal keeps what the copy lacks ", () => {
  const record = sampleRecord({
    members: { west: { ...blankMember(), phase: "synchronized", replicaId: "a" } },
  });
  const primary = createPrimary({
    record,
    policies: [member],
    durability: "flush",
    openMaps: record.volumes.map(({ bytes }) => createRegionMap(bytes, 1024 * 1024)),
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal: createJournal(
      {
        policy: { everyMs: 50, bytesMax: 65_536, onFlush: true },
        overflow: "trip",
        bytesMax: 1 << 30,
      },
      {
        nextSet: 100,
        openSet: undefined,
        lastSealedSet: 99,
        bytesUsed: 0,
        firstSet: 1,
        lastLsn: 20,
      },
      0,
    ),
    isJournalWhole: true,
  });
  const [west] = primary.members;
  assert.ok(west);
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
