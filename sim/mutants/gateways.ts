import type { Mutant } from "./mutant.ts";

/** Planted bugs of gateways (SPEC-gateway.md): what only a world with a device behind a link can show. */
export const gatewayMutants: readonly Mutant[] = [
  {
    name: "overlay-not-asked",
    file: "src/core/gateway.ts",
    find: "look(gateway.overlay, wanted, gateway.isUp ? gateway.writtenLsn : 0)",
    replace: "look(gateway.overlay, wanted, gateway.isUp ? gateway.appendedLsn : 0)",
    ids: ["I32", "N2"],
    note: "reads find what the device has, while the journal has something newer",
  },
  {
    name: "let-go-before-the-device-flushed",
    file: "src/core/gateway.ts",
    find: "  if (write.record !== undefined) write.record.left -= 1;\n  countWritten(gateway);",
    replace:
      '  if (write.record !== undefined) write.record.left -= 1;\n  countWritten(gateway);\n  out.push({ kind: "synced", lsn: gateway.writtenLsn });',
    ids: ["I1", "I2", "I16", "I18", "I22", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "the journal lets go of what the device has answered and not flushed",
  },
  {
    name: "overlapping-writes-under-way",
    file: "src/core/gateway.ts",
    find: "if (gateway.underWayBytes >= limits.deviceBytesMax || overlapsUnderWay(gateway, next)) break;",
    replace:
      "if (gateway.underWayBytes >= limits.deviceBytesMax && overlapsUnderWay(gateway, next)) break;",
    ids: ["I1", "I2", "I16", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "the device is brought up in whatever order it likes",
  },
  {
    name: "in-sync-when-it-is-back",
    file: "src/core/gateway.ts",
    find: "  gateway.readLsn = gateway.flushedLsn;\n  gateway.writtenLsn = gateway.flushedLsn;\n  gateway.cursor = gateway.restart;",
    replace:
      "  gateway.readLsn = gateway.appendedLsn;\n  gateway.writtenLsn = gateway.appendedLsn;\n  gateway.cursor = undefined;",
    ids: ["I1", "I2", "I16", "I22", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "a device that is back is believed to have everything",
  },
  {
    name: "flushed-what-was-only-asked",
    file: "src/core/gateway.ts",
    find: "  gateway.flush = { lsn: gateway.writtenLsn, place: gateway.writtenPlace };",
    replace: "  gateway.flush = { lsn: gateway.readLsn, place: gateway.cursor };",
    ids: ["I1", "I2", "I16", "I22", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "a device's FLUSH counts for what it had not answered when it began",
  },
  {
    name: "device-ahead-of-the-journal",
    isSeldom: true,
    file: "src/site/gateway-run.ts",
    find: "  sync(log, () => readSynced(run, session, { log, from, through }));",
    replace: "  readSynced(run, session, { log, from, through });",
    ids: ["I1", "I2", "I16", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "a device gets what the journal has in the page cache alone: after a power cut, a FLUSH says nothing of it",
  },
  {
    name: "overlay-lost-by-a-restart",
    file: "src/site/journal-start.ts",
    find: "    for (const gateway of gateways) gateway?.found(place, entries.value);",
    replace: "    void place;",
    ids: ["I1", "I2", "I16", "I22", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "a gateway that was started again forgets what its device lacks",
  },
  {
    name: "closed-while-the-device-lacks",
    file: "src/core/flush.ts",
    find: "  if (volume.device !== undefined) awaitDevice(volume, volume.device, round);",
    replace: "",
    ids: ["I1", "I2", "I16", "I18", "I31", "I32", "I33", "N1", "N2", "N3", "N8"],
    note: "granules close once the journal has what the device has not",
  },
  {
    name: "refused-for-what-a-device-lacks",
    file: "src/core/journal-room.ts",
    find: "  return heldByCopy(primary, journal) !== undefined || failedLacking(primary) !== undefined;",
    replace: "  return journal !== undefined;",
    ids: ["A16"],
    note: "hosts get an error because the journal is full of what the device has not flushed",
  },
  {
    name: "away-is-failed",
    file: "src/core/resync.ts",
    find: "    if (volume !== undefined && volume.device === undefined)",
    replace: "    if (volume !== undefined)",
    ids: ["A16"],
    note: "a resync that cannot read a device that is away fails its volume",
  },
  {
    name: "reads-without-patience",
    file: "src/core/gateway.ts",
    find: "  else if (wanted.untilMs <= gateway.nowMs) failRead(gateway, wanted, out);\n  else gateway.reads.push(wanted);",
    replace: "  else failRead(gateway, wanted, out);",
    ids: ["A16"],
    note: "a host's read does not wait for a device that is away",
  },
];
