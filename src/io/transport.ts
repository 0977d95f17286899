import net from "node:net";
import { parseAddress } from "#config/addresses.ts";
import type { DialFailure, Transport } from "#ports/transport.ts";
import { createConnection } from "./connection.ts";
import { createIntake } from "./receive.ts";
import { ReceivedMemory } from "./received-memory.ts";

type DialHandlers = Parameters<Transport["dial"]>[2];

/**
 * The `Transport` port over TCP and Unix sockets; addresses are `host:port`, `[v6]:port` and `unix:/path`. `memory` is
 * shared with whoever receives what is sent here.
 */
export function createTransport(memory = new ReceivedMemory()): Transport {
  return {
    dial: (text, timeoutMs, handlers) => dial(memory, text, timeoutMs, handlers),
  };
}

function dial(
  memory: ReceivedMemory,
  text: string,
  timeoutMs: number,
  handlers: DialHandlers,
): void {
  const parsed = parseAddress(text);
  if (!parsed.ok) {
    queueMicrotask(() => handlers.onFail({ kind: "unreachable", message: parsed.reason }));
    return;
  }
  const { address } = parsed;
  const intake = createIntake();
  const { onread } = intake;
  const socket = net.connect(
    address.kind === "unix"
      ? { path: address.path, onread }
      : { host: address.host, port: address.port, onread },
  );
  const fail = (failure: DialFailure): void => {
    clearTimeout(timer);
    socket.removeAllListeners();
    // A socket without this listener would throw what still comes of the attempt.
    socket.on("error", () => {});
    socket.destroy();
    handlers.onFail(failure);
  };
  const timer = setTimeout(() => {
    fail({ kind: "unreachable", message: `${text} did not answer within ${timeoutMs} ms` });
  }, timeoutMs);
  socket.on("error", (error) => {
    const kind = isRefusal(error) ? "refused" : "unreachable";
    fail({ kind, message: `cannot reach ${text}: ${messageOf(error)}` });
  });
  socket.on("connect", () => {
    clearTimeout(timer);
    socket.removeAllListeners("error");
    socket.removeAllListeners("connect");
    createConnection(socket, { remote: text, memory, intake }, handlers.onOpen);
  });
}

/** A name can stand for several addresses, and then the error holds one for each. All must have refused. */
function isRefusal(error: Error): boolean {
  if (error instanceof AggregateError)
    return error.errors.length > 0 && error.errors.every(isRefusal);
  if (!("code" in error)) return false;
  // A Unix socket that was never made, or was removed by its owner: the machine is there, being our own.
  const isUnix =
    "address" in error && typeof error.address === "string" && error.address.startsWith("/");
  return error.code === "ECONNREFUSED" || (isUnix && error.code === "ENOENT");
}

function messageOf(error: Error): string {
  if (!(error instanceof AggregateError)) return error.message;
  return error.errors
    .map((one: unknown) => (one instanceof Error ? one.message : String(one)))
    .join("; ");
}
