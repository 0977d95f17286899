import { MessageChannel, Worker } from "node:worker_threads";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Address } from "#config/addresses.ts";
import type { Engine } from "./bridge.ts";
import { serveEngine } from "./bridge.ts";
import type { StampedEvent } from "./event-log.ts";
import type { WorkerOptions, WorkerReport } from "./worker.ts";

export type Api = {
  /** Hands an event to those who follow the stream. */
  publish(event: StampedEvent): void;
  /** Ends all requests and the thread. */
  stop(): Promise<void>;
};

export type ApiOptions = {
  readonly address: Address;
  readonly engine: Engine;
  /** Told when the thread died and was started again. Hosts notice nothing of it. */
  readonly onTrouble: (message: string) => void;
};

/**
 * Starts the API in a thread of its own. Rejects with an `AppError` when the address cannot be listened on. A thread
 * that dies later is started again, since hosts and copies must not depend on it.
 */
export async function startApi(options: ApiOptions): Promise<Api> {
  let running = await startWorker(options);
  let stopping = false;
  let restart: NodeJS.Timeout | undefined;

  const watch = (): void => {
    running.worker.once("exit", () => {
      if (!stopping) later("it ended");
    });
  };
  const later = (why: string): void => {
    options.onTrouble(`the API's thread stopped and is started again: ${running.reason() ?? why}`);
    restart = setTimeout(() => void again(), limits.apiRestartMs);
  };
  const again = async (): Promise<void> => {
    try {
      running = await startWorker(options);
      if (stopping) running.worker.postMessage("stop");
      else watch();
    } catch (error: unknown) {
      if (!stopping) later(error instanceof Error ? error.message : String(error));
    }
  };
  watch();

  return {
    publish: (event) => running.publish(event),
    async stop() {
      stopping = true;
      clearTimeout(restart);
      if (running.worker.threadId === -1) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      running.worker.once("exit", () => resolve());
      running.worker.postMessage("stop");
      await promise;
    },
  };
}

type Running = {
  readonly worker: Worker;
  readonly publish: (event: StampedEvent) => void;
  /** Why the thread died, if it said so. */
  readonly reason: () => string | undefined;
};

async function startWorker({ address, engine }: ApiOptions): Promise<Running> {
  const { port1, port2 } = new MessageChannel();
  const { publish } = serveEngine(port1, engine);
  const workerData: WorkerOptions = { address, enginePort: port2 };
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    workerData,
    transferList: [port2],
    resourceLimits: { maxOldGenerationSizeMb: limits.apiHeapMiBMax },
  });
  let reason: string | undefined;
  worker.on("error", (error) => {
    reason = error instanceof Error ? error.message : String(error);
  });
  const report = await firstReport(worker, () => reason);
  if (report.kind === "listening") return { worker, publish, reason: () => reason };
  await worker.terminate();
  throw new AppError("failed", `the API cannot start: ${report.message}`, {
    hint: "stop what holds the address, or give the site another `api` in the cluster file",
  });
}

function firstReport(worker: Worker, reason: () => string | undefined): Promise<WorkerReport> {
  const { promise, resolve } = Promise.withResolvers<WorkerReport>();
  worker.once("message", (report: WorkerReport) => resolve(report));
  worker.once("exit", () => resolve({ kind: "failed", message: reason() ?? "its thread ended" }));
  return promise;
}
