import type { IoFailure } from "#base/errors.ts";
import { compareHistories, describeGeneration } from "#core/history.ts";
import type { History } from "#core/history.ts";
import { isFailure } from "#ports/file.ts";
import type { File, Folder } from "#ports/file.ts";
import { readOwner } from "#store/owner-file.ts";
import type { LogOwner } from "#store/owner-file.ts";

// What keeps a primary of old from acking by a log on a path that it still reaches (decision 6): no sync of it succeeds before
// the primary has looked whose the log is. Whoever takes the log over says so there first and looks at the log then. So either
// it finds what was synced, or the primary finds that the log was taken, and nothing rests on that sync.

export type LogFence = {
  /** Files of which nothing may be written any more once the fence has closed. */
  readonly folder: Folder;
  /** Nothing is written from now on. */
  close(why: string): void;
};

export type LogFenceOptions = {
  readonly folder: Folder;
  /** Of the primary that writes the log. */
  readonly history: History;
  /** The log is another's: told once, before the sync fails that was the first to find out. */
  readonly onTaken: (why: string) => void;
};

/** Why a primary of this generation has no business with the log any more; "" while it has. */
export function takenWhy(owner: LogOwner, history: History): string {
  const relation = compareHistories(history, owner.history);
  if (relation === "ahead") return "";
  if (relation !== "same") return `the log is of ${describeGeneration(owner.history)} by now`;
  return owner.activatedFor === undefined
    ? ""
    : `the log is activated for a replay to ${owner.activatedFor}`;
}

export function createLogFence({ folder, history, onTaken }: LogFenceOptions): LogFence {
  let lost: IoFailure | undefined;
  const look = (): IoFailure | undefined => {
    if (lost !== undefined) return lost;
    const owner = readOwner(folder);
    if (owner === undefined)
      lost = { code: "ENOENT", message: `${folder.path}: the folder of the log is gone` };
    else if ("code" in owner) lost = owner;
    const why = owner === undefined || "code" in owner ? "" : takenWhy(owner, history);
    if (why === "") return lost;
    lost = { code: "ESTALE", message: `${folder.path}: ${why}` };
    onTaken(why);
    return lost;
  };
  return {
    folder: {
      path: folder.path,
      list() {
        const failure = look();
        return failure === undefined ? folder.list() : [];
      },
      exists: (name) => folder.exists(name),
      open(name) {
        if (lost !== undefined) return lost;
        const file = folder.open(name);
        return isFailure(file) ? file : fenced(file, look, () => lost);
      },
      remove: (name) => look() ?? folder.remove(name),
      rename: (from, to) => look() ?? folder.rename(from, to),
      sync: (done) => folder.sync((failure) => done(failure ?? look())),
    },
    close(why) {
      lost ??= { code: "EBADF", message: `${folder.path}: ${why}` };
    },
  };
}

function fenced(
  file: File,
  look: () => IoFailure | undefined,
  lost: () => IoFailure | undefined,
): File {
  return {
    path: file.path,
    bytes: () => file.bytes(),
    read: (offset, into) => file.read(offset, into),
    readLater: (offset, into, done) => file.readLater(offset, into, done),
    write: (offset, chunks) => lost() ?? file.write(offset, chunks),
    allocate: (offset, length) => lost() ?? file.allocate(offset, length),
    sync: (done) => file.sync((failure) => done(failure ?? look())),
    close: () => file.close(),
  };
}
