import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { AppError } from "#base/errors.ts";
import type { GroupStatus } from "#site/api.ts";
import type { RemoteEngine } from "./bridge.ts";
import type { Verb } from "./commands.ts";
import { parseCommand, verbs } from "./commands.ts";
import type { EventQuery } from "./event-log.ts";
import type { EventStream } from "./event-stream.ts";
import type { Metrics } from "./metrics.ts";
import { missedObjectives } from "./objectives.ts";
import type { Problem } from "./problem.ts";
import { problem, problemOfOutcome, problemType } from "./problem.ts";

export type RouteWorld = {
  readonly engine: RemoteEngine;
  readonly stream: EventStream;
  readonly metrics: Metrics;
};

type GroupParams = { readonly group: string };

/** Everything that the API answers (INTERFACE; /v1 keeps its names). */
export function addRoutes(app: FastifyInstance, world: RouteWorld): void {
  const { engine, stream, metrics } = world;

  app.get("/v1/status", () => engine.status());

  app.get<{ Params: GroupParams }>("/v1/groups/:group", async (request) =>
    findGroup(engine, request.params.group),
  );

  for (const verb of verbs) {
    app.post<{ Params: GroupParams }>(`/v1/groups/:group/${verb}`, (request, reply) =>
      obey(engine, verb, request, reply),
    );
  }

  app.get<{ Querystring: Record<string, unknown> }>("/v1/events", (request) =>
    engine.events(parseEventQuery(request.query)),
  );

  app.get<{ Querystring: Record<string, unknown> }>("/v1/events/stream", async (request, reply) => {
    const query = parseEventQuery(request.query, request.headers["last-event-id"]);
    if (!stream.hasRoom()) {
      return sendProblem(
        reply,
        problem(503, "unreachable", "too many read the event stream already"),
      );
    }
    reply.hijack();
    await stream.add(reply.raw, query.group, engine.events(query));
    return reply;
  });

  app.get("/metrics", async (_, reply) => {
    const [status, runtime] = await Promise.all([engine.status(), engine.runtime()]);
    const text = await metrics.render({ status, runtime, nowSeconds: Date.now() / 1000 });
    return reply.type(metrics.contentType).send(text);
  });

  app.get("/healthz", async (_, reply) => {
    const [status, objectives] = await Promise.all([engine.status(), engine.objectives()]);
    const complaints = missedObjectives(status, objectives);
    const healthy = complaints.length === 0;
    return reply.code(healthy ? 200 : 503).send({ status: healthy ? "ok" : "worse", complaints });
  });
}

/** Sends a problem with its own status and type. */
export function sendProblem(reply: FastifyReply, what: Problem): FastifyReply {
  return reply.code(what.status).type(problemType).send(what);
}

async function obey(
  engine: RemoteEngine,
  verb: Verb,
  request: FastifyRequest<{ Params: GroupParams }>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { group } = request.params;
  const command = parseCommand(verb, group, request.body);
  await findGroup(engine, group);
  const outcome = await engine.command(command);
  return outcome.ok ? reply.send(outcome) : sendProblem(reply, problemOfOutcome(outcome));
}

async function findGroup(engine: RemoteEngine, name: string): Promise<GroupStatus> {
  const status = await engine.status();
  const group = status.groups.find((candidate) => candidate.name === name);
  if (group !== undefined) return group;
  const known = status.groups.map((candidate) => candidate.name).join(", ");
  throw new NotFound(
    `site ${status.site} has no group ${JSON.stringify(name)}`,
    `groups here: ${known || "none"}`,
  );
}

/** A thing of a request's path that is not there: HTTP 404, and wrong usage for the CLI. */
export class NotFound extends Error {
  override readonly name = "NotFound";
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

function parseEventQuery(
  query: Record<string, unknown>,
  lastEventId?: string | string[],
): EventQuery {
  const { group, since } = query;
  // A reader that lost its connection says how far it came; that is newer than what its address says.
  const from = typeof lastEventId === "string" ? lastEventId : since;
  if (group !== undefined && typeof group !== "string")
    throw new AppError("usage", "group is given twice");
  const seq = from === undefined ? undefined : Number(from);
  if (seq !== undefined && (!Number.isSafeInteger(seq) || seq < 0)) {
    throw new AppError("usage", `since: ${JSON.stringify(from)} is no sequence number`);
  }
  return {
    ...(seq === undefined ? {} : { since: seq }),
    ...(group === undefined ? {} : { group }),
  };
}
