import { limits } from "#base/limits.ts";
import type { DiskRoom, JournalFigures } from "#core/journal.ts";
import type { Log } from "#store/log.ts";
import { removeSpareLogs } from "#store/log-files.ts";
import { diskRoom, giveSpare, keepRoom } from "#store/log-room.ts";
import { dropReserve, keepReserve } from "#store/reserve.ts";
import { emit } from "./group-context.ts";
import type { GroupContext } from "./group-context.ts";
import { journalFigures } from "./journal-run.ts";
import type { JournalRun } from "./journal-run.ts";

// The disk under a primary's journal: what room is held there, and what is said where there is none (row 40).

/** Asks the disk for what is wanted: room for dirty maps first, since no journal is cut without them. */
function askDisk({ store }: GroupContext, log: Log | undefined): void {
  // A primary without a journal has copies that may be lost all the same.
  keepReserve(store);
  if (log === undefined) return;
  if (store.noReserve !== undefined && giveSpare(log)) keepReserve(store);
  keepRoom(log, true);
}

/** What a full disk leaves; undefined while there is room. */
export function diskOf({ store }: GroupContext, log: Log): DiskRoom | undefined {
  const room = diskRoom(log);
  const { noReserve } = store;
  if (room === undefined && noReserve === undefined) return undefined;
  return {
    aheadBytes: room?.aheadBytes ?? Number.POSITIVE_INFINITY,
    why: room?.why ?? noReserve?.message ?? "",
    mayTrip: noReserve === undefined,
  };
}

/** What a primary holds of its disk ahead is not for a copy to keep: that may be one for years. */
export function giveUpRoom({ store }: GroupContext): void {
  dropReserve(store);
  removeSpareLogs(store.folder, "journal");
}

export type DiskWatch = {
  /** When the disk is next asked for room: nothing else tells that there is some. */
  nextMs: number;
  /** People have been told that it is full. */
  isFullTold: boolean;
  /** When it was last seen so. */
  fullMs: number;
};

export function createDiskWatch(): DiskWatch {
  return { nextMs: 0, isFullTold: false, fullMs: 0 };
}

/** Asks the disk when it is time to; whether it was asked. */
export function askDiskDue(watch: DiskWatch, context: GroupContext, log: Log | undefined): boolean {
  const nowMs = context.ports.clock.nowMs();
  if (nowMs < watch.nextMs) return false;
  watch.nextMs = nowMs + limits.journalRoomRetryMs;
  askDisk(context, log);
  return true;
}

/** What the journal says of itself, and of its disk; people hear of it when that is full, and when it is no more. */
export function figuresOn(
  watch: DiskWatch,
  context: GroupContext,
  journal: JournalRun,
): JournalFigures & { readonly sealedSet: number } {
  // What has been let go may have left the log without a file for its next segment.
  keepRoom(journal.log);
  const disk = diskOf(context, journal.log);
  tellDisk(watch, context, disk);
  return { ...journalFigures(journal), disk };
}

// A log that goes round on a full disk has enough ahead and has not, with each segment: that is one full disk, and one word.
function tellDisk(watch: DiskWatch, context: GroupContext, now: DiskRoom | undefined): void {
  const nowMs = context.ports.clock.nowMs();
  if (now !== undefined) watch.fullMs = nowMs;
  const isFull =
    now !== undefined || (watch.isFullTold && nowMs - watch.fullMs < limits.fullOverMs);
  if (watch.isFullTold === isFull) return;
  watch.isFullTold = isFull;
  const [from, to] = isFull ? ["ok", "full"] : ["full", "ok"];
  const why =
    now === undefined
      ? "there is room on the disk under the journal again"
      : `${now.why}; it goes on by itself once there is room`;
  emit(context, { kind: "journal-disk", from, to, why });
}
