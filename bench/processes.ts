import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import fs from "node:fs";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import type { ServerAddress } from "./place.ts";

/** A server under measurement. */
export type Server = {
  /** What it is to the reader of the results, such as `primary`. */
  readonly name: string;
  readonly pid: number;
  stop(): Promise<void>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGSTOP: it answers nobody any more, and its machine still does. */
  silence(): void;
  /** Whether it runs, and the end of what it has said: for whoever has to tell why a run failed. */
  report(): string;
};

const startMsMax = 30_000;
const stopMsMax = 20_000;
const pollMs = 20;
const wordsBytesMax = 4096;

export type ServerOptions = {
  readonly name: string;
  /** The program and its arguments. */
  readonly command: readonly [string, ...string[]];
  /** Asked again and again until it holds. `words` are the last that the program has said. */
  readonly isReady: (words: string) => Promise<boolean>;
  /** Kills the program, also later. */
  readonly signal: AbortSignal;
};

/** Starts a program that serves until stopped, and waits until it is ready; rejects with its own words if it ends before. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { name, isReady, signal } = options;
  const [program, ...argv] = options.command;
  const child = spawnQuietly(program, argv, signal);
  const words = lastWords(child.stdout, child.stderr);
  let failure: Error | undefined;
  child.on("error", (error) => (failure = error));
  const deadlineMs = performance.now() + startMsMax;
  while (!(await isReady(words()))) {
    const hasEnded = failure !== undefined || child.exitCode !== null || child.signalCode !== null;
    if (!hasEnded && performance.now() < deadlineMs) {
      await sleep(pollMs);
      continue;
    }
    child.kill("SIGKILL");
    const what = hasEnded ? "did not start" : `was not ready within ${startMsMax} ms`;
    throw new AppError("failed", `${name}: ${program} ${what}: ${failure?.message ?? words()}`);
  }
  if (child.pid === undefined) throw new AppError("failed", `${name}: ${program} has no pid`);
  return {
    name,
    pid: child.pid,
    stop: () => stopChild(child),
    kill: () => killChild(child),
    silence: () => void child.kill("SIGSTOP"),
    report: () => `${name} ${stateOf(child)}, and has said: ${words()}`,
  };
}

/** Runs a program to its end and returns what it printed. Rejects with its own words when it fails. */
export async function runProgram(
  program: string,
  argv: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  const child = spawnQuietly(program, argv, signal);
  const words = lastWords(child.stderr);
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
  const [code] = (await once(child, "close")) as [number | null];
  if (code === 0) return printed;
  throw new AppError("failed", `${program} ended with ${code ?? "a signal"}: ${words()}`);
}

function spawnQuietly(program: string, argv: readonly string[], signal: AbortSignal) {
  return spawn(program, argv, { stdio: ["ignore", "pipe", "pipe"], signal, killSignal: "SIGKILL" });
}

/** True once somebody listens at the address. */
export async function isListening(address: ServerAddress): Promise<boolean> {
  if (address.kind === "unix" && !fs.existsSync(address.path)) return false;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = net.connect(
    address.kind === "unix" ? { path: address.path } : { host: "127.0.0.1", port: address.port },
  );
  socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMsMax);
  child.kill("SIGTERM");
  await once(child, "exit");
  clearTimeout(timer);
}

function stateOf({ exitCode, signalCode }: ChildProcess): string {
  if (signalCode !== null) return `was ended by ${signalCode}`;
  return exitCode === null ? "runs" : `has ended with code ${exitCode}`;
}

async function killChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** The end of what a program has said, for when it fails. Reading also keeps its pipes from filling up. */
function lastWords(...streams: readonly Readable[]): () => string {
  let words = "";
  for (const stream of streams) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-wordsBytesMax);
    });
  }
  return () => words.trim();
}
