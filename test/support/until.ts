import { setTimeout as delay } from "node:timers/promises";

const msMax = 10_000;

/** Waits for a condition, looking every few milliseconds. Throws when it does not come true. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + msMax;
  while (!(await isTrue())) {
    if (performance.now() > endMs) throw new Error(`not within ${msMax} ms: ${what}`);
    await delay(5);
  }
}
