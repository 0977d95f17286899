import { parseArgs } from "node:util";
import { AppError } from "#base/errors.ts";
import type { Timing } from "./measure.ts";
import type { Scale } from "./plan.ts";

export type Arguments = {
  readonly timing: Timing;
  readonly pattern: RegExp;
  readonly scale: Scale;
};

const usage =
  "npm run bench -- [--quick] [--rows REGEX] [--runs N] [--seconds N]; bench/README.md says what each row is";

/** What `npm run bench` was told. Throws `AppError` "usage". */
export function readArguments(argv: readonly string[]): Arguments {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        quick: { type: "boolean", default: false },
        rows: { type: "string", default: "" },
        runs: { type: "string" },
        seconds: { type: "string" },
      },
    });
    const { quick, rows, runs, seconds } = values;
    return {
      timing: {
        runs: count("--runs", runs, quick ? 2 : 5),
        seconds: count("--seconds", seconds, quick ? 2 : 10),
      },
      pattern: new RegExp(rows),
      scale: quick ? "quick" : "full",
    };
  } catch (cause: unknown) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new AppError("usage", message, { cause, hint: usage });
  }
}

function count(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new Error(`${option} ${JSON.stringify(text)} is not a whole number from 1 to 9999`);
}
