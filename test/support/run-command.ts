import { spawn } from "node:child_process";

export type CommandResult = {
  /** Exit code; undefined when it was killed, also by us because it took too long or would not stop printing. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
};

/** Longer than any command of the tests should take; then it is killed. */
const msMax = 60_000;

/** More than any command of the tests should print, in characters of either stream; then it is killed. */
const printedMax = 16 * 1024 * 1024;

/**
 * Runs a program to its end. Python is the system's, for it is the one that Debian's packages give their modules to.
 * Rejects only when the program cannot be started.
 */
export function runCommand(program: string, args: readonly string[]): Promise<CommandResult> {
  const { promise, resolve, reject } = Promise.withResolvers<CommandResult>();
  const env = { ...process.env, PATH: `/usr/bin:${process.env["PATH"] ?? ""}` };
  const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), msMax);
  let stdout = "";
  let stderr = "";
  const stopAtTooMuch = (printed: string): string => {
    if (printed.length > printedMax) child.kill("SIGKILL");
    return printed;
  };
  child.stdout
    .setEncoding("utf8")
    .on("data", (text: string) => (stdout = stopAtTooMuch(stdout + text)));
  child.stderr
    .setEncoding("utf8")
    .on("data", (text: string) => (stderr = stopAtTooMuch(stderr + text)));
  child.on("error", reject);
  child.on("close", (code) => {
    clearTimeout(timer);
    resolve({ code: code ?? undefined, stdout, stderr });
  });
  return promise;
}

/** Runs a program that must succeed, and returns what it printed. */
export async function runGood(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(program, args);
  if (code === 0) return stdout;
  throw new Error(`${program} ${args.join(" ")} ended with ${code}\n${stdout}${stderr}`);
}
