import { getU64, joined, putU64, viewOf } from "#base/bytes.ts";
import type { SetProgress } from "#core/primary-events.ts";
import type { Frame, FrameHeader } from "#wire/peer/messages.ts";

// PROGRESS, which a copy that takes sets sends instead of ACK: `set` and `lsn` of the header are the last complete set and its
// last LSN; the body is four numbers of 64 bits: applied set, its last LSN, the last synced LSN, stamp of the complete set.

const bodyBytes = 32;

export function progressBody(sets: SetProgress): Uint8Array {
  const body = new Uint8Array(bodyBytes);
  const view = viewOf(body);
  putU64(view, 0, sets.appliedSet);
  putU64(view, 8, sets.appliedLsn);
  putU64(view, 16, sets.syncedLsn);
  putU64(view, 24, sets.stampMs);
  return body;
}

export function progressFields(sets: SetProgress): Partial<FrameHeader> {
  return { set: sets.completeSet, lsn: sets.completeLsn };
}

/** What a PROGRESS says; undefined when it is none. */
export function parseProgress(frame: Frame): SetProgress | undefined {
  const body = joined(frame.body);
  if (body.length !== bodyBytes) return undefined;
  const view = viewOf(body);
  const [appliedSet, appliedLsn, syncedLsn, stampMs] = [0, 8, 16, 24].map((at) => getU64(view, at));
  if (appliedSet === undefined || appliedLsn === undefined) return undefined;
  if (syncedLsn === undefined || stampMs === undefined) return undefined;
  const { set: completeSet, lsn: completeLsn } = frame.header;
  return { completeSet, completeLsn, appliedSet, appliedLsn, syncedLsn, stampMs };
}
