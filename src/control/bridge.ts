import type { MessagePort } from "node:worker_threads";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { CommandOutcome, SiteCommand, SiteStatus } from "#site/api.ts";
import type { EventQuery, StampedEvent } from "./event-log.ts";
import type { Objectives } from "./objectives.ts";

// The API runs in a thread of its own so that a slow reader or a large answer never holds up a host's write (DESIGN
// §3). This file is all that the two threads say to each other: questions with answers, and events one way.

/** What the engine's thread can say about itself, for /metrics. */
export type EngineRuntime = {
  /** Delay of the engine's event loop since the last question, in seconds. */
  readonly loopDelay: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Share of the time that the engine's loop was busy since the last question, 0 to 1. */
  readonly loopUtilization: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly cpuSeconds: number;
};

/** What the engine's side answers with. */
export type Engine = {
  status(): SiteStatus;
  command(command: SiteCommand, done: (outcome: CommandOutcome) => void): void;
  events(query: EventQuery): readonly StampedEvent[];
  runtime(): EngineRuntime;
  /** Of the configuration as it is now. */
  objectives(): Objectives;
};

/** The engine as the API's thread sees it. Every promise rejects with an `AppError`. */
export type RemoteEngine = {
  status(): Promise<SiteStatus>;
  /** Takes as long as the command does. */
  command(command: SiteCommand): Promise<CommandOutcome>;
  events(query: EventQuery): Promise<readonly StampedEvent[]>;
  runtime(): Promise<EngineRuntime>;
  objectives(): Promise<Objectives>;
};

type Question =
  | { readonly kind: "status" }
  | { readonly kind: "command"; readonly command: SiteCommand }
  | { readonly kind: "events"; readonly query: EventQuery }
  | { readonly kind: "runtime" }
  | { readonly kind: "objectives" };

type ToEngine = { readonly id: number; readonly question: Question };

type ToApi =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "trouble"; readonly id: number; readonly message: string }
  | { readonly kind: "event"; readonly event: StampedEvent };

/** Answers the API thread's questions on `port`, and tells it every event that is published. */
export function serveEngine(
  port: MessagePort,
  engine: Engine,
): { publish(event: StampedEvent): void } {
  const send = (message: ToApi): void => port.postMessage(message);
  port.on("message", ({ id, question }: ToEngine) => {
    try {
      ask(engine, question, (value) => send({ kind: "answer", id, value }));
    } catch (error: unknown) {
      // A broken invariant must end the process, but not before the one who asked was told.
      send({
        kind: "trouble",
        id,
        message: error instanceof Error ? error.message : String(error),
      });
      throw error;
    }
  });
  return { publish: (event) => send({ kind: "event", event }) };
}

function ask(engine: Engine, question: Question, answer: (value: unknown) => void): void {
  switch (question.kind) {
    case "status":
      return answer(engine.status());
    case "command":
      return engine.command(question.command, answer);
    case "events":
      return answer(engine.events(question.query));
    case "runtime":
      return answer(engine.runtime());
    case "objectives":
      return answer(engine.objectives());
  }
}

type Pending = {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: AppError) => void;
  readonly timer: NodeJS.Timeout | undefined;
};

/** The API's end of `port`. `onEvent` gets every event in order. */
export function connectEngine(
  port: MessagePort,
  onEvent: (event: StampedEvent) => void,
): RemoteEngine {
  const pending = new Map<number, Pending>();
  let nextId = 1;

  port.on("message", (message: ToApi) => {
    if (message.kind === "event") return onEvent(message.event);
    const waiting = pending.get(message.id);
    // An answer that comes after its question ran out of time has nobody to go to.
    if (waiting === undefined) return;
    pending.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.kind === "answer") waiting.resolve(message.value);
    else waiting.reject(new AppError("failed", `the engine failed: ${message.message}`));
  });

  const call = (question: Question, timeoutMs: number | undefined): Promise<unknown> => {
    if (pending.size >= limits.apiCallsPendingMax) {
      return Promise.reject(new AppError("unreachable", "too many questions wait for the engine"));
    }
    const id = nextId;
    nextId += 1;
    return new Promise((resolve, reject) => {
      const expire = (): void => {
        pending.delete(id);
        reject(
          new AppError(
            "unreachable",
            "the engine does not answer: its thread is stuck or overloaded",
          ),
        );
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(expire, timeoutMs);
      pending.set(id, { resolve, reject, timer });
      port.postMessage({ id, question } satisfies ToEngine);
    });
  };

  // Both ends are this file, so the answer to a question has the type that `ask` gave it.
  const soon = limits.apiAnswerMsMax;
  return {
    status: () => call({ kind: "status" }, soon) as Promise<SiteStatus>,
    command: (command) => call({ kind: "command", command }, undefined) as Promise<CommandOutcome>,
    events: (query) => call({ kind: "events", query }, soon) as Promise<readonly StampedEvent[]>,
    runtime: () => call({ kind: "runtime" }, soon) as Promise<EngineRuntime>,
    objectives: () => call({ kind: "objectives" }, soon) as Promise<Objectives>,
  };
}
