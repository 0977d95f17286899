import { exitCodes } from "./output.ts";

/**
 * A terminal's ^C comes to every process of its group, and again from a parent that passes signals on: within this time
 * a signal is the echo of the first, beyond it somebody is impatient.
 */
const echoMsMax = 300;

/** Resolves with the first signal that asks the process to stop. A second one ends the process at once. */
export function stopSignal(): Promise<"stop"> {
  const { promise, resolve } = Promise.withResolvers<"stop">();
  let firstMs: number | undefined;
  const onSignal = (): void => {
    const nowMs = performance.now();
    if (firstMs !== undefined && nowMs - firstMs > echoMsMax) process.exit(exitCodes.failed);
    firstMs ??= nowMs;
    resolve("stop");
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  return promise;
}
