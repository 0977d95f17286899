/** What kind of trouble an error is; the CLI maps it to an exit code, the API to an HTTP status. */
export type ErrorCode =
  | "usage" //       the person asked for something that does not exist or does not parse
  | "config" //      the cluster file is wrong
  | "unsafe" //      refused, because data would be lost; the message says what
  | "timeout" //     not in time
  | "unreachable" // nobody answered
  | "failed"; //     anything else that went wrong

/** A mistake or trouble that a person is told about: what happened, to what, and what to do. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/**
 * A failed operation on a file, a device or a connection, as a value: expected trouble, never thrown.
 * `code` is the operating system's name for it.
 */
export type IoFailure = {
  readonly code: string;
  readonly message: string;
};

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: string };

/** The failed result: which rule was broken, in words for whoever broke it. */
export function wrong(error: string): Extract<Result<never>, { ok: false }> {
  return { ok: false, error };
}
