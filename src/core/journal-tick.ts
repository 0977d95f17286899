import { tickForecast } from "./forecast.ts";
import { sealIdle } from "./journal.ts";
import {
  awaitRoom,
  lackedLsn,
  overflowing,
  releaseJournal,
  tailLsn,
  whyFull,
} from "./journal-room.ts";
import { tickFull } from "./journal-spell.ts";
import { overflowed } from "./overflow.ts";
import { tickPace } from "./pace.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";

/** What the clock does to the journal: idle sets end, hosts get their pace, and what nobody needs goes. */
export function tickJournal(primary: Primary, elapsedMs: number, out: PrimaryEffect[]): void {
  const { journal } = primary;
  sealIdle(primary, out);
  if (journal !== undefined) {
    const lsn = primary.nextLsn - 1;
    const held = { tailLsn: tailLsn(primary), lackedLsn: lackedLsn(primary) };
    const now = { isSlowing: journal.overflow !== "trip", lsn, ...held };
    if (tickPace(journal.pace, now, elapsedMs)) primary.recheckHeld = true;
    const { orderedBytes, keptBytes } = journal.pace;
    const { everyMs: cycleMs } = journal.policy;
    tickForecast(journal.forecast, { orderedBytes, keptBytes, cycleMs }, elapsedMs);
  }
  releaseJournal(primary, out);
  awaitRoom(primary, out);
  const holder = overflowing(primary, out);
  if (holder !== undefined) overflowed(primary, holder, whyFull(journal), out);
  tickFull(primary, elapsedMs, out);
}
