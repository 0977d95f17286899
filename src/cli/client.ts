import http from "node:http";
import type { ErrorCode } from "#base/errors.ts";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Address } from "#config/addresses.ts";
import { formatAddress, parseAddress } from "#config/addresses.ts";

export type AskOptions = {
  readonly method?: "GET" | "POST";
  readonly body?: unknown;
  /** Gives up after so long; undefined waits as long as the site takes. */
  readonly timeoutMs?: number | undefined;
};

const errorCodes: readonly string[] = ["usage", "config", "unsafe", "timeout", "unreachable", "failed"];

/** Without an answer within this, a site is taken for absent. Commands wait longer, since they do something. */
export const answerMsMax = 5_000;

/**
 * Asks a site's API and returns the JSON of its answer. Rejects with an `AppError`: `unreachable` when nobody answers there,
 * `timeout` when the answer is not in time, else what the site's problem details say (RFC 9457).
 */
export async function ask(api: string, path: string, options: AskOptions = {}): Promise<unknown> {
  const response = await open(api, path, options);
  const text = await readAll(response, api);
  const status = response.statusCode ?? 0;
  const value = parseJson(text, api);
  if (status >= 200 && status < 300) return value;
  throw problemError(status, value, api);
}

/** Opens an answer that comes bit by bit, such as the event stream. The caller reads it or destroys it. */
export async function openStream(api: string, path: string, headers: http.OutgoingHttpHeaders): Promise<http.IncomingMessage> {
  const response = await open(api, path, { timeoutMs: answerMsMax }, headers);
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
  const request = http.request(
    {
      ...target(address),
      path,
      method: options.method ?? "GET",
      agent: false,
      headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
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
  if (address.kind === "unix") return { socketPath: address.path, headers: { host: "localhost" } };
  return { host: address.host, port: address.port };
}

async function readAll(response: http.IncomingMessage, api: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limits.apiAnswerBytesMax) throw new AppError("failed", `${api} answers without end`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string, api: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("failed", `${api} answered something other than JSON`, {
      hint: "is it a site's api address?",
      cause,
    });
  }
}

function problemError(status: number, value: unknown, api: string): AppError {
  const fields = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const { code, detail, hint } = fields;
  const known = typeof code === "string" && errorCodes.includes(code);
  const message = typeof detail === "string" ? detail : `${api} answered with HTTP status ${status}`;
  return new AppError(known ? (code as ErrorCode) : "failed", message, {
    ...(typeof hint === "string" ? { hint } : {}),
  });
}

function addressOf(api: string): Address {
  const parsed = parseAddress(api);
  if (parsed.ok) return parsed.address;
  throw new AppError("config", parsed.reason, { hint: parsed.hint });
}
