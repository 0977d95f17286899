import type { EventRecord } from "#ports/events.ts";
import { decodeSegmentHeader, recordHeadBytes, segmentHeaderBytes } from "#store/log-format.ts";
import { decodeRecordHead } from "#store/log-format.ts";
import { decodeStep } from "#store/preserve-log.ts";
import { recordOf } from "./branches.ts";
import { cloneDiskState, inodeAt, readInode } from "./disk-state.ts";
import type { DiskState, Inode, View } from "./disk-state.ts";
import { differences } from "./image-view.ts";
import type { Line } from "./line.ts";
import type { Machine } from "./machine.ts";
import type { Claim } from "./oracle.ts";
import type { World } from "./world.ts";

// The preserved point from outside: what an image was when its resync began, and what lies in the preserve log.

export type KeptPoint = {
  /** The site's disk when the resync began: its images are the point. */
  readonly disk: DiskState;
  /** What a takeover at that moment would have had to find. */
  claim: Claim;
  /** Of the point on record, once that is seen. */
  id: number | undefined;
};

/** A resync begins: until a point is on record, the image may move on, and the next one counts. */
export function notePoint(world: World, machine: Machine, event: EventRecord): void {
  const line = world.lines.get(event.group);
  const key = `${event.group}@${machine.name}`;
  if (event.kind === "promote") {
    if (/preserved point/.test(event.why)) world.claimedPoint.add(key);
    else world.claimedPoint.delete(key);
  }
  if (line === undefined || event.kind !== "image") return;
  if (event.to !== "synchronizing") return;
  const record = recordOf(world, line, machine.name, "current");
  if (record?.preservedPoint !== undefined) return;
  const disk = cloneDiskState(machine.disk.state);
  const before = record?.reverted === undefined ? undefined : world.points.get(key);
  // What a resync had brought was undone, with the promotion that then came to nothing: the primary had called that acked, and
  // the site held it then, so the line does not know that it is missing. What was owed at the point is owed, and no more.
  const isAtPoint =
    before !== undefined && differsFromPoint(before, disk, line, "current") === undefined;
  if (isAtPoint) world.count("situations:a resync of an image at its preserved point");
  const claim = isAtPoint ? before.claim : claimNow(line, machine.name);
  world.points.set(key, { disk, claim, id: undefined });
}

/** What a takeover would have to find at a site now, also when it comes later. */
function claimNow(line: Line, site: string): Claim {
  const claim = line.takeoverClaim(site, false);
  const tick = line.oracle.next();
  const allAckedBefore = Math.min(claim.allAckedBefore, tick);
  return { ...claim, allAckedBefore, mayHoldLost: true, asOf: tick };
}

/** The point that is on record at a site, as it was; undefined where none is, or nobody saw it being made. */
export function pointOnRecord(world: World, line: Line, site: string): KeptPoint | undefined {
  const point = world.points.get(`${line.group.name}@${site}`);
  const onRecord = recordOf(world, line, site, "current")?.preservedPoint;
  if (point === undefined || onRecord === undefined) return undefined;
  if (point.id === undefined) {
    point.id = onRecord.id;
    const { sets } = point.claim;
    // A point of sets names the end of one, and that is where the image must be (I10).
    if (sets !== undefined && onRecord.set > 0)
      point.claim = { ...point.claim, sets: { ...sets, ends: new Set([onRecord.lsn]) } };
  }
  return point.id === onRecord.id ? point : undefined;
}

/** A promotion was announced as one of the preserved point: what that must hold. */
export function claimedPoint(world: World, line: Line, site: string): Claim | undefined {
  const key = `${line.group.name}@${site}`;
  const point = world.claimedPoint.delete(key) ? world.points.get(key) : undefined;
  return point?.claim;
}

/** A place in which a site's images differ from the point, in words; undefined where they are the same. */
export function differsFromPoint(
  point: KeptPoint,
  disk: DiskState,
  line: Line,
  view: View,
): string | undefined {
  const [first] = differences({ disk: point.disk, view: "current" }, { disk, view }, line.group, 1);
  return first === undefined
    ? undefined
    : `volume ${first.volume} sector ${first.sector} (${view}) is not what it was at the point`;
}

// --------------------------------------------------------------------------------- the preserve log

/** Units by `volume:offset`, with what they held; undefined for zeros. */
export type SavedUnits = ReadonlyMap<string, Uint8Array | undefined>;

const parsed = new WeakMap<Inode, { readonly version: number; readonly units: SavedUnits }>();

/** What the preserve logs, or those of branches, of a group at a site hold on the platter. */
export function savedOnDisk(
  disk: DiskState,
  group: string,
  { prefix, unitBytes }: { readonly prefix: "preserve-" | "branch-"; readonly unitBytes: number },
): SavedUnits[] {
  const names = [...(disk.folders.get(group)?.names.keys() ?? [])].filter((name) =>
    name.startsWith(prefix),
  );
  return names.flatMap((name) => {
    const inode = inodeAt(disk, group, name, "durable");
    return inode === undefined ? [] : [parse(inode, unitBytes)];
  });
}

function parse(inode: Inode, unitBytes: number): SavedUnits {
  const known = parsed.get(inode);
  if (known?.version === inode.durableVersion) return known.units;
  const bytes = new Uint8Array(inode.durableBytes);
  readInode(inode, "durable", 0, bytes);
  const units = unitsIn(bytes, unitBytes);
  parsed.set(inode, { version: inode.durableVersion, units });
  return units;
}

function unitsIn(bytes: Uint8Array, unitBytes: number): SavedUnits {
  const units = new Map<string, Uint8Array | undefined>();
  if (bytes.length < segmentHeaderBytes) return units;
  const header = decodeSegmentHeader(bytes.subarray(0, segmentHeaderBytes));
  if (typeof header === "string") return units;
  for (let byte = segmentHeaderBytes; byte + recordHeadBytes <= bytes.length;) {
    const place = { logId: header.logId, segment: header.segment, byte };
    const head = decodeRecordHead(bytes.slice(byte, byte + recordHeadBytes), place);
    if (typeof head === "string") break;
    const tableAt = byte + recordHeadBytes;
    const payloadAt = tableAt + head.tableBytes;
    const end = payloadAt + head.payloadBytes;
    const step = decodeStep(
      head.kind,
      bytes.slice(tableAt, payloadAt),
      bytes.slice(payloadAt, end),
    );
    for (const { volume, offset, length, bytes: held } of step) {
      for (let at = 0; at < length; at += unitBytes)
        units.set(`${volume}:${offset + at}`, held?.subarray(at, at + unitBytes));
    }
    byte = end;
  }
  return units;
}
