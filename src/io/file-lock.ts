import fs from "node:fs";
import net from "node:net";
import { constants } from "node:os";
import type { IoFailure } from "#base/errors.ts";
import { failureOfErrno } from "./failure.ts";
import { LOCK_EXCLUSIVE_NOWAIT, nativeCalls } from "./sys.ts";

export type FileLock = { release(): void };

const { EBUSY, EWOULDBLOCK } = constants.errno;

/**
 * Takes an open file for this opener alone, against other processes and against ourselves, until `release` or the death
 * of the process. A failure with code EBUSY when somebody has it. The descriptor must stay open as long as the lock is
 * needed.
 *
 * Two locks, since each misses something: an abstract Unix socket (unix(7)) named after device and inode needs no
 * native code, yet reaches no further than the network namespace; `flock(2)` sees everybody who has the file, yet needs
 * native code.
 */
export function lockFile(fd: number, path: string): FileLock | IoFailure {
  const busy = failureOfErrno(EBUSY, `locking ${path}, which somebody else uses`);
  const result = nativeCalls()?.flock(fd, LOCK_EXCLUSIVE_NOWAIT) ?? 0;
  if (result === -EWOULDBLOCK) return busy;
  // File systems without flock exist (some network ones). There, as without native code, the socket must do.

  const { dev, ino } = fs.fstatSync(fd, { bigint: true });
  const server = net.createServer((socket) => socket.destroy());
  // `listening` is true or false when `listen` returns; the event repeats it later and adds nothing.
  server.on("error", () => {});
  server.listen({ path: `\0antipode-${dev}-${ino}` });
  if (!server.listening) return busy;
  server.unref();
  return { release: () => void server.close() };
}
