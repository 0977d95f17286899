import assert from "node:assert/strict";
import { test } from "node:test";
import { samplePolicy } from "../../test/support/sample-primary.ts";
import { sampleSeals } from "../../test/support/sample-seals.ts";
import { limits } from "#base/limits.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { sampleRecord } from "../../test/support/sample-record.ts";
import { sampleRequest } from "../../test/support/sample-request.ts";
import { blankMember } from "./group-record.ts";
import { createJournal } from "./journal.ts";
import { deliverRecord, isBehindBound, lagBytesOf, logCaughtUp } from "./log-members.ts";
import { logged, logLocated } from "./log-members.ts";
import { noPosition } from "./log-position.ts";
import { lossTable, policyTable } from "./policy.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { createPrimary } from "./primary.ts";
import { createRegionMap } from "./region-map.ts";

// A bunker as the primary sees it: who waits for it, and what it is told.

type Bench = { readonly primary: Primary; readonly vault: Member; readonly out: PrimaryEffect[] };

function createBench(onLoss: "override" | "fail" | "off"): Bench {
  const record = sampleRecord({
    members: { vault: { ...blankMember(), phase: "synchronized", replicaId: "v" } },
  });
  const policy = sampleSeals({ bytesMax: 65_536 });
  const found = { nextSet: 100, openSet: undefined, lastSealedSet: 99, bytesUsed: 0, firstSet: 1 };
  const primary = createPrimary({
    record,
    policies: [samplePolicy({ site: "vault", mode: policyTable.bunker, loss: lossTable[onLoss] })],
    durability: "flush",
    openMaps: record.volumes.map(({ bytes }) => createRegionMap(bytes, 1024 * 1024)),
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal: createJournal(
      { policy, overflow: "trip", bytesMax: 1 << 30, segmentBytes: 1 << 26 },
      { ...found, lastLsn: 20, lastWriteLsn: 20 },
      0,
    ),
    isJournalWhole: true,
  });
  const [vault] = primary.members;
  assert.ok(vault);
  primary.nextLsn = 21;
  return { primary, vault, out: [] };
}

/** A write that has its LSN, and no leg yet. */
function write({ primary }: Bench, length = 4096): HostRequest {
  const lsn = primary.nextLsn;
  primary.nextLsn += 1;
  return sampleRequest("write", { length, payload: [], lsn, legs: 1 });
}

function deliver(bench: Bench, length?: number): HostRequest {
  const request = write(bench, length);
  deliverRecord(bench.primary, bench.vault, request, bench.out);
  return request;
}

function kinds({ out }: Bench): string[] {
  return out.splice(0).map(({ kind }) => kind);
}

test("B2, B14: a write waits for a bunker that joins or streams, and its word takes off all up to that LSN", () => {
  for (const stage of ["joining", "synchronized"] as const) {
    const bench = createBench("override");
    bench.vault.stage = stage;
    const requests = [deliver(bench), deliver(bench), deliver(bench)];
    assert.deepEqual(
      requests.map(({ legs }) => legs),
      [2, 2, 2],
    );
    assert.equal(lagBytesOf(bench.vault), 3 * 4096);
    logged(bench.primary, bench.vault, { ...noPosition, lsn: 22 }, bench.out);
    assert.deepEqual(
      requests.map(({ legs }) => legs),
      [1, 1, 2],
    );
    assert.equal(bench.vault.ackedLsn, 22);
    assert.equal(lagBytesOf(bench.vault), 4096);
  }
});

test("B15: without it the first write waits until it is on record that it is alone, with override", () => {
  const bench = createBench("override");
  bench.vault.record.alone = false;
  const first = deliver(bench);
  assert.equal(bench.vault.record.alone, true);
  assert.deepEqual([first.legs, kinds(bench)], [2, ["record"]]);
  assert.ok(!isBehindBound(bench.vault), "who takes part has no bound of lag");
});

test("B15: under fail a write waits for it from the first record on that it is sent", () => {
  const bench = createBench("fail");
  bench.vault.stage = "resync";
  assert.equal(deliver(bench).legs, 2);
  bench.vault.stage = "none";
  assert.throws(() => deliver(bench), /a strict member is away/);
});

test("B15: with off nothing waits for it, and what it lacks has a bound, fed or not", () => {
  for (const stage of ["none", "synchronized"] as const) {
    const bench = createBench("off");
    bench.vault.stage = stage;
    const part = limits.bunkerLagBytesMax / 2;
    assert.equal(deliver(bench, part).legs, stage === "none" ? 2 : 1, "alone is on record first");
    assert.equal(deliver(bench, part).failure, "ok");
    assert.ok(!isBehindBound(bench.vault));
    deliver(bench, 1);
    assert.ok(isBehindBound(bench.vault));
    bench.vault.record.paused = true;
    assert.ok(!isBehindBound(bench.vault), "an operator's pause waits for nothing");
    bench.vault.record.paused = false;
    // It has come on.
    bench.primary.recheckHeld = false;
    if (stage === "synchronized")
      logged(bench.primary, bench.vault, { ...noPosition, lsn: 21 }, bench.out);
    else {
      bench.vault.stage = "resync";
      logCaughtUp(bench.primary, bench.vault, 1, bench.out);
    }
    assert.ok(!isBehindBound(bench.vault));
    assert.ok(bench.primary.recheckHeld, "who was held is looked at again");
  }
});

test("N1, B14: a word for an LSN that was never given ends the session", () => {
  const bench = createBench("override");
  bench.vault.stage = "synchronized";
  const request = deliver(bench);
  logged(bench.primary, bench.vault, { ...noPosition, lsn: request.lsn + 1 }, bench.out);
  assert.deepEqual([kinds(bench), request.legs], [["closeSession"], 2]);
});

test("B1, U38: what its log leads to is told: behind it, or anew; and what nobody needs any more", () => {
  for (const isFound of [true, false]) {
    const bench = createBench("override");
    const { primary, vault, out } = bench;
    vault.stage = "opening";
    vault.epoch = 3;
    // What was looked for in an earlier session says nothing of this one.
    logLocated(primary, vault, { epoch: 2, isFound }, out);
    assert.equal(vault.stage, "opening");
    assert.ok(primary.journal);
    primary.journal.releasedLsn = 12;
    primary.journal.releasedSet = 8;
    logLocated(primary, vault, { epoch: 3, isFound }, out);
    const begin = out.find((effect) => effect.kind === "sendBegin");
    assert.deepEqual(begin?.kind === "sendBegin" ? begin.log : undefined, {
      anew: !isFound,
      releasedLsn: 12,
      releasedSet: 8,
    });
    assert.equal(vault.stage, "resync");
  }
});
