import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";
import { limits } from "#base/limits.ts";
import type { Landing } from "#ports/transport.ts";

/** Who gets what a socket receives. */
export type Receiver = {
  onData(chunk: Uint8Array): void;
  readonly landing?: Landing | undefined;
};

/** Where a socket receives. The receiver is set before the first bytes can come. */
export type Intake = { readonly onread: OnReadOpts; receiver: Receiver | undefined };

/**
 * Has a socket receive into blocks of ours, one read behind the other, or into what its receiver offers for a long
 * message.
 *
 * Left to itself, Node allocates 64 KiB for every read, cuts them to what came, and hands them to a stream: twice the
 * processor time of a read into memory that is there, and a long write in sixteen pieces.
 */
export function createIntake(): Intake {
  let block = Buffer.allocUnsafeSlow(limits.receiveBlockBytesFirst);
  let at = 0;
  let isLanding = false;
  const intake: Intake = { receiver: undefined, onread: { buffer, callback } };
  return intake;

  function buffer(): Uint8Array {
    const room = intake.receiver?.landing?.room();
    isLanding = room !== undefined;
    if (room !== undefined) return room;
    // Short rests make short reads. What was received stays valid: nobody writes into a block twice.
    if (block.length - at < block.length / 4) {
      block = Buffer.allocUnsafeSlow(limits.receiveBlockBytes);
      at = 0;
    }
    return block.subarray(at);
  }

  function callback(bytes: number): boolean {
    const { receiver } = intake;
    if (isLanding) {
      receiver?.landing?.landed(bytes);
    } else {
      const chunk = block.subarray(at, at + bytes);
      at += bytes;
      receiver?.onData(chunk);
    }
    return true;
  }
}

/** What Node keeps on a socket, and does not document. */
type Internals = { _handle: object | null; _server: object | null };

/**
 * A socket on what a server accepted with `pauseOnConnect`, which receives by the intake. The accepted one must not be
 * used any more.
 *
 * Node lets only a dialler say where it receives. A server's sockets are made by `new Socket({ handle })`, and so is
 * this one, on the same handle. Should a Node come that has no such thing, the accepted socket serves as it is, in
 * chunks.
 */
export function adopt(accepted: Socket, intake: Intake, allowHalfOpen: boolean): Socket {
  const inside = accepted as unknown as Internals;
  const { _handle: handle, _server: server } = inside;
  if (typeof handle !== "object" || handle === null) {
    accepted.on("data", (chunk) => intake.receiver?.onData(chunk));
    return accepted;
  }
  const options = { handle, allowHalfOpen, onread: intake.onread } as SocketConstructorOpts;
  inside._handle = null;
  inside._server = null;
  accepted.destroy();
  const socket = new Socket(options);
  // The server counts its connections by those that close.
  (socket as unknown as Internals)._server = server;
  return socket;
}
