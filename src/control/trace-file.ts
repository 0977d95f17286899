import fs from "node:fs";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Trace } from "#ports/events.ts";

export type TraceFile = Trace & { close(): void };

export type TraceFileOptions = {
  readonly path: string;
  /** Monotonic milliseconds, the `t` of each line. */
  readonly nowMs: () => number;
  /** Told once when the file cannot be written any further; tracing ends then, the site goes on. */
  readonly onTrouble: (message: string) => void;
};

/**
 * Writes one JSON line per host ack and peer message (INTERFACE, `serve --trace`). Lines of one turn of the loop go out
 * together, so that tracing costs one write a turn, and a killed process leaves no more than its last turn unwritten.
 *
 * Throws an `AppError` when the file cannot be opened. An existing one is continued.
 */
export function openTraceFile(options: TraceFileOptions): TraceFile {
  let fd: number | undefined = openForAppend(options.path);
  let lines: string[] = [];
  let waitingChars = 0;
  let flushing = false;

  const flush = (): void => {
    flushing = false;
    if (fd === undefined || lines.length === 0) return;
    const text = lines.join("");
    lines = [];
    waitingChars = 0;
    try {
      fs.writeSync(fd, text);
    } catch (error: unknown) {
      const reason = error instanceof Error ? error.message : String(error);
      options.onTrouble(`tracing to ${options.path} ended: ${reason}`);
      fs.closeSync(fd);
      fd = undefined;
    }
  };

  return {
    line(fields) {
      if (fd === undefined) return;
      const text = `${JSON.stringify({ t: options.nowMs(), ...fields })}\n`;
      lines.push(text);
      waitingChars += text.length;
      if (waitingChars >= limits.traceBufferBytes) {
        flush();
      } else if (!flushing) {
        flushing = true;
        setImmediate(flush);
      }
    },
    close() {
      flush();
      if (fd !== undefined) fs.closeSync(fd);
      fd = undefined;
    },
  };
}

function openForAppend(path: string): number {
  try {
    return fs.openSync(path, "a", 0o600);
  } catch (error: unknown) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError("failed", `the trace file cannot be opened: ${reason}`, {
      hint: "name a file in a folder that is there with --trace FILE",
      cause: error,
    });
  }
}
