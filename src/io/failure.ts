import { getSystemErrorMap } from "node:util";
import type { IoFailure } from "#base/errors.ts";

/**
 * Turns what Node threw or called back into a value. `what` says what was being done to which thing, as "writing
 * /data/x". Anything that does not come from the operating system is a mistake of ours and goes on being thrown.
 */
export function failureOf(error: unknown, what: string): IoFailure {
  if (!(error instanceof Error) || !("errno" in error) || typeof error.errno !== "number")
    throw error;
  return failureOfErrno(Math.abs(error.errno), what);
}

/** The same for the number that a native call left, a positive errno. */
export function failureOfErrno(errno: number, what: string): IoFailure {
  const [code, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, "unknown error"];
  return { code, message: `${what}: ${text} (${code})` };
}
