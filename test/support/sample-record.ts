import { blankMember } from "#core/group-record.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { withTenure } from "#core/history.ts";

/** A group `bank` at site `east`, its primary, with volumes `data` and `log` and a copy at `west`. */
export function sampleRecord(changes: Partial<GroupRecord> = {}): GroupRecord {
  return {
    cluster: "acme",
    group: "bank",
    site: "east",
    replicaId: "00112233445566778899aabbccddeeff",
    role: "primary",
    history: withTenure([], "east", "a1"),
    incarnation: 1,
    lsnReserved: 100,
    bootId: "boot-1",
    cleanStop: false,
    image: "synchronized",
    syncedAt: { lsn: 7, generation: 1 },
    toldOfFracture: undefined,
    failedVolumes: [],
    openMapIds: [11, 12],
    volumes: [
      { name: "data", bytes: 64 * 1024 * 1024 },
      { name: "log", bytes: 8 * 1024 * 1024 },
    ],
    regionBytes: 64 * 1024,
    members: { west: blankMember() },
    preservedPoint: undefined,
    ...changes,
  };
}
