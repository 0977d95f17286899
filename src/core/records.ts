import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary, RecordAction } from "./primary-state.ts";

/** Asks for the record, with all dirty maps, to be made durable as they are now; `action` follows. Gives the ticket. */
export function askRecord(primary: Primary, action: RecordAction, out: PrimaryEffect[]): number {
  primary.ticket += 1;
  const phases = new Map(primary.members.map(({ index, record }) => [index, record.phase]));
  primary.recordActions.push({ ticket: primary.ticket, action, phases });
  out.push({ kind: "record", ticket: primary.ticket });
  return primary.ticket;
}
