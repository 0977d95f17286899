// Runs a program of the house as one part of the test run.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { root } from "./files.ts";
import { namesFailure, parseTally, type Tally } from "./tally.ts";

const tailBytesMax = 4096;

/**
 * Runs a TypeScript program whose last line on stdout is its tally, shows its output as it comes, and returns the
 * tally. A program that ends badly, or without that line, counts as one failure more than it admits.
 */
export async function runProgram(
  path: string,
  argv: readonly string[],
  signal: AbortSignal,
): Promise<Tally> {
  const { code, tail, failures } = await runNode([join(root, path), ...argv], signal);
  const tally = parseTally(tail);
  const ended = `${path} ended with code ${code}`;
  if (tally === null) {
    const silent = `${ended} and without a line '12 passed, 0 failed'`;
    console.log(silent);
    return { passed: 0, failed: 1, skipped: 0, failures: [...failures, silent] };
  }
  if (code === 0 || tally.failed > 0) return { ...tally, failures };
  console.log(ended);
  return { ...tally, failed: 1, failures: [...failures, ended] };
}

/**
 * Runs the pinned Node at the root. `tail` is the end of stdout, `failures` are its lines that name one; `code` is -1 when a
 * signal ended it.
 */
export function runNode(
  argv: readonly string[],
  signal: AbortSignal,
): Promise<{ code: number; tail: string; failures: readonly string[] }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, argv, {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const stop = (): void => {
      child.kill("SIGTERM");
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    let tail = "";
    const failures: string[] = [];
    let partOfLine = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      process.stdout.write(text);
      tail = (tail + text).slice(-tailBytesMax);
      const lines = (partOfLine + text).split("\n");
      partOfLine = lines.pop() ?? "";
      failures.push(...lines.filter(namesFailure));
    });
    // "close" comes after the last output, "exit" may come before it.
    child.on("close", (code) => {
      signal.removeEventListener("abort", stop);
      resolve({ code: code ?? -1, tail, failures });
    });
    child.on("error", (error) => {
      console.log(`could not start ${argv.join(" ")}: ${error.message}`);
    });
  });
}
