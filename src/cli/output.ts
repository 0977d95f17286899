import { styleText } from "node:util";
import type { ErrorCode } from "#base/errors.ts";
import { AppError } from "#base/errors.ts";

/** Exit codes of INTERFACE: scripts are written against them. */
export const exitCodes = { done: 0, failed: 1, usage: 2, unsafe: 3, timeout: 4 } as const;

/** A line for the person or script that asked, on stdout. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** One JSON document, on stdout. */
export function sayJson(value: unknown): void {
  say(JSON.stringify(value, undefined, 2));
}

/** Something that goes on in spite of it, on stderr. */
export function warn(message: string): void {
  process.stderr.write(`${paint("yellow", "warning:")} ${message}\n`);
}

/** `error: WHAT` and, where someone can do something about it, `hint: WHAT TO DO`, on stderr. */
export function sayError(message: string, hint: string | undefined): void {
  process.stderr.write(`${paint("red", "error:")} ${message}\n`);
  if (hint !== undefined) process.stderr.write(`hint: ${hint}\n`);
}

/**
 * Tells of an error and returns the exit code that it ends the command with. Errors that nobody foresaw keep their
 * stack.
 */
export function report(error: unknown): number {
  if (error instanceof AppError) {
    sayError(error.message, error.hint);
    return exitCodeOf(error.code);
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  sayError(`antipode itself went wrong: ${text}`, undefined);
  return exitCodes.failed;
}

export function exitCodeOf(code: ErrorCode): number {
  switch (code) {
    case "usage":
    case "config":
      return exitCodes.usage;
    case "unsafe":
      return exitCodes.unsafe;
    case "timeout":
      return exitCodes.timeout;
    case "unreachable":
    case "failed":
      return exitCodes.failed;
  }
}

type Colour = "red" | "yellow" | "green" | "bold" | "dim";

/** Colours stderr text; plain when stderr is no terminal or NO_COLOR is set. */
function paint(colour: Colour, text: string): string {
  return styleText(colour, text, { stream: process.stderr });
}

/** Colours text for stdout; plain when stdout is no terminal or NO_COLOR is set. */
export function highlight(colour: Colour, text: string): string {
  return styleText(colour, text, { stream: process.stdout });
}

/** A line that replaces itself while something takes long; silent where nobody watches. */
export type Progress = { show(text: string): void; done(): void };

export function createProgress(): Progress {
  const { stderr } = process;
  let shown = false;
  return {
    show(text) {
      if (!stderr.isTTY) return;
      stderr.write(`\r\u001b[K${text}`);
      shown = true;
    },
    done() {
      if (shown) stderr.write("\r\u001b[K");
      shown = false;
    },
  };
}
