import fs from "node:fs";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import fastify from "fastify";
import { must } from "#base/assert.ts";
import { limits } from "#base/limits.ts";
import type { Address } from "#config/addresses.ts";
import { bind } from "#io/bind.ts";
import { connectEngine } from "./bridge.ts";
import { createEventStream } from "./event-stream.ts";
import { refuseRequest } from "./guard.ts";
import { createMetrics } from "./metrics.ts";
import { problem, problemOfError } from "./problem.ts";
import { addRoutes, NotFound, sendProblem } from "./routes.ts";

/** What `startApi` gives the thread. */
export type WorkerOptions = {
  readonly address: Address;
  readonly enginePort: MessagePort;
};

/** What the thread tells `startApi`, once. */
export type WorkerReport =
  | { readonly kind: "listening" }
  | { readonly kind: "failed"; readonly message: string };

// The API's thread: an HTTP server on loopback or a Unix socket in front of the engine that runs in the main thread.

const { address, enginePort } = workerData as WorkerOptions;
const parent = must(parentPort, "the API runs in a worker thread only");
const stream = createEventStream();
const engine = connectEngine(enginePort, (event) => stream.publish(event));
const app = fastify({ bodyLimit: limits.apiBodyBytesMax, forceCloseConnections: true });

// Only JSON is taken: Fastify's text/plain would let any web page post to us without being asked first.
app.removeContentTypeParser("text/plain");
app.addHook("onRequest", async (request, reply) => {
  reply.header("x-content-type-options", "nosniff").header("cache-control", "no-store");
  const refusal = refuseRequest(request.method, request.headers);
  return refusal === undefined ? undefined : sendProblem(reply, refusal);
});
app.setErrorHandler((error, _request, reply) =>
  error instanceof NotFound
    ? sendProblem(reply, problem(404, "usage", error.message, error.hint))
    : sendProblem(reply, problemOfError(error)),
);
app.setNotFoundHandler((request, reply) =>
  sendProblem(reply, problem(404, "usage", `there is no ${request.method} ${request.url}`)),
);
addRoutes(app, { engine, stream, metrics: createMetrics() });

parent.on("message", () => void stop());
parent.postMessage(await begin());

async function begin(): Promise<WorkerReport> {
  try {
    await app.ready();
    await bind(app.server, address);
    // Whoever can write to the socket can command the site.
    if (address.kind === "unix") fs.chmodSync(address.path, 0o600);
    return { kind: "listening" };
  } catch (error: unknown) {
    return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}

async function stop(): Promise<void> {
  stream.close();
  app.server.close();
  app.server.closeAllConnections();
  await app.close();
  enginePort.close();
  parent.close();
}
