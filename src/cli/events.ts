import { setTimeout as sleep } from "node:timers/promises";
import { createInterface } from "node:readline";
import type { StampedEvent } from "#control/event-log.ts";
import { openStream, readEvents } from "./client.ts";
import type { GlobalOptions } from "./context.ts";
import { aimOf } from "./context.ts";
import { checkGroupName, findGroup, findSite } from "./find-site.ts";
import { exitCodes, say, sayError } from "./output.ts";

export type EventsOptions = GlobalOptions & { readonly follow?: boolean };

const redialMs = 1_000;

/**
 * `antipode events`: what happened at a site, of a group at its primary; with `--follow` also what happens, until a signal ends
 * it.
 */
export async function events(group: string | undefined, options: EventsOptions): Promise<number> {
  const aim = aimOf(options);
  if (group !== undefined) checkGroupName(aim.config, group);
  const isAnywhere = aim.site === undefined && group !== undefined;
  const { api } = await (isAnywhere ? findGroup(aim, group) : findSite(aim));
  if (options.follow === true) return follow(api, group, options);
  const past = await readEvents(api, group === undefined ? {} : { group });
  for (const event of past) show(event, options);
  return exitCodes.done;
}

/** Reads the stream, and again from where it ended when the site went away: a follower outlives a restart. */
async function follow(
  api: string,
  group: string | undefined,
  options: GlobalOptions,
): Promise<number> {
  const path = `/v1/events/stream${group === undefined ? "" : `?group=${encodeURIComponent(group)}`}`;
  let lastSeq = 0;
  for (;;) {
    try {
      const headers = { accept: "text/event-stream", "last-event-id": String(lastSeq) };
      const stream = await openStream(api, path, headers);
      for await (const line of createInterface({ input: stream })) {
        if (!line.startsWith("data: ")) continue;
        const event = JSON.parse(line.slice("data: ".length)) as StampedEvent;
        lastSeq = event.seq;
        show(event, options);
      }
    } catch (error: unknown) {
      sayError(
        `the stream broke: ${error instanceof Error ? error.message : String(error)}`,
        undefined,
      );
    }
    await sleep(redialMs);
  }
}

function show(event: StampedEvent, options: GlobalOptions): void {
  if (options.json === true) say(JSON.stringify(event));
  else say(describeEvent(event));
}

/** An event as a line for people: time, group, what it is about, the change, and why. */
export function describeEvent(event: StampedEvent): string {
  const subject = [event.group, event.copy, event.volume]
    .filter((word) => word !== undefined)
    .join(" ");
  const change =
    event.from === undefined && event.to === undefined
      ? ""
      : `${event.from === undefined ? "" : ` ${event.from}`} -> ${event.to ?? "?"}`;
  const reason = event.why === "" ? "" : `: ${event.why}`;
  return `${event.time}  ${event.site}  ${subject}  ${event.kind}${change}${reason}`;
}
