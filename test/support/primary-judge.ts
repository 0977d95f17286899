import assert from "node:assert/strict";
import { mustHave } from "#core/member-state.ts";
import { firstGranule, lastGranule } from "#core/open-map.ts";
import type { PrimaryEffect } from "#core/primary-events.ts";
import type { Member, Primary, ResyncItem } from "#core/primary-state.ts";
import { allMarked, copyOf, isMarked, unitOf } from "#core/region-map.ts";
import type { RegionMap } from "#core/region-map.ts";
import type { MemberPhase } from "#core/group-record.ts";
import type { HostRequest } from "#ports/host-request.ts";
import { versionsOf } from "./bench-content.ts";
import type { Bench } from "./primary-bench.ts";

/** Looks at every effect of a primary on the bench, and fails the test at the first that breaks a rule of SPEC §4.2. */
export type Judge = {
  asked(request: HostRequest): void;
  /** Called before the effect is performed. */
  saw(effect: PrimaryEffect, bench: Bench): void;
  /** A member's ACK of a write was heard. */
  memberAcked(member: number, request: HostRequest): void;
  openMapsDurable(): void;
  /** A region's read was answered. */
  readDone(item: ResyncItem): void;
  recordDurable(ticket: number): void;
  /** Every request that was asked has had its one answer. */
  allAnswered(bench: Bench): void;
  /** Image and members hold the same, and nobody lacks anything. */
  converged(bench: Bench): void;
};

/** What a record and the maps under it say, on disk or on the way there. */
type Saved = {
  readonly phases: readonly MemberPhase[];
  readonly dirty: readonly (readonly RegionMap[] | undefined)[];
};

type State = {
  readonly primary: Primary;
  readonly requests: Map<HostRequest, { answers: number; readonly ackedBefore: HostRequest[] }>;
  readonly acked: HostRequest[];
  readonly ackedBy: readonly Set<HostRequest>[];
  /** Regions that are being read for a member, and writes that are under way to the image. */
  readonly reading: Set<ResyncItem>;
  readonly lastSentLsn: number[];
  lastImageLsn: number;
  /** Bits of the open maps that are surely on disk; of those being synced, and the record's states by ticket. */
  durableOpen: readonly RegionMap[];
  syncingOpen: readonly RegionMap[];
  readonly saving: Map<number, Saved>;
  saved: Saved;
};

export function createJudge(primary: Primary): Judge {
  const state: State = {
    primary,
    requests: new Map(),
    acked: [],
    ackedBy: primary.members.map(() => new Set()),
    reading: new Set(),
    lastSentLsn: primary.members.map(() => 0),
    lastImageLsn: 0,
    durableOpen: openMaps(primary),
    syncingOpen: [],
    saving: new Map(),
    saved: saved(primary),
  };
  return {
    asked: (request) =>
      void state.requests.set(request, { answers: 0, ackedBefore: [...state.acked] }),
    memberAcked: (member, request) => void state.ackedBy[member]?.add(request),
    saw: (effect, bench) => saw(state, effect, bench),
    readDone: (item) => void state.reading.delete(item),
    openMapsDurable() {
      state.durableOpen = state.syncingOpen;
    },
    recordDurable(ticket) {
      const now = state.saving.get(ticket);
      assert.ok(now !== undefined, "a record that was not asked for");
      state.saved = now;
    },
    allAnswered(bench) {
      for (const [request, { answers }] of state.requests) {
        const what = `${request.kind} ${request.lsn} at ${request.offset} has ${answers} answers`;
        assert.equal(answers, 1, `${what}\n${bench.log.slice(-40).join("\n")}`);
      }
    },
    converged: (bench) => converged(state, bench),
  };
}

function openMaps(primary: Primary): readonly RegionMap[] {
  return primary.volumes.map((volume) => copyOf(volume.openMap));
}

