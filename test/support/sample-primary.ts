import assert from "node:assert/strict";
import { blankMember } from "#core/group-record.ts";
import { createJournal } from "#core/journal.ts";
import { lossTable, policyTable } from "#core/policy.ts";
import type { MemberPolicy } from "#core/policy.ts";
import { createPrimary } from "#core/primary.ts";
import type { Member, Primary } from "#core/primary-state.ts";
import { createRegionMap } from "#core/region-map.ts";
import { sampleRecord } from "./sample-record.ts";
import { sampleSeals } from "./sample-seals.ts";

/** The terms of a member, the defaults where a test has no wish of its own. */
export function samplePolicy(
  fields: Pick<MemberPolicy, "site" | "mode"> & Partial<MemberPolicy>,
): MemberPolicy {
  return {
    through: undefined,
    loss: lossTable.continue,
    ackTimeoutMs: 10_000,
    autoResume: true,
    timeoutMs: 3000,
    rateBytesPerSecond: undefined,
    connections: 1,
    compress: undefined,
    ...fields,
  };
}

/** The machine of a primary with a journal, and its one copy, which takes sets; nothing has happened yet. */
export function samplePrimary(): { readonly primary: Primary; readonly west: Member } {
  const record = sampleRecord({
    members: { west: { ...blankMember(), phase: "synchronized", replicaId: "a" } },
  });
  const primary = createPrimary({
    record,
    policies: [samplePolicy({ site: "west", mode: policyTable.async })],
    durability: "flush",
    openMaps: record.volumes.map(({ bytes }) => createRegionMap(bytes, 1024 * 1024)),
    dirtyMaps: new Map(),
    nowMs: 0,
    wallMs: 0,
    journal: createJournal(
      {
        policy: sampleSeals({ bytesMax: 65_536 }),
        overflow: "trip",
        bytesMax: 1 << 30,
        segmentBytes: 1 << 26,
      },
      {
        nextSet: 100,
        openSet: undefined,
        lastSealedSet: 99,
        bytesUsed: 0,
        firstSet: 1,
        lastLsn: 20,
        lastWriteLsn: 20,
      },
      0,
    ),
    isJournalWhole: true,
  });
  const [west] = primary.members;
  assert.ok(west);
  return { primary, west };
}
