import type http from "node:http";
import type { ErrorCode } from "#base/errors.ts";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Address } from "#config/addresses.ts";
import { formatAddress, parseAddress } from "#config/addresses.ts";
import type { EventQuery, StampedEvent } from "#control/event-log.ts";
import type { CommandOutcome, SiteCommand, SiteStatus } from "#site/api.ts";

// To import it would have Node lay out all of its names, among them those of a second HTTP client: a quarter of the time that a
// command takes.
const { request: askOver } = process.getBuiltinModule("node:http");

export type AskOptions = {
  readonly method?: "GET" | "POST";
  readonly body?: unknown;
  /** Gives up after so long; undefined waits as long as the site takes. */
  readonly timeoutMs?: number | undefined;
};

const errorCodes: readonly string[] = [
  "usage",
  "config",
  "unsafe",
  "timeout",
  "unreachable",
  "failed",
];

/**
 * Asks a site's API and returns the JSON of its answer. Rejects with an `AppError`: `unreachable` when nobody answers
 * there, `timeout` when the answer is not in time, else what the site's problem details say (RFC 9457).
 */
export async function ask(api: string, path: string, options: AskOptions = {}): Promise<unknown> {
  const { status, value } = await exchange(api, path, options);
  if (isGood(status)) return value;
  throw problemError(status, value, api);
}

/**
 * Tells a site to do something (POST). A command that the site refused or failed at is an outcome with its plan;
 * everything else that goes wrong rejects as `ask` does.
 */
async function tellSite(api: string, path: string, options: AskOptions): Promise<CommandOutcome> {
  const { status, value } = await exchange(api, path, { ...options, method: "POST" });
  if (isGood(status)) return value as CommandOutcome;
  const { code, message, hint } = problemError(status, value, api);
  const plan = typeof value === "object" && value !== null && "plan" in value ? value.plan : [];
  return { ok: false, code, message, hint, plan: Array.isArray(plan) ? plan.map(String) : [] };
}

async function exchange(
  api: string,
  path: string,
  options: AskOptions,
): Promise<{ readonly status: number; readonly value: unknown }> {
  const response = await open(api, path, options);
  return { status: response.statusCode ?? 0, value: parseJson(await readAll(response, api), api) };
}

function isGood(status: number): boolean {
  return status >= 200 && status < 300;
}

/** What a site says of itself (GET /v1/status), by the `api` address of the cluster file. Rejects as `ask` does. */
export async function readStatus(api: string): Promise<SiteStatus> {
  return (await ask(api, "/v1/status", { timeoutMs: limits.cliAnswerMsMax })) as SiteStatus;
}

/** The events of a site behind a sequence number, oldest first (GET /v1/events). Rejects as `ask` does. */
export async function readEvents(
  api: string,
  query: EventQuery = {},
): Promise<readonly StampedEvent[]> {
  const search = new URLSearchParams();
  if (query.since !== undefined) search.set("since", String(query.since));
  if (query.group !== undefined) search.set("group", query.group);
  return (await ask(api, `/v1/events?${search.toString()}`, {
    timeoutMs: limits.cliAnswerMsMax,
  })) as readonly StampedEvent[];
}

/** Commands a site about one of its groups (POST /v1/groups/GROUP/VERB), for as long as that takes or `timeoutMs`. */
export function commandGroup(
  api: string,
  command: SiteCommand,
  timeoutMs?: number,
): Promise<CommandOutcome> {
  const { kind, group, ...body } = command;
  return tellSite(api, `/v1/groups/${encodeURIComponent(group)}/${kind}`, { body, timeoutMs });
}

/** Opens an answer that comes bit by bit, such as the event stream. The caller reads it or destroys it. */
export async function openStream(
  api: string,
  path: string,
  headers: http.OutgoingHttpHeaders,
): Promise<http.IncomingMessage> {
  const response = await open(api, path, { timeoutMs: limits.cliAnswerMsMax }, headers);
  if (response.statusCode === 200) return response;
  throw problemError(response.statusCode ?? 0, parseJson(await readAll(response, api), api), api);
}

function open(
  api: string,
  path: string,
  options: AskOptions,
  headers: http.OutgoingHttpHeaders = {},
): Promise<http.IncomingMessage> {
  const address = addressOf(api);
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const request = askOver(
    {
      ...target(address),
      path,
      method: options.method ?? "GET",
      agent: false,
      headers: {
        ...headers,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
    },
    (response) => {
      clearTimeout(timer);
      resolve(response);
    },
  );
  const giveUp = (): void => {
    request.destroy();
    const wait = `${(options.timeoutMs ?? 0) / 1000} s`;
    reject(new AppError("timeout", `${formatAddress(address)} did not answer within ${wait}`));
  };
  const timer = options.timeoutMs === undefined ? undefined : setTimeout(giveUp, options.timeoutMs);
  request.on("error", (error) => {
    clearTimeout(timer);
    const message = `${formatAddress(address)} does not answer: ${error.message}`;
    reject(new AppError("unreachable", message, { cause: error }));
  });
  request.end(body);
  return promise;
}

function target(address: Address): http.RequestOptions {
  if (address.kind === "unix") return { socketPath: address.path };
  return { host: address.host, port: address.port };
}

async function readAll(response: http.IncomingMessage, api: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limits.apiAnswerBytesMax)
      throw new AppError("failed", `${api} answers without end`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string, api: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause: unknown) {
    throw new AppError("failed", `${api} answered something other than JSON`, {
      hint: "is it a site's api address?",
      cause,
    });
  }
}

function problemError(status: number, value: unknown, api: string): AppError {
  const fields =
    typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const { code, detail, hint } = fields;
  const known = typeof code === "string" && errorCodes.includes(code);
  const message =
    typeof detail === "string" ? detail : `${api} answered with HTTP status ${status}`;
  return new AppError(
    known ? (code as ErrorCode) : "failed",
    message,
    typeof hint === "string" ? { hint } : {},
  );
}

function addressOf(api: string): Address {
  const parsed = parseAddress(api);
  if (parsed.ok) return parsed.address;
  throw new AppError("config", parsed.reason, { hint: parsed.hint });
}
