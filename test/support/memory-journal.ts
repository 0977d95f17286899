import { MiB } from "#base/limits.ts";
import { openJournalLog } from "#site/journal-run.ts";
import type { JournalRun } from "#site/journal-run.ts";
import { createMemoryFolder } from "./memory-folder.ts";

/** A new and empty journal, and the folder in memory that it lies in. */
export async function openMemoryJournal() {
  const folder = createMemoryFolder();
  const where = { folder, kind: "journal", logId: 7, bytesMax: 4 * MiB } as const;
  const journal = await new Promise<JournalRun>((resolve, reject) => {
    openJournalLog(where, { isWhole: true, reserved: 1 }, (opened) => {
      if (opened.ok) resolve(opened.value);
      else reject(new Error(opened.error));
    });
  });
  return { journal, folder };
}
