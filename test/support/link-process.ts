// A link between two sites as a process of its own, so that what it costs is nobody else's. Whoever forks it tells it its
// doors, then how far and how wide it is; every message is answered, in order. It ends with the channel to its parent.

import { createLink, TcpProxy } from "./proxy.ts";

/** Where one side dials the other. A backward door leads over the same link from its other end. */
export type Door = { readonly target: string; readonly isBackward: boolean };

export type LinkQuestion =
  | { readonly kind: "open"; readonly doors: readonly Door[] }
  | {
      readonly kind: "shape";
      /** One way. */
      readonly delayMs: number;
      /** Each direction; null: no ceiling. */
      readonly bytesPerSecond: number | null;
    }
  | { readonly kind: "count" };

export type LinkAnswer = {
  /** Where the doors are, in their order. */
  readonly addresses: readonly string[];
  /** Bytes that have arrived at either end since the start. */
  readonly forthBytes: number;
  readonly backBytes: number;
};

const link = createLink();
const addresses: string[] = [];

process.on("message", (question: LinkQuestion) => void answer(question));
process.on("disconnect", () => process.exit(0));

async function answer(question: LinkQuestion): Promise<void> {
  if (question.kind === "open") {
    for (const { target, isBackward } of question.doors) {
      const seen = isBackward ? { forth: link.back, back: link.forth } : link;
      const proxy = new TcpProxy(target, seen);
      await proxy.listen();
      addresses.push(proxy.address);
    }
  }
  if (question.kind === "shape") {
    for (const way of [link.forth, link.back]) {
      way.delayMs = question.delayMs;
      way.bytesPerSecond = question.bytesPerSecond ?? undefined;
    }
  }
  const forthBytes = link.forth.passedBytes();
  const backBytes = link.back.passedBytes();
  process.send?.({ addresses, forthBytes, backBytes } satisfies LinkAnswer);
}
