import { spawn } from "node:child_process";
import { limits } from "#base/limits.ts";
import type { Config } from "#config/types.ts";
import type { EventRecord, Events } from "#ports/events.ts";

export type HooksOptions = {
  /** As it is now: a reload brings other hooks. */
  readonly config: () => Config;
  readonly site: string;
  /** Takes every event first; hooks only listen in. */
  readonly events: Events;
  readonly onTrouble: (message: string) => void;
};

/**
 * Runs a group's `hooks` when this site changes its role: `onPromote` once it is the primary of a new generation,
 * `onDemote` once it is no longer. The program gets the event as JSON on standard input and `limits.hookMsMax` to end.
 * A hook that fails is told as an event; the role has changed all the same, since it is on record.
 */
export function withHooks(options: HooksOptions): Events {
  return {
    emit(event) {
      options.events.emit(event);
      const program = programOf(options.config(), event);
      if (program !== undefined) runHook(options, program, event);
    },
  };
}

function programOf(config: Config, event: EventRecord): string | undefined {
  if (event.kind !== "role") return undefined;
  const hooks = config.groups.get(event.group)?.hooks;
  if (event.to === "primary") return hooks?.onPromote;
  return event.to === "demoted" ? hooks?.onDemote : undefined;
}

function runHook(options: HooksOptions, program: string, event: EventRecord): void {
  const trouble = (why: string): void => {
    options.onTrouble(`hook ${program}: ${why}`);
    options.events.emit({ kind: "hook", group: event.group, why: `${program}: ${why}` });
  };
  const child = spawn(program, [], {
    stdio: ["pipe", "ignore", "inherit"],
    timeout: limits.hookMsMax,
    killSignal: "SIGKILL",
  });
  child.on("error", (error) => trouble(error.message));
  child.on("exit", (code, signal) => {
    if (signal !== null) trouble(`ended by ${signal} (it has ${limits.hookMsMax} ms)`);
    else if (code !== 0) trouble(`ended with exit code ${code}`);
  });
  // A hook that does not read its input is none of our concern.
  child.stdin.on("error", () => undefined);
  child.stdin.end(`${JSON.stringify({ ...event, site: options.site })}\n`);
}
