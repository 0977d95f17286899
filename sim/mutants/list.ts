/** A planted bug: a text patch to one file of the engine, and the invariants whose checkers must notice it. */
export type Mutant = {
  readonly name: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Must occur exactly once. */
  readonly find: string;
  readonly replace: string;
  /** The checkers that must notice it: one of them reports it, whichever of them comes first. */
  readonly ids: readonly string[];
  /** What is broken, in words. M1 to M9 are PROOF §4.1's. */
  readonly note: string;
};

export const mutants: readonly Mutant[] = [
  {
    name: "M1-flush-local-only",
    file: "src/core/flush.ts",
    find: '    if (participates) round.legs += 1;\n    const flush = { kind: "round", round, participates, atMs: primary.nowMs } as const;',
    replace:
      '    const flush = { kind: "round", round, participates: false, atMs: primary.nowMs } as const;',
    ids: ["I1", "N1"],
    note: "M1: a FLUSH is replied when the image here is synced, before the copies' are",
  },
  {
    name: "M2-write-before-intent",
    file: "src/core/open-map.ts",
    find: "  if (!cold) return true;",
    replace: "  if (!cold || cold) return true;",
    ids: ["I18"],
    note: "M2: an image write does not wait for its granule's bit to be durable",
  },
  {
    name: "M3-clear-before-peer-flush",
    file: "src/core/resync.ts",
    find: "  member.resync.doneBytes += range.length;",
    replace:
      "  member.resync.doneBytes += range.length;\n  const map = member.dirty?.[range.volume];\n  if (map !== undefined) unmark(map, unitOf(map, range.offset), unitOf(map, range.offset + range.length - 1));",
    ids: ["I16", "N3"],
    note: "M3: a region is clean when the copy has acked it, before the copy has synced it",
  },
  {
    name: "M4-solo-ack-before-fracture-record",
    file: "src/core/dirty-maps.ts",
    find: "  if (member.fracturing !== undefined) {\n    request.legs += 1;\n    member.fracturing.requests.push(request);\n  }",
    replace: "",
    ids: ["I19", "I16"],
    note: "M4: the first write without a copy is replied before the fracture record is durable",
  },
  {
    name: "M5-open-bit-cleared-on-reply",
    file: "src/core/primary.ts",
    find: "      imageDone(primary, event.request, event.failure, out);",
    replace:
      "      imageDone(primary, event.request, event.failure, out);\n      for (const one of primary.volumes) if (one.index === event.request.volume) closeGranules(primary, one, event.request.lsn, out);",
    ids: ["I16", "N3", "I18"],
    note: "M5: an open-map bit is cleared on the reply; then the copy loses its power",
  },
  {
    name: "M6-no-region-lock",
    file: "src/core/order.ts",
    find: "  for (const lock of primary.locks) if (overlaps(lock, request)) return true;",
    replace:
      "  for (const lock of primary.locks) if (lock.length < 0 && overlaps(lock, request)) return true;",
    ids: ["I16", "I31", "I33", "I3", "I1"],
    note: "M6: writes go on while a resync reads the same region",
  },
  {
    name: "M7-promotion-not-durable",
    file: "src/site/group.ts",
    find: "  saveRecord(context.store, (notSaved) => {\n    if (notSaved !== undefined) {\n      // Whether the new generation",
    replace:
      "  const saveLater = (_store: unknown, then: (failure: undefined) => void): void => then(undefined);\n  saveLater(context.store, (notSaved?: IoFailure) => {\n    if (notSaved !== undefined) {\n      // Whether the new generation",
    ids: ["I28", "N5", "I3", "I2", "N4", "I18", "I16", "I19"],
    note: "M7: a promotion is answered before its generation and maps are durable",
  },
  {
    name: "M8-late-packets-accepted",
    file: "src/site/group.ts",
    find: '  copy.close("this site is being promoted");\n',
    replace: "",
    ids: ["N4", "I29", "I3", "I16", "I8"],
    note: "M8: what the old primary still has on its way is applied after the promotion",
  },
  {
    name: "M9-sync-under-way-trusted",
    file: "src/store/group-store.ts",
    find: "    const covered = onDisk.writes;",
    replace: "    const covered = onDisk.writes;\n    onDisk.syncedWrites = covered;",
    ids: ["I18", "I16", "I19"],
    note: "M9: with two records in flight, the second takes the first one's sync for its own",
  },
  {
    name: "record-in-one-slot",
    file: "src/store/record-file.ts",
    find: "  const failure = store.file.write(slot * slotBytes, [bytes]);",
    replace: "  const failure = store.file.write(slot * 0, [bytes]);",
    ids: ["N5"],
    note: "each revision overwrites the last one in place: a torn write leaves none",
  },
  {
    name: "ack-without-copy",
    file: "src/core/order.ts",
    find: "  if (waitsFor(member)) {\n    request.legs += 1;",
    replace: "  if (waitsFor(member)) {\n    request.legs += 0;",
    ids: ["I3", "I4", "I1"],
    note: "a write is replied before the synchronized copy has answered",
  },
  {
    name: "stall-goes-on-alone",
    file: "src/core/policy.ts",
    find: "  stall: { mayAckAlone: false, waits: true },",
    replace: "  stall: { mayAckAlone: true, waits: true },",
    ids: ["I4"],
    note: "`onLoss: stall` acks without the copy",
  },
  {
    name: "erased-before-recorded",
    file: "src/core/joining.ts",
    find: '  out.push({ kind: "sendSynchronized", member: member.index, lsn: told.lsn });',
    replace:
      '  out.push({ kind: "sendSynchronized", member: member.index, lsn: told.lsn });\n  synchronizedRecorded(primary, member, out);',
    ids: ["I30", "I3", "I19", "I33"],
    note: "the primary calls a copy synchronized before the copy has recorded that it is whole",
  },
  {
    name: "regions-clean-without-sync",
    file: "src/core/copy.ts",
    find: '      out.push({ kind: "syncImages", work, lsn: copy.appliedLsn });',
    replace: '      out.push({ kind: "sendFlushed", ticket: work.index });',
    ids: ["I1", "N1", "N3", "I16"],
    note: "a copy answers a flush without syncing its image",
  },
  {
    name: "lsn-used-twice",
    file: "src/core/primary.ts",
    find: "    nextLsn: Math.max(1, record.lsnReserved),",
    replace: "    nextLsn: 1,",
    ids: ["I8"],
    note: "LSNs begin at 1 again after a restart, instead of above the reserve",
  },
  {
    name: "applied-goes-back",
    file: "src/core/members.ts",
    find: '      case "unawaited":\n        member.ackedLsn = item.lsn;\n        break;\n      default:\n        member.ackedLsn = item.lsn;',
    replace:
      '      case "unawaited":\n        member.ackedLsn = item.lsn;\n        break;\n      default:\n        member.ackedLsn = item.lsn % 16;',
    ids: ["I14", "N8"],
    note: "the watermark of a copy goes back while it is synchronized",
  },
  {
    name: "one-generation-for-two",
    file: "src/core/history.ts",
    find: "  return [...history, { counter: generationCounter(history) + 1, id, site }];",
    replace: "  return history.length === 0 ? [{ counter: 1, id, site }] : [...history];",
    ids: ["I28", "N4", "I3", "I29"],
    note: "a promotion begins no new generation: two sites ack in the same one",
  },
  {
    name: "diverged-copied-over",
    file: "src/core/members.ts",
    find: "  if (successor !== undefined && hello.aloneTowards.includes(successor.site)) {",
    replace: '  if (successor !== undefined && hello.aloneTowards.includes("nobody")) {',
    ids: ["I29"],
    note: "a former primary that acked alone is overwritten without a word of the operator",
  },
  {
    name: "torn-image-promoted",
    file: "src/core/promotion.ts",
    find: '  switch (record.image) {\n    case "synchronized":',
    replace: '  switch (record.image) {\n    case "synchronizing":\n    case "synchronized":',
    ids: ["I30", "I8", "I3"],
    note: "a site in the midst of a resync is promoted without force",
  },
  {
    name: "held-for-ever",
    file: "src/core/order.ts",
    find: "  for (const request of waiting) admit(primary, request, out);",
    replace: "  for (const request of waiting.slice(0, 3)) admit(primary, request, out);",
    ids: ["I31", "N7"],
    note: "of the requests that had to wait, only three are looked at again",
  },
  {
    name: "map-never-closes",
    file: "src/core/open-map.ts",
    find: "  primary.openGranules -= closed;",
    replace: "  primary.openGranules -= closed > 2 ? closed - 1 : closed;",
    ids: ["I31", "I36"],
    note: "the count of open granules drifts: they seem never to close",
  },
  {
    name: "read-from-elsewhere",
    file: "src/site/primary-run.ts",
    find: "  imageOf(run, request.volume).read(request.offset, request.length, { run, request }, readDone);",
    replace: "  imageOf(run, request.volume).read(0, request.length, { run, request }, readDone);",
    ids: ["I32", "I8"],
    note: "a read is answered with the bytes of another place",
  },
  {
    name: "synchronized-too-early",
    file: "src/core/member-state.ts",
    find: '  if (member.stage === "synchronized") return policy.mode.stateWell;',
    replace:
      '  if (member.stage === "synchronized" || member.stage === "resync") return policy.mode.stateWell;',
    ids: ["I33", "I3", "I14"],
    note: "status calls a copy synchronized while it is being resynced",
  },
  {
    name: "lag-hidden",
    file: "src/site/status.ts",
    find: '  if (member.stage !== "none") return dirty + member.outstandingBytes;',
    replace: '  if (member.stage !== "none") return 0;',
    ids: ["N8"],
    note: "status says that a copy under resync lacks nothing",
  },
  {
    name: "checksum-ignored",
    file: "src/wire/peer/decode.ts",
    find: "  if (header.bodyBytes > 0 && crc32cChunks(body) !== decoder.bodyCrc) {",
    replace: "  if (header.bodyBytes < 0 && crc32cChunks(body) !== decoder.bodyCrc) {",
    ids: ["I34", "I8", "I31", "I16"],
    note: "the checksum of a frame's body is not looked at",
  },
  {
    name: "silence-unnoticed",
    file: "src/site/inquiry.ts",
    find: "  if (nowMs - link.silentSinceMs >= link.target.timeoutMs) {",
    replace: "  if (nowMs - link.silentSinceMs >= 50 * link.target.timeoutMs) {",
    ids: ["I35"],
    note: "a silent copy counts as synchronized long after its timeout",
  },
  {
    name: "cries-wolf",
    file: "src/site/inquiry.ts",
    find: "  link.lastTickMs = nowMs;\n  if (nowMs - link.silentSinceMs >= link.target.timeoutMs) {",
    replace:
      "  link.lastTickMs = nowMs;\n  if (nowMs - link.silentSinceMs >= link.target.probeMs / 2) {",
    ids: ["I35"],
    note: "a copy is lost though it answers its probes in time",
  },
  {
    name: "map-without-limit",
    file: "src/core/open-map.ts",
    find: "  if (primary.openGranules < limits.openGranulesMax) return true;",
    replace: "  if (primary.openGranules >= 0) return true;",
    ids: ["I36"],
    note: "more granules are opened than the limit allows",
  },
  {
    name: "backlog-without-limit",
    file: "src/core/order.ts",
    find: "    if (member.outstandingBytes > limits.sessionOutstandingBytesMax) return true;",
    replace: "    if (member.outstandingBytes < 0) return true;",
    ids: ["N6"],
    note: "writes are sent to a copy that does not read them, without end",
  },
  {
    name: "timers-left-behind",
    file: "src/site/inquiry.ts",
    find: "      for (const timer of timers.splice(0)) timer.cancel();\n      for (const link",
    replace: "      for (const link",
    ids: ["N7"],
    note: "a stopped site's timers run on",
  },
  {
    name: "refuses-its-own-data",
    file: "src/store/group-store.ts",
    find: "  if (was !== now) return",
    replace: "  if (was === now) return",
    ids: ["I2"],
    note: "a restart refuses the data that the last run left",
  },
  {
    name: "unresolved-read-served",
    file: "src/core/order.ts",
    find: "    return hold(primary, request);\n  }\n  // A read changes nothing,",
    replace: "  }\n  // A read changes nothing,",
    ids: ["N2"],
    note: "after a restart, reads do not wait until the copies have the same (U24)",
  },
];
