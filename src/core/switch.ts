import type { HostRequest } from "#ports/host-request.ts";
import { noteAppended, noteFigures } from "./journal.ts";
import type { Journal, JournalFigures } from "./journal.ts";
import { legDone } from "./legs.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";

// What the journal has taken goes on from here: its writes to the images, and, where hosts are answered at the switch
// (SPEC-cycle.md), those whose number has moved on to their hosts.

/** They are in the journal, in the page cache at least: the images may have them. */
export function appended(
  primary: Primary,
  done: JournalFigures & {
    readonly requests: readonly HostRequest[];
    /** The last set whose SEAL the journal has. */
    readonly sealedSet: number;
  },
  out: PrimaryEffect[],
): void {
  const { journal } = primary;
  noteFigures(primary, done);
  if (journal !== undefined) noteAppended(journal, done.requests);
  for (const request of done.requests) out.push({ kind: "image", request });
  if (journal !== undefined) switchThrough(primary, journal, done.sealedSet, out);
}

/** The number has moved on: the writes of these sets wait for it no more. */
function switchThrough(
  primary: Primary,
  { switching }: Journal,
  sealedSet: number,
  out: PrimaryEffect[],
): void {
  while (switching[0] !== undefined && switching[0].set <= sealedSet) {
    const done = switching.shift();
    for (const request of done?.requests ?? []) legDone(primary, request, out);
  }
}

/** Writes that wait for a switch, which will not come. */
export function takeStanding(journal: Journal): readonly HostRequest[] {
  const sealed = journal.switching.splice(0).flatMap(({ requests }) => requests);
  return [...sealed, ...journal.standing.splice(0)];
}
