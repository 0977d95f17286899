import fs from "node:fs";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { AppError } from "#base/errors.ts";
import { formatAddress, type Address } from "#config/addresses.ts";

/**
 * Lets a server listen, and returns where it does: with port 0 the system has chosen one.
 *
 * The folder of a unix socket is made when missing. A socket that a dead process left behind is replaced, one that
 * somebody listens on is not, and neither is a file of another kind. Rejects with AppError.
 */
export async function bind(server: Server, address: Address): Promise<Address> {
  if (address.kind === "unix") await clearPath(address.path);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onError = (error: Error): void => reject(cannotListen(address, error));
  server.once("error", onError);
  const { kind, ...where } = address;
  server.listen(where, resolve);
  await promise;
  server.off("error", onError);
  const bound = server.address();
  if (kind === "unix" || bound === null || typeof bound === "string") return address;
  return { ...address, port: bound.port };
}

async function clearPath(path: string): Promise<void> {
  const address: Address = { kind: "unix", path };
  try {
    fs.mkdirSync(dirname(path), { recursive: true });
  } catch (error: unknown) {
    throw cannotListen(address, error);
  }
  const found = fs.statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new AppError("failed", `${path} is there and is not a socket`, {
      hint: "choose another path, or remove the file",
    });
  }
  if (await isListenedOn(path)) {
    throw new AppError("failed", `somebody already listens on ${formatAddress(address)}`, {
      hint: "stop the other process, or choose another path",
    });
  }
  fs.rmSync(path, { force: true });
}

/** Whether a process answers behind the socket. The file of a dead one refuses. */
function isListenedOn(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const probe = connect({ path });
  probe.once("connect", () => resolve(true));
  probe.once("error", (error) => resolve(!("code" in error && error.code === "ECONNREFUSED")));
  return promise.finally(() => probe.destroy());
}

function cannotListen(address: Address, cause: unknown): AppError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AppError("failed", `cannot listen on ${formatAddress(address)}: ${reason}`, {
    hint: "is another process using the address, and may this one use it?",
    cause,
  });
}