function saved(primary: Primary): Saved {
  return {
    phases: primary.members.map((member) => member.record.phase),
    dirty: primary.members.map((member) => member.dirty?.map(copyOf)),
  };
}

function saw(state: State, effect: PrimaryEffect, bench: Bench): void {
  const { primary } = state;
  switch (effect.kind) {
    case "syncOpenMaps":
      state.syncingOpen = openMaps(primary);
      return;
    case "writeOpenMaps":
      // Marks were taken away: that may reach the disk at any time, so they count as gone.
      state.durableOpen = state.durableOpen.map((map, i) => both(map, primary.volumes[i]?.openMap));
      state.syncingOpen = state.syncingOpen.map((map, i) => both(map, primary.volumes[i]?.openMap));
      return;
    case "record":
      state.saving.set(effect.ticket, saved(primary));
      return;
    case "writeDirtyMaps":
    case "createDirtyMaps":
      // The bench has no files: what is handed to them counts as written.
      for (const map of primary.members[effect.member]?.dirty ?? []) map.unwritten.clear();
      return;
    case "image":
      return judgeImage(state, effect.request);
    case "readRegion":
      for (const write of primary.writing) judgeApart(effect.item, write);
      state.reading.add(effect.item);
      return;
    case "sendSynchronized":
      return judgeJoined(state, effect.member, bench);
    case "sendWrite": {
      const last = state.lastSentLsn[effect.member] ?? 0;
      const isAgain = primary.members[effect.member]?.stage === "resync";
      assert.ok(isAgain || effect.request.lsn > last, "wire order is LSN order (decision 25)");
      state.lastSentLsn[effect.member] = Math.max(last, effect.request.lsn);
      return;
    }
    case "read":
      return answered(state, effect.request);
    case "reply":
      answered(state, effect.request);
      if (effect.outcome === "ok") judgeOk(state, effect.request, bench);
      return;
    default:
  }
}

function both(map: RegionMap, other: RegionMap | undefined): RegionMap {
  const result = copyOf(map);
  for (const [index, page] of result.pages) {
    const theirs = other?.pages.get(index)?.bytes;
    page.bytes.forEach((byte, i) => (page.bytes[i] = byte & (theirs?.[i] ?? 0)));
  }
  return result;
}

function answered(state: State, request: HostRequest): void {
  const known = state.requests.get(request) ?? assert.fail("nobody asked for this");
  known.answers += 1;
  assert.equal(known.answers, 1, `${request.kind} ${request.lsn} was answered twice`);
}

/** I18, and LSN order is image order. */
function judgeImage(state: State, request: HostRequest): void {
  assert.ok(request.lsn > state.lastImageLsn, "image order is LSN order");
  state.lastImageLsn = request.lsn;
  for (const item of state.reading) {
    // A read for a session that is gone comes to nothing.
    if (state.primary.members[item.member]?.epoch === item.epoch && isFedNow(state, item)) {
      judgeApart(item, request);
    }
  }
  const map = state.durableOpen[request.volume] ?? assert.fail();
  const last = lastGranule(request.offset, request.length);
  for (let granule = firstGranule(request.offset); granule <= last; granule += 1) {
    assert.ok(isMarked(map, granule), `I18: granule ${granule} is not durably open`);
  }
}

function isFedNow(state: State, item: ResyncItem): boolean {
  const stage = item.check === undefined ? "resync" : "synchronized";
  return state.primary.members[item.member]?.stage === stage;
}

/** F5, decision 10: a region's read excludes writes to it. */
function judgeApart(item: ResyncItem, write: HostRequest): void {
  const isApart =
    item.volume !== write.volume ||
    item.offset + item.length <= write.offset ||
    write.offset + write.length <= item.offset;
  assert.ok(isApart, `F5: region ${item.offset} is read while write ${write.lsn} is under way`);
}

