import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { AppError } from "#base/errors.ts";
import type { Door, LinkAnswer, LinkQuestion } from "../test/support/link-process.ts";

const program = join(import.meta.dirname, "../test/support/link-process.ts");

/** How far and how wide a link is. */
export type LinkShape = {
  /** As it stands in a row's id, such as `40 MB/s, 50 ms`. */
  readonly name: string;
  /** One way; the round trip takes twice that. */
  readonly delayMs: number;
  /** In each direction; undefined: no ceiling of its own. */
  readonly bytesPerSecond: number | undefined;
};

/** A link that is there and takes nothing: what remains is the cost of the way through a process. */
export const shortLink: LinkShape = { name: "0 ms", delayMs: 0, bytesPerSecond: undefined };

/** A link between two sites, kept by a process of its own whose CPU time and memory count for nobody. */
export type Link = {
  /** Holds for everything that is sent from now on. */
  shape(shape: LinkShape): Promise<void>;
  /** Bytes that have arrived at the copy's end since the start: what the sites said to each other, with all headers. */
  forthBytes(): Promise<number>;
  stop(): Promise<void>;
};

/** What stands behind the link's two doors, as `host:port`. */
export type LinkEnds = { readonly east: string; readonly west: string };

/** `reach` says where to dial instead: at the east end for what is in the west, and the other way round. */
export type OpenLink = { readonly link: Link; readonly reach: LinkEnds };

export async function startLink(
  ends: LinkEnds,
  shape: LinkShape,
  signal: AbortSignal,
): Promise<OpenLink> {
  const child = fork(program, { signal, killSignal: "SIGKILL" });
  child.on("error", () => undefined);
  const doors: readonly Door[] = [
    { target: ends.west, isBackward: false },
    { target: ends.east, isBackward: true },
  ];
  const opened = await ask(child, { kind: "open", doors });
  const [west = "", east = ""] = opened.addresses;
  const link: Link = {
    async shape({ delayMs, bytesPerSecond }) {
      await ask(child, { kind: "shape", delayMs, bytesPerSecond: bytesPerSecond ?? null });
    },
    forthBytes: async () => (await ask(child, { kind: "count" })).forthBytes,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
  await link.shape(shape);
  return { link, reach: { east, west } };
}

/** One question at a time: answers have no names. */
async function ask(child: ChildProcess, question: LinkQuestion): Promise<LinkAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<LinkAnswer>();
  const onExit = (): void => reject(new AppError("failed", "the link's process has ended"));
  child.once("message", (answer) => resolve(answer as LinkAnswer));
  child.once("exit", onExit);
  child.send(question);
  return promise.finally(() => child.off("exit", onExit));
}
