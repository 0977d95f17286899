import { setImmediate } from "node:timers/promises";

/** Turns of the loop after which a condition is taken to be out of reach: minutes, where turns are idle. */
const TURNS_MAX = 5_000_000;

/** Lets the real loop turn until the condition holds; throws when it never does. */
export async function settle(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    if (condition()) return;
    await setImmediate();
  }
  throw new Error(`what was waited for did not happen: ${condition.toString()}`);
}
