import { setTimeout as delay } from "node:timers/promises";

/** Far beyond what anything here takes: a machine that has twenty other things to do is slow, and not wrong. */
const msMax = 60_000;

/** Waits for a condition, looking every few milliseconds. Throws when it does not come true. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + msMax;
  while (!(await isTrue())) {
    if (performance.now() > endMs) throw new Error(`not within ${msMax} ms: ${what}`);
    await delay(5);
  }
}
