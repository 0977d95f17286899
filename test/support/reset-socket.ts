import type { Socket } from "node:net";

/**
 * Breaks a connection by a reset. Not one whose own end was asked for: while that is on its way the reset gets EINVAL, no
 * `close` follows, and the process spins at its exit (`CleanupHandles` of Node 24), waiting for a handle that nobody closes.
 * Closing such a one does as well here.
 */
export function resetSocket(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