/** F6: who is told that it has everything has synced everything that was ever acked. */
function judgeJoined(state: State, index: number, bench: Bench): void {
  const member = bench.members[index] ?? assert.fail();
  for (const write of state.acked) {
    assert.ok(
      hasIt(member.synced, write),
      `F6: write ${write.lsn} is not synced at ${member.site}`,
    );
  }
}

function judgeOk(state: State, request: HostRequest, bench: Bench): void {
  const { primary } = state;
  const isWrite = request.kind !== "flush";
  if (isWrite) {
    assert.ok(!bench.pending.has(`image ${request.lsn}`), "F1: acked before the image has it");
    for (const member of primary.members) judgeAck(state, member, request, bench);
    state.acked.push(request);
  }
  if (!isWrite || request.fua || primary.durability === "write") {
    const before = state.requests.get(request)?.ackedBefore ?? [];
    const covered = before.filter((write) => write.volume === request.volume);
    if (isWrite) covered.push(request);
    for (const write of covered) judgeDurable(state, write, bench);
  }
}

/**
 * F1, I3, I4, F4: the member has the write, or it is on record that it lacks it, and where. A member that acked it and
 * lost its power afterwards counts as having it: an ack may rest on what is not synced yet (decision 1).
 */
function judgeAck(state: State, member: Member, write: HostRequest, bench: Bench): void {
  if (state.ackedBy[member.index]?.has(write) === true) return;
  if (hasIt(bench.members[member.index]?.has ?? [], write)) return;
  const what = `write ${write.lsn} acked without ${member.site} (${member.stage})`;
  assert.ok(!mustHave(member), `I4: ${what}`);
  assert.notEqual(member.stage, "synchronized", `F1: ${what}`);
  assert.notEqual(state.saved.phases[member.index], "synchronized", `F4: ${what}, not on record`);
  const isKnown = [member.dirty, state.saved.dirty[member.index]].some((dirty) =>
    isRemembered(state, dirty, write),
  );
  assert.ok(isKnown, `I16: ${what}, and nothing says where`);
}

function isRemembered(
  state: State,
  dirty: readonly RegionMap[] | undefined,
  write: HostRequest,
): boolean {
  const map = dirty?.[write.volume];
  const end = write.offset + write.length - 1;
  if (map !== undefined && allMarked(map, unitOf(map, write.offset), unitOf(map, end))) {
    if (map.unwritten.size === 0) return true;
  }
  const open = state.durableOpen[write.volume] ?? assert.fail();
  return allMarked(open, firstGranule(write.offset), lastGranule(write.offset, write.length));
}

function hasIt(content: readonly number[][], write: HostRequest): boolean {
  return versionsOf(content, write).every((version) => version >= write.lsn);
}

/** Decision 2, N1: synced here, and synced at every member or durably on record as lacking. */
function judgeDurable(state: State, write: HostRequest, bench: Bench): void {
  assert.ok(hasIt(bench.imageSynced, write), `N1: write ${write.lsn} is not synced here`);
  for (const member of state.primary.members) {
    if (hasIt(bench.members[member.index]?.synced ?? [], write)) continue;
    const what = `flushed write ${write.lsn} is not synced at ${member.site} (${member.stage})`;
    assert.ok(!mustHave(member), `I4: ${what}`);
    assert.notEqual(state.saved.phases[member.index], "synchronized", `N1: ${what}`);
    const isOnRecord = isRemembered(state, state.saved.dirty[member.index], write);
    assert.ok(isOnRecord, `I16: ${what}, and nothing durable says so`);
  }
}

function converged(state: State, bench: Bench): void {
  for (const { site, index, has } of bench.members) {
    const member = state.primary.members[index];
    assert.equal(member?.stage, "synchronized", `${site}\n${bench.log.slice(-40).join("\n")}`);
    assert.equal(member?.dirty, undefined, `F6: ${site} still has a fracture log`);
    assert.deepEqual(has, bench.image, `F5: ${site} differs`);
  }
}
