import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

const script = join(import.meta.dirname, "fake-antipode.ts");

export type CliResult = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** The antipode command as a process that runs on, with the stand-in engine of fake-site.ts. */
export type CliProcess = {
  readonly child: ChildProcess;
  /** Resolves with the first line of stdout that matches; rejects when the process ends without one. */
  line(pattern: RegExp): Promise<string>;
  readonly ended: Promise<CliResult>;
};

/** Starts the command in `folder`. Settings of the surroundings do not reach it. */
export function startCli(folder: string, args: readonly string[]): CliProcess {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  for (const name of ["ANTIPODE_CONFIG", "ANTIPODE_SITE", "FORCE_COLOR", "NODE_TEST_CONTEXT"])
    delete env[name];
  const child = spawn(process.execPath, [script, ...args], {
    cwd: folder,
    env,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const watchers = new Set<() => void>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    for (const look of watchers) look();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = Promise.withResolvers<CliResult>();
  child.on("error", ended.reject);
  child.on("close", (code) => ended.resolve({ code, stdout, stderr }));
  return {
    child,
    ended: ended.promise,
    line(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const look = (): void => {
        const found = stdout
          .split("\n")
          .slice(0, -1)
          .find((line) => pattern.test(line));
        if (found !== undefined) resolve(found);
      };
      watchers.add(look);
      look();
      const onEnd = (): void =>
        reject(new Error(`no line ${String(pattern)} in:\n${stdout}${stderr}`));
      ended.promise.then(onEnd, reject);
      return promise.finally(() => watchers.delete(look));
    },
  };
}

/** Runs the command to its end. */
export function runCli(folder: string, ...args: readonly string[]): Promise<CliResult> {
  return startCli(folder, args).ended;
}
