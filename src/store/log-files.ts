import type { Folder } from "#ports/file.ts";

// The logs in a group's folder, by the names of their files: `<kind>-<id>-<segment>.log`, and `.log.spare` for a segment that
// waits to be used (store/log-format.ts).

/** What a log is for. */
export type LogKind = "journal" | "staging" | "bunker" | "preserve" | "branch";

/** A log's files carry its id: those of an earlier tenure are told apart, and go. */
export function logName(kind: LogKind, logId: number): string {
  return `${kind}-${logId.toString(16).padStart(8, "0")}`;
}

/**
 * Logs of this kind that the record does not name: of an earlier tenure, of a point that was dropped, or of a start that did
 * not get far. Without an id it names none.
 */
export function removeOtherLogs(folder: Folder, kind: LogKind, logId: number | undefined): void {
  const kept = logId === undefined ? undefined : logName(kind, logId);
  for (const name of folder.list()) {
    // One that stays behind costs space, and is removed by the next start.
    if (isLogFile(name, kind) && (kept === undefined || !name.startsWith(kept)))
      folder.remove(name);
  }
}

/** Nothing will be appended to such a log: what waits to be a segment of it goes, and what it holds stays to be looked at. */
export function removeSpareLogs(folder: Folder, kind: LogKind): void {
  for (const name of folder.list())
    if (isLogFile(name, kind) && !name.endsWith(".log")) folder.remove(name);
}

function isLogFile(name: string, kind: LogKind): boolean {
  return name.startsWith(`${kind}-`) && /\.log(\.spare)?$/.test(name);
}
