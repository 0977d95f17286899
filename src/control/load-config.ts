import fs from "node:fs";
import { dirname, resolve } from "node:path";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import { formatProblem } from "#config/locate.ts";
import type { ConfigProblem } from "#config/locate.ts";
import type { ConfigOutcome } from "#config/parse.ts";
import { parseConfig } from "#config/parse.ts";
import type { Config } from "#config/types.ts";
import type { FileRead } from "#site/reload.ts";

const secretBytes = 32;

/**
 * Reads a cluster file and lists its problems, for `antipode check`. Throws an `AppError` only if it cannot be read.
 */
export function inspectConfig(path: string): ConfigOutcome {
  const absolute = resolve(path);
  const folder = dirname(absolute);
  return parseConfig({
    path,
    text: readText(path),
    resolvePath: (inner) => resolve(folder, inner),
  });
}

/**
 * Reads and checks a cluster file (INTERFACE, "One file"). The secret stays unread; `withSecret` reads it.
 *
 * Throws an `AppError` of code `config` that names the first problem and how many there are.
 */
export function loadConfig(path: string): Config {
  const outcome = inspectConfig(path);
  if (outcome.ok) return outcome.config;
  throw problemsOf(path, outcome.problems);
}

function problemsOf(path: string, problems: readonly ConfigProblem[]): AppError {
  const [first, ...more] = problems;
  if (first === undefined) return new AppError("config", `${path} was refused`);
  const rest = more.length === 0 ? "" : ` (and ${more.length} more, see antipode check)`;
  const hint = first.hint === undefined ? {} : { hint: first.hint };
  return new AppError("config", formatProblem(path, first) + rest, hint);
}

/** Reads the file of a running configuration again, for a reload. The secret stays the one that the site has. */
export function readAgain(running: Config): FileRead {
  try {
    const outcome = inspectConfig(running.path);
    if (!outcome.ok) throw problemsOf(running.path, outcome.problems);
    const config = { ...outcome.config, secret: running.secret };
    return { ok: true, config, lineOf: outcome.lineOf };
  } catch (error: unknown) {
    if (!(error instanceof AppError)) throw error;
    return { ok: false, message: error.message, hint: error.hint };
  }
}

export type SecretOutcome = { readonly config: Config; readonly warnings: readonly string[] };

/**
 * The configuration with the secret that its file names: 256 bit, as 32 raw bytes or 64 hex digits.
 *
 * Throws an `AppError` of code `config` when the file cannot be read or holds something else. A file that others may
 * read is a warning: it may lie on a machine where nobody else is.
 */
export function withSecret(config: Config): SecretOutcome {
  const path = config.secretPath;
  if (path === undefined) return { config, warnings: [] };
  const hint = `make one with: (umask 077; head -c 32 /dev/urandom > ${path}) and copy it to every site`;
  let bytes: Buffer;
  let mode: number;
  try {
    const status = fs.statSync(path);
    mode = status.mode;
    // Anything much larger is no secret; the size is judged before the file is read.
    bytes = status.size > limits.secretFileBytesMax ? Buffer.alloc(0) : fs.readFileSync(path);
  } catch (error: unknown) {
    throw new AppError("config", `the secret ${path} cannot be read: ${message(error)}`, {
      hint,
      cause: error,
    });
  }
  const secret = decodeSecret(bytes);
  if (secret === undefined) {
    throw new AppError("config", `the secret ${path} is neither 32 bytes nor 64 hex digits`, {
      hint,
    });
  }
  const open = (mode & 0o077) !== 0;
  const warning = `the secret ${path} can be read by others than its owner: chmod 600 it`;
  return { config: { ...config, secret }, warnings: open ? [warning] : [] };
}

/**
 * Files that the cluster file names and this machine cannot use. `antipode check` may run on another machine than a site, so
 * that they are no problems of the file itself.
 */
export function describeAbsent(config: Config): readonly string[] {
  const warnings: string[] = [];
  try {
    warnings.push(...withSecret(config).warnings);
  } catch (error: unknown) {
    if (!(error instanceof AppError)) throw error;
    warnings.push(`${error.message}; a site here would not start`);
  }
  for (const { name, hooks } of config.groups.values()) {
    for (const [when, path] of Object.entries(hooks)) {
      const why = whyNoProgram(path);
      if (why !== undefined)
        warnings.push(`hooks.${when} of group ${name}: ${path} cannot be run here: ${why}`);
    }
  }
  return warnings;
}

function whyNoProgram(path: string): string | undefined {
  try {
    fs.accessSync(path, fs.constants.X_OK);
    return undefined;
  } catch (error: unknown) {
    return message(error);
  }
}

function decodeSecret(bytes: Buffer): Uint8Array | undefined {
  if (bytes.length === secretBytes) return new Uint8Array(bytes);
  const text = bytes.toString("latin1").trim();
  return /^[0-9A-Fa-f]{64}$/.test(text) ? new Uint8Array(Buffer.from(text, "hex")) : undefined;
}

function readText(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error: unknown) {
    throw new AppError("config", `the cluster file ${path} cannot be read: ${message(error)}`, {
      hint: "name it with --config FILE or ANTIPODE_CONFIG; the default is ./antipode.yaml",
      cause: error,
    });
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
