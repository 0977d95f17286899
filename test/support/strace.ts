import { spawn } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { until } from "./until.ts";

/** strace on running processes: it watches their system calls, or makes them fail. */
export type Strace = {
  /** What was traced so far, a call a line; complete after `detach`. */
  lines(): readonly string[];
  /** How many calls were made to fail or wait so far. */
  injected(): number;
  /** Lets the processes go on untraced. */
  detach(): Promise<void>;
};

/**
 * Attaches to all threads of the processes. `args` say what is traced and what is injected (strace(1)); with `-P PATH`
 * only calls that touch that file count. Lets go at the test's end. The log lies in `folder`.
 */
export async function attachStrace(
  t: TestContext,
  folder: string,
  pids: readonly number[],
  args: readonly string[],
): Promise<Strace> {
  const log = join(folder, `strace-${pids.join("-")}-${process.hrtime.bigint()}.log`);
  const targets = pids.flatMap((pid) => ["-p", String(pid)]);
  const child = spawn("strace", ["-f", "-o", log, ...args, ...targets], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  let hasEnded = false;
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = new Promise<void>((resolve) => {
    child.on("close", () => {
      hasEnded = true;
      resolve();
    });
  });
  const detach = async (): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
  };
  t.after(detach);
  const isAttached = (pid: number): boolean =>
    new RegExp(`Process ${pid} attached`).test(said) && threadsOf(pid).every(isTraced);
  await until("strace is attached", () => {
    if (hasEnded) throw new Error(`strace ended: ${said}`);
    return pids.every(isAttached);
  });
  const lines = (): readonly string[] => fs.readFileSync(log, "utf8").split("\n").slice(0, -1);
  return {
    lines,
    injected: () => lines().filter((line) => /\((INJECTED|DELAYED)\)/.test(line)).length,
    detach,
  };
}

function threadsOf(pid: number): readonly string[] {
  return fs.readdirSync(`/proc/${pid}/task`).map((thread) => `/proc/${pid}/task/${thread}/status`);
}

function isTraced(status: string): boolean {
  return !/^TracerPid:\s+0$/m.test(fs.readFileSync(status, "utf8"));
}
