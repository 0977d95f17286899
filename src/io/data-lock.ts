import fs from "node:fs";
import { join } from "node:path";
import { AppError } from "#base/errors.ts";
import { failureOf } from "./failure.ts";
import { isLocked, lockFile } from "./file-lock.ts";

export type DataLock = { release(): void };

const NAME = "lock";

/**
 * Makes the data folder when it is missing and takes it for this process alone, by a lock on the file `lock` in it. The
 * file stays and says who was last; only the lock counts, and the kernel drops it with the process.
 *
 * Throws an `AppError` when another process has the folder, or when it cannot be made.
 */
export function takeDataLock(data: string): DataLock {
  const path = join(data, NAME);
  let fd: number;
  try {
    fs.mkdirSync(data, { recursive: true, mode: 0o700 });
    fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  } catch (error) {
    throw new AppError("failed", failureOf(error, `opening the data folder ${data}`).message, {
      hint: "check `data` of this site in the cluster file, and that this user may write there",
      cause: error,
    });
  }
  const lock = lockFile(fd, path);
  if ("code" in lock) {
    const owner = fs.readFileSync(fd, "utf8").trim();
    fs.closeSync(fd);
    throw new AppError(
      "failed",
      `the data folder ${data} is in use by process ${owner || "(unknown)"}`,
      {
        hint: "stop the other process, or give each site of the cluster file its own `data`",
      },
    );
  }
  sign(fd, path);
  return {
    release() {
      lock.release();
      fs.closeSync(fd);
    },
  };
}

// Written over what is there, and cut after that: a full disk must not keep a site from its start.
function sign(fd: number, path: string): void {
  const owner = `${process.pid}\n`;
  try {
    fs.writeSync(fd, owner, 0);
    fs.ftruncateSync(fd, owner.length);
  } catch (error) {
    fs.closeSync(fd);
    throw new AppError("failed", failureOf(error, `writing ${path}`).message, {
      hint: "make room in the data folder of this site, or see to its disk; then start it again",
      cause: error,
    });
  }
}

/** The process that has a site's data folder now, as it signed the lock; undefined when nobody has it. Changes nothing. */
export async function findDataOwner(data: string): Promise<string | undefined> {
  let fd: number;
  try {
    fd = fs.openSync(join(data, NAME), fs.constants.O_RDONLY);
  } catch (error: unknown) {
    // Without the file no site ever ran here, or nobody may tell.
    failureOf(error, `opening the lock of ${data}`);
    return undefined;
  }
  try {
    return (await isLocked(fd)) ? fs.readFileSync(fd, "utf8").trim() : undefined;
  } finally {
    fs.closeSync(fd);
  }
}
