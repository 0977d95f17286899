import { generationCounter, successorOf } from "#core/history.ts";
import type { History } from "#core/history.ts";
import type { PrimaryEvent } from "#core/primary-events.ts";

/** What the primary here is told of a site whose history goes beyond ours; with it, who followed our generation. */
export function outrankedBy(site: string, newer: History, ours: History): PrimaryEvent {
  const successor = successorOf(ours, newer);
  return {
    kind: "outranked",
    by: `${site} holds generation ${generationCounter(newer)}`,
    ...(successor === undefined ? {} : { successor: successor.site }),
  };
}
