import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { until } from "./until.ts";

/** A real NBD server, as a stranger's block store. */
export type Nbdkit = {
  readonly uri: string;
  /** Ends it at once, with whatever it has in memory; resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same socket; resolves when it listens. */
  start(): Promise<void>;
};

export type NbdkitOptions = {
  readonly socket: string;
  readonly path: string;
  readonly bytes: number;
  /** Further arguments: filters before the plugin, and settings behind it. */
  readonly filters?: readonly string[];
  readonly settings?: readonly string[];
  /** Instead of the file. */
  readonly plugin?: readonly string[];
};

/** Makes the file when it is missing, and starts the server. Whoever asks for it kills it. */
export function startNbdkit(options: NbdkitOptions): Promise<Nbdkit> {
  const { socket, path, bytes, filters = [], settings = [] } = options;
  if (!fs.existsSync(path)) {
    fs.writeFileSync(path, "");
    fs.truncateSync(path, bytes);
  }
  const plugin = options.plugin ?? ["file", `file=${path}`, ...settings];
  return serve(socket, [...filters, ...plugin]);
}

/**
 * Starts a server that passes on each request to an export of another one, and its answer back. When that other one is
 * gone it answers with errors, and goes on: for hosts that do not end when their connection does.
 */
export function startNbdkitBefore(
  { socket, name }: { readonly socket: string; readonly name: string },
  inFront: string,
): Promise<Nbdkit> {
  return serve(inFront, ["nbd", `socket=${socket}`, `export=${name}`]);
}

async function serve(socket: string, what: readonly string[]): Promise<Nbdkit> {
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    fs.rmSync(socket, { force: true });
    child = spawn("nbdkit", ["-f", "-U", socket, "-e", "disk", ...what], { stdio: "ignore" });
    await until("nbdkit listens", () => fs.existsSync(socket));
  };
  await start();
  return {
    uri: `nbd+unix:///disk?socket=${socket}`,
    start,
    async kill() {
      const running = child;
      if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
      const gone = new Promise((resolve) => running.once("exit", resolve));
      running.kill("SIGKILL");
      await gone;
    },
  };
}
