import type { ErrorCode } from "#base/errors.ts";
import { AppError } from "#base/errors.ts";
import type { CommandOutcome } from "#site/api.ts";

/**
 * An error as the API sends it: RFC 9457 problem details (application/problem+json) with three members of our own.
 * `code` is what the CLI turns into its exit code; `plan` is what a refused command would have done.
 */
export type Problem = {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly plan?: readonly string[];
};

export const problemType = "application/problem+json; charset=utf-8";

const statuses: Readonly<Record<ErrorCode, number>> = {
  usage: 400,
  config: 500,
  unsafe: 409,
  timeout: 504,
  unreachable: 503,
  failed: 500,
};

const titles = new Map([
  [400, "Bad Request"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [409, "Refused as unsafe"],
  [413, "Body Too Large"],
  [415, "Unsupported Media Type"],
  [500, "Failed"],
  [503, "Unavailable"],
  [504, "Not in time"],
]);

/** A problem of the given HTTP status. */
export function problem(status: number, code: ErrorCode, detail: string, hint?: string): Problem {
  return {
    type: "about:blank",
    title: titles.get(status) ?? "Error",
    status,
    detail,
    code,
    ...(hint === undefined ? {} : { hint }),
  };
}

/** A command that the site did not carry out. */
export function problemOfOutcome(outcome: CommandOutcome & { readonly ok: false }): Problem {
  const { code, message, hint, plan } = outcome;
  return { ...problem(statuses[code], code, message, hint), plan };
}

/** Anything thrown while a request was answered. Only what we or Fastify said on purpose is told to the asker. */
export function problemOfError(error: unknown): Problem {
  if (error instanceof AppError) {
    return problem(statuses[error.code], error.code, error.message, error.hint);
  }
  if (error instanceof Error && "statusCode" in error && typeof error.statusCode === "number") {
    const code = error.statusCode < 500 ? "usage" : "failed";
    return problem(error.statusCode, code, error.message);
  }
  const detail = error instanceof Error ? error.message : String(error);
  return problem(500, "failed", `the API failed: ${detail}`);
}
