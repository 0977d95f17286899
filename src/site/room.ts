import { sharedZeros } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { isFailure } from "#ports/file.ts";
import type { Folder } from "#ports/file.ts";

// A log had no room, and is opened again once there is some: when that is looked for, and how.

/** How long to wait after so many tries. */
export function retryMs(tries: number): number {
  // Beyond some doublings the longest wait is reached anyway.
  return Math.min(limits.stagingRetryMsMin * 2 ** Math.min(tries, 16), limits.stagingRetryMsMax);
}

/** What could not be written would have room now. It is tried, since nothing else tells: quotas count as well as blocks. */
export function hasRoom(folder: Folder, kind: "staging" | "bunker", neededBytes: number): boolean {
  const name = `${kind}-room.log`;
  const file = folder.open(name);
  if (isFailure(file)) return false;
  const bytes = neededBytes + limits.stagingRoomBytesMin;
  let hasFailed = false;
  for (let byte = 0; byte < bytes && !hasFailed; byte += limits.zeroChunkBytes) {
    const length = Math.min(limits.zeroChunkBytes, bytes - byte);
    hasFailed = file.write(byte, [sharedZeros(length)]) !== undefined;
  }
  file.close();
  // A name that stays behind goes when the log is opened, like every log that the record does not name.
  const notRemoved = folder.remove(name);
  return !hasFailed && notRemoved === undefined;
}
