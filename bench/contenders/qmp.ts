import net from "node:net";
import { createInterface } from "node:readline";
import { once } from "node:events";

/** A connection to QEMU's monitor (QEMU Machine Protocol: one JSON document a line, answers in order of the commands). */
export type Qmp = {
  /** The command's `return`; rejects with QEMU's words when it answers with an error. */
  run(command: string, parameters?: Readonly<Record<string, unknown>>): Promise<unknown>;
  close(): void;
};

type Pending = {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
};

/** Connects and takes up command mode. Events are not looked at: states are asked for. */
export async function connectQmp(path: string): Promise<Qmp> {
  const socket = net.connect({ path });
  await once(socket, "connect");
  const pending: Pending[] = [];
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    for (const { command, reject } of pending.splice(0)) {
      reject(new Error(`QEMU closed its monitor before it answered ${command}`));
    }
  });
  createInterface({ input: socket }).on("line", (line) => {
    const message = JSON.parse(line) as { return?: unknown; error?: { desc?: string } };
    if (!("return" in message) && message.error === undefined) return;
    const asked = pending.shift();
    if (message.error === undefined) asked?.resolve(message.return);
    else asked?.reject(new Error(`QEMU refused ${asked.command}: ${message.error.desc ?? ""}`));
  });
  const run: Qmp["run"] = (command, parameters = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    pending.push({ command, resolve, reject });
    socket.write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
    return promise;
  };
  await run("qmp_capabilities");
  return { run, close: () => socket.destroy() };
}
