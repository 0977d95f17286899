import type { HostRequest } from "#ports/host-request.ts";
import { roundLegDone } from "./flush.ts";
import { legDone } from "./legs.ts";
import { orOpenInto } from "./open-map.ts";
import type { Member, Primary, PrimaryEffect } from "./primary-state.ts";
import { askRecord } from "./records.ts";
import { createRegionMap, markBytes, unitOf, unmark } from "./region-map.ts";
import type { RegionMap } from "./region-map.ts";

// The fracture log: what a member lacks, by regions, from the moment it is lost until a resync has brought everything
// over.

/**
 * Puts on record that we go on without a member: everything open is dirty towards it. `alone` is recorded from the
 * first write that is acked without it; decision 9 rests on it.
 */
export function fracture(
  primary: Primary,
  member: Member,
  alone: boolean,
  out: PrimaryEffect[],
): void {
  for (const volume of primary.volumes) {
    if (volume.open.size > 0) orOpenInto(mapOf(primary, member, volume.index, out), volume);
  }
  if (member.dirty === undefined && !alone) return;
  if (member.record.phase === "synchronized") member.record.phase = "dirty";
  member.record.alone ||= alone;
  const earlier = member.fracturing;
  const ticket = primary.ticket + 1;
  member.fracturing = {
    ticket,
    requests: earlier?.requests ?? [],
    rounds: earlier?.rounds ?? [],
  };
  askRecord(primary, { kind: "fractured", member, ticket }, out);
}

/** The loss is on record: what waited for the member no longer does. */
export function fractured(
  primary: Primary,
  member: Member,
  ticket: number,
  out: PrimaryEffect[],
): void {
  const waiting = member.fracturing;
  if (waiting === undefined || waiting.ticket !== ticket) return;
  member.fracturing = undefined;
  for (const request of waiting.requests) legDone(primary, request, out);
  for (const round of waiting.rounds) roundLegDone(primary, round, out);
  primary.recheckResolved = true;
}

/** A write is about to go on without this member: mark what it misses, and see that the record allows the ack. */
export function markAbsent(
  primary: Primary,
  member: Member,
  request: HostRequest,
  out: PrimaryEffect[],
): void {
  const map = mapOf(primary, member, request.volume, out);
  if (markBytes(map, request.offset, request.length) > 0) {
    out.push({ kind: "writeDirtyMaps", member: member.index });
  }
  if (
    member.record.phase !== "blank" &&
    (!member.record.alone || member.record.phase === "synchronized")
  ) {
    fracture(primary, member, true, out);
  }
  if (member.fracturing !== undefined) {
    request.legs += 1;
    member.fracturing.requests.push(request);
  }
}

export function mapOf(
  primary: Primary,
  member: Member,
  volume: number,
  out: PrimaryEffect[],
): RegionMap {
  const map = dirtyOf(primary, member, out)[volume];
  if (map === undefined) throw new RangeError(`there is no volume ${volume}`);
  return map;
}

/** The member's dirty maps, made when it has none: from then on it counts as lacking something. */
export function dirtyOf(
  primary: Primary,
  member: Member,
  out: PrimaryEffect[],
): readonly RegionMap[] {
  if (member.dirty === undefined) {
    member.dirty = primary.volumes.map((volume) =>
      createRegionMap(volume.bytes, primary.record.regionBytes),
    );
    out.push({ kind: "createDirtyMaps", member: member.index });
  }
  return member.dirty;
}

/** A disk that has nothing: every region is dirty (U54). */
export function markAll(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const maps = dirtyOf(primary, member, out);
  for (const volume of primary.volumes) {
    const map = maps[volume.index];
    if (map !== undefined) markBytes(map, 0, volume.bytes);
  }
}

/** The member has synced this range: it is dirty no more. */
export function unmarkRange(map: RegionMap, offset: number, length: number): void {
  unmark(map, unitOf(map, offset), unitOf(map, offset + length - 1));
}
