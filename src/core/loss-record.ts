import type { PrimaryEffect } from "./primary-events.ts";
import type { Member, Primary } from "./primary-state.ts";
import { askRecord } from "./records.ts";

/**
 * Asks for the record that we go on without this member. Whoever waited for an earlier record of the loss waits for this one
 * too.
 */
export function awaitLossRecord(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const ticket = primary.ticket + 1;
  member.fracturing = {
    ticket,
    requests: member.fracturing?.requests ?? [],
    rounds: member.fracturing?.rounds ?? [],
  };
  askRecord(primary, { kind: "fractured", member, ticket }, out);
}

/** Something will be acked without the member: since when is of interest to people alone. */
export function noteAlone(primary: Primary, { record }: Member): void {
  if (!record.alone) record.aloneSinceMs = primary.wallMs;
  record.alone = true;
}

/**
 * Nothing is dirty towards a member that keeps the log; but that it has not everything, synced, must be on record before an
 * answer to a host rests on that.
 */
export function loseLogged(primary: Primary, member: Member, out: PrimaryEffect[]): void {
  const { record } = member;
  if (record.phase === "blank" || (record.alone && record.phase === "dirty")) return;
  noteLostLog(primary, member);
  awaitLossRecord(primary, member, out);
}

/** Notes that the member's log lacks something, to go on record with what follows. One that was never whole is known to. */
export function noteLostLog(primary: Primary, member: Member): void {
  if (member.record.phase === "blank") return;
  noteAlone(primary, member);
  member.record.phase = "dirty";
}
