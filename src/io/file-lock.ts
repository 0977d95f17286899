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

  const server = net.createServer((socket) => socket.destroy());
  // `listening` is true or false when `listen` returns; the event repeats it later and adds nothing.
  server.on("error", () => {});
  server.listen({ path: socketOf(fd) });
  if (!server.listening) return busy;
  server.unref();
  return { release: () => void server.close() };
}

/**
 * Whether somebody has an open file by `lockFile`. The lock is not tried for, so that nobody who wants it just now is refused;
 * what is asked is the socket, which is seen from the same network namespace alone.
 */
export function isLocked(fd: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = net.connect({ path: socketOf(fd) });
  socket.on("connect", () => {
    socket.destroy();
    resolve(true);
  });
  // Whatever else may go wrong with a socket, somebody is behind it.
  socket.on("error", (error) => resolve(!("code" in error && error.code === "ECONNREFUSED")));
  return promise;
}

function socketOf(fd: number): string {
  const { dev, ino } = fs.fstatSync(fd, { bigint: true });
  return `\0antipode-${dev}-${ino}`;
}
