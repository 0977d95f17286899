// Whose a group's log on a path is (`log.owner`), version 1: two slots of 256 KiB in one file, as slot.ts draws them, with the
// magic "APLO" and the owner.
//
// Revision r goes to slot r mod 2, the first one to both, and counts when that slot is synced.
//
// Machines that share the path look at it: a primary after each sync, before anything rests on that. So it is a file of its
// own: the log and the group's record beside it are written by the primary alone, this one by whoever takes the log from it. It
// is opened anew for each look, as file systems of other machines want it that show no newer bytes through a file that was
// opened before.
//
// A later version is refused, and not taken for damage.
//
// Version history:
//   1  the first.

import { utf8 } from "#base/bytes.ts";
import { assert } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { History } from "#core/history.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import type { LogPlace } from "./log.ts";
import { newestOf, readSlots, sealSlot, slotHeaderBytes } from "./slot.ts";
import type { Slot, SlotFormat } from "./slot.ts";

export const ownerFileVersion = 1;
export const ownerMagic = 0x4f4c5041; // "APLO"
export const ownerName = "log.owner";
const slotBytes = limits.ownerSlotBytes;
const format: SlotFormat = { magic: ownerMagic, version: ownerFileVersion, slotBytes };

/** Whose the log is. */
export type LogOwner = {
  readonly cluster: string;
  readonly group: string;
  /** The generation whose primary may write to the log, and none before it. */
  readonly history: History;
  /** Not even that one any more: the log brings up the copy at this site (decision 6). */
  readonly activatedFor?: string;
  /** Where the log ended then, and which log that is: what was written behind it was never acked. */
  readonly end?: LogPlace & { readonly logId: number };
};

/** Undefined where nobody has said yet whose it is. */
export function readOwner(folder: Folder): LogOwner | undefined | IoFailure {
  if (!folder.exists(ownerName)) return undefined;
  const file = folder.open(ownerName);
  if (isFailure(file)) return file;
  const found = newestOwner(file);
  file.close();
  return "code" in found ? found : found.owner;
}

/** Says whose the log is from now on; then calls `done`. */
export function writeOwner(
  folder: Folder,
  owner: LogOwner,
  done: (failure: IoFailure | undefined) => void,
): void {
  const file = folder.open(ownerName);
  if (isFailure(file)) return done(file);
  const ended = (failure: IoFailure | undefined): void => {
    file.close();
    done(failure);
  };
  const found = newestOwner(file);
  if ("code" in found) return ended(found);
  const revision = found.revision + 1;
  const body = utf8(JSON.stringify(owner));
  assert(body.length <= slotBytes - slotHeaderBytes, "the owner of a log has outgrown its slot");
  // The first goes to both: whoever takes the log over must not need room that a full disk has not got.
  for (const slot of revision === 1 ? [1, 0] : [revision % 2]) {
    const failure = file.write(slot * slotBytes, [sealSlot(format, revision, body)]);
    if (failure !== undefined) return ended(failure);
  }
  file.sync((notSynced) => {
    if (notSynced === undefined) folder.sync(ended);
    else ended(notSynced);
  });
}

type Found = { readonly revision: number; readonly owner: LogOwner | undefined };

function newestOwner(file: File): Found | IoFailure {
  const slots = readSlots(file, format);
  const newest = newestOf(slots);
  // The checksums say that these are our own bytes: an owner that does not parse is a bug of ours and may throw.
  if (newest !== undefined)
    return { revision: newest.revision, owner: JSON.parse(newest.text) as LogOwner };
  const trouble = slots.map(troubleOf).find((why) => why !== undefined);
  if (trouble !== undefined) return { code: "EBADMSG", message: `${file.path}: ${trouble}` };
  // One empty slot and a torn one: the very first write never became durable.
  if (slots.some(({ kind }) => kind === "empty")) return { revision: 0, owner: undefined };
  return { code: "EBADMSG", message: `${file.path}: both copies of the log's owner are damaged` };
}

// What is no damage, and yet says nothing to this build.
function troubleOf(slot: Slot): string | undefined {
  if (slot.kind === "foreign") return `its version ${slot.version} is unknown to this build`;
  return slot.kind === "unreadable" ? slot.failure.message : undefined;
}
